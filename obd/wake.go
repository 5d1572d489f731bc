package obd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Low power (DSJ, "Power Control"). A chip that goes to sleep says LP ALERT two seconds before, whatever is sent to it then, or
// ACT ALERT a minute before, which any byte takes back. Asleep it hears a low level of 128 µs and more on its receive line, loses
// that byte and those of the next second, and wakes up as after ATWS: with all settings lost.
const (
	// lowPowerIn and idleSleepIn are the times from the alerts to sleep, with a margin.
	lowPowerIn, idleSleepIn = 2200 * time.Millisecond, 60 * time.Second
	// wakeTime is the second that a woken chip needs, with a margin.
	wakeTime = 1200 * time.Millisecond
	// wakeBaud is the speed at which a space is a wake-up call: its start bit and five zeros last 156 µs.
	wakeBaud = 38400
	// wakeCall is the shortest thing that an awake chip ignores and that wakes one that sleeps.
	wakeCall = " "
	// sleepInterval is how often the supply is read through an adapter that wants to sleep while the car is parked: it draws tens of mA
	// awake and some 2 mA asleep. Motion, and what wakes the adapter by itself, are heard at once.
	sleepInterval = 10 * time.Minute
)

// errStirred means that an adapter that slept has spoken: something has woken it, most likely the ignition.
var errStirred = errors.New("the adapter has woken up")

// notice looks for an alert in what was read.
func (s *session) notice(raw []byte) {
	if !bytes.Contains(raw, []byte("ALERT")) {
		return
	}
	text := squeeze(string(raw))
	switch {
	case strings.Contains(text, "LPALERT"):
		s.sleepAt, s.sleepSure = time.Now().Add(lowPowerIn), true
	case strings.Contains(text, "ACTALERT") && !s.sleepSure:
		s.sleepAt = time.Now().Add(idleSleepIn)
	}
}

// drowsy tells whether the chip has said that it goes to sleep, and nothing has been sent that would keep it awake.
func (s *session) drowsy() bool { return !s.sleepAt.IsZero() }

// asleep tells whether it sleeps by now.
func (s *session) asleep() bool { return s.drowsy() && !time.Now().Before(s.sleepAt) }

// rouse wakes a chip that has said that it goes to sleep; its settings are lost then. It does nothing to one that is awake.
func (s *session) rouse(ctx context.Context) error {
	if !s.drowsy() {
		return nil
	}
	if s.sleepSure { // it cannot be kept from it
		if err := s.drain(ctx, time.Until(s.sleepAt), s.sleepAt); err != nil {
			return fmt.Errorf("wake the adapter: %w", err)
		}
	}
	return s.call(ctx)
}

// call wakes a chip that may be asleep.
func (s *session) call(ctx context.Context) error {
	s.sleepAt, s.sleepSure = time.Time{}, false
	s.dirty, s.echoless = true, false // that it has restarted is no news
	if err := s.write(ctx, wakeCall, ""); err != nil {
		return fmt.Errorf("wake the adapter: %w", err)
	}
	if err := s.drain(ctx, wakeTime, time.Now().Add(wakeTime)); err != nil {
		return fmt.Errorf("wake the adapter: %w", err)
	}
	return nil
}

// restarted tells whether a chip's name stands in the reply to another question: it has restarted or was woken by the request.
func restarted(cmd string, raw []byte) error {
	if bytes.Contains(raw, []byte("ELM327")) {
		return fmt.Errorf("%s: %w", cmd, ErrRestarted)
	}
	return nil
}
