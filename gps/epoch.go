package gps

import (
	"fmt"
	"math"
	"time"

	"github.com/adrianmo/go-nmea"
)

// Bounds of what is believed.
const (
	// minSatellites: with fewer no position can be computed; receivers that say so are coasting on their last one.
	minSatellites = 3
	// minSatellites3D: with fewer the altitude is held, not measured.
	minSatellites3D = 4
	// absurdHDOP: receivers that have lost the sky report 49.9 or 50.0 and keep saying "A".
	absurdHDOP = 49
	// frozenDistance is how far a receiver may claim to have driven while its position does not change by a digit. The
	// coarsest position seen, two decimals of a minute, has steps of 18 m.
	frozenDistance = 40.0
	// frozenSpeed: below it (m/s) a standing receiver's static hold is the likely reason for an unchanged position.
	frozenSpeed = 2.0
)

// An epoch gathers what the sentences of one UTC time say.
type epoch struct {
	started  bool // holds at least one sentence
	reported bool // holds one that tells of a position or its absence: RMC, GGA, GNS, GLL
	mono     time.Duration
	tod      time.Duration // -1 if none said
	date     date

	pos coordinates

	// Where several talkers send the same type, the one that has a fix counts: GPS may have one when Galileo alone has not.
	rmc, gll  byte // 0, 'V', 'A'
	faa       byte // of RMC, else GNS, else GLL
	gns       byte
	gllFAA    byte
	quality   int // -1
	weak      int // satellites by a GGA or GNS of GPS alone or of all constellations; -1
	sats      int
	gnsSats   int
	gsaSats   [8]int8 // by system, see gsaSlot; -1
	gsaMode   int
	hdop      float64
	gsaHDOP   float64
	alt       float64
	speed     float64 // RMC
	course    float64
	vtgSpeed  float64
	vtgCourse float64
}

func (e *epoch) reset() {
	nan := math.NaN()
	*e = epoch{
		tod: -1, pos: noCoordinates, quality: -1, weak: -1, sats: -1, gnsSats: -1,
		hdop: nan, gsaHDOP: nan, alt: nan, speed: nan, course: nan, vtgSpeed: nan, vtgCourse: nan,
	}
	for i := range e.gsaSats {
		e.gsaSats[i] = -1
	}
}

// add takes over what s says.
func (e *epoch) add(s *sentence, at time.Duration) {
	if !e.started {
		e.started, e.mono = true, at
	}
	if e.tod < 0 {
		e.tod = s.tod
	}
	if s.date != (date{}) {
		e.date = s.date
	}
	if !math.IsNaN(s.pos.lat) && s.pos.digits >= e.pos.digits {
		e.pos = s.pos
	}
	switch s.Type {
	case nmea.TypeRMC:
		e.reported = true
		if s.valid == 'A' || e.rmc == 0 {
			e.rmc, e.faa = orV(s.valid), s.faa
		}
		set(&e.speed, s.speed)
		set(&e.course, s.course)
	case nmea.TypeGGA:
		e.reported = true
		if s.quality > 0 || e.quality < 0 {
			e.quality = max(s.quality, 0)
			e.sats = max(e.sats, s.sats)
		}
		e.addWeak(s)
		set(&e.hdop, s.hdop)
		set(&e.alt, s.alt)
	case nmea.TypeGNS:
		e.reported = true
		if e.gns == 0 || e.gns == 'N' {
			e.gns = s.faa
			if e.gns == 0 {
				e.gns = 'N'
			}
			e.gnsSats = s.sats
		}
		e.addWeak(s)
		set(&e.hdop, s.hdop)
		set(&e.alt, s.alt)
	case nmea.TypeGLL:
		e.reported = true
		if s.valid == 'A' || e.gll == 0 {
			e.gll, e.gllFAA = orV(s.valid), s.faa
		}
	case nmea.TypeVTG:
		if s.faa != 'E' && s.faa != 'N' { // estimated or not valid
			set(&e.vtgSpeed, s.speed)
			set(&e.vtgCourse, s.course)
		}
	case nmea.TypeGSA:
		e.gsaMode = max(e.gsaMode, s.gsaMode)
		e.gsaSats[gsaSlot(s)] = int8(min(s.sats, math.MaxInt8))
		set(&e.gsaHDOP, s.hdop)
	}
}

// addWeak notes the number of satellites where it is that of the whole solution.
func (e *epoch) addWeak(s *sentence) {
	if (s.Talker == "GP" || s.Talker == "GN") && s.sats >= 0 {
		e.weak = max(e.weak, s.sats)
	}
}

func orV(status byte) byte {
	if status == 0 {
		return 'V'
	}
	return status
}

func set(dst *float64, v float64) {
	if !math.IsNaN(v) {
		*dst = v
	}
}

// gsaSlot tells the constellation of a GSA: by system ID (1..6), else by talker. Slot 0 holds what names none.
func gsaSlot(s *sentence) int {
	if 1 <= s.system && s.system <= 6 {
		return s.system
	}
	switch s.Talker {
	case "GP":
		return 1
	case "GL":
		return 2
	case "GA":
		return 3
	case "GB", "BD":
		return 4
	case "GQ", "QZ":
		return 5
	}
	return 0
}

// satellites returns the number used, -1 if nobody said. GGA is limited to 12 in NMEA 2.x: then the GSAs know better; and
// in the first epoch of a fix some receivers (Garmin 25LP) have counted none yet while the GSA lists them.
func (e *epoch) satellites() int {
	listed := e.listed()
	switch {
	case e.gnsSats >= 0:
		return max(e.gnsSats, e.sats)
	case e.sats == 12 && listed > 12, e.sats < minSatellites && listed >= minSatellites:
		return listed
	case e.sats >= 0:
		return e.sats
	}
	return listed
}

// listed returns how many satellites the GSAs list together, -1 if there was none.
func (e *epoch) listed() int {
	sum := -1
	for _, n := range e.gsaSats {
		if n >= 0 {
			sum = max(sum, 0) + int(n)
		}
	}
	return sum
}

// fix says what the epoch's sentences say together, all but the times.
func (e *epoch) fix() Fix {
	nan := math.NaN()
	f := Fix{
		Mono: e.mono, TimeOfDay: e.tod,
		Lat: nan, Lon: nan, Alt: nan, Speed: nan, Course: nan, HDOP: e.hdop, Sats: e.satellites(),
	}
	if math.IsNaN(f.HDOP) {
		f.HDOP = e.gsaHDOP
	}
	if f.Cause, f.Reason = e.refusal(f); f.Reason != "" {
		return f
	}
	f.Mode = e.mode(f)
	f.Lat, f.Lon = e.pos.lat, e.pos.lon
	if e.threeD(f) {
		f.Alt = e.alt
	}
	f.Speed, f.Course = e.speed, e.course
	if math.IsNaN(f.Speed) {
		f.Speed, f.Course = e.vtgSpeed, e.vtgCourse
	}
	return f
}

// refusal says why the epoch is no fix, empty if it is one.
func (e *epoch) refusal(f Fix) (Cause, string) {
	switch {
	case e.rmc == 'V':
		return CauseNoFix, "receiver says no fix (RMC V)"
	case e.quality == 0:
		return CauseNoFix, "receiver says no fix (GGA quality 0)"
	case e.gns == 'N':
		return CauseNoFix, "receiver says no fix (GNS N)"
	case e.rmc == 0 && e.gll == 'V':
		return CauseNoFix, "receiver says no fix (GLL V)"
	case e.gsaMode == 1:
		return CauseNoFix, "receiver says no fix (GSA 1)"
	case e.rmc == 'A' && e.faa == 'N':
		return CauseNoFix, "receiver says no fix (RMC mode N)"
	case math.IsNaN(e.pos.lat):
		return CauseNoPosition, "no position given"
	case e.pos.lat == 0 && e.pos.lon == 0:
		return CauseZero, "position is 0,0"
	case e.weak >= 0 && max(e.weak, e.listed()) < minSatellites && !e.deadReckoned():
		return CauseSatellites, fmt.Sprintf("only %d satellites", e.weak)
	case f.HDOP >= absurdHDOP:
		return CauseDilution, fmt.Sprintf("HDOP %.1f", f.HDOP)
	}
	return "", ""
}

func (e *epoch) deadReckoned() bool {
	return e.quality == 6 || e.faa == 'E' || e.quality == 8 || e.faa == 'S'
}

// mode tells the kind of fix, of an epoch that is one. GGA quality is as in NMEA 0183: 2 differential, 4 RTK, 5 float RTK,
// 6 estimated, 8 simulated; the FAA mode indicators D R F E S say the same.
func (e *epoch) mode(f Fix) Mode {
	switch e.quality {
	case 2:
		return ModeDGPS
	case 4, 5:
		return ModeRTK
	case 6:
		return ModeDR
	case 8:
		return ModeSimulated
	}
	if e.quality < 0 {
		faa := e.faa
		if faa == 0 {
			faa = e.gns
		}
		if faa == 0 {
			faa = e.gllFAA
		}
		switch faa {
		case 'D':
			return ModeDGPS
		case 'R', 'F':
			return ModeRTK
		case 'E':
			return ModeDR
		case 'S':
			return ModeSimulated
		}
	}
	if e.threeD(f) {
		return Mode3D
	}
	return Mode2D
}

// threeD reports whether the altitude was measured. Satellites decide before GSA's mode: there are receivers that say 2
// (2D) with fourteen satellites and an altitude (Telit PLS83).
func (e *epoch) threeD(f Fix) bool {
	switch {
	case math.IsNaN(e.alt):
		return false
	case e.gsaMode == 3 || f.Sats >= minSatellites3D:
		return true
	}
	return e.gsaMode == 0 && f.Sats < 0
}
