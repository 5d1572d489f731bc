package gps_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"obdagent/gps"
)

// era is how far a receiver's date may be off by the rollover of the 10-bit week number; gpsd corrects it by guessing.
const era = 1024 * 7 * 24 * time.Hour

// gpsdFix is one TPV report of gpsd.
type gpsdFix struct {
	Class string
	Time  time.Time
	Mode  int
	Lat   *float64
	Lon   *float64
	Speed *float64
	Alt   *float64 `json:"altMSL"`
}

// Reasons that hold for more than one recording.
const (
	threeSatellites = "3 satellites and GSA 2 (2D): the altitude that comes with it is held, not measured; gpsd says 3D from the second epoch on"
	derivedSpeed    = "the epoch has neither RMC nor VTG: gpsd derives a speed from two positions, we leave it absent"
)

// deliberate are the differences from gpsd: recording, and how many epochs differ, with the reason.
var deliberate = map[string]struct {
	epochs int
	reason string
}{
	"garmin25lp.log": {9, threeSatellites},
	"mtk-3301.log":   {3, threeSatellites},
	"oncore.log":     {6, threeSatellites},
	"rgm3800.log":    {1, threeSatellites},
	"sl869.log":      {2, threeSatellites},
	"mr-350p.log":    {12, derivedSpeed},
	"tr737A+.log":    {1, derivedSpeed + " (last, cut epoch)"},

	"bundg_zeus_9.log": {50, "a ship's multiplexer: for 37 s GLL carries the position of one second before the time it gives, and gpsd's report " +
		"for that second stops at GLL (with epochs 16 and 54 at the seams); elsewhere (10) VTG differs from RMC and gpsd takes the " +
		"later, we RMC; the last epoch is cut, " + derivedSpeed},
	"eXplorist210.log":                 {2, "gpsd takes the proprietary PMGNST between two epochs for a loss of the fix"},
	"meinberg-gps164.log":              {1, "without a fix gpsd repeats the time of the last one: its epoch turns into none after the fact"},
	"mixed/foretrex-201.log":           {6, threeSatellites + " (3 epochs); then GGA and GSA report no satellite at all and the position stands still: gpsd goes on with 3D (3 epochs)"},
	"mixed/garmin48.log":               {13, "a 2 s cycle in which GLL is one second ahead: gpsd drops the RMC and GGA before it (6 epochs) and lends GLL an altitude from PGRMZ's barometer (7)"},
	"gp-320fw-2019-04-06-overflow.log": {1, "one cycle lacks the GLL that gpsd has learned to wait for: it never reports that epoch"},
}

func TestFixesAreThoseOfGpsd(t *testing.T) {
	t.Parallel()
	dir := recordings(t)
	for _, name := range recordingNames(t, dir) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := loadRecording(t, dir, name)
			want := gpsdFixes(t, filepath.Join(dir, name+".chk"))
			got := make(map[int64]gps.Fix)
			var first, last int64 // of the fixes
			counts, err := gps.Decode(bytes.NewReader(log), func(f gps.Fix) {
				if !f.Time.IsZero() {
					at := moment(f.Time)
					got[at] = f
					if f.Mode != gps.ModeNone {
						if first == 0 {
							first = at
						}
						last = at
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			var diffs []string
			compared := 0
			for at, w := range want {
				g, ok := got[at]
				if !ok {
					if w.Mode >= 2 {
						diffs = append(diffs, fmt.Sprintf("%s: epoch is missing, gpsd has mode %d", w.Time.Format(time.RFC3339Nano), w.Mode))
					}
					continue
				}
				compared++
				if d := difference(g, w); d != "" {
					diffs = append(diffs, fmt.Sprintf("%s: %s", w.Time.Format(time.RFC3339Nano), d))
				}
			}
			for at, g := range got {
				// gpsd does not date the first epoch where the date comes last in it, and does not report an unfinished last one.
				if _, ok := want[at]; !ok && g.Mode != gps.ModeNone && at != first && at != last {
					diffs = append(diffs, fmt.Sprintf("%s: fix that gpsd does not have", g.Time.Format(time.RFC3339Nano)))
				}
			}
			slices.Sort(diffs)
			t.Logf("%d of gpsd, %d of ours, %d compared, %+v", len(want), len(got), compared, counts)
			if d := deliberate[name]; len(diffs) != d.epochs {
				t.Errorf("%d epochs differ from gpsd, want %d (%s)", len(diffs), d.epochs, d.reason)
				for _, d := range diffs {
					t.Log(d)
				}
			}
		})
	}
}

// moment makes times of different week number eras comparable.
func moment(t time.Time) int64 {
	return t.Round(10*time.Millisecond).UnixMilli() % era.Milliseconds()
}

// gpsdFixes returns the last report per time, as that is the one of the whole epoch.
func gpsdFixes(t *testing.T, file string) map[int64]gpsdFix {
	t.Helper()
	chk, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	fixes := make(map[int64]gpsdFix)
	for line := range bytes.Lines(chk) {
		if !bytes.Contains(line, []byte(`"TPV"`)) {
			continue
		}
		var f gpsdFix
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if !f.Time.IsZero() {
			fixes[moment(f.Time)] = f
		}
	}
	return fixes
}

// difference says in what two fixes of one epoch differ; empty if they agree.
func difference(g gps.Fix, w gpsdFix) string {
	mode := max(w.Mode, 1)
	if mode == 3 && w.Alt == nil {
		mode = 2 // by the GSA it is 3D, but the epoch has no altitude: that is our 2D
	}
	if class(g) != mode {
		return fmt.Sprintf("mode %s (%d, %s), gpsd has %d", g.Mode, class(g), g.Reason, w.Mode)
	}
	if w.Mode < 2 {
		return ""
	}
	if w.Lat == nil || w.Lon == nil {
		return "gpsd has a mode but no position"
	}
	if d := distance(g.Lat, g.Lon, *w.Lat, *w.Lon); !(d <= 1) {
		return fmt.Sprintf("position is %.1f m away", d)
	}
	if w.Speed != nil && !(math.Abs(g.Speed-*w.Speed) <= 0.1) {
		return fmt.Sprintf("speed %.2f m/s, gpsd has %.2f", g.Speed, *w.Speed)
	}
	return ""
}

// class is gpsd's mode: 1 none, 2 without and 3 with altitude.
func class(f gps.Fix) int {
	switch {
	case f.Mode == gps.ModeNone:
		return 1
	case math.IsNaN(f.Alt):
		return 2
	}
	return 3
}

// distance in metres, for points close to each other.
func distance(lat1, lon1, lat2, lon2 float64) float64 {
	const metresPerDegree = 111_195 // of a sphere of 6371 km
	return metresPerDegree * math.Hypot(lat1-lat2, (lon1-lon2)*math.Cos(lat1*math.Pi/180))
}
