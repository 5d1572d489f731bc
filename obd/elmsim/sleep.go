package elmsim

import (
	"context"
	"strings"
	"time"
)

const (
	// lowPowerIn and idleSleepIn are the times from LP ALERT and from ACT ALERT to sleep (DSJ, "Low Power": 2 s, and one minute).
	lowPowerIn, idleSleepIn = 2 * time.Second, time.Minute
	// wakeUp is how long the chip hears nothing after it was woken: the data sheet tells a program to wait a second.
	wakeUp = 900 * time.Millisecond
	// resetTime is how long ATZ takes: half a second to a second.
	resetTime = 700 * time.Millisecond
	// latencyTimer is how long an FTDI chip keeps a short piece to itself, by default.
	latencyTimer = 16 * time.Millisecond
)

// lock says until when a chip is mute.
type lock int

const (
	free lock = iota
	lockedUntilOpened
	lockedForGood
)

func (s *Sim) locked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lock != free
}

// Sleep puts the chip to sleep at once, without a word.
func (s *Sim) Sleep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asleep = true
}

// Awake tells whether the chip is awake.
func (s *Sim) Awake() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.asleep
}

// Rouse wakes the chip by another way than its serial line, such as the ignition; on a connection it tells its name then.
func (s *Sim) Rouse() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Leave has AT commands done before, as somebody did who used the adapter and left it so.
func (s *Sim) Leave(commands ...string) {
	l := &line{sim: s}
	for _, c := range commands {
		l.at(strings.ToUpper(c))
	}
}

// dip restarts the chip as a dip of its supply does, or a fatal fault of its CAN module: settings are lost, and its searches leave the CAN
// protocols out until that is forgotten (data sheet of the ELM327 v2, FE and PP 2A).
func (s *Sim) dip() {
	s.PowerCycle()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noCANSearch = true
}

// Crank lets the supply dip as a starter does; on a connection the chip says LV RESET unasked then.
func (s *Sim) Crank() {
	s.dip()
	select {
	case s.cranked <- struct{}{}:
	default:
	}
}

// banner is what the chip says after a restart. The caller holds mu.
func (s *Sim) banner() []string {
	if s.opt.Personality.Noise {
		return []string{"", "", "\xfc", "", s.opt.Personality.Name}
	}
	return []string{"", "", s.opt.Personality.Name}
}

// rest lets time go by within a reply.
func (l *line) rest(ctx context.Context, d time.Duration) error {
	if now := time.Now(); l.clock.Before(now) {
		l.clock = now
	}
	l.clock = l.clock.Add(d)
	return l.sleep(ctx)
}

// next waits for a byte. ok is false if it was not heard as one: the chip went to sleep, or was woken.
func (l *line) next(ctx context.Context) (b byte, ok bool, err error) {
	s := l.sim
	var alert, sleep <-chan time.Time
	if s.opt.SleepAfter > 0 && l.sleepAt.IsZero() && s.Awake() {
		timer := time.NewTimer(s.opt.SleepAfter)
		defer timer.Stop()
		alert = timer.C
	}
	if !l.sleepAt.IsZero() {
		timer := time.NewTimer(time.Until(l.sleepAt))
		defer timer.Stop()
		sleep = timer.C
	}
	select {
	case <-ctx.Done():
		return 0, false, ctx.Err()
	case <-alert:
		l.sleepAt, l.idle = time.Now().Add(idleSleepIn), true
		return 0, false, l.lines(ctx, []string{"ACT ALERT"}, NoFault)
	case <-sleep:
		l.sleepAt, l.idle = time.Time{}, false
		s.Sleep()
		return 0, false, nil
	case <-s.cranked:
		return 0, false, l.lines(ctx, []string{"", "LV RESET"}, NoFault)
	case <-s.poke:
		return 0, false, l.wake(ctx)
	case b, ok = <-l.in:
	}
	if !ok {
		return 0, false, errEnd
	}
	if !s.Awake() {
		return 0, false, l.wake(ctx)
	}
	if l.idle { // a byte is activity, and takes the alert back; LP ALERT stays
		l.sleepAt, l.idle = time.Time{}, false
	}
	return b, true, nil
}

// wake restarts a chip that slept: the byte that woke it and those that come meanwhile are lost, as are its settings.
func (l *line) wake(ctx context.Context) error {
	s := l.sim
	timer := time.NewTimer(wakeUp)
	defer timer.Stop()
	for over := false; !over; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-l.in:
			if !ok {
				return errEnd
			}
		case <-timer.C:
			over = true
		}
	}
	s.mu.Lock()
	s.set, s.asleep = s.opt.defaults(), false
	banner := s.banner()
	s.mu.Unlock()
	l.clock = time.Now()
	return l.lines(ctx, banner, NoFault)
}
