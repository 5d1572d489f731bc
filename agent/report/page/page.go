// Package page draws a report as one HTML page that needs nothing else: no script, no font, no map from elsewhere. For people who
// would rather look than read.
//
//	p := page.New()
//	r, err := report.Read(ctx, source, report.Options{Track: p.Add})
//	...
//	err = p.Render(w, r)
//
// # Promises
//
//   - What comes from the data (VINs, names of objects, reasons) is escaped where it stands, and the page forbids itself to run or to
//     load anything.
//   - Memory depends on the number of vehicles drawn, at most 50 (those with the longest ways), not on the records.
//
// # Limits
//
// Ways are simplified to 1,500 points, charts to 800 pieces of time with the least, mean and greatest speed in each. The map has
// no roads: it is true to scale at its middle, north is up.
package page

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"obdagent/agent/report"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// A Page collects what is drawn.
type Page struct {
	current *trace
	way     float64 // of current, in degrees of latitude: what it is ranked by
	last    report.TrackPoint
	traces  []ranked
	left    int // vehicles that are not drawn
}

type ranked struct {
	*trace
	length float64
}

// New returns an empty page.
func New() *Page { return &Page{} }

// Add is for report.Options.Track. It never fails.
func (p *Page) Add(at report.TrackPoint) error {
	if at.First {
		p.end()
		p.current, p.way = newTrace(at), 0
	} else if !at.Jump && !math.IsNaN(at.Lon) && !math.IsNaN(p.last.Lon) {
		p.way += math.Hypot((at.Lon-p.last.Lon)*math.Cos(at.Lat*math.Pi/180), at.Lat-p.last.Lat)
	}
	p.current.add(at)
	p.last = at
	return nil
}

func (p *Page) end() {
	if p.current == nil {
		return
	}
	p.current.thin(drawnWay)
	p.traces = append(p.traces, ranked{p.current, p.way})
	p.current = nil
	if len(p.traces) > mostDrawn {
		least := 0
		for i, t := range p.traces {
			if t.length < p.traces[least].length {
				least = i
			}
		}
		p.traces = slices.Delete(p.traces, least, least+1)
		p.left++
	}
}

// What the template shows.
type (
	view struct {
		Title, Period string
		Tiles         []tile
		Map           *mapView
		Left          int
		Rows          []row
		HasCO2        bool
		HasFuel       bool
		Cars          []carView
		Problems      []string
		Notes         []string
		GapLimit      string
		Classes       []class
	}
	tile struct{ Name, Value, Unit string }
	row  struct {
		VIN, Records, Km, Max, Mean, Moving, Idle, Gaps, CO2, Fuel, First, Last string
		Colour, Anchor                                                          string
	}
	carView struct {
		VIN, Anchor, Colour, Summary string
		Map                          *mapView
		Chart                        *chartView
		Histogram                    *histogramView
		Gaps                         []gapView
	}
	gapView struct{ From, To, For string }
	class   struct{ Name, Label string }
)

// Render writes the page. Nothing can be added afterwards.
func (p *Page) Render(w io.Writer, r *report.Report) error {
	p.end()
	out := bufio.NewWriter(w)
	if err := pageTemplate.Execute(out, p.view(r)); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

func (p *Page) view(r *report.Report) view {
	t := r.Total
	v := view{
		Title: "Fleet report", Period: period(t.First, t.Last), Left: p.left, Problems: r.Problems(), GapLimit: r.Gap.String(), Classes: speedClasses(),
		HasCO2: t.CO2Time > 0, HasFuel: t.FuelTime > 0,
		Tiles: []tile{
			{"vehicles", group(len(r.Vehicles)), ""}, {"records", group(t.Records), ""}, {"distance", number(t.Distance(), 1), "km"},
			{"top speed", number(t.MaxSpeed, 1), "km/h"}, {"mean speed", number(t.MeanSpeed(), 1), "km/h"},
			{"moving", hours(t.Moving), "h"}, {"standing", hours(t.Idle), "h"}, {"gaps", group(t.Gaps), ""},
		},
	}
	if v.HasCO2 {
		v.Tiles = append(v.Tiles, tile{"CO₂", number(t.CO2(), 2), "kg"})
	}
	if v.HasFuel {
		v.Tiles = append(v.Tiles, tile{"fuel", number(t.Fuel(), 2), "L"})
	}
	v.Tiles = append(v.Tiles, tile{"came twice", group(t.Duplicates), ""})
	if t.Undated > 0 {
		v.Notes = append(v.Notes, group(t.Undated)+" records without a time are counted, but not drawn.")
	}
	if t.Jumps > 0 {
		v.Notes = append(v.Notes, group(t.Jumps)+" jumps of the position, faster than any vehicle, are not part of the distance.")
	}
	if r.Filtered > 0 {
		v.Notes = append(v.Notes, group(r.Filtered)+" lines were not asked for.")
	}
	colours := map[string]string{}
	var all []*trace
	for i, t := range p.traces {
		colours[t.vin] = "c" + strconv.Itoa(i%colourCount)
		all = append(all, t.trace)
	}
	v.Map = fleetMap(all, colours)
	for i, car := range r.Vehicles {
		row := rowOf(car)
		index := slices.IndexFunc(p.traces, func(t ranked) bool { return t.vin == car.VIN || t.vin == "" && car.VIN == report.UnknownVIN })
		if index >= 0 {
			t := p.traces[index].trace
			row.Anchor, row.Colour = "v"+strconv.Itoa(i), colours[t.vin]
			v.Cars = append(v.Cars, carOf(car, t, row))
		}
		v.Rows = append(v.Rows, row)
	}
	return v
}

func rowOf(v report.Vehicle) row {
	return row{
		VIN: v.VIN, Records: group(v.Records), Km: number(v.Distance(), 2), Max: number(v.MaxSpeed, 1), Mean: number(v.MeanSpeed(), 1),
		Moving: report.Clock(v.Moving), Idle: report.Clock(v.Idle), Gaps: group(v.Gaps), CO2: number(v.CO2(), 3), Fuel: number(v.Fuel(), 3), First: brief(v.First), Last: brief(v.Last),
	}
}

func carOf(v report.Vehicle, t *trace, row row) carView {
	c := carView{VIN: v.VIN, Anchor: row.Anchor, Colour: row.Colour, Map: carMap(t), Chart: speedChart(t), Histogram: speedHistogram(t)}
	c.Summary = period(v.First, v.Last) + " · " + row.Km + " km · " + row.Records + " records"
	if v.CO2Time > 0 {
		c.Summary += " · " + row.CO2 + " kg CO₂"
	}
	if v.FuelTime > 0 {
		c.Summary += " · " + row.Fuel + " L"
	}
	slices.SortFunc(t.gaps, func(a, b gap) int { return a.from.Compare(b.from) })
	for _, g := range t.gaps {
		c.Gaps = append(c.Gaps, gapView{moment(g.from), moment(g.to), report.Clock(g.to.Sub(g.from))})
	}
	return c
}

func period(first, last time.Time) string {
	if first.IsZero() {
		return "no record has a time"
	}
	if first.Format(time.DateOnly) == last.Format(time.DateOnly) {
		return first.Format("2 January 2006, 15:04") + " to " + last.Format("15:04") + " UTC"
	}
	return first.Format("2 January 2006, 15:04") + " to " + last.Format("2 January 2006, 15:04") + " UTC"
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.Format("2006-01-02 15:04:05")
}

// brief leaves out the year, which the page's head has, and the seconds.
func brief(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.Format("2 Jan 15:04")
}

func hours(d time.Duration) string { return number(d.Hours(), 1) }

// number writes a number with thin spaces between thousands, or a dash for NaN.
func number(x float64, decimals int) string {
	if math.IsNaN(x) {
		return "–"
	}
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(x, 'f', decimals, 64), ".")
	var b strings.Builder
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(c)
	}
	if fraction != "" {
		b.WriteString("." + fraction)
	}
	return b.String()
}

func group(n int) string { return number(float64(n), 0) }
