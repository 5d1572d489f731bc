package fusion

import (
	"math"
	"time"

	"obdagent/agent/clock"
	"obdagent/agent/record"
	"obdagent/gps"
)

// build makes the record of a moment out of what is known of it.
func (f *Fuser) build(at time.Duration) record.Record {
	r := record.Record{
		ID:       f.opts.NewID(),
		DeviceID: f.opts.DeviceID,
		BootID:   f.opts.BootID,
		MonoMS:   at.Milliseconds(),
		Fix:      gps.ModeNone.String(),
		SpeedSrc: "none",
	}
	r.Time, r.TimeSrc = f.opts.Clock.At(at)
	if r.TimeSrc == clock.None {
		r.System = f.opts.Clock.System()
	}
	switch {
	case f.vin != "":
		r.VIN, r.VINSrc = f.vin, "ecu"
	case f.opts.VIN != "":
		r.VIN, r.VINSrc = f.opts.VIN, "config"
	}
	f.addPosition(&r, at)
	f.addCar(&r, at)
	switch {
	case r.SpeedOBD.IsSet():
		r.Speed, r.SpeedSrc = r.SpeedOBD, "obd"
	case r.SpeedGPS.IsSet():
		r.Speed, r.SpeedSrc = r.SpeedGPS, "gps"
	}
	if f.differ && at-f.differFrom >= mismatchTime {
		r.Flags = append(r.Flags, record.FlagSpeedMismatch)
	}
	if f.clockStep {
		r.Flags = append(r.Flags, record.FlagClockStep)
		f.clockStep = false
	}
	return r
}

func (f *Fuser) addPosition(r *record.Record, at time.Duration) {
	if f.hasPos {
		r.FixAge = record.Some(float64((at - f.posAt).Milliseconds()))
	}
	x := f.lastPos
	// The last epoch decides: when it had no position, the one before it is history.
	if !f.hasPos || !f.fix.HasPosition() || (at-f.posAt).Abs() > maxFixAge {
		if f.opts.GPS {
			r.Flags = append(r.Flags, record.FlagNoFix)
		}
		return
	}
	r.Fix = x.Mode.String()
	r.Lat, r.Lon = record.Number(x.Lat), record.Number(x.Lon)
	r.Alt = record.Number(x.Alt)
	r.HDOP = record.Number(x.HDOP)
	r.SpeedGPS = record.Number(x.Speed * kmhPerMS)
	if x.Speed >= minHeadingSpeed {
		r.Heading = record.Number(x.Course)
	}
	if x.Sats >= 0 {
		r.Sats = record.Some(float64(x.Sats))
	}
}

func (f *Fuser) addCar(r *record.Record, at time.Duration) {
	if v, age, ok := f.speed.at(at); ok {
		r.SpeedOBD = record.Number(v)
		r.OBDAge = record.Some(float64(age.Milliseconds()))
	} else if _, asked := f.speed.latest(); asked && f.live {
		r.Flags = append(r.Flags, record.FlagStaleOBD)
	}
	for name, s := range f.signals {
		limit, ok := f.opts.MaxAge[name]
		if !ok {
			limit = 3 * time.Second
		}
		if at-s.at <= limit {
			r.SetFloat(name, record.Number(s.value))
		}
	}
}

// ring holds the car's latest speeds.
type ring struct {
	samples [64]reading // 64 at 10 Hz are more than six seconds: an epoch is never older than maxEpochDelay
	n       int         // ever added
}

func (r *ring) add(at time.Duration, v float64) {
	r.samples[r.n%len(r.samples)] = reading{v, at}
	r.n++
}

func (r *ring) latest() (time.Duration, bool) {
	if r.n == 0 {
		return 0, false
	}
	return r.samples[(r.n-1)%len(r.samples)].at, true
}

// at is the speed at a moment: interpolated where two samples near each other bracket it, else the one before it while it is
// young enough. age is the distance to the nearest sample that took part.
func (r *ring) at(m time.Duration) (v float64, age time.Duration, ok bool) {
	var after *reading
	for i := r.n - 1; i >= 0 && i >= r.n-len(r.samples); i-- {
		s := &r.samples[i%len(r.samples)]
		if s.at > m {
			after = s
			continue
		}
		if after != nil && after.at-s.at <= maxSpeedAge {
			share := float64(m-s.at) / float64(after.at-s.at)
			return s.value + share*(after.value-s.value), min(m-s.at, after.at-m), true
		}
		if m-s.at <= maxSpeedAge {
			return s.value, m - s.at, true
		}
		break
	}
	return 0, 0, false
}

// distanceKM is the great-circle distance in km on a sphere of the Earth's mean radius (IUGG: 6371.0088 km); its error
// against the ellipsoid, up to 0.5 %, does not matter for telling a jump.
func distanceKM(lat1, lon1, lat2, lon2 float64) float64 {
	const rad = math.Pi / 180
	dLat, dLon := (lat2-lat1)*rad/2, (lon2-lon1)*rad/2
	h := math.Sin(dLat)*math.Sin(dLat) + math.Cos(lat1*rad)*math.Cos(lat2*rad)*math.Sin(dLon)*math.Sin(dLon)
	return 2 * 6371.0088 * math.Asin(min(1, math.Sqrt(h)))
}
