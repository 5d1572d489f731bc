package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// TestADiskThatComesLateIsBacklog lets the buffer's directory appear after Run began: the records of this run go first all the same, then
// those that were on it; and the day's count that is kept there goes on.
func TestADiskThatComesLateIsBacklog(t *testing.T) {
	t.Parallel()
	for _, liveFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("live first %v", liveFirst), func(t *testing.T) {
			t.Parallel()
			away, mount := filepath.Join(t.TempDir(), "away"), filepath.Join(t.TempDir(), "mount")
			dir := filepath.Join(mount, "buffer")
			synctest.Test(t, func(t *testing.T) {
				before, err := buffer.Open(buffer.Options{Dir: filepath.Join(away, "buffer")})
				if err != nil {
					t.Fatal(err)
				}
				for n := range 50 {
					if _, err := before.Append(fmt.Appendf(nil, "old-%d", n+1)); err != nil {
						t.Fatal(err)
					}
				}
				if err := before.Close(); err != nil {
					t.Fatal(err)
				}
				today := time.Now().UTC()
				kept := fmt.Sprintf(`{"version":1,"attempt":0,"day":%q,"day_up":1000,"day_down":10,"day_billed":5120,"day_records":7}`, today.Format(time.DateOnly))
				if err := os.WriteFile(filepath.Join(away, "buffer", "uplink.json"), []byte(kept), 0o600); err != nil {
					t.Fatal(err)
				}

				if err := os.WriteFile(mount, nil, 0o600); err != nil { // no directory can be made there
					t.Fatal(err)
				}
				log, err := buffer.Open(buffer.Options{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				sink := &fakeSink{}
				u, err := uplink.New(log, uplink.Options{
					Encoder: &plain{}, Sink: sink, Linger: 5 * time.Second, Pack: true, LiveFirst: liveFirst, Rand: rng2(3),
					StateFile: filepath.Join(dir, "uplink.json"), Today: func() (time.Time, bool) { return today, true },
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 2)
				go func() { done <- log.Run(ctx) }()
				go func() { done <- u.Run(ctx) }()
				for n := range 20 {
					if _, err := log.Append(fmt.Appendf(nil, "record-%d", n+1)); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
				}
				if n := sink.callCount(); n > 0 {
					t.Fatalf("%d calls before the disk is there", n)
				}
				if err := errors.Join(os.Remove(mount), os.Rename(away, mount)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				var old []string
				for n := range 50 {
					old = append(old, fmt.Sprintf("old-%d", n+1))
				}
				want := append(records(1, 20), old...)
				if !liveFirst {
					want = append(old, records(1, 20)...)
				}
				if diff := cmp.Diff(want, sink.got()); diff != "" {
					t.Error(diff)
				}
				if s := u.Status(); s.DayUp != 1000 || s.DayDown != 10 || s.DayRecords != 77 {
					t.Errorf("the day's count does not go on: %+v", s)
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
				text, err := os.ReadFile(filepath.Join(dir, "uplink.json"))
				if err != nil || !strings.Contains(string(text), `"day_records":77`) {
					t.Errorf("%s, %v", text, err)
				}
			})
		})
	}
}
