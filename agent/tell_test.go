package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/clock"
	"obdagent/agent/status"
)

// TestAFaultIsToldWhenItShowsAndWhenItIsOver: one line of the status log each, whatever stays.
func TestAFaultIsToldWhenItShowsAndWhenItIsOver(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "status.log")
	boot := func() time.Duration { return time.Minute }
	now := func() time.Time { return time.Date(2026, time.November, 23, 8, 0, 0, 0, time.UTC) }
	c, err := clock.Open(clock.Options{BootID: "b", Build: Floor, Boottime: boot, System: now})
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{opts: Options{systemd: startedBy()}, log: slog.New(slog.DiscardHandler), clock: c, status: status.NewLog(path, now, boot)}
	a.page = status.NewPage(a.Snapshot, func() bool { return false })
	one := status.Active{Code: "OBD-NO-CAR", Severity: status.Error, Text: "the car does not answer", Action: "switch the ignition on", Since: 61}
	two := status.Active{Code: "GPS-NO-FIX", Severity: status.Error, Text: "no position", Action: "free the antenna", Since: 180}
	later := one
	later.Since = 99
	told := teller{agent: a}
	for _, faults := range [][]status.Active{{}, {one}, {later, two}, {two}, {}, {}} {
		told.tell(&status.Snapshot{Faults: faults})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.status.Run(ctx); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `event=fault code=OBD-NO-CAR severity=error text="the car does not answer" do="switch the ignition on"
event=fault code=GPS-NO-FIX severity=error text="no position" do="free the antenna"
event=fault_over code=OBD-NO-CAR lasted_s=99
event=fault_over code=GPS-NO-FIX lasted_s=180
`
	if d := cmp.Diff(want, strings.ReplaceAll(string(text), "2026-11-23T08:00:00Z boot_s=60.0 ", "")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
