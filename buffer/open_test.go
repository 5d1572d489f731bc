package buffer_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/buffer"
)

// TestOpenDoesTheSameForAnyNumberOfRecords counts what Open asks of the file system.
func TestOpenDoesTheSameForAnyNumberOfRecords(t *testing.T) {
	t.Parallel()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 4 << 20}
	asked := func(commit int) (segments int, ops map[string]int) {
		m := newMemFS()
		l := open(t, m, opts)
		commits(t, l, commit, 50)
		mustClose(t, l)
		m.fail = func(op, name string) error {
			if op == "read" {
				return nil // by the bytes of the newest segment
			}
			ops[op]++
			return nil
		}
		ops = map[string]int{}
		l = open(t, m, opts)
		segments = l.Stats().Segments
		m.fail = nil
		mustClose(t, l)
		return segments, ops
	}
	few, want := asked(30)
	many, got := asked(2000)
	if few < 3 || many < 30*few {
		t.Fatalf("%d and %d segments: not what is to be compared", few, many)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%d and %d segments: %s", few, many, diff)
	}
}

// TestSizesAreLearned opens a directory whose segments are of other sizes than new ones: the first commit knows
// what they take, and Bytes is never above MaxBytes from then on.
func TestSizesAreLearned(t *testing.T) {
	t.Parallel()
	for _, reads := range []bool{false, true} {
		m := newMemFS()
		l := open(t, m, buffer.Options{SegmentBytes: 16 << 10, MaxBytes: 1 << 20})
		commits(t, l, 400, 50)
		mustClose(t, l)
		names := m.segmentNames()
		for _, n := range names[2:4] {
			m.names[n].seen = append(m.names[n].seen, make([]byte, 5000)...)
		}
		opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: m.used()}
		if len(names) < 8 {
			t.Fatalf("%d segments", len(names))
		}
		l = open(t, m, opts)
		if reads {
			if got := drain(t, l, 0); got[0] != "1" {
				t.Errorf("it begins with %q", got[0])
			}
		}
		for range 300 {
			fill(t, l, 10)
			if s := l.Stats(); s.Bytes != m.used() || s.Bytes > opts.MaxBytes {
				t.Fatalf("Bytes is %d, the files have %d, %d are allowed", s.Bytes, m.used(), opts.MaxBytes)
			}
		}
		if l.Stats().LostRecords[buffer.ReasonOverflow] == 0 {
			t.Error("it was never full")
		}
		mustClose(t, l)
	}
}

// TestSegmentsGrowWithTheBuffer looks at the size of new segments.
func TestSegmentsGrowWithTheBuffer(t *testing.T) {
	t.Parallel()
	for most, want := range map[int64]int64{0: 1 << 20, 512 << 20: 1 << 20, 512<<20 + 1: 2 << 20, 1 << 30: 2 << 20, 2 << 30: 4 << 20, 64 << 30: 4 << 20} {
		l, err := buffer.Open(buffer.Options{Dir: t.TempDir(), MaxBytes: most})
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 1)
		if got := l.Stats().Bytes; got != want {
			t.Errorf("MaxBytes %d: a segment of %d, want %d", most, got, want)
		}
		mustClose(t, l)
	}
}
