package gps

import (
	"math"
	"time"
)

// Mode says what kind of fix an epoch gave.
type Mode uint8

// The modes, in the words that records use. The zero value is no fix.
const (
	ModeNone      Mode = iota // no position
	Mode2D                    // position without altitude
	Mode3D                    // position and altitude
	ModeDGPS                  // differentially corrected (GGA quality 2)
	ModeRTK                   // carrier phase, fixed or float (GGA quality 4, 5)
	ModeDR                    // dead reckoning by the receiver itself (GGA quality 6)
	ModeSimulated             // the receiver's simulator (GGA quality 8)
)

// String returns none, 2d, 3d, dgps, rtk, dr or sim.
func (m Mode) String() string {
	return [...]string{"none", "2d", "3d", "dgps", "rtk", "dr", "sim"}[m]
}

// A Fix is what a receiver said of one epoch. Floating-point fields that it did not give are NaN, Sats is then -1.
type Fix struct {
	// Mono is when the first sentence of the epoch had arrived, on the clock of Options.Now (CLOCK_BOOTTIME in the agent).
	Mono time.Duration
	// Done is when the epoch was complete, on the same clock.
	Done time.Duration

	// Time is the UTC time of the epoch as the receiver gave it, not corrected for week rollover. It is zero when the
	// receiver gave no date (with it) yet.
	Time time.Time
	// TimeOfDay is the UTC time of day of the epoch, or -1 if the receiver gave none.
	TimeOfDay time.Duration

	Mode   Mode
	Lat    float64 // degrees WGS 84, north positive, -90..90; NaN unless Mode is a fix
	Lon    float64 // degrees WGS 84, east positive, -180..180; NaN unless Mode is a fix
	Alt    float64 // metres above mean sea level
	Speed  float64 // over ground, m/s
	Course float64 // over ground, degrees true, 0..360
	HDOP   float64 // dilution of precision, horizontal
	Sats   int     // satellites used

	// Reason says why Mode is ModeNone, in a few words for a person, and Cause as a code; empty with a fix.
	Reason string
	Cause  Cause
}

// HasPosition reports whether f has a latitude and a longitude.
func (f Fix) HasPosition() bool {
	return f.Mode != ModeNone && !math.IsNaN(f.Lat) && !math.IsNaN(f.Lon)
}
