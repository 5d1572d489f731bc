package status

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxLogBytes is where the log starts anew, keeping one earlier file. Two files of 1 MiB are about two days of one line of
	// 400 bytes a minute each, and never more than 2 MiB of a small flash.
	maxLogBytes = 1 << 20
	// logQueue is how many lines may wait for a stalling disk. A flood of transitions is at most a few a second.
	logQueue = 256
	// syncEvery bounds what a power cut takes from the log, and what a flood of transitions costs the flash: a line that comes
	// after a quiet time is synced at once, one that follows another within this time together with what comes by then.
	syncEvery = 5 * time.Second
	// eventBurst and eventEvery bound the transitions, so that a cable that makes and breaks contact does not push out the days before:
	// that many at once, and then one each so often, which is 2 MiB in a day and a half.
	eventBurst = 120
	eventEvery = 10 * time.Second
)

// A Log is the status log: lines of "time boot_s=... key=value ...", in a file of bounded size and one that it replaces.
//
// Writing never blocks: lines wait in a queue for Run, and are counted when it is full. What Run has written is on the disk within five
// seconds. The line that a power cut tears stays a line of its own.
type Log struct {
	path    string
	now     func() time.Time
	boot    func() time.Duration
	lines   chan string
	dropped atomic.Uint64
	fsync   func(*os.File) error

	mu     sync.Mutex
	events int           // that may be printed at once
	since  time.Duration // when the last one was allowed back
}

// NewLog returns a Log that writes to path, creating its directory when it runs. now dates the lines; boot is the time since the
// board's start, which orders them when nobody knows the date.
func NewLog(path string, now func() time.Time, boot func() time.Duration) *Log {
	return &Log{path: path, now: now, boot: boot, lines: make(chan string, logQueue), fsync: (*os.File).Sync, events: eventBurst, since: boot()}
}

// Print adds a line: the message is already in key=value form. It may be called from any goroutine.
func (l *Log) Print(message string) {
	select {
	case l.lines <- l.line(message):
	default:
		l.dropped.Add(1)
	}
}

// line is a message with what every line begins with.
func (l *Log) line(message string) string {
	return fmt.Sprintf("%s boot_s=%.1f %s\n", l.now().UTC().Format(time.RFC3339), l.boot().Seconds(), message)
}

// Event is Print for what may come in a flood: what is too much is counted and left out.
func (l *Log) Event(message string) {
	if !l.allowed() {
		l.dropped.Add(1)
		return
	}
	l.Print(message)
}

func (l *Log) allowed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.boot()
	if back := int((now - l.since) / eventEvery); back > 0 {
		l.events = min(l.events+back, eventBurst)
		l.since += time.Duration(back) * eventEvery
	}
	if l.events == 0 {
		return false
	}
	l.events--
	return true
}

// Run writes lines until ctx is done, then those that still wait. A disk that refuses lines does not stop it: the lines are
// lost and the error is returned at the end, once.
func (l *Log) Run(ctx context.Context) error {
	f := logFile{path: l.path, fsync: l.fsync}
	var first error
	keep := func(err error) {
		if err != nil && first == nil {
			first = fmt.Errorf("status log: %w", err)
		}
	}
	write := func(line string) {
		if n := l.dropped.Swap(0); n > 0 {
			line += l.line(fmt.Sprintf("event=log_dropped lines=%d", n))
		}
		keep(f.write(line))
	}
	var rest <-chan time.Time // set while the last sync is too young for another
	settle := func() {
		if rest == nil && f.dirty {
			keep(f.sync())
			rest = time.After(syncEvery)
		}
	}
	for {
		select {
		case line := <-l.lines:
			write(line)
			settle()
		case <-rest:
			rest = nil
			settle()
		case <-ctx.Done():
			for {
				select {
				case line := <-l.lines:
					write(line)
				default:
					keep(f.sync())
					return errors.Join(first, f.close())
				}
			}
		}
	}
}

// logFile is the file, opened on demand, so that a directory that appears later is used.
type logFile struct {
	path  string
	fsync func(*os.File) error
	f     *os.File
	size  int64
	dirty bool // written and not synced
}

func (l *logFile) write(line string) error {
	if l.f == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.size+int64(len(line)) > maxLogBytes {
		if err := l.turn(); err != nil {
			return err
		}
	}
	n, err := l.f.WriteString(line)
	l.size += int64(n)
	l.dirty = true
	if err != nil {
		return errors.Join(err, l.close()) // the next line tries a fresh file handle
	}
	return nil
}

// turn puts the file aside, over the one that was put aside before, and begins a new one.
func (l *logFile) turn() error {
	if err := errors.Join(l.sync(), l.close(), os.Rename(l.path, l.path+".1")); err != nil {
		return err
	}
	return l.open()
}

// sync makes durable what was written.
func (l *logFile) sync() error {
	if l.f == nil || !l.dirty {
		return nil
	}
	l.dirty = false
	if err := l.fsync(l.f); err != nil {
		return errors.Join(err, l.close())
	}
	return nil
}

func (l *logFile) open() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.f, l.size = f, info.Size()
	if l.torn() {
		n, err := f.WriteString("\n")
		l.size += int64(n)
		if err != nil {
			return errors.Join(err, l.close())
		}
	}
	return nil
}

// torn tells whether the file ends within a line, as a power cut leaves it.
func (l *logFile) torn() bool {
	var end [1]byte
	if l.size == 0 {
		return false
	}
	_, err := l.f.ReadAt(end[:], l.size-1)
	return err == nil && end[0] != '\n'
}

func (l *logFile) close() error {
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f, l.dirty = nil, false
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}
