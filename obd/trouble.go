package obd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// troubleInterval is how often the lamp and the count of codes are asked for: one request.
	troubleInterval = time.Minute
	// codesInterval is how often the codes themselves are read although lamp and count have not changed: a pending code
	// changes neither.
	codesInterval = 15 * time.Minute
)

// Trouble is what the engine's ECU says of its own health. Slices are nil where the car does not tell.
type Trouble struct {
	MIL       bool     // the malfunction indicator lamp is on
	Count     int      // stored codes, as the ECU counts them
	Stored    []string // service 03, such as P0301
	Pending   []string // service 07: seen in this drive cycle or the last, not yet sure
	Permanent []string // service 0A: cannot be erased by a tool
	Freeze    *FreezeFrame
	Others    []ECUTrouble  // the other ECUs that have codes, by address
	Mono      time.Duration // when lamp and count were read, on the clock of Options.Now
}

// ECUTrouble is what another ECU than the engine's has, such as a gearbox's (7E9). Slices are nil where there is nothing.
type ECUTrouble struct {
	ECU                        string
	Stored, Pending, Permanent []string
}

// A FreezeFrame is what was measured when a code was stored (service 02).
type FreezeFrame struct {
	Code   string
	Values map[string]float64 // by the name of the Signal, in its unit; what the car did not keep is absent
}

// frozen are the signals that are read of a freeze frame.
var frozen = []string{SignalSpeed, "rpm", "load", "coolant"}

// trouble is the reading of trouble codes, one request at a time so that speed is never kept waiting for longer than that.
type trouble struct {
	steps   []func(context.Context) error // that are left of the reading under way
	now     Trouble                       // under way
	last    Trouble                       // told
	told    bool
	next    time.Duration // lamp and count
	codes   time.Duration // codes at the latest
	refused [256]bool     // services that this car does not have
}

// troubleStep makes the next request of the reading, if one is due. Its errors are those of judge.
func (d *drive) troubleStep(ctx context.Context) error {
	t := &d.trouble
	if len(t.steps) == 0 {
		now := d.c.opt.Now()
		if now < t.next || !d.l.supported.bits[0x01] {
			return nil
		}
		t.next = now + troubleInterval
		t.steps = append(t.steps, d.readMonitor)
	}
	step := t.steps[0]
	t.steps = t.steps[1:]
	if err := step(ctx); err != nil {
		t.steps = nil // it begins anew when it is due again
		if errors.Is(err, ErrNoData) || errors.Is(err, ErrNegative) {
			return nil
		}
		return err
	}
	if len(t.steps) == 0 && (!t.told || !sameTrouble(t.now, t.last)) {
		t.last, t.told = t.now, true
		d.c.tellTrouble(t.now)
	}
	return nil
}

// readMonitor reads lamp and count (PID 01), and plans what else is to be read.
func (d *drive) readMonitor(ctx context.Context) error {
	if err := d.count(ctx); err != nil {
		return err
	}
	data, when, err := d.s.query(ctx, d.l, 1, 0x01, deadlineOf(d.l))
	if err == nil && len(data) != 6 {
		err = fmt.Errorf("read the lamp's state: % X: %w", data, ErrMalformed)
	}
	if err != nil {
		d.c.failed(err)
		return d.judge(ctx, err)
	}
	t := &d.trouble
	mil, count := data[2]&0x80 != 0, int(data[2]&0x7F)
	if t.told && mil == t.last.MIL && count == t.last.Count && when.written < t.codes {
		t.now.Mono = when.midpoint()
		return nil
	}
	t.codes = when.written + codesInterval
	t.now = Trouble{MIL: mil, Count: count, Mono: when.midpoint()}
	t.steps = append(t.steps, d.codes(0x03, &t.now.Stored), d.codes(0x07, &t.now.Pending), d.codes(0x0A, &t.now.Permanent))
	if count > 0 {
		t.steps = append(t.steps, d.readFreeze)
	}
	return nil
}

// codes reads the codes of a service into a list.
func (d *drive) codes(service byte, into *[]string) func(context.Context) error {
	return func(ctx context.Context) error {
		if d.trouble.refused[service] {
			return nil
		}
		if err := d.count(ctx); err != nil {
			return err
		}
		cmd := fmt.Sprintf("%02X", service)
		raw, err := d.everyone(ctx, cmd)
		if errors.Is(err, errSettings) {
			return err
		}
		more := false
		if err == nil {
			more = d.othersCodes(cmd, raw, service)
			var msgs []message
			if msgs, err = d.s.parse(cmd, raw, d.l.sender); err == nil {
				*into, err = decodeCodes(msgs, service, d.l.framing)
			}
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrNegative), errors.Is(err, ErrNoData):
			// Services 07 and 0A came later than 03; silence is how many cars say that they lack one.
			d.trouble.refused[service] = !more
			return nil
		}
		d.c.failed(err)
		return d.judge(ctx, err)
	}
}

// readFreeze reads the freeze frame: which code it belongs to, and then a few values, each a step of its own.
func (d *drive) readFreeze(ctx context.Context) error {
	data, err := d.frozen(ctx, 0x02, 2)
	if err != nil || data == nil {
		return err
	}
	if code := codeName(data[0], data[1]); code != "" {
		frame := &FreezeFrame{Code: code, Values: map[string]float64{}}
		d.trouble.now.Freeze = frame
		for _, name := range frozen {
			sig, _ := signalByName(Signals(), name)
			d.trouble.steps = append(d.trouble.steps, func(ctx context.Context) error {
				data, err := d.frozen(ctx, sig.PID, sig.Bytes)
				if err != nil || data == nil {
					return err
				}
				if v, err := sig.Decode(append([]byte{0x41, sig.PID}, data...)); err == nil {
					frame.Values[name] = v
				}
				return nil
			})
		}
	}
	return nil
}

// frozen asks for one PID of freeze frame 0 and returns its data bytes; nil if the car does not have it.
func (d *drive) frozen(ctx context.Context, pid byte, width int) ([]byte, error) {
	if err := d.count(ctx); err != nil {
		return nil, err
	}
	data, _, err := d.s.one(ctx, d.l.command(2, pid, 0), 2, []byte{pid, 0}, deadlineSlow, d.l.sender)
	switch {
	case errors.Is(err, ErrNoData), errors.Is(err, ErrNegative):
		return nil, nil
	case err == nil && len(data) == 3+width:
		return data[3:], nil
	case err == nil:
		err = fmt.Errorf("freeze frame: % X: %w", data, ErrMalformed)
	}
	d.c.failed(err)
	return nil, d.judge(ctx, err)
}

// decodeCodes reads the answer to services 03, 07 and 0A. On CAN it is one message with a count; on K-line and J1850 one or more
// messages of three codes each, filled up with zeros (SAE J1979, 6.3).
func decodeCodes(msgs []message, service byte, f framing) ([]string, error) {
	codes := []string{}
	if f.can() {
		data, err := answerTo(msgs, service, nil)
		if err != nil {
			return nil, fmt.Errorf("read trouble codes: %w", err)
		}
		if len(data) != 2+2*int(data[1]) {
			return nil, fmt.Errorf("read trouble codes: %d bytes for %d codes: %w", len(data), data[1], ErrMalformed)
		}
		return appendCodes(codes, data[2:]), nil
	}
	if len(msgs) == 0 {
		return nil, fmt.Errorf("read trouble codes: only other ECUs answered: %w", ErrNoData)
	}
	for _, m := range msgs {
		switch d := m.data; {
		case len(d) == 3 && d[0] == 0x7F && d[1] == service:
			return nil, fmt.Errorf("read trouble codes: %w", &NegativeResponse{Service: d[1], Code: d[2]})
		case len(d) != 7 || d[0] != service+0x40:
			return nil, fmt.Errorf("read trouble codes: message % X: %w", d, ErrMalformed)
		default:
			codes = appendCodes(codes, d[1:])
		}
	}
	return codes, nil
}

func appendCodes(codes []string, pairs []byte) []string {
	for ; len(pairs) >= 2; pairs = pairs[2:] {
		if c := codeName(pairs[0], pairs[1]); c != "" {
			codes = append(codes, c)
		}
	}
	return codes
}

// codeName is the code as it is printed in books: SAE J2012 has P, C, B, U in the two highest bits, then a digit of two bits and three of
// four. "" for the zeros that fill a message up.
func codeName(high, low byte) string {
	if high == 0 && low == 0 {
		return ""
	}
	return fmt.Sprintf("%c%d%03X", "PCBU"[high>>6], high>>4&3, int(high&0x0F)<<8|int(low))
}

func sameTrouble(a, b Trouble) bool {
	return a.MIL == b.MIL && a.Count == b.Count && slices.Equal(a.Stored, b.Stored) && slices.Equal(a.Pending, b.Pending) &&
		slices.Equal(a.Permanent, b.Permanent) && slices.EqualFunc(a.Others, b.Others, sameECU) && (a.Freeze == nil) == (b.Freeze == nil)
}

func (c *Car) tellTrouble(t Trouble) {
	c.update(func(st *Status) { st.Trouble = &t })
	if c.handler.Trouble != nil {
		c.handler.Trouble(t)
	}
}
