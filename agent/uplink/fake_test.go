package uplink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"obdagent/agent/uplink"
	"obdagent/buffer"
)

// fakeLog is a buffer in memory, with the meaning that package buffer gives to its methods.
type fakeLog struct {
	mu      sync.Mutex
	records [][]byte // records[i] has sequence number i+1; nil: lost
	acked   []bool
	change  chan struct{} // closed and replaced when something is appended
	acks    int
	lost    map[uint64]string // reason, by sequence number
	broken  error             // what readers return
	readers int               // open ones
}

func newFakeLog() *fakeLog {
	return &fakeLog{change: make(chan struct{}), lost: map[uint64]string{}}
}

func (l *fakeLog) append(records ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		l.records = append(l.records, []byte(r))
		l.acked = append(l.acked, false)
	}
	close(l.change)
	l.change = make(chan struct{})
}

func (l *fakeLog) appendN(n int) {
	lines := make([]string, n)
	l.mu.Lock()
	next := len(l.records) + 1
	l.mu.Unlock()
	for i := range lines {
		lines[i] = fmt.Sprintf("record-%d", next+i)
	}
	l.append(lines...)
}

// lose turns a record into a loss.
func (l *fakeLog) lose(seq uint64, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost[seq] = reason
}

func (l *fakeLog) Committed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.records)) + 1
}

func (l *fakeLog) Ack(from, to uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from == 0 || from > to || to > uint64(len(l.records)) {
		panic(fmt.Sprintf("Ack(%d, %d) of a log of %d records", from, to, len(l.records)))
	}
	for s := from; s <= to; s++ {
		l.acked[s-1] = true
	}
	l.acks++
}

// open returns the sequence numbers that are not acknowledged.
func (l *fakeLog) open() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []uint64
	for i, a := range l.acked {
		if !a {
			out = append(out, uint64(i+1))
		}
	}
	return out
}

func (l *fakeLog) isAcked(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked[seq-1]
}

func (l *fakeLog) Reader(from uint64) *fakeReader {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers++
	return &fakeReader{l: l, next: max(from, 1)}
}

// breakDown makes readers fail, or with nil work again.
func (l *fakeLog) breakDown(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = err
	close(l.change)
	l.change = make(chan struct{})
}

func (r *fakeReader) Close() {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.l.readers--
}

type fakeReader struct {
	l    *fakeLog
	next uint64
	buf  []byte // what was handed out: overwritten by the next call
}

func (r *fakeReader) TryNext() (buffer.Entry, bool, error) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	for i := range r.buf {
		r.buf[i] = '#'
	}
	if r.l.broken != nil {
		return buffer.Entry{}, false, r.l.broken
	}
	for r.next <= uint64(len(r.l.records)) {
		seq := r.next
		r.next++
		if r.l.acked[seq-1] {
			continue
		}
		if reason, ok := r.l.lost[seq]; ok {
			return buffer.Entry{Seq: seq, Lost: &buffer.Lost{From: seq, To: seq, Reason: reason}}, true, nil
		}
		r.buf = bytes.Clone(r.l.records[seq-1])
		return buffer.Entry{Seq: seq, Data: r.buf}, true, nil
	}
	return buffer.Entry{}, false, nil
}

func (r *fakeReader) Next(ctx context.Context) (buffer.Entry, error) {
	for {
		r.l.mu.Lock()
		change := r.l.change
		r.l.mu.Unlock()
		if e, ok, err := r.TryNext(); ok || err != nil {
			return e, err
		}
		select {
		case <-change:
		case <-ctx.Done():
			return buffer.Entry{}, ctx.Err()
		}
	}
}

// plain encodes a record as itself and a newline. Records that begin with "hold-" wait until release is called, those that begin with "bad-" can
// never be sent.
type plain struct {
	mu       sync.Mutex
	released bool
	lost     []buffer.Lost
}

func (p *plain) Encode(dst []byte, _ uint64, stored []byte, lost []buffer.Lost) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bytes.HasPrefix(stored, []byte("hold-")) && !p.released {
		return dst, fmt.Errorf("%q: %w", stored, uplink.ErrHold)
	}
	if bytes.HasPrefix(stored, []byte("bad-")) {
		return dst, errors.New("not a record")
	}
	p.lost = append(p.lost, lost...)
	return append(append(dst, stored...), '\n'), nil
}

func (p *plain) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = true
}

// fakeSink keeps what it takes. answer decides about each call.
type fakeSink struct {
	mu     sync.Mutex
	calls  [][]string // every call's entries
	taken  []string   // lines, in order
	answer func(ctx context.Context, n int, entries []string) ([]uplink.Failure, error)
}

func (s *fakeSink) Put(ctx context.Context, entries [][]byte) ([]uplink.Failure, error) {
	texts := make([]string, len(entries))
	for i, e := range entries {
		texts[i] = string(e)
	}
	s.mu.Lock()
	s.calls = append(s.calls, texts)
	n, answer := len(s.calls), s.answer
	s.mu.Unlock()
	var failed []uplink.Failure
	if answer != nil {
		var err error
		if failed, err = answer(ctx, n, texts); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, t := range texts {
		if !slices.ContainsFunc(failed, func(f uplink.Failure) bool { return f.Index == i }) {
			s.taken = append(s.taken, lines(t)...)
		}
	}
	return failed, nil
}

func (s *fakeSink) String() string { return "test sink" }

func (s *fakeSink) Billed(n int) uint64 { return billed(n) }

// billed is a record's size rounded up to 5 KiB, which Firehose charges for.
func billed(n int) uint64 { return uint64(n+5119) / 5120 * 5120 }

func (s *fakeSink) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

// all returns every call's entries.
func (s *fakeSink) all() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *fakeSink) callCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// lines splits an entry, whose every line must end with a newline.
func lines(entry string) []string {
	var out []string
	for l := range bytes.Lines([]byte(entry)) {
		out = append(out, string(bytes.TrimSuffix(l, []byte("\n"))))
	}
	return out
}

func records(from, to int) []string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprintf("record-%d", i))
	}
	return out
}

// start runs an uplink until the test's function ends it.
func start(t *testing.T, log *fakeLog, o uplink.Options) (u *uplink.Uplink, stop func()) {
	t.Helper()
	u, err := uplink.New(log, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	return u, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if log.readers != 0 {
			t.Errorf("%d readers are left open", log.readers)
		}
	}
}
