package obd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// probeBauds are the speeds in the order of how often they are met: 38400 is the ELM327's factory setting, 115200 that of
// USB OBDLinks, 9600 the other jumper position of the data sheet; the rest are set by people.
var probeBauds = []int{38400, 115200, 9600, 230400, 500000, 57600, 19200}

const (
	// listenTime is a little more than the second at which a GPS repeats itself.
	listenTime = 1200 * time.Millisecond
	// probeTime is the wait for a prompt at one speed; the chip answers within ms, Bluetooth within some 100.
	probeTime = 500 * time.Millisecond
)

// listen waits for a port that talks unasked. The tail of a dialogue that somebody else has left behind, which ends in a
// prompt, does not count. Error: ErrTalksUnasked.
func (s *session) listen(ctx context.Context) error {
	var heard []byte
	until := time.Now().Add(listenTime)
	for {
		n, err := s.read(ctx, until)
		heard = append(heard, s.chunk[:n]...)
		if len(heard) > 4096 {
			break
		}
		if errors.Is(err, ErrTimeout) {
			break
		}
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
	}
	text := strings.TrimRight(string(heard), "\x00\r\n ")
	if text == "" || strings.HasSuffix(text, ">") || looksLikeELM(text) {
		return nil
	}
	what := "bytes that are not text (another line speed?)"
	if strings.Contains(text, "$G") {
		what = "NMEA sentences: this is a GPS"
	}
	return fmt.Errorf("it sends %s: %w", what, ErrTalksUnasked)
}

// probe finds the line speed and the adapter's name. Of a Conn without a speed it finds the name only.
// last is the speed that worked before, or 0. Error: ErrNotELM327 if nobody answers as one.
func (s *session) probe(ctx context.Context, fixed, last int) (baud int, err error) {
	line, ok := s.conn.(baudSetter)
	if !ok {
		err := s.identify(ctx)
		if errors.Is(err, ErrNotELM327) { // it may be asleep
			if err := s.call(ctx); err != nil {
				return 0, err
			}
			err = s.identify(ctx)
		}
		return 0, err
	}
	bauds := []int{fixed}
	if fixed == 0 {
		bauds = probeBauds
		if last != 0 {
			bauds = append([]int{last}, probeBauds...)
		}
	}
	for i, baud := range bauds {
		if i > 0 && fixed == 0 && baud == last {
			continue
		}
		if err := line.SetBaud(baud); err != nil {
			// A speed that this hardware cannot do is no reason not to try the others.
			s.log.Debug("speed refused", "baud", baud, "err", err)
			continue
		}
		err := s.identify(ctx)
		if i == 0 && errors.Is(err, ErrNotELM327) {
			if err := s.callAt(ctx, line, baud); err != nil {
				return 0, err
			}
			err = s.identify(ctx)
		}
		if err == nil {
			return baud, nil
		}
		if !errors.Is(err, ErrNotELM327) {
			return 0, err
		}
	}
	if fixed != 0 {
		return 0, fmt.Errorf("%w at %d baud; leave the speed out to have it probed", ErrNotELM327, fixed)
	}
	return 0, fmt.Errorf("%w at any of %s baud", ErrNotELM327, joinInts(probeBauds))
}

// callAt wakes an adapter that may be asleep at another speed than it listens at: asleep it hears only how long the line is low.
func (s *session) callAt(ctx context.Context, line baudSetter, baud int) error {
	if baud > wakeBaud {
		if err := line.SetBaud(wakeBaud); err != nil {
			s.log.Debug("speed refused", "baud", wakeBaud, "err", err)
		}
	}
	if err := s.call(ctx); err != nil {
		return err
	}
	if baud > wakeBaud {
		if err := line.SetBaud(baud); err != nil {
			return fmt.Errorf("after the wake-up call: %w", err)
		}
	}
	return nil
}

// identify asks who is there. Two DEL characters go first: an idle ELM327 answers any nonsense with "?" and a prompt, while
// a bare CR would repeat the last command (DSJ p. 9), and that may have been anything.
func (s *session) identify(ctx context.Context) error {
	s.dirty, s.identity, s.echoless = false, "", false
	if err := s.drain(ctx, 20*time.Millisecond, time.Now().Add(probeTime)); err != nil {
		return err
	}
	if _, _, err := s.ask(ctx, "\x7f\x7f", probeTime); err != nil && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrMalformed) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w", ErrNotELM327)
	}
	s.dirty = false
	for range 2 { // a chip that was busy answers STOPPED to the first
		raw, _, err := s.ask(ctx, "ATI", deadlineAT)
		if errors.Is(err, ErrTimeout) || errors.Is(err, ErrMalformed) {
			s.dirty = false
			continue
		}
		if err != nil {
			return err
		}
		text, err := textReply("ATI", raw)
		if err == nil && looksLikeELM(text) {
			s.identity = cleanIdentity(text)
			return nil
		}
	}
	return fmt.Errorf("%w", ErrNotELM327)
}

// cleanIdentity takes the echo and the garbage of a reset off the name.
func cleanIdentity(text string) string {
	if i := strings.Index(text, "ELM327"); i >= 0 {
		text = text[i:]
	}
	return strings.TrimSpace(text)
}

// setUp brings the adapter into the state that this package works in. Each step may be unknown to a clone; only headers
// cannot be done without.
//
// ATM0 comes before anything that names a protocol: with memory on, ATSP is written to the chip's EEPROM (DSJ, M0 and M1).
// memoryOff tells whether that was accepted.
func (s *session) setUp(ctx context.Context) (memoryOff bool, err error) {
	s.echoless = false
	// ATD first: whoever used the adapter before may have left filters, headers and timeouts behind.
	commands := []string{"ATD", "ATE0", "ATL0", "ATS0", "ATAT1", "ATM0", "ATH1"}
	for i := 0; i < len(commands); i++ {
		cmd := commands[i]
		_, err := s.at(ctx, cmd, deadlineAT)
		switch {
		case errors.Is(err, ErrUnknownCommand):
			s.log.Debug("adapter lacks command", "cmd", cmd)
			if cmd == "ATD" {
				// What it would have put right: the filter, formatting, flow control, without which no VIN comes, and the wait.
				commands = append(commands, "ATAR", "ATCAF1", "ATCFC1", usualPatience)
			}
			if cmd == "ATH1" {
				return memoryOff, fmt.Errorf("%s cannot show who answers (ATH1): %w; use another adapter", s.identity, ErrUnknownCommand)
			}
		case errors.Is(err, ErrMalformed): // an empty OK of a clone; the replies themselves are checked later
		case err != nil:
			return memoryOff, fmt.Errorf("set up the adapter: %w", err)
		default:
			memoryOff = memoryOff || cmd == "ATM0"
		}
	}
	raw, _, err := s.exchange(ctx, "ATI", deadlineAT)
	if err != nil {
		return memoryOff, fmt.Errorf("set up the adapter: %w", err)
	}
	s.echoless = !bytes.Contains(raw, []byte("ATI"))
	return memoryOff, nil
}

// voltage reads the adapter's supply (ATRV), which does not touch the car's bus. Unit V.
func (s *session) voltage(ctx context.Context) (float64, error) {
	text, err := s.at(ctx, "ATRV", deadlineAT)
	if err != nil {
		return 0, fmt.Errorf("read voltage: %w", err)
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(squeeze(text), "V"), 64)
	// A reading of 0 is an adapter without the divider; 36 V is above what a 24 V system charges with.
	if err != nil || !(v > 0 && v < 36) {
		return 0, fmt.Errorf("read voltage: %q: %w", text, ErrMalformed)
	}
	return v, nil
}

func joinInts(v []int) string {
	words := make([]string, len(v))
	for i, x := range v {
		words[i] = strconv.Itoa(x)
	}
	return strings.Join(words, ", ")
}
