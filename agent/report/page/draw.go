package page

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"obdagent/agent/report"
)

const (
	mapWidth, mapHeight     = 960.0, 520.0
	mapMargin               = 28.0
	chartWidth, chartHeight = 960.0, 220.0
	chartLeft, chartBottom  = 44.0, 26.0
	chartTop, chartRight    = 10.0, 10.0
	histWidth, histHeight   = 460.0, 200.0
	colourCount             = 12
)

type (
	mapView struct {
		Width, Height float64
		Lines         []line // of latitude and longitude
		Ways          []way
		Dots          []dot
		Scale         scale
	}
	line struct {
		X1, Y1, X2, Y2 float64
		Label          string
		X, Y           float64
		Anchor         string
	}
	way struct{ Class, Path string }
	dot struct {
		X, Y  float64
		Class string
		Title string
	}
	scale struct {
		X, Y, Width float64
		Label       string
	}
	chartView struct {
		Width, Height float64
		Lines         []line
		Band, Mean    string
		Gaps          []box
	}
	box           struct{ X, Y, Width, Height float64 }
	histogramView struct {
		Width, Height float64
		Bars          []bar
		Lines         []line
	}
	bar struct {
		box
		Label, Title string
	}
)

// A projection is the equirectangular one, true to scale at its middle latitude.
type projection struct {
	lon, lat, shrink, scale float64
	x, y                    float64
}

func round1(x float64) float64 { return math.Round(x*10) / 10 }

func (p projection) point(lon, lat float64) (x, y float64) {
	return round1(p.x + (lon-p.lon)*p.shrink*p.scale), round1(p.y - (lat-p.lat)*p.scale)
}

// project fits all ways into the map, or says that there is nothing to fit.
func project(traces []*trace) (p projection, ok bool) {
	west, east, south, north := 180.0, -180.0, 90.0, -90.0
	see := func(lonely bool) {
		for _, t := range traces {
			for piece := range pieces(t.way) {
				if len(piece) == 1 && !lonely {
					continue // a position between two jumps would make the map of a town one of a continent
				}
				for _, v := range piece {
					west, east, south, north = min(west, v.lon), max(east, v.lon), min(south, v.lat), max(north, v.lat)
				}
			}
		}
	}
	if see(false); west > east {
		see(true)
	}
	if west > east {
		return p, false
	}
	p = projection{lon: (west + east) / 2, lat: (south + north) / 2, x: mapWidth / 2, y: mapHeight / 2}
	p.shrink = max(math.Cos(p.lat*math.Pi/180), 0.01)
	const least = 0.002 // degrees, 220 m: a vehicle that stood is not blown up to the receiver's noise
	p.scale = min((mapWidth-2*mapMargin)/max((east-west)*p.shrink, least), (mapHeight-2*mapMargin)/max(north-south, least))
	return p, true
}

// frame draws what every map has: a grid, a scale.
func (p projection) frame() *mapView {
	m := &mapView{Width: mapWidth, Height: mapHeight}
	step := niceStep(110 / p.scale)
	decimals := max(0, int(math.Ceil(-math.Log10(step)-1e-9)))
	label := func(x float64, positive, negative string) string {
		side := positive
		if x < 0 {
			side = negative
		}
		return strconv.FormatFloat(math.Abs(x), 'f', decimals, 64) + "°" + side
	}
	for i := math.Ceil((p.lon - mapWidth/2/p.scale/p.shrink) / step / 2); ; i++ {
		lon := i * step * 2
		x, _ := p.point(lon, p.lat)
		if x > mapWidth {
			break
		}
		m.Lines = append(m.Lines, line{X1: x, X2: x, Y2: mapHeight, Label: label(lon, "E", "W"), X: x + 4, Y: mapHeight - 6})
	}
	for i := math.Ceil((p.lat - mapHeight/2/p.scale) / step); ; i++ {
		lat := i * step
		_, y := p.point(p.lon, lat)
		if y < 0 {
			break
		}
		m.Lines = append(m.Lines, line{Y1: y, Y2: y, X2: mapWidth, Label: label(lat, "N", "S"), X: 6, Y: y - 4})
	}
	const metres = 111_195 // a degree of latitude
	length := niceStep(120 / p.scale * metres)
	m.Scale = scale{X: mapWidth - mapMargin - round1(length/metres*p.scale), Y: mapMargin, Width: round1(length / metres * p.scale)}
	if length >= 1000 {
		m.Scale.Label = strconv.FormatFloat(length/1000, 'f', -1, 64) + " km"
	} else {
		m.Scale.Label = strconv.FormatFloat(length, 'f', -1, 64) + " m"
	}
	return m
}

// niceStep is the least of 1, 2 or 5 times a power of ten that is not below x.
func niceStep(x float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, f := range []float64{1, 2, 5} {
		if f*power >= x {
			return f * power
		}
	}
	return 10 * power
}

// fleetMap has the ways of all, each vehicle in a colour.
func fleetMap(traces []*trace, colours map[string]string) *mapView {
	p, ok := project(traces)
	if !ok {
		return nil
	}
	m := p.frame()
	for _, t := range traces {
		var b strings.Builder
		for piece := range pieces(t.way) {
			draw(&b, p, piece)
		}
		m.Ways = append(m.Ways, way{colours[t.vin], b.String()})
	}
	return m
}

// draw appends a piece as a path; a piece of one point is a dot, by the round ends of lines.
func draw(b *strings.Builder, p projection, piece []vertex) {
	for i, v := range piece {
		x, y := p.point(v.lon, v.lat)
		command := "L"
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(b, "%s%v %v", command, x, y)
		if len(piece) == 1 {
			b.WriteString("h0")
		}
	}
}

// The classes of speed that a way is coloured by, km/h.
var classEnds = []float64{10, 30, 50, 80, 120}

func speedClasses() (all []class) {
	from := 0.0
	for i, to := range classEnds {
		all = append(all, class{"s" + strconv.Itoa(i), fmt.Sprintf("%v–%v", from, to)})
		from = to
	}
	return append(all, class{"s" + strconv.Itoa(len(classEnds)), fmt.Sprintf("over %v km/h", from)})
}

func classOf(kmh float64) string {
	if math.IsNaN(kmh) {
		return "sx"
	}
	for i, end := range classEnds {
		if kmh < end {
			return "s" + strconv.Itoa(i)
		}
	}
	return "s" + strconv.Itoa(len(classEnds))
}

// carMap has one vehicle's way, coloured by its speed, its begin and its end.
func carMap(t *trace) *mapView {
	p, ok := project([]*trace{t})
	if !ok {
		return nil
	}
	m := p.frame()
	var b strings.Builder
	class := ""
	flush := func() {
		if b.Len() > 0 {
			m.Ways = append(m.Ways, way{class, b.String()})
			b.Reset()
		}
	}
	for piece := range pieces(t.way) {
		if len(piece) == 1 {
			flush()
			class = classOf(piece[0].kmh)
			draw(&b, p, piece)
			flush()
			continue
		}
		for i := 1; i < len(piece); i++ {
			a, v := piece[i-1], piece[i]
			if c := classOf((a.kmh + v.kmh) / 2); c != class || i == 1 {
				flush()
				class = c
				x, y := p.point(a.lon, a.lat)
				fmt.Fprintf(&b, "M%v %v", x, y)
			}
			x, y := p.point(v.lon, v.lat)
			fmt.Fprintf(&b, "L%v %v", x, y)
		}
		flush()
	}
	first, last := t.way[0], t.way[len(t.way)-1]
	for _, end := range []struct {
		v            vertex
		class, title string
	}{{first, "begin", "begin, " + moment(t.first)}, {last, "end", "end, " + moment(t.last)}} {
		x, y := p.point(end.v.lon, end.v.lat)
		m.Dots = append(m.Dots, dot{x, y, end.class, end.title})
	}
	return m
}

// speedChart has the speed over time: the mean, and the band from the least to the greatest.
func speedChart(t *trace) *chartView {
	if len(t.buckets) == 0 {
		return nil
	}
	c := &chartView{Width: chartWidth, Height: chartHeight}
	span := max(t.last.Sub(t.first), time.Second)
	top := 0.0
	for _, b := range t.buckets {
		top = max(top, b.max)
	}
	step := max(niceStep(top/5), 1)
	top = max(math.Ceil(top/step)*step, step)
	const inner = chartWidth - chartLeft - chartRight
	x := func(d time.Duration) float64 { return round1(chartLeft + inner*d.Seconds()/span.Seconds()) }
	y := func(kmh float64) float64 {
		return round1(chartTop + (chartHeight-chartTop-chartBottom)*(1-kmh/top))
	}
	for kmh := 0.0; kmh <= top; kmh += step {
		c.Lines = append(c.Lines, line{X1: chartLeft, X2: chartWidth - chartRight, Y1: y(kmh), Y2: y(kmh), Label: strconv.FormatFloat(kmh, 'f', -1, 64), X: chartLeft - 6, Y: y(kmh) + 4, Anchor: "end"})
	}
	every, layout := timeStep(span)
	for at := t.first.Truncate(every).Add(every); !at.After(t.last); at = at.Add(every) {
		d := x(at.Sub(t.first))
		c.Lines = append(c.Lines, line{X1: d, X2: d, Y1: chartTop, Y2: y(0), Label: at.Format(layout), X: d, Y: chartHeight - 8, Anchor: "middle"})
	}
	for _, g := range t.gaps {
		left := x(g.from.Sub(t.first))
		c.Gaps = append(c.Gaps, box{left, chartTop, max(x(g.to.Sub(t.first))-left, 1), y(0) - chartTop})
	}
	// Pieces of time without a speed break the line where they are longer than standing vehicles are silent.
	patience := max(1, int(90*time.Second/t.width))
	var mean, up, down strings.Builder
	var band strings.Builder
	endBand := func() {
		if up.Len() > 0 {
			band.WriteString("M" + up.String()[1:] + down.String() + "Z")
		}
		up.Reset()
		down.Reset()
	}
	last := -1
	for i, b := range t.buckets {
		if b.n == 0 {
			continue
		}
		at := x(min(time.Duration(i)*t.width, span))
		command := "L"
		if last < 0 || i-last > patience {
			endBand()
			command = "M"
		}
		last = i
		fmt.Fprintf(&mean, "%s%v %v", command, at, y(b.sum/float64(b.n)))
		fmt.Fprintf(&up, "L%v %v", at, y(b.max))
		lower := fmt.Sprintf("L%v %v", at, y(b.min)) + down.String()
		down.Reset()
		down.WriteString(lower)
	}
	endBand()
	c.Mean, c.Band = mean.String(), band.String()
	return c
}

// timeStep is how far apart times are written, and how.
func timeStep(span time.Duration) (time.Duration, string) {
	const day = 24 * time.Hour
	for _, s := range []struct {
		step   time.Duration
		layout string
	}{
		{5 * time.Second, "15:04:05"}, {15 * time.Second, "15:04:05"}, {time.Minute, "15:04"}, {5 * time.Minute, "15:04"}, {15 * time.Minute, "15:04"},
		{time.Hour, "15:04"}, {3 * time.Hour, "2 Jan 15:04"}, {6 * time.Hour, "2 Jan 15:04"}, {12 * time.Hour, "2 Jan 15:04"},
		{day, "2 Jan"}, {7 * day, "2 Jan"}, {30 * day, "2 Jan 2006"},
	} {
		if span/s.step <= 11 {
			return s.step, s.layout
		}
	}
	return (span / 8).Truncate(day), "2 Jan 2006"
}

// speedHistogram has the share of time at each speed.
func speedHistogram(t *trace) *histogramView {
	var all, most time.Duration
	last := 0
	for i, d := range t.bins {
		all += d
		most = max(most, d)
		if d > 0 {
			last = i
		}
	}
	if all == 0 {
		return nil
	}
	h := &histogramView{Width: histWidth, Height: histHeight}
	top := float64(most) / float64(all)
	step := max(niceStep(top/4), 0.01)
	top = math.Ceil(top/step) * step
	y := func(share float64) float64 {
		return round1(chartTop + (histHeight-chartTop-chartBottom)*(1-share/top))
	}
	for share := 0.0; share <= top+step/2; share += step {
		h.Lines = append(h.Lines, line{X1: chartLeft, X2: histWidth - chartRight, Y1: y(share), Y2: y(share), Label: strconv.FormatFloat(share*100, 'f', 0, 64) + " %", X: chartLeft - 6, Y: y(share) + 4, Anchor: "end"})
	}
	shown := max(last+1, 5)
	width := (histWidth - chartLeft - chartRight) / float64(shown)
	for i := range shown {
		b := bar{box: box{round1(chartLeft + float64(i)*width + 1), y(float64(t.bins[i]) / float64(all)), round1(width - 2), 0}}
		b.Height = round1(y(0) - b.Y)
		name := fmt.Sprintf("%d–%d km/h", i*binWidth, (i+1)*binWidth)
		if i == bins-1 {
			name = fmt.Sprintf("over %d km/h", i*binWidth)
		}
		b.Title = name + ": " + report.Clock(t.bins[i]) + ", " + number(100*float64(t.bins[i])/float64(all), 1) + " %"
		if every := (shown + 9) / 10; i%every == 0 {
			b.Label = strconv.Itoa(i * binWidth)
		}
		h.Bars = append(h.Bars, b)
	}
	return h
}
