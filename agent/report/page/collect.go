package page

import (
	"cmp"
	"math"
	"slices"
	"time"

	"obdagent/agent/report"
)

const (
	// mostDrawn is how many vehicles are drawn: those with the longest ways.
	mostDrawn = 50
	// A way is held as at most fullWay points, and drawn with at most drawnWay.
	fullWay  = 8192
	drawnWay = 1500
	// mostBuckets is how many pieces of time a chart is drawn of.
	mostBuckets = 800
	mostGaps    = 10
	binWidth    = 10 // km/h
	bins        = 21 // the last is open
)

// A vertex is a point of a way.
type vertex struct {
	lon, lat, kmh float64
	cut           bool // nothing leads here from the vertex before
}

// A bucket is the speed in a piece of time.
type bucket struct {
	min, max, sum float64
	n             int
}

// A gap is a time without records.
type gap struct{ from, to time.Time }

// A trace is what is drawn of a vehicle. Its size does not depend on how many points it has.
type trace struct {
	vin     string
	way     []vertex
	step    float64 // degrees of latitude within which way redraws the points
	first   time.Time
	last    time.Time
	width   time.Duration // of a bucket
	buckets []bucket
	bins    [bins]time.Duration // by speed
	gaps    []gap               // the longest

	kmh    float64 // of the last point
	broken bool    // the last point had no position
}

func newTrace(p report.TrackPoint) *trace {
	return &trace{vin: p.VIN, first: p.Time, last: p.Time, width: time.Second, kmh: math.NaN(), broken: true}
}

func (t *trace) add(p report.TrackPoint) {
	switch d := p.Time.Sub(t.last); {
	case p.AfterGap:
		t.gaps = append(t.gaps, gap{t.last, p.Time})
		slices.SortFunc(t.gaps, func(a, b gap) int { return cmp.Compare(b.to.Sub(b.from), a.to.Sub(a.from)) })
		t.gaps = t.gaps[:min(len(t.gaps), mostGaps)]
	case !p.First && !math.IsNaN(t.kmh):
		t.bins[min(int(t.kmh/binWidth), bins-1)] += d
	}
	t.last, t.kmh = p.Time, p.Speed
	if !math.IsNaN(p.Speed) {
		t.chart(p.Time, p.Speed)
	}
	if math.IsNaN(p.Lon) {
		t.broken = true
		return
	}
	v := vertex{lon: p.Lon, lat: p.Lat, kmh: p.Speed, cut: t.broken || p.AfterGap || p.Jump}
	if n := len(t.way); n > 0 && math.Abs(t.way[n-1].lon-v.lon) > 180 {
		v.cut = true // over the antimeridian
	}
	t.broken = false
	t.way = append(t.way, v)
	if len(t.way) >= fullWay {
		t.thin(fullWay / 2)
	}
}

// chart puts a speed into its bucket, and widens the buckets as time goes on.
func (t *trace) chart(at time.Time, kmh float64) {
	i := int(at.Sub(t.first) / t.width)
	for i >= mostBuckets {
		for j := range t.buckets {
			if j%2 == 0 {
				t.buckets[j/2] = t.buckets[j]
			} else {
				t.buckets[j/2] = t.buckets[j/2].with(t.buckets[j])
			}
		}
		t.buckets = t.buckets[:(len(t.buckets)+1)/2]
		t.width *= 2
		i = int(at.Sub(t.first) / t.width)
	}
	for len(t.buckets) <= i {
		t.buckets = append(t.buckets, bucket{})
	}
	t.buckets[i] = t.buckets[i].with(bucket{kmh, kmh, kmh, 1})
}

func (b bucket) with(c bucket) bucket {
	switch {
	case b.n == 0:
		return c
	case c.n == 0:
		return b
	}
	return bucket{min(b.min, c.min), max(b.max, c.max), b.sum + c.sum, b.n + c.n}
}

// thin leaves out what is not needed to redraw the way, ever more of it, until at most n points are left.
func (t *trace) thin(n int) {
	if t.step == 0 {
		t.step = 1e-6 // 0.1 m
	}
	for len(t.way) > n {
		before := len(t.way)
		t.way = simplify(t.way, t.step)
		t.step *= 2
		if len(t.way) > before*9/10 && t.step > 1e-3 {
			t.way = t.withoutShort(len(t.way) - n) // more pieces than points to draw: the short ones go
			return
		}
	}
}

// withoutShort leaves out pieces of one point, and then every second piece, until at least n points are gone.
func (t *trace) withoutShort(n int) (kept []vertex) {
	for longer := 1; ; longer *= 2 {
		kept = kept[:0]
		for piece := range pieces(t.way) {
			if len(piece) > longer {
				kept = append(kept, piece...)
			}
		}
		if len(t.way)-len(kept) >= n || longer > len(t.way) {
			return kept
		}
	}
}

// pieces are the parts of a way between its cuts.
func pieces(way []vertex) func(func([]vertex) bool) {
	return func(yield func([]vertex) bool) {
		begin := 0
		for i := 1; i <= len(way); i++ {
			if i == len(way) || way[i].cut {
				if !yield(way[begin:i]) {
					return
				}
				begin = i
			}
		}
	}
}

// simplify is the algorithm of Ramer, Douglas and Peucker on each piece.
func simplify(way []vertex, step float64) []vertex {
	kept := make([]vertex, 0, len(way)/2)
	for piece := range pieces(way) {
		keep := make([]bool, len(piece))
		keep[0], keep[len(piece)-1] = true, true
		type span struct{ a, b int }
		for todo := []span{{0, len(piece) - 1}}; len(todo) > 0; {
			s := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			far, at := step, -1
			for i := s.a + 1; i < s.b; i++ {
				if d := offset(piece[i], piece[s.a], piece[s.b]); d > far {
					far, at = d, i
				}
			}
			if at >= 0 {
				keep[at] = true
				todo = append(todo, span{s.a, at}, span{at, s.b})
			}
		}
		for i, v := range piece {
			if keep[i] {
				kept = append(kept, v)
			}
		}
	}
	return kept
}

// offset is how far p is from the line from a to b, in degrees of latitude.
func offset(p, a, b vertex) float64 {
	shrink := math.Cos(a.lat * math.Pi / 180)
	dx, dy := (b.lon-a.lon)*shrink, b.lat-a.lat
	px, py := (p.lon-a.lon)*shrink, p.lat-a.lat
	length := dx*dx + dy*dy
	along := 0.0
	if length > 0 {
		along = min(max((px*dx+py*dy)/length, 0), 1)
	}
	return math.Hypot(px-along*dx, py-along*dy)
}
