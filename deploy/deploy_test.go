package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"obdagent/deploy"
)

// need skips a test whose tool is missing, unless OBDAGENT_TEST_REQUIRE lists it.
func need(t *testing.T, name, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		without(t, name, err)
	}
	return path
}

// without skips a test for want of something, unless OBDAGENT_TEST_REQUIRE lists it.
func without(t *testing.T, name string, err error) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("OBDAGENT_TEST_REQUIRE"), ","), name) {
		t.Fatalf("OBDAGENT_TEST_REQUIRE lists %s: %v", name, err)
	}
	t.Skipf("needs %s: %v", name, err)
}

// unitFile writes the unit where systemd-analyze can judge it: verify wants ExecStart= to be there.
func unitFile(t *testing.T) string {
	t.Helper()
	const daemon = "ExecStart=/usr/bin/obdagent"
	if !strings.Contains(deploy.Unit, daemon) {
		t.Fatalf("the unit does not have %s", daemon)
	}
	path := filepath.Join(t.TempDir(), "obdagent.service")
	text := strings.Replace(deploy.Unit, daemon, "ExecStart=/bin/true", 1)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSystemdKnowsEveryDirectiveOfTheUnit(t *testing.T) {
	t.Parallel()
	analyze := need(t, "systemd", "systemd-analyze")
	// Without --recursive-errors=no an unknown key is a warning and the exit status 0.
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--recursive-errors=no", unitFile(t)).CombinedOutput()
	if err != nil || strings.Contains(string(out), "obdagent.service") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheUnitExposesLittle(t *testing.T) {
	t.Parallel()
	analyze := need(t, "systemd", "systemd-analyze")
	// 20 is an exposure of 2.0 of 10; the daemons it shares a gateway with have 4 to 9.
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--no-pager", "--offline=yes", "--threshold=20", unitFile(t)).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A card that takes a minute for each file must not have the start ended and begun again for ever.
func TestTheUnitsStartHasNoBound(t *testing.T) {
	t.Parallel()
	if !strings.Contains(deploy.Unit, "\nType=notify\n") || !strings.Contains(deploy.Unit, "\nTimeoutStartSec=infinity\n") {
		t.Error("systemd ends a start that takes a minute and a half")
	}
}

func TestTheUnitWaitsForNoNetworkAndNoDevice(t *testing.T) {
	t.Parallel()
	for _, line := range regexp.MustCompile(`(?m)^(After|Wants|Requires|BindsTo|Requisite)=.*$`).FindAllString(deploy.Unit, -1) {
		for _, never := range []string{"network", "time-sync", ".device"} {
			if strings.Contains(line, never) {
				t.Errorf("%s: a van without coverage or adapter would wait for it", line)
			}
		}
	}
}

// systemd looks a driver's name up in /proc/devices when the unit starts, and leaves out one that is not there: the driver of a USB
// chip is loaded when the first is plugged in, while the daemon runs. A number holds whether or not (systemd.resource-control(5)).
func TestTheUnitLetsInDriversThatAreNotLoadedYet(t *testing.T) {
	t.Parallel()
	for driver, major := range map[string]string{"ttyUSB": "188", "ttyACM": "166", "rfcomm": "216"} {
		if !strings.Contains(deploy.Unit, "\nDeviceAllow=char-"+major+" rw\n") {
			t.Errorf("the unit does not let in the devices of %s by their number %s", driver, major)
		}
		if strings.Contains(deploy.Unit, "DeviceAllow=char-"+driver) {
			t.Errorf("the unit lets %s in by its name", driver)
		}
	}
}

func TestTheUnitIsRestartedWhateverItsExitStatus(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"\nRestart=always\n", "\nStartLimitIntervalSec=0\n", "\nType=notify\n"} {
		if !strings.Contains(deploy.Unit, want) {
			t.Errorf("the unit lacks %s", strings.TrimSpace(want))
		}
	}
	if strings.Contains(deploy.Unit, "RestartPreventExitStatus") {
		t.Error("an exit status that prevents the restart: a Go program ends in a panic with 2")
	}
}

func TestTheRulesAreWellFormed(t *testing.T) {
	t.Parallel()
	// A token is a key, an operator and a quoted value (udev(7)).
	token := regexp.MustCompile(`^[A-Z_]+(\{[^}]+\})?(==|!=|=|\+=|:=)"[^"]*"$`)
	labels, jumps := map[string]bool{}, map[string]int{}
	for i, line := range strings.Split(deploy.Rules, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for _, tok := range strings.Split(line, ", ") {
			if !token.MatchString(tok) {
				t.Errorf("line %d: %q is no match and no assignment", i+1, tok)
			}
			if name, ok := strings.CutPrefix(tok, "GOTO="); ok {
				jumps[name] = i + 1
			}
			if name, ok := strings.CutPrefix(tok, "LABEL="); ok {
				labels[name] = true
				if jumps[name] == 0 {
					t.Errorf("line %d: nothing above goes to %s", i+1, name)
				}
			}
		}
	}
	for name, line := range jumps {
		if !labels[name] {
			t.Errorf("line %d goes to %s, which is not there", line, name)
		}
	}
	if len(labels) == 0 {
		t.Error("no rules")
	}
}
