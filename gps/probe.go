package gps

import (
	"fmt"
	"time"
)

const (
	// lockOn is how many sentences with a good checksum prove a line speed.
	lockOn = 2
	// listenFor is how long one speed is listened to: a 1 Hz receiver has sent a burst in it.
	listenFor = 1500 * time.Millisecond
	// noiseEnough is how many bytes without a sentence prove that a speed is wrong before the time is over: more than the
	// binary part of an epoch of receivers that mix both (some 2 kB in a u-blox ZED-F9T's recording).
	noiseEnough = 4096
)

// A probe listens to one speed after another.
type probe struct {
	i       int // of the speeds
	until   time.Duration
	framer  Framer
	kept    []byte // what was heard at this speed, for the Assembler
	at      time.Duration
	heard   bool // any byte, at any speed
	binary  string
	rounds  int
	started time.Duration
}

// startProbe begins with the speed of the given index, which the port has.
func (s *session) startProbe(i int) {
	now := s.r.now()
	s.probe = &probe{i: i, until: now + listenFor, started: now}
}

// listen takes bytes while the speed is not known.
func (s *session) listen(c chunk) error {
	p := s.probe
	if len(c.data) > 0 {
		p.heard = true
		if len(p.kept) == 0 {
			p.at = c.at
		}
		p.kept = append(p.kept, c.data...)
		p.framer.Feed(c.data, func([]byte) {})
		if name := p.framer.Binary.Name(); name != "" {
			p.binary = name
		}
	}
	switch {
	case p.framer.Good >= lockOn:
		return s.lock()
	case len(p.kept) >= noiseEnough && p.framer.Good == 0:
		return s.nextSpeed()
	}
	return nil
}

// checkProbe goes on to the next speed when the time for one is over.
func (s *session) checkProbe(now time.Duration) error {
	if now < s.probe.until {
		return nil
	}
	if s.probe.framer.Good > 0 && len(s.probe.kept) < 4*chunkSize {
		// One good sentence is no accident; wait for the second.
		s.probe.until = now + listenFor
		return nil
	}
	return s.nextSpeed()
}

func (s *session) nextSpeed() error {
	p := s.probe
	p.i++
	if p.i == len(s.p.probe) {
		p.i = 0
		p.rounds++
		cause, reason := CauseSilent, fmt.Sprintf("%s sends nothing: check the receiver's power and wiring", s.p.name)
		switch {
		case p.binary != "":
			cause, reason = CauseBinary, fmt.Sprintf("%s sends %s and no NMEA: switch the receiver to NMEA, or let gpsd read it and name gpsd:// as the source", s.p.name, p.binary)
		case p.heard:
			cause, reason = CauseNotNMEA, fmt.Sprintf("%s sends bytes, but no NMEA at any line speed: check that it is a GPS, and its output format", s.p.name)
		}
		s.r.setState(StateSilent, cause, reason)
		if s.r.now()-p.started >= reopenAfter {
			return errSilent
		}
	}
	baud := s.p.probe[p.i]
	port, ok := s.p.ReadWriteCloser.(SerialPort)
	if !ok {
		return fmt.Errorf("%s has no line speed", s.p.name)
	}
	if err := port.SetSpeed(baud); err != nil {
		return fmt.Errorf("set %s to %d baud: %w", s.p.name, baud, err)
	}
	s.setBaud(baud)
	p.framer, p.kept = Framer{}, p.kept[:0]
	p.until = s.r.now() + listenFor
	return nil
}

// lock ends the probing: the bytes of this speed go to the Assembler.
func (s *session) lock() error {
	p := s.probe
	s.probe = nil
	baud := s.p.probe[p.i]
	s.r.lastBaud[s.p.name] = baud
	s.setBaud(baud)
	s.r.log.Debug("GPS line speed found", "port", s.p.name, "baud", baud)
	s.heard = s.r.now()
	s.r.lastEpoch = s.heard
	s.r.asm.Feed(p.kept, p.at)
	return s.init()
}

func (s *session) setBaud(baud int) {
	s.p.baud = baud
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.r.status.Baud = baud
}
