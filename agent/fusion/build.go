package fusion

import (
	"time"

	"obdagent/agent/clock"
	"obdagent/agent/record"
	"obdagent/gps"
)

// build makes the record of a moment out of what is known of it. The car's speed is taken lag earlier: that is when the position
// of an epoch was true.
func (f *Fuser) build(at, lag time.Duration) record.Record {
	f.next = record.Record{
		ID:       f.opts.NewID(),
		DeviceID: f.opts.DeviceID,
		BootID:   f.opts.BootID,
		MonoMS:   at.Milliseconds(),
		Fix:      gps.ModeNone.String(),
		SpeedSrc: "none",
	}
	r := &f.next
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
	f.addPosition(r, at)
	f.addCar(r, at, lag)
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
	return *r
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

func (f *Fuser) addCar(r *record.Record, at, lag time.Duration) {
	if v, age, ok := f.speed.at(at - lag); ok {
		r.SpeedOBD = record.Number(v)
		r.OBDAge = record.Some(float64(age.Milliseconds()))
	} else if _, asked := f.speed.latest(); asked && f.live {
		r.Flags = append(r.Flags, record.FlagStaleOBD)
	}
	for name := range f.signals {
		v, ok := f.young(name, at)
		if !ok || r.SetFloat(name, record.Number(v)) {
			continue
		}
		if r.Extra == nil {
			r.Extra = record.Extra{}
		}
		r.Extra[name] = v
	}
	if f.live {
		f.addCO2(r, at)
		f.addTrouble(r)
	}
}

// young is the value of a signal, unless it is too old to stand for now.
func (f *Fuser) young(name string, at time.Duration) (float64, bool) {
	s, ok := f.signals[name]
	if !ok {
		return 0, false
	}
	limit, ok := f.opts.MaxAge[name]
	if !ok {
		limit = 3 * time.Second
	}
	return s.value, at-s.at <= limit
}

func (f *Fuser) addCO2(r *record.Record, at time.Duration) {
	if len(f.signals) == 0 {
		return // the car has just begun to answer
	}
	e := engine{fuel: f.opts.Fuel, displacement: f.opts.DisplacementL, moving: f.moving,
		get: func(name string) (float64, bool) { return f.young(name, at) }}
	grams, method, lacks := e.co2()
	if r.CO2From, r.CO2Lacks = method, lacks; method != "" {
		r.CO2 = record.Number(grams)
	}
}

func (f *Fuser) addTrouble(r *record.Record) {
	if f.trouble == nil {
		return
	}
	r.MIL = record.Some(f.trouble.MIL)
	r.DTCCount = record.Some(float64(f.trouble.Count))
	r.DTCs = f.trouble.Stored
}
