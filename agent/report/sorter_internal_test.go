package report

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// Chunks of a row each make a run of each row: three levels of files, from several writers at once.
func TestRowsComeOutInOrderThroughAllLevels(t *testing.T) {
	t.Parallel()
	const writers, rows = 4, fanIn*fanIn + 300
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dir := t.TempDir()
	s := newSorter(2, dir)
	defer s.close()
	var want [][2]uint64
	var all sync.WaitGroup
	for w := range writers {
		random := rand.New(rand.NewPCG(seed, uint64(w)))
		var mine [][2]uint64
		for range rows / writers {
			mine = append(mine, [2]uint64{random.Uint64N(50), random.Uint64()})
		}
		want = append(want, mine...)
		all.Go(func() {
			c := s.chunk(sortMemory)
			for _, m := range mine {
				row, err := c.next()
				if err != nil {
					t.Errorf("next: %v", err)
					return
				}
				copy(row, m[:])
			}
			c.done()
		})
	}
	all.Wait()
	if len(s.levels) < 3 {
		t.Errorf("%d levels, want 3", len(s.levels))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("temporary files have names while in use: %q", left)
	}
	slices.SortFunc(want, func(a, b [2]uint64) int { return slices.Compare(a[:], b[:]) })
	var got [][2]uint64
	if err := s.each(t.Context(), func(row []uint64) error { got = append(got, [2]uint64(row)); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d rows are not the %d put in, in order", len(got), len(want))
	}
}

// Some rows fill chunks, some stay in memory.
func TestRunsInFilesAndInMemoryAreMerged(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 99, 100, 101, 1234} {
		s := newSorter(1, t.TempDir())
		c := s.chunk(sortMemory / (100 * wordSize))
		var sum uint64
		for i := range n {
			row, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			row[0] = uint64(i*7919) % 1009
			sum += row[0]
		}
		c.done()
		last, count := uint64(0), 0
		err := s.each(t.Context(), func(row []uint64) error {
			if row[0] < last {
				t.Errorf("%d rows: %d comes after %d", n, row[0], last)
			}
			last = row[0]
			sum -= last
			count++
			return nil
		})
		if err != nil || count != n || sum != 0 {
			t.Errorf("%d of %d rows came out, error %v, sum off by %d", count, n, err, sum)
		}
		s.close()
	}
}

func TestATemporaryFileThatFailsIsNamed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "gone")
	c := newSorter(1, dir).chunk(sortMemory)
	var err error
	for range 3 {
		if _, err = c.next(); err != nil {
			break
		}
	}
	temp, ok := errors.AsType[TempError](err)
	if !ok || temp.Dir != dir || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want a TempError of %s", err, dir)
	}
}

func TestAMergeStopsWithItsContextAndItsVisitor(t *testing.T) {
	t.Parallel()
	s := newSorter(1, t.TempDir())
	c := s.chunk(1)
	for range 3 * rowsPerContextCheck {
		if _, err := c.next(); err != nil {
			t.Fatal(err)
		}
	}
	c.done()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	if err := s.each(ctx, func([]uint64) error { n++; cancel(); return nil }); !errors.Is(err, context.Canceled) || n > rowsPerContextCheck {
		t.Errorf("error %v after %d rows, want context.Canceled within %d", err, n, rowsPerContextCheck)
	}
	full := errors.New("full")
	if err := s.each(t.Context(), func([]uint64) error { return full }); !errors.Is(err, full) {
		t.Errorf("error %v, want the visitor's", err)
	}
}

func TestWhatIsSortedComesBack(t *testing.T) {
	t.Parallel()
	samples := []sample{
		{ms: 0, lon: -1800000000, lat: 900000000, speed: 0, co2: 0, fuel: 0},
		{ms: -1, lon: 1, lat: -1, speed: 1000000, co2: 10_000_000, fuel: 10_000_000},
		{ms: 7258118399999, lon: notKnown, lat: notKnown, speed: notKnown, co2: notKnown, fuel: notKnown},
		{ms: undated, lon: 1069447146, lat: -63385652, speed: 25000, co2: 1, fuel: notKnown},
	}
	for i, want := range samples {
		byID, time := make([]uint64, idRowWidth), make([]uint64, timeRowWidth)
		want.putByID(byID, [16]byte{1, 15: 2}, 7)
		putByTime(time, byID, 9)
		if rank, got := byTime(time); got != want || rank != 9 || vehicleOf(byID) != 7 {
			t.Errorf("sample %d came back as %+v of vehicle %d, was %+v", i, got, rank, want)
		}
	}
}
