package track_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/report"
	"obdagent/agent/report/track"
)

var (
	start = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	nan   = math.NaN()
	vin   = `<W&"`
)

func at(second int, lon, lat, speed float64) report.TrackPoint {
	return report.TrackPoint{VIN: vin, Time: start.Add(time.Duration(second) * time.Second), Lon: lon, Lat: lat, Speed: speed}
}

// points are a way that is cut in each manner, and a vehicle without a name or a position.
func points() []report.TrackPoint {
	all := []report.TrackPoint{
		at(0, 10, 50, 36), at(1, 10.0001, 50, nan), at(2, nan, nan, 36), at(3, 10.0003, 50, 40), at(4, 11, 50, 36),
		at(5, 11.0001, 50, 36), at(500, 12, -51.5, nan), {Time: start, Lon: nan, Lat: nan, Speed: 1},
	}
	all[0].First, all[4].Jump, all[6].AfterGap, all[7].First = true, true, true, true
	return all
}

func write(t *testing.T, w track.Writer, points []report.TrackPoint) {
	t.Helper()
	for _, p := range points {
		if err := w.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestGPX(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	write(t, track.NewGPX(&b), points())
	var doc struct {
		XMLName xml.Name `xml:"http://www.topografix.com/GPX/1/1 gpx"`
		Version string   `xml:"version,attr"`
		Tracks  []struct {
			Name     string `xml:"name"`
			Segments []struct {
				Points []struct {
					Lat   float64   `xml:"lat,attr"`
					Lon   float64   `xml:"lon,attr"`
					Time  time.Time `xml:"time"`
					Speed *float64  `xml:"extensions>TrackPointExtension>speed"`
				} `xml:"trkpt"`
			} `xml:"trkseg"`
		} `xml:"trk"`
	}
	if err := xml.Unmarshal([]byte(b.String()), &doc); err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	var got []string
	for _, trk := range doc.Tracks {
		for _, seg := range trk.Segments {
			line := trk.Name
			for _, p := range seg.Points {
				speed := "-"
				if p.Speed != nil {
					speed = fmt.Sprint(*p.Speed)
				}
				line += fmt.Sprintf(" %s:%v,%v,%s", p.Time.Format("04:05"), p.Lon, p.Lat, speed)
			}
			got = append(got, line)
		}
	}
	want := []string{
		vin + " 00:00:10,50,10 00:01:10.0001,50,-", vin + " 00:03:10.0003,50,11.11", vin + " 00:04:11,50,10 00:05:11.0001,50,10", vin + " 08:20:12,-51.5,-",
	}
	if diff := cmp.Diff(want, got); diff != "" || doc.Version != "1.1" {
		t.Errorf("version %s, segments (-want +got):\n%s", doc.Version, diff)
	}
}

func TestGeoJSON(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	write(t, track.NewGeoJSON(&b), points())
	var doc struct {
		Type     string
		Features []struct {
			Type     string
			Geometry struct {
				Type        string
				Coordinates json.RawMessage
			}
			Properties map[string]any
		}
	}
	if err := json.Unmarshal([]byte(b.String()), &doc); err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	var got []string
	for _, f := range doc.Features {
		got = append(got, fmt.Sprintf("%s %s %s %v %v %v", f.Type, f.Geometry.Type, strings.ReplaceAll(strings.ReplaceAll(string(f.Geometry.Coordinates), "\n", ""), "0000,", ","),
			f.Properties["vin"], f.Properties["records"], f.Properties["max_kmh"]))
	}
	want := []string{
		"Feature LineString [[10.000,50.0000000],[10.0001000,50.0000000]] " + vin + " 2 36",
		"Feature Point [10.0003000,50.0000000] " + vin + " 1 40",
		"Feature LineString [[11.000,50.0000000],[11.0001000,50.0000000]] " + vin + " 2 36",
		"Feature Point [12.000,-51.5000000] " + vin + " 1 <nil>",
	}
	if diff := cmp.Diff(want, got); diff != "" || doc.Type != "FeatureCollection" {
		t.Errorf("%s (-want +got):\n%s", doc.Type, diff)
	}
}

func TestNothingIsAWholeDocument(t *testing.T) {
	t.Parallel()
	var g, j strings.Builder
	write(t, track.NewGPX(&g), nil)
	write(t, track.NewGeoJSON(&j), nil)
	if err := xml.Unmarshal([]byte(g.String()), new(struct{})); err != nil || !json.Valid([]byte(j.String())) {
		t.Errorf("error %v; GPX %s GeoJSON %s", err, g.String(), j.String())
	}
}

type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestAFullDiskIsToldAtLastWhenClosing(t *testing.T) {
	t.Parallel()
	for _, w := range []track.Writer{track.NewGPX(full{}), track.NewGeoJSON(full{})} {
		if err := w.Close(); !errors.Is(err, errFull) {
			t.Errorf("%T: error %v, want %v", w, err, errFull)
		}
	}
}
