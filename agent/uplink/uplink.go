package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"obdagent/buffer"
)

// Reader hands out records in order. *buffer.Reader is one.
type Reader interface {
	// Next waits for a committed record that is not acknowledged.
	Next(ctx context.Context) (buffer.Entry, error)
	// TryNext is Next without waiting: false if there is none yet.
	TryNext() (buffer.Entry, bool, error)
	// Close frees what the reader holds open.
	Close()
}

// Log is what the uplink needs of a buffer. *buffer.Log is a Log[*buffer.Reader]; New infers the parameter. One whose disk may come
// later than Run has a method Found() (next uint64, ok bool) too, as *buffer.Log has: until ok is true it hands out nothing, and then
// the records below next are those from earlier.
type Log[R Reader] interface {
	// Reader starts at from, or with 0 at the oldest record that is not acknowledged.
	Reader(from uint64) R
	// Ack says that the records from..to, inclusive, need not be kept.
	Ack(from, to uint64)
	// Committed returns the sequence number after the last committed record.
	Committed() uint64
}

// ErrHold is what an Encoder returns for a record that cannot be sent yet but may be later: it is asked again.
var ErrHold = errors.New("record cannot be dated yet")

// ErrStopped is what Drain returns when Run is not running or ends meanwhile.
var ErrStopped = errors.New("uplink is not running")

// An Encoder makes wire lines of stored records.
type Encoder interface {
	// Encode appends the line of one stored record to dst, its newline included. seq is its number in the buffer. lost are the records that the buffer gave
	// up since the line before; a format that cannot carry them leaves them out. ErrHold: ask again later. Any other error:
	// the record can never be sent and is set aside. It is called by one goroutine at a time and must not keep its arguments.
	Encode(dst []byte, seq uint64, stored []byte, lost []buffer.Lost) ([]byte, error)
}

// Options says how records go out. Encoder and Sink are needed.
type Options struct {
	Encoder Encoder
	Sink    Sink

	Linger    time.Duration // how long a record may wait for company; 0: not at all
	Pack      bool          // join lines; else one line is one entry
	Gzip      bool          // send each entry as one whole gzip member
	LiveFirst bool          // what is appended after Run began goes before what was left from earlier, also if its disk comes later; else strictly in order

	// DailyBytes is how many bytes may go over the wire in a day, both ways, before older records have to wait for the next
	// day; 0: no budget. With LiveFirst new records go all the same. The sink must be a ByteCounter.
	DailyBytes int64
	// Today returns the time, and whether it is good enough to begin a new day of the count by. Without it there are no days.
	Today func() (t time.Time, known bool)
	// StateFile keeps the day's count and the back-off over restarts; empty: both begin anew.
	StateFile string

	// Aside is given each record that can never be sent, before it is acknowledged. stored is valid during the call; it is nil
	// for a record that the sink refused, whose line then stands in reason's *RefusedError.
	Aside func(seq uint64, stored []byte, reason error)

	// Pulse, if set, is told of progress, from Run's goroutine: it will be called again within that time, or, with 0, when there is
	// something to do. What has no bound, as whatever waits for a disk, is told as 0. It must not block.
	Pulse func(within time.Duration)

	OnState func(StateChange) // each transition, in order, from Run's goroutine
	Log     *slog.Logger      // details; default: discarded

	HoldRetry time.Duration // how often a held record is asked for again; default 1 s
	Grace     time.Duration // what a call in flight is given when Run's context ends; default 1.5 s
	AirTime   time.Duration // how long one call may take at the measured rate of the link; default Linger, within 10 to 60 s
	Rand      *rand.Rand    // for jitter; default: seeded by the runtime
}

// A RefusedError is why a line that the sink will never take was set aside.
type RefusedError struct {
	Line   []byte // as it was sent
	Reason string // as the sink says it
}

// Error says what was refused and why.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("a line of %d bytes was refused: %s", len(e.Line), e.Reason)
}

// Uplink delivers what a buffer holds. Make one with New.
type Uplink struct {
	o   Options
	log struct {
		reader    func(from uint64) Reader
		ack       func(from, to uint64)
		committed func() uint64
		found     func() (next uint64, ok bool)
	}

	mu         sync.Mutex
	status     Status
	running    bool
	waiters    []*waiter
	cancelWait context.CancelFunc // ends the wait that Run is in; nil while it is not waiting
	woken      bool               // Drain or LinkChanged was called since the last wait
	relinked   bool               // LinkChanged was called
	adjusted   *adjustment        // what Adjust was told since the last step

	// What follows belongs to Run's goroutine.
	live, backlog lane
	diskThere     bool   // the log has its disk, on which StateFile is, too
	backlogEnd    uint64 // records below it were there when Run began, or when the disk came: they have waited long enough
	lost          []buffer.Lost
	scratch       []byte
	bills         Biller // the sink, if its destination charges by the entry
	pack          packer
	squeeze       squeezer
	attempt       int       // failures in a row
	failedSince   time.Time // of the first of them
	nextTry       time.Time
	lastKind      Kind      // of the last of them
	urgent        bool      // the last call failed: whatever there is goes as soon as the back-off allows
	grid          time.Time // one of the points in time, a linger apart, at which live batches go
	kept          kept
	keptAt        time.Time // when it was last written
	keepTold      bool      // that it cannot be written
	counted       bool      // something was counted since
	wireUp        uint64    // of the sink's bytes, what was counted
	wireDown      uint64
	budgetWaits   bool // older records wait for the next day
}

// New makes an Uplink that takes records from log. It does nothing until Run is called.
func New[R Reader](log Log[R], o Options) (*Uplink, error) {
	if o.Encoder == nil || o.Sink == nil {
		return nil, errors.New("uplink: Encoder and Sink are needed")
	}
	if o.Linger < 0 {
		return nil, fmt.Errorf("uplink: linger %v is negative", o.Linger)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.HoldRetry <= 0 {
		o.HoldRetry = time.Second
	}
	if o.Grace <= 0 {
		o.Grace = 1500 * time.Millisecond // stopping stays under 2 s; what is cut off is sent again, with the same ids
	}
	if o.AirTime <= 0 {
		o.AirTime = min(time.Minute, max(o.Linger, 10*time.Second))
	}
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	u := &Uplink{o: o}
	u.log.reader = func(from uint64) Reader { return log.Reader(from) }
	u.log.ack = log.Ack
	u.log.committed = log.Committed
	u.log.found = func() (uint64, bool) { return 0, true }
	if late, ok := log.(interface{ Found() (uint64, bool) }); ok {
		u.log.found = late.Found
	}
	u.bills, _ = o.Sink.(Biller)
	u.status.State = StateStopped
	u.pack = packer{join: o.Pack, bytes: firstCallBytes, gzip: o.Gzip, ratio: 1}
	if o.Gzip {
		u.pack.ratio = firstRatio
	}
	return u, nil
}

// A waiter is one call of Drain.
type waiter struct {
	seen bool // Run knew of it before it last looked for records
	done chan error
}

// Drain delivers everything that is committed when it is called, without waiting for linger or back-off, and returns when
// that is done. Records that an Encoder holds, and calls that fail, make it wait for ctx. It returns ctx's error if that takes
// too long and ErrStopped if Run is not running.
func (u *Uplink) Drain(ctx context.Context) error {
	w := &waiter{done: make(chan error, 1)}
	u.mu.Lock()
	if !u.running {
		u.mu.Unlock()
		return fmt.Errorf("draining the uplink: %w", ErrStopped)
	}
	u.waiters = append(u.waiters, w)
	u.woken = true
	if u.cancelWait != nil {
		u.cancelWait()
	}
	u.mu.Unlock()

	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		u.mu.Lock()
		defer u.mu.Unlock()
		for i, x := range u.waiters {
			if x == w {
				u.waiters = append(u.waiters[:i], u.waiters[i+1:]...)
				break
			}
		}
		return fmt.Errorf("draining the uplink: %w", ctx.Err())
	}
}

// closeIdle closes what the sink keeps open between calls.
func (u *Uplink) closeIdle() {
	if c, ok := u.o.Sink.(IdleCloser); ok {
		c.CloseIdle()
	}
}
