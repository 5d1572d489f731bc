package status

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

const (
	// maxLogBytes is where the log starts anew, keeping one earlier file. Two files of 1 MiB are about two days of one line of
	// 350 bytes a minute each, and never more than 2 MiB of a small flash.
	maxLogBytes = 1 << 20
	// logQueue is how many lines may wait for a stalling disk. A flood of transitions is at most a few a second.
	logQueue = 256
)

// A Log is the status log: lines of "time message key=value ...", in a file of bounded size.
//
// Writing never blocks: lines wait in a queue for Run, and are counted when it is full.
type Log struct {
	path    string
	now     func() time.Time
	lines   chan string
	dropped atomic.Uint64
}

// NewLog returns a Log that writes to path, creating its directory when it runs. now dates the lines.
func NewLog(path string, now func() time.Time) *Log {
	return &Log{path: path, now: now, lines: make(chan string, logQueue)}
}

// Print adds a line: the message is already in key=value form. It may be called from any goroutine.
func (l *Log) Print(message string) {
	line := l.now().UTC().Format(time.RFC3339) + " " + message + "\n"
	select {
	case l.lines <- line:
	default:
		l.dropped.Add(1)
	}
}

// Run writes lines until ctx is done, then those that still wait. A disk that refuses lines does not stop it: the lines are
// lost and the error is returned at the end, once.
func (l *Log) Run(ctx context.Context) error {
	f := logFile{path: l.path}
	var first error
	write := func(line string) {
		if n := l.dropped.Swap(0); n > 0 {
			line = fmt.Sprintf("%sevent=log_dropped lines=%d\n", line, n)
		}
		if err := f.write(line); err != nil && first == nil {
			first = fmt.Errorf("status log: %w", err)
		}
	}
	for {
		select {
		case line := <-l.lines:
			write(line)
		case <-ctx.Done():
			for {
				select {
				case line := <-l.lines:
					write(line)
				default:
					return errors.Join(first, f.close())
				}
			}
		}
	}
}

// logFile is the file, opened on demand, so that a directory that appears later is used.
type logFile struct {
	path string
	f    *os.File
	size int64
}

func (l *logFile) write(line string) error {
	if l.f == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.size+int64(len(line)) > maxLogBytes {
		if err := errors.Join(l.close(), os.Rename(l.path, l.path+".1")); err != nil {
			return err
		}
		if err := l.open(); err != nil {
			return err
		}
	}
	n, err := l.f.WriteString(line)
	l.size += int64(n)
	if err == nil {
		// One line a minute and one per transition: what a debugger needs must be there after the power cut that he looks into.
		err = l.f.Sync()
	}
	if err != nil {
		return errors.Join(err, l.close()) // the next line tries a fresh file handle
	}
	return nil
}

func (l *logFile) open() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.f, l.size = f, info.Size()
	return nil
}

func (l *logFile) close() error {
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}
