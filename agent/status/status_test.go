package status_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/status"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func ptr[T any](v T) *T { return &v }

// driving is a van on the road with nothing wrong.
func driving() status.Snapshot {
	return status.Snapshot{
		Version: "v0.1.0", DeviceID: "4f1c2a9be07d3356", BootID: "0a1b", PID: 412, Uptime: 4000,
		Time: time.Date(2026, time.November, 23, 8, 15, 30, 0, time.UTC), TimeSrc: "gnss",
		Car: status.Car{State: "live", Since: 3990, Port: "/dev/obd", Baud: 38400, Adapter: "ELM327 v1.5", Protocol: "ISO 15765-4 (CAN 11/500)",
			ECU: "7E8", VIN: "1FTBR1XG2MKA12345", Voltage: ptr(14.1), Speed: ptr(50.0), SpeedHz: 9.8, Requests: 41000, Answers: 40990,
			Failures: map[string]uint64{"no data": 10}},
		GPS: status.GPS{State: "fix", Since: 3950, Port: "/dev/gps", Baud: 9600, Fix: "3d", Age: ptr(0.4), Sats: ptr(11), HDOP: ptr(0.8),
			Speed: ptr(49.3), Lag: ptr(1.04), LagApplied: ptr(1.05), SpeedRatio: ptr(0.98), Epochs: 3960, Fixes: 3950},
		Record: status.Record{Made: 3960, LastAge: ptr(0.4), Undated: 12, LeftOut: 480},
		Buffer: status.Buffer{State: "ok", Records: 31, Bytes: 1 << 20, MaxBytes: 512 << 20, Commits: 3900,
			OldestAge: ptr(31.0), UnsyncedAge: 0.4, PayloadBytes: 2_060_000, WrittenBytes: 21 << 20,
			Syncs:  &status.Syncs{Last: 0.004, Max: 0.31, Sum: 15.6, Count: []uint64{0, 700, 3100, 90, 9, 0, 1, 0, 0}},
			Device: &status.Device{Name: "mmcblk0p3", WrittenBytes: 24 << 20, PerPayload: ptr(12.2), LifeUsed: 10, Reserve: "normal"}},
		Uplink: status.Uplink{State: "ok", Since: 3900, Target: "Firehose stream gps-delivery-stream in us-east-1", Delivered: 3929, Calls: 66,
			BytesUp: 612_000, BytesDown: 40_000, LastAge: ptr(31.0)},
	}
}

// troubled is a van with something wrong at every stage.
func troubled() status.Snapshot {
	s := driving()
	s.TimeSrc = "system"
	s.Car = status.Car{State: "absent", Since: 120, Reason: "/dev/obd is not there: check the adapter's plug and cable", Cause: "not_there", Port: "/dev/obd"}
	s.GPS = status.GPS{State: "no_fix", Since: 400, Reason: "receiver says no fix (RMC V)", Cause: "no_fix", Port: "/dev/gps", Baud: 9600, Fix: "none", Age: ptr(0.2), Lag: ptr(0.3), BadSentence: 3, NoiseBytes: 18, Binary: "UBX (u-blox binary)"}
	s.Record.Refused = 4
	s.Buffer = status.Buffer{State: "storage failed: read-only file system", Records: 9000, Bytes: 400 << 20, MaxBytes: 512 << 20, Unsynced: 300,
		Lost: map[string]uint64{"overflow": 1200, "damaged": 0}, OldestAge: ptr(86400.0), UnsyncedAge: 290, Quarantined: 2,
		Device: &status.Device{Name: "mmcblk0p3", LifeUsed: 110, Reserve: "urgent"}}
	s.Uplink = status.Uplink{State: "refused", Since: 900, Reason: "stream gps-delivery-stream is not there: create it, or correct uplink.stream", Cause: "stream", Linger: 60,
		Target: "Firehose stream gps-delivery-stream in us-east-1", Delivered: 100, Calls: 70, Failed: 60, Aside: 2, BytesUp: 1 << 31, LastAge: ptr(90000.0)}
	return s
}

// starting is a van whose agent has just begun.
func starting() status.Snapshot {
	s := driving()
	s.Uptime, s.TimeSrc = 12, "none"
	s.Car = status.Car{State: "search", Since: 8, Reason: "ELM327 v1.5 on /dev/obd; looking for the car", Port: "/dev/obd", Baud: 38400, Adapter: "ELM327 v1.5", Voltage: ptr(11.6)}
	s.GPS = status.GPS{State: "no_fix", Since: 9, Reason: "receiver says no fix (RMC V)", Cause: "no_fix", Port: "/dev/gps", Baud: 9600, Fix: "none", Age: ptr(0.2), Epochs: 9}
	s.Record = status.Record{}
	s.Uplink = status.Uplink{State: "starting", Since: 12, Linger: 60, Target: s.Uplink.Target}
	return s
}

// judged judges the second of two equal snapshots.
func judged(s *status.Snapshot) {
	var h status.History
	earlier := *s
	h.Judge(0, &earlier)
	h.Judge(time.Second, s)
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

func TestTheSnapshotIsRenderedAsTheGoldenFilesSay(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]status.Snapshot{"driving": driving(), "troubled": troubled(), "starting": starting()} {
		judged(&s)
		var screen strings.Builder
		if err := s.Render(&screen); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".txt", screen.String())
		golden(t, name+".log", s.Line()+"\n")
		text, err := json.MarshalIndent(&s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", string(text)+"\n")
	}
}

func TestQuoteKeepsALineSplittable(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"live": "live", "1.5": "1.5", "no fix": `"no fix"`, "a=b": `"a=b"`, "two\nlines": `"two\nlines"`, `say "x"`: `"say \"x\""`, "": "", "\x1b[2J": `"\x1b[2J"`,
	} {
		if got := status.Quote(value); got != want {
			t.Errorf("Quote(%q) = %s, want %s", value, got, want)
		}
	}
}
