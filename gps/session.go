package gps

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// silentAfter is how long without a valid sentence is silence; three cycles where they are longer.
	silentAfter = 5 * time.Second
	// reopenAfter is how long a silent source is kept open: a wedged USB bridge or a dead TCP peer may recover by it.
	reopenAfter = 15 * time.Second
	// punctual is how late a timer may be on a machine that is not starved, and grace what is given after a later one.
	punctual = 20 * time.Millisecond
	grace    = 50 * time.Millisecond
	// chunkSize is a whole burst of most receivers, so that it is seldom cut.
	chunkSize = 4096
)

var errSilent = errors.New("silent")

// chunk is what one read returned.
type chunk struct {
	data []byte
	at   time.Duration
	err  error
}

// session reads an open port until it fails, stays silent too long, or ctx is done. It owns p and closes it.
func (r *Receiver) session(ctx context.Context, p *openPort) (err error) {
	chunks := make(chan chunk)
	quit := make(chan struct{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		r.read(p, chunks, quit)
	}()
	defer func() {
		close(quit)
		if cerr := p.close(); cerr != nil {
			r.log.Debug("close GPS port", "port", p.name, "error", cerr)
		}
		<-read
		r.asm.Flush(r.now())
		r.count()
	}()

	s := session{r: r, p: p, heard: r.now(), again: r.now(), good: r.asm.Counts().Sentences}
	r.lastEpoch = r.now()
	if r.Status().State != StateSilent { // else the state would change to and fro with each reopening
		reason := p.name + " is open, waiting for the first " + r.unit()
		if len(p.probe) > 0 {
			reason = "looking for the line speed of " + p.name
		}
		r.setState(StateProbing, "", reason)
	}
	if len(p.probe) > 0 {
		s.startProbe(0)
	} else if err := s.init(); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := s.next()
		r.pulse(next)
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case c := <-chunks:
			if err := s.take(c); err != nil {
				return err
			}
		case <-timer.C:
			select {
			case c := <-chunks: // both were ready: bytes that have arrived come before the verdict that none did
				if err := s.take(c); err != nil {
					return err
				}
			default:
				s.expire()
			}
		}
		if err := s.check(); err != nil {
			return err
		}
		r.count()
	}
}

// read hands over what arrives, stamped, until the port fails or quit is closed. Two buffers suffice: the channel has no
// room, so the first is done with when the second is handed over.
func (r *Receiver) read(p *openPort, chunks chan<- chunk, quit <-chan struct{}) {
	var bufs [2][chunkSize]byte
	for i := 0; ; i ^= 1 {
		n, err := p.Read(bufs[i][:])
		if n > 0 && r.opt.Capture != nil {
			r.opt.Capture("rx", bufs[i][:n])
		}
		if n == 0 && err == nil {
			select {
			case <-quit:
				return
			default:
				i ^= 1
				continue
			}
		}
		select {
		case chunks <- chunk{bufs[i][:n], r.now(), err}:
		case <-quit:
			return
		}
		if err != nil {
			return
		}
	}
}

// session is the state of one opening.
type session struct {
	r     *Receiver
	p     *openPort
	heard time.Duration // when the last valid sentence came, or the opening
	good  uint64        // valid sentences so far
	probe *probe        // nil once the speed is known
	known bool          // the port gave a good sentence
	again time.Duration // when the first valid sentence after a silence came, or the opening

	graceFor time.Duration // the deadline that a grace was given for
	graceEnd time.Duration
}

// next returns how long the session may wait for bytes before check has something to do.
func (s *session) next() time.Duration {
	now := s.r.now()
	d := s.silence() - (now - s.heard)
	if d <= 0 {
		d = reopenAfter - (now - s.heard)
	}
	if d <= 0 {
		d = silentAfter // a source that is not opened anew: only to tell how long it has been
	}
	if at, ok := s.r.asm.Deadline(); ok {
		d = min(d, max(at, s.graceEnd)-now)
	}
	if s.probe != nil {
		d = min(d, s.probe.until-now)
	}
	// A deadline that just passed is due now; a millisecond keeps a clock that stands still from turning this into a spin.
	return max(d, time.Millisecond)
}

// silence is how long without a sentence is silence.
func (s *session) silence() time.Duration { return max(silentAfter, min(3*s.r.cycle, reopenAfter)) }

// take feeds what a read returned.
func (s *session) take(c chunk) error {
	if s.probe != nil {
		if err := s.listen(c); err != nil {
			return err
		}
	} else if len(c.data) > 0 {
		s.r.asm.Feed(c.data, c.at)
	}
	switch {
	case c.err == nil:
		return nil
	case s.r.source.kind == serialSource || s.r.source.kind == autoSource:
		return causedError{CauseGone, fmt.Errorf("%s is gone (%w): check the receiver's cable", s.p.name, c.err)}
	}
	return causedError{CauseGone, fmt.Errorf("%s: %w", s.p.name, c.err)}
}

// expire ends an epoch by quiet. A timer that comes late means that this process did not run for a while: then the bytes
// may be waiting in the kernel, and the reader gets a moment to fetch them.
func (s *session) expire() {
	now := s.r.now()
	at, ok := s.r.asm.Deadline()
	if ok && now-at > punctual && s.graceFor != at {
		s.graceFor, s.graceEnd = at, now+grace
		return
	}
	if now >= s.graceEnd {
		s.r.asm.Expire(now)
	}
}

// check looks at the clock.
func (s *session) check() error {
	now := s.r.now()
	if s.probe != nil {
		return s.checkProbe(now)
	}
	if good := s.r.asm.Counts().Sentences; good != s.good {
		if !s.known {
			s.known = true
			s.r.learned(s.p)
		}
		if now-s.heard >= s.silence() {
			s.again = now
		}
		s.good, s.heard = good, now
	}
	quiet := now - s.heard
	if quiet >= s.silence() {
		cause, reason := s.silent(quiet)
		s.r.setState(StateSilent, cause, reason)
		if quiet >= reopenAfter && s.r.source.kind != udpSource && s.r.source.kind != fileSource {
			return errSilent
		}
	} else if now-max(s.r.lastEpoch, s.again) >= s.silence() && s.good > 0 {
		s.r.setState(StateNoFix, CauseNoEpoch, s.r.unit()+"s arrive, but no new epoch: the receiver repeats its time, or sends neither RMC, GGA, GNS nor GLL")
	}
	return nil
}

// silent says what is wrong when nothing was heard for that long.
func (s *session) silent(quiet time.Duration) (cause Cause, reason string) {
	cause, reason = CauseSilent, fmt.Sprintf("%s is open, but no %s came for %d s", s.p.name, s.r.unit(), int(quiet.Seconds()))
	if g, ok := s.r.asm.(*gpsdReader); ok && g.trouble() != "" {
		reason += ": " + g.trouble()
	}
	if name := s.r.asm.Counts().Binary.Name(); name != "" && s.good == 0 {
		cause = CauseBinary
		reason += ": it sends " + name + "; switch the receiver to NMEA, or let gpsd read it and name gpsd:// as the source"
	}
	return cause, reason
}

// unit is what a source sends.
func (r *Receiver) unit() string {
	if r.source.kind == gpsdSource {
		return "report"
	}
	return "NMEA sentence"
}

// init writes the configured lines to the receiver.
func (s *session) init() error {
	for _, line := range s.r.opt.Init {
		if _, err := s.p.Write([]byte(line + "\r\n")); err != nil {
			return fmt.Errorf("write gps.init to %s: %w", s.p.name, err)
		}
	}
	return nil
}
