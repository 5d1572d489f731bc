package elmsim

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errEnd means that the other side is gone.
var errEnd = errors.New("line closed")

// maxCommands bounds the log of commands.
const maxCommands = 1000

// line is one connection.
type line struct {
	sim  *Sim
	conn io.ReadWriteCloser
	in   <-chan byte
	last string // the command that a bare CR repeats
	// clock is when what was done last was due. What follows is reckoned from it, so that the lateness of one wait is made good by
	// the next instead of adding up.
	clock time.Time
	// real is set where the other side lives in real time: a pty or a socket, but not a pipe, which may be in a synctest bubble.
	real bool
	// sleepAt is when the chip goes to sleep, having said so; zero if it does not.
	sleepAt time.Time
	idle    bool // sleepAt was set by want of activity
	// missed are frames that came when the adapter had ceased to listen. If it listens again at missedAt, they are taken for an answer.
	missed   []string
	missedAt time.Time
}

// missedIn is how long after its prompt frames come that the adapter was not told to wait for.
const missedIn = 60 * time.Millisecond

// run reads commands and answers them.
func (l *line) run(ctx context.Context) error {
	var cmd []byte
	for {
		b, ok, err := l.next(ctx)
		if err != nil {
			return err
		}
		if !ok { // asleep, or just woken: nothing was heard
			cmd = cmd[:0]
			continue
		}
		if l.deaf() {
			b = 0xFF
		}
		switch {
		case b == '\r':
			// A pty hands the command over at once; on a wire its bytes take their time, too.
			l.clock = time.Now()
			if o := &l.sim.opt; o.Baud != 0 {
				l.clock = l.clock.Add(time.Duration(len(cmd)+1) * 10 * time.Second / time.Duration(o.Baud))
				if err := l.sleep(ctx); err != nil {
					return err
				}
			}
			if err := l.command(ctx, string(cmd)); err != nil {
				return err
			}
			cmd = cmd[:0]
		case b == 0, b == '\n', b == ' ':
		default:
			if len(cmd) < 256 {
				cmd = append(cmd, b)
			}
		}
	}
}

// deaf tells whether the two sides have different line speeds.
func (l *line) deaf() bool {
	o := &l.sim.opt
	return o.LineSpeed != nil && o.LineSpeed() != o.Baud
}

// command answers one line.
func (l *line) command(ctx context.Context, text string) error {
	s := l.sim
	if s.locked() {
		return nil
	}
	if text == "" && !s.opt.Personality.NoRepeat {
		text = l.last
	}
	l.last = text
	cmd := strings.ToUpper(text)
	s.mu.Lock()
	s.counts.Commands++
	s.log = append(s.log, cmd)
	if len(s.log) > maxCommands {
		s.log = slices.Delete(s.log, 0, 1)
	}
	set := s.set
	s.mu.Unlock()
	if set.echo {
		if err := l.write(ctx, text+"\r"); err != nil {
			return err
		}
	}
	if strings.HasPrefix(cmd, "AT") {
		answer := l.at(cmd)
		if answer == nil {
			return nil
		}
		if cmd == "ATZ" {
			if err := l.rest(ctx, resetTime); err != nil {
				return err
			}
		}
		return l.lines(ctx, answer, NoFault)
	}
	return l.obd(ctx, cmd)
}

// lines sends a reply of the given lines and the prompt.
func (l *line) lines(ctx context.Context, lines []string, f Fault) error {
	l.sim.mu.Lock()
	end := "\r"
	if l.sim.set.linefeed || f == CRLF {
		end = "\r\n"
	}
	l.sim.mu.Unlock()
	var text string
	if f == LeadingCR {
		text = end + strings.Join(lines, end)
	} else {
		text = strings.Join(lines, end) + end
	}
	return l.write(ctx, text+end+">")
}

// write sends text at the line's speed.
func (l *line) write(ctx context.Context, text string) error {
	b := []byte(text)
	if l.deaf() {
		for i := range b {
			b[i] |= 0x80
		}
	}
	if l.sim.opt.Baud == 0 {
		if _, err := l.conn.Write(b); err != nil {
			return fmt.Errorf("%w: %w", errEnd, err)
		}
		return nil
	}
	per := 10 * time.Second / time.Duration(l.sim.opt.Baud) // ten bits a byte
	for i := range b {
		l.clock = l.clock.Add(per)
		if err := l.sleep(ctx); err != nil {
			return err
		}
		if _, err := l.conn.Write(b[i : i+1]); err != nil {
			return fmt.Errorf("%w: %w", errEnd, err)
		}
	}
	return nil
}

// at answers an AT command.
func (l *line) at(cmd string) []string {
	s := l.sim
	if s.unknown(cmd) {
		return []string{"?"}
	}
	v := s.opt.Vehicle()
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := []string{"OK"}
	onOff := func(p *bool) []string {
		if !s.opt.Personality.IgnoresSettings {
			*p = cmd[len(cmd)-1] == '1'
		}
		return ok
	}
	switch arg := cmd[2:]; {
	case arg == "Z", arg == "WS":
		s.set = s.opt.defaults()
		s.noCANSearch = s.noCANSearch && arg != "Z"
		return s.banner()
	case arg == "FE":
		s.noCANSearch = false
		return ok
	case arg == "LP":
		s.asleep = true
		return ok
	case arg == "D":
		p, found, memory := s.set.protocol, s.set.found, true
		s.set = s.opt.defaults()
		s.set.protocol, s.set.found, s.set.memory = p, found, memory
		return ok
	case arg == "I":
		return s.banner()[2:]
	case arg == "@1":
		return []string{s.opt.Personality.Describe}
	case arg == "E0", arg == "E1":
		return onOff(&s.set.echo)
	case arg == "L0", arg == "L1":
		return onOff(&s.set.linefeed)
	case arg == "S0", arg == "S1":
		return onOff(&s.set.spaces)
	case arg == "H0", arg == "H1":
		return onOff(&s.set.headers)
	case arg == "M0", arg == "M1":
		return onOff(&s.set.memory)
	case arg == "RV":
		return []string{fmt.Sprintf("%.1fV", v.Voltage)}
	case arg == "PC":
		s.set.found = false
		return ok
	case arg == "DPN":
		return []string{s.protocolNumber()}
	case arg == "DP":
		return []string{"AUTO"}
	case arg == "CRA", arg == "AR":
		s.set.receive = ""
		return ok
	case strings.HasPrefix(arg, "CRA"):
		switch {
		case s.opt.Personality.DropsAll:
			s.set.receive = "nobody"
		case !s.opt.Personality.IgnoresFilter:
			s.set.receive = arg[3:]
		}
		return ok
	case arg == "CFC0", arg == "CFC1":
		s.set.flow = arg == "CFC1"
		return ok
	case s.opt.Personality.NoAutoNumber && strings.HasPrefix(arg, "SPA"):
		return []string{"?"}
	case s.opt.Personality.LocksOnTPA0 && arg == "TPA0":
		s.lock = lockedForGood
		return nil
	case strings.HasPrefix(arg, "SP"), strings.HasPrefix(arg, "TP"):
		if arg[0] == 'S' && s.set.memory {
			s.counts.Writes++
		}
		s.set.protocol, s.set.found = arg[len(arg)-1], false
		return ok
	case strings.HasPrefix(arg, "PP"), strings.HasPrefix(arg, "SD"):
		s.counts.Writes++
		return ok
	case strings.HasPrefix(arg, "SH"):
		s.set.header = arg[2:]
		return ok
	case strings.HasPrefix(arg, "ST"):
		n, err := strconv.ParseUint(arg[2:], 16, 8)
		if err != nil {
			return []string{"?"}
		}
		if s.set.patience = time.Duration(n) * 4096 * time.Microsecond; n == 0 {
			s.set.patience = s.opt.NoDataAfter
		}
		return ok
	case arg == "AT0", arg == "AT1", arg == "AT2":
		s.set.eager = int(arg[2] - '0')
		return ok
	case strings.HasPrefix(arg, "AL"), strings.HasPrefix(arg, "CAF"):
		return ok
	}
	return []string{"?"}
}

// protocolNumber is the answer to ATDPN. The caller holds mu.
func (s *Sim) protocolNumber() string {
	switch {
	case s.opt.Personality.NoProtocolNumber:
		return "A0"
	case s.set.protocol != '0':
		return string(s.set.protocol)
	case s.set.found:
		return "A" + string(byte(s.opt.Protocol))
	}
	return "A0"
}

// obd answers a request of the car.
func (l *line) obd(ctx context.Context, cmd string) error {
	s := l.sim
	digits, expect := cmd, uint64(0)
	if n := len(digits); n%2 == 1 {
		var err error
		if expect, err = strconv.ParseUint(digits[n-1:], 16, 8); err != nil || s.opt.Personality.NoSuffix {
			return l.lines(ctx, []string{"?"}, NoFault)
		}
		digits = digits[:n-1]
	}
	req, err := hex.DecodeString(digits)
	if err != nil || len(req) == 0 {
		return l.lines(ctx, []string{"?"}, NoFault)
	}
	if n := s.opt.Personality.MaxBytes; n > 0 && len(req) > n {
		req = req[:n]
	}
	if len(req) > 2 && req[0] == 0x01 && !s.opt.Protocol.can() {
		req = req[:2] // the older buses take one PID
	}
	f := s.fault(digits)
	s.mu.Lock()
	s.counts.Requests++
	switch f {
	case Asleep:
		s.asleep = true
	case LockUp:
		s.lock = lockedUntilOpened
	}
	set := s.set
	set.expect = int(expect)
	searching := set.protocol == '0' && !set.found
	blocked := searching && s.noCANSearch && s.opt.Protocol.can()
	s.mu.Unlock()
	v := s.opt.Vehicle()
	switch {
	case f == Unplugged:
		return errEnd
	case f == Silence, f == Asleep, f == LockUp:
		return nil
	case !v.Ignition || blocked || set.protocol != '0' && set.protocol != byte(s.opt.Protocol):
		aborted, err := l.busy(ctx, set.patience)
		if err != nil {
			return err
		}
		word := "UNABLE TO CONNECT"
		switch {
		case aborted:
			word = "STOPPED"
		case searching:
		case s.opt.Protocol.can():
			word = "CAN ERROR"
		default:
			word = "BUS INIT: ...ERROR"
		}
		return l.lines(ctx, []string{word}, NoFault)
	}
	var answers []string
	delay := s.opt.ECUDelay
	for _, e := range s.opt.ECUs {
		if set.receive != "" && e.Address != set.receive || !e.hears(set.header) {
			continue
		}
		for _, data := range e.answer(v, s.opt.VIN, req) {
			frames, err := s.opt.frames(e.Address, s.bend(f, data))
			if err != nil {
				return fmt.Errorf("elmsim: %w", err)
			}
			answers = append(answers, frames...)
			delay = max(delay, s.opt.ECUDelay+e.Delay)
		}
	}
	if l.missed != nil && time.Until(l.missedAt) > 0 && time.Until(l.missedAt) < delay+set.patience {
		answers = append(l.missed, answers...)
	}
	l.missed = nil
	if delay > set.patience && !searching {
		answers = nil // it has ceased to wait
	}
	lines := len(answers)
	switch {
	case lines == 0:
		delay = set.patience
	case set.expect > lines:
		delay += set.patience
	case set.expect == 0 && (s.opt.Personality.NotAdaptive || set.eager == 0):
		delay += set.patience
	case set.expect == 0:
		delay += set.patience / time.Duration(4*set.eager)
	}
	if f == LateAnswer {
		delay = s.opt.Late
	}
	aborted, err := l.busy(ctx, delay)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.set.found = true
	if answers != nil {
		s.counts.Answered++
	}
	s.mu.Unlock()
	switch {
	case aborted && f != LateAnswer:
		return l.lines(ctx, []string{"STOPPED"}, NoFault)
	case answers == nil && f == NoFault:
		return l.lines(ctx, []string{"NO DATA"}, NoFault)
	}
	return l.answer(ctx, cmd, answers, set, f, searching)
}
