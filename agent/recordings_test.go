package agent_test

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"obdagent/agent/agenttest"
	"obdagent/agent/demo"
	"obdagent/agent/record"
	"obdagent/agent/status"
	"obdagent/gps"
)

// expected are the epochs of a recording, as the gps package reads them off line.
func expected(t *testing.T, path string) (log []byte, epochs []gps.Fix) {
	t.Helper()
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gps.Decode(bytes.NewReader(log), func(x gps.Fix) { epochs = append(epochs, x) }); err != nil {
		t.Fatal(err)
	}
	return log, epochs
}

func TestEveryRecordingThroughThePort(t *testing.T) {
	t.Parallel()
	dir := agenttest.NMEADir(t)
	var logs []string
	for _, pattern := range []string{"*.log", "mixed/*.log"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d recordings, %v", pattern, len(found), err)
		}
		logs = append(logs, found...)
	}
	for _, path := range logs {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".log"), func(t *testing.T) {
			t.Parallel()
			log, want := expected(t, path)
			if len(want) == 0 {
				t.Skipf("the recording has no NMEA epoch")
			}
			r := newRig(t)
			port := r.plug()
			// Each epoch makes a record, however fast it comes: also one that arrived just before the latest heartbeat.
			r.cfg.Record.Interval, r.cfg.Record.ParkedInterval = -time.Second, -time.Second
			r.start()
			r.until("open port", func(s status.Snapshot) bool { return s.GPS.Port != "" })
			if _, err := port.Write(log); err != nil {
				t.Fatal(err)
			}
			r.until("all epochs", func(s status.Snapshot) bool { return s.GPS.Epochs >= uint64(len(want)) && settled(s) })
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			compare(t, want, bySeq(r.delivered()))
		})
	}
}

// compare checks that every fix of a recording became a record, in order, and that no record has a position that is not in it.
func compare(t *testing.T, want []gps.Fix, got []record.Record) {
	t.Helper()
	known := map[place]bool{}
	next := 0
	for _, x := range want {
		if !x.HasPosition() {
			continue
		}
		at := placeOf(x.Lat, x.Lon)
		known[at] = true
		for next < len(got) && (recordPlace(got[next]) != at || !sameSpeed(got[next], x)) {
			next++
		}
		if next == len(got) {
			t.Fatalf("no record has the position and speed of the epoch at %v: %v %v, %v m/s", x.TimeOfDay, x.Lat, x.Lon, x.Speed)
		}
	}
	if len(got) < len(want) {
		t.Errorf("%d records of %d epochs", len(got), len(want))
	}
	for _, x := range got {
		if at := recordPlace(x); at != nowhere && !known[at] {
			t.Errorf("the position %v of record %d is not in the recording", at, x.Seq)
		}
		if x.Lat.IsSet() == (x.Fix == "none") {
			t.Errorf("record %d has fix %s and a position: %t", x.Seq, x.Fix, x.Lat.IsSet())
		}
	}
}

// A place is a position with the record's decimals.
type place [2]string

var nowhere place

func placeOf(lat, lon float64) place {
	return place{strconv.FormatFloat(lat, 'f', 7, 64), strconv.FormatFloat(lon, 'f', 7, 64)}
}

func recordPlace(x record.Record) place {
	lat, ok := x.Lat.Get()
	lon, _ := x.Lon.Get()
	if !ok {
		return nowhere
	}
	return placeOf(lat, lon)
}

func sameSpeed(x record.Record, fix gps.Fix) bool {
	kmh, ok := x.SpeedGPS.Get()
	if math.IsNaN(fix.Speed) {
		return !ok
	}
	return ok && math.Abs(kmh-fix.Speed*3.6) < 0.006
}

func TestARecordedDriveBesideASimulatedAdapter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(agenttest.NMEADir(t), "nl2008u.log") // a car, 19 km/h
	_, epochs := expected(t, path)
	r := newRig(t)
	r.simulate(demo.SimOptions{NMEA: path})
	r.cfg.Record.ParkedInterval = time.Second
	r.start()
	both := func(x record.Record) bool { return x.SpeedOBD.IsSet() && x.Lat.IsSet() && x.SpeedGPS.IsSet() }
	await(t, "records of both", func() bool {
		made := r.records()
		return len(made) >= 3 && both(made[len(made)-1]) && both(made[len(made)-2])
	}, func() string { return "" })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	positions := map[place]bool{nowhere: true}
	for _, x := range epochs {
		if x.HasPosition() {
			positions[placeOf(x.Lat, x.Lon)] = true
		}
	}
	n := 0
	for _, x := range r.delivered() {
		if at := recordPlace(x); !positions[at] {
			t.Errorf("position %v is not in the recording", at)
		}
		if both(x) {
			n++
		}
	}
	if n < 2 {
		t.Errorf("%d records with both sources", n)
	}
}
