package buffer_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"obdagent/buffer"
)

// TestOpenTakesAnyBytes is the fuzz target's quick brother: it runs with every go test.
func TestOpenTakesAnyBytes(t *testing.T) {
	t.Parallel()
	const name = "0000000000000001-0000000000000002.seg"
	whole, err := os.ReadFile(filepath.Join(goldenDir, name))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(testSeed(t), 0))
	for range 600 {
		b := slices.Clone(whole)
		for range 1 + rnd.IntN(8) {
			b[rnd.IntN(300)] = byte(rnd.Uint32())
		}
		if rnd.IntN(2) == 0 {
			for range rnd.IntN(3) { // a field with a large number
				b[64+8+rnd.IntN(40)] = 0xff
			}
			reseal(b[:64], 12)
			reseal(b[64:64+48], 4)
		}
		m := newMemFS()
		m.names[name] = &inode{seen: b}
		l, err := buffer.OpenOn(m, buffer.Options{Dir: "test", SegmentBytes: 4 << 10, MaxBytes: 1 << 20})
		if errors.Is(err, buffer.ErrFormat) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 1)
		r := l.Reader(0)
		last := uint64(0)
		for ok := true; ok; {
			var e buffer.Entry
			if e, ok, err = r.TryNext(); errors.Is(err, buffer.ErrFormat) {
				break
			}
			if err != nil || ok && e.Seq <= last {
				t.Fatalf("%d after %d, %v", e.Seq, last, err)
			}
			if ok {
				last = e.Seq
			}
		}
		if err == nil && last != l.Committed()-1 {
			t.Fatalf("the new record %d was not handed out; the last was %d", l.Committed()-1, last)
		}
		r.Close()
		mustClose(t, l)
	}
}
