package uplink_test

import (
	"bytes"
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
				write(t, filepath.Join(away, "buffer"), "old-", 50)
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

// write appends n records to the log in a directory, in a commit of their own.
func write(t *testing.T, dir, name string, n int) {
	t.Helper()
	log, err := buffer.Open(buffer.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := log.Append(fmt.Appendf(nil, "%s%d", name, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestALossOnADiskThatComesLateIsReportedOnce lets a disk come late whose first records are gone and whose last are torn, after memory
// had no room for the first of this run: word of the first is what this run's reader sees before anybody knows that it is backlog,
// and the others are one gap, which begins in the backlog and ends among what is live.
func TestALossOnADiskThatComesLateIsReportedOnce(t *testing.T) {
	t.Parallel()
	for _, linger := range []time.Duration{5 * time.Second, 10 * time.Minute} { // what is live goes before the backlog, or later
		t.Run(linger.String(), func(t *testing.T) {
			t.Parallel()
			away, mount := filepath.Join(t.TempDir(), "away"), filepath.Join(t.TempDir(), "mount")
			dir := filepath.Join(mount, "buffer")
			synctest.Test(t, func(t *testing.T) {
				for _, name := range []string{"gone-", "old-", "torn-"} {
					write(t, filepath.Join(away, "buffer"), name, 20)
				}
				segments, err := filepath.Glob(filepath.Join(away, "buffer", "*.seg"))
				if err != nil || len(segments) != 3 {
					t.Fatalf("%q, %v", segments, err)
				}
				b, err := os.ReadFile(segments[2])
				if err != nil {
					t.Fatal(err)
				}
				b[bytes.LastIndex(b, []byte("\xf5BF"))+100] ^= 1 // in the last frame
				if err := errors.Join(os.Remove(segments[0]), os.WriteFile(segments[2], b, 0o600), os.WriteFile(mount, nil, 0o600)); err != nil {
					t.Fatal(err)
				}
				log, err := buffer.Open(buffer.Options{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				sink, enc := &fakeSink{}, &plain{}
				u, err := uplink.New(log, uplink.Options{Encoder: enc, Sink: sink, Linger: linger, LiveFirst: true, Rand: rng2(3)})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 2)
				go func() { done <- log.Run(ctx) }()
				go func() { done <- u.Run(ctx) }()
				time.Sleep(linger + time.Minute)                                      // from here on it waits for records
				big := string(bytes.Repeat([]byte("live"), 50<<10))                   // of which memory holds twenty
				live := append(slices.Repeat([]string{big}, 10), "live", "hold-live") // what is held lets the first of it wait for the linger
				for _, record := range append(live, slices.Repeat([]string{big}, 20)...) {
					if _, err := log.Append([]byte(record)); err != nil {
						t.Fatal(err)
					}
				}
				dropped := log.Stats().LostRecords[buffer.ReasonOverflow]
				if err := errors.Join(os.Remove(mount), os.Rename(away, mount)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Minute)
				enc.release()
				if _, err := log.Append([]byte("record-1")); err != nil { // for what was lost behind the last record of the backlog
					t.Fatal(err)
				}
				time.Sleep(2 * linger)
				synctest.Wait()
				reported := map[uint64]int{}
				for _, lost := range enc.lost {
					for n := lost.From; n <= lost.To; n++ {
						reported[n]++
					}
				}
				for n := uint64(1); n < log.Stats().NextSeq; n++ {
					want := 0
					if n <= 20 || n > 40 && n <= 60+dropped {
						want = 1
					}
					if reported[n] != want {
						t.Errorf("record %d is reported as lost %d times, want %d", n, reported[n], want)
					}
				}
				if s := log.Stats(); dropped == 0 || s.Records > 0 || len(sink.got()) != 20+32-int(dropped)+1 {
					t.Errorf("%d dropped, %d delivered, %+v; reported %v", dropped, len(sink.got()), s, enc.lost)
				}
				cancel()
				if err := errors.Join(<-done, <-done, log.Close()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestDrainDoesNotWaitBecauseTheDiskComes asks for all to be delivered while the disk is not there: when it comes nobody waits for the
// moment at which the first call after a start would be.
func TestDrainDoesNotWaitBecauseTheDiskComes(t *testing.T) {
	t.Parallel()
	away, mount := filepath.Join(t.TempDir(), "away"), filepath.Join(t.TempDir(), "mount")
	dir := filepath.Join(mount, "buffer")
	synctest.Test(t, func(t *testing.T) {
		write(t, filepath.Join(away, "buffer"), "old-", 20)
		kept := `{"version":1,"attempt":9,"kind":"link"}` // it failed before: the next try would be minutes away
		if err := errors.Join(os.WriteFile(filepath.Join(away, "buffer", "uplink.json"), []byte(kept), 0o600), os.WriteFile(mount, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		log, err := buffer.Open(buffer.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		sink := &fakeSink{}
		u, err := uplink.New(log, uplink.Options{
			Encoder: &plain{}, Sink: sink, Linger: time.Minute, LiveFirst: true, Rand: rng2(3), StateFile: filepath.Join(dir, "uplink.json"),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- u.Run(ctx) }()
		synctest.Wait() // it waits for its first call
		if _, err := log.Append([]byte("record-1")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(mount), os.Rename(away, mount)); err != nil {
			t.Fatal(err)
		}
		drained := make(chan error, 1)
		if err := log.Commit(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		go func() { drained <- u.Drain(ctx) }()
		if err := <-drained; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 0 || sink.callCount() == 0 || log.Stats().Records > 0 {
			t.Errorf("drained after %v and %d calls: %+v", took, sink.callCount(), log.Stats())
		}
		cancel()
		if err := errors.Join(<-done, log.Close()); err != nil {
			t.Error(err)
		}
	})
}
