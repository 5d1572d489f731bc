package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"obdagent/agent/doctor"
	"obdagent/agent/status"
	"obdagent/agent/uplink/firehosetest"
)

// levels are how the checks of a report came out, by name.
func levels(t *testing.T, r result) map[string]doctor.Check {
	t.Helper()
	var report doctor.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	all := map[string]doctor.Check{}
	for _, c := range report.Checks {
		all[c.Name] = c
	}
	if len(all) != 9 {
		t.Errorf("%d checks: %+v", len(all), r)
	}
	return all
}

func TestDoctorExaminesAVanWhoseDaemonDoesNotRun(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	v.config()
	r := obdagent(t, v.dir, "doctor", "--config", "c.toml")
	if r.code != 0 || strings.Count(r.stdout, "\nOK    ") != 8 || !strings.HasPrefix(r.stdout, "OK    power ") || !strings.Contains(r.stdout, "as the daemon does not run") {
		t.Errorf("doctor: %+v", r)
	}
	// The records of the test are told by their device, and nothing of it is left in the van's own buffer.
	records := v.delivered()
	if len(records) == 0 || records[0].DeviceID != v.device+"-doctor" {
		t.Errorf("%d records delivered: %+v", len(records), records)
	}
	if _, err := os.Stat(v.path("buffer")); !os.IsNotExist(err) {
		t.Errorf("the van's buffer: %v", err)
	}
	left, err := filepath.Glob(v.path("obdagent-doctor-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestDoctorBesideTheDaemonLeavesItsPortsAlone(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	a := v.run()
	before := a.until("both sources", func(s status.Snapshot) bool { return bothLive(s) && s.State == status.OK && s.Uplink.Delivered > 0 })
	r := obdagent(t, v.dir, "doctor", "--config", "c.toml", "--json")
	for name, c := range levels(t, r) {
		if c.Level != doctor.OK {
			t.Errorf("%s: %+v", name, c)
		}
	}
	found := obdagent(t, v.dir, "detect", "--config", "c.toml", v.obd, v.gps)
	if found.code != 0 || strings.Count(found.stdout, "used by the running daemon") != 2 {
		t.Errorf("detect: %+v", found)
	}
	a.until("records that go on", func(s status.Snapshot) bool { return s.Record.Made > before.Record.Made && bothLive(s) })
	for _, x := range v.delivered() {
		if x.DeviceID != v.device {
			t.Errorf("the device %s has delivered, too", x.DeviceID)
		}
	}
	if r.code != 0 {
		t.Errorf("exit status %d", r.code)
	}
	if code, _ := a.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

func TestDoctorGoesOnWhenACheckFails(t *testing.T) {
	t.Parallel()
	for name, environ := range map[string][]string{
		"no credentials at all":              {"OBDAGENT_UPLINK_KIND=firehose"},
		"a credential directory that is not": {"OBDAGENT_UPLINK_KIND=firehose", "OBDAGENT_UPLINK_CREDENTIALS=file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVan(t)
			v.config()
			r := finish(t, v.dir, environ, "doctor", "--config", "c.toml", "--json")
			all := levels(t, r)
			if c := all["credentials"]; r.code != 1 || c.Level != doctor.Fail || c.Code != "UPL-NO-CREDENTIALS" || all["roundtrip"].Level != doctor.Fail {
				t.Errorf("exit status %d: %+v, %+v", r.code, c, all["roundtrip"])
			}
			for _, name := range []string{"power", "adapter", "car", "gps", "clock", "disk"} {
				if all[name].Level != doctor.OK {
					t.Errorf("%s: %+v", name, all[name])
				}
			}
		})
	}
}

func TestDetectWritesWhatItFound(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	writeFile(t, v.path("c.toml"), "# mine\n[obd]\n#port = \"auto\"\nbaud = 38400\n[status]\nsocket = \""+v.path("none")+"\"\n")
	r := obdagent(t, v.dir, "detect", "--config", "c.toml", "--rules", "rules", "--write", "car", "gps")
	if r.code != 0 || !strings.Contains(r.stdout, "adapter   "+v.obd+": ELM327") || !strings.Contains(r.stdout, "receiver  "+v.gps+": GPS") {
		t.Fatalf("detect: %+v", r)
	}
	got, err := os.ReadFile(v.path("c.toml"))
	want := "# mine\n[obd]\nport = \"" + v.obd + "\"\nbaud = 38400\n[status]\nsocket = \"" + v.path("none") + "\"\n\n[gps]\nsource = \"" + v.gps + "\"\n"
	if err != nil || string(got) != want {
		t.Errorf("the configuration (%v) is\n%swant\n%s", err, got, want)
	}
	if c := obdagent(t, v.dir, "config", "check", "--config", "c.toml"); c.code != 0 {
		t.Errorf("config check: %+v", c)
	}
	// The names of pseudo-terminals are nothing that udev knows.
	if _, err := os.Stat(v.path("rules")); !os.IsNotExist(err) {
		t.Errorf("rules: %v", err)
	}
	beaten := finish(t, v.dir, []string{"OBDAGENT_GPS_SOURCE=none"}, "detect", "--config", "c.toml", "--write", "car")
	if beaten.code != 0 || strings.Contains(beaten.stdout, "warning") || !strings.Contains(beaten.stdout, "obd.port") {
		t.Errorf("only the adapter: %+v", beaten)
	}
	beaten = finish(t, v.dir, []string{"OBDAGENT_OBD_PORT=none"}, "detect", "--config", "c.toml", "--write", "car")
	if beaten.code != 0 || !strings.HasSuffix(beaten.stdout, "warning: OBDAGENT_OBD_PORT is set, and beats obd.port of the file\n") {
		t.Errorf("a variable beats the file: %+v", beaten)
	}
	// The receiver's rule is not the adapter's business, and what is printed with --json is JSON.
	const rules = "# Written by obdagent detect. Who plugs them into other sockets runs it again.\n# receiver\nENV{ID_PATH}==\"x\", SYMLINK+=\"gps\"\n"
	writeFile(t, v.path("rules"), rules)
	var found []doctor.Found
	asJSON := obdagent(t, v.dir, "detect", "--config", "c.toml", "--rules", "rules", "--write", "--json", "car")
	if err := json.Unmarshal([]byte(asJSON.stdout), &found); err != nil || asJSON.code != 0 || len(found) != 1 || !strings.HasPrefix(asJSON.stderr, "wrote ") {
		t.Errorf("as JSON: %v: %+v", err, asJSON)
	}
	if text, err := os.ReadFile(v.path("rules")); err != nil || string(text) != rules {
		t.Errorf("the rules (%v) are now %q", err, text)
	}
	gone := obdagent(t, v.dir, "detect", "--config", "c.toml", "--rules", "rules", "--write", "gps")
	if _, err := os.Stat(v.path("rules")); gone.code != 0 || !strings.Contains(gone.stdout, "removed rules: ") || !os.IsNotExist(err) {
		t.Errorf("a receiver that no rule names any more: %v: %+v", err, gone)
	}
	none := obdagent(t, v.dir, "detect", "--config", "c.toml", "--json", "nothing")
	if err := json.Unmarshal([]byte(none.stdout), &found); err != nil || none.code != 1 || len(found) != 1 || found[0].Kind != doctor.KindMissing || !isOneLine(none.stderr) {
		t.Errorf("nothing there: %v: %+v", err, none)
	}
}

// TestADaemonThatDoesNotAnswerIsNeitherRunningNorGone: its ports are not touched, and what to do is said.
func TestADaemonThatDoesNotAnswerIsNeitherRunningNorGone(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	v.config()
	l, err := net.Listen("unix", v.path("s"))
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close() // as a process that ends does
		}
	})
	t.Cleanup(func() { _ = l.Close(); served.Wait() })
	for line, code := range map[string]int{"doctor": 1, "status": 2, "status --wait 1ms": 2} {
		r := obdagent(t, v.dir, append(strings.Fields(line), "--config", "c.toml")...)
		if r.code != code || r.stdout != "" || !isOneLine(r.stderr) || !strings.Contains(r.stderr, "gives no answer") || !strings.Contains(r.stderr, "systemctl restart obdagent") {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

// TestSystemdIsToldTheVerdict: the line of systemctl status is that of obdagent status.
func TestSystemdIsToldTheVerdict(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: v.path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var told lines
	var heard sync.WaitGroup
	heard.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := l.Read(buf)
			if err != nil {
				return
			}
			_, _ = told.Write(append(buf[:n:n], '\n')) // to memory
		}
	})
	t.Cleanup(func() { _ = l.Close(); heard.Wait() })
	v.environ = []string{"NOTIFY_SOCKET=" + v.path("notify")}
	a := v.run()
	await(t, "READY=1 and STATUS=OK", func() bool {
		said := told.String()
		return strings.Contains(said, "READY=1\n") && strings.Contains(said, "\nSTATUS=OK\n")
	}, told.String)
	if code, _ := a.stop(syscall.SIGTERM); code != 0 || !strings.Contains(told.String(), "\nSTOPPING=1\n") {
		t.Errorf("exit status %d, told\n%s", code, told.String())
	}
}

// TestDoctorSeesARecordAcknowledgedByAStream: signed, sent, taken; and, with a stream of another name, that it is not there.
func TestDoctorSeesARecordAcknowledgedByAStream(t *testing.T) {
	t.Parallel()
	server, err := firehosetest.New(firehosetest.Options{Addr: "127.0.0.1:0", Streams: []firehosetest.Stream{{Name: "vans"}},
		Credentials: []firehosetest.Credentials{{AccessKeyID: "AKIDDOCTOR0000000000", SecretAccessKey: "doctors-secret"}},
		Deliver:     func(_, _ string, _ []byte) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		if err := server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); served.Wait() })
	v := newVan(t)
	v.config()
	with := func(stream string) result {
		return finish(t, v.dir, []string{"OBDAGENT_UPLINK_KIND=firehose", "OBDAGENT_UPLINK_STREAM=" + stream, "OBDAGENT_UPLINK_ENDPOINT=" + server.URL(),
			"AWS_ACCESS_KEY_ID=AKIDDOCTOR0000000000", "AWS_SECRET_ACCESS_KEY=doctors-secret"}, "doctor", "--config", "c.toml", "--json")
	}
	taken := with("vans")
	all := levels(t, taken)
	if c := all["roundtrip"]; taken.code != 0 || c.Level != doctor.OK || all["credentials"].Level != doctor.OK || !strings.Contains(c.Text, "Firehose stream vans") || server.Counters().Taken == 0 {
		t.Errorf("exit status %d: %+v, %+v; %d records arrived", taken.code, all["credentials"], c, server.Counters().Taken)
	}
	missing := with("lorries")
	all = levels(t, missing)
	if c := all["roundtrip"]; missing.code != 1 || c.Code != "UPL-NO-STREAM" || all["credentials"].Level != doctor.OK {
		t.Errorf("exit status %d: %+v, %+v", missing.code, all["credentials"], c)
	}
	if strings.Contains(taken.stdout+taken.stderr+missing.stdout+missing.stderr, "doctors-secret") {
		t.Error("the secret was told")
	}
}
