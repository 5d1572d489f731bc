package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"obdagent/agent/report"
)

// generatedFields are the columns of what generate writes.
const generatedFields = "record_id,timestamp,vin,lon,lat,speed,co2,fuel_rate"

// generate writes what a fleet delivers, with all that goes wrong: n records of a few vehicles that drive, stand, fall silent and
// lose their fix; records without a time, a VIN, a speed; jumps of the position; copies that are delivered again, some with the
// time that was learned since; late ones; gzip beside plain; rubbish.
func generate(t *testing.T, dir string, random *rand.Rand, n int) {
	t.Helper()
	const vehicles, perObject = 12, 20_000
	g := generator{random: random}
	for v := range vehicles {
		car := car{vin: fmt.Sprintf("WVWZZZ1JZXW%06d", v), lon: random.Int64N(1_700_000_000), lat: random.Int64N(600_000_000)}
		if v == 0 {
			car.vin = "NaN"
		}
		car.at = time.Date(2026, 11, 20+v%5, 22, 30, v, 0, time.UTC).UnixMilli()
		g.cars = append(g.cars, car)
	}
	for object := 0; n > 0; object++ {
		var lines bytes.Buffer
		for range min(n, perObject) {
			g.record(&lines)
		}
		n -= perObject
		name := filepath.Join(dir, fmt.Sprintf("2026/11/%02d/gps-delivery-stream-1-%04d", 20+object%9, object))
		text := lines.String()
		if object%3 == 1 {
			name, text = name+".gz", zip(t, text)
		}
		writeFile(t, name, text)
	}
}

func zip(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

type generator struct {
	random *rand.Rand
	cars   []car
	ids    uint64
	old    []string // lines to deliver again
}

// A car is where one is, and how fast.
type car struct {
	vin      string
	lon, lat int64 // 1e-7 degrees
	at       int64 // ms
	speed    int   // 0.1 km/h
	standing int   // records to go
}

// chance is true once in n times.
func (g *generator) chance(n int) bool { return g.random.IntN(n) == 0 }

func (g *generator) record(out *bytes.Buffer) {
	c := &g.cars[g.random.IntN(len(g.cars))]
	step := int64(1000)
	switch {
	case c.standing > 0:
		c.standing--
		step, c.speed = 60_000, g.random.IntN(40)
	case g.chance(200):
		c.standing = g.random.IntN(30)
	case g.chance(300):
		step = g.random.Int64N(600_000) // silence: a gap, or almost one
	case g.chance(500):
		step = 0 // twice in the same moment
	default:
		c.speed = min(max(c.speed+g.random.IntN(61)-30, 0), 1400)
	}
	c.at += step
	move := int64(float64(c.speed) * float64(min(step, 1000)) * 0.0025) // 10 km/h are 25 units of latitude in 0.1 s
	c.lon += g.random.Int64N(2*move+1) - move
	c.lat += g.random.Int64N(2*move + 1)
	if c.lat > 850_000_000 {
		c.lat -= 1_200_000_000
	}
	lon, lat := c.lon, c.lat
	if g.chance(1000) {
		lon += 500_000 // 3.5 km at 50 degrees
	}

	g.ids++
	field := func(known string, missing int) string {
		if g.chance(missing) {
			return "NaN"
		}
		return known
	}
	id := fmt.Sprintf("939ed1d1-1740-820c-8906-%012x", g.ids*0x9E3779B1%(1<<47))
	at := time.UnixMilli(c.at).UTC().Format(report.TimeLayout)
	position := fmt.Sprintf("%.7f %.7f", float64(lon)/1e7, float64(lat)/1e7)
	where := position
	if g.chance(50) {
		where = "NaN NaN"
	}
	rest := fmt.Sprintf(" %s %s %s %s %s\n", c.vin, where, field(fmt.Sprintf("%.1f", float64(c.speed)/10), 40),
		field(fmt.Sprintf("%.3f", float64(c.speed)/300), 5), field(fmt.Sprintf("%.2f", float64(c.speed)/90), 10))
	line := id + " " + field(at, 400) + rest
	out.WriteString(line)
	switch {
	case g.chance(30):
		g.old = append(g.old, line)
	case g.chance(2000):
		g.old = append(g.old, id+" "+time.UnixMilli(c.at+500).UTC().Format(report.TimeLayout)+rest)
	case g.chance(5000):
		out.WriteString("rubbish " + id + "\n")
	case g.chance(5000):
		out.WriteString(id + " " + at + " " + c.vin + " " + position + " fast NaN NaN\n")
	}
	if len(g.old) > 0 && g.chance(25) {
		i := g.random.IntN(len(g.old))
		out.WriteString(g.old[i])
	}
}
