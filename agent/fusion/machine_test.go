package fusion_test

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// fused are arm64's instructions that multiply and add with one rounding.
var fused = regexp.MustCompile(`(?m)^.*\bFN?M(ADD|SUB)[SD]\b.*$`)

// TestEveryMachineRoundsAlike: the same input gives the same records on each kind of machine only if no compiler fuses a
// multiplication with an addition. Go's does so on arm64 (and on others), wherever no conversion stands between the two.
func TestEveryMachineRoundsAlike(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles for another architecture")
	}
	for _, pkg := range []string{"obdagent/agent/fusion", "obdagent/agent/record", "obdagent/agent/clock", "obdagent/gps"} {
		build := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-S", pkg)
		build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
		listing, err := build.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, listing)
		}
		if len(listing) < 1000 {
			t.Fatalf("%s: no listing:\n%s", pkg, listing)
		}
		for _, line := range fused.FindAll(listing, -1) {
			t.Errorf("%s: %s", pkg, line)
		}
	}
}
