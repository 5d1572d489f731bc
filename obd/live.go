package obd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	// voltageInterval is how often the adapter's supply is read while the car answers; this is not a request on the bus.
	voltageInterval = 10 * time.Second
	// missMax is how often in a row a further signal may have no answer before it counts as unsupported on this connection.
	missMax = 5
	// offAfter is how many requests in a row must fail the way a car that is off makes them fail before that is looked into.
	offAfter = 3
	// badAfter is how many replies in a row must be senseless before the adapter is set up again.
	badAfter = 5
	// sureLow and sureHigh are how often a car that went silent is asked once more before it counts as parked: less if the
	// voltage says that its engine is off, more if the alternator works. surePause lies between.
	sureLow, sureHigh = 2, 6
	surePause         = 2 * time.Second
	// maxLatency is how long an answer may take: it was true at some moment in between, and half a second is what a speed may be
	// off in time at most. K-line takes 150 ms; only a bus that is woken again takes longer.
	maxLatency = time.Second
	// heartbeat is how often a car is asked anything at all if it has none of the signals.
	heartbeat = 5 * time.Second
	// vinTries is how often an unread VIN is asked for again after connecting, at vinFirst, then twice that, and so on: an ECU
	// that has just been switched on may not be ready.
	vinTries, vinFirst = 5, 10 * time.Second
)

// connect sets the adapter up and learns about the car. With prove set, a car that answers must also run, else
// errResting: its ECU may just have been woken by being asked.
func (c *Car) connect(ctx context.Context, s *session, wide, prove bool) (link, error) {
	if err := s.rouse(ctx); err != nil {
		return link{}, err
	}
	memoryOff, err := s.setUp(ctx)
	if err != nil {
		return link{}, err
	}
	count := c.pace(s)
	l, err := s.search(ctx, c.learned, wide, memoryOff, count)
	if err != nil {
		return link{}, err
	}
	if l.protocol.code != 0 {
		c.learned = l.protocol
	}
	l.suffixProof = c.lastCar(s.identity).Suffix
	possible := l.suffix
	l.suffix = possible && !l.suffixProof.hopeless()
	if err := s.tryOut(ctx, &l, count); err != nil {
		return link{}, err
	}
	if possible {
		l.suffixProof = l.suffixProof.after(l.suffix)
	}
	if err := c.readVoltage(ctx, s); err != nil {
		return link{}, err
	}
	if prove {
		rest, err := c.engineOff(ctx, s, l)
		if err != nil {
			return link{}, err
		}
		if v := c.Status().Voltage; rest && v < restLevel {
			return link{}, fmt.Errorf("%w (%.1f V)", errResting, v)
		}
	}
	if err := s.readSupported(ctx, &l, count); err != nil {
		return link{}, err
	}
	vehicle := Vehicle{Protocol: l.protocol.name, ECU: l.ecu, Adapter: s.identity}
	for range 2 {
		if vehicle.VIN, err = s.readVIN(ctx, l, count); err == nil {
			break
		}
		if fatal(ctx, err) || s.dead >= deadMax {
			return link{}, err
		}
		c.failed(err)
	}
	if len(c.others) > 0 {
		l.multiProof = c.rememberedCar(vehicle).Multi
		if err := s.proveMulti(ctx, &l, count); err != nil {
			return link{}, err
		}
	}
	if err := s.hurry(ctx, &l, count); err != nil {
		return link{}, err
	}
	c.tellVehicle(vehicle)
	c.remember(vehicle, l)
	return l, nil
}

func (c *Car) tellVehicle(v Vehicle) {
	c.update(func(st *Status) { st.Vehicle = v })
	if c.handler.Vehicle != nil {
		c.handler.Vehicle(v)
	}
}

// readVoltage reads the adapter's supply into the status. Its errors are fatal ones; an adapter that cannot tell is no error.
func (c *Car) readVoltage(ctx context.Context, s *session) error {
	v, err := s.voltage(ctx)
	if fatal(ctx, err) {
		return err
	}
	if err != nil {
		v = math.NaN()
	}
	c.update(func(st *Status) { st.Voltage = v })
	return nil
}

// engineOff asks for the engine's revolutions. A car that does not tell (electric, or refuses) counts as off: the caller
// has other signs. Its errors are fatal ones.
func (c *Car) engineOff(ctx context.Context, s *session, l link) (bool, error) {
	if !l.supported.has(0x0C) {
		return true, nil
	}
	sig, _ := signalByName(Signals(), "rpm")
	if err := c.pace(s)(ctx); err != nil {
		return false, err
	}
	data, _, err := s.query(ctx, l, 1, sig.PID, deadlineOf(l))
	if fatal(ctx, err) {
		return false, err
	}
	if err != nil {
		return true, nil
	}
	rpm, err := sig.Decode(data)
	return err != nil || rpm == 0, nil
}

func deadlineOf(l link) time.Duration {
	if l.framing.can() {
		return deadlineOBD
	}
	return deadlineSlow
}

// A drive is the live state of one connection.
type drive struct {
	c     *Car
	s     *session
	l     link
	sched *schedule
	count counter

	trouble trouble
	packs   []packed

	off, bad  int  // failures in a row, of the kinds that offAfter and badAfter count
	ran       bool // the engine was seen at work, or the car moving
	moving    bool // by the last speed answer
	rest      restWatch
	voltageAt time.Duration // when the supply is read next
	vinAt     time.Duration // when the VIN is asked for next
	vinLeft   int
	vinWait   time.Duration
}

// live asks the car until it stops answering. The error says why; ran tells whether there was a drive.
func (c *Car) live(ctx context.Context, s *session, l link) (ran bool, err error) {
	now := c.opt.Now()
	d := &drive{c: c, s: s, l: l, count: c.pace(s), voltageAt: now + voltageInterval, vinWait: vinFirst}
	d.sched = newSchedule(c.opt.MaxRate, c.speed, c.others, c.opt.Period)
	d.sched.pack = l.multi
	c.measure(d.sched)
	c.update(func(st *Status) { st.AskedHz = float64(time.Second) / float64(d.sched.speed.period) })
	st := c.Status()
	d.ran = st.Voltage > wakeLevel
	if st.Vehicle.VIN == "" {
		d.vinLeft, d.vinAt = vinTries, now+vinFirst
	}
	vin := st.Vehicle.VIN
	if vin == "" {
		vin = "the car does not tell its VIN"
	}
	c.setState(StateLive, fmt.Sprintf("%s, ECU %s; %s", l.protocol.name, l.ecu, vin))
	d.reportUnsupported()
	for {
		if err := ctx.Err(); err != nil {
			return d.ran, err
		}
		if s.sleepSure {
			return d.ran, fmt.Errorf("it said LP ALERT: %w", ErrRestarted)
		}
		if err := d.keepHouse(ctx); err != nil {
			return d.ran, err
		}
		batch, wait := d.sched.next(c.opt.Now())
		if batch != nil {
			err = d.ask(ctx, batch)
		} else {
			err = d.wait(ctx, wait)
		}
		if err != nil {
			return d.ran, err
		}
	}
}

// reportUnsupported says once of each signal that the ECU does not claim that it is absent, and switches it off.
func (d *drive) reportUnsupported() {
	d.disclaim(d.sched.speed)
	for _, t := range d.sched.other {
		d.disclaim(t)
	}
}

func (d *drive) disclaim(t *task) {
	if t.signal.service() == 1 && !d.l.supported.has(t.signal.PID) {
		d.drop(t, fmt.Errorf("%s: ECU %s does not list PID %02X: %w", t.signal.Name, d.l.ecu, t.signal.PID, ErrUnsupported))
	}
}

// drop stops asking for a signal and says so.
func (d *drive) drop(t *task, err error) {
	t.off = true
	d.c.update(func(*Status) {
		if m := d.c.meter(t.signal.Name); m != nil {
			m.unsupported = true
		}
	})
	d.c.deliver(Sample{Signal: t.signal.Name, Value: math.NaN(), Mono: d.c.opt.Now(), ECU: d.l.ecu, Err: err})
}

// wait lets the time until the next request pass, and asks for a sign of life if nothing else is asked.
func (d *drive) wait(ctx context.Context, wait time.Duration) error {
	if err := d.s.idle(ctx, time.Now().Add(wait)); err != nil {
		return err
	}
	if d.c.opt.Now()-d.c.asked < heartbeat {
		return nil
	}
	if err := d.count(ctx); err != nil {
		return err
	}
	_, _, err := d.s.query(ctx, d.l, 1, 0, deadlineOf(d.l))
	return d.judge(ctx, err)
}

// judge decides what an outcome means for the connection: nil to go on.
func (d *drive) judge(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, ErrNegative), errors.Is(err, ErrImplausible), errors.Is(err, ErrLate):
		d.off, d.bad = 0, 0
		return nil
	case fatal(ctx, err):
		return err
	case d.s.dead >= deadMax:
		return err
	case errors.Is(err, ErrTimeout):
		return nil
	case carOff(err):
		d.bad = 0
		if d.off++; d.off < offAfter {
			return nil
		}
		d.off = 0
		return d.makeSure(ctx, err)
	}
	// Senseless replies: headers or echo may have come back with a restart of the adapter that nobody saw.
	if d.bad++; d.bad >= badAfter {
		return fmt.Errorf("%d senseless replies in a row: %w: %w", d.bad, errSettings, err)
	}
	return nil
}

// makeSure asks a car that went silent for a sign of life. It returns nil if there is one, and why if there is none.
func (d *drive) makeSure(ctx context.Context, why error) error {
	tries := sureLow
	if err := d.c.readVoltage(ctx, d.s); err != nil {
		return err
	}
	if d.c.Status().Voltage > wakeLevel {
		tries = sureHigh
	}
	// Not with the short wait: a gateway that has grown slow is not a car that is off.
	if err := d.s.unhurry(ctx, &d.l); err != nil {
		return err
	}
	for i := range tries {
		if i > 0 {
			if err := d.s.idle(ctx, time.Now().Add(surePause)); err != nil {
				return err
			}
		}
		if err := d.count(ctx); err != nil {
			return err
		}
		_, _, err := d.s.query(ctx, d.l, 1, 0, deadlineSlow)
		if err == nil || errors.Is(err, ErrNegative) {
			return nil
		}
		if fatal(ctx, err) || d.s.dead >= deadMax {
			return err
		}
		why = err
		if !carOff(err) {
			why = fmt.Errorf("%w: %w", ErrNoData, err)
		}
	}
	return fmt.Errorf("the car stopped answering: %w", why)
}

// keepHouse does what is due besides the signals: voltage, rest, VIN.
func (d *drive) keepHouse(ctx context.Context) error {
	now := d.c.opt.Now()
	if d.ran && d.c.memory.Retries > 0 {
		// A drive ends the back-off of the last parking; the supply may go with the ignition, before live returns.
		d.c.parkedSince(0)
	}
	if now >= d.voltageAt {
		d.voltageAt = now + voltageInterval
		if err := d.c.readVoltage(ctx, d.s); err != nil {
			return err
		}
		v := d.c.Status().Voltage
		d.ran = d.ran || v > wakeLevel
		if d.rest.rests(now, d.moving, v) {
			off, err := d.c.engineOff(ctx, d.s, d.l)
			if err != nil {
				return err
			}
			if off {
				return fmt.Errorf("%w: no motion and %.1f V for %v", errResting, v, restTime)
			}
			d.rest = restWatch{}
		}
	}
	if err := d.troubleStep(ctx); err != nil {
		return err
	}
	if d.vinLeft > 0 && now >= d.vinAt {
		d.vinLeft--
		d.vinWait *= 2
		d.vinAt = now + d.vinWait
		var vin string
		err := d.loosened(ctx, func() (err error) {
			vin, err = d.s.readVIN(ctx, d.l, d.count)
			return err
		})
		if fatal(ctx, err) || errors.Is(err, errSettings) {
			return err
		}
		if err != nil {
			d.c.failed(err)
			return nil
		}
		d.vinLeft = 0
		v := d.c.Status().Vehicle
		v.VIN = vin
		d.c.tellVehicle(v)
		d.c.remember(v, d.l)
	}
	return nil
}
