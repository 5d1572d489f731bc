package buffer_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"obdagent/buffer"
)

// testSeed is the seed of a random test: a new one each time, or what OBDAGENT_TEST_SEED says, to see a failure again.
func testSeed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("OBDAGENT_TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("OBDAGENT_TEST_SEED: %v", err)
		}
	}
	t.Logf("replay with OBDAGENT_TEST_SEED=%d", seed)
	return seed
}

// testStates is how many power cuts TestPowerCuts makes; OBDAGENT_TEST_STATES sets it for longer runs.
func testStates(t testing.TB) int {
	t.Helper()
	s := os.Getenv("OBDAGENT_TEST_STATES")
	if s == "" {
		return 3000
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("OBDAGENT_TEST_STATES: %v", err)
	}
	return n
}

// world is what the test knows of a log over several lives of its process.
type world struct {
	rnd     *rand.Rand
	opts    buffer.Options
	life    int
	content map[uint64]string // of every record appended that can still be there
	acked   map[uint64]bool
	next    uint64
	states  int
	torn    int // states with a torn frame
}

// cutFrom checks the directory that a power cut would leave now, and returns it.
func (w *world) cutFrom(m *memFS, l *buffer.Log) (*memFS, error) {
	image := m.cut(w.rnd)
	w.states++
	return image, w.verify(image.copyAll(), l.Stats().FirstSeq, l.Committed())
}

// verify opens the directory and looks for every record from first up to committed. Others may be there too, if they
// are what was appended.
func (w *world) verify(image *memFS, first, committed uint64) error {
	opts := w.opts
	l, err := buffer.OpenOn(image, opts)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	got, err := w.readAll(l, first, committed)
	if err != nil {
		return err
	}
	// A second life appends; all that was there has to be there still, and the new record too.
	next := l.Stats().NextSeq
	if next < committed {
		return fmt.Errorf("next number is %d again, %d were committed", next, committed-1)
	}
	seq, err := l.Append([]byte("second life"))
	if err != nil || seq != next {
		return fmt.Errorf("append after the cut: %d, %w, want %d", seq, err, next)
	}
	if err := l.Commit(); err != nil {
		return fmt.Errorf("commit after the cut: %w", err)
	}
	first = l.Stats().FirstSeq
	if err := l.Close(); err != nil {
		return fmt.Errorf("close after the cut: %w", err)
	}
	if l, err = buffer.OpenOn(image, opts); err != nil {
		return fmt.Errorf("second open: %w", err)
	}
	old, had := w.content[seq]
	w.content[seq] = "second life"
	again, err := w.readAll(l, first, committed)
	if delete(w.content, seq); had {
		w.content[seq] = old
	}
	if err != nil {
		return fmt.Errorf("second open: %w", err)
	}
	if !again[seq] {
		return fmt.Errorf("record %d of the second life is missing", seq)
	}
	for s := range got {
		if s >= first && !again[s] && s < seq {
			return fmt.Errorf("record %d was there after the cut and is not after the second open", s)
		}
	}
	return l.Close()
}

// readAll reads everything, checks order and content, and that nothing from first up to committed is missing.
func (w *world) readAll(l *buffer.Log, first, committed uint64) (map[uint64]bool, error) {
	got := map[uint64]bool{}
	last := uint64(0)
	r := l.Reader(0)
	defer r.Close()
	for {
		e, ok, err := r.TryNext()
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		if !ok {
			break
		}
		if e.Seq <= last {
			return nil, fmt.Errorf("%d came after %d", e.Seq, last)
		}
		last = e.Seq
		if e.Lost != nil {
			last = e.Lost.To
			switch {
			case e.Lost.Reason == buffer.ReasonTorn:
				w.torn++
			case e.Lost.Reason == buffer.ReasonOverflow && w.opts.MaxBytes >= 1<<20:
				return nil, fmt.Errorf("%+v: the buffer was not full", *e.Lost)
			}
			continue
		}
		if want := w.content[e.Seq]; string(e.Data) != want {
			return nil, fmt.Errorf("record %d is %q, want %q", e.Seq, e.Data, want)
		}
		got[e.Seq] = true
	}
	for s := first; s < committed; s++ {
		if _, appended := w.content[s]; appended && !got[s] && !w.acked[s] {
			return nil, fmt.Errorf("record %d is missing; %d were committed", s, committed-1)
		}
	}
	return got, nil
}

// live runs one life of the process and returns the directory that a power cut leaves at some moment of it.
func (w *world) live(m *memFS, steps, cutEvery int) (*memFS, error) {
	w.life++
	l, err := buffer.OpenOn(m, w.opts)
	if err != nil {
		return nil, fmt.Errorf("open life %d: %w", w.life, err)
	}
	// What had not been committed went with the last life; its numbers are used anew, or known as torn.
	w.next = l.Stats().NextSeq
	got, err := w.readAll(l, 1, 1)
	if err != nil {
		return nil, fmt.Errorf("life %d: %w", w.life, err)
	}
	for s := range w.content {
		switch {
		case s >= w.next:
			delete(w.content, s)
			delete(w.acked, s)
		case !got[s] && !w.acked[s]:
			delete(w.content, s)
		}
	}
	var image *memFS
	var failed error
	m.before = func(op, name string) {
		if failed != nil || w.rnd.IntN(cutEvery) > 0 {
			return
		}
		if image, failed = w.cutFrom(m, l); failed != nil {
			failed = fmt.Errorf("life %d, cut before %s of %s: %w", w.life, op, name, failed)
		}
	}
	reader := l.Reader(0)
	defer reader.Close()
	for range steps {
		switch w.rnd.IntN(8) {
		case 0, 1, 2:
			for range 1 + w.rnd.IntN(12) {
				data := fmt.Sprintf("life %d record %d %s", w.life, w.next, strings.Repeat(strconv.Itoa(w.rnd.IntN(10)), w.rnd.IntN(300)))
				if w.rnd.IntN(3) == 0 {
					b := make([]byte, w.rnd.IntN(800)) // what does not compress
					for i := range b {
						b[i] = byte(w.rnd.Uint32())
					}
					data = string(b)
				}
				w.content[w.next] = data
				seq, err := l.Append([]byte(data))
				if err != nil || seq != w.next {
					return nil, fmt.Errorf("append: %d, %w, want %d", seq, err, w.next)
				}
				w.next++
			}
		case 3, 4, 5:
			if err := l.Commit(); err != nil {
				return nil, fmt.Errorf("commit: %w", err)
			}
		case 6:
			for range w.rnd.IntN(60) {
				e, ok, err := reader.TryNext()
				if err != nil {
					return nil, fmt.Errorf("read: %w", err)
				}
				if !ok {
					break
				}
				if e.Lost == nil && string(e.Data) != w.content[e.Seq] {
					return nil, fmt.Errorf("life %d: record %d is %q, want %q", w.life, e.Seq, e.Data, w.content[e.Seq])
				}
				to := e.Seq
				if e.Lost != nil {
					to = e.Lost.To
				}
				if w.rnd.IntN(10) > 0 {
					l.Ack(e.Seq, to)
					for s := e.Seq; s <= to; s++ {
						w.acked[s] = true
					}
				}
			}
		case 7:
			if s := l.Stats(); s.Bytes > s.MaxBytes {
				return nil, fmt.Errorf("%d bytes on disk, %d allowed", s.Bytes, s.MaxBytes)
			}
			if w.rnd.IntN(4) == 0 {
				reader = l.Reader(0)
			}
		}
		if failed != nil {
			return nil, failed
		}
	}
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("close: %w", err)
	}
	if failed != nil {
		return nil, failed
	}
	if image == nil || w.rnd.IntN(4) == 0 { // the process ended in peace
		w.states++
		image = m.copyAll()
	}
	return image, nil
}

func TestPowerCuts(t *testing.T) {
	t.Parallel()
	seed := testSeed(t)
	want := testStates(t)
	if testing.Short() {
		want /= 10
	}
	states, torn := 0, 0
	for n := uint64(0); states < want; n++ {
		w := &world{
			rnd:     rand.New(rand.NewPCG(seed, n)),
			content: map[uint64]string{},
			acked:   map[uint64]bool{},
			next:    1,
			opts:    buffer.Options{Dir: "test", SegmentBytes: 8 << 10, MaxBytes: 1 << 20},
		}
		if n%3 == 1 {
			w.opts.MaxBytes = 5 * 8 << 10
		}
		image := newMemFS()
		for range 6 {
			var err error
			if image, err = w.live(image, 40, 3); err != nil {
				t.Fatalf("run %d: %v", n, err)
			}
		}
		states += w.states
		torn += w.torn
	}
	t.Logf("%d power cuts, %d torn frames", states, torn)
	if torn == 0 {
		t.Error("no frame was torn: the test does not do what it should")
	}
}
