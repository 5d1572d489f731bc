package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// diary notes what happens, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, s)
}

// worker runs until it is stopped, and then takes a second to finish.
func (d *diary) worker(name string) task {
	return task{name, func(ctx context.Context) error {
		<-ctx.Done()
		<-time.After(time.Second) // in a bubble: free
		d.note(name + " stopped")
		return nil
	}}
}

func TestStagesStopInOrderEachWhenTheOneBeforeIsDry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		err := runStages(ctx, []stage{
			{tasks: []task{d.worker("source")}},
			{tasks: []task{d.worker("fusion")}, after: func() { d.note("commit") }},
			{tasks: []task{d.worker("uplink")}},
		})
		if err != nil {
			t.Error(err)
		}
		if want := []string{"source stopped", "fusion stopped", "commit", "uplink stopped"}; !slices.Equal(d.lines, want) {
			t.Errorf("%q, want %q", d.lines, want)
		}
	})
}

func TestATaskThatFailsStopsTheRunAndIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		broken := errors.New("no socket")
		err := runStages(t.Context(), []stage{
			{tasks: []task{d.worker("source")}},
			{tasks: []task{{"status", func(context.Context) error { return broken }}}},
		})
		if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "status: ") {
			t.Errorf("error %v", err)
		}
		if !slices.Equal(d.lines, []string{"source stopped"}) {
			t.Errorf("%q", d.lines)
		}
	})
}

func TestATaskThatIsDoneDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, func() { d.note("told to stop"); cancel() })
		if err := runStages(ctx, []stage{{tasks: []task{{"once", func(context.Context) error { return nil }}, d.worker("other")}}}); err != nil {
			t.Error(err)
		}
		if want := []string{"told to stop", "other stopped"}; !slices.Equal(d.lines, want) {
			t.Errorf("%q, want %q", d.lines, want)
		}
	})
}

func TestTwoSourcesDoNotTakeOnePortUnderTwoNames(t *testing.T) {
	t.Parallel()
	device := filepath.Join(t.TempDir(), "ttyUSB0")
	link := filepath.Join(t.TempDir(), "by-id")
	if err := errors.Join(os.WriteFile(device, nil, 0o600), os.Symlink(device, link)); err != nil {
		t.Fatal(err)
	}
	var p ports
	release, err := p.claim("GPS")(device)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.claim("adapter")(link); err == nil || !strings.Contains(err.Error(), "GPS") {
		t.Errorf("the second claim: %v", err)
	}
	if _, err := p.claim("GPS")(link); err != nil {
		t.Errorf("the owner's second claim: %v", err)
	}
	release()
	release() // again is nothing
	if _, err := p.claim("adapter")(link); err != nil {
		t.Errorf("after the release: %v", err)
	}
}
