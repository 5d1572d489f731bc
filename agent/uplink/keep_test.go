package uplink_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/agent/uplink"
)

// A process that is restarted every minute during an outage must not try more often than one that is not.
func TestTheBackOffIsKeptOverRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	calls := func(file string) (n int) {
		synctest.Test(t, func(t *testing.T) {
			log, sink := newFakeLog(), &fakeSink{}
			sink.answer = func(context.Context, int, []string) ([]uplink.Failure, error) {
				return nil, &uplink.CallError{Kind: uplink.KindThrottled, Code: "ServiceUnavailableException"}
			}
			log.appendN(1)
			r := rand.New(rand.NewPCG(1, 2))
			for range 360 {
				_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Linger: time.Second, LiveFirst: true, StateFile: file, Rand: r})
				time.Sleep(time.Minute)
				stop()
			}
			n = sink.callCount()
		})
		return n
	}
	file := filepath.Join(dir, "uplink.json")
	if err := os.WriteFile(file, []byte(`{"version":1,"attempt":9,"kind":"throttled"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		u, stop := start(t, newFakeLog(), uplink.Options{Encoder: &plain{}, Sink: &fakeSink{}, LiveFirst: true, StateFile: file, Rand: rng2(1)})
		defer stop()
		synctest.Wait()
		if s := u.Status(); s.State != uplink.StateStarting || !strings.Contains(s.Reason, "failed before the restart (throttled)") || s.NextTry.IsZero() {
			t.Errorf("it waits after a restart and does not say so: %+v", s)
		}
	})
	with, without := calls(file), calls("")
	// At the cap a wait is uniform in five minutes, so that a fifth of the minutes see a call.
	if with > 130 || with < 20 || without < 1000 {
		t.Errorf("%d calls in six hours, %d if nothing is kept", with, without)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestAStateFileThatIsDamagedIsAsGoodAsNone(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "uplink.json")
	for _, text := range []string{"", "{", `{"version":2,"attempt":9}`, `{"version":1,"attempt":-5}`, strings.Repeat("x", 1<<20)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			log, sink := newFakeLog(), &fakeSink{}
			log.appendN(5)
			_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, LiveFirst: true, StateFile: file})
			time.Sleep(time.Second)
			stop()
			if len(sink.got()) != 5 {
				t.Errorf("%.20q: %d delivered", text, len(sink.got()))
			}
		})
	}
}

// countingSink counts its entries as bytes on the wire.
type countingSink struct {
	fakeSink
	up atomic.Uint64
}

func (s *countingSink) Put(ctx context.Context, entries [][]byte) ([]uplink.Failure, error) {
	for _, e := range entries {
		s.up.Add(uint64(len(e)) * 4 / 3)
	}
	s.up.Add(1000)
	return s.fakeSink.Put(ctx, entries)
}

func (s *countingSink) Bytes() (up, down uint64) { return s.up.Load(), 0 }

func TestABudgetHoldsTheBacklogBackUntilTheNextDayAndNewRecordsGo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "uplink.json")
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &countingSink{}
		log.append(drive(10_000)...) // 1.4 MB on the wire
		morning := time.Now()        // the bubble's clock begins at midnight
		options := uplink.Options{Encoder: &plain{}, Sink: sink, Pack: true, Linger: time.Minute, LiveFirst: true,
			DailyBytes: 600_000, Today: func() (time.Time, bool) { return today.Truncate(24 * time.Hour).Add(time.Since(morning)), true }, StateFile: file}
		u, stop := start(t, log, options)
		time.Sleep(time.Hour)
		synctest.Wait()
		st := u.Status()
		if st.State != uplink.StateBudget || !strings.Contains(st.Reason, "wait for the next day") || st.DayBytes < 550_000 || st.DayBytes > 640_000 {
			t.Fatalf("after an hour: %+v", st)
		}
		// A restart does not give a second budget.
		stop()
		u, stop = start(t, log, options)
		synctest.Wait()
		before := st.Delivered
		for range 10 {
			log.appendN(1)
			time.Sleep(time.Minute)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if st = u.Status(); st.Delivered != 10 || st.State != uplink.StateBudget {
			t.Errorf("%d of 10 new records went beside the backlog that waits, state %s", st.Delivered, st.State)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if st = u.Status(); before+st.Delivered < 7_000 || before+st.Delivered > 9_500 || st.DayBytes > 640_000 {
			t.Errorf("on the second day: %d delivered, %d bytes", before+st.Delivered, st.DayBytes)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		st = u.Status()
		stop()
		if before+st.Delivered != 10_010 || st.State != uplink.StateOK || log.open() != nil {
			t.Errorf("on the third day: %d delivered, state %s", before+st.Delivered, st.State)
		}
	})
}

func TestABudgetInOrderHoldsEverythingBackAndLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &countingSink{}
		want := drive(3_000)
		log.append(want...)
		morning := time.Now()
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: true, Linger: time.Minute, DailyBytes: 200_000,
			Today: func() (time.Time, bool) { return today.Truncate(24 * time.Hour).Add(time.Since(morning)), true }})
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if st := u.Status(); st.State != uplink.StateBudget || st.DayBytes > 220_000 {
			t.Errorf("on the first day: %+v", st)
		}
		time.Sleep(72 * time.Hour)
		stop()
		if got := sink.got(); len(got) != len(want) || got[0] != want[0] || got[2_999] != want[2_999] {
			t.Errorf("%d of %d delivered", len(got), len(want))
		}
	})
}

func TestAfterAChangeOfTheLinkTheNextTryComesSoonUnlessTheStreamAskedForRest(t *testing.T) {
	t.Parallel()
	for kind, soon := range map[uplink.Kind]bool{uplink.KindLink: true, uplink.KindThrottled: false} {
		synctest.Test(t, func(t *testing.T) {
			log, sink := newFakeLog(), &fakeSink{}
			var down atomic.Bool
			down.Store(true)
			sink.answer = func(context.Context, int, []string) ([]uplink.Failure, error) {
				if down.Load() {
					return nil, &uplink.CallError{Kind: kind, Err: errors.New("down")}
				}
				return nil, nil
			}
			log.appendN(1)
			u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, LiveFirst: true, Rand: rand.New(rand.NewPCG(5, 6))})
			defer stop()
			time.Sleep(time.Hour)
			for time.Until(u.Status().NextTry) < time.Minute {
				time.Sleep(10 * time.Second)
			}
			synctest.Wait()
			down.Store(false)
			u.LinkChanged()
			time.Sleep(11 * time.Second)
			synctest.Wait()
			if got := len(sink.got()) == 1; got != soon {
				t.Errorf("after a failure of kind %v: delivered soon %v, want %v", kind, got, soon)
			}
		})
	}
}

func TestWatchingTheLinkEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- uplink.WatchLink(ctx, func() { t.Error("the link has changed") }) }()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on")
	}
}
