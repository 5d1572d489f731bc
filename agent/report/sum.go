package report

import (
	"cmp"
	"math"
	"slices"
	"time"

	"obdagent/agent/record"
)

// UnknownVIN stands where a record does not say of which vehicle it is.
const UnknownVIN = "unknown"

// A Report is what the objects say together.
type Report struct {
	// Vehicles, by VIN; records without one come last, as UnknownVIN.
	Vehicles []Vehicle
	// Total is over all vehicles. Its VIN is "".
	Total Vehicle

	// Objects read or tried, and the bytes read of them, as stored.
	Objects int
	Bytes   int64
	// Skipped objects are not among Objects.
	Skipped Skipped
	// Lines is Total.Records + Total.Duplicates + Damaged.
	Lines int
	// Damaged is the number of lines that could not be used; the first KeepDamaged are described.
	Damaged      int
	FirstDamaged []Damage
	// UnreadableCount is the number of objects, or gzip members within one, that could not be read to their end; the first
	// KeepDamaged are described.
	UnreadableCount int
	Unreadable      []Unreadable
	// NoIDs says that the fields have no record_id: nothing could be recognised as a duplicate.
	NoIDs bool
}

// A Vehicle is the sum of one VIN's records.
type Vehicle struct {
	VIN string
	// Records, each counted once.
	Records int
	// MaxSpeed is in km/h; NaN if no record has a speed.
	MaxSpeed float64
	// Distance is in km: the great-circle distances between positions that follow one another in time, without those of
	// Jumps. A record without a position breaks the chain; records without a time are not in it.
	Distance float64
	// Jumps are steps from one position to the next that would have needed more than 250 km/h.
	Jumps int
	// First and Last are the earliest and the latest time of a record; zero if none has one.
	First, Last time.Time
	// Duplicates are lines whose record had been read before.
	Duplicates int
	// Undated records have no time.
	Undated int
}

// Skipped counts the objects that were left out.
type Skipped struct {
	// ErrorPrefix: in a folder in which Firehose keeps what it could not deliver.
	ErrorPrefix int
	// Temporary: hidden, or still being written.
	Temporary int
}

// Damage is a line that could not be used.
type Damage struct {
	Object string
	Line   int // from 1, in the unpacked object
	Reason string
}

// Unreadable is an object, or a gzip member of it, that could not be read to its end.
type Unreadable struct {
	Object string
	Reason string
}

// vehicle is a Vehicle in the making.
type vehicle struct {
	Vehicle
	track []point
}

// A point is where a vehicle was. It is kept small, because there is one for each record until the end.
type point struct {
	ms       int64 // Unix time
	lon, lat int32 // 1e-7 degrees (11 mm of latitude), the resolution of the wire; noPosition if unknown
}

const noPosition = math.MinInt32

func newVehicle(vin string) *vehicle {
	return &vehicle{Vehicle: Vehicle{VIN: vin, MaxSpeed: math.NaN()}}
}

// add counts a line that is whole.
func (r *reader) add(v values, raw []byte) {
	r.report.Lines++
	car := r.vehicles[string(v.vin)]
	if car == nil {
		car = newVehicle(string(v.vin))
		r.vehicles[car.VIN] = car
	}
	_, duplicate := r.seen[v.id]
	duplicate = duplicate && v.hasID
	if duplicate {
		car.Duplicates++
	} else {
		if v.hasID {
			r.seen[v.id] = struct{}{}
		}
		car.add(v)
	}
	if r.options.Each != nil {
		r.options.Each(Line{
			Object: r.key, Number: r.number, ID: v.id, Time: v.time, VIN: car.VIN,
			Lon: v.lon, Lat: v.lat, Speed: v.speed, Duplicate: duplicate, Raw: raw,
		})
	}
}

func (c *vehicle) add(v values) {
	c.Records++
	if !math.IsNaN(v.speed) && !(v.speed <= c.MaxSpeed) {
		c.MaxSpeed = v.speed
	}
	if v.time.IsZero() {
		c.Undated++
		return
	}
	c.span(v.time, v.time)
	p := point{ms: v.time.UnixMilli(), lon: noPosition, lat: noPosition}
	if !math.IsNaN(v.lon) {
		p.lon, p.lat = int32(math.Round(v.lon*1e7)), int32(math.Round(v.lat*1e7))
	}
	c.track = append(c.track, p)
}

// span widens First to Last so that it covers first to last, unless these are zero.
func (v *Vehicle) span(first, last time.Time) {
	if first.IsZero() {
		return
	}
	if v.First.IsZero() || first.Before(v.First) {
		v.First = first
	}
	if last.After(v.Last) {
		v.Last = last
	}
}

// finish measures the tracks and adds up.
func (r *reader) finish() {
	total := newVehicle("").Vehicle
	for _, car := range r.vehicles {
		car.measure()
		if car.VIN == "" {
			car.VIN = UnknownVIN
		}
		r.report.Vehicles = append(r.report.Vehicles, car.Vehicle)
	}
	slices.SortFunc(r.report.Vehicles, func(a, b Vehicle) int {
		if a, b := a.VIN == UnknownVIN, b.VIN == UnknownVIN; a != b {
			if a {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.VIN, b.VIN)
	})
	for _, v := range r.report.Vehicles { // in order, so that the sum of distances is the same each time
		total.Records += v.Records
		total.Duplicates += v.Duplicates
		total.Undated += v.Undated
		total.Jumps += v.Jumps
		total.Distance += v.Distance
		if !math.IsNaN(v.MaxSpeed) && !(v.MaxSpeed <= total.MaxSpeed) {
			total.MaxSpeed = v.MaxSpeed
		}
		total.span(v.First, v.Last)
	}
	r.report.Total = total
	r.report.NoIDs = r.options.Format != FormatJSON && !slices.Contains(r.layout.columns, columnID)
}

// maxPlausible is the speed, in km/h, above which a step between two positions is not believed. A road vehicle does not go
// that fast; a receiver that finds itself again after a tunnel does.
const maxPlausible = 250

// measure sums the distance of the track, which it sorts and then gives up.
func (c *vehicle) measure() {
	byTime := func(a, b point) int { return cmp.Compare(a.ms, b.ms) }
	if !slices.IsSortedFunc(c.track, byTime) {
		slices.SortStableFunc(c.track, byTime)
	}
	for i := 1; i < len(c.track); i++ {
		a, b := c.track[i-1], c.track[i]
		if a.lon == noPosition || b.lon == noPosition || a.lon == b.lon && a.lat == b.lat {
			continue
		}
		km := greatCircle(a, b)
		hours := float64(b.ms-a.ms) / float64(time.Hour/time.Millisecond)
		if km > maxPlausible*hours {
			c.Jumps++
			continue
		}
		c.Distance += km
	}
	c.track = nil
}

// greatCircle returns the distance of two points in km.
func greatCircle(a, b point) float64 {
	const unit = 1e-7 // degrees
	return record.Distance(float64(a.lat)*unit, float64(a.lon)*unit, float64(b.lat)*unit, float64(b.lon)*unit) / 1000
}
