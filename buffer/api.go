package buffer

import (
	"errors"
	"log/slog"
	"time"
)

// Overflow says what is given up when the buffer is full.
type Overflow string

// The overflow policies.
const (
	DropOldest Overflow = "drop-oldest" // the oldest segment
	DropNewest Overflow = "drop-newest" // the record that is to be appended: Append returns ErrFull
)

// Options says where a Log lives and how large it may grow. Only Dir is needed.
type Options struct {
	Dir          string        // created with mode 0700 if missing
	MaxBytes     int64         // on disk, all files together; default 512 MiB, at least four segments
	SegmentBytes int           // default 1 MiB, 64 KiB..16 MiB
	Sync         time.Duration // longest time between commits while there is something to commit; default 1 s
	Overflow     Overflow      // default DropOldest
	Logger       *slog.Logger  // details; default: discarded
}

// Errors that callers branch on.
var (
	ErrFull   = errors.New("buffer is full")             // Append with DropNewest
	ErrClosed = errors.New("buffer is closed")           // any call after Close
	ErrLocked = errors.New("buffer is in use")           // Open: another process has the directory
	ErrTooBig = errors.New("record is too big")          // Append: larger than a quarter of a segment
	ErrFormat = errors.New("buffer format is not known") // Open: written by a newer version
)

// An Entry is what a Reader hands out: a record, or word of records that are lost.
type Entry struct {
	Seq  uint64 // sequence number of the record; counts from 1 over the life of the directory and is never used twice
	Data []byte // the record; valid until the next call of the Reader. nil if Lost is set
	Lost *Lost  // records that will never come; nil for a record
}

// Lost is a range of records that were given up.
type Lost struct {
	From, To uint64 // first and last sequence number, inclusive
	Reason   string // overflow, damaged, torn
}

// Stats is a snapshot for people and metrics.
type Stats struct {
	State          string            // ok, or "storage failed: " and why
	FirstSeq       uint64            // oldest record on disk that is not acknowledged
	NextSeq        uint64            // what the next Append will get
	AckedBelow     uint64            // everything below is acknowledged
	Records        uint64            // not acknowledged
	Bytes          int64             // on disk
	MaxBytes       int64             //
	Segments       int               //
	Unsynced       int               // records appended and not committed
	OldestUnsynced time.Duration     // age of the oldest of them
	Commits        uint64            // since Open
	CommitTime     time.Duration     // of the last commit
	LostRecords    map[string]uint64 // since Open, by reason
}

// The methods of Log and Reader are implemented beside this file; this is their contract:
//
//	func Open(Options) (*Log, error)
//	func (*Log) Append(record []byte) (seq uint64, err error)   // copies record; never waits for the disk
//	func (*Log) Commit() error                                  // everything appended so far is durable when it returns nil
//	func (*Log) Run(context.Context) error                      // commits every Options.Sync until ctx is done, then once more, and returns nil
//	func (*Log) Ack(from, to uint64)                            // records from..to (inclusive) need not be kept; any order; at most 64 ranges above the position, further ones wait for the gap to close
//	func (*Log) Unacked(from uint64) (first, last uint64, ok bool) // the first contiguous committed range at or above from that is not acknowledged
//	func (*Log) Reader(from uint64) *Reader                     // 0: at the oldest that is not acknowledged
//	func (*Log) Committed() (next uint64)                       // the sequence number after the last committed record
//	func (*Log) Stats() Stats
//	func (*Log) Close() error                                   // commits, writes the acknowledgement, releases the lock
//	func (*Reader) Next(context.Context) (Entry, error)         // waits for a committed record; skips acknowledged ones; context error when ctx is done; ErrClosed
//	func (*Reader) TryNext() (Entry, bool, error)               // the same without waiting: false if there is none yet
