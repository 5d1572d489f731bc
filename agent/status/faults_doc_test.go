package status_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/status"
	"obdagent/agent/uplink"
	"obdagent/buffer"
	"obdagent/gps"
	"obdagent/obd"
)

const faultsPage = "../../docs/faults.md"

// TestThePageOfFaultsIsWhatTheCodeSays keeps docs/faults.md; -update rewrites it.
func TestThePageOfFaultsIsWhatTheCodeSays(t *testing.T) {
	t.Parallel()
	got := faultsDoc()
	if *update {
		if err := os.WriteFile(faultsPage, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(faultsPage)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s is not what the code says: run go test ./agent/status -update (-page +code)\n%s", faultsPage, d)
	}
}

func faultsDoc() string {
	var b strings.Builder
	b.WriteString(`# Faults

What the agent can find wrong, by code. The same codes stand in ` + "`obdagent status`, its `--json`, the status log, the local page, `/metrics` and" + `
systemd's status line. A code keeps its meaning from version to version; the text beside it may change.

This page is made of the code: ` + "`go test ./agent/status -update`" + ` rewrites it.

- **critical**: records are being lost, or soon will be. **error**: a stage does not do its part; what is recorded is kept.
  **warning**: everything is done, and somebody should look. The first two make the agent *degraded* (exit status 1).
- A fault shows when it has lasted. Until then the agent is *waiting*: it may pass.
- A fault that explains others hides them.
`)
	reasons := map[string][]string{}
	add := func(stage status.Stage, reason string) {
		if code, _ := status.Code(stage, reason); code != status.NoFault {
			reasons[code] = append(reasons[code], "`"+reason+"`")
		}
	}
	for _, r := range obd.Reasons() {
		add(status.StageCar, r)
	}
	for _, c := range gps.Causes() {
		add(status.StageGPS, string(c))
	}
	for _, r := range buffer.Reasons() {
		add(status.StageBuffer, r)
	}
	for _, c := range uplink.Causes() {
		add(status.StageUplink, string(c))
	}
	for _, stage := range status.Stages() {
		fmt.Fprintf(&b, "\n## %s\n", stage)
		for _, f := range status.Faults() {
			if f.Stage != stage {
				continue
			}
			after := "at once"
			if f.After > 0 {
				after = "after " + strings.TrimSuffix(f.After.String(), "m0s")
				if f.After >= time.Minute {
					after += " min"
				}
			}
			fmt.Fprintf(&b, "\n### %s\n\n%s%s. **%s**, shows %s.\n\n", f.Code, strings.ToUpper(f.Title[:1]), f.Title[1:], f.Severity, after)
			fmt.Fprintf(&b, "What to do: %s.\n", f.Action)
			if len(f.DependsOn) > 0 {
				fmt.Fprintf(&b, "\nHidden by: %s.\n", strings.Join(f.DependsOn, ", "))
			}
			if r := reasons[f.Code]; len(r) > 0 {
				fmt.Fprintf(&b, "\nReasons (`cause` in the JSON): %s.\n", strings.Join(r, ", "))
			}
		}
	}
	return b.String()
}
