package uplink_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/agent/uplink"
)

func TestACallThatHangsIsNotSaidToWaitForTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink, enc := newFakeLog(), &fakeSink{}, &plain{}
		sink.answer = func(ctx context.Context, _ int, _ []string) ([]uplink.Failure, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		log.append("hold-1")
		u, stop := start(t, log, uplink.Options{Encoder: enc, Sink: sink, Linger: time.Second, Pack: true, LiveFirst: true})
		defer stop()
		time.Sleep(10 * time.Second)
		if s := u.Status(); s.State != uplink.StateWaiting {
			t.Fatalf("a record without a time: %+v", s)
		}
		enc.release()
		time.Sleep(10 * time.Second)
		if s := u.Status(); sink.callCount() != 1 || s.State != uplink.StateStarting || s.Reason != "" {
			t.Errorf("%d calls, status %+v", sink.callCount(), s)
		}
	})
}
