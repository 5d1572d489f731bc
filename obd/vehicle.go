package obd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// link is what was learned of the car behind the adapter, and what a request needs to know of it.
type link struct {
	sender
	protocol  protocol
	supported pidSet
	suffix    bool // the adapter takes the number of lines to wait for: it need not wait for a second ECU
	several   bool // more than one ECU answered
	pins      []pin
	multi     bool // several PIDs in one request were seen to give what single requests give

	suffixProof, multiProof proof // what to remember of both
}

// pidSet holds the PIDs of service 01 that an ECU claims. Ranges that could not be read count as claimed: asking shows it.
type pidSet struct {
	bits    [256]bool
	unknown [8]bool // range i holds PIDs 32i+1 to 32i+32
}

func (p *pidSet) has(pid byte) bool {
	if pid == 0 {
		return true
	}
	return p.bits[pid] || p.unknown[(pid-1)/32]
}

// add takes the four bytes of the answer to PID base (00, 20, 40, ...): bit 31 is PID base+1.
func (p *pidSet) add(base byte, mask uint32) {
	for i := range 32 {
		if mask&(1<<(31-i)) != 0 && int(base)+i+1 < 256 {
			p.bits[int(base)+i+1] = true
		}
	}
}

func (p *pidSet) count() int {
	n := 0
	for _, b := range p.bits {
		if b {
			n++
		}
	}
	return n
}

// carOff tells whether an error of a request means that no car is there to answer.
func carOff(err error) bool {
	for _, e := range []error{ErrUnableToConnect, ErrNoData, ErrBusInit, ErrCAN, ErrBus} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// counter is told of each request before it is put to the car's bus, and holds it back where the cap on requests a second
// wants it.
type counter func(context.Context) error

// search finds the car: the learned protocol first if there is one, then the adapter's own search if wide is set. Without memory
// off (a clone that lacks ATM0) the search would be written to its EEPROM, so the protocols are then tried one by one.
//
// An error for which carOff is true means that the car is off.
func (s *session) search(ctx context.Context, learned protocol, wide, memoryOff bool, count counter) (link, error) {
	var err error
	if learned.code != 0 {
		var l link
		if l, err = s.try(ctx, "ATTP"+string(learned.code), learned, count); err == nil || !carOff(err) && !errors.Is(err, ErrUnknownCommand) {
			return l, err
		}
		if !wide {
			return link{}, err
		}
	}
	if memoryOff {
		// After LV RESET and ERR94 the search would leave the CAN protocols out (data sheet of the ELM327 v2, FE). Older chips do not know it.
		if _, err := s.accepts(ctx, "ATFE"); err != nil {
			return link{}, fmt.Errorf("look for the car: %w", err)
		}
		return s.try(ctx, "ATSP0", protocol{}, count)
	}
	for _, code := range searchOrder {
		p, _ := protocolByNumber(string(code))
		var l link
		if l, err = s.try(ctx, "ATTP"+string(code), p, count); err == nil || !carOff(err) && !errors.Is(err, ErrUnknownCommand) {
			return l, err
		}
	}
	return link{}, err
}

// try selects a protocol and asks 0100 on it.
func (s *session) try(ctx context.Context, selection string, p protocol, count counter) (link, error) {
	if _, err := s.at(ctx, selection, deadlineAT); err != nil {
		return link{}, fmt.Errorf("select protocol: %w", err)
	}
	if err := count(ctx); err != nil {
		return link{}, fmt.Errorf("look for the car: %w", err)
	}
	raw, _, err := s.exchange(ctx, "0100", deadlineSearch)
	if err != nil {
		return link{}, fmt.Errorf("look for the car: %w", err)
	}
	reply := string(raw)
	lines, err := scanReply("0100", []byte(reply))
	if err != nil {
		return link{}, fmt.Errorf("look for the car: %w", err)
	}
	if p.code == 0 {
		if p, err = s.protocol(ctx, lines); err != nil {
			return link{}, err
		}
	}
	msgs, err := parseReply("0100", []byte(reply), sender{framing: p.framing})
	if err != nil {
		return link{}, fmt.Errorf("look for the car: %w", err)
	}
	l := link{protocol: p, sender: sender{framing: p.framing}}
	if err := chooseECU(&l, msgs); err != nil {
		return link{}, err
	}
	l.several = ecus(msgs) > 1
	if err := s.pin(ctx, &l, count); err != nil {
		return link{}, fmt.Errorf("listen to %s only: %w", l.ecu, err)
	}
	return l, nil
}

// protocol asks the adapter what it has found. Clones that do not tell are judged by the shape of the answer.
func (s *session) protocol(ctx context.Context, lines []string) (protocol, error) {
	text, err := s.at(ctx, "ATDPN", deadlineAT)
	if err == nil {
		if p, ok := protocolByNumber(text); ok {
			return p, nil
		}
	} else if !errors.Is(err, ErrUnknownCommand) && !errors.Is(err, ErrMalformed) {
		return protocol{}, fmt.Errorf("ask for the protocol: %w", err)
	}
	for _, line := range lines {
		if f := guessFraming(squeeze(line)); f != framingUnknown {
			return protocol{name: f.String(), framing: f}, nil
		}
	}
	return protocol{}, fmt.Errorf("no protocol fits the answer %.60q: %w", strings.Join(lines, " "), ErrMalformed)
}

// chooseECU picks who is listened to: of those that know the speed, the engine's usual address (7E8, 18DAF110, 10; ISO
// 15765-4, SAE J2178), else the one that knows most. The order of the answers means nothing.
func chooseECU(l *link, msgs []message) error {
	best := -1
	for _, m := range msgs {
		data, err := answerTo([]message{m}, 0x01, []byte{0x00})
		if err != nil || len(data) != 6 {
			continue
		}
		var set pidSet
		set.add(0, binary.BigEndian.Uint32(data[2:]))
		score := set.count()
		if m.ecu == "7E8" || m.ecu == "18DAF110" || m.ecu == "10" {
			score += 100
		}
		if set.bits[0x0D] {
			score += 1000
		}
		if score > best {
			best, l.ecu, l.supported = score, m.ecu, set
		}
	}
	if best < 0 {
		_, err := answerTo(msgs, 0x01, []byte{0x00})
		if err == nil {
			err = ErrMalformed
		}
		return fmt.Errorf("look for the car: %w", err)
	}
	return nil
}

func ecus(msgs []message) int {
	seen := map[string]bool{}
	for _, m := range msgs {
		seen[m.ecu] = true
	}
	return len(seen)
}

// readSupported asks for the further ranges of PIDs, each of which the one before announces. The loop is bounded by the
// seven ranges that there are. Of an answer that fails twice the range stays unknown.
func (s *session) readSupported(ctx context.Context, l *link, count counter) error {
	for base := 0x20; base <= 0xE0; base += 0x20 {
		if !l.supported.has(byte(base)) {
			return nil
		}
		var data []byte
		var err error
		for range 2 {
			if err = count(ctx); err != nil {
				break
			}
			data, _, err = s.query(ctx, *l, 0x01, byte(base), deadlineOBD)
			if err == nil || fatal(ctx, err) {
				break
			}
		}
		if fatal(ctx, err) {
			return fmt.Errorf("read the supported PIDs: %w", err)
		}
		if err != nil || len(data) != 6 {
			for i := base / 32; i < len(l.supported.unknown); i++ {
				l.supported.unknown[i] = true
			}
			return nil
		}
		l.supported.add(byte(base), binary.BigEndian.Uint32(data[2:]))
	}
	return nil
}

// query asks the chosen ECU for one PID and returns its answer from the service byte on, valid until the next call.
func (s *session) query(ctx context.Context, l link, service, pid byte, deadline time.Duration) ([]byte, timing, error) {
	return s.one(ctx, l.command(service, pid), service, []byte{pid}, deadline, l.sender)
}

// command is what is sent to the adapter for an answer of one line: service, the bytes after it, and the number of lines where
// the adapter knows it.
func (l *link) command(service byte, rest ...byte) string {
	cmd := fmt.Sprintf("%02X%X", service, rest)
	if l.suffix {
		cmd += "1"
	}
	return cmd
}

// readVIN asks for the vehicle identification number.
func (s *session) readVIN(ctx context.Context, l link, count counter) (string, error) {
	if err := count(ctx); err != nil {
		return "", fmt.Errorf("read VIN: %w", err)
	}
	msgs, _, err := s.request(ctx, "0902", deadlineSlow, l.sender)
	if err != nil {
		return "", fmt.Errorf("read VIN: %w", err)
	}
	return decodeVIN(msgs, l.framing)
}

// tryOut finds out with one harmless request (the speed, else the list of PIDs) whether the adapter knows the number of
// expected lines, and how the ECU fills its frames.
func (s *session) tryOut(ctx context.Context, l *link, count counter) error {
	cmd := "010D"
	if !l.supported.has(0x0D) {
		cmd = "0100"
	}
	suffixes := []string{"1", ""}
	if !l.suffix {
		suffixes = suffixes[1:]
	}
	l.suffix = false
	for _, suffix := range suffixes {
		if err := count(ctx); err != nil {
			return fmt.Errorf("try out the adapter: %w", err)
		}
		raw, _, err := s.exchange(ctx, cmd+suffix, deadlineSlow)
		if fatal(ctx, err) {
			return fmt.Errorf("try out the adapter: %w", err)
		}
		if err != nil {
			continue
		}
		msgs, err := parseReply(cmd+suffix, raw, l.sender)
		if err != nil || len(msgs) != 1 {
			continue
		}
		l.suffix = suffix != ""
		if l.framing.can() && len(msgs[0].data) < 6 {
			lines, _ := scanReply(cmd+suffix, raw) // parseReply has had no objection
			for _, line := range lines {
				if digits, ok := strings.CutPrefix(squeeze(line), l.ecu); ok {
					l.fill = fillOf(len(digits)/2, 1+len(msgs[0].data))
				}
			}
		}
		return nil
	}
	// Nothing comes through, so it is the filter: that of some clones drops all.
	return s.unpin(ctx, l)
}

// fatal tells errors after which the session cannot just go on: port, adapter, ctx.
func fatal(ctx context.Context, err error) bool {
	if err == nil {
		return false
	}
	return ctx.Err() != nil || errors.Is(err, ErrPortGone) || errors.Is(err, ErrLVReset) || errors.Is(err, ErrAdapter) || errors.Is(err, ErrRestarted)
}
