package gps_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/gps"
)

func TestFixAsJSONLeavesOutWhatIsAbsent(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	absent := gps.Fix{TimeOfDay: -1, Lat: nan, Lon: nan, Alt: nan, Speed: nan, Course: nan, HDOP: nan, Sats: -1}
	with := func(change func(*gps.Fix)) gps.Fix {
		f := absent
		change(&f)
		return f
	}
	for name, tc := range map[string]struct {
		fix  gps.Fix
		want string
	}{
		"nothing known": {absent, `{"mode":"none"}`},
		"no fix": {
			with(func(f *gps.Fix) {
				f.Time = time.Date(2026, 11, 23, 8, 0, 0, 5e6, time.UTC)
				f.TimeOfDay, f.Sats, f.HDOP, f.Reason = 8*time.Hour, 2, 49.9, "only 2 satellites"
			}),
			`{"time":"2026-11-23T08:00:00.005Z","mode":"none","sats":2,"hdop":49.9,"reason":"only 2 satellites"}`,
		},
		"no date": {
			with(func(f *gps.Fix) { f.TimeOfDay = 23*time.Hour + 59*time.Minute + 59990*time.Millisecond }),
			`{"time_of_day":"23:59:59.990","mode":"none"}`,
		},
		"a whole fix": {
			with(func(f *gps.Fix) {
				f.Time = time.Date(2026, 11, 23, 8, 0, 0, 0, time.FixedZone("", 3600))
				f.Mode, f.Lat, f.Lon, f.Alt, f.Speed, f.Course, f.Sats, f.HDOP = gps.ModeDGPS, 48+7.03811/60, -0.5, 519.5, 0, 359.99, 12, 0.7
			}),
			`{"time":"2026-11-23T07:00:00.000Z","mode":"dgps","lat":48.117301833,"lon":-0.5,"alt":519.5,"speed":0,"heading":359.99,"sats":12,"hdop":0.7}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(tc.fix)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, string(got)); d != "" {
				t.Error(d)
			}
		})
	}
}
