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
}

// deliberate differences from gpsd: recording, and how many epochs may differ, with the reason.
var deliberate = map[string]struct {
	epochs int
	reason string
}{}

func TestFixesAreThoseOfGpsd(t *testing.T) {
	t.Parallel()
	dir := recordings(t)
	for _, name := range recordingNames(t, dir) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			want := gpsdFixes(t, filepath.Join(dir, name+".chk"))
			got := make(map[int64]gps.Fix)
			var last int64
			counts, err := gps.Decode(bytes.NewReader(log), func(f gps.Fix) {
				if !f.Time.IsZero() {
					last = moment(f.Time)
					got[last] = f
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
				if _, ok := want[at]; !ok && g.Mode != gps.ModeNone && at != last {
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
	if class(g) != max(w.Mode, 1) {
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
