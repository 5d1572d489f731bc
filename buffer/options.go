package buffer

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Overflow says what is given up when the buffer is full.
type Overflow string

// The overflow policies.
const (
	DropOldest Overflow = "drop-oldest" // the oldest segment
	DropNewest Overflow = "drop-newest" // the record that is to be appended: Append returns ErrFull
	// Thin gives up nine of ten of the oldest records, until what is kept of them takes half of the room; then the oldest of that.
	Thin Overflow = "thin"
)

// Options says where a Log lives and how large it may grow. Only Dir is needed.
type Options struct {
	Dir          string        // created with mode 0700 if missing
	MaxBytes     int64         // on disk, all segments together; default 512 MiB, at least four segments
	SegmentBytes int           // 64 KiB..16 MiB, a multiple of 4 KiB; default 1 MiB, above 512 MiB of MaxBytes 2 MiB, above 1 GiB 4 MiB
	Sync         time.Duration // longest time between commits while there is something to commit; default 1 s
	Overflow     Overflow      // default DropOldest
	Logger       *slog.Logger  // details; default: discarded
}

// Errors that callers branch on.
var (
	ErrFull   = errors.New("buffer is full")             // Append and Commit with DropNewest
	ErrClosed = errors.New("buffer is closed")           // any call after Close
	ErrLocked = errors.New("buffer is in use")           // Open: another process has the directory
	ErrTooBig = errors.New("record is too big")          // Append: larger than a quarter of a segment
	ErrFormat = errors.New("buffer format is not known") // Open, Reader: written by a newer version
)

const (
	defaultMaxBytes     = 512 << 20
	defaultSegmentBytes = 1 << 20
	// From manySegments on segments are made larger by default, up to this: Open reads each one's name, and up to all of the newest one.
	largeSegmentBytes = 4 << 20
	manySegments      = 512
	defaultSync       = time.Second
	minSegmentBytes   = 64 << 10 // below, rolling would cost more flushes than it saves blocks
	maxSegmentBytes   = 16 << 20 // above, Open would read too much
	minSegments       = 4        // one written, one read, one to recycle, one to drop
)

// complete returns the options with defaults filled in, or says which one is wrong.
func (o Options) complete() (Options, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
		for o.SegmentBytes < largeSegmentBytes && o.MaxBytes > manySegments*int64(o.SegmentBytes) {
			o.SegmentBytes *= 2
		}
	}
	if o.Sync == 0 {
		o.Sync = defaultSync
	}
	if o.Overflow == "" {
		o.Overflow = DropOldest
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Dir == "":
		return o, errors.New("open buffer: Dir is empty: name a directory")
	case o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes || o.SegmentBytes%pageBytes != 0:
		return o, fmt.Errorf("open buffer %s: SegmentBytes is %d: choose a multiple of %d from %d to %d",
			o.Dir, o.SegmentBytes, pageBytes, minSegmentBytes, maxSegmentBytes)
	case o.MaxBytes < minSegments*int64(o.SegmentBytes):
		return o, fmt.Errorf("open buffer %s: MaxBytes is %d: choose at least %d, which is %d segments of %d",
			o.Dir, o.MaxBytes, minSegments*int64(o.SegmentBytes), minSegments, o.SegmentBytes)
	case o.Sync < 0:
		return o, fmt.Errorf("open buffer %s: Sync is %v: choose a duration above zero", o.Dir, o.Sync)
	case o.Overflow != DropOldest && o.Overflow != DropNewest && o.Overflow != Thin:
		return o, fmt.Errorf("open buffer %s: Overflow is %q: choose %q, %q or %q", o.Dir, o.Overflow, DropOldest, DropNewest, Thin)
	}
	return o, nil
}
