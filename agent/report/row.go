package report

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/google/uuid"
)

// A sample is what the figures need of a record, in whole units, so that sums do not depend on the order or the machine.
type sample struct {
	ms       int64 // Unix time; undated if unknown
	lon, lat int32 // 1e-7 degrees (11 mm of latitude), the resolution of the wire; notKnown
	speed    int32 // m/h; notKnown
	co2      int32 // mg/s; notKnown
	fuel     int32 // mL/h; notKnown
}

// What is not known sorts last.
const (
	undated  = math.MaxInt64
	notKnown = math.MaxInt32
)

func (v values) sample() sample {
	s := sample{
		ms:  undated,
		lon: whole(v.lon, 1e7), lat: whole(v.lat, 1e7),
		speed: whole(v.speed, 1000), co2: whole(v.co2, 1000), fuel: whole(v.fuel, 1000),
	}
	if !v.time.IsZero() {
		s.ms = v.time.UnixMilli()
	}
	return s
}

// whole returns x in units of 1/scale. Ranges are checked before: it fits.
func whole(x, scale float64) int32 {
	if math.IsNaN(x) {
		return notKnown
	}
	return int32(math.Round(x * scale))
}

// Rows of the first sort, by record_id, which brings the copies of a record together; of copies that differ, the one that is
// dated and earliest comes first, then the one with the least values:
//
//	id            0..7
//	id            8..15
//	ms
//	lon           lat
//	speed         co2
//	fuel          vehicle's number
//
// Rows of the second sort, by vehicle and time:
//
//	vehicle's rank, upper half of ms
//	lower half of ms, lon
//	lat           speed
//	co2           fuel
const (
	idRowWidth   = 6
	timeRowWidth = 4
)

// Signed numbers are kept with their sign bit turned: so their order is that of the unsigned words.
func turn64(x int64) uint64      { return uint64(x) ^ 1<<63 }
func back64(x uint64) int64      { return int64(x ^ 1<<63) }
func pair(a, b int32) uint64     { return uint64(turn32(a))<<32 | uint64(turn32(b)) }
func turn32(x int32) uint32      { return uint32(x) ^ 1<<31 }
func upper(x uint64) int32       { return int32(uint32(x>>32) ^ 1<<31) }
func lower(x uint64) int32       { return int32(uint32(x) ^ 1<<31) }
func sameID(a, b []uint64) bool  { return a[0] == b[0] && a[1] == b[1] }
func vehicleOf(row []uint64) int { return int(uint32(row[5])) }
func sameValue(a, b []uint64) bool {
	return a[2] == b[2] && a[3] == b[3] && a[4] == b[4] && a[5]>>32 == b[5]>>32
}

func (s sample) putByID(row []uint64, id uuid.UUID, vehicle int) {
	row[0], row[1] = binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	row[2] = turn64(s.ms)
	row[3] = pair(s.lon, s.lat)
	row[4] = pair(s.speed, s.co2)
	row[5] = uint64(turn32(s.fuel))<<32 | uint64(uint32(vehicle))
}

// putByTime makes a row of the second sort of one of the first.
func putByTime(row, from []uint64, rank int) {
	row[0] = uint64(rank)<<32 | from[2]>>32
	row[1] = from[2]<<32 | from[3]>>32
	row[2] = from[3]<<32 | from[4]>>32
	row[3] = from[4]<<32 | from[5]>>32
}

// byTime reads a row of the second sort.
func byTime(row []uint64) (rank int, s sample) {
	return int(row[0] >> 32), sample{
		ms:  back64(row[0]<<32 | row[1]>>32),
		lon: lower(row[1]), lat: upper(row[2]), speed: lower(row[2]), co2: upper(row[3]), fuel: lower(row[3]),
	}
}

func (s sample) hasPosition() bool { return s.lon != notKnown }

func (s sample) degrees() (lon, lat float64) {
	if !s.hasPosition() {
		return math.NaN(), math.NaN()
	}
	// Division, unlike multiplication by 1e-7, gives the number nearest to what was written.
	return float64(s.lon) / 1e7, float64(s.lat) / 1e7
}

// kmh returns the speed, or NaN.
func (s sample) kmh() float64 {
	if s.speed == notKnown {
		return math.NaN()
	}
	return float64(s.speed) / 1000
}

func (s sample) time() time.Time { return time.UnixMilli(s.ms).UTC() }
