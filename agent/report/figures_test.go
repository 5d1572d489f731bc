package report_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"obdagent/agent/report"
)

// allFields are the columns that the figures are made of.
var allFields = []string{"record_id", "timestamp", "vin", "lon", "lat", "speed", "co2", "fuel_rate"}

// at is a line of vinA with allFields: seconds after eight, speed, CO2, fuel.
func at(n, seconds int, speed, co2, fuel string) string {
	t := time.Date(2026, 11, 23, 8, 0, seconds, 0, time.UTC).Format(report.TimeLayout)
	return fmt.Sprintf("%s %s %s NaN NaN %s %s %s\n", id(n), t, vinA, speed, co2, fuel)
}

func TestTimeIsCutAtEachRecord(t *testing.T) {
	t.Parallel()
	lines := at(1, 0, "0", "0.5", "NaN") + // idles for a minute: 30 g
		at(2, 60, "2.9", "NaN", "NaN") + // creeps, which is no motion, for 10 s
		at(3, 70, "36", "2", "3.6") + // 20 s from 36 to 72 km/h: 300 m, 40 g, 20 mL
		at(4, 90, "72", "2", "3.6") + // 10 s, the end not known: 200 m, 20 g, 10 mL
		at(5, 100, "NaN", "NaN", "NaN") + // 5 s nobody knows of
		at(6, 105, "90", "9", "9") + // a gap of 151 s, in which nothing is counted
		at(7, 256, "0", "9", "9") + // 150 s are no gap: 1350 g, 375 mL
		at(8, 406, "0", "NaN", "NaN")
	got := read(t, objects{"a", lines}, report.Options{Fields: allFields}).Total
	start := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	want := report.Vehicle{
		Records: 8, First: start, Last: start.Add(406 * time.Second), MaxSpeed: 90,
		SpeedMillimetres: 500_000, Moving: 30 * time.Second, Idle: 220 * time.Second, Blind: 5 * time.Second,
		Gaps: 1, GapTime: 151 * time.Second, LongestGap: 151 * time.Second,
		CO2Micrograms: 1_440_000_000, CO2Time: 240 * time.Second,
		FuelUnits: 405 * 3_600_000, FuelTime: 180 * time.Second,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("total (-want +got):\n%s", diff)
	}
	if got := got.MeanSpeed(); math.Abs(got-60) > 1e-9 {
		t.Errorf("mean speed %v km/h, want 60: 500 m in 30 s", got)
	}
	if got := got.CO2(); got != 1.44 {
		t.Errorf("CO2 %v kg, want 1.44", got)
	}
	if got := got.Fuel(); got != 0.405 {
		t.Errorf("fuel %v L, want 0.405", got)
	}
	wider := read(t, objects{"a", lines}, report.Options{Fields: allFields, Gap: 151 * time.Second}).Total
	if wider.Gaps != 0 || wider.Moving != 181*time.Second {
		t.Errorf("with gaps over 151 s: %d gaps, %v moving; want 0 and 3m1s", wider.Gaps, wider.Moving)
	}
	for _, v := range []report.Vehicle{got, wider} {
		if sum := v.Moving + v.Idle + v.Blind + v.GapTime; sum != v.Last.Sub(v.First) {
			t.Errorf("the pieces are %v long, from first to last it is %v", sum, v.Last.Sub(v.First))
		}
	}
}

func TestJSONHasCO2AndFuel(t *testing.T) {
	t.Parallel()
	line := func(n, second int) string {
		return fmt.Sprintf(`{"record_id":%q,"timestamp":"2026-11-23T08:00:%02d.000Z","vin":%q,"speed":0,"co2":1.5,"fuel_rate":7.2}`+"\n", id(n), second, vinA)
	}
	v := read(t, objects{"a", line(1, 0) + line(2, 10)}, report.Options{}).Total
	if v.CO2Micrograms != 15_000_000 || v.FuelUnits != 72_000_000 {
		t.Errorf("%d µg of CO2 and %d units of fuel, want 15000000 and 72000000", v.CO2Micrograms, v.FuelUnits)
	}
}

// Of copies that differ one counts, whichever is delivered first: a dated one, the earliest, the one with the least values.
func TestWhichCopyCountsDoesNotDependOnTheOrder(t *testing.T) {
	t.Parallel()
	copies := []string{
		text(1, "2026-11-23T08:00:00.000Z", vinA, "10", "50", "36"),
		text(1, "2026-11-23T08:00:00.000Z", vinB, "10", "50", "36"),
		text(1, "2026-11-23T08:00:00.000Z", "NaN", "10", "50", "36"),
		text(1, "2026-11-23T08:00:00.000Z", vinA, "10", "50", "37"),
		text(1, "2026-11-23T08:00:00.000Z", vinA, "NaN", "NaN", "0"),
		text(1, "2026-11-23T08:00:01.000Z", vinA, "10", "50", "0"),
		text(1, "NaN", vinA, "10", "50", "0"),
	}
	for i := range copies {
		turned := append(append([]string{}, copies[i:]...), copies[:i]...)
		r := read(t, objects{"a", strings.Join(turned, "")}, report.Options{})
		var got []string
		for _, v := range r.Vehicles {
			got = append(got, fmt.Sprintf("%s %d %d %v", v.VIN, v.Records, v.Duplicates, v.MaxSpeed))
		}
		want := []string{vinB + " 1 0 36", vinA + " 0 5 NaN", "unknown 0 1 NaN"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from copy %d on (-want +got):\n%s", i, diff)
		}
	}
}

func TestOnlyWhatIsAskedForCounts(t *testing.T) {
	t.Parallel()
	day := func(s string) time.Time {
		t.Helper()
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	source := objects{
		"2026/11/21/s", text(1, "2026-11-21T23:59:59.999Z", vinA, "NaN", "NaN", "1"),
		"2026/11/22/s", text(2, "2026-11-22T22:44:00.000Z", vinA, "NaN", "NaN", "2"), // its folder holds what came until 00:15
		"2026/11/23/s", text(3, "2026-11-23T00:00:00.000Z", vinA, "NaN", "NaN", "3") + text(4, "NaN", vinA, "NaN", "NaN", "4") + text(5, "2026-11-23T12:00:00Z", "NaN", "NaN", "NaN", "5"),
		"2026/12/24/s", text(6, "2026-11-23T23:59:59.999Z", vinB, "NaN", "NaN", "6") + text(7, "2026-11-24T00:00:00.000Z", vinB, "NaN", "NaN", "7"), // a month late
		"errors/2026/11/23/s", "rubbish\n",
	}
	for _, test := range []struct {
		name    string
		options report.Options
		speeds  string
		before  int
		undated int
	}{
		{"all", report.Options{}, "1 2 3 4 5 6 7", 0, 0},
		{"a VIN", report.Options{VINs: []string{vinB}}, "6 7", 0, 0},
		{"two VINs, one of them unknown", report.Options{VINs: []string{vinB, report.UnknownVIN}}, "5 6 7", 0, 0},
		{"a day, also of late data", report.Options{From: day("2026-11-23T00:00:00Z"), To: day("2026-11-24T00:00:00Z")}, "3 5 6", 1, 1},
		{"from midday on, in another time zone", report.Options{From: day("2026-11-23T13:00:00+01:00")}, "5 6 7", 2, 1},
		{"shortly after midnight the folder of the day before is read", report.Options{From: day("2026-11-23T00:30:00Z")}, "5 6 7", 1, 1},
		{"until", report.Options{To: day("2026-11-23T00:00:00.001Z")}, "1 2 3", 0, 1},
		{"a VIN and a day", report.Options{VINs: []string{vinA}, From: day("2026-11-23T00:00:00Z")}, "3", 1, 1},
		{"nothing", report.Options{VINs: []string{"X"}}, "", 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := read(t, source, test.options)
			whole := read(t, source, report.Options{VINs: test.options.VINs, From: test.options.From, To: test.options.To, Gap: time.Hour})
			if diff := cmp.Diff(r.Vehicles, whole.Vehicles, cmpopts.EquateNaNs(), cmpopts.IgnoreFields(report.Vehicle{}, "Gaps", "GapTime", "LongestGap", "Idle")); diff != "" {
				t.Errorf("another gap changes more than gaps:\n%s", diff)
			}
			var speeds []string
			test.options.Each = func(l report.Line) { speeds = append(speeds, fmt.Sprint(l.Speed)) }
			if r := read(t, source, test.options); strings.Join(speeds, " ") != test.speeds || r.Skipped.Before != test.before || r.FilteredUndated != test.undated {
				t.Errorf("speeds %q, %d objects before, %d undated; want %q, %d, %d", speeds, r.Skipped.Before, r.FilteredUndated, test.speeds, test.before, test.undated)
			}
		})
	}
}

// A re-dated Firehose record lies in the folder of its newest line's day: what a device sent together with it, of a week before too, is
// found as what arrived late is.
func TestWhatLiesWithNewerRecordsIsFound(t *testing.T) {
	t.Parallel()
	day := func(d int) time.Time { return time.Date(2026, 11, d, 0, 0, 0, 0, time.UTC) }
	source := objects{
		"2026/11/15/s", text(1, "2026-11-15T20:00:00.000Z", vinA, "NaN", "NaN", "1"),
		"2026/11/23/s", text(2, "2026-11-16T20:00:00.000Z", vinA, "NaN", "NaN", "2") + text(3, "2026-11-23T06:00:00.000Z", vinA, "NaN", "NaN", "3"), // it stood for a week
		"2026/11/23/t", text(4, "2026-11-23T06:00:10.000Z", vinA, "NaN", "NaN", "4"),
	}
	for _, test := range []struct {
		from, to time.Time
		records  int64
		before   int
	}{{day(16), day(17), 1, 0}, {day(17), day(18), 0, 1}, {day(23), day(24), 2, 1}} {
		r := read(t, source, report.Options{From: test.from, To: test.to})
		if int64(r.Total.Records) != test.records || r.Skipped.Before != test.before {
			t.Errorf("from %s: %d records, %d objects before; want %d, %d", test.from, r.Total.Records, r.Skipped.Before, test.records, test.before)
		}
	}
}

func TestTheTrackComesInOrder(t *testing.T) {
	t.Parallel()
	lines := strings.SplitAfter(drive, "\n")
	var got []string
	r := read(t, objects{"a", lines[2] + lines[0], "b", lines[1] + lines[1] +
		text(9, "2026-11-23T07:00:00.000Z", "NaN", "NaN", "NaN", "1") + text(8, "NaN", vinA, "10", "50", "1") +
		text(4, "2026-11-23T09:00:00.000Z", vinA, "10.0000000", "50.0000000", "3") + text(5, "2026-11-23T09:00:01.000Z", vinA, "11", "50", "NaN")},
		report.Options{Track: func(p report.TrackPoint) error {
			got = append(got, fmt.Sprintf("%s %s %v %v %v %v%v%v", p.VIN, p.Time.Format("15:04:05"), p.Lon, p.Lat, p.Speed, p.First, p.AfterGap, p.Jump))
			return nil
		}})
	want := []string{
		vinA + " 08:00:00 10 50 36 truefalsefalse",
		vinA + " 08:00:01 10 50.0000899 36.4 falsefalsefalse",
		vinA + " 08:00:02 10 50.0001799 36 falsefalsefalse",
		vinA + " 09:00:00 10 50 3 falsetruefalse",
		vinA + " 09:00:01 11 50 NaN falsefalsetrue",
		" 07:00:00 NaN NaN 1 truefalsefalse",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("track (-want +got):\n%s", diff)
	}
	if r.Total.Jumps != 1 || r.Total.Gaps != 1 {
		t.Errorf("%d jumps and %d gaps, want 1 and 1", r.Total.Jumps, r.Total.Gaps)
	}
}
