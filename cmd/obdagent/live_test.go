package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"obdagent/agent/status"
)

// TestTailShowsWhatPasses runs tail as a child beside the daemon, until each kind was seen in its own form.
func TestTailShowsWhatPasses(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	a := v.run()
	a.until("both sources", bothLive)
	for _, test := range []struct {
		args []string
		want []string // each must be in one line
		not  string
	}{
		{nil, []string{`^\d\d:\d\d:\d\d\.\d{3} record \{.*"device_id":"van"`, `^\S+ nmea \$G.RMC,\S+\*[0-9A-F]{2}$`, `^\S+ obd  > 010D`, `^\S+ obd  < .*41 ?0D`}, "no prompt"},
		{[]string{"--obd"}, []string{`^\S+ obd  > 010D`}, "nmea|record"},
		{[]string{"--records", "--json"}, []string{`^\{"time":"\S+Z","kind":"record","record":\{.*"speed":`}, `"kind":"(nmea|obd)"`},
	} {
		args := append([]string{"tail", "--socket", "s"}, test.args...)
		ctx, cancel := context.WithCancel(t.Context())
		c := command(ctx, v.dir, args...)
		c.Cancel = func() error { return c.Process.Signal(syscall.SIGINT) }
		var out, errs lines
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		seen := func() bool {
			return !slices.ContainsFunc(test.want, func(w string) bool { return !regexp.MustCompile("(?m)" + w).MatchString(out.String()) })
		}
		await(t, strings.Join(args, " "), seen, func() string { return out.String() + errs.String() })
		cancel()
		if err := c.Wait(); c.ProcessState.ExitCode() != 0 {
			t.Errorf("%q interrupted: %v\n%s", args, err, errs.String())
		}
		if regexp.MustCompile(test.not).MatchString(out.String()) {
			t.Errorf("%q shows what it should not:\n%.3000s", args, out.String())
		}
		if slices.Contains(args, "--json") {
			for line := range strings.Lines(out.String()) {
				if e := (status.Event{}); strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &e) != nil {
					t.Errorf("no JSON: %s", line)
				}
			}
		}
	}
	// One that watches when the agent ends is told so.
	c := command(t.Context(), v.dir, "tail", "--socket", "s", "--records")
	var out, errs lines
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "a record", func() bool { return out.String() != "" }, errs.String)
	if code, _ := a.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d of an agent that is watched", code)
	}
	if err := c.Wait(); c.ProcessState.ExitCode() != 1 || errs.String() != "obdagent tail: the agent has ended\n" {
		t.Errorf("%v, said %q", err, errs.String())
	}
	if r := obdagent(t, v.dir, "tail", "--socket", "s"); r.code != 1 || !strings.Contains(r.stderr, "obdagent is not running") || !isOneLine(r.stderr) {
		t.Errorf("%+v", r)
	}
}

// TestATailThatIsStoppedHoldsNobodyUp: a reader under SIGSTOP, whose pipe and socket are full, costs the daemon no record.
func TestATailThatIsStoppedHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	a := v.run()
	a.until("both sources", bothLive)
	c := command(t.Context(), v.dir, "tail", "--socket", "s")
	var out lines
	c.Stdout = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the first event", func() bool { return out.String() != "" }, out.String)
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	before := a.until("any", bothLive)
	after := a.until("30 records more", func(s status.Snapshot) bool { return s.Record.Made >= before.Record.Made+30 })
	if after.Record.Dropped != before.Record.Dropped {
		t.Errorf("%d inputs were dropped", after.Record.Dropped-before.Record.Dropped)
	}
	if code, _ := a.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if err := c.Process.Signal(syscall.SIGCONT); err != nil {
		t.Error(err)
	}
	if err := c.Wait(); err != nil && c.ProcessState.ExitCode() != 1 {
		t.Error(err)
	}
}

func TestTheLogLevelIsChangedWhileItRuns(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	a := v.run()
	a.until("start", func(status.Snapshot) bool { return true })
	if strings.Contains(a.stderr.String(), "level=DEBUG") {
		t.Error("details from the start")
	}
	for _, test := range []struct{ level, want string }{{"", "info\n"}, {"debug", "debug now, was info\n"}, {"debug", "debug, as before\n"}, {"", "debug\n"}} {
		args := append([]string{"log-level", "--socket", "s"}, strings.Fields(test.level)...)
		if r := obdagent(t, v.dir, args...); r.code != 0 || r.stdout != test.want || r.stderr != "" {
			t.Errorf("%q: %+v", args, r)
		}
	}
	await(t, "details in the log", func() bool { return strings.Contains(a.stderr.String(), "level=DEBUG") }, a.stderr.String)
	a.until("level in the status", func(s status.Snapshot) bool { return s.Config.LogLevel == "debug" })
	if code, _ := a.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if log, err := os.ReadFile(v.path("status.log")); err != nil || !strings.Contains(string(log), "event=log_level from=info to=debug") {
		t.Errorf("status log (%v):\n%s", err, log)
	}
	if r := obdagent(t, v.dir, "log-level", "--socket", "s", "info"); r.code != 1 || !strings.Contains(r.stderr, "obdagent is not running") {
		t.Errorf("%+v", r)
	}
}

// TestAHangupReadsTheConfigurationAgain: what can change does, what cannot is named, and a file with a mistake changes nothing.
func TestAHangupReadsTheConfigurationAgain(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	a := v.run()
	a.until("both sources", bothLive)
	text, err := os.ReadFile(v.path("c.toml"))
	if err != nil {
		t.Fatal(err)
	}
	reload := func(change ...string) {
		t.Helper()
		writeFile(t, v.path("c.toml"), strings.NewReplacer(change...).Replace(string(text)))
		if err := a.child.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	reload("[gps]", "[gps]\nbuad = 1")
	s := a.until("a refusal", func(s status.Snapshot) bool { return s.Config.Refused != "" })
	if !strings.Contains(s.Config.Refused, "gps.buad") || !bothLive(s) {
		t.Errorf("%+v", s.Config)
	}
	if r := obdagent(t, v.dir, "status", "--socket", "s"); !strings.Contains(r.stdout, "config   refused  the one before is in force\n") || !strings.Contains(r.stdout, "! CFG-REFUSED: ") || r.code != statusDegraded {
		t.Errorf("status:\n%s", r.stdout)
	}
	// Who asks with the configuration that is refused is answered all the same, where the agent is at the usual socket.
	if r := finish(t, v.dir, []string{"OBDAGENT_STATUS_SOCKET=" + v.path("s")}, "status", "--config", "c.toml"); !strings.Contains(r.stdout, "! CFG-REFUSED: ") ||
		!strings.Contains(r.stderr, "gps.buad") || r.code != statusDegraded {
		t.Errorf("status with the refused configuration: %+v", r)
	}
	if r := finish(t, v.dir, []string{"OBDAGENT_STATUS_SOCKET=" + v.path("nowhere")}, "status", "--config", "c.toml"); r.stdout != "" || !strings.Contains(r.stderr, "gps.buad") || r.code != statusUsage {
		t.Errorf("status with the refused configuration, and nobody there: %+v", r)
	}
	// The car's section: its port is opened again. The intervals, to seldom: the records stop coming.
	reload("[gps]", "max_rate = 7.0\n[gps]", `"100ms"`, `"1h"`, v.path("delivered"), v.path("elsewhere"))
	s = a.until("a reload", func(s status.Snapshot) bool {
		return s.Config.Refused == "" && len(s.Config.RestartNeeded) > 0 && bothLive(s) && s.Car.AskedHz > 0 && s.Car.AskedHz <= 7
	})
	if !slices.Equal(s.Config.RestartNeeded, []string{"uplink.path"}) {
		t.Errorf("restart needed for %q", s.Config.RestartNeeded)
	}
	if r := obdagent(t, v.dir, "status", "--socket", "s"); !strings.Contains(r.stdout, "config   changed  with the next start: uplink.path") {
		t.Errorf("status:\n%s", r.stdout)
	}
	// Back: nothing waits for a restart any more, and records come.
	reload()
	s = a.until("the first configuration", func(s status.Snapshot) bool { return len(s.Config.RestartNeeded) == 0 && bothLive(s) })
	a.until("records", func(now status.Snapshot) bool { return now.Record.Made > s.Record.Made+5 })
	if code, _ := a.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
	log, err := os.ReadFile(v.path("status.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`event=config to=refused reason="`,
		`event=config to=reloaded reason="in force now: obd.max_rate, record.interval, record.parked_interval, uplink.linger; with the next start: uplink.path"`,
		`event=config to=reloaded reason="in force now: obd.max_rate, record.interval, record.parked_interval, uplink.linger"`,
	} {
		if !strings.Contains(string(log), want) {
			t.Errorf("the status log has no line with %s:\n%s", want, log)
		}
	}
}

// TestABugreportIsOneArchive, with and without the daemon.
func TestABugreportIsOneArchive(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	a := v.run()
	a.until("both sources", bothLive)
	r := obdagent(t, v.dir, "bugreport", "--config", "c.toml", "running.tar.gz")
	if r.code != 0 || r.stdout != "running.tar.gz\n" || strings.Contains(r.stderr, "status.json") {
		t.Errorf("%+v", r)
	}
	if code, _ := a.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if r := obdagent(t, v.dir, "bugreport", "--config", "c.toml"); r.code != 0 || !strings.Contains(r.stderr, "not in it: status.json: obdagent is not running") {
		t.Errorf("%+v", r)
	}
	found, err := filepath.Glob(v.path("*.tar.gz"))
	if err != nil || len(found) != 2 {
		t.Errorf("%q (%v)", found, err)
	}
	info, err := os.Stat(v.path("running.tar.gz"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v (%v)", info.Mode(), err)
	}
	f, err := os.Open(v.path("running.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for members := tar.NewReader(zip); ; {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, strings.TrimPrefix(h.Name, "obdagent-bugreport/"))
	}
	for _, want := range []string{"README.txt", "version.txt", "config.toml", "config-in-force.toml", "status.json", "status.txt", "metrics.txt", "status.log", "buffer.json", "buffer/obd.json", "system/ttys.txt"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing in %q", want, names)
		}
	}
	if tar, err := exec.LookPath("tar"); err == nil {
		if out, err := exec.CommandContext(t.Context(), tar, "-tzf", v.path("running.tar.gz")).CombinedOutput(); err != nil {
			t.Errorf("tar: %v\n%s", err, out)
		}
	}
}
