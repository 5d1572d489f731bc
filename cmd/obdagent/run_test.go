package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"obdagent/agent/demo"
	"obdagent/agent/status"
)

// bothLive: car and receiver do their part.
func bothLive(s status.Snapshot) bool {
	return s.Car.State == "live" && s.Car.VIN == demo.VIN && s.GPS.State == "fix" && s.Record.Made > 0
}

// TestADayOfTheDaemon: it starts, says OK, is stopped, and what it had not delivered is delivered by the next run: all that was
// made, nothing twice.
func TestADayOfTheDaemon(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	v.linger = time.Hour // nothing goes out in the first run
	began := time.Now()
	a := v.run()
	a.until("both sources", func(s status.Snapshot) bool { return bothLive(s) && s.State == status.OK })
	t.Logf("both sources after %v", time.Since(began))

	human := obdagent(t, v.dir, "status", "--config", "c.toml", "--wait", "60s")
	if human.code != 0 || !strings.HasPrefix(human.stdout, "OK ") || human.stderr != "" {
		t.Errorf("status: %+v", human)
	}
	machine := obdagent(t, v.dir, "status", "--config", "c.toml", "--json")
	var s status.Snapshot
	if err := json.Unmarshal([]byte(machine.stdout), &s); err != nil || machine.code != 0 {
		t.Fatalf("status --json: %v: %+v", err, machine)
	}
	if s.State != status.OK || s.PID != a.child.Process.Pid || s.DeviceID != "van" || !bothLive(s) || s.Uplink.Delivered != 0 {
		t.Errorf("status --json: %+v", s)
	}
	if direct := obdagent(t, v.dir, "status", "--socket", "s"); direct.code != 0 {
		t.Errorf("status --socket: %+v", direct)
	}

	s = a.until("twenty records", func(s status.Snapshot) bool { return s.Record.Made >= 20 })
	code, took := a.stop(syscall.SIGTERM)
	t.Logf("SIGTERM: exit status %d after %v", code, took)
	if code != 0 || took > 10*time.Second { // it takes milliseconds; the bound is for a machine that does ten other things
		t.Errorf("exit status %d after %v", code, took)
	}
	if again := obdagent(t, v.dir, "status", "--config", "c.toml"); again.code != 2 || !strings.Contains(again.stderr, "is not running") {
		t.Errorf("status of a stopped agent: %+v", again)
	}
	if n := len(v.delivered()); n != 0 {
		t.Fatalf("%d records went out within the linger", n)
	}

	// The second run goes on numbering where the first ended, and delivers both.
	v.linger = 0
	b := v.run()
	b.until("records of both runs", func(now status.Snapshot) bool { return now.Uplink.Delivered > s.Record.Made && now.Record.Made >= 10 })
	if code, took := b.stop(syscall.SIGINT); code != 0 || took > 10*time.Second {
		t.Errorf("SIGINT: exit status %d after %v", code, took)
	}
	v.drain()
	ids := map[string]bool{}
	seqs := map[uint64]bool{}
	all := v.delivered()
	for _, r := range all {
		if ids[r.ID.String()] || seqs[r.Seq] {
			t.Errorf("record %d, %s, was delivered twice", r.Seq, r.ID)
		}
		ids[r.ID.String()], seqs[r.Seq] = true, true
	}
	for n := range uint64(len(all)) {
		if !seqs[n+1] {
			t.Errorf("record %d of %d is missing", n+1, len(all))
		}
	}
	if uint64(len(all)) < s.Record.Made+10 {
		t.Errorf("%d records delivered, more than %d were made", len(all), s.Record.Made+10)
	}
	log, err := os.ReadFile(v.path("status.log"))
	if n := strings.Count(string(log), "event=agent from=running to=stopped"); err != nil || n != 3 {
		t.Errorf("the status log tells of %d clean ends, want 3 (%v):\n%s", n, err, log)
	}
}

// TestStoppedAsItsDiskComesItCommitsWhatItHas: all records are in memory alone when the signal comes.
func TestStoppedAsItsDiskComesItCommitsWhatItHas(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	writeFile(t, v.path("buffer"), "") // a file where its directory will be
	a := v.run()
	s := a.until("a hundred records in memory", func(s status.Snapshot) bool {
		return s.Record.Made >= 100 && s.Buffer.Unsynced >= 100 && strings.HasPrefix(s.Buffer.State, "storage failed: ")
	})
	if err := os.Remove(v.path("buffer")); err != nil {
		t.Fatal(err)
	}
	code, took := a.stop(syscall.SIGTERM)
	t.Logf("SIGTERM: exit status %d after %v", code, took)
	if code != 0 {
		t.Errorf("exit status %d", code)
	}
	v.drain()
	once, _ := withoutDuplicates(t, v.delivered())
	if uint64(len(once)) < s.Record.Made {
		t.Errorf("%d records delivered, and at least %d were made", len(once), s.Record.Made)
	}
	for i, r := range once {
		if r.Seq != uint64(i+1) {
			t.Fatalf("record %d has the number %d", i+1, r.Seq)
		}
	}
}

func TestASecondAgentOnTheSameBufferSaysSo(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	a := v.run()
	a.until("first agent", func(s status.Snapshot) bool { return s.PID == a.child.Process.Pid })
	for name, environ := range map[string][]string{
		"buffer": {"OBDAGENT_STATUS_SOCKET=" + v.path("s2"), "OBDAGENT_STATUS_LOG=" + v.path("log2")},
		"socket": {"OBDAGENT_BUFFER_DIR=" + v.path("buffer2"), "OBDAGENT_STATUS_LOG=" + v.path("log2"), "OBDAGENT_UPLINK_PATH=" + v.path("delivered2")},
	} {
		r := finish(t, v.dir, environ, "run", "--config", "c.toml")
		said := ends(r.stderr)
		if r.code != 1 || len(said) != 1 || !strings.Contains(said[0], "another") || !strings.Contains(said[0], v.dir) {
			t.Errorf("the same %s: exit status %d, said %q", name, r.code, said)
		}
	}
	// The first has not noticed.
	a.until("first agent", func(s status.Snapshot) bool { return s.PID == a.child.Process.Pid && s.State == status.OK })
	if code, _ := a.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// ends are the lines with which a run tells why it ended: those that are not its log.
func ends(stderr string) (said []string) {
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "time=") {
			said = append(said, line)
		}
	}
	return said
}

// TestADestinationThatIsNotSetUpIsAStateWithAReason: no credentials, no such endpoint: the agent runs, keeps the records, and says
// what is missing.
func TestADestinationThatIsNotSetUpIsAStateWithAReason(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		environ []string
		state   string
		reason  string
		code    int // of status: a person must look at once, while a coverage hole may last
	}{
		{"no credentials", nil, "refused", "no usable AWS credentials", 1},
		{"an endpoint that is not there", []string{"AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=secret", "OBDAGENT_UPLINK_ENDPOINT=http://127.0.0.1:1"},
			"down", "http://127.0.0.1:1", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := newVan(t)
			v.environ = append([]string{"OBDAGENT_UPLINK_KIND=firehose"}, test.environ...)
			a := v.run()
			s := a.until(test.state, func(s status.Snapshot) bool { return s.Uplink.State == test.state && bothLive(s) })
			if !strings.Contains(s.Uplink.Reason, test.reason) || s.Buffer.Records == 0 {
				t.Errorf("uplink %+v, buffer %+v", s.Uplink, s.Buffer)
			}
			r := obdagent(t, v.dir, "status", "--socket", "s")
			if r.code != test.code || !strings.Contains(r.stdout, test.reason) {
				t.Errorf("status: %+v", r)
			}
			if strings.Contains(a.stderr.String()+r.stdout, "secret") && test.environ != nil {
				t.Error("the secret key was told")
			}
			if test.code == 1 {
				await(t, "word of the fault in the status log", func() bool {
					log, _ := os.ReadFile(v.path("status.log")) // not there yet: tried again
					return strings.Contains(string(log), "event=fault code=UPL-NO-CREDENTIALS severity=error text=")
				}, func() string { return "" })
				if r := obdagent(t, v.dir, "status", "--socket", "s", "--wait", "1ms"); r.code != 1 {
					t.Errorf("status --wait: %+v", r)
				}
			}
			if code, took := a.stop(syscall.SIGTERM); code != 0 || took > 20*time.Second {
				t.Errorf("exit status %d after %v", code, took)
			}
		})
	}
}

func TestRunSaysWhichConfigurationItUses(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	a := v.run()
	a.until("start", func(status.Snapshot) bool { return true })
	if !regexp.MustCompile(`level=INFO msg=configuration from=\S+/c\.toml`).MatchString(a.stderr.String()) {
		t.Errorf("said\n%s", a.stderr.String())
	}
	// Who started it by hand may lose his connection.
	if err := a.child.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	a.until("both sources", bothLive)
	if code, _ := a.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
