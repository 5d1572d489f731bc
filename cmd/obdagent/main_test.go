package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"obdagent/agent/agenttest"
	"obdagent/cmd/internal/cli"
)

var update = flag.Bool("update", false, "write the golden files")

// programVariable makes the test binary the program itself.
const programVariable = "OBDAGENT_TEST_PROGRAM"

// TestMain makes the test binary the program where it is a child of these tests.
func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
	}
	// What runs in this process must not read the machine's own configuration.
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "OBDAGENT_") && !strings.HasPrefix(name, "OBDAGENT_TEST_") {
			if err := os.Unsetenv(name); err != nil {
				panic(err)
			}
		}
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what happens in a second: these machines are slow at times, and emulated ones always.
var patience = func() time.Duration {
	if agenttest.Emulated() {
		return 5 * time.Minute
	}
	return time.Minute
}()

// surroundings are a child's whole environment: nothing of the machine's configuration or credentials.
func surroundings(tmp string, more ...string) []string {
	return append([]string{programVariable + "=1", "PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TMPDIR=" + tmp,
		"AWS_EC2_METADATA_DISABLED=true", "GORACE=halt_on_error=1 atexit_sleep_ms=0"}, more...)
}

// command is the program as a child process, with dir as its working directory.
func command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Dir, c.Env = dir, surroundings(dir)
	return c
}

// A result is what a command came to.
type result struct {
	code           int
	stdout, stderr string
}

// obdagent runs a command to its end, as a child process.
func obdagent(t *testing.T, dir string, args ...string) result {
	t.Helper()
	return finish(t, dir, nil, args...)
}

// finish runs a command to its end with more variables in its environment.
func finish(t *testing.T, dir string, environ []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := command(ctx, dir, args...)
	c.Env = append(c.Env, environ...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) || ctx.Err() != nil {
		t.Fatalf("obdagent %q: %v (%v)\n%s", args, err, ctx.Err(), errs.String())
	}
	return result{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

// inProcess runs a command in this process: the quick way for those that start nothing.
func inProcess(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	code := cli.Run(ctx, rootCommand(), args, &out, &errs)
	return result{code, out.String(), errs.String()}
}

// mistake runs a command that must end with the status of a mistake, one line, and nothing else.
func mistake(t *testing.T, code int, args ...string) (said string) {
	t.Helper()
	r := inProcess(t, args...)
	if r.code != code || r.stdout != "" || !isOneLine(r.stderr) {
		t.Errorf("obdagent %q: exit status %d, want %d; printed %q, want nothing; said %q, want one line", args, r.code, code, r.stdout, r.stderr)
	}
	return r.stderr
}

func isOneLine(s string) bool {
	return len(s) > 1 && strings.HasSuffix(s, "\n") && strings.Count(s, "\n") == 1
}

// golden compares with a file of testdata, which -update writes.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		writeFile(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got, -update writes it):\n%s", file, diff)
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// await waits for a condition; state says how things are when it does not come.
func await(t *testing.T, what string, ok func() bool, state func() string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("no %s within %v\n%s", what, patience, state())
		}
	}
}

// words splits a command line at its spaces; DIR in it stands for dir.
func words(line, dir string) []string {
	return strings.Fields(strings.ReplaceAll(line, "DIR", dir))
}
