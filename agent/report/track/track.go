// Package track writes the ways of vehicles for maps: GPX 1.1 and GeoJSON (RFC 7946).
//
// Points come as report.Options.Track gives them, and are written as they come. A way is cut where a position is missing, where
// records are (a gap), and where the next position is not believed (a jump).
//
// # Promises
//
//   - Memory does not grow with the points.
//   - No position is left out and none is made up. Names from the data are escaped.
package track

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"obdagent/agent/report"
)

// A Writer takes points in order. Close ends the document; it does not close what is written to.
type Writer interface {
	Add(report.TrackPoint) error
	Close() error
}

const gpxHead = `<?xml version="1.0" encoding="UTF-8"?>
<gpx version="1.1" creator="obdfleet" xmlns="http://www.topografix.com/GPX/1/1" xmlns:tpx="http://www.garmin.com/xmlschemas/TrackPointExtension/v2">
`

type gpx struct {
	w       *bufio.Writer
	begun   bool
	vin     string
	inTrack bool // of vin
	inPart  bool
}

// NewGPX returns a writer of GPX 1.1: a track for each VIN, a segment for each uninterrupted piece. The speed, which GPX 1.1
// itself has no place for, is Garmin's TrackPointExtension, in m/s.
func NewGPX(w io.Writer) Writer { return &gpx{w: bufio.NewWriter(w)} }

func (g *gpx) begin() {
	if !g.begun {
		g.begun = true
		g.put(gpxHead)
	}
}

// put keeps the first error for Flush, as a bufio.Writer does.
func (g *gpx) put(s string) { _, _ = g.w.WriteString(s) }

func (g *gpx) Add(p report.TrackPoint) error {
	g.begin()
	if p.First {
		g.endTrack()
		g.vin = p.VIN
	}
	if p.AfterGap || p.Jump || math.IsNaN(p.Lon) {
		g.endPart()
	}
	if math.IsNaN(p.Lon) {
		return nil
	}
	if !g.inTrack {
		g.inTrack = true
		g.put("<trk><name>")
		if err := xml.EscapeText(g.w, []byte(nameOf(g.vin))); err != nil {
			return fmt.Errorf("write GPX: %w", err)
		}
		g.put("</name>\n")
	}
	if !g.inPart {
		g.inPart = true
		g.put("<trkseg>\n")
	}
	g.put(`<trkpt lat="` + degrees(p.Lat) + `" lon="` + degrees(p.Lon) + `"><time>` + p.Time.Format(report.TimeLayout) + "</time>")
	if !math.IsNaN(p.Speed) {
		g.put("<extensions><tpx:TrackPointExtension><tpx:speed>" + strconv.FormatFloat(p.Speed/3.6, 'f', 2, 64) + "</tpx:speed></tpx:TrackPointExtension></extensions>")
	}
	if _, err := g.w.WriteString("</trkpt>\n"); err != nil {
		return fmt.Errorf("write GPX: %w", err)
	}
	return nil
}

func (g *gpx) endPart() {
	if g.inPart {
		g.inPart = false
		g.put("</trkseg>\n")
	}
}

func (g *gpx) endTrack() {
	g.endPart()
	if g.inTrack {
		g.inTrack = false
		g.put("</trk>\n")
	}
}

func (g *gpx) Close() error {
	g.begin()
	g.endTrack()
	g.put("</gpx>\n")
	if err := g.w.Flush(); err != nil {
		return fmt.Errorf("write GPX: %w", err)
	}
	return nil
}

func nameOf(vin string) string {
	if vin == "" {
		return report.UnknownVIN
	}
	return vin
}

func degrees(x float64) string { return strconv.FormatFloat(x, 'f', 7, 64) }

type geoJSON struct {
	w     *bufio.Writer
	begun bool
	some  bool // a feature is written
	vin   string
	part  part
}

// A part is an uninterrupted piece of a way; its first position waits for a second, as a line has two (RFC 7946, section 3.1.4).
type part struct {
	positions   int
	lon, lat    float64
	first, last time.Time
	fastest     float64
}

// NewGeoJSON returns a writer of GeoJSON: a feature collection with a LineString for each uninterrupted piece of a way, or a
// Point where there is one position alone. The properties are vin, first, last, records, and max_kmh if known.
func NewGeoJSON(w io.Writer) Writer { return &geoJSON{w: bufio.NewWriter(w)} }

func (g *geoJSON) begin() {
	if !g.begun {
		g.begun = true
		g.put(`{"type":"FeatureCollection","features":[`)
	}
}

func (g *geoJSON) put(s string) { _, _ = g.w.WriteString(s) }

func (g *geoJSON) Add(p report.TrackPoint) error {
	g.begin()
	if p.First || p.AfterGap || p.Jump || math.IsNaN(p.Lon) {
		if err := g.end(); err != nil {
			return err
		}
	}
	g.vin = p.VIN
	if math.IsNaN(p.Lon) {
		return nil
	}
	switch g.part.positions {
	case 0:
		g.part = part{lon: p.Lon, lat: p.Lat, first: p.Time, fastest: math.NaN()}
	case 1:
		g.feature("LineString")
		g.put("[" + position(g.part.lon, g.part.lat) + ",\n" + position(p.Lon, p.Lat))
	default:
		g.put(",\n" + position(p.Lon, p.Lat))
	}
	g.part.positions++
	g.part.last = p.Time
	if !math.IsNaN(p.Speed) && !(p.Speed <= g.part.fastest) {
		g.part.fastest = p.Speed
	}
	return nil
}

func (g *geoJSON) feature(kind string) {
	if g.some {
		g.put(",")
	}
	g.some = true
	g.put("\n" + `{"type":"Feature","geometry":{"type":"` + kind + `","coordinates":`)
}

// end ends the piece, if there is one.
func (g *geoJSON) end() error {
	switch g.part.positions {
	case 0:
		return nil
	case 1:
		g.feature("Point")
		g.put(position(g.part.lon, g.part.lat))
	default:
		g.put("]")
	}
	properties := struct {
		VIN     string   `json:"vin"`
		First   string   `json:"first"`
		Last    string   `json:"last"`
		Records int      `json:"records"`
		MaxKmh  *float64 `json:"max_kmh,omitempty"`
	}{nameOf(g.vin), g.part.first.Format(report.TimeLayout), g.part.last.Format(report.TimeLayout), g.part.positions, nil}
	if !math.IsNaN(g.part.fastest) {
		properties.MaxKmh = &g.part.fastest
	}
	b, err := json.Marshal(properties)
	if err != nil {
		return fmt.Errorf("write GeoJSON: %w", err)
	}
	g.part = part{}
	if _, err := g.w.WriteString(`},"properties":` + string(b) + "}"); err != nil {
		return fmt.Errorf("write GeoJSON: %w", err)
	}
	return nil
}

func (g *geoJSON) Close() error {
	g.begin()
	if err := g.end(); err != nil {
		return err
	}
	g.put("\n]}\n")
	if err := g.w.Flush(); err != nil {
		return fmt.Errorf("write GeoJSON: %w", err)
	}
	return nil
}

func position(lon, lat float64) string { return "[" + degrees(lon) + "," + degrees(lat) + "]" }
