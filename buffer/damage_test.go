package buffer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/buffer"
)

// frameMark is what every frame begins with (format.go).
var frameMark = []byte{0xf5, 'B', 'F'}

// frameOffsets finds the frames in a segment that nobody damaged.
func frameOffsets(b []byte) []int {
	var at []int
	for i := 0; i+8 <= len(b); i += 8 {
		if string(b[i:i+3]) == string(frameMark) {
			at = append(at, i)
		}
	}
	return at
}

// commits makes n commits of per records each.
func commits(t *testing.T, l *buffer.Log, n, per int) {
	t.Helper()
	for range n {
		fill(t, l, per)
	}
}

// segmentNames lists the segments, oldest first.
func (m *memFS) segmentNames() []string {
	var names []string
	for name := range m.names {
		if (strings.HasSuffix(name, ".seg") || strings.HasSuffix(name, ".thin")) && !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestDamageCostsOnlyTheFramesItTouches(t *testing.T) {
	t.Parallel()
	const per = 5 // records in a frame
	damages := []struct {
		name string
		// do damages b, in which frames begin at the offsets in at, and returns which of them it hit.
		do func(b []byte, at []int) (out []byte, hit []int)
	}{
		{"one bit in the middle of the records", func(b []byte, at []int) ([]byte, []int) {
			k := len(at) / 2
			b[at[k]+70] ^= 0x10
			return b, []int{k}
		}},
		{"one bit in a frame header", func(b []byte, at []int) ([]byte, []int) {
			k := len(at) / 2
			b[at[k]+17] ^= 1
			return b, []int{k}
		}},
		{"the length of a frame", func(b []byte, at []int) ([]byte, []int) {
			k := len(at) / 2
			b[at[k]+33] ^= 0x7f
			return b, []int{k}
		}},
		{"the magic of a frame", func(b []byte, at []int) ([]byte, []int) {
			k := len(at) / 2
			b[at[k]] = 0
			return b, []int{k}
		}},
		{"one page is lost", func(b []byte, at []int) ([]byte, []int) {
			clear(b[4096:8192])
			return b, touched(b, at, 4096, 8192)
		}},
		{"the first page is lost", func(b []byte, at []int) ([]byte, []int) {
			clear(b[:4096])
			return b, touched(b, at, 0, 4096)
		}},
		{"a sector of garbage", func(b []byte, at []int) ([]byte, []int) {
			for i := range 512 {
				b[1024+i] = byte(i*73 + 5)
			}
			return b, touched(b, at, 1024, 1536)
		}},
		{"the segment header", func(b []byte, _ []int) ([]byte, []int) {
			b[20] ^= 1
			return b, nil
		}},
		{"nothing", func(b []byte, _ []int) ([]byte, []int) { return b, nil }},
	}
	kinds := []struct {
		name     string
		recycled bool
		segment  int // which of the segments, from the oldest; -1 the newest
	}{{"newest", false, -1}, {"sealed", false, 1}, {"recycled sealed", true, 1}, {"recycled newest", true, -1}}
	for _, kind := range kinds {
		for _, d := range damages {
			t.Run(d.name+" in the "+kind.name, func(t *testing.T) {
				t.Parallel()
				m := newMemFS()
				opts := buffer.Options{SegmentBytes: 16 << 10, MaxBytes: 160 << 10}
				l := open(t, m, opts)
				if kind.recycled { // go round once
					commits(t, l, 400, per)
					l.Ack(1, l.Committed()-1)
					commits(t, l, 1, per)
				}
				for len(m.segmentNames()) < 3 {
					commits(t, l, 1, per)
				}
				commits(t, l, 48, per) // into the newest, which has room for them
				mustClose(t, l)
				m = m.copyAll()
				names := m.segmentNames()
				name := names[(kind.segment+len(names))%len(names)]
				want := drainOn(t, m.copyAll(), opts)

				node := m.names[name]
				var first, id uint64
				if _, err := fmt.Sscanf(name, "%016x-%016x.seg", &first, &id); err != nil {
					t.Fatal(err)
				}
				at := slices.DeleteFunc(frameOffsets(node.seen), func(i int) bool { // of this life
					return node.seen[i+8] != byte(id)
				})
				var hit []int
				node.seen, hit = d.do(slices.Clone(node.seen), at)
				var lost []string
				for _, k := range hit {
					for s := range uint64(per) {
						lost = append(lost, fmt.Sprint(first+uint64(k*per)+s))
					}
				}
				want = slices.DeleteFunc(want, func(s string) bool { return slices.Contains(lost, s) })

				got := drainOn(t, m, opts)
				records := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return strings.Contains(s, " ") })
				if diff := cmp.Diff(want, records); diff != "" {
					t.Errorf("records: %s", diff)
				}
				wantLoss := []string(nil)
				if len(hit) > 0 {
					wantLoss = []string{fmt.Sprintf("%s-%s damaged", lost[0], lost[len(lost)-1])}
				}
				loss := slices.DeleteFunc(got, func(s string) bool { return !strings.Contains(s, " ") })
				if diff := cmp.Diff(wantLoss, loss, cmp.Transformer("nil", func(s []string) string { return strings.Join(s, ",") })); diff != "" {
					t.Errorf("losses: %s", diff)
				}
				// Life goes on.
				l = open(t, m, opts)
				fill(t, l, 10)
				tail := drain(t, l, 0)
				if diff := cmp.Diff(seqs(l.Committed()-10, l.Committed()-1), tail[len(tail)-10:]); diff != "" {
					t.Errorf("appended after the damage: %s", diff)
				}
				mustClose(t, l)
			})
		}
	}
}

// touched says which frames have bytes in from..to.
func touched(b []byte, at []int, from, to int) []int {
	var hit []int
	for k, i := range at {
		end := len(b)
		if k+1 < len(at) {
			end = at[k+1]
		}
		if i < to && end > from {
			hit = append(hit, k)
		}
	}
	return hit
}

// drainOn opens, reads everything and forgets the log.
func drainOn(t *testing.T, m *memFS, opts buffer.Options) []string {
	t.Helper()
	l := open(t, m.copyAll(), opts)
	defer mustClose(t, l)
	return drain(t, l, 0)
}

func TestTruncationAtEveryByteLosesOnlyTheTail(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20}
	l := open(t, m, opts)
	commits(t, l, 8, 3)
	mustClose(t, l)
	names := m.segmentNames()
	name := names[len(names)-1]
	whole := m.names[name].seen
	at := frameOffsets(whole)
	all := drainOn(t, m, opts)
	step := 1
	if raceDetector || testing.Short() {
		step = 37
	}
	for n := 0; n < min(at[len(at)-1]+512, len(whole)); n += step { // behind are zeros
		c := m.copyAll()
		c.names[name].seen = c.names[name].seen[:n]
		l := open(t, c, opts)
		next := l.Stats().NextSeq
		got := drain(t, l, 0)
		good := len(at) - 1
		for good > 0 && n < at[good] {
			good--
		}
		records := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return strings.Contains(s, " ") })
		if min := len(all) - (len(at)-good)*3; len(records) < min || !slices.Equal(records, all[:len(records)]) {
			t.Fatalf("cut at %d: %v, want at least %d of %v", n, got, min, all)
		}
		fill(t, l, 1)
		if again := drain(t, l, next); !slices.Equal(again, seqs(next, next)) {
			t.Fatalf("cut at %d: appended %d, read %v", n, next, again)
		}
		if len(records) < len(all) && next <= 24 {
			t.Fatalf("cut at %d: number %d is given out again", n, next)
		}
		mustClose(t, l)
	}
}

func TestTheEndOfTheLogCanBeAnything(t *testing.T) {
	t.Parallel()
	tails := map[string]struct {
		do   func(b []byte, end int, frame int) []byte
		want []string // behind the 20 or 15 good ones
		good int
	}{
		"garbage right behind the last frame": {func(b []byte, end, _ int) []byte {
			for i := range 600 {
				b[end+i] = byte(i*37 + 11)
			}
			return b
		}, []string{"21-4116 damaged"}, 20},
		"garbage further behind": {func(b []byte, end, _ int) []byte {
			for i := range 600 {
				b[end+64+i] = byte(i*37 + 11)
			}
			return b
		}, nil, 20},
		"the last frame half zeros": {func(b []byte, end, frame int) []byte {
			clear(b[(frame+end)/2 : end])
			return b
		}, []string{"16-20 torn"}, 15},
		"the end of the one before and the last one's beginning": {func(b []byte, _, frame int) []byte {
			for i := frame - 10; i < frame+10; i++ {
				b[i] ^= 0xa5
			}
			return b
		}, []string{"11-4111 damaged"}, 10},
		"no byte left": {func([]byte, int, int) []byte { return nil }, []string{"1-4096 damaged"}, 0},
		"only zeros left": {func(b []byte, _, _ int) []byte {
			clear(b)
			return b
		}, nil, 0},
		"only garbage left": {func(b []byte, _, _ int) []byte {
			for i := range b {
				b[i] = byte(i*i*31 + 7)
			}
			return b
		}, []string{"1-4096 damaged"}, 0},
	}
	for name, tail := range tails {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemFS()
			opts := buffer.Options{SegmentBytes: 16 << 10, MaxBytes: 1 << 20}
			l := open(t, m, opts)
			commits(t, l, 4, 5)
			mustClose(t, l)
			node := m.names[m.segmentNames()[0]]
			at := frameOffsets(node.seen)
			end := len(node.seen)
			for end > 0 && node.seen[end-1] == 0 {
				end--
			}
			end = (end + 7) / 8 * 8
			node.seen = tail.do(node.seen, end, at[len(at)-1])
			l = open(t, m, opts)
			next := l.Stats().NextSeq
			fill(t, l, 2)
			want := append(append(seqs(1, uint64(tail.good)), tail.want...), seqs(next, next+1)...)
			if diff := cmp.Diff(want, drain(t, l, 0)); diff != "" {
				t.Error(diff)
			}
			mustClose(t, l)
			if diff := cmp.Diff(want, drainOn(t, m, opts)); diff != "" {
				t.Errorf("after another open: %s", diff)
			}
		})
	}
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	others := []string{"clock.json", "0000000000000001-0000000000000001.segx", "1-1.seg", "000000000000000A-0000000000000001.seg", "lost+found"}
	for _, name := range others {
		m.names[name] = &inode{seen: []byte("mine")}
	}
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 16 << 10}
	l := open(t, m, opts)
	commits(t, l, 100, 5)
	l.Ack(1, l.Committed()-1)
	mustClose(t, l)
	for _, name := range others {
		if n := m.names[name]; n == nil || string(n.seen) != "mine" {
			t.Errorf("%s was changed", name)
		}
	}
}
