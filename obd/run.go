package obd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

const (
	// reopenFirst and reopenMax bound the wait before a port is opened again: 1, 2, 4 ... 60 s.
	reopenFirst, reopenMax = time.Second, time.Minute
	// reopenMaxNet is the most for a network adapter, whose return cannot be seen: a connect is one small packet on
	// the vehicle's own Wi-Fi, and it shall be live again within 5 s of its return.
	reopenMaxNet = 2500 * time.Millisecond
	// lookInterval is how often an absent device is looked for; a stat costs nothing.
	lookInterval = 500 * time.Millisecond
	// deadMax is how many commands in a row may go without a prompt before the port is opened anew. Some clones lock up
	// until then (PowerBroker2/ELMduino#69).
	deadMax = 3
	// resetMax is how many restarts of the adapter in a row are met by setting it up again before the port is given up.
	resetMax = 5
	// resetPause is the time that a chip which has restarted gets before it is spoken to.
	resetPause = time.Second
)

var (
	// errResting ends the live state of a car that stands with its engine off.
	errResting = errors.New("the car stands and its engine is off")
	// errSettings means that the adapter seems to have lost its settings.
	errSettings = errors.New("the adapter has lost its settings")
)

// Run looks for adapter and car and asks until ctx is done; then it returns nil. It returns an error only if the Car runs
// already: whatever happens to port, adapter or car is a state, told to the handler, and dealt with.
func (c *Car) Run(ctx context.Context, h Handler) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return errors.New("obd: this Car runs already")
	}
	c.running = true
	c.mu.Unlock()
	c.handler = h
	defer func() {
		c.setState(StateClosed, "stopped")
		c.mu.Lock()
		c.running = false
		c.status.Port = c.opt.Port
		c.mu.Unlock()
	}()
	for tries := 0; ctx.Err() == nil; tries++ {
		c.pulse()
		before := c.stat()
		useless := false // the adapter is there, and could not be worked with
		o, err := c.open(ctx)
		c.mute = err != nil && (errors.Is(err, ErrNotELM327) || errors.Is(err, ErrTalksUnasked))
		if err == nil {
			c.known, c.lastBaud = o.port, o.baud
			c.update(func(st *Status) {
				st.Baud, st.Cause = o.baud, ""
				st.Vehicle = Vehicle{Adapter: o.s.identity}
			})
			if c.learned.code == 0 {
				c.learned = c.lastCar(o.s.identity).protocol()
			}
			var served bool
			served, err = c.serve(ctx, o)
			o.close()
			if served {
				tries = 0
			}
			useless = !served && !errors.Is(err, ErrPortGone)
			err = fmt.Errorf("%s: %w", o.port, err)
		}
		if ctx.Err() != nil {
			break
		}
		c.ended(err)
		c.update(func(st *Status) { st.Voltage = math.NaN() })
		c.setState(StateAbsent, sayAbsent(err))
		c.pause(ctx, tries, before, useless)
	}
	return nil
}

// sayAbsent is the reason why there is no adapter, for a person.
func sayAbsent(err error) string {
	switch {
	case errors.Is(err, ErrPortGone):
		return err.Error() + "; check the adapter's plug and cable; it is looked for again"
	case errors.Is(err, ErrTimeout):
		return err.Error() + "; the port is opened anew; if this stays, unplug the adapter and plug it in again"
	case errors.Is(err, ErrNotELM327):
		return err.Error() + "; check that the adapter sits in the OBD socket and that the port is its"
	case errors.Is(err, ErrTalksUnasked):
		return err.Error() + "; it is left alone; name another port"
	}
	return err.Error()
}

// pulse tells that Run goes on.
func (c *Car) pulse() {
	if c.opt.Pulse != nil {
		c.opt.Pulse(roundMost)
	}
}

// stat looks at the configured device; nil if there is none to look at.
func (c *Car) stat() os.FileInfo {
	if c.opt.Dial != nil || !strings.HasPrefix(c.opt.Port, "/") {
		return nil
	}
	info, err := os.Stat(c.opt.Port)
	if err != nil {
		return nil
	}
	return info
}

// pause waits before the port is opened again: the longer the more often it failed, with jitter, but no longer than until a
// device appears that was not there before. A useless adapter gets the longest waits on a network, too: each try puts requests to the car.
func (c *Car) pause(ctx context.Context, tries int, before os.FileInfo, useless bool) {
	limit := reopenMax
	device := c.opt.Dial == nil && strings.HasPrefix(c.opt.Port, "/")
	auto := c.opt.Dial == nil && c.opt.Port == portAuto
	if !device && !auto && !useless {
		limit = reopenMaxNet
	}
	wait := doubled(reopenFirst, tries, limit)
	// Half of the wait is random, so that what fails together does not come back together.
	end := time.Now().Add(wait/2 + rand.N(wait/2+1))
	had := c.ports(auto)
	for ctx.Err() == nil && time.Now().Before(end) {
		c.pulse()
		timer := time.NewTimer(min(lookInterval, time.Until(end)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if device {
			now := c.stat()
			if now != nil && (before == nil || !os.SameFile(before, now)) {
				return
			}
			before = now
		}
		if auto {
			has := c.ports(auto)
			if has != had && len(has) > 0 {
				return
			}
			had = has
		}
	}
}

// ports is the list of candidates as one string; "" if not auto.
func (c *Car) ports(auto bool) string {
	if !auto {
		return ""
	}
	list, err := c.opt.Candidates()
	if err != nil {
		return ""
	}
	return strings.Join(list, " ")
}

// serve deals with an adapter that has been identified, until it is gone or does not answer any more: the error says
// which. served tells whether it worked at all.
func (c *Car) serve(ctx context.Context, o *opened) (served bool, err error) {
	wide, sign := true, true
	resets := 0
	// An adapter that was lost while the car was parked and is back may have got its supply with the ignition, so that is a sign;
	// but one whose plug is loose must not become polling.
	if c.parking != nil && !c.parking.reopened(c.opt.Now()) {
		c.setState(StateParked, o.s.identity+" is back; the car was off: "+leftAlone)
		if wide, sign, err = c.park(ctx, o.s, c.parking); err != nil {
			return true, err
		}
	}
	for {
		if sign {
			c.setState(StateSearch, fmt.Sprintf("%s on %s; looking for the car", o.s.identity, o.port))
		}
		l, err := c.connect(ctx, o.s, wide, !sign)
		if err == nil {
			served, resets = true, 0
			var ran bool
			ran, err = c.live(ctx, o.s, l)
			if ran {
				// A drive lies between this parking and the last: the back-off begins anew.
				c.parking = nil
				c.parkedSince(0)
			}
		}
		switch {
		case ctx.Err() != nil:
			return served, ctx.Err()
		case errors.Is(err, ErrPortGone), o.s.dead >= deadMax:
			return served, err
		case errors.Is(err, errResting), carOff(err):
			served, resets = true, 0
		case resets < resetMax && !errors.Is(err, ErrTimeout):
			// The adapter has restarted or got confused: set it up again.
			resets++
			c.ended(err)
			c.setState(StateSearch, err.Error()+"; setting the adapter up again")
			if err := o.s.idle(ctx, time.Now().Add(resetPause)); err != nil && !errors.Is(err, ErrLVReset) && !errors.Is(err, errStirred) {
				return served, err
			}
			// Whether something points to the car being on has not changed: one that is asked without a sign must not be polled.
			wide = true
			continue
		default:
			return served, err
		}
		now := c.opt.Now()
		if c.parking == nil {
			c.parking = newParkPolicy(now, c.memory.Retries, rand.Float64())
		}
		if !errors.Is(err, errResting) {
			c.ended(err)
		} else {
			c.update(func(st *Status) { st.Cause = "" })
		}
		c.setState(StateParked, err.Error()+"; "+leftAlone)
		if wide, sign, err = c.park(ctx, o.s, c.parking); err != nil {
			return served, err
		}
	}
}

// leftAlone is what happens to a parked car.
const leftAlone = "its bus is left alone until voltage or motion tell that it is on"

// parkedSince keeps how often the parked car was asked without a sign, for the next start.
func (c *Car) parkedSince(retries int) {
	m := c.memory
	m.Retries = retries
	c.keep(m)
}

// park waits until the car should be asked again. sign tells whether something points to it being on; wide whether all
// protocols are to be tried.
func (c *Car) park(ctx context.Context, s *session, p *parkPolicy) (wide, sign bool, err error) {
	c.mu.Lock()
	c.moved = false
	c.mu.Unlock()
	read := c.opt.Now() - sleepInterval // when the supply was read
	for {
		now := c.opt.Now()
		interval := parkInterval
		if s.drowsy() {
			interval = sleepInterval // it is let sleep
		}
		if now >= read+interval {
			read = now
			if err := s.rouse(ctx); err != nil {
				return false, false, err
			}
			v, err := s.voltage(ctx)
			switch {
			case errors.Is(err, ErrLVReset):
				return true, true, nil // the supply dips when the starter turns
			case errors.Is(err, ErrRestarted):
				s.echoless = false // parked, its settings do not matter
				read = now - sleepInterval
				continue
			case fatal(ctx, err), s.dead >= deadMax:
				return false, false, err
			case errors.Is(err, ErrTimeout):
				read = now - sleepInterval // asked again at once, up to deadMax times
			}
			c.update(func(st *Status) { st.Voltage = v })
			if err == nil {
				if why := p.reading(now, v); why != "" {
					c.opt.Logger.Debug("wake", "why", why)
					return true, true, nil
				}
			} else {
				c.update(func(st *Status) { st.Voltage = math.NaN() })
			}
		}
		if why := p.timer(now, rand.Float64()); why != "" {
			c.opt.Logger.Debug("wake", "why", why)
			c.parkedSince(p.retries)
			return false, false, nil
		}
		moved, err := c.wait(ctx, s, min(read+interval, p.retryAt)-now)
		if errors.Is(err, ErrLVReset) || errors.Is(err, errStirred) {
			return true, true, nil
		}
		if err != nil {
			return false, false, err
		}
		if moved && p.moved(c.opt.Now()) != "" {
			return true, true, nil
		}
	}
}

// wait listens to the parked adapter until the time is up or Wake is called.
func (c *Car) wait(ctx context.Context, s *session, d time.Duration) (moved bool, err error) {
	nap, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := s.watch(nap)
	defer stop()
	c.mu.Lock()
	c.rouse = cancel
	c.mu.Unlock()
	err = s.idle(nap, time.Now().Add(d))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rouse = nil
	moved, c.moved = c.moved, false
	if ctx.Err() == nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	return moved, err
}

// pace holds a request back to keep the cap on requests a second, and counts it.
func (c *Car) pace(s *session) counter {
	gap := time.Duration(float64(time.Second) / c.opt.MaxRate)
	return func(ctx context.Context) error {
		if wait := c.asked + gap - c.opt.Now(); c.asked != 0 && wait > 0 {
			if err := s.idle(ctx, time.Now().Add(wait)); err != nil {
				return err
			}
		}
		c.asked = c.opt.Now()
		c.update(func(st *Status) { st.Requests++ })
		return nil
	}
}
