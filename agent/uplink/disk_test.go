package uplink_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/agent/uplink"
	"obdagent/buffer"
)

// due is until when a pulse holds.
type due struct {
	mu sync.Mutex
	at time.Time // zero: for ever
}

func (d *due) pulse(within time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = time.Time{}
	if within > 0 {
		d.at = time.Now().Add(within)
	}
}

// armed tells whether the pulse has a bound.
func (d *due) armed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.at.IsZero()
}

// slowLog is one whose disk takes its time for what is read without waiting.
type slowLog struct {
	*fakeLog
	read func()
}

type slowReader struct {
	*fakeReader
	read func()
}

func (l slowLog) Reader(from uint64) slowReader { return slowReader{l.fakeLog.Reader(from), l.read} }

func (r slowReader) TryNext() (buffer.Entry, bool, error) {
	r.read()
	return r.fakeReader.TryNext()
}

// watchedEncoder is plain, and calls encode before.
type watchedEncoder struct {
	plain
	encode func()
}

func (e *watchedEncoder) Encode(dst []byte, seq uint64, stored []byte, lost []buffer.Lost) ([]byte, error) {
	e.encode()
	return e.plain.Encode(dst, seq, stored, lost)
}

// Where records come from the wait for them, they are encoded within a bound all the same.
func TestOnlyWhatWaitsForTheDiskHasNoBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, log, sink := &due{}, newFakeLog(), &fakeSink{}
		state := filepath.Join(t.TempDir(), "uplink.json")
		// The state file comes into being between a pulse without a bound and the next.
		var written, outside int
		there, unbound := false, false
		pulse := func(within time.Duration) {
			if _, err := os.Stat(state); err == nil && !there {
				there = true
				written++
				if !unbound {
					outside++
				}
			}
			unbound = within == 0
			d.pulse(within)
		}
		var reads, asides, encoded int
		slow := func(what string, times *int) func() {
			return func() {
				*times++
				if d.armed() {
					t.Errorf("%s has a bound", what)
				}
				time.Sleep(20 * time.Minute)
			}
		}
		aside := slow("setting a record aside", &asides)
		encoder := &watchedEncoder{encode: func() {
			encoded++
			if !d.armed() {
				t.Error("encoding has no bound")
			}
		}}
		sink.answer = func(_ context.Context, n int, _ []string) ([]uplink.Failure, error) {
			if n == 1 {
				return nil, &uplink.CallError{Kind: uplink.KindThrottled, Code: "ServiceUnavailableException"}
			}
			return nil, nil
		}
		log.append("a", "bad-b", "c")
		u, err := uplink.New(slowLog{log, slow("reading the backlog", &reads)}, uplink.Options{Encoder: encoder, Sink: sink, LiveFirst: true, StateFile: state, Pulse: pulse, Rand: rng2(1),
			Aside: func(uint64, []byte, error) { aside() }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- u.Run(ctx) }()
		<-time.After(12 * time.Hour)
		synctest.Wait()
		before := encoded
		log.append("d") // it is waited for
		<-time.After(12 * time.Hour)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if reads == 0 || asides == 0 || before < 3 || encoded == before || written != 1 || outside != 0 || len(sink.got()) != 3 {
			t.Errorf("%d reads, %d set aside, %d encoded, then %d, the state written %d times, %d of them within a bound, %q delivered", reads, asides, before, encoded, written, outside, sink.got())
		}
	})
}
