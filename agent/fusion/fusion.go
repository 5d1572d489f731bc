package fusion

import (
	"math"
	"time"

	"github.com/google/uuid"

	"obdagent/agent/clock"
	"obdagent/agent/record"
	"obdagent/gps"
	"obdagent/obd"
)

const (
	kmhPerMS = 3.6

	// maxSpeedAge is how long one speed of the car stands for the speed now, and how far apart two samples may be to be
	// interpolated between. At 3 m/s², hard braking for a van, speed changes by 16 km/h in that time.
	maxSpeedAge = 1500 * time.Millisecond
	// maxFixAge is how long a position stands for the position now, in records that do not lie on an epoch.
	maxFixAge = 1500 * time.Millisecond
	// maxEpochDelay is the longest time between an epoch and the arrival of its first sentence that is believed.
	maxEpochDelay = 2 * time.Second

	startOBD = 1.0             // km/h: the car's own speed is 0 at standstill, and its step is 1
	startGPS = 5.0             // km/h: a parked receiver's speed wanders below this (the limit that Teltonika's trackers use)
	stopGPS  = 3.0             // km/h, for stopTime
	stopTime = 3 * time.Second //

	// fadeAfter is how long after the last speed that anybody told the vehicle still counts as moving. An adapter that hangs is open
	// again within it, and a receiver that lost its satellites under a bridge has them again. A vehicle that moves on unseen has nothing to
	// put into a record each second, and starts anew with the first speed.
	fadeAfter = time.Minute

	mismatchKMH   = 8.0 // km/h, or mismatchShare of the greater one, for mismatchTime
	mismatchShare = 0.10
	mismatchTime  = 5 * time.Second
	jumpKMH       = 250.0

	minHeadingSpeed = 0.5 // m/s: below it a receiver's course is noise
)

// Clock dates moments of this boot, and tells what the system clock says.
type Clock interface {
	At(mono time.Duration) (time.Time, clock.Source)
	System() time.Time
}

// Options says how records are made.
type Options struct {
	Interval       time.Duration            // between records while moving
	ParkedInterval time.Duration            // between records at standstill
	MaxAge         map[string]time.Duration // how long a signal of the car stays valid; default 3 s
	VIN            string                   // used when the car does not tell its own
	DeviceID       string
	BootID         string
	NewID          func() uuid.UUID
	Clock          Clock
	Fuel           string  // petrol diesel e85 lpg cng; "": what the car says
	DisplacementL  float64 // of the engine, litres; 0: unknown
	Car            bool    // there is an adapter; else nothing is known of the car, and what one says late is left out
	GPS            bool    // there is a receiver; else the lack of a fix is not worth a flag
}

// A Fuser makes records. It is not safe for concurrent use: one goroutine feeds it.
type Fuser struct {
	opts Options

	vin     string // as the car told it
	live    bool   // the car answers
	speed   ring   // of the car
	signals map[string]reading
	trouble *obd.Trouble

	fix      gps.Fix // the last epoch
	epochAt  time.Duration
	epochGap time.Duration // between the last two epochs
	hasEpoch bool
	lastPos  gps.Fix // the last epoch with a position
	posAt    time.Duration
	hasPos   bool

	moving   bool
	speedAt  time.Duration // of the last speed that car or receiver told; valid if moving
	slowFrom time.Duration // since when the GPS speed is below stopGPS; valid if slow
	slow     bool

	differFrom time.Duration // since when the two speeds differ; valid if differ
	differ     bool

	lag lagEstimator

	begun     bool          // time has passed at least once
	last      time.Duration // moment of the last record that the interval counts from, else of when time began to pass
	any       bool          // there was a record
	atEdge    bool          // the last record is an edge
	clockStep bool

	next record.Record // under construction; here it costs no allocation
}

type reading struct {
	value float64
	at    time.Duration
}

// New returns a Fuser.
func New(o Options) *Fuser {
	return &Fuser{opts: o, signals: map[string]reading{}}
}

// SetOptions changes how records are made from now on; what is known of car and receiver stays. Where there is no car any more, what it
// told does not outlive it; where nobody is left who knows of a speed, the vehicle counts as standing.
func (f *Fuser) SetOptions(o Options) {
	if f.opts.Car && !o.Car {
		f.forgetCar()
		f.live, f.vin = false, ""
	}
	if !o.GPS && !f.live {
		// Nobody is left who could say that it stops.
		f.moving, f.slow = false, false
	}
	f.opts = o
}

// forgetCar drops what holds only while the car answers.
func (f *Fuser) forgetCar() {
	f.speed = ring{}
	clear(f.signals)
	f.trouble = nil
	f.differ = false
	f.lag.forget()
}

// Vehicle takes what the car told of itself.
func (f *Fuser) Vehicle(v obd.Vehicle) {
	if f.opts.Car {
		f.vin = v.VIN
	}
}

// Trouble takes the car's trouble codes. They hold until it stops answering, or tells others.
func (f *Fuser) Trouble(t obd.Trouble) {
	if f.opts.Car {
		f.trouble = &t
	}
}

// ClockStep notes that the time source contradicted itself: the next record says so.
func (f *Fuser) ClockStep() { f.clockStep = true }

// Car takes a change of the session with the car, at the moment now. When the car begins or ceases to answer it gives a record;
// that the session is closed, because the agent stops, says nothing of the car.
func (f *Fuser) Car(c obd.StateChange, now time.Duration) (record.Record, bool) {
	if c.To == obd.StateClosed || !f.opts.Car {
		return record.Record{}, false
	}
	live := c.To == obd.StateLive
	if live == f.live {
		return record.Record{}, false
	}
	f.live = live
	if !live {
		f.forgetCar()
	}
	return f.edge(now)
}

// Sample takes an answer of the car. It gives a record when the car has just started or stopped.
func (f *Fuser) Sample(s obd.Sample) (record.Record, bool) {
	if s.Err != nil || !f.opts.Car {
		return record.Record{}, false
	}
	if s.Signal != "speed" {
		f.signals[s.Signal] = reading{s.Value, s.Mono}
		return record.Record{}, false
	}
	f.speed.add(s.Mono, s.Value)
	f.speedAt = max(f.speedAt, s.Mono)
	f.lag.update(&f.speed)
	return f.move(s.Value >= startOBD, s.Mono)
}

// Fix takes an epoch of the receiver. utc is its time with the right week era, the zero time if nobody vouches for it yet.
func (f *Fuser) Fix(x gps.Fix, utc time.Time) (record.Record, bool) {
	at := f.moment(x, utc)
	if f.hasEpoch && at <= f.epochAt {
		// The receiver's time went back, or two epochs arrived in one gulp: the arrival decides.
		at = max(x.Mono, f.epochAt+1)
	}
	if f.hasEpoch {
		f.epochGap = at - f.epochAt
	}
	f.fix, f.epochAt, f.hasEpoch = x, at, true

	jump := false
	if x.HasPosition() {
		if f.hasPos {
			hours := (at - f.posAt).Hours()
			jump = record.Distance(f.lastPos.Lat, f.lastPos.Lon, x.Lat, x.Lon) > jumpKMH*1000*hours
		}
		f.lastPos, f.posAt, f.hasPos = x, at, true
		if !math.IsNaN(x.Speed) {
			f.speedAt = max(f.speedAt, at)
			f.lag.epoch(at, x.Speed*kmhPerMS)
		}
	}
	f.compare(x, at)

	edge, ok := f.moveByGPS(x, at)
	if !ok {
		edge, ok = f.fade(at)
	}
	if ok {
		f.decorate(&edge, utc, jump)
		return edge, true
	}
	if !f.due(at, f.epochGap/2) {
		return record.Record{}, false
	}
	f.last, f.any, f.atEdge = at, true, false
	r := f.build(at, f.lag.state.Applied)
	f.decorate(&r, utc, jump)
	return r, true
}

// Edge reports whether the last record was made outside of the interval: at a start, a stop, or a change of the ignition.
func (f *Fuser) Edge() bool { return f.atEdge }

// Lag is how far the receiver's speed trails the car's, as far as it is known.
func (f *Fuser) Lag() Lag { return f.lag.state }

// Tick lets time pass. It gives a record when one is due and no epochs come that it could lie on.
func (f *Fuser) Tick(now time.Duration) (record.Record, bool) {
	if !f.begun {
		// Both sources are still being opened: the first heartbeat is due when they have had an interval for it.
		f.begun = true
		if !f.any {
			f.last = now
		}
	}
	if r, ok := f.fade(now); ok {
		return r, true
	}
	if f.hasEpoch && now-f.epochAt < f.patience() {
		return record.Record{}, false
	}
	at := now
	if m, ok := f.speed.latest(); ok && now-m < maxSpeedAge {
		at = m
	} else if f.live && now-f.last < f.interval()+f.patience() {
		// The car is asked several times a second; its next answer is worth the wait.
		return record.Record{}, false
	}
	if at-f.last < f.interval() {
		return record.Record{}, false
	}
	f.last, f.any, f.atEdge = at, true, false
	return f.build(at, 0), true
}

// Due is the earliest moment at which Tick may give a record if nothing more is told; what is told changes it.
func (f *Fuser) Due(now time.Duration) time.Duration {
	if !f.begun {
		return now
	}
	at := f.last + f.interval()
	if f.hasEpoch {
		at = max(at, f.epochAt+f.patience())
	}
	switch m, ok := f.speed.latest(); {
	case ok && now-m < maxSpeedAge:
		if m-f.last < f.interval() { // then on the next answer, or when this one is too old
			at = max(at, m+maxSpeedAge)
		}
	case f.live:
		at = max(at, f.last+f.interval()+f.patience())
	}
	if f.moving {
		at = min(at, f.speedAt+fadeAfter)
	}
	return at
}

// moment is when an epoch was, on the boottime clock: by its UTC time, where somebody vouches for it, since its sentences
// arrive late and unevenly; else when they arrived.
func (f *Fuser) moment(x gps.Fix, utc time.Time) time.Duration {
	if utc.IsZero() {
		return x.Mono
	}
	arrival, src := f.opts.Clock.At(x.Mono)
	delay := arrival.Sub(utc)
	if src == clock.None || delay < 0 || delay > maxEpochDelay {
		return x.Mono
	}
	return x.Mono - delay
}

// patience is how long after the last epoch the next one is still waited for.
func (f *Fuser) patience() time.Duration {
	return max(maxFixAge, 2*min(f.epochGap, 5*time.Second))
}

func (f *Fuser) interval() time.Duration {
	if f.moving {
		return f.opts.Interval
	}
	return f.opts.ParkedInterval
}

// due reports whether a record of an epoch is: it is the first, or the interval is over, or will be within slack.
func (f *Fuser) due(at, slack time.Duration) bool {
	interval := f.interval()
	return !f.any || at-f.last >= interval-min(slack, interval/2)
}

// move notes whether the vehicle moves, and gives a record when that changes.
func (f *Fuser) move(moving bool, at time.Duration) (record.Record, bool) {
	if moving == f.moving {
		return record.Record{}, false
	}
	f.moving = moving
	if !moving {
		f.last = at // the parked interval counts from the stop; a start leaves the next epoch due
	}
	return f.edge(at)
}

// fade ends the move of a vehicle of whose speed nobody has told for a while: the last one does not outlive its source.
func (f *Fuser) fade(now time.Duration) (record.Record, bool) {
	if !f.moving || now-f.speedAt < fadeAfter {
		return record.Record{}, false
	}
	f.slow = false
	return f.move(false, now)
}

// moveByGPS does so from the speed over ground, when the car does not say.
func (f *Fuser) moveByGPS(x gps.Fix, at time.Duration) (record.Record, bool) {
	if m, ok := f.speed.latest(); ok && at-m < maxSpeedAge {
		f.slow = false
		return record.Record{}, false
	}
	kmh := x.Speed * kmhPerMS
	switch {
	case !x.HasPosition() || math.IsNaN(kmh):
		return record.Record{}, false
	case kmh >= startGPS:
		f.slow = false
		return f.move(true, at)
	case kmh >= stopGPS:
		f.slow = false
		return record.Record{}, false
	case !f.slow:
		f.slow, f.slowFrom = true, at
		return record.Record{}, false
	case at-f.slowFrom >= stopTime:
		return f.move(false, at)
	}
	return record.Record{}, false
}

// compare watches whether car and receiver agree on the speed.
func (f *Fuser) compare(x gps.Fix, at time.Duration) {
	car, _, ok := f.speed.at(at - f.lag.state.Applied)
	ground := float64(x.Speed * kmhPerMS) // not fused with the subtraction below
	if !ok || !x.HasPosition() || math.IsNaN(ground) ||
		math.Abs(car-ground) <= max(mismatchKMH, mismatchShare*max(car, ground)) {
		f.differ = false
		return
	}
	if !f.differ {
		f.differ, f.differFrom = true, at
	}
}

// edge is a record outside of the interval.
func (f *Fuser) edge(at time.Duration) (record.Record, bool) {
	f.any, f.atEdge = true, true
	return f.build(at, 0), true
}

// decorate adds what only a record on an epoch has: the epoch's own time.
func (f *Fuser) decorate(r *record.Record, utc time.Time, jump bool) {
	if !utc.IsZero() && r.TimeSrc == clock.GNSS {
		r.Time = utc
	}
	if jump {
		r.Flags = append(r.Flags, record.FlagJump)
	}
}
