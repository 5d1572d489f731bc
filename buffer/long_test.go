package buffer_test

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"obdagent/buffer"
)

// longDays is how many days without coverage, at 10 Hz, the test runs through; OBDAGENT_TEST_DAYS sets it for longer runs.
func longDays(t *testing.T) float64 {
	t.Helper()
	s := os.Getenv("OBDAGENT_TEST_DAYS")
	switch {
	case s == "" && (raceDetector || testing.Short()):
		return 0.04 // compressing takes ten times as long with it, in one goroutine
	case s == "":
		return 0.4
	}
	days, err := strconv.ParseFloat(s, 64)
	if err != nil || days < 0.01 || days > 400 {
		t.Fatalf("OBDAGENT_TEST_DAYS is %q: a number from 0.01 to 400", s)
	}
	return days
}

// longRecord is a record of 150 bytes that begins with its number. Nearly half of it cannot be compressed, as in the agent's.
func longRecord(b []byte, seq uint64, rng *rand.Rand) []byte {
	b = binary.BigEndian.AppendUint64(b[:0], seq)
	for len(b) < 64 {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return append(b, `,"time_src":"gnss","vin":"WVWZZZ1JZXW000001","fix":"3d","speed_src":"obd","flags":[],...`[:86]...)
}

// bestOpen is how long Open takes, at best of fifty.
func bestOpen(t *testing.T, opts buffer.Options) time.Duration {
	t.Helper()
	best := time.Hour
	for range 50 {
		start := time.Now()
		l, err := buffer.Open(opts)
		if err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return best
}

// heap is what is reachable.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// It is not parallel: it measures the memory.
func TestFortyDaysWithoutCoverageOpenAtOnceAndDrainInOrder(t *testing.T) {
	opts := buffer.Options{Dir: t.TempDir(), MaxBytes: 64 << 30}
	days := longDays(t)
	total := uint64(days * 86400 * 10)
	rng := rand.New(rand.NewPCG(1, 2))
	var rec []byte
	l, err := buffer.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	const perCommit = 3600 // six minutes: what a commit each second costs is measured elsewhere
	var early int64
	start := time.Now()
	for seq := uint64(1); seq <= total; seq++ {
		rec = longRecord(rec, seq, rng)
		if got, err := l.Append(rec); err != nil || got != seq {
			t.Fatalf("append = %d, %v, want %d", got, err, seq)
		}
		if seq%perCommit == 0 || seq == total {
			if err := l.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if seq == 2*perCommit { // what a log always has is there by then
			early = heap()
		}
	}
	wrote := time.Since(start)
	full := heap()
	if grown := full - early; grown > 2<<20 {
		t.Errorf("memory grew by %d bytes with the backlog", grown)
	}
	onDisk, segments := l.Stats().Bytes, l.Stats().Segments
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	opened := bestOpen(t, opts)

	if l, err = buffer.Open(opts); err != nil {
		t.Fatal(err)
	}
	r := l.Reader(0)
	rng = rand.New(rand.NewPCG(1, 2))
	before := heap()
	start = time.Now()
	for seq := uint64(1); seq <= total; seq++ {
		e, ok, err := r.TryNext()
		if err != nil || !ok || e.Lost != nil || e.Seq != seq {
			t.Fatalf("entry %+v, %t, %v, want record %d", e, ok, err, seq)
		}
		if rec = longRecord(rec, seq, rng); string(e.Data) != string(rec) {
			t.Fatalf("record %d is not what was appended", seq)
		}
		if seq%5000 == 0 || seq == total {
			l.Ack(seq-min(seq-1, 5000), seq)
		}
	}
	drained := time.Since(start)
	if _, ok, err := r.TryNext(); ok || err != nil {
		t.Errorf("there is more than was appended: %t, %v", ok, err)
	}
	grown := heap() - before
	if grown > 2<<20 {
		t.Errorf("memory grew by %d bytes while draining", grown)
	}
	r.Close()
	if _, err := l.Append([]byte("one more, so that the acknowledgement rides")); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Records != 1 || s.Segments > 2 || len(s.LostRecords) > 0 {
		t.Errorf("after draining: %+v", s)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// One that has been in use and is drained: the same directory and options, a segment and the spares.
	empty := bestOpen(t, opts)
	fresh := bestOpen(t, buffer.Options{Dir: t.TempDir(), MaxBytes: opts.MaxBytes})
	if opened > 50*time.Millisecond && opened > 2*empty {
		t.Errorf("open takes %v, %v when empty: want at most 50 ms, or twice that", opened, empty)
	}
	if os.Getenv("OBDAGENT_TEST_DAYS") != "" && opened > 2*empty { // who asks for the long run has time for a quiet machine
		t.Errorf("open takes %v, %v when empty: want at most twice that", opened, empty)
	}
	t.Logf("%d records (%.2f days at 10 Hz), %d bytes in %d segments; written in %v, opened in %v (drained %v, never used %v), drained in %v, memory %+d bytes by the backlog and %+d by draining",
		total, days, onDisk, segments, wrote.Round(time.Millisecond), opened, empty, fresh, drained.Round(time.Millisecond), full-early, grown)
}
