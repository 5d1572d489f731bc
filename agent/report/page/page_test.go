package page_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"obdagent/agent/report"
	"obdagent/agent/report/page"
)

var start = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// fleet draws n vehicles that drive for so many seconds, each farther than the one before.
func fleet(t *testing.T, p *page.Page, vehicles, seconds int, name func(int) string) *report.Report {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	var all []report.Vehicle
	for v := range vehicles {
		heading, lon, lat := random.Float64()*6, 11.5, 48.1
		for s := range seconds {
			heading += random.NormFloat64() * 0.1
			lon += math.Sin(heading) * 1e-4 * float64(v+1)
			lat += math.Cos(heading) * 1e-4 * float64(v+1)
			at := report.TrackPoint{VIN: name(v), Time: start.Add(time.Duration(s) * time.Second), Lon: lon, Lat: lat, Speed: 60 + 30*math.Sin(float64(s)/50), First: s == 0}
			if s == seconds/2 {
				at.AfterGap = true
			}
			if s%97 == 5 {
				at.Lon, at.Lat = math.NaN(), math.NaN()
			}
			if s%301 == 7 {
				at.Speed = math.NaN()
			}
			if err := p.Add(at); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, report.Vehicle{VIN: name(v), Records: seconds, First: start, Last: start.Add(time.Duration(seconds) * time.Second), MaxSpeed: 90,
			Millimetres: int64(v+1) * 1e6, Moving: time.Duration(seconds) * time.Second, SpeedMillimetres: int64(seconds) * 16_666, CO2Micrograms: 5e9, CO2Time: time.Minute})
	}
	return report.New(all)
}

func render(t *testing.T, p *page.Page, r *report.Report) string {
	t.Helper()
	var b strings.Builder
	if err := p.Render(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// elements reads the page as XML, which it is but for the doctype, and returns how often each element comes and all its text.
func elements(t *testing.T, html string) (count map[string]int, text string) {
	t.Helper()
	count = map[string]int{}
	d := xml.NewDecoder(strings.NewReader(html))
	d.Entity = xml.HTMLEntity
	var b strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return count, b.String()
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			count[token.Name.Local]++
			for _, a := range token.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "src" || a.Name.Local == "href" && !strings.HasPrefix(a.Value, "#") {
					t.Errorf("<%s> has %s=%q: the page runs or loads something", token.Name.Local, a.Name.Local, a.Value)
				}
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") || strings.Contains(a.Value, "ZgotmplZ") {
					t.Errorf("<%s> has %s=%.80q", token.Name.Local, a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			b.Write(token)
		}
	}
}

func TestThePageShowsEachVehicle(t *testing.T) {
	t.Parallel()
	p := page.New()
	r := fleet(t, p, 3, 10_000, func(i int) string { return fmt.Sprintf("WVWZZZ1JZXW%06d", i) })
	html := render(t, p, r)
	count, text := elements(t, html)
	if count["section"] != 2+3 || count["script"]+count["link"]+count["img"] > 0 {
		t.Errorf("elements %v, want 5 sections and nothing that loads or runs", count)
	}
	for _, want := range []string{"WVWZZZ1JZXW000002", "23 November 2026, 08:00 to 10:46 UTC", "30\u202f000", "over 120 km/h", "Gaps: more than 2m30s", "15.00", "km/h"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if len(html) > 400_000 {
		t.Errorf("%d bytes for three vehicles: ways are not simplified", len(html))
	}
}

func TestWhatComesFromTheDataIsEscaped(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script><a href='javascript:x'>`
	p := page.New()
	r := fleet(t, p, 1, 500, func(int) string { return evil })
	r.Damaged, r.FirstDamaged = 1, []report.Damage{{Object: evil, Line: 1, Reason: evil}}
	count, text := elements(t, render(t, p, r))
	if count["script"] > 0 || !strings.Contains(text, evil) {
		t.Errorf("elements %v; want no script, and the name as text", count)
	}
}

func TestOnlyTheLongestWaysAreDrawn(t *testing.T) {
	t.Parallel()
	p := page.New()
	r := fleet(t, p, 53, 40, func(i int) string { return fmt.Sprintf("V%02d", i) })
	html := render(t, p, r)
	count, text := elements(t, html)
	if count["section"] != 2+50 || !strings.Contains(text, "3 more are not") {
		t.Errorf("%d sections, want 52", count["section"])
	}
	if strings.Contains(html, "<h2>V02</h2>") || !strings.Contains(html, "<h2>V03</h2>") {
		t.Error("not the shortest three are left out")
	}
}

func TestAPageOfLittle(t *testing.T) {
	t.Parallel()
	at := func(second int, lon, speed float64) report.TrackPoint {
		return report.TrackPoint{VIN: "A", Time: start.Add(time.Duration(second) * time.Second), Lon: lon, Lat: 0 * lon, Speed: speed, First: second == 0}
	}
	jump := at(2, 0.1, 50)
	jump.Jump = true
	nan := math.NaN()
	for name, points := range map[string][]report.TrackPoint{
		"nothing":                   nil,
		"one point":                 {at(0, 10, 0)},
		"no position":               {at(0, nan, 0), at(1, nan, 10)},
		"no speed":                  {at(0, 10, nan), at(1, 10.0001, nan)},
		"over the date line":        {at(0, 179.9999, 50), at(1, -179.9999, 50), at(2, -179.9998, 50)},
		"a jump away":               {at(0, 10, 50), at(1, 10.0001, 50), jump},
		"the same place and moment": {at(0, 10, 0), {VIN: "A", Time: start, Lon: 10, Speed: 0}},
		"fast":                      {at(0, 10, 999), at(1, 10.001, 999)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := page.New()
			for _, point := range points {
				if err := p.Add(point); err != nil {
					t.Fatal(err)
				}
			}
			r := report.New([]report.Vehicle{{VIN: "A", Records: len(points), MaxSpeed: nan}})
			if _, text := elements(t, render(t, p, r)); !strings.Contains(text, "Vehicles") {
				t.Error("there is no table")
			}
		})
	}
}

// Thousands of short pieces cannot be simplified each: what is held stays bounded all the same.
func TestAWayInManyPiecesStaysSmall(t *testing.T) {
	t.Parallel()
	p := page.New()
	for i := range 100_000 {
		at := report.TrackPoint{VIN: "A", Time: start.Add(time.Duration(i) * time.Second), Lon: float64(i%7) * 0.01, Lat: float64(i%11) * 0.01, Speed: 10, First: i == 0, Jump: i%2 == 0}
		if err := p.Add(at); err != nil {
			t.Fatal(err)
		}
	}
	html := render(t, p, report.New([]report.Vehicle{{VIN: "A", Records: 100_000, MaxSpeed: 10}}))
	if elements(t, html); len(html) > 300_000 {
		t.Errorf("%d bytes", len(html))
	}
}

type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestAPageThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	if err := page.New().Render(full{}, report.New(nil)); !errors.Is(err, errFull) {
		t.Errorf("error %v, want %v", err, errFull)
	}
}
