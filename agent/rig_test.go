package agent_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"obdagent/agent"
	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/agent/record"
	"obdagent/agent/status"
)

// patience is how long a test waits for what happens in a second: these machines are slow at times.
const patience = 2 * time.Minute

// A rig is a real agent on ports, with a directory as its sink unless the configuration says otherwise.
type rig struct {
	t    *testing.T
	dir  string
	cfg  *config.Config
	stop func() error // idempotent

	opts agent.Options // for start; it adds what a rig needs

	agent *agent.Agent

	mu   sync.Mutex
	made []record.Record
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	c := config.Default()
	c.Vehicle.DeviceID = "rig"
	c.OBD.Port, c.GPS.Source = config.None, config.None
	c.Record.Format = config.FormatJSON
	c.Buffer.Dir = filepath.Join(r.dir, "buffer")
	c.Buffer.Sync = 50 * time.Millisecond
	c.Uplink.Kind, c.Uplink.Path = config.KindDirectory, filepath.Join(r.dir, "delivered")
	c.Uplink.Linger, c.Uplink.TimeWait = 50*time.Millisecond, 0
	c.Status.Log = filepath.Join(r.dir, "status.log")
	c.Status.Socket = filepath.Join(r.dir, "s")
	r.cfg = &c
	r.opts.DrainOnStop = 5 * time.Second
	return r
}

// start runs the agent until stop or the end of the test.
func (r *rig) start() {
	r.t.Helper()
	o := r.opts
	o.Config, o.Version = r.cfg, "test"
	o.OnRecord = func(x record.Record) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.made = append(r.made, x)
	}
	a, err := agent.New(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.agent = a
	r.stop = background(r.t, a.Run)
}

// background runs f until the returned function is called, or the test ends.
func background(t *testing.T, f func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var err error
	go func() { defer close(done); err = f(ctx) }()
	stop = func() error { cancel(); <-done; return err }
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("at its end: %v", err)
		}
	})
	return stop
}

// records are those made so far.
func (r *rig) records() []record.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]record.Record(nil), r.made...)
}

// until waits for the agent's snapshot to be as it should be.
func (r *rig) until(what string, ok func(s status.Snapshot) bool) status.Snapshot {
	r.t.Helper()
	var s status.Snapshot
	await(r.t, what, func() bool { s = r.agent.Snapshot(); return ok(s) }, func() string {
		var b strings.Builder
		_ = s.Render(&b)
		return b.String()
	})
	return s
}

// await waits for a condition; state says how things are when it does not come.
func await(t *testing.T, what string, ok func() bool, state func() string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("no %s within %v\n%s", what, patience, state())
		}
	}
}

// delivered are the lines of all objects of the directory sink.
func (r *rig) delivered() []record.Record {
	r.t.Helper()
	return readObjects(r.t, r.cfg.Uplink.Path)
}

func readObjects(t *testing.T, dir string) []record.Record {
	t.Helper()
	var records []record.Record
	for _, line := range objectLines(t, dir) {
		x, err := record.Parse([]byte(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		records = append(records, x)
	}
	return records
}

func objectLines(t *testing.T, dir string) (lines []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !strings.HasSuffix(string(text), "\n") {
			return fmt.Errorf("%s does not end with a newline", path)
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// simulate runs a simulation and points the rig's configuration at it.
func (r *rig) simulate(o demo.SimOptions) *demo.Simulation {
	r.t.Helper()
	o.Dir = r.dir
	s, err := demo.NewSimulation(o)
	if err != nil {
		r.t.Fatal(err)
	}
	background(r.t, s.Run)
	r.cfg.OBD.Port, r.cfg.GPS.Source = s.CarPort(), s.GPSPort()
	return s
}

// plug makes a bare port for the receiver and returns the other end. Unlike a demo.Cable it drops nothing: writing waits for
// the reader.
func (r *rig) plug() io.Writer {
	r.t.Helper()
	device, tty, err := pty.Open()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := errors.Join(tty.Close(), device.Close()); err != nil {
			r.t.Error(err)
		}
	})
	if _, err := term.MakeRaw(int(tty.Fd())); err != nil {
		r.t.Fatal(err)
	}
	r.cfg.GPS.Source = tty.Name()
	return device
}

func bySeq(records []record.Record) []record.Record {
	slices.SortFunc(records, func(a, b record.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	return records
}
