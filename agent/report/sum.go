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
	// Lines is Total.Records + Total.Duplicates + Damaged + Filtered.
	Lines int
	// Filtered is the number of lines that Options.VINs, From and To left out; FilteredUndated of them only because they have no
	// time.
	Filtered, FilteredUndated int
	// Damaged is the number of lines that could not be used; the first KeepDamaged are described.
	Damaged      int
	FirstDamaged []Damage
	// UnreadableCount is the number of objects, or gzip members within one, that could not be read to their end; the first
	// KeepDamaged are described.
	UnreadableCount int
	Unreadable      []Unreadable
	// NoIDs says that the fields have no record_id: nothing could be recognised as a duplicate.
	NoIDs bool
	// Gap is what Options.Gap was.
	Gap time.Duration
	// Elsewhere says that the vehicles were summed up elsewhere: nothing is known of objects and of lines that do not count.
	Elsewhere bool
}

// A Vehicle is the sum of one VIN's records. Sums are in whole units: they come out the same in any order and on any machine.
//
// The time from First to Last is cut at each record into pieces that last until the next one. A piece longer than Options.Gap is
// a gap. Any other is of the speed of its first record: Moving from 3 km/h, Idle below, Blind if that record has none.
type Vehicle struct {
	VIN string
	// Records, each counted once.
	Records int
	// Duplicates are lines whose record counts already.
	Duplicates int
	// Undated records have no time. They are in Records and MaxSpeed only.
	Undated int
	// First and Last are the earliest and the latest time of a record; zero if none has one.
	First, Last time.Time
	// MaxSpeed is in km/h, to 0.001; NaN if no record has a speed.
	MaxSpeed float64
	// Millimetres is the distance: the great-circle distances between positions that follow one another in time, each rounded to
	// 1 mm, without those of Jumps. A record without a position breaks the chain.
	Millimetres int64
	// Jumps are steps from one position to the next that would have needed more than 250 km/h.
	Jumps int
	// SpeedMillimetres is the distance by speed alone: over each piece of Moving the mean of the speeds at its ends, or the first
	// of them where the second is unknown. What a vehicle without a receiver has.
	SpeedMillimetres int64
	// Moving, Idle and Blind are time in which the vehicle moved, stood (whether its engine ran or not), or had no speed.
	Moving, Idle, Blind time.Duration
	// Gaps counts the gaps; GapTime is all of them, LongestGap the longest.
	Gaps                int
	GapTime, LongestGap time.Duration
	// CO2Micrograms was emitted in CO2Time, the pieces whose first record tells it.
	CO2Micrograms int64
	CO2Time       time.Duration
	// FuelUnits, of 1/3,600,000,000 L, were burnt in FuelTime, the pieces whose first record tells it.
	FuelUnits int64
	FuelTime  time.Duration
}

// Distance is in km.
func (v Vehicle) Distance() float64 { return float64(v.Millimetres) / 1e6 }

// MeanSpeed is in km/h: that of the time in which the vehicle moved; NaN if it did not.
func (v Vehicle) MeanSpeed() float64 {
	if v.Moving <= 0 {
		return math.NaN()
	}
	return float64(v.SpeedMillimetres) / 1e6 / v.Moving.Hours()
}

// CO2 is in kg; NaN if unknown.
func (v Vehicle) CO2() float64 {
	if v.CO2Time <= 0 {
		return math.NaN()
	}
	return float64(v.CO2Micrograms) / 1e9
}

// Fuel is in litres; NaN if unknown.
func (v Vehicle) Fuel() float64 {
	if v.FuelTime <= 0 {
		return math.NaN()
	}
	return float64(v.FuelUnits) / 3.6e9
}

// Skipped counts the objects that were left out.
type Skipped struct {
	// ErrorPrefix: in a folder in which Firehose keeps what it could not deliver.
	ErrorPrefix int
	// Temporary: hidden, or still being written.
	Temporary int
	// Before: in the folder of a day that was over before Options.From.
	Before int
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

// A TrackPoint is a dated record of a vehicle.
type TrackPoint struct {
	VIN  string // "" if unknown
	Time time.Time
	// Lon and Lat are degrees, WGS 84; both are NaN if either is unknown.
	Lon, Lat float64
	// Speed is in km/h; NaN if unknown.
	Speed float64
	// First says that it is the vehicle's first one, AfterGap that more than Options.Gap lies before it, and Jump that its position
	// is not believed after that of the one before it.
	First, AfterGap, Jump bool
}

const (
	// DefaultGap is twice the time between the records of a standing vehicle (record.parked_interval), and half a minute for what
	// may delay one.
	DefaultGap = 150 * time.Second
	// movingFrom is the speed, in m/h, below which a vehicle stands: a standing receiver's speed wanders below it (agent/fusion).
	movingFrom = 3000
	// A step between two positions is not believed above 250 km/h, in mm a ms as a fraction. A road vehicle does not go that
	// fast; a receiver that finds itself again after a tunnel does.
	maxPlausible = 250
	jumpOver     = maxPlausible * 10
	jumpUnder    = 36
	// m/h times ms is 1/7200 mm, where two speeds were added.
	twoSpeedsTime = 7200
)

// New returns a report of vehicles that were summed up elsewhere.
func New(vehicles []Vehicle) *Report {
	r := &Report{Vehicles: vehicles, Gap: DefaultGap, Elsewhere: true}
	r.add()
	r.Lines = r.Total.Records + r.Total.Duplicates
	return r
}

// add puts the vehicles in order and adds them up.
func (r *Report) add() {
	slices.SortFunc(r.Vehicles, func(a, b Vehicle) int { return compareVINs(a.VIN, b.VIN) })
	t := newVehicle("")
	for _, v := range r.Vehicles {
		t.Records += v.Records
		t.Duplicates += v.Duplicates
		t.Undated += v.Undated
		if !v.First.IsZero() {
			t.span(v.First, v.Last)
		}
		t.fastest(v.MaxSpeed)
		t.Millimetres += v.Millimetres
		t.Jumps += v.Jumps
		t.SpeedMillimetres += v.SpeedMillimetres
		t.Moving += v.Moving
		t.Idle += v.Idle
		t.Blind += v.Blind
		t.Gaps += v.Gaps
		t.GapTime += v.GapTime
		t.LongestGap = max(t.LongestGap, v.LongestGap)
		t.CO2Micrograms += v.CO2Micrograms
		t.CO2Time += v.CO2Time
		t.FuelUnits += v.FuelUnits
		t.FuelTime += v.FuelTime
	}
	r.Total = t
}

func newVehicle(vin string) Vehicle { return Vehicle{VIN: vin, MaxSpeed: math.NaN()} }

// compareVINs puts the unknown one last.
func compareVINs(a, b string) int {
	if a, b := a == UnknownVIN || a == "", b == UnknownVIN || b == ""; a != b {
		if a {
			return 1
		}
		return -1
	}
	return cmp.Compare(a, b)
}

func (v *Vehicle) span(first, last time.Time) {
	if v.First.IsZero() || first.Before(v.First) {
		v.First = first
	}
	if last.After(v.Last) {
		v.Last = last
	}
}

func (v *Vehicle) fastest(kmh float64) {
	if !math.IsNaN(kmh) && !(kmh <= v.MaxSpeed) {
		v.MaxSpeed = kmh
	}
}

// A measurer sums one vehicle's samples, which come in the order of time, those without one last.
type measurer struct {
	Vehicle
	gap  int64 // ms
	last sample
	any  bool
}

func (m *measurer) add(s sample) (p TrackPoint) {
	m.Records++
	m.fastest(s.kmh())
	if s.ms == undated {
		m.Undated++
		return p
	}
	p = TrackPoint{VIN: m.VIN, Time: s.time(), Speed: s.kmh(), First: !m.any}
	p.Lon, p.Lat = s.degrees()
	m.span(p.Time, p.Time)
	if m.any {
		p.AfterGap = m.piece(m.last, s)
		p.Jump = m.step(m.last, s)
	}
	m.last, m.any = s, true
	return p
}

// piece counts the time between two samples, and says whether it is a gap.
func (m *measurer) piece(a, b sample) bool {
	ms := b.ms - a.ms
	d := time.Duration(ms) * time.Millisecond
	if ms > m.gap {
		m.Gaps++
		m.GapTime += d
		m.LongestGap = max(m.LongestGap, d)
		return true
	}
	switch {
	case a.speed == notKnown:
		m.Blind += d
	case a.speed < movingFrom:
		m.Idle += d
	default:
		m.Moving += d
		end := a.speed
		if b.speed != notKnown {
			end = b.speed
		}
		m.SpeedMillimetres += ((int64(a.speed)+int64(end))*ms + twoSpeedsTime/2) / twoSpeedsTime
	}
	if a.co2 != notKnown {
		m.CO2Micrograms += int64(a.co2) * ms
		m.CO2Time += d
	}
	if a.fuel != notKnown {
		m.FuelUnits += int64(a.fuel) * ms
		m.FuelTime += d
	}
	return false
}

// step counts the way between two samples, and says whether it is a jump.
func (m *measurer) step(a, b sample) bool {
	if !a.hasPosition() || !b.hasPosition() || a.lon == b.lon && a.lat == b.lat {
		return false
	}
	lonA, latA := a.degrees()
	lonB, latB := b.degrees()
	mm := int64(math.Round(record.Distance(latA, lonA, latB, lonB) * 1000))
	if mm*jumpUnder > jumpOver*(b.ms-a.ms) {
		m.Jumps++
		return true
	}
	m.Millimetres += mm
	return false
}
