package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/config"
	"obdagent/agent/doctor"
	"obdagent/agent/status"
)

func ptr[T any](v T) *T { return &v }

// sound is a van on the road with nothing wrong.
func sound() status.Snapshot {
	return status.Snapshot{
		Version: "v0.1.0", DeviceID: "4f1c2a9be07d3356", PID: 412, Uptime: 4000, State: status.OK,
		Time: time.Date(2026, time.November, 23, 8, 15, 30, 0, time.UTC), TimeSrc: "gnss",
		Car: status.Car{State: "live", Since: 3990, Port: "/dev/obd", Baud: 38400, Adapter: "ELM327 v1.5", Protocol: "ISO 15765-4 (CAN 11/500)",
			ECU: "7E8", VIN: "1FTBR1XG2MKA12345", VINSrc: "ecu", Voltage: ptr(14.1), Speed: ptr(50.0), Answers: 40990},
		GPS:    status.GPS{State: "fix", Since: 3950, Port: "/dev/gps", Baud: 9600, Fix: "3d", Age: ptr(0.4), Sats: ptr(11), HDOP: ptr(0.8), Speed: ptr(49.3)},
		Record: status.Record{Made: 3960},
		Buffer: status.Buffer{State: "ok", Records: 31, Bytes: 1 << 20, MaxBytes: 4 << 20, Syncs: &status.Syncs{Max: 0.31}},
		Uplink: status.Uplink{State: "ok", Since: 3900, Target: "Firehose stream gps-delivery-stream in us-east-1", Delivered: 3929, LastAge: ptr(31.0)},
	}
}

// examine runs the test on what change makes of a sound van, in no time.
func examine(t *testing.T, o doctor.Options, toml string, change func(*status.Snapshot)) *doctor.Report {
	t.Helper()
	var report *doctor.Report
	if o.Root == "" {
		o.Root = t.TempDir()
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var err error
		if o.Config, err = config.Parse("c.toml", []byte(toml+"\n[buffer]\ndir = \""+dir+"\"\nmax_bytes = \"4MiB\"\n"), nil); err != nil {
			t.Fatal(err)
		}
		var history status.History
		began := time.Now()
		o.Snapshot = func(context.Context) (status.Snapshot, error) {
			s := sound()
			s.Uplink.Linger = o.Config.Uplink.Linger.Seconds()
			change(&s)
			history.Judge(time.Since(began), &s)
			return s, nil
		}
		if report, err = doctor.Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Logf("after %v", time.Since(began))
	})
	for i := range report.Checks {
		c := &report.Checks[i]
		if want := status.Lookup(c.Code).Action; c.Code != "" && (want == "" || !strings.Contains(c.Action, want)) {
			t.Errorf("%s says %q for %s, of which the catalogue says %q", c.Name, c.Action, c.Code, want)
		}
		c.Text = regexp.MustCompile(`\d+ MiB free`).ReplaceAllString(strings.ReplaceAll(c.Text, dir, "DIR"), "N MiB free")
	}
	return report
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got)\n%s", name, d)
	}
}

const ports = "[obd]\nport = \"/dev/obd\"\n[gps]\nsource = \"/dev/gps\"\n"

func TestTheReportIsRenderedAsTheGoldenFilesSay(t *testing.T) {
	t.Parallel()
	port := openPTY(t)
	for name, c := range map[string]struct {
		o      doctor.Options
		toml   string
		change func(*status.Snapshot)
	}{
		"sound": {doctor.Options{Daemon: true}, ports, func(*status.Snapshot) {}},
		"broken": {doctor.Options{Root: procOf(t, rivals("/dev/obd")[1])}, ports, func(s *status.Snapshot) {
			s.Car = status.Car{State: "absent", Since: 3, Cause: "port_busy", Reason: "open /dev/obd: the port is in use by another program", Port: "/dev/obd"}
			s.GPS = status.GPS{State: "no_fix", Since: 3, Cause: "no_fix", Reason: "receiver says no fix (RMC V)", Port: "/dev/gps", Fix: "none"}
			s.TimeSrc = "none"
			s.Uplink = status.Uplink{State: "refused", Cause: "credentials", Reason: "the credentials have expired: renew them", Target: s.Uplink.Target}
		}},
	} {
		if name == "broken" { // the port's name is not known before
			c.toml = strings.ReplaceAll(c.toml, "/dev/obd", port)
			c.o.Root = procOf(t, rivals(port)[1], rivals(port)[3])
		}
		report := examine(t, c.o, c.toml, c.change)
		var screen strings.Builder
		if err := report.Render(&screen); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".txt", strings.ReplaceAll(screen.String(), port, "/dev/obd"))
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", strings.ReplaceAll(string(text), port, "/dev/obd")+"\n")
	}
}

// TestEachCheckSeesWhatIsWrong: one thing is wrong, its check says so, and those that have nothing to do with it are content.
func TestEachCheckSeesWhatIsWrong(t *testing.T) {
	t.Parallel()
	undervolted := func(t *testing.T) string {
		root := t.TempDir()
		dir := filepath.Join(root, "sys/class/hwmon/hwmon3")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"name": "rpi_volt\n", "in0_lcrit_alarm": "1\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	for name, c := range map[string]struct {
		toml   string
		root   func(*testing.T) string
		alone  bool
		change func(*status.Snapshot)
		want   string // the checks that are not OK, with level and code
		text   string // in one of them
	}{
		"nothing":                      {"", nil, false, func(*status.Snapshot) {}, "", ""},
		"a low battery":                {"", nil, false, func(s *status.Snapshot) { s.Car.Voltage = ptr(11.2) }, "power WARN PWR-LOW-BATTERY", "11.2 V"},
		"the board's supply":           {"", undervolted, false, func(*status.Snapshot) {}, "power WARN", "undervoltage"},
		"an adapter without a voltage": {"", nil, false, func(s *status.Snapshot) { s.Car.Voltage = nil }, "power WARN", "not known"},
		"no adapter": {"", nil, false, func(s *status.Snapshot) {
			s.Car = status.Car{State: "absent", Since: 3, Cause: "not_there", Reason: "/dev/obd is not there"}
		}, "power WARN, adapter FAIL OBD-NO-ADAPTER, car FAIL OBD-NO-ADAPTER", "is not there"},
		"neither wanted": {"[obd]\nport = \"none\"\n[gps]\nsource = \"udp://:10110\"", nil, false, func(s *status.Snapshot) { s.Car = status.Car{State: "none"} }, "", ""},
		"a car that is silent": {"", nil, false, func(s *status.Snapshot) {
			s.Car.State, s.Car.Answers, s.GPS.Speed = "parked", 0, nil
			s.Car.Reason = "the adapter found no car (UNABLE TO CONNECT)"
		}, "car FAIL OBD-NO-CAR", "UNABLE TO CONNECT"},
		"a parked car":        {"", nil, false, func(s *status.Snapshot) { s.Car.State, s.GPS.Speed = "parked", nil }, "car WARN", "VIN 1FTBR1XG2MKA12345"},
		"no VIN":              {"", nil, false, func(s *status.Snapshot) { s.Car.VIN = "" }, "car FAIL OBD-NO-VIN", "VIN"},
		"no speed":            {"", nil, false, func(s *status.Snapshot) { s.Car.Speed, s.Car.SpeedCause = nil, "unsupported" }, "car FAIL OBD-NO-SPEED", "unsupported"},
		"no fix":              {"", nil, false, func(s *status.Snapshot) { s.GPS.State, s.GPS.Since, s.GPS.Fix = "no_fix", 1, "none" }, "gps FAIL GPS-NO-FIX", "position"},
		"a poor fix":          {"", nil, false, func(s *status.Snapshot) { s.GPS.HDOP = ptr(8.0) }, "gps WARN", "HDOP 8.0"},
		"an unverified time":  {"", nil, false, func(s *status.Snapshot) { s.TimeSrc = "system" }, "clock WARN CLK-UNVERIFIED", "board's own"},
		"no time":             {"", nil, false, func(s *status.Snapshot) { s.TimeSrc = "none" }, "clock FAIL CLK-UNKNOWN", "time is not known"},
		"a disk that fails":   {"", nil, false, func(s *status.Snapshot) { s.Buffer.State = "storage failed: EIO" }, "disk FAIL BUF-DISK-FAILED", "EIO"},
		"a flash that wears":  {"", nil, false, func(s *status.Snapshot) { s.Buffer.Device = &status.Device{LifeUsed: 90} }, "disk WARN BUF-FLASH-WEARING", "90 %"},
		"no permission":       {"", nil, false, func(s *status.Snapshot) { s.Uplink = status.Uplink{State: "refused", Cause: "permission"} }, "credentials FAIL UPL-NO-PERMISSION, roundtrip FAIL UPL-NO-PERMISSION", "write to the stream"},
		"no stream":           {"", nil, false, func(s *status.Snapshot) { s.Uplink = status.Uplink{State: "refused", Cause: "stream"} }, "roundtrip FAIL UPL-NO-STREAM", "stream"},
		"no coverage":         {"", nil, false, func(s *status.Snapshot) { s.Uplink = status.Uplink{State: "down", Cause: "link", Since: 5} }, "credentials WARN, roundtrip FAIL UPL-NO-LINK", "nothing gets through"},
		"nothing sent so far": {"", nil, false, func(s *status.Snapshot) { s.Uplink = status.Uplink{State: "starting"} }, "credentials WARN, roundtrip FAIL", "no record was acknowledged"},
		"sent long ago":       {"", nil, false, func(s *status.Snapshot) { s.Uplink.LastAge = ptr(5000.0) }, "credentials WARN, roundtrip FAIL", "no record was acknowledged"},
		"into a directory":    {"[uplink]\nkind = \"directory\"\npath = \"/srv/x\"", nil, true, func(*status.Snapshot) {}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := doctor.Options{Daemon: !c.alone}
			if c.root != nil {
				o.Root = c.root(t)
			}
			toml := c.toml
			if !strings.Contains(toml, "[obd]") {
				toml = ports + toml
			}
			report := examine(t, o, toml, c.change)
			var bad, texts []string
			level := doctor.OK
			for _, check := range report.Checks {
				if check.Level == doctor.OK {
					if check.Action != "" || check.Text == "" {
						t.Errorf("content, and yet %+v", check)
					}
					continue
				}
				if level != doctor.Fail {
					level = check.Level
				}
				bad = append(bad, strings.TrimSpace(check.Name+" "+string(check.Level)+" "+check.Code))
				texts = append(texts, check.Text)
				if check.Action == "" {
					t.Errorf("%+v says not what to do", check)
				}
			}
			if got := strings.Join(bad, ", "); got != c.want || !strings.Contains(strings.Join(texts, "\n"), c.text) || report.Level != level || len(report.Checks) != 9 {
				t.Errorf("%s: %s\nwant %s\n%q", report.Level, got, c.want, texts)
			}
		})
	}
}

func TestADaemonThatEndsMeanwhileIsNoSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg, err := config.Parse("c.toml", []byte(ports), nil)
		if err != nil {
			t.Fatal(err)
		}
		looks := 0
		report, err := doctor.Run(t.Context(), doctor.Options{Config: cfg, Daemon: true, Root: "/nonexistent", Snapshot: func(context.Context) (status.Snapshot, error) {
			if looks++; looks > 2 {
				return status.Snapshot{}, status.ErrNotRunning
			}
			return sound(), nil
		}})
		if err != nil || report.Level != doctor.Fail || !strings.Contains(report.Checks[4].Text, "not running") {
			t.Errorf("%v: %+v", err, report)
		}
		if _, err := doctor.Run(t.Context(), doctor.Options{Config: cfg, Snapshot: func(context.Context) (status.Snapshot, error) {
			return status.Snapshot{}, status.ErrNotRunning
		}}); !errors.Is(err, status.ErrNotRunning) {
			t.Errorf("an agent that never answers: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := doctor.Run(ctx, doctor.Options{Config: cfg, Root: "/nonexistent", Snapshot: func(context.Context) (status.Snapshot, error) {
			cancel()
			return sound(), nil
		}}); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
	})
}

// TestWithoutTheDaemonTheBufferOfTheConfigurationCounts: that of the doctor's own agent is empty, and somewhere else.
func TestWithoutTheDaemonTheBufferOfTheConfigurationCounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const most int64 = 4 << 40 // more than any disk has free that tests run on
	if err := os.WriteFile(filepath.Join(dir, "0.seg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "0.seg"), most); err != nil { // a hole
		t.Skipf("the file system takes no hole of 4 TiB: %v", err)
	}
	cfg, err := config.Parse("c.toml", fmt.Appendf(nil, "%s[buffer]\ndir = %q\nmax_bytes = %d\n", ports, dir, most), nil)
	if err != nil {
		t.Fatal(err)
	}
	report, err := doctor.Run(t.Context(), doctor.Options{Config: cfg, Root: t.TempDir(), Snapshot: func(context.Context) (status.Snapshot, error) { return sound(), nil }})
	if err != nil {
		t.Fatal(err)
	}
	if c := report.Checks[6]; c.Name != "disk" || c.Level != doctor.OK {
		t.Errorf("%+v", c)
	}
}

// TestWithoutTheDaemonItSaysWhoHasTheCredentials: the unit hands them to the daemon alone.
func TestWithoutTheDaemonItSaysWhoHasTheCredentials(t *testing.T) {
	t.Parallel()
	const beside = "systemctl start obdagent"
	refused := func(s *status.Snapshot) {
		s.Uplink = status.Uplink{State: "refused", Cause: "credentials", Reason: "no credentials: AWS_SHARED_CREDENTIALS_FILE is not set"}
	}
	for name, c := range map[string]struct {
		o      doctor.Options
		change func(*status.Snapshot)
		said   bool
	}{
		"refused by AWS":    {doctor.Options{}, refused, true},
		"not set up":        {doctor.Options{Refused: errors.New("no credential directory")}, func(*status.Snapshot) {}, true},
		"beside the daemon": {doctor.Options{Daemon: true}, refused, false},
	} {
		check := examine(t, c.o, ports, c.change).Checks[7]
		if check.Name != "credentials" || check.Code != "UPL-NO-CREDENTIALS" || strings.Contains(check.Action, beside) != c.said {
			t.Errorf("%s: %+v", name, check)
		}
	}
}
