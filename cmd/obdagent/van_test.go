package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"obdagent/agent/demo"
	"obdagent/agent/record"
	"obdagent/agent/status"
)

// A van is a simulated adapter and receiver, which this process runs, and a configuration, with which the real program runs as
// a child process.
type van struct {
	t      *testing.T
	dir    string
	linger time.Duration
	obd    string // obd.port; "none": nothing is attached, and no record is made
	gps    string
	device string // vehicle.device_id, which each record has
	// environ are further variables of the child.
	environ []string
}

// syncWindow is buffer.sync of a van: what a kill may cost.
const syncWindow = 200 * time.Millisecond

func newVan(t *testing.T) *van {
	t.Helper()
	dir := shortDir(t)
	sim, err := demo.NewSimulation(demo.SimOptions{Dir: dir, Rate: 10, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sim.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("simulation: %v", err)
		}
	})
	return &van{t: t, dir: dir, linger: 100 * time.Millisecond, obd: sim.CarPort(), gps: sim.GPSPort(), device: "van"}
}

// shortDir is a directory for a socket: the names of t.TempDir are longer than a socket's may be.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "van")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (v *van) path(name string) string { return filepath.Join(v.dir, name) }

// unplugged is the van with nothing attached: what it runs makes no records, and delivers what is there.
func (v *van) unplugged() *van {
	quiet := *v
	quiet.obd, quiet.gps, quiet.linger = "none", "file:"+v.path("empty.nmea"), 0
	return &quiet
}

// config writes the configuration and returns its path.
func (v *van) config() string {
	v.t.Helper()
	interval := `interval = "100ms"
parked_interval = "100ms"`
	if v.obd == "none" {
		interval = `interval = "1h"
parked_interval = "24h"`
		writeFile(v.t, v.path("empty.nmea"), "")
	}
	writeFile(v.t, v.path("c.toml"), fmt.Sprintf(`[vehicle]
device_id = %q
[obd]
port = %q
[gps]
source = %q
[record]
format = "json"
%s
[buffer]
dir = %q
sync = %q
[uplink]
kind = "directory"
path = %q
linger = %q
time_wait = "0s"
[status]
log = %q
socket = %q
`, v.device, v.obd, v.gps, interval, v.path("buffer"), syncWindow, v.path("delivered"), v.linger, v.path("status.log"), v.path("s")))
	return v.path("c.toml")
}

// A daemon is the program running as a child process.
type daemon struct {
	t      *testing.T
	child  *exec.Cmd
	socket string
	stdout lines
	stderr lines
	done   chan struct{} // closed when it has ended
	err    error         // of Wait, once done
}

// lines is what a child says; it may be read while it runs.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// run starts the daemon, with more flags if there are.
func (v *van) run(flags ...string) *daemon {
	v.t.Helper()
	a := &daemon{t: v.t, socket: v.path("s"), done: make(chan struct{})}
	a.child = command(context.Background(), v.dir, append([]string{"run", "--config", v.config()}, flags...)...)
	a.child.Env = append(a.child.Env, v.environ...)
	a.child.Stderr = &a.stderr
	a.begin()
	return a
}

// begin starts the child, and sees to its end.
func (a *daemon) begin() {
	a.t.Helper()
	if err := a.child.Start(); err != nil {
		a.t.Fatal(err)
	}
	go func() { defer close(a.done); a.err = a.child.Wait() }()
	a.t.Cleanup(func() {
		_ = a.child.Process.Kill() // it has ended, unless the test failed
		<-a.done
		if a.t.Failed() {
			a.t.Logf("child %d said\n%s%s", a.child.Process.Pid, a.stdout.String(), a.stderr.String())
		}
		if strings.Contains(a.stderr.String(), "DATA RACE") {
			a.t.Error("the program has a data race")
		}
	})
}

// stop sends a signal, waits for the end, and returns the exit status, -1 for a death by the signal, and how long it took.
func (a *daemon) stop(signal syscall.Signal) (code int, took time.Duration) {
	a.t.Helper()
	began := time.Now()
	if err := a.child.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		a.t.Fatal(err)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-a.done:
	case <-timer.C:
		a.t.Fatalf("the agent does not end on %v", signal)
	}
	return a.child.ProcessState.ExitCode(), time.Since(began)
}

// snapshot asks the agent; it fails while it starts, and after its end.
func (a *daemon) snapshot() (status.Snapshot, error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	return status.Fetch(ctx, a.socket)
}

// until waits for the agent's snapshot to be as it should be.
func (a *daemon) until(what string, ok func(status.Snapshot) bool) (s status.Snapshot) {
	a.t.Helper()
	var err error
	await(a.t, what, func() bool { s, err = a.snapshot(); return err == nil && ok(s) }, func() string {
		var b strings.Builder
		if err != nil {
			return err.Error()
		}
		_ = s.Render(&b)
		return b.String()
	})
	return s
}

// drain runs the unplugged van until everything is delivered.
func (v *van) drain() {
	v.t.Helper()
	a := v.unplugged().run()
	a.until("empty buffer", func(s status.Snapshot) bool { return s.Buffer.Records == 0 })
	if code, _ := a.stop(syscall.SIGTERM); code != 0 {
		v.t.Fatalf("exit status %d at the end of the delivery", code)
	}
}

// delivered are the records of all objects. A line that is not one whole record fails the test.
func (v *van) delivered() []record.Record {
	v.t.Helper()
	var all []record.Record
	err := filepath.WalkDir(v.path("delivered"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			r, err := record.Parse([]byte(line))
			if err != nil || !strings.HasSuffix(line, "\n") {
				return fmt.Errorf("%s: damaged line %q: %w", path, line, err)
			}
			all = append(all, r)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.t.Fatal(err)
	}
	return all
}
