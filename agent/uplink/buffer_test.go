package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/uplink"
	"obdagent/buffer"
)

// The real buffer on a real disk, closed and opened again in the middle of an outage.
func TestWithTheRealBufferNothingIsLostOverAnOutageAndARestart(t *testing.T) {
	t.Parallel()
	for _, liveFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("live first %v", liveFirst), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				sink := &fakeSink{}
				rng := rand.New(rand.NewPCG(11, 12))
				sink.answer = func(_ context.Context, _ int, entries []string) (failed []uplink.Failure, _ error) {
					switch rng.IntN(3) {
					case 0:
						return nil, errors.New("no route to host")
					case 1:
						for i := range entries {
							if rng.IntN(2) == 0 {
								failed = append(failed, uplink.Failure{Index: i, Code: "InternalFailure"})
							}
						}
					}
					return failed, nil
				}
				made := 0
				for range 4 {
					log, err := buffer.Open(buffer.Options{Dir: dir})
					if err != nil {
						t.Fatal(err)
					}
					u, err := uplink.New(log, uplink.Options{Encoder: &plain{}, Sink: sink, Linger: 5 * time.Second, Pack: made%2 == 0, LiveFirst: liveFirst})
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancel(t.Context())
					done := make(chan error, 2)
					go func() { done <- log.Run(ctx) }()
					go func() { done <- u.Run(ctx) }()
					for range 100 {
						for range 1 + made%3 {
							made++
							if _, err := log.Append(fmt.Appendf(nil, "record-%d", made)); err != nil {
								t.Fatal(err)
							}
						}
						time.Sleep(time.Second)
					}
					cancel()
					for range 2 {
						if err := <-done; err != nil {
							t.Error(err)
						}
					}
					if err := log.Close(); err != nil {
						t.Error(err)
					}
				}
				sink.mu.Lock()
				sink.answer = nil
				sink.mu.Unlock()
				log, err := buffer.Open(buffer.Options{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				u, err := uplink.New(log, uplink.Options{Encoder: &plain{}, Sink: sink, LiveFirst: liveFirst})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- u.Run(ctx) }()
				time.Sleep(time.Minute)
				synctest.Wait()
				if s := log.Stats(); s.Records != 0 {
					t.Errorf("%d records are left in the buffer: %+v", s.Records, u.Status())
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if err := log.Close(); err != nil {
					t.Error(err)
				}
				got := sink.got()
				slices.Sort(got)
				want := records(1, made)
				slices.Sort(want)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("delivered with duplicates or losses: %s", diff)
				}
			})
		})
	}
}
