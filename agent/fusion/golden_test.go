package fusion_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/agenttest"
	"obdagent/agent/clock"
	"obdagent/agent/fusion"
	"obdagent/agent/record"
	"obdagent/gps"
	"obdagent/obd"
)

var update = flag.Bool("update", false, "rewrite the golden files of records")

// A recorded drive is a text file of events, one a line: boottime in seconds, what, and its values.
//
//	20.000 car live
//	20.050 vehicle 4FTEX4944AKL84429
//	20.103 speed 34              km/h; any other signal alike
//	20.204 fix 21.000 lat lon alt km/h course hdop sats
//	                             the time of the epoch in seconds, on the clock of boottime
//	21.204 nofix 22.000
//	22.000 clock none            or gnss: who vouches for the time from now on
//	22.200 tick
func (d *drive) event(line string) error {
	words := strings.Fields(line)
	if len(words) < 2 {
		return fmt.Errorf("not an event: %q", line)
	}
	values := make([]float64, len(words))
	for i, w := range words {
		v, err := strconv.ParseFloat(w, 64)
		if err != nil {
			v = math.NaN()
		}
		values[i] = v
	}
	seconds := func(i int) time.Duration { return time.Duration(math.Round(values[i]*1000)) * time.Millisecond }
	at := seconds(0)
	switch words[1] {
	case "car":
		d.car(at, obd.State(words[2]))
	case "vehicle":
		d.Vehicle(obd.Vehicle{VIN: words[2]})
	case "clock":
		d.clock.src = clock.Source(words[2])
	case "tick":
		d.take(d.Tick(at))
	case "fix", "nofix":
		x := gps.Fix{Mono: at, Done: at, Time: midnight.Add(seconds(2)), TimeOfDay: seconds(2), Sats: -1}
		noFix(&x)
		if words[1] == "fix" {
			x.Mode, x.Lat, x.Lon, x.Alt = gps.Mode3D, values[3], values[4], values[5]
			x.Speed, x.Course, x.HDOP, x.Sats, x.Reason = values[6]/3.6, values[7], values[8], int(values[9]), ""
		}
		utc := x.Time
		if d.clock.src == clock.None {
			utc = time.Time{}
		}
		d.take(d.Fix(x, utc))
	default:
		d.take(d.Sample(obd.Sample{Signal: words[1], Value: values[2], Mono: at}))
	}
	return nil
}

// compareWith holds records against a golden file, and what a curve keeps of them.
func (d *drive) compareWith(t *testing.T, name string) {
	t.Helper()
	curve := fusion.NewCurve(5, 3)
	kept := map[string]bool{}
	note := func(records []record.Record) {
		for _, r := range records {
			kept[r.ID.String()] = true
		}
	}
	for i, r := range d.records {
		note(curve.Add(r, d.edges[i]))
	}
	note(curve.Flush())
	var got bytes.Buffer
	for _, r := range d.records {
		r.CO2, r.CO2From, r.CO2Lacks = record.Float{}, "", "" // how CO2 is reckoned has a table of its own
		mark := ' '
		if kept[r.ID.String()] {
			mark = '*' // the curve keeps it
		}
		fmt.Fprintf(&got, "%c %s", mark, r.AppendStored(nil))
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("%s (-want +got)\n%s", name, d)
	}
}

func TestARecordedDriveGivesTheseRecords(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "drive.txt"))
	if err != nil {
		t.Fatal(err)
	}
	d := newDrive(nil)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if line, _, _ := strings.Cut(lines.Text(), "#"); strings.TrimSpace(line) != "" {
			if err := d.event(line); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.compareWith(t, "drive.records")
}

func TestARecordingBesideACarGivesTheseRecords(t *testing.T) {
	t.Parallel()
	log, err := os.Open(filepath.Join(agenttest.NMEADir(t), "nl2008u.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // it was read only
	var fixes []gps.Fix
	if _, err := gps.Decode(log, func(x gps.Fix) {
		if !x.Time.IsZero() {
			fixes = append(fixes, x)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if len(fixes) < 5 {
		t.Fatalf("%d epochs in the recording", len(fixes))
	}
	d := newDrive(nil)
	d.car(time.Second, obd.StateLive)
	first := fixes[0].Time
	for i, x := range fixes {
		at := 2*time.Second + x.Time.Sub(first)
		x.Mono, x.Time = at+150*time.Millisecond, midnight.Add(at)
		// The car's speed is the receiver's, in whole km/h, ten times a second on the way from the epoch before.
		before := fixes[max(i-1, 0)].Speed
		for step := 1; step <= 10; step++ {
			share := float64(step) / 10
			d.speed(at-time.Second+time.Duration(step)*100*time.Millisecond, math.Round(3.6*(before+share*(x.Speed-before))))
		}
		d.take(d.Fix(x, x.Time))
	}
	d.compareWith(t, "nl2008u.records")
}

func TestEveryRecordingIsRedrawnFromItsCurve(t *testing.T) {
	t.Parallel()
	logs, err := filepath.Glob(filepath.Join(agenttest.NMEADir(t), "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("%d recordings, %v", len(logs), err)
	}
	records, kept := 0, 0
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		d := newDrive(func(o *fusion.Options) {
			o.Interval, o.ParkedInterval = time.Millisecond, time.Millisecond // every epoch
		})
		at := time.Duration(0)
		var last time.Duration
		if _, err := gps.Decode(bytes.NewReader(text), func(x gps.Fix) {
			// The recordings have no arrival times: a step of the receiver's time is one of ours, where it is a step forward.
			step := x.TimeOfDay - last
			if step <= 0 || step > time.Minute {
				step = time.Second
			}
			at, last = at+step, x.TimeOfDay
			x.Mono = at
			d.take(d.Fix(x, midnight.Add(at)))
		}); err != nil {
			t.Fatal(err)
		}
		var points []point
		for i, r := range d.records {
			points = append(points, point{r, d.edges[i]})
		}
		if len(points) == 0 {
			continue
		}
		some, _ := thin(fusion.NewCurve(5, 3), points)
		for i := range some {
			some[i] = sent(t, some[i])
		}
		if err := redraw(points, some, 5, 3); err != nil {
			t.Errorf("%s: %v", filepath.Base(name), err)
		}
		records, kept = records+len(points), kept+len(some)
	}
	t.Logf("%d of %d records kept", kept, records)
	if kept*2 > records {
		t.Errorf("%d of %d records are kept", kept, records)
	}
}
