package gps_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// A deliberate difference from gpsd: which of a recording's differing epochs it explains, by words of the difference.
type deliberate struct{ words, reason string }

// differences are all that is deliberate, by recording. The epochs themselves are pinned in testdata/differs_from_gpsd.txt.
var differences = map[string][]deliberate{
	"garmin25lp.log": {{"mode 2d with 3 satellites, gpsd has 3", threeSatellites}},
	"mtk-3301.log":   {{"mode 2d with 3 satellites, gpsd has 3", threeSatellites}},
	"oncore.log":     {{"mode 2d with 3 satellites, gpsd has 3", threeSatellites}},
	"rgm3800.log":    {{"mode 2d with 3 satellites, gpsd has 3", threeSatellites}},
	"sl869.log":      {{"mode 2d with 3 satellites, gpsd has 3", threeSatellites}},
	"mr-350p.log":    {{"speed absent", derivedSpeed}},
	"tr737A+.log":    {{"speed absent", derivedSpeed + " (last, cut epoch)"}},

	"bundg_zeus_9.log": {
		{"mode 3d with 12 satellites, gpsd has 2", "a ship's multiplexer: for 37 s GLL carries the position of one second before the time it gives, and gpsd's report for that second stops at GLL"},
		{"does not have", "the seam of those 37 s: gpsd reports the GLL only, under the time before"},
		{"speed 2", "VTG differs from RMC: gpsd takes the later of the two, we RMC"},
		{"speed 3", "VTG differs from RMC: gpsd takes the later of the two, we RMC"},
		{"speed absent", derivedSpeed + " (last, cut epoch)"},
	},
	"eXplorist210.log":    {{"gpsd has 1", "gpsd takes the proprietary PMGNST between two epochs for a loss of the fix"}},
	"meinberg-gps164.log": {{"gpsd has 1", "without a fix gpsd repeats the time of the last one: its epoch turns into none after the fact"}},
	"mixed/foretrex-201.log": {
		{"mode dgps with 3 satellites, gpsd has 3", threeSatellites},
		{"mode none with 0 satellites", "GGA and GSA report no satellite at all and the position stands still: gpsd goes on with 3D"},
	},
	"mixed/garmin48.log": {
		{"does not have", "a 2 s cycle in which GLL is one second ahead: gpsd drops the RMC and GGA before it"},
		{"gpsd has 3", "the same GLL, to which gpsd lends the altitude of PGRMZ's barometer"},
	},
	"gp-320fw-2019-04-06-overflow.log": {{"does not have", "one cycle lacks the GLL that gpsd has learned to wait for: it never reports that epoch"}},
}

var update = flag.Bool("update", false, "rewrite the golden files of this package")

// pinned are the epochs that differ, one a line: recording, time, difference.
const pinned = "testdata/differs_from_gpsd.txt"

func TestFixesAreThoseOfGpsd(t *testing.T) {
	t.Parallel()
	dir := recordings(t)
	var lines []string
	compared := 0
	for _, name := range recordingNames(t, dir) {
		diffs, n := compareWithGpsd(t, dir, name)
		compared += n
		used := make([]int, len(differences[name]))
		for _, d := range diffs {
			lines = append(lines, name+" "+d)
			i := slices.IndexFunc(differences[name], func(x deliberate) bool { return strings.Contains(d, x.words) })
			if i < 0 {
				t.Errorf("%s: %s", name, d)
				continue
			}
			used[i]++
		}
		for i, x := range differences[name] {
			if used[i] == 0 {
				t.Errorf("%s: no epoch differs by %q any more (%s)", name, x.words, x.reason)
			}
		}
	}
	t.Logf("%d epochs compared, %d differ on purpose", compared, len(lines))
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(pinned, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(pinned)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("other epochs than before differ from gpsd (-before +now); -update takes them:\n%s", d)
	}
}

// compareWithGpsd returns how our fixes of a recording differ from gpsd's, and how many epochs were compared.
func compareWithGpsd(t *testing.T, dir, name string) (diffs []string, compared int) {
	t.Helper()
	want := gpsdFixes(t, filepath.Join(dir, name+".chk"))
	got := make(map[int64]gps.Fix)
	var first, last int64 // of the fixes
	_, err := gps.Decode(bytes.NewReader(loadRecording(t, dir, name)), func(f gps.Fix) {
		if f.Time.IsZero() {
			return
		}
		at := moment(f.Time)
		got[at] = f
		if f.Mode != gps.ModeNone {
			if first == 0 {
				first = at
			}
			last = at
		}
	})
	if err != nil {
		t.Fatal(err)
	}
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
	return diffs, compared
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
	var d []string
	if class(g) != mode {
		text := fmt.Sprintf("mode %s with %d satellites, gpsd has %d", g.Mode, g.Sats, mode)
		if g.Reason != "" {
			text += " (" + g.Reason + ")"
		}
		d = append(d, text)
	}
	switch {
	case w.Mode < 2 || g.Mode == gps.ModeNone:
		return strings.Join(d, "; ")
	case w.Lat == nil || w.Lon == nil:
		return "gpsd has a mode but no position"
	}
	if away := distance(g.Lat, g.Lon, *w.Lat, *w.Lon); !(away <= 1) {
		d = append(d, fmt.Sprintf("position is %.1f m away", away))
	}
	switch {
	case w.Speed == nil:
	case math.IsNaN(g.Speed):
		d = append(d, fmt.Sprintf("speed absent, gpsd has %.2f", *w.Speed))
	case !(math.Abs(g.Speed-*w.Speed) <= 0.1):
		d = append(d, fmt.Sprintf("speed %.2f m/s, gpsd has %.2f", g.Speed, *w.Speed))
	}
	return strings.Join(d, "; ")
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
