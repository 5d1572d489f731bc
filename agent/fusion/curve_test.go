package fusion_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"obdagent/agent/clock"
	"obdagent/agent/fusion"
	"obdagent/agent/record"
	"obdagent/obd"
)

// A point is a record that goes into a curve, and whether it is an edge.
type point struct {
	record.Record
	edge bool
}

// genDrive draws a drive: speed and course wander, positions come and go, flags and edges happen, intervals vary.
func genDrive(t *rapid.T) []point {
	n := rapid.IntRange(1, 700).Draw(t, "records")
	seed := rapid.Uint64().Draw(t, "seed")
	next := func() float64 { // splitmix64: quicker than one draw each, and shrinks with the seed
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return float64((z^z>>31)>>11) / (1 << 53)
	}
	rough := rapid.Float64Range(0, 1).Draw(t, "roughness")
	every := rapid.SampledFrom([]float64{0.1, 1, 7}).Draw(t, "interval")
	lat, lon := rapid.Float64Range(-80, 80).Draw(t, "lat"), rapid.Float64Range(-180, 180).Draw(t, "lon")
	dated := rapid.Bool().Draw(t, "dated")
	at, speed, course := 100.0, 0.0, 0.0
	var points []point
	var flags []string
	hasFix, hasSpeed := true, true
	for i := range n {
		at += every * (0.5 + next())
		speed = max(0, speed+(next()-0.45)*20*rough)
		course += (next() - 0.5) * rough
		lat = math.Mod(lat+speed/3.6*math.Cos(course)/111195, 90)
		lon += speed / 3.6 * math.Sin(course) / 111195 / max(0.05, math.Cos(lat*math.Pi/180))
		if lon > 180 {
			lon -= 360
		}
		if next() < 0.01 {
			hasFix = !hasFix
		}
		if next() < 0.01 {
			hasSpeed = !hasSpeed
		}
		if next() < 0.01 {
			flags = [][]string{nil, {record.FlagNoFix}, {record.FlagStaleOBD, record.FlagNoFix}}[int(3*next())]
		}
		p := point{edge: next() < 0.01}
		p.ID = uuid.UUID{0: 1, 14: byte(i >> 8), 15: byte(i)}
		p.MonoMS, p.Flags = int64(at*1000), flags
		if dated {
			p.Time, p.TimeSrc = midnight.Add(time.Duration(p.MonoMS)*time.Millisecond), clock.GNSS
		}
		if hasFix {
			p.Lat, p.Lon = record.Number(lat), record.Number(lon)
		}
		if hasSpeed {
			p.Speed, p.SpeedSrc = record.Number(speed), "obd"
		}
		points = append(points, p)
	}
	return points
}

// thin runs records through a curve. held is the most records that it held back, delay the longest time.
func thin(c *fusion.Curve, points []point) (kept []record.Record, held int) {
	for _, p := range points {
		kept = append(kept, c.Add(p.Record, p.edge)...)
		held = max(held, c.Held())
	}
	return append(kept, c.Flush()...), held
}

// sent is a record as its reader gets it.
func sent(t interface{ Fatal(...any) }, r record.Record) record.Record {
	got, err := record.Parse(r.AppendJSON(nil))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// redraw compares the drive with what a reader of the kept records draws: between two neighbours linearly by time.
// It is written apart from the curve, on purpose.
func redraw(points []point, kept []record.Record, positionM, speedKMH float64) error {
	k := 0
	for i, p := range points {
		for k+1 < len(kept) && kept[k+1].MonoMS <= p.MonoMS {
			k++
		}
		a := kept[k]
		if a.ID == p.ID {
			continue
		}
		if k+1 == len(kept) {
			return fmt.Errorf("record %d lies after the last one kept", i)
		}
		b := kept[k+1]
		share := float64(p.MonoMS-a.MonoMS) / float64(b.MonoMS-a.MonoMS)
		draw := func(of func(record.Record) record.Float) (want, got float64, present bool) {
			want, present = of(p.Record).Get()
			from, ok := of(a).Get()
			to, ok2 := of(b).Get()
			if present != ok || present != ok2 {
				return 0, math.Inf(1), true
			}
			return want, from + share*(to-from), present
		}
		lat, drawnLat, ok := draw(func(r record.Record) record.Float { return r.Lat })
		lon, drawnLon, _ := draw(func(r record.Record) record.Float { return r.Lon })
		// Flat is good enough for some metres.
		north, east := (lat-drawnLat)*111195.08, (lon-drawnLon)*111195.08*math.Cos(lat*math.Pi/180)
		if miss := math.Hypot(north, east); ok && !(miss <= positionM*(1+1e-6)) {
			return fmt.Errorf("record %d is redrawn %.3f m off, want at most %.3f", i, miss, positionM)
		}
		speed, drawn, ok := draw(func(r record.Record) record.Float { return r.Speed })
		if ok && !(math.Abs(speed-drawn) <= speedKMH*(1+1e-9)) {
			return fmt.Errorf("record %d is redrawn %.3f km/h off, want at most %.3f", i, math.Abs(speed-drawn), speedKMH)
		}
	}
	return nil
}

func TestADriveIsRedrawnFromTheKeptRecordsWithinTheTolerance(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		points := genDrive(t)
		positionM := rapid.Float64Range(0.1, 50).Draw(t, "position_m")
		speedKMH := rapid.Float64Range(0.2, 20).Draw(t, "speed_kmh")
		c := fusion.NewCurve(positionM, speedKMH)
		kept, held := thin(c, points)
		if held > 300 {
			t.Fatalf("%d records are held back", held)
		}
		if uint64(len(points)-len(kept)) != c.LeftOut() {
			t.Fatalf("%d of %d kept, but %d are said to be left out", len(kept), len(points), c.LeftOut())
		}
		// In order, each once, and nothing that did not go in.
		next := 0
		wire := make([]record.Record, len(kept))
		for i, r := range kept {
			at := slices.IndexFunc(points[next:], func(p point) bool { return p.ID == r.ID })
			if at < 0 {
				t.Fatalf("kept record %d is out of order or a stranger", i)
			}
			next += at + 1
			wire[i] = sent(t, r)
		}
		if err := redraw(points, wire, positionM, speedKMH); err != nil {
			t.Fatal(err)
		}
		is := map[uuid.UUID]bool{}
		for _, r := range kept {
			is[r.ID] = true
		}
		for i, p := range points {
			if p.edge && !is[p.ID] {
				t.Fatalf("edge %d is not kept", i)
			}
			if i > 0 && !slices.Equal(p.Flags, points[i-1].Flags) && !(is[p.ID] && is[points[i-1].ID]) {
				t.Fatalf("the change of flags at %d is not kept on both sides", i)
			}
		}
	})
}

// straight is a drive along a meridian at a constant speed.
func straight(n int, every time.Duration) []point {
	points := make([]point, n)
	for i := range points {
		at := time.Duration(i) * every
		points[i].ID = uuid.UUID{0: 1, 14: byte(i >> 8), 15: byte(i)}
		points[i].MonoMS, points[i].Time, points[i].TimeSrc = at.Milliseconds(), midnight.Add(at), clock.GNSS
		points[i].Lat, points[i].Lon = record.Number(48+at.Seconds()*1e-4), record.Number(11)
		points[i].Speed, points[i].SpeedSrc = record.Number(40), "obd"
	}
	return points
}

func TestAStraightDriveIsOneRecordAMinute(t *testing.T) {
	t.Parallel()
	kept, held := thin(fusion.NewCurve(5, 3), straight(601, time.Second))
	if len(kept) != 11 || held != 59 {
		t.Errorf("%d records of ten minutes, %d held back; want 11, 59", len(kept), held)
	}
}

func TestAParkedVansRecordsPassAtOnce(t *testing.T) {
	t.Parallel()
	c := fusion.NewCurve(5, 3)
	for i, p := range straight(10, time.Minute) {
		if got := c.Add(p.Record, false); len(got) != 1 || got[0].ID != p.ID {
			t.Errorf("record %d is held back", i)
		}
	}
}

func TestAnEdgeIsKeptAndDecidesOnAllBeforeIt(t *testing.T) {
	t.Parallel()
	c := fusion.NewCurve(5, 3)
	points := straight(20, time.Second)
	points[9].edge = true
	for i, p := range points[:10] {
		got := c.Add(p.Record, p.edge)
		if want := map[int]int{0: 1, 9: 1}[i]; len(got) != want {
			t.Errorf("record %d gives %d, want %d", i, len(got), want)
		}
	}
	if c.Held() != 0 {
		t.Errorf("%d records are held back after an edge", c.Held())
	}
}

func TestTheCurveOfATripIsAFractionOfIt(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	pairing{lag: 0, carEvery: 100 * time.Millisecond, gpsEvery: time.Second, ratio: 1, seed: 4}.run(d, 0, 20*time.Minute)
	var points []point
	for _, r := range d.records {
		points = append(points, point{Record: r})
	}
	kept, _ := thin(fusion.NewCurve(5, 3), points)
	// 1 Hz records of recorded drives: 16 % are left on a motorway, 23 % in a town.
	if share := float64(len(kept)) / float64(len(points)); share > 0.35 || share < 0.05 {
		t.Errorf("%d of %d records are kept", len(kept), len(points))
	}
}

func TestTheFuserSaysWhatIsAnEdge(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	var edges []int64
	seen := 0
	note := func() {
		if len(d.records) > seen && d.Edge() {
			edges = append(edges, d.records[len(d.records)-1].MonoMS)
		}
		seen = len(d.records)
	}
	d.car(0, obd.StateLive)
	note()
	for s := time.Second; s < 10*time.Second; s += time.Second {
		d.speed(s-500*time.Millisecond, map[bool]float64{true: 30}[s > 3*time.Second && s < 7*time.Second])
		note()
		d.epoch(s, 0, 30, nil)
		note()
	}
	if want := []int64{0, 3500, 6500}; !slices.Equal(edges, want) {
		t.Errorf("edges at %v ms, want %v", edges, want)
	}
}

// BenchmarkCurve is a record through the curve.
func BenchmarkCurve(b *testing.B) {
	d := newDrive(nil)
	pairing{lag: 0, carEvery: 100 * time.Millisecond, gpsEvery: time.Second, ratio: 1, seed: 4}.run(d, 0, 20*time.Minute)
	c := fusion.NewCurve(5, 3)
	var kept, n int
	b.ReportAllocs()
	for b.Loop() {
		kept += len(c.Add(d.records[n%len(d.records)], false))
		n++
	}
	b.ReportMetric(100*float64(kept)/float64(n), "%kept")
}
