package gps_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"obdagent/gps"
	"obdagent/gps/nmeasim"
)

// eventually waits for a condition that the system, and not the test, makes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// sameFixes ignores the arrival times, which a recording does not have.
var sameFixes = cmp.Options{cmpopts.EquateNaNs(), cmpopts.IgnoreFields(gps.Fix{}, "Mono", "Done")}

func TestEveryRecordingThroughAPtyGivesTheFixesOfTheAssembler(t *testing.T) {
	t.Parallel()
	dir := recordings(t)
	for _, name := range recordingNames(t, dir) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := append(loadRecording(t, dir, name), "\r\n"...)
			var want []gps.Fix
			counts, err := gps.Decode(bytes.NewReader(log), func(f gps.Fix) { want = append(want, f) })
			if err != nil {
				t.Fatal(err)
			}

			master, slave, err := pty.Open()
			if err != nil {
				t.Skipf("no pseudo terminals here: %v", err)
			}
			defer slave.Close()
			var got []gps.Fix
			absent := make(chan struct{}, 1)
			r, err := gps.New(gps.Options{
				Source: slave.Name(),
				Now:    func() time.Duration { return time.Second }, // stands still: a pause of a busy machine is not the receiver's
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- r.Run(ctx, gps.Handler{
					Fix: func(f gps.Fix) { got = append(got, f) },
					State: func(c gps.StateChange) {
						if c.To == gps.StateAbsent {
							select {
							case absent <- struct{}{}:
							default:
							}
						}
					},
				})
			}()
			defer func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}()
			eventually(t, "the receiver opens the pty", func() bool { return r.Status().Opens > 0 })
			if err := (nmeasim.Replay{Log: log, Fast: true}).Run(ctx, master); err != nil {
				t.Fatal(err)
			}
			// Closing a pty throws away what was not read yet.
			eventually(t, "all is read", func() bool { return r.Status().Sentences == counts.Sentences })
			if err := master.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-absent:
			case <-time.After(20 * time.Second):
				t.Fatalf("the death of the pty was not noticed: %+v", r.Status())
			}
			if d := cmp.Diff(want, got, sameFixes); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestReplacedPtyIsReadAgainWithin3s(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "gps")
	fixed := make(chan struct{}, 100)
	states := make(chan gps.StateChange, 100)
	r, err := gps.New(gps.Options{Source: link})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.Run(ctx, gps.Handler{
			Fix:   func(gps.Fix) { fixed <- struct{}{} },
			State: func(c gps.StateChange) { states <- c },
		})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	if c := <-states; c.To != gps.StateAbsent || !strings.Contains(c.Reason, link) {
		t.Fatalf("before it is plugged in: %+v", c)
	}
	for round := range 2 {
		master, slave, err := pty.Open()
		if err != nil {
			t.Skipf("no pseudo terminals here: %v", err)
		}
		plugged := time.Now()
		if err := os.Symlink(slave.Name(), link); err != nil {
			t.Fatal(err)
		}
		runCtx, stop := context.WithCancel(ctx)
		sim := make(chan error, 1)
		eventually(t, "it is opened", func() bool { return r.Status().Opens == uint64(round+1) })
		go func() { sim <- nmeasim.Synth{Rate: 10}.Run(runCtx, master, driving) }()
		select {
		case <-fixed:
			t.Logf("fix %s after plugging in", time.Since(plugged))
			if d := time.Since(plugged); d > 3*time.Second {
				t.Errorf("the first fix took %s", d)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no fix: %+v", r.Status())
		}
		stop()
		if err := <-sim; err != nil {
			t.Error(err)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
		_ = slave.Close()
		_ = master.Close()
		eventually(t, "it is absent", func() bool { return r.Status().State == gps.StateAbsent })
		for len(fixed) > 0 {
			<-fixed
		}
	}
}
