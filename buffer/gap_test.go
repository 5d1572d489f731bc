package buffer_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/buffer"
)

// TestAGapThatIsNotAcknowledgedOutlivesTheSegmentThatTellsOfIt acknowledges all records behind a gap, but not the gap: the
// segment whose header says why those numbers are missing has to stay, or they would be reported for another reason.
func TestAGapThatIsNotAcknowledgedOutlivesTheSegmentThatTellsOfIt(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20}
	l := open(t, m, opts)
	fill(t, l, 10)
	mustClose(t, l)
	b := m.names[m.segmentNames()[0]].seen
	last := frameOffsets(b)
	for i := last[len(last)-1]; i < len(b); i++ { // the end of the log is anything
		b[i] = 0x5a
	}
	l = open(t, m, opts)
	first := l.Committed()
	gap := fmt.Sprintf("1-%d damaged", first-1)
	if first <= 1 {
		t.Fatal("no number was passed over: the test does not do what it should")
	}
	teller := ""
	for range 60 {
		fill(t, l, 4)
		if teller == "" {
			teller = m.segmentNames()[len(m.segmentNames())-1]
		}
		l.Ack(first, l.Committed()-1)
	}
	fill(t, l, 1) // the acknowledgement rides, and what it covers goes
	if m.names[teller] == nil {
		t.Errorf("segment %s is gone; its header tells of the gap", teller)
	}
	if n := len(m.segmentNames()); n > 4 {
		t.Errorf("%d segments: those behind the gap were to be recycled", n)
	}
	want := []string{gap, fmt.Sprint(l.Committed() - 1)}
	if diff := cmp.Diff(want, drain(t, l, 0)); diff != "" {
		t.Error(diff)
	}
	mustClose(t, l)
	l = open(t, m, opts)
	if diff := cmp.Diff(want, drain(t, l, 0)); diff != "" {
		t.Errorf("after reopen: %s", diff)
	}

	// Once the gap is acknowledged too, the segment has no more to tell.
	l.Ack(1, first)
	fill(t, l, 1)
	fill(t, l, 1)
	if m.names[teller] != nil {
		t.Errorf("segment %s is still there", teller)
	}
	mustClose(t, l)
}
