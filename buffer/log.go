package buffer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"time"
)

const (
	// ringBytes bounds the records that wait in memory for the disk. At 10 records of 150 B a second it holds 45 minutes
	// of a disk that fails.
	ringBytes = 4 << 20
	// ringBusyBytes is what may wait, at least, beside the records that are being written just now.
	ringBusyBytes = 1 << 20
	// frameBytes is how much a frame holds before compression: large enough that its header and the page it ends in do not
	// count, small enough that damage costs little and a Reader needs little memory.
	frameBytes = 64 << 10
	// maxSpares is how many recycled segments are kept for later use.
	maxSpares = 2
	// idleAck is the longest time that an acknowledgement waits for a frame to ride in: longer than from one record of a parked vehicle to
	// the next (60 s), which else would cost two syncs a minute instead of one. What a power cut takes of it is delivered twice.
	idleAck = 90 * time.Second
)

// A Log is an open buffer. Its methods may be called from any goroutine.
type Log struct {
	opts      Options
	dir       fsys
	lock      io.Closer
	log       *slog.Logger
	maxRecord int

	wake   chan struct{} // tells Run that there is something new to do
	closed chan struct{} // closed by Close

	writing sync.Mutex // held while the disk is written; taken before mu
	w       writer

	mu        sync.Mutex
	closing   bool
	next      uint64 // number of the next record
	committed uint64 // number behind the last committed one
	inflight  pending
	open      pending
	busy      bool // inflight is being written: it must not change
	acks      acks
	ackGen    uint64    // counts changes of acks
	ackGenOK  uint64    // ackGen of the last committed frame
	lastFrame time.Time // when it was committed

	segments   []*segment // oldest first
	bytes      int64      // of all our files but the lock
	unsized    bool       // of some segments the size was not looked at yet
	attached   bool       // the directory is open; until then numbers are provisional
	found      uint64     // number behind the last record that was there then
	tail       uint64     // number behind the last good record on disk
	tailReason string     // why tail..committed is missing

	toSetAside  bool // there is a damaged segment that is not in quarantine
	quarantined int  // files there

	waiting int           // Readers waiting on changed
	changed chan struct{} // closed, and made anew, when committed moves

	full       bool      // no room on disk, and DropNewest
	failures   int       // commits that failed in a row
	retryAt    time.Time // when Run tries again
	problem    string    // why the storage does not work; empty if it does
	commits    uint64
	commitTime time.Duration
	lost       map[string]uint64
	damaged    acks // damaged ranges that are counted already
	meter      meter
	device     *device // nil if it is not known
}

// Open opens the buffer in Options.Dir, and makes it if there is none. It reads the names of the files and the newest
// segment; the sizes of the others are looked at by Run and by the first commit. It does not fail because of what the files contain,
// but for [ErrFormat]; what is damaged is skipped. Where the directory can not be made, locked or read, the Log begins as one whose storage failed: records stay in memory, and each
// Commit tries again. Errors: a wrong option, [ErrLocked], [ErrFormat].
func Open(opts Options) (*Log, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	return open(osDir{opts.Dir}, opts)
}

// open is Open on any file system, with complete options.
func open(dir fsys, opts Options) (*Log, error) {
	l := &Log{
		opts: opts, dir: dir, log: opts.Logger,
		maxRecord: opts.SegmentBytes / 4,
		wake:      make(chan struct{}, 1),
		closed:    make(chan struct{}),
		next:      1, committed: 1,
		acks:    acks{below: 1},
		changed: make(chan struct{}),
		lost:    make(map[string]uint64),
		damaged: acks{below: 1},
		meter:   meter{opened: time.Now()},
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	start := time.Now()
	switch err := l.attach(); {
	case errors.Is(err, ErrLocked), errors.Is(err, ErrFormat):
		return nil, fmt.Errorf("open buffer %s: %w", opts.Dir, err)
	case err != nil:
		l.settle(err, start)
	}
	return l, nil
}

// Append puts a copy of record into memory and returns its number. It never waits for the disk. The record is durable
// after the next commit. As long as the directory could not be opened nobody knows which numbers are used: those that are
// returned count from 1, and the records get others when it is. Errors: ErrTooBig, ErrClosed, and with DropNewest ErrFull.
func (l *Log) Append(record []byte) (seq uint64, err error) {
	if len(record) > l.maxRecord {
		return 0, fmt.Errorf("append record of %d bytes: %w: at most %d, a quarter of a segment", len(record), ErrTooBig, l.maxRecord)
	}
	now := time.Now()
	need := recordBytes(len(record))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return 0, ErrClosed
	}
	if !l.makeRoom(need) {
		l.lost[reasonRefused]++
		return 0, ErrFull
	}
	seq = l.next
	l.next++
	l.open.push(seq, record, now)
	l.meter.payload += int64(len(record))
	if l.open.count == 1 || l.open.bytes() >= frameBytes && l.open.bytes()-need < frameBytes {
		l.signal()
	}
	return seq, nil
}

// makeRoom gives up the oldest uncommitted records until need bytes fit, or says that they do not.
func (l *Log) makeRoom(need int) bool {
	full := func() bool {
		if l.busy {
			return l.open.bytes()+need > max(ringBusyBytes, ringBytes-l.inflight.bytes())
		}
		return l.inflight.bytes()+l.open.bytes()+need > ringBytes
	}
	if l.opts.Overflow == DropNewest {
		return !l.full && !full()
	}
	for full() {
		p := &l.inflight
		if l.busy || p.count == 0 {
			p = &l.open
		}
		b, _ := p.frame(0, 0)
		p.drop(len(b), 1)
		l.lost[ReasonOverflow]++
	}
	return true
}

// signal tells Run to look again.
func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Ack says that records from..to (inclusive) need not be kept. The order does not matter. Numbers that are not committed
// yet are ignored. The acknowledgement rides in the next frame; a segment is recycled once a frame with the
// acknowledgement of all its records is durable. Of the ranges above the position 64 are durable, the lowest ones.
func (l *Log) Ack(from, to uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to >= l.committed {
		to = l.committed - 1
	}
	if l.acks.add(from, to+1) {
		l.ackGen++
		if l.full {
			l.retryAt = time.Now() // there may be room again
		}
		l.signal()
	}
}

// Unacked returns the first range (inclusive) of committed records at or above from that are not acknowledged. Numbers
// of lost records are in it too, until they are acknowledged.
func (l *Log) Unacked(from uint64) (first, last uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first = l.acks.next(from)
	if first >= l.committed {
		return 0, 0, false
	}
	return first, min(l.acks.until(first), l.committed) - 1, true
}

// Committed returns the number behind the last committed record.
func (l *Log) Committed() (next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.committed
}

// Found returns the number behind the last record that was on disk when the directory was opened: from there on the records are
// this Log's own. ok is false as long as the directory could not be opened. Of what a Log hands out that began so, nothing was
// handed out before ok is true.
func (l *Log) Found() (next uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.found, l.attached
}

// Stats returns a snapshot. It costs no disk access.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := l.committed
	if len(l.segments) > 0 {
		oldest = l.segments[0].first
	}
	s := Stats{
		State:       StateOK,
		FirstSeq:    l.acks.next(oldest),
		NextSeq:     l.next,
		AckedBelow:  l.acks.below,
		Bytes:       l.bytes,
		MaxBytes:    l.opts.MaxBytes,
		Segments:    len(l.segments),
		Quarantined: l.quarantined,
		Unsynced:    l.inflight.count + l.open.count,
		Commits:     l.commits,
		CommitTime:  l.commitTime,
		LostRecords: maps.Clone(l.lost),
	}
	if s.FirstSeq >= l.committed {
		s.FirstSeq = l.next
	}
	s.Records = l.acks.missing(oldest, l.committed) + uint64(s.Unsynced)
	for _, x := range l.segments {
		if x.sparse {
			s.Records -= l.acks.missing(x.first, x.next) - l.waitingIn(x)
		}
	}
	if l.problem != "" {
		s.State = l.problem
	}
	if since, ok := l.oldestUnsynced(); ok {
		s.OldestUnsynced = time.Since(since)
	}
	l.measure(&s)
	return s
}

// oldestUnsynced is when the oldest record that is not committed was appended.
func (l *Log) oldestUnsynced() (time.Time, bool) {
	switch {
	case l.inflight.count > 0:
		return l.inflight.since, true
	case l.open.count > 0:
		return l.open.since, true
	}
	return time.Time{}, false
}

// Close commits what is in memory, writes the acknowledgement and gives the directory free, also if that fails. Readers
// return ErrClosed from then on.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closing = true
	l.mu.Unlock()

	l.writing.Lock()
	err := l.commitAll(true)
	l.seal()
	l.closeThin()
	l.w.enc.release()
	l.writing.Unlock()

	l.mu.Lock()
	left := l.inflight.count + l.open.count
	l.mu.Unlock()
	close(l.closed)
	if err != nil {
		err = fmt.Errorf("close buffer %s: %d records are not on disk: %w", l.opts.Dir, left, err)
	}
	if l.lock == nil { // never opened
		return err
	}
	if uerr := l.lock.Close(); uerr != nil && err == nil {
		err = fmt.Errorf("close buffer %s: release lock: %w", l.opts.Dir, uerr)
	}
	return err
}

// Run commits when a record has waited for Options.Sync, or a full frame is there, until ctx is done; then once more. It
// returns nil, or ErrClosed if the log is closed before. While the storage fails it tries again, ever more rarely.
func (l *Log) Run(ctx context.Context) error {
	l.writing.Lock()
	l.learnSizes()
	l.writing.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if err := l.Commit(); err != nil && !errors.Is(err, ErrClosed) {
				l.log.Error("last commit failed", "err", err)
			}
			return nil
		case <-l.closed:
			return ErrClosed
		case <-l.wake:
		case <-timer.C:
		}
		wait, due := l.due()
		if due {
			l.commitDue()
			wait, _ = l.due()
		}
		timer.Reset(wait)
	}
}
