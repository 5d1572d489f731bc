package agent

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"obdagent/agent/clock"
	"obdagent/agent/config"
	"obdagent/agent/fusion"
	"obdagent/agent/record"
	"obdagent/gps"
	"obdagent/obd"
)

// send hands an event to fusion without ever making a source wait.
func (a *Agent) send(e event) {
	select {
	case a.events <- e:
	default:
		a.dropped.Add(1)
	}
}

// customPIDs are the user's own.
func customPIDs(cfg *config.Config) []obd.Custom {
	var all []obd.Custom
	for _, p := range cfg.OBD.PID {
		all = append(all, obd.Custom{Name: p.Name, Request: p.Request, Bytes: p.Bytes, Formula: p.Formula, Unit: p.Unit, Min: p.Min, Max: p.Max, Period: p.Period})
	}
	return all
}

func (a *Agent) carHandler() obd.Handler {
	return obd.Handler{
		Sample: func(s obd.Sample) {
			if s.Signal == obd.SignalSpeed {
				a.tookSpeed(s)
			}
			a.send(event{sample: &s})
		},
		Vehicle: func(v obd.Vehicle) {
			a.transition("vehicle", "", "known", "VIN "+orUnknown(v.VIN)+", "+v.Protocol+", ECU "+v.ECU+", adapter "+v.Adapter)
			a.send(event{vehicle: &v})
		},
		Trouble: func(t obd.Trouble) {
			if t.MIL || t.Count > 0 {
				a.transition("trouble", "", strings.Join(t.Stored, ","), fmt.Sprintf("lamp on: %t, %d stored, pending %s", t.MIL, t.Count, strings.Join(t.Pending, ",")))
			}
			for _, e := range t.Others {
				a.transition("trouble", "", strings.Join(e.Stored, ","), fmt.Sprintf("ECU %s, pending %s", e.ECU, strings.Join(e.Pending, ",")))
			}
			a.send(event{trouble: &t})
		},
		State: func(c obd.StateChange) {
			a.transition("car", string(c.From), string(c.To), c.Reason)
			a.send(event{car: &c, at: clock.Boottime()})
			if c.To == obd.StateParked {
				// The ignition is off: the board's supply may follow.
				select {
				case a.commit <- struct{}{}:
				default:
				}
			}
		},
	}
}

// tookSpeed notes the latest speed, or why there is none.
func (a *Agent) tookSpeed(s obd.Sample) {
	if s.Err == nil {
		a.lastSpeed.Store(&s)
		a.noSpeed.Store(nil)
		return
	}
	why := obd.Reason(s.Err)
	a.noSpeed.Store(&why)
}

func (a *Agent) gpsHandler() gps.Handler {
	return gps.Handler{
		Fix:   func(x gps.Fix) { a.send(event{fix: &x}) },
		State: func(c gps.StateChange) { a.transition("gps", string(c.From), string(c.To), c.Reason) },
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

const (
	// tickLeast is the least time between two looks whether a record is due that no epoch brings.
	tickLeast = 10 * time.Millisecond
	// wakeSpeed is the speed over ground at which a parked car is asked whether it is really parked: clearly above the noise
	// of a receiver that stands.
	wakeSpeed = 15 / 3.6 // m/s
)

// fuse makes records of what the sources say, and appends them to the buffer. It is woken by what they say, and when a record is
// due that they do not bring: a timer that looks several times a second would keep a parked van's processor from sleeping.
func (a *Agent) fuse(ctx context.Context, f *fusion.Fuser) error {
	defer a.pulses.fusion.beat(0)
	a.pulses.fusion.beat(fuseMost) // the first event may come before the first tick
	due := time.NewTimer(0)
	defer due.Stop()
	// refit comes before each event: a new source's must meet the options that it came with.
	refit := func() {
		if o := a.refit.Swap(nil); o != nil {
			f.SetOptions(*o)
		}
	}
	tick := func() {
		now := clock.Boottime()
		if now >= f.Due(now) {
			r, ok := f.Tick(now)
			a.thin(r, ok, f.Edge())
		}
		// After a suspend, which timers do not count, it is late by lookEvery at most.
		wait := min(max(f.Due(now)-now, tickLeast), lookEvery)
		due.Reset(wait)
		a.pulses.fusion.beat(wait + fuseMost)
	}
	for {
		select {
		case <-ctx.Done():
			// The sources have stopped: what they said last is still taken.
			for {
				select {
				case e := <-a.events:
					refit()
					r, ok := a.feed(f, e)
					a.thin(r, ok, f.Edge())
				default:
					if a.curve != nil {
						a.keep(a.curve.Flush())
						a.leftOut.Store(a.curve.LeftOut())
					}
					return nil
				}
			}
		case e := <-a.events:
			refit()
			r, ok := a.feed(f, e)
			a.thin(r, ok, f.Edge())
			tick()
		case <-due.C:
			refit()
			tick()
		case <-a.refitted:
			refit()
			tick()
		}
	}
}

func (a *Agent) feed(f *fusion.Fuser, e event) (record.Record, bool) {
	if a.clockStep.Swap(false) {
		f.ClockStep()
	}
	switch {
	case e.sample != nil:
		return f.Sample(*e.sample)
	case e.vehicle != nil:
		f.Vehicle(*e.vehicle)
	case e.trouble != nil:
		f.Trouble(*e.trouble)
	case e.car != nil:
		return f.Car(*e.car, e.at)
	case e.fix != nil:
		return a.feedFix(f, *e.fix)
	}
	return record.Record{}, false
}

func (a *Agent) feedFix(f *fusion.Fuser, x gps.Fix) (record.Record, bool) {
	var utc time.Time
	// Only an epoch with a position has a time that satellites vouch for; without one it is the receiver's own clock.
	if x.HasPosition() && !x.Time.IsZero() {
		if t, trusted := a.clock.Epoch(x.Time, x.Mono); trusted {
			utc = t
		}
		if car := a.car.now(); car != nil && x.Speed > wakeSpeed {
			car.Wake()
		}
	}
	r, ok := f.Fix(x, utc)
	if lag, last := f.Lag(), a.lag.Load(); last == nil || lag != *last {
		a.lag.Store(&lag)
	}
	return r, ok
}

// thin keeps a record, if there is one, or with record.curve those that the drive is redrawn from.
func (a *Agent) thin(r record.Record, ok, edge bool) {
	switch {
	case !ok:
	case a.curve == nil:
		a.append(r)
	default:
		a.keep(a.curve.Add(r, edge))
		a.leftOut.Store(a.curve.LeftOut())
	}
}

// keep appends records to the buffer.
func (a *Agent) keep(records []record.Record) {
	for _, r := range records {
		a.append(r)
	}
}

func (a *Agent) append(r record.Record) {
	// This goroutine alone appends, so the next number is this record's; the encoder corrects one that turned out to be used.
	r.Seq = a.buffer.Stats().NextSeq
	if _, err := a.buffer.Append(r.AppendStored(nil)); err != nil {
		a.refused.Add(1)
		a.log.Debug("record refused by the buffer", "err", err)
		return
	}
	a.made.Add(1)
	a.lastMade.Store(int64(clock.Boottime()))
	if r.TimeSrc == clock.None {
		a.undated.Add(1)
	}
	a.page.Point(orNaN(r.Lat), orNaN(r.Lon), orNaN(r.Speed))
	if a.traffic.Watched() {
		a.traffic.Record(r.AppendJSON(nil))
	}
	if a.opts.OnRecord != nil {
		a.opts.OnRecord(r)
	}
}

func orNaN(v record.Float) float64 {
	if f, ok := v.Get(); ok {
		return f
	}
	return math.NaN()
}
