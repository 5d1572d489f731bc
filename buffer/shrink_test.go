package buffer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"obdagent/buffer"
)

// ends reads everything, checks that nothing is missing without word of it, and returns what was given up at the beginning.
func ends(t *testing.T, l *buffer.Log) (gone uint64) {
	t.Helper()
	r := l.Reader(0)
	defer r.Close()
	for next := l.Stats().AckedBelow; ; {
		e, ok, err := r.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case !ok && next != l.Committed():
			t.Fatalf("the last one is %d, %d are committed", next-1, l.Committed()-1)
		case !ok:
			return gone
		case e.Seq != next:
			t.Fatalf("%d after %d", e.Seq, next-1)
		case e.Lost == nil && string(e.Data) != dense(e.Seq):
			t.Fatalf("record %d is %q", e.Seq, e.Data)
		case e.Lost != nil && e.Lost.Reason == buffer.ReasonOverflow:
			gone = e.Lost.To
		case e.Lost != nil && e.Lost.Reason != buffer.ReasonThinned:
			t.Fatalf("%+v", *e.Lost)
		}
		if next = e.Seq + 1; e.Lost != nil {
			next = e.Lost.To + 1
		}
	}
}

// TestABufferThatIsMadeSmall opens a log whose newest segment alone takes all that is allowed now, or more: it goes on, and is within
// the bound from the second new segment on.
func TestABufferThatIsMadeSmall(t *testing.T) {
	t.Parallel()
	for _, policy := range []buffer.Overflow{buffer.DropOldest, buffer.DropNewest, buffer.Thin} {
		for _, large := range []int{8, 16, 32} {
			t.Run(fmt.Sprintf("%s, from segments of %d KiB", policy, large), func(t *testing.T) {
				t.Parallel()
				m := newMemFS()
				l := open(t, m, buffer.Options{SegmentBytes: large << 10, MaxBytes: 1 << 20, Overflow: policy})
				overfill(t, l, 600)
				mustClose(t, l)
				opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 16 << 10, Overflow: policy}
				small := int64(opts.SegmentBytes)
				for range 2 { // the second is a restart
					l = open(t, m, opts)
					if policy == buffer.DropNewest && l.Stats().Bytes > opts.MaxBytes {
						_, err := l.Append([]byte(dense(l.Stats().NextSeq)))
						if err == nil {
							err = l.Commit()
						}
						if !errors.Is(err, buffer.ErrFull) {
							t.Fatalf("what waits is more than is allowed, and a commit says %v", err)
						}
						l.Ack(1, l.Committed()-1)
						if err := l.Commit(); err != nil {
							t.Fatalf("when all is acknowledged: %v", err)
						}
					}
					overfill(t, l, l.Stats().NextSeq)
					if s := l.Stats(); s.State != "ok" || s.Bytes != m.used() || s.Bytes > max(opts.MaxBytes, int64(large)<<10+small) {
						t.Fatalf("after a commit: %d bytes in files, %+v", m.used(), s)
					}
					ends(t, l)
					for range 20 {
						if policy == buffer.DropNewest {
							l.Ack(1, l.Committed()-1)
						}
						overfill(t, l, l.Stats().NextSeq+5)
					}
					if s := l.Stats(); s.State != "ok" || s.Bytes != m.used() || s.Bytes > opts.MaxBytes {
						t.Errorf("in the long run: %d bytes in files, %+v", m.used(), s)
					}
					ends(t, l)
					image := m.cutNow()
					mustClose(t, l)
					l = open(t, image, opts)
					ends(t, l)
					mustClose(t, l)
				}
			})
		}
	}
}

// TestABufferThatIsMadeLarge opens a log with larger segments than it has: nothing is lost, new ones have the new size, and Bytes is what
// the files take.
func TestABufferThatIsMadeLarge(t *testing.T) {
	t.Parallel()
	for _, policy := range []buffer.Overflow{buffer.DropOldest, buffer.DropNewest, buffer.Thin} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			m := newMemFS()
			l := open(t, m, buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20, Overflow: policy})
			overfill(t, l, 600)
			mustClose(t, l)
			before := m.segmentNames()
			opts := buffer.Options{SegmentBytes: 16 << 10, MaxBytes: 320 << 10, Overflow: policy}
			l = open(t, m, opts)
			overfill(t, l, 1200)
			if gone := ends(t, l); gone > 0 {
				t.Errorf("%d records are given up", gone)
			}
			for _, name := range m.segmentNames() {
				want := opts.SegmentBytes
				if slices.Contains(before, name) {
					want = 4 << 10
				}
				if got := len(m.names[name].seen); got != want {
					t.Errorf("%s has %d bytes, want %d", name, got, want)
				}
			}
			if policy == buffer.DropNewest {
				l.Ack(1, l.Committed()-1)
			}
			for range 100 { // over the bound, and what was small goes
				overfill(t, l, l.Stats().NextSeq+60)
				if s := l.Stats(); s.State != "ok" || s.Bytes != m.used() || s.Bytes > opts.MaxBytes {
					t.Fatalf("%d bytes in files, %+v", m.used(), s)
				}
				if policy == buffer.DropNewest {
					l.Ack(1, l.Committed()-1)
				}
			}
			ends(t, l)
			for _, name := range m.segmentNames() {
				if strings.HasSuffix(name, ".seg") && len(m.names[name].seen) != opts.SegmentBytes {
					t.Errorf("%s has %d bytes", name, len(m.names[name].seen))
				}
			}
			mustClose(t, l)
		})
	}
}

// TestThinnedSegmentsOfALargerSizeStay opens a log that is thinned with smaller segments: what was thinned before is worth ten times as
// much and does not go for room that is needed for one new segment.
func TestThinnedSegmentsOfALargerSizeStay(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{1400, 1700, 2000} {
		m := newMemFS()
		l := open(t, m, buffer.Options{SegmentBytes: 16 << 10, MaxBytes: 12 * 16 << 10, Overflow: buffer.Thin})
		overfill(t, l, n)
		was := shapeOf(t, l)
		mustClose(t, l)
		if was.gone > 0 || was.full == 0 {
			t.Fatalf("not what is to be made smaller: %+v", was)
		}
		opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 12 * 16 << 10, Overflow: buffer.Thin}
		l = open(t, m, opts)
		for range 20 {
			overfill(t, l, l.Stats().NextSeq+20)
			if s := l.Stats(); s.Bytes != m.used() || s.Bytes > s.MaxBytes {
				t.Fatalf("%d bytes in files, %+v", m.used(), s)
			}
		}
		if now := shapeOf(t, l); now.gone > 0 || now.full <= was.full {
			t.Errorf("after %d records and 400 more: %+v, it was %+v", n, now, was)
		}
		mustClose(t, l)
	}
}

// TestThinReadsNothingWhenThereIsNowhereToWrite makes a log that is thinned much smaller: what is too much goes at the first commit, and
// is not read for that.
func TestThinReadsNothingWhenThereIsNowhereToWrite(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	l := open(t, m, buffer.Options{SegmentBytes: 16 << 10, MaxBytes: 1 << 20, Overflow: buffer.Thin})
	overfill(t, l, 5000)
	mustClose(t, l)
	segments := len(m.segmentNames())
	l = open(t, m, buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 128 << 10, Overflow: buffer.Thin})
	read := map[string]bool{}
	m.fail = func(op, name string) error {
		if op == "read" {
			read[name] = true
		}
		return nil
	}
	overfill(t, l, l.Stats().NextSeq)
	if left := len(m.segmentNames()); segments < 40 || left > 10 || len(read) > 4 {
		t.Errorf("of %d segments %d are left, and %d were read", segments, left, len(read))
	}
	m.fail = nil
	overfill(t, l, l.Stats().NextSeq+1000)
	if s := shapeOf(t, l); s.full == 0 || s.full == s.gone+1 {
		t.Errorf("it is thinned no more: %+v", s)
	}
	mustClose(t, l)
}

// TestSizesThatCanNotBeLookedAtAreLearnedLater lets the look at a segment's size fail, for one that is set aside too.
func TestSizesThatCanNotBeLookedAtAreLearnedLater(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	l := open(t, m, buffer.Options{SegmentBytes: 16 << 10, MaxBytes: 1 << 20})
	commits(t, l, 100, 50)
	mustClose(t, l)
	bad := m.names[m.segmentNames()[1]].seen
	bad[frameOffsets(bad)[1]+70] ^= 1
	l = open(t, m, buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20})
	m.fail = func(op, _ string) error {
		if op == "stat" {
			return syscall.EIO
		}
		return nil
	}
	fill(t, l, 1)
	if s := l.Stats(); s.State != "ok" || s.Bytes >= m.used() {
		t.Errorf("%d bytes in files, %+v", m.used(), s)
	}
	drain(t, l, 0) // a Reader sees the size of what it opens
	fill(t, l, 1)
	if s := l.Stats(); s.Quarantined != 1 {
		t.Errorf("%+v", s)
	}
	m.fail = nil
	for range 10 {
		fill(t, l, 50)
	}
	twice := int64(len(bad)) // in the quarantine and under its name
	if s := l.Stats(); s.State != "ok" || s.Bytes != m.used()+twice {
		t.Errorf("%d bytes in files and %d in two, %+v", m.used(), twice, s)
	}
	l.Ack(1, l.Committed()-1)
	for range 10 {
		fill(t, l, 50)
		l.Ack(1, l.Committed()-1)
	}
	if s := l.Stats(); s.Bytes != m.used() {
		t.Errorf("when all is acknowledged: %d bytes in files, %+v", m.used(), s)
	}
	mustClose(t, l)
}
