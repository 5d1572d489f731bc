package uplink_test

import (
	"testing"
	"testing/synctest"
	"time"

	"obdagent/agent/uplink"
)

func TestTheLingerAndTheBudgetChangeWhileItRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Linger: time.Hour, Pack: true, LiveFirst: true})
		defer stop()
		time.Sleep(2 * time.Hour) // the jitter of the start is over
		log.appendN(1)
		synctest.Wait()
		time.Sleep(time.Second)
		if n := len(sink.all()); n != 0 {
			t.Fatalf("%d calls within a second of an hour", n)
		}
		u.Adjust(10*time.Second, 1<<20)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if open := log.open(); open != nil {
			t.Errorf("10 s after the linger became 10 s, not acknowledged: %v", open)
		}
		if s := u.Status(); s.BudgetBytes != 1<<20 {
			t.Errorf("budget %d", s.BudgetBytes)
		}
		u.Adjust(time.Hour, 0)
		log.appendN(1)
		time.Sleep(time.Minute)
		synctest.Wait()
		// The grid of an hour's points may have one within the minute.
		if s := u.Status(); s.BudgetBytes != 0 || s.Delivered > 2 {
			t.Errorf("%+v", s)
		}
	})
}
