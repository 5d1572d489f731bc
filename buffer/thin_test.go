package buffer_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/buffer"
)

// thinOptions is a log of twelve segments that hold some 40 records each.
func thinOptions() buffer.Options {
	return buffer.Options{SegmentBytes: 8 << 10, MaxBytes: 12 * 8 << 10, Overflow: buffer.Thin}
}

// overfill appends what does not compress until n records are there.
func overfill(t testing.TB, l *buffer.Log, n uint64) {
	t.Helper()
	for l.Stats().NextSeq <= n {
		for range 4 {
			if _, err := l.Append([]byte(dense(l.Stats().NextSeq))); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// dense is a record that compresses little.
func dense(seq uint64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d ", seq)
	x := seq*2862933555777941757 + 3037000493
	for range 150 {
		x = x*6364136223846793005 + 1442695040888963407
		b.WriteByte(byte(33 + x>>33%90))
	}
	return b.String()
}

// shape is what a thinned log hands out, in short: where the part that is kept in full begins. It checks the rest: at first what
// was given up whole, then every tenth record and word of those between, then all.
type shape struct{ gone, full, next uint64 }

func shapeOf(t testing.TB, l *buffer.Log) (s shape) {
	t.Helper()
	r := l.Reader(0)
	defer r.Close()
	s.next = 1
	for {
		e, ok, err := r.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return s
		}
		if e.Seq != s.next {
			t.Fatalf("%d after %d", e.Seq, s.next-1)
		}
		s.next = e.Seq + 1
		switch {
		case e.Lost == nil && string(e.Data) != dense(e.Seq):
			t.Fatalf("record %d is %q", e.Seq, e.Data)
		case e.Lost == nil:
			continue
		case e.Lost.Reason == buffer.ReasonOverflow && e.Seq == 1:
			s.gone = e.Lost.To
		case e.Lost.Reason != buffer.ReasonThinned:
			t.Fatalf("%+v", *e.Lost)
		}
		for n := e.Lost.From; n <= e.Lost.To && e.Lost.Reason == buffer.ReasonThinned; n++ {
			if n%10 == 0 {
				t.Fatalf("%+v: %d is to be kept", *e.Lost, n)
			}
		}
		s.next = e.Lost.To + 1
		s.full = s.next
	}
}

// TestThinKeepsOneInTenOfTheOldest fills a log many times over.
func TestThinKeepsOneInTenOfTheOldest(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	l := open(t, m, thinOptions())
	overfill(t, l, 400)
	before := shapeOf(t, l)
	if before.full > 0 {
		t.Fatalf("before it is full: %+v", before)
	}
	overfill(t, l, 600)
	early := shapeOf(t, l)
	if early.gone > 0 || early.full == 0 {
		t.Errorf("when it is full: %+v", early)
	}
	overfill(t, l, 5000)
	late := shapeOf(t, l)
	s := l.Stats()
	if late.gone == 0 || s.Bytes > s.MaxBytes || s.State != "ok" {
		t.Errorf("in the long run: %+v, %+v", late, s)
	}
	// Twelve segments hold some 500 records in full. Half of them hold ten times as many.
	if depth := late.next - 1 - late.gone; depth < 1500 || late.next-late.full < 150 {
		t.Errorf("in the long run: %+v: %d deep", late, depth)
	}
	if n := s.LostRecords[buffer.ReasonThinned]; n < 3000 || s.LostRecords[buffer.ReasonOverflow] == 0 {
		t.Errorf("counted: %v", s.LostRecords)
	}
	kept := uint64(0)
	for n := late.gone + 1; n < late.full; n++ {
		if n%10 == 0 {
			kept++
		}
	}
	if kept += late.next - late.full; s.Records < kept*9/10 || s.Records > kept*11/10 {
		t.Errorf("%d records waiting by Stats, %d are there", s.Records, kept)
	}
	t.Logf("%+v", late)
	mustClose(t, l)
	for range 3 { // over restarts too, and a power cut
		m = m.cutNow()
		l = open(t, m, thinOptions())
		if again := shapeOf(t, l); again != late {
			t.Errorf("after another open: %+v, want %+v", again, late)
		}
		overfill(t, l, late.next+100)
		late = shapeOf(t, l)
		mustClose(t, l)
	}
	if late.next-1-late.gone < 1200 {
		t.Errorf("over restarts: %+v", late)
	}
	in, err := buffer.InspectOn(m, func(r buffer.ScannedRecord) error {
		if string(r.Data) != dense(r.Seq) {
			return fmt.Errorf("record %d is %q", r.Seq, r.Data)
		}
		return nil
	})
	if err != nil || len(in.Damage) > 0 || !in.Segments[0].Thinned || in.Segments[len(in.Segments)-1].Thinned {
		t.Errorf("%v, %+v", err, in)
	}
}

// TestThinKeepsWhatIsAcknowledgedInMemoryOnly acknowledges records while they are thinned, and cuts the power before the frame with
// the acknowledgement is durable: those that are to be kept are there, and nobody says that they were thinned.
func TestThinKeepsWhatIsAcknowledgedInMemoryOnly(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	l := open(t, m, thinOptions())
	overfill(t, l, 400)
	names := m.segmentNames()
	var oldest, behind uint64
	for name, to := range map[string]*uint64{names[0]: &oldest, names[1]: &behind} {
		if _, err := fmt.Sscanf(name, "%016x-", to); err != nil {
			t.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(testSeed(t), 0))
	m.fail = func(op, name string) error {
		if op == "open" && name == names[0] {
			l.Ack(oldest, behind-1)
		}
		return nil
	}
	var images []*memFS
	m.before = func(op, name string) {
		if op == "sync" && strings.HasSuffix(name, ".seg") && m.names[names[0]] == nil && len(images) == 0 {
			for range 20 {
				images = append(images, m.cut(rnd))
			}
		}
	}
	overfill(t, l, 600)
	m.fail, m.before = nil, nil
	mustClose(t, l)
	thinned := 0
	for _, image := range images {
		if image.names[names[0]] == nil {
			thinned++
		}
		l := open(t, image, thinOptions())
		got := map[uint64]bool{}
		r := l.Reader(0)
		for {
			e, ok, err := r.TryNext()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if e.Lost == nil {
				got[e.Seq] = true
			}
		}
		for n := oldest; n < behind; n++ {
			if n%10 == 0 && !got[n] && n >= l.Stats().AckedBelow {
				t.Fatalf("record %d is not there: %v", n, drain(t, l, 0)[:20])
			}
		}
		r.Close()
		mustClose(t, l)
	}
	if thinned == 0 {
		t.Errorf("of %d images none has it thinned", len(images))
	}
}

// TestThinnedRecordsAreCarvedOutOfAnImage carves a card on which thinned segments and those they were made of lie side by side.
func TestThinnedRecordsAreCarvedOutOfAnImage(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	l := open(t, m, thinOptions())
	overfill(t, l, 900)
	s := shapeOf(t, l)
	mustClose(t, l)
	var image []byte
	for _, name := range slices.Sorted(maps.Keys(m.names)) { // spares too
		image = append(image, m.names[name].seen...)
	}
	got := map[uint64]bool{}
	last := uint64(0)
	found, err := buffer.CarveRecords(bytes.NewReader(image), int64(len(image)), func(r buffer.ScannedRecord) error {
		if r.Seq <= last || string(r.Data) != dense(r.Seq) {
			t.Errorf("record %d after %d is %q", r.Seq, last, r.Data)
		}
		last = r.Seq
		got[r.Seq] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := s.gone + 1; n < s.next; n++ {
		if (n >= s.full || n%10 == 0) && !got[n] {
			t.Errorf("record %d is not found", n)
		}
	}
	if found.Broken > 0 || found.Records != uint64(len(got)) || s.full < 100 {
		t.Errorf("%+v, %d records; %+v", found, len(got), s)
	}
}

// TestThinKeepsWhatIsKnownOfGaps thins segments in which frames are damaged: the reasons stay.
func TestThinKeepsWhatIsKnownOfGaps(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	l := open(t, m, thinOptions())
	overfill(t, l, 400)
	mustClose(t, l)
	names := m.segmentNames()
	b := m.names[names[1]].seen
	at := frameOffsets(b)
	b[at[3]+60] ^= 1
	b[at[len(at)-1]+60] ^= 1
	var want []string
	for _, k := range []int{3, len(at) - 1} {
		first := uint64(b[at[k]+16]) | uint64(b[at[k]+17])<<8
		want = append(want, fmt.Sprintf("%d-%d damaged", first, first+3))
	}
	l = open(t, m, thinOptions())
	overfill(t, l, 1200)
	var got []string
	check := func(l *buffer.Log) {
		t.Helper()
		got = nil
		r := l.Reader(0)
		defer r.Close()
		next := uint64(1)
		for {
			e, ok, err := r.TryNext()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if e.Seq != next {
				t.Errorf("%d after %d", e.Seq, next-1)
			}
			next = e.Seq + 1
			if e.Lost != nil {
				if next = e.Lost.To + 1; e.Lost.Reason != buffer.ReasonThinned {
					got = append(got, entryText(e))
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	check(l)
	mustClose(t, l)
	l = open(t, m, thinOptions())
	check(l)
	if q := l.Stats().Quarantined; q != 1 {
		t.Errorf("%d damaged segments set aside", q)
	}
	mustClose(t, l)
}

// TestThinWhenTheDiskFails lets each operation of thinning fail, for lack of space or by itself, and cuts the power then.
func TestThinWhenTheDiskFails(t *testing.T) {
	t.Parallel()
	step := 1
	if raceDetector || testing.Short() {
		step = 5
	}
	for _, errno := range []error{syscall.ENOSPC, syscall.EIO} {
		for _, times := range []int{1, 3} {
			for n := 0; n < 60; n += step {
				m := newMemFS()
				l := open(t, m, thinOptions())
				overfill(t, l, 480)
				which := m.failFrom(n, times, errno, changes)
				for range 30 {
					if _, err := l.Append([]byte(dense(l.Stats().NextSeq))); err != nil {
						t.Fatal(err)
					}
					_ = l.Commit() // it may fail, and is tried again
				}
				m.fail = nil
				if err := l.Commit(); err != nil {
					t.Fatalf("%v at %q: commit: %v", errno, *which, err)
				}
				image := m.cutNow()
				now := shapeOf(t, l)
				s := l.Stats()
				if s.State != "ok" || s.Bytes > s.MaxBytes || m.used() > s.MaxBytes {
					t.Fatalf("%v at %q: %+v, %d bytes", errno, *which, s, m.used())
				}
				if now.gone > 0 && times == 1 && errno == syscall.EIO {
					t.Fatalf("%v at %q: %d records given up whole", errno, *which, now.gone)
				}
				mustClose(t, l)
				for _, m := range []*memFS{image, m} {
					l = open(t, m, thinOptions())
					if again := shapeOf(t, l); again.next != now.next || again.gone != now.gone {
						t.Fatalf("%v at %q: after another open: %+v, want %+v", errno, *which, again, now)
					}
					mustClose(t, l)
				}
			}
		}
	}
}
