package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/uplink"
	"obdagent/buffer"
)

func TestARecordWaitsForCompanyForLingerAndNoLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		begin := time.Now() // a record is appended each second
		var calls []time.Time
		sink.answer = func(_ context.Context, _ int, entries []string) ([]uplink.Failure, error) {
			calls = append(calls, time.Now())
			for _, e := range entries {
				for _, l := range lines(e) {
					var n int
					if _, err := fmt.Sscanf(l, "record-%d", &n); err != nil {
						t.Error(err)
					}
					if d := time.Since(begin.Add(time.Duration(n-1) * time.Second)); d > time.Minute {
						t.Errorf("%s waited %v", l, d)
					}
				}
			}
			return nil, nil
		}
		_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Linger: time.Minute, Pack: true, LiveFirst: true})
		defer stop()
		for range 1200 {
			log.appendN(1)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i := 3; i < len(calls)-1; i++ { // before that is what was there at the start, and the jitter of the start
			if d := calls[i].Sub(calls[i-1]); d != time.Minute {
				t.Errorf("%v between two calls", d)
			}
		}
		if n := len(calls); n < 20 || n > 22 {
			t.Errorf("%d calls in 21 minutes", n)
		}
		if open := log.open(); open != nil {
			t.Errorf("not acknowledged: %v", open)
		}
	})
}

func TestDrainDeliversWhatIsCommittedAtOnce(t *testing.T) {
	t.Parallel()
	for _, liveFirst := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			log, sink := newFakeLog(), &fakeSink{}
			log.appendN(3)
			u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Linger: time.Hour, Pack: true, LiveFirst: liveFirst})
			defer stop()
			synctest.Wait()
			log.appendN(2)
			before := time.Now()
			if err := u.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(before); d != 0 {
				t.Errorf("Drain waited %v", d)
			}
			got := sink.got()
			slices.Sort(got)
			if diff := cmp.Diff(records(1, 5), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDrainSaysThatRunIsNotRunning(t *testing.T) {
	t.Parallel()
	u, err := uplink.New(newFakeLog(), uplink.Options{Encoder: &plain{}, Sink: &fakeSink{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Drain(t.Context()); !errors.Is(err, uplink.ErrStopped) {
		t.Errorf("Drain: %v", err)
	}
}

// Every subset of failures of four entries, in both orders: exactly the failed ones go again.
func TestExactlyTheFailedEntriesGoAgain(t *testing.T) {
	t.Parallel()
	for _, liveFirst := range []bool{true, false} {
		for subset := range 16 {
			synctest.Test(t, func(t *testing.T) {
				log, sink := newFakeLog(), &fakeSink{}
				sink.answer = func(_ context.Context, n int, _ []string) (failed []uplink.Failure, _ error) {
					for i := range 4 {
						if n == 1 && subset&(1<<i) != 0 {
							failed = append(failed, uplink.Failure{Index: i, Code: "InternalFailure", Message: "no"})
						}
					}
					return failed, nil
				}
				log.appendN(4)
				u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, LiveFirst: liveFirst})
				defer stop()
				synctest.Wait()
				for i := range 4 {
					if failed := subset&(1<<i) != 0; log.isAcked(uint64(i+1)) == failed {
						t.Errorf("after the first call record %d: failed %v, acknowledged %v", i+1, failed, !failed)
					}
				}
				time.Sleep(time.Minute)
				var again []string
				for i := range 4 {
					if subset&(1<<i) != 0 {
						again = append(again, fmt.Sprintf("record-%d\n", i+1))
					}
				}
				want := [][]string{{"record-1\n", "record-2\n", "record-3\n", "record-4\n"}}
				if again != nil {
					want = append(want, again)
				}
				if diff := cmp.Diff(want, sink.all()); diff != "" {
					t.Errorf("subset %04b: %s", subset, diff)
				}
				if s := u.Status(); s.State != uplink.StateOK || s.Delivered != 4 || s.BilledBytes != 4*5120 {
					t.Errorf("status %+v", s)
				}
			})
		}
	}
}

func TestAnOutageLosesNothingAndTheNewestGoFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		var down atomic.Bool
		down.Store(true)
		sink.answer = func(context.Context, int, []string) ([]uplink.Failure, error) {
			if down.Load() {
				return nil, errors.New("no route to host")
			}
			return nil, nil
		}
		var states []string
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Linger: 10 * time.Second, Pack: true, LiveFirst: true,
			OnState: func(c uplink.StateChange) { states = append(states, string(c.To)) }})
		for range 7200 {
			log.appendN(1)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if s := u.Status(); s.State != uplink.StateDown || !strings.Contains(s.Reason, "no route") || s.NextTry.IsZero() {
			t.Errorf("status in the outage: %+v", s)
		}
		if n := sink.callCount(); n < 25 || n > 200 {
			t.Errorf("%d calls in two hours without coverage", n)
		}
		down.Store(false)
		failed := sink.callCount()
		for range 400 {
			log.appendN(1)
			time.Sleep(time.Second)
		}
		if err := u.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		first := lines(sink.all()[failed][0])
		var n int
		if _, err := fmt.Sscanf(first[0], "record-%d", &n); err != nil || n < 6800 {
			t.Errorf("the first record after the outage is %s", first[0])
		}
		seen := map[string]int{}
		for _, r := range sink.got() {
			seen[r]++
		}
		if len(seen) != 7600 || len(sink.got()) != 7600 {
			t.Errorf("%d records delivered, %d of them different, of 7600", len(sink.got()), len(seen))
		}
		if open := log.open(); open != nil {
			t.Errorf("not acknowledged: %v", open)
		}
		if diff := cmp.Diff([]string{"starting", "down", "ok", "stopped"}, states); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFIFOKeepsTheOrderThroughAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		sink.answer = func(_ context.Context, n int, _ []string) ([]uplink.Failure, error) {
			if n < 8 {
				return nil, errors.New("no route to host")
			}
			return nil, nil
		}
		log.appendN(1000)
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Linger: 10 * time.Second, Pack: true})
		defer stop()
		for range 600 {
			log.appendN(1)
			time.Sleep(time.Second)
		}
		if err := u.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(records(1, 1600), sink.got()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLiveRecordsDoNotWaitForTheBacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		var mu sync.Mutex
		at := map[string]time.Time{}
		sink.answer = func(_ context.Context, _ int, entries []string) ([]uplink.Failure, error) {
			size := 0
			for _, e := range entries {
				size += len(e)
			}
			time.Sleep(time.Duration(size) * time.Second / 2000) // a link of 2 kB/s
			mu.Lock()
			defer mu.Unlock()
			for _, e := range entries {
				for _, l := range lines(e) {
					at[l] = time.Now()
				}
			}
			return nil, nil
		}
		log.appendN(100_000) // about 1.3 MB: eleven minutes
		_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Linger: 10 * time.Second, AirTime: 10 * time.Second, Pack: true, LiveFirst: true})
		defer stop()
		time.Sleep(2 * time.Minute) // the first, unmeasured call
		made := map[string]time.Time{}
		for i := range 120 {
			log.append(fmt.Sprintf("live-%d", i))
			made[fmt.Sprintf("live-%d", i)] = time.Now()
			time.Sleep(time.Second)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if len(log.open()) == 0 {
			t.Fatal("the backlog is gone already: the test shows nothing")
		}
		mu.Lock()
		defer mu.Unlock()
		for l, m := range made {
			// One linger, one backlog call in flight at 32 KiB or more, and its own.
			if d := at[l].Sub(m); at[l].IsZero() || d > 40*time.Second {
				t.Errorf("%s took %v", l, d)
			}
		}
	})
}

func TestHeldRecordsWaitAndDoNotStopTheBacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink, enc := newFakeLog(), &fakeSink{}, &plain{}
		log.appendN(2)
		u, stop := start(t, log, uplink.Options{Encoder: enc, Sink: sink, Linger: 3 * time.Second, Pack: true, LiveFirst: true})
		defer stop()
		synctest.Wait()
		log.append("hold-3", "record-4")
		time.Sleep(time.Minute)
		if diff := cmp.Diff(records(1, 2), sink.got()); diff != "" {
			t.Error(diff)
		}
		if s := u.Status(); s.State != uplink.StateWaiting || !s.Held {
			t.Errorf("status %+v", s)
		}
		enc.release()
		time.Sleep(2 * time.Second)
		if diff := cmp.Diff([]string{"record-1", "record-2", "hold-3", "record-4"}, sink.got()); diff != "" {
			t.Error(diff)
		}
		if s := u.Status(); s.State != uplink.StateOK || s.Held {
			t.Errorf("status %+v", s)
		}
	})
}

func TestWhatCannotBeSentIsSetAsideBeforeItIsAcknowledged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		log.append("record-1", "bad-2", strings.Repeat("x", uplink.MaxEntryBytes), strings.Repeat("y", uplink.MaxEntryBytes-1), "record-5")
		var aside []uint64
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: true, Aside: func(seq uint64, stored []byte, reason error) {
			if log.isAcked(seq) || stored == nil || reason == nil {
				t.Errorf("record %d set aside: acknowledged %v, %d bytes, reason %v", seq, log.isAcked(seq), len(stored), reason)
			}
			aside = append(aside, seq)
		}})
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait() // the linger ends in the same moment
		if diff := cmp.Diff([]uint64{2, 3}, aside); diff != "" {
			t.Error(diff)
		}
		if got := sink.got(); len(got) != 3 || got[2] != "record-5" {
			t.Errorf("%d records delivered", len(got))
		}
		if s := u.Status(); s.Aside != 2 || s.Delivered != 3 || log.open() != nil {
			t.Errorf("status %+v, not acknowledged %v", s, log.open())
		}
	})
}

// refuser takes no call that carries a line with poison.
func refuser(_ context.Context, _ int, entries []string) ([]uplink.Failure, error) {
	for _, e := range entries {
		if strings.Contains(e, "poison") {
			return nil, &uplink.CallError{Kind: uplink.KindRefused, Code: "InvalidArgumentException", Advice: "InvalidArgumentException: poison"}
		}
	}
	return nil, nil
}

func TestARefusedCallIsDividedUntilTheRecordsToBlameAreFound(t *testing.T) {
	t.Parallel()
	for _, pack := range []bool{true, false} {
		for _, poisoned := range [][]int{{0}, {99}, {50}, {3, 4, 5}, {0, 99}} {
			synctest.Test(t, func(t *testing.T) {
				log, sink := newFakeLog(), &fakeSink{answer: refuser}
				var want []string
				for i := range 100 {
					name := fmt.Sprintf("record-%d", i)
					if slices.Contains(poisoned, i) {
						name = fmt.Sprintf("poison-%d", i)
					} else {
						want = append(want, name)
					}
					log.append(name)
				}
				var aside []int
				_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: pack, Rand: rand.New(rand.NewPCG(1, 2)),
					Aside: func(seq uint64, _ []byte, reason error) {
						if re, ok := errors.AsType[*uplink.RefusedError](reason); !ok || string(re.Line) != fmt.Sprintf("poison-%d\n", seq-1) {
							t.Errorf("record %d set aside: %v", seq, reason)
						}
						aside = append(aside, int(seq-1))
					}})
				time.Sleep(time.Hour)
				stop()
				got := sink.got()
				slices.Sort(got)
				slices.Sort(want)
				slices.Sort(aside)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("pack %v, poisoned %v: %s", pack, poisoned, diff)
				}
				if diff := cmp.Diff(poisoned, aside); diff != "" {
					t.Errorf("pack %v, poisoned %v, set aside: %s", pack, poisoned, diff)
				}
				if log.open() != nil {
					t.Errorf("not acknowledged: %v", log.open())
				}
			})
		}
	}
}

func TestADestinationThatRefusesEverythingCostsNoRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		var refuse atomic.Bool
		refuse.Store(true)
		sink.answer = func(context.Context, int, []string) ([]uplink.Failure, error) {
			if refuse.Load() {
				return nil, &uplink.CallError{Kind: uplink.KindRefused, Advice: "no"}
			}
			return nil, nil
		}
		log.appendN(200)
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, LiveFirst: true,
			Aside: func(seq uint64, _ []byte, _ error) { t.Errorf("record %d set aside", seq) }})
		defer stop()
		time.Sleep(time.Hour)
		if s := u.Status(); s.State != uplink.StateRefused || s.Aside != 0 || s.Calls > 1000 {
			t.Errorf("status %+v", s)
		}
		if open := log.open(); len(open) != 200 {
			t.Errorf("%d of 200 records left", len(open))
		}
		refuse.Store(false)
		if err := u.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := sink.got(); len(got) != 200 {
			t.Errorf("%d of 200 delivered", len(got))
		}
	})
}

func TestPermanentFailuresAreSingledOutAndSetAside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		sink.answer = func(_ context.Context, _ int, entries []string) (failed []uplink.Failure, _ error) {
			for i, e := range entries {
				if strings.Contains(e, "poison") {
					failed = append(failed, uplink.Failure{Index: i, Code: "Never", Message: "no", Permanent: true})
				}
			}
			return failed, nil
		}
		log.append("record-1", "poison-2", "record-3")
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: true})
		defer stop()
		time.Sleep(time.Hour)
		if diff := cmp.Diff([]string{"record-1", "record-3"}, sink.got()); diff != "" {
			t.Error(diff)
		}
		if s := u.Status(); s.Aside != 1 || log.open() != nil {
			t.Errorf("status %+v, not acknowledged %v", s, log.open())
		}
	})
}

func TestLossesRideOnTheNextRecordAndAreAcknowledgedWithIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink, enc := newFakeLog(), &fakeSink{}, &plain{}
		log.appendN(6)
		log.lose(2, "damaged")
		log.lose(3, "damaged")
		log.lose(6, "torn")
		u, stop := start(t, log, uplink.Options{Encoder: enc, Sink: sink, Pack: true})
		defer stop()
		synctest.Wait()
		if err := u.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]buffer.Lost{{From: 2, To: 3, Reason: "damaged"}}, enc.lost); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]uint64{6}, log.open()); diff != "" {
			t.Error(diff)
		}
		log.appendN(1)
		if err := u.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if open := log.open(); open != nil || len(enc.lost) != 2 {
			t.Errorf("not acknowledged %v, reported %v", open, enc.lost)
		}
	})
}

func TestACallInFlightAtTheEndIsGivenGraceAndThenCancelled(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		takes time.Duration
		acked bool
	}{{"it ends in time", 2 * time.Second, true}, {"it hangs", time.Hour, false}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log, sink := newFakeLog(), &fakeSink{}
				sink.answer = func(ctx context.Context, _ int, _ []string) ([]uplink.Failure, error) {
					select {
					case <-time.After(tc.takes):
						return nil, nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}
				log.appendN(1)
				_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink})
				time.Sleep(time.Second)
				before := time.Now()
				stop()
				if d := time.Since(before); d >= 2*time.Second {
					t.Errorf("stopping took %v", d)
				}
				if log.isAcked(1) != tc.acked {
					t.Errorf("acknowledged %v", !tc.acked)
				}
				if sink.callCount() != 1 {
					t.Errorf("%d calls", sink.callCount())
				}
			})
		})
	}
}

func TestBackOffIsCappedAndCallsStayRareThroughAWeek(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		var at []time.Time
		sink.answer = func(context.Context, int, []string) ([]uplink.Failure, error) {
			at = append(at, time.Now())
			return nil, &uplink.CallError{Kind: uplink.KindThrottled, Code: "ServiceUnavailableException", Advice: "slow down"}
		}
		log.appendN(1)
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, LiveFirst: true, Rand: rand.New(rand.NewPCG(3, 4))})
		defer stop()
		time.Sleep(7 * 24 * time.Hour)
		synctest.Wait()
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d > 5*time.Minute {
				t.Errorf("%v between two tries", d)
			}
		}
		// A week of full jitter under five minutes: 2.5 minutes on average.
		if n := len(at); n < 3500 || n > 4600 {
			t.Errorf("%d calls in a week", n)
		}
		if s := u.Status(); s.State != uplink.StateThrottled || s.FailedCalls != uint64(len(at)) {
			t.Errorf("status %+v", s)
		}
	})
}

func TestABufferThatCannotBeReadForAWhileIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, LiveFirst: true})
		defer stop()
		log.appendN(2)
		time.Sleep(time.Second)
		log.breakDown(errors.New("input/output error"))
		time.Sleep(time.Minute)
		if s := u.Status(); s.State != uplink.StateDown || !strings.Contains(s.Reason, "input/output error") || !strings.Contains(s.Reason, "disk") {
			t.Errorf("status %+v", s)
		}
		log.breakDown(nil)
		log.appendN(2)
		time.Sleep(10 * time.Minute)
		if diff := cmp.Diff(records(1, 4), sink.got()); diff != "" {
			t.Error(diff)
		}
		if s := u.Status(); s.State != uplink.StateOK {
			t.Errorf("status %+v", s)
		}
	})
}

func TestRunEndsWithAnErrorWhenTheBufferIsClosed(t *testing.T) {
	t.Parallel()
	log := newFakeLog()
	log.breakDown(buffer.ErrClosed)
	u, err := uplink.New(log, uplink.Options{Encoder: &plain{}, Sink: &fakeSink{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Run(t.Context()); !errors.Is(err, buffer.ErrClosed) {
		t.Errorf("Run: %v", err)
	}
	if s := u.Status(); s.State != uplink.StateStopped {
		t.Errorf("status %+v", s)
	}
}
