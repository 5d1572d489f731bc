package obd

import (
	"fmt"
	"time"
)

// Numbers of the parked state. A lead battery at rest has 12.6 V and less, one that is being charged 13.2 V and more.
const (
	// parkInterval is how often the adapter's supply is read.
	parkInterval = 30 * time.Second
	// wakeStep is the rise of the voltage between readings that means that a starter or a charger is at work. AutoPi's STN
	// settings use the same 0.20 V; a level alone fails with smart alternators (meatpiHQ/wican-fw#840).
	wakeStep = 0.2
	// wakeLevel is the voltage above which an alternator is at work.
	wakeLevel = 13.2
	// rearmLevel is the voltage below which wakeLevel counts again: a van on a charger sits above for days.
	rearmLevel = 13.0
	// stepGap and stepGapMax space attempts after voltage steps that did not find the car on: a load that comes and goes
	// must not become polling.
	stepGap, stepGapMax = 30 * time.Second, 10 * time.Minute
	// motionGap and motionGapMax space attempts after reported motion: a van on a ferry or a tow truck moves with its ignition off.
	motionGap, motionGapMax = 5 * time.Second, 5 * time.Minute
	// retryFirst and retryMax bound the attempts without any sign: 1, 2, 4 ... 60 minutes.
	retryFirst, retryMax = time.Minute, time.Hour
	// restLevel is the voltage below which a standing car's engine counts as off although its ECU answers; WiCAN sleeps below
	// the same 13.1 V.
	restLevel = 13.1
	// restTime is how long that must have lasted.
	restTime = 3 * time.Minute
)

// A parkPolicy decides when a parked car is asked whether it is on. It is pure: time and voltage come in. Its attempts are
// the only requests on the bus of a parked car.
type parkPolicy struct {
	last    [3]float64 // readings, newest first; 0: none
	armed   bool       // wakeLevel counts
	retryAt time.Duration
	retries int
	step    gate
	motion  gate
	reopen  gate
}

// gate spaces attempts of one cause: the gap doubles with each.
type gate struct {
	open time.Duration
	n    int
}

func (g *gate) pass(now, gap, most time.Duration) bool {
	if now < g.open {
		return false
	}
	g.open = now + doubled(gap, g.n, most)
	g.n++
	return true
}

// doubled is d times two to the n, at most limit.
func doubled(d time.Duration, n int, limit time.Duration) time.Duration {
	for ; n > 0 && d < limit; n-- {
		d *= 2
	}
	return min(d, limit)
}

// newParkPolicy begins a parking; retries is how often the car was asked in it without a sign before a restart. spread, 0 to 1, keeps a depot
// of vans from waking in step: up to a tenth is added to the waits.
func newParkPolicy(now time.Duration, retries int, spread float64) *parkPolicy {
	p := &parkPolicy{retries: max(retries, 0)}
	p.plan(now, spread)
	return p
}

func (p *parkPolicy) plan(now time.Duration, spread float64) {
	d := doubled(retryFirst, p.retries, retryMax)
	p.retryAt = now + d + time.Duration(spread*float64(d)/10)
}

// reading takes a voltage in V and says why the car should be asked, or "".
func (p *parkPolicy) reading(now time.Duration, volts float64) string {
	low := 0.0
	for _, v := range p.last {
		if v != 0 && (low == 0 || v < low) {
			low = v
		}
	}
	p.last = [3]float64{volts, p.last[0], p.last[1]}
	if low == 0 {
		// The first reading of a parking is its rest: the alternator's afterglow is no sign.
		p.armed = volts < rearmLevel
		return ""
	}
	if volts < rearmLevel {
		p.armed = true
	}
	// The tolerance is for adapters that count in tenths: 12.6 - 12.4 is a hair less than 0.2 in binary.
	if volts-low >= wakeStep-0.001 && p.step.pass(now, stepGap, stepGapMax) {
		p.last = [3]float64{volts}
		p.armed = p.armed && volts <= wakeLevel
		return fmt.Sprintf("voltage rose from %.1f to %.1f V", low, volts)
	}
	if p.armed && volts > wakeLevel && p.step.pass(now, stepGap, stepGapMax) {
		p.armed = false
		return fmt.Sprintf("voltage is %.1f V: the alternator works", volts)
	}
	return ""
}

// moved takes the news that the vehicle moves.
func (p *parkPolicy) moved(now time.Duration) string {
	if p.motion.pass(now, motionGap, motionGapMax) {
		return "the vehicle moves"
	}
	return ""
}

// reopened takes the news that the adapter was lost and is back, and tells whether the car should be asked.
func (p *parkPolicy) reopened(now time.Duration) bool {
	return p.reopen.pass(now, stepGap, stepGapMax)
}

// timer says whether a retry without a sign is due.
func (p *parkPolicy) timer(now time.Duration, spread float64) string {
	if now < p.retryAt {
		return ""
	}
	p.retries++
	p.plan(now, spread)
	return fmt.Sprintf("retry %d without a sign", p.retries)
}

// A restWatch notices a car that stands with its engine off but whose ECU goes on answering, because it is asked: that
// would empty the battery. It is pure.
type restWatch struct {
	since   time.Duration
	resting bool
}

// rests takes the newest facts and tells whether the car has been at rest for restTime. Unknown (NaN) voltage never rests.
func (w *restWatch) rests(now time.Duration, moving bool, volts float64) bool {
	if moving || !(volts < restLevel) {
		w.resting = false
		return false
	}
	if !w.resting {
		w.resting, w.since = true, now
	}
	return now-w.since >= restTime
}
