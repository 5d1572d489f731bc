package buffer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/buffer"
)

func TestAFailureOfAnyOperationLosesNothing(t *testing.T) {
	t.Parallel()
	for _, errno := range []error{syscall.EIO, syscall.EROFS} {
		for _, times := range []int{1, 5} {
			step := 1
			if raceDetector || testing.Short() {
				step = 5 // every operation is for the run without
			}
			for n := 0; n < 50; n += step {
				failEach(t, errno, n, times)
			}
		}
	}
}

// failEach lets operations n, n+1, ... fail and looks whether every record is there in the end, before and after Close.
func failEach(t *testing.T, errno error, n, times int) {
	t.Helper()
	m := newMemFS()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20}
	l := open(t, m, opts)
	ops := 0
	which := ""
	m.fail = func(op, name string) error {
		if op == "open" || op == "read" || op == "readdir" {
			return nil
		}
		if ops++; ops > n && ops <= n+times {
			which += op + " " + name + ", "
			return errno
		}
		return nil
	}
	failed := false
	for range 30 {
		for range 4 {
			if _, err := l.Append([]byte(record(l.Stats().NextSeq))); err != nil {
				t.Fatalf("append: %v", err)
			}
		}
		if err := l.Commit(); err != nil {
			failed = true
			if state := l.Stats().State; !errors.Is(err, errno) || !strings.HasPrefix(state, "storage failed: ") {
				t.Fatalf("%v at %s: commit: %v, state %q", errno, which, err, state)
			}
		}
		if l.Committed() > 40 {
			l.Ack(1, 30)
		}
	}
	m.fail = nil
	if err := l.Commit(); err != nil {
		t.Fatalf("%v at %s: commit when all is well again: %v", errno, which, err)
	}
	if s := l.Stats(); s.State != "ok" || len(s.LostRecords) > 0 || s.Unsynced > 0 {
		t.Fatalf("%v at %s: stats %+v", errno, which, s)
	}
	if diff := cmp.Diff(seqs(31, 120), drain(t, l, 0)); diff != "" {
		t.Fatalf("%v at %s: %s", errno, which, diff)
	}
	if times > 2 && n < 20 && !failed && errno == syscall.EIO {
		t.Fatalf("%v at %s: no commit failed: the test does not do what it should", errno, which)
	}
	mustClose(t, l)
	if got := drainOn(t, m.cutNow(), opts); len(got) < 90 || !slices.Equal(got[len(got)-90:], seqs(31, 120)) {
		t.Fatalf("%v at %s: after reopen %v", errno, which, got)
	}
}

// cutNow is a power cut that takes everything that was not synced.
func (m *memFS) cutNow() *memFS {
	c := m.cut(rand.New(rand.NewPCG(0, 0)))
	for name, n := range m.durable {
		if f := c.names[name]; f != nil {
			f.seen = slices.Clone(n.durable)
		}
	}
	return c
}

func TestAFailedSyncIsNotAskedTwice(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	l := open(t, m, buffer.Options{SegmentBytes: 16 << 10, MaxBytes: 1 << 20})
	fill(t, l, 10)
	bad := m.segmentNames()[0]
	touched := false
	failing := true
	m.fail = func(op, name string) error {
		switch {
		case failing && op == "sync":
			failing = false
			return syscall.EIO
		case !failing && name == bad && (op == "write" || op == "sync"):
			touched = true
		}
		return nil
	}
	fill(t, l, 10)
	fill(t, l, 10)
	if touched {
		t.Error("the segment was written after its sync failed")
	}
	if diff := cmp.Diff(seqs(1, 30), drain(t, l, 0)); diff != "" {
		t.Error(diff)
	}
	mustClose(t, l)
}

func TestADeadDiskTurnsTheLogIntoAMemoryRing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		l := open(t, m, buffer.Options{SegmentBytes: 64 << 10, MaxBytes: 64 << 20})
		fill(t, l, 10)
		m.mu.Lock()
		m.fail = func(op, _ string) error {
			if op == "write" || op == "sync" || op == "create" || op == "rename" || op == "remove" {
				return syscall.EIO
			}
			return nil
		}
		m.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		big := []byte(strings.Repeat("b", 10_000))
		for range 1000 { // 10 MB into a ring of 4
			if _, err := l.Append(big); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour) // the bubble's clock: Run retries meanwhile
		s := l.Stats()
		if !strings.HasPrefix(s.State, "storage failed: ") || s.OldestUnsynced < time.Hour {
			t.Errorf("stats %+v", s)
		}
		lost := s.LostRecords[buffer.ReasonOverflow]
		if uint64(s.Unsynced)+lost != 1000 || lost < 500 || lost > 700 {
			t.Errorf("%d unsynced and %d lost, want 1000 together, some 600 lost", s.Unsynced, lost)
		}
		if s.Segments > 3 {
			t.Errorf("%d segments after an hour of retries", s.Segments)
		}
		m.mu.Lock()
		m.fail = nil
		m.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if s = l.Stats(); s.State != "ok" || s.Unsynced != 0 {
			t.Errorf("after the disk came back: %+v", s)
		}
		r := l.Reader(11)
		e, err := r.Next(ctx)
		if err != nil || e.Lost == nil || *e.Lost != (buffer.Lost{From: 11, To: 10 + lost, Reason: buffer.ReasonOverflow}) {
			t.Errorf("first entry %+v %+v, %v", e, e.Lost, err)
		}
		for n := 10 + lost + 1; n <= 1010; n++ {
			if e, err := r.Next(ctx); err != nil || e.Seq != n || len(e.Data) != len(big) {
				t.Fatalf("entry %d: %d, %v", n, e.Seq, err)
			}
		}
		r.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		mustClose(t, l)
	})
}

func TestFullDropsTheOldestSegmentAndSaysSo(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 16 << 10}
	l := open(t, m, opts)
	slow := l.Reader(0)
	if e, ok, err := slow.TryNext(); ok || err != nil {
		t.Fatalf("an empty log gave %+v, %v", e, err)
	}
	commits(t, l, 4, 2)
	if e, _, err := slow.TryNext(); err != nil || entryText(e) != "1" {
		t.Fatalf("got %+v, %v", e, err)
	}
	commits(t, l, 300, 4)
	s := l.Stats()
	if s.Bytes > s.MaxBytes || s.LostRecords[buffer.ReasonOverflow] != s.FirstSeq-1 || s.FirstSeq < 100 {
		t.Errorf("stats %+v", s)
	}
	// What the overtaken reader had in memory it may still hand out.
	var e buffer.Entry
	for e.Lost == nil {
		var err error
		var ok bool
		if e, ok, err = slow.TryNext(); err != nil || !ok {
			t.Fatalf("the overtaken reader got nothing: %v", err)
		}
	}
	if e.Lost.To != s.FirstSeq-1 || e.Lost.Reason != buffer.ReasonOverflow || e.Lost.From > 12 {
		t.Errorf("overtaken reader got %+v, first on disk is %d", e.Lost, s.FirstSeq)
	}
	want := append([]string{fmt.Sprintf("1-%d overflow", s.FirstSeq-1)}, seqs(s.FirstSeq, 1208)...)
	if diff := cmp.Diff(want, drain(t, l, 0)); diff != "" {
		t.Error(diff)
	}
	slow.Close()
	mustClose(t, l)
	if diff := cmp.Diff(want, drainOn(t, m, opts)); diff != "" {
		t.Errorf("after reopen: %s", diff)
	}
}

func TestFullRefusesNewRecordsIfAskedTo(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	l := open(t, m, buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 16 << 10, Overflow: buffer.DropNewest})
	var err error
	for err == nil {
		if _, err = l.Append([]byte(record(l.Stats().NextSeq))); err == nil {
			err = l.Commit()
		}
	}
	if !errors.Is(err, buffer.ErrFull) || !strings.HasPrefix(l.Stats().State, "storage full: ") {
		t.Fatalf("%v, %+v", err, l.Stats())
	}
	if _, err := l.Append(nil); !errors.Is(err, buffer.ErrFull) {
		t.Errorf("append: %v, want ErrFull", err)
	}
	n := l.Stats().NextSeq - 1 // the last one was taken, and is in memory
	if diff := cmp.Diff(seqs(1, n-1), drain(t, l, 0)); diff != "" {
		t.Error(diff)
	}
	l.Ack(1, n-1)
	if err := l.Commit(); err != nil {
		t.Fatalf("commit after acknowledgement: %v", err)
	}
	fill(t, l, 5)
	if diff := cmp.Diff(seqs(n, n+5), drain(t, l, 0)); diff != "" {
		t.Error(diff)
	}
	if lost := l.Stats().LostRecords; lost["refused"] != 1 || len(lost) != 1 {
		t.Errorf("lost %v", lost)
	}
	mustClose(t, l)
}

func TestAFullDiskGivesUpTheOldest(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	l := open(t, m, buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20})
	commits(t, l, 30, 4)
	m.fail = func(op, name string) error {
		if op == "write" && strings.HasSuffix(name, ".spare") {
			return syscall.ENOSPC
		}
		return nil
	}
	was := len(m.segmentNames())
	commits(t, l, 60, 4)
	if now := len(m.segmentNames()); now != was || len(m.names) != was+1 {
		t.Errorf("%d segments, %d before; files %v", now, was, m.names)
	}
	if s := l.Stats(); s.State != "ok" || s.LostRecords[buffer.ReasonOverflow] != s.FirstSeq-1 || s.FirstSeq == 1 {
		t.Errorf("stats %+v", s)
	}
	mustClose(t, l)
}

func TestAcknowledgedSegmentsAreRecycled(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	l := open(t, m, buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20})
	created := 0
	m.before = func(op, _ string) {
		if op == "create" {
			created++
		}
	}
	for range 500 {
		fill(t, l, 4)
		l.Ack(1, l.Committed()-1)
	}
	if created > 4 {
		t.Errorf("%d files were made", created)
	}
	syncs := m.syncs
	fill(t, l, 1)
	if m.syncs != syncs+1 {
		t.Errorf("%d syncs for a commit", m.syncs-syncs)
	}
	mustClose(t, l)
}

func TestAcknowledgementIsWrittenWhenIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		l := open(t, m, buffer.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		fill(t, l, 10)
		m.mu.Lock()
		syncs := m.syncs
		m.mu.Unlock()
		for n := range uint64(6) {
			l.Ack(n+1, n+1)
			time.Sleep(time.Second) // the bubble's clock
		}
		l.Ack(8, 9)
		m.mu.Lock()
		if m.syncs != syncs {
			t.Errorf("%d syncs for acknowledgements at once", m.syncs-syncs)
		}
		m.mu.Unlock()
		time.Sleep(2 * time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		m.mu.Lock()
		if m.syncs != syncs+1 {
			t.Errorf("%d syncs for acknowledgements when idle, want 1", m.syncs-syncs)
		}
		image := m.cutNow()
		m.mu.Unlock()
		if diff := cmp.Diff([]string{"7", "10"}, drainOn(t, image, buffer.Options{})); diff != "" {
			t.Error(diff)
		}
		mustClose(t, l)
	})
}

// TestTheAcknowledgementOfAParkedVehicleRidesAlong: with a record a minute, each acknowledged at once, each costs one sync.
func TestTheAcknowledgementOfAParkedVehicleRidesAlong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		l := open(t, m, buffer.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		minute := func() {
			seq, err := l.Append([]byte("parked"))
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second) // the bubble's clock
			l.Ack(seq, seq)
			time.Sleep(58 * time.Second)
		}
		minute()
		m.mu.Lock()
		before := m.syncs
		m.mu.Unlock()
		for range 30 {
			minute()
		}
		m.mu.Lock()
		if n := m.syncs - before; n != 30 {
			t.Errorf("%d syncs for 30 records", n)
		}
		m.mu.Unlock()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		mustClose(t, l)
	})
}
