package fusion

import (
	"math"
	"slices"
	"strconv"
	"time"

	"obdagent/agent/record"
)

const (
	// curveWindow is the longest time that a Curve holds records back. It is the default of uplink.linger: waiting for company
	// takes as long anyhow.
	curveWindow = time.Minute
	// curveRecords bounds the memory, and with it the work of one simplification: at 10 records a second half a minute.
	curveRecords = 300
)

// A Curve keeps of a sequence of records only those that are needed to redraw the drive: position and speed of every record
// left out lie within the tolerances of what is interpolated, linearly by time, between the records kept around it.
//
// It is the algorithm of Ramer (1972) and Douglas and Peucker (1973) with the distance taken to the point of the same time,
// not to the nearest point of the line (Meratnia and de By, 2004), over a window of at most a minute and 300 records.
// The bound holds for what readers get: tolerances are measured against the kept records in the decimals of the wire.
//
// Always kept are edges and the records on both sides of a gap: where a position or a speed comes or goes, where a flag, the
// source of speed or time, the VIN or a trouble code changes. Other fields, such as rpm, are kept only as far as their record is.
//
// The zero Curve is not usable: make one with NewCurve. It is not safe for concurrent use.
type Curve struct {
	positionM, speedKMH float64

	anchor  record.Record // the last record given out; valid if has
	has     bool
	pending []record.Record // since then
	keep    []bool          // of pending, while it is simplified
	stack   [][2]int        // spans still to be looked at
	left    uint64
}

// NewCurve returns a Curve with the tolerances, both above 0.
func NewCurve(positionM, speedKMH float64) *Curve {
	return &Curve{positionM: positionM, speedKMH: speedKMH}
}

// Add takes the next record and returns those that are decided to be kept, in order. The slice is valid until the next call.
// An edge (a start, a stop, a change of the ignition) is kept, and with it all that is still undecided is decided.
func (c *Curve) Add(r record.Record, edge bool) []record.Record {
	var out []record.Record
	if c.has && !c.continues(r) {
		out = c.Flush()
		c.has = false
	}
	if !c.has {
		c.anchor, c.has = r, true
		return append(out, r)
	}
	c.pending = append(c.pending, r)
	switch {
	case edge:
		return append(out, c.Flush()...)
	case moment(r)-moment(c.anchor) >= curveWindow || len(c.pending) >= curveRecords:
		return append(out, c.decide()...)
	}
	return out
}

// Flush decides on all records that are held back and returns those kept; the last one always is.
func (c *Curve) Flush() []record.Record {
	if len(c.pending) == 0 {
		return nil
	}
	c.simplify()
	return c.emit(len(c.pending))
}

// Held is the number of records that are not yet decided on, LeftOut of those that were left out.
func (c *Curve) Held() int { return len(c.pending) }

// LeftOut is the number of records that were left out so far.
func (c *Curve) LeftOut() uint64 { return c.left }

// decide gives out the records up to the last one kept between the ends, so that the rest can be simplified together with
// what follows; where one line is enough for all, it ends here.
func (c *Curve) decide() []record.Record {
	c.simplify()
	last := len(c.pending) - 1
	for i := last - 1; i >= 0; i-- {
		if c.keep[i] {
			return c.emit(i + 1)
		}
	}
	return c.emit(last + 1)
}

// emit gives out what is kept of the first n pending records, the last of which is.
func (c *Curve) emit(n int) []record.Record {
	var out []record.Record
	for i, r := range c.pending[:n] {
		if c.keep[i] {
			out = append(out, r)
		}
	}
	c.left += uint64(n - len(out))
	c.anchor = c.pending[n-1]
	rest := copy(c.pending, c.pending[n:])
	clear(c.pending[rest:])
	c.pending = c.pending[:rest]
	return out
}

// simplify marks what must be kept of anchor and pending. Spans are in numbers of pending; -1 is the anchor.
func (c *Curve) simplify() {
	c.keep = slices.Grow(c.keep[:0], len(c.pending))[:len(c.pending)]
	clear(c.keep)
	last := len(c.pending) - 1
	c.keep[last] = true
	c.stack = append(c.stack[:0], [2]int{-1, last})
	for len(c.stack) > 0 {
		span := c.stack[len(c.stack)-1]
		c.stack = c.stack[:len(c.stack)-1]
		from, to := newKnot(c.at(span[0])), newKnot(c.at(span[1]))
		worst, worstAt := 1.0, -1
		for i := span[0] + 1; i < span[1]; i++ {
			if e := c.miss(from, to, &c.pending[i]); e > worst {
				worst, worstAt = e, i
			}
		}
		if worstAt >= 0 {
			c.keep[worstAt] = true
			c.stack = append(c.stack, [2]int{span[0], worstAt}, [2]int{worstAt, span[1]})
		}
	}
}

func (c *Curve) at(i int) *record.Record {
	if i < 0 {
		return &c.anchor
	}
	return &c.pending[i]
}

// A knot is a kept record as readers see it, in the decimals of the wire.
type knot struct {
	at              time.Duration
	lat, lon, speed float64 // NaN: absent
}

func newKnot(r *record.Record) knot {
	var text [32]byte
	written := func(v record.Float, decimals int) float64 {
		x, ok := v.Get()
		if !ok {
			return math.NaN()
		}
		// Not by arithmetic: 24.95 is written 24.9, as it is a bit less in binary.
		x, err := strconv.ParseFloat(string(strconv.AppendFloat(text[:0], x, 'f', decimals, 64)), 64)
		if err != nil { // what AppendFloat wrote always parses
			panic(err)
		}
		return x
	}
	return knot{moment(*r), written(r.Lat, 7), written(r.Lon, 7), written(r.Speed, 1)}
}

// miss is how far a record lies from what is interpolated between two knots, as a multiple of the tolerance.
func (c *Curve) miss(a, b knot, r *record.Record) float64 {
	share := float64(moment(*r)-a.at) / float64(b.at-a.at)
	// The conversions keep the compiler from fusing multiplication and addition: every machine keeps the same records.
	mix := func(x, y float64) float64 { return x + float64(share*(y-x)) }
	miss := 0.0
	if lat, ok := r.Lat.Get(); ok {
		lon, _ := r.Lon.Get()
		miss = record.Distance(lat, lon, mix(a.lat, b.lat), mix(a.lon, b.lon)) / c.positionM
	}
	if speed, ok := r.Speed.Get(); ok {
		miss = max(miss, math.Abs(speed-mix(a.speed, b.speed))/c.speedKMH)
	}
	return miss
}

// continues reports whether a record can lie on one line with those before it.
func (c *Curve) continues(r record.Record) bool {
	p := &c.anchor
	if n := len(c.pending); n > 0 {
		p = &c.pending[n-1]
	}
	lon, _ := r.Lon.Get()
	before, _ := p.Lon.Get()
	return moment(r) > moment(*p) && traitsOf(r) == traitsOf(*p) &&
		slices.Equal(r.Flags, p.Flags) && slices.Equal(r.DTCs, p.DTCs) && len(r.Lost) == 0 &&
		math.Abs(lon-before) < 180 // not over the date line, where a reader's interpolation would go around the world
}

// traits are what must be the same in all records of a line.
type traits struct {
	vin, vinSrc, speedSrc, bootID string
	timeSrc                       string
	dated, position, speed        bool
	mil                           record.Opt[bool]
	dtcs                          record.Float
}

func traitsOf(r record.Record) traits {
	return traits{
		vin: r.VIN, vinSrc: r.VINSrc, speedSrc: r.SpeedSrc, bootID: r.BootID, timeSrc: string(r.TimeSrc),
		dated: !r.Time.IsZero(), position: r.Lat.IsSet() && r.Lon.IsSet(), speed: r.Speed.IsSet(),
		mil: r.MIL, dtcs: r.DTCCount,
	}
}

// moment is when a record is of, as its reader knows: by its timestamp, else since the boot; in the milliseconds of the wire.
func moment(r record.Record) time.Duration {
	if r.Time.IsZero() {
		return time.Duration(r.MonoMS) * time.Millisecond
	}
	return time.Duration(r.Time.Round(time.Millisecond).UnixNano())
}
