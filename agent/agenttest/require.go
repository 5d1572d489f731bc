package agenttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// requireVariable lists the needs whose absence is a failure.
const requireVariable = "OBDAGENT_TEST_REQUIRE"

// Require ends the test unless the machine has what need names: with a skip, or with a failure if OBDAGENT_TEST_REQUIRE says
// that it must be there. The package's doc lists the needs.
func Require(t testing.TB, need string) {
	t.Helper()
	if err := have(t, need); err != nil {
		Missing(t, need, err.Error())
	}
}

// Missing ends the test as [Require] does, for a need that the test itself found absent.
func Missing(t testing.TB, need, reason string) {
	t.Helper()
	if required(need, os.Getenv(requireVariable)) {
		t.Fatalf("%s is missing, and %s says that it must be there: %s", need, requireVariable, reason)
	}
	t.Skipf("%s is missing: %s", need, reason)
}

func required(need, list string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(s string) bool { return strings.TrimSpace(s) == need })
}

// have returns why the machine has not what is needed, or nil.
func have(t testing.TB, need string) error {
	t.Helper()
	switch module, isModule := strings.CutPrefix(need, "python-"); {
	case need == "":
		return errors.New("the need has no name")
	case need == "moto":
		return onPath(motoServer)
	case need == "nmea":
		return exists(beside(t, "nmea"))
	case need == "contract":
		return exists(beside(t, contractPage))
	case need == "pace":
		return keepsPace()
	case need == "duckdb":
		return haveDuckDB()
	case need == "trino":
		return haveTrino()
	case isModule:
		return imports(t, module)
	default:
		return onPath(need)
	}
}

// emulatedVariable says that the processor is emulated, as .ci/cross does.
const emulatedVariable = "OBDAGENT_TEST_EMULATED"

// Emulated reports whether this program runs under an emulator: some ten times slower, and without what the emulator does not
// hand to the kernel.
func Emulated() bool { return os.Getenv(emulatedVariable) != "" }

func keepsPace() error {
	if Emulated() {
		return errors.New("the processor is emulated, and falls seconds behind a vehicle in real time")
	}
	return nil
}

func onPath(name string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("look for the program: %w", err)
	}
	return nil
}

func exists(name string) error {
	if _, err := os.Stat(name); err != nil {
		return fmt.Errorf("look beside the checkout: %w", err)
	}
	return nil
}

// imports asks Python for the module's place; that is quicker than importing it.
func imports(t testing.TB, module string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const ask = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
	if out, err := exec.CommandContext(ctx, pythonPath, "-c", ask, module).CombinedOutput(); err != nil {
		return fmt.Errorf("look for Python's module %s (Debian: python3-%s): %w: %s", module, module, err, out)
	}
	return nil
}

// NMEADir returns the directory of recordings, *.log each with *.log.chk, or ends the test as [Require] does.
func NMEADir(t testing.TB) string {
	t.Helper()
	Require(t, "nmea")
	return beside(t, "nmea")
}

// beside returns the path of something in ../shared beside the checkout.
func beside(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(filepath.Dir(ModuleRoot(t)), "shared", name)
}

// ModuleRoot returns the directory of go.mod.
func ModuleRoot(t testing.TB) string {
	t.Helper()
	// A test runs in its package's directory. With -trimpath the caller's file would not do.
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	for {
		if exists(filepath.Join(dir, "go.mod")) == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			_, file, _, _ := runtime.Caller(0)
			t.Fatalf("find the module: no go.mod above the working directory (this is %s)", file)
		}
		dir = parent
	}
}
