package obd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// shortPatience is how long an adapter waits that cannot be told how many lines to expect: it waits after each answer for another, 205 ms by
// default. On CAN an ECU answers within 50 ms (P2 of ISO 15765-4) or not at all, so 64 ms miss no answer and leave none on its way that
// could be taken for that to the next request. A still shorter wait, and the more aggressive adaptive timing (ATAT2), would.
const shortPatience, usualPatience = "ATST10", "ATST32"

// A pin is a setting that makes steady polling of the chosen ECU faster, and must be undone to hear all that the car has to say.
type pin struct{ set, undo string }

// pin makes the chosen ECU the only one that is heard, where several have answered: its answers alone pass a filter, or, where the adapter has
// none, it alone is asked, at its own address. Then the adapter can be told to wait for one line. Neither replaces a check: parseReply drops
// the others' answers, whatever the adapter does.
//
// A filter goes first, because the functional address is the one that every car must answer (ISO 15765-4), and as the bytes on the serial line
// are the same, asking one alone is no faster where there is a filter.
func (s *session) pin(ctx context.Context, l *link, count counter) error {
	switch {
	case !l.several:
		l.suffix = true
		return nil
	case !l.framing.can():
		return nil
	}
	filter := pin{"ATCRA" + l.ecu, "ATAR"}
	if ok, err := s.accepts(ctx, filter.set); ok || err != nil {
		l.suffix, l.pins = ok, append(l.pins, filter)
		return err
	}
	alone, ok := askAlone(l.ecu)
	if !ok {
		return nil
	}
	if ok, err := s.accepts(ctx, alone.set); !ok || err != nil {
		return err
	}
	if err := count(ctx); err != nil {
		return err
	}
	// It must say what it said to all, and nobody else anything.
	msgs, _, err := s.request(ctx, "0100", deadlineSlow, sender{framing: l.framing})
	if fatal(ctx, err) || s.dead >= deadMax {
		return err
	}
	var now link
	if err == nil && ecus(msgs) == 1 && chooseECU(&now, msgs) == nil && now.ecu == l.ecu && slices.Equal(now.supported.bits[:0x21], l.supported.bits[:0x21]) {
		l.suffix, l.pins = true, append(l.pins, alone)
		return nil
	}
	if _, err := s.at(ctx, alone.undo, deadlineAT); err != nil {
		return fmt.Errorf("ask all again: %w: %w", errSettings, err)
	}
	return nil
}

// unpin undoes what has made the chosen ECU fall silent.
func (s *session) unpin(ctx context.Context, l *link) error {
	for _, p := range l.pins {
		if _, err := s.accepts(ctx, p.undo); err != nil {
			return fmt.Errorf("%s: %w", p.undo, err)
		}
	}
	l.pins = nil
	return nil
}

// askAlone is the header that reaches only the ECU which answers from this address, and that which reaches all (ISO 15765-4, 6.3.2: 7E8
// answers what is put to 7E0, and so on up to 7EF; 18DAF1xx what is put to 18DAxxF1).
func askAlone(ecu string) (pin, bool) {
	switch {
	case len(ecu) == 3 && nibble(ecu[2]) >= 8 && nibble(ecu[2]) <= 15:
		return pin{fmt.Sprintf("ATSH7E%d", nibble(ecu[2])-8), "ATSH7DF"}, true
	case len(ecu) == 8:
		return pin{"ATSHDA" + ecu[6:] + "F1", "ATSHDB33F1"}, true
	}
	return pin{}, false
}

// patience is the pin that hurry sets.
var patience = pin{shortPatience, usualPatience}

// hurry shortens the wait of an adapter that does not know how many lines to expect. It is for steady polling: answers of several frames
// may have longer gaps. An adapter that counts in other units, or a gateway that takes longer, shows by the next request, and keeps the usual wait.
func (s *session) hurry(ctx context.Context, l *link, count counter) error {
	if l.suffix || !l.framing.can() || s.announces || slices.Contains(l.pins, patience) {
		return nil
	}
	if ok, err := s.accepts(ctx, patience.set); !ok || err != nil {
		return err
	}
	l.pins = append(l.pins, patience)
	if err := count(ctx); err != nil {
		return err
	}
	_, _, err := s.query(ctx, *l, 1, 0, deadlineSlow)
	if fatal(ctx, err) || s.dead >= deadMax {
		return err
	}
	if err != nil && !errors.Is(err, ErrNegative) {
		return s.unhurry(ctx, l)
	}
	return nil
}

// unhurry gives the adapter its usual wait back.
func (s *session) unhurry(ctx context.Context, l *link) error {
	i := slices.Index(l.pins, patience)
	if i < 0 {
		return nil
	}
	if _, err := s.accepts(ctx, patience.undo); err != nil {
		return fmt.Errorf("%s: %w: %w", patience.undo, errSettings, err)
	}
	l.pins = slices.Delete(slices.Clone(l.pins), i, i+1)
	return nil
}

// accepts sends a setting that not every adapter knows.
func (s *session) accepts(ctx context.Context, cmd string) (bool, error) {
	_, err := s.at(ctx, cmd, deadlineAT)
	if errors.Is(err, ErrUnknownCommand) || errors.Is(err, ErrMalformed) {
		return false, nil
	}
	return err == nil, err
}

// pinLate is for a car whose other ECUs have been silent until now, or an adapter whose filter does nothing. Another ECU's answer has taken the
// place of the chosen one's, which may still come.
func (d *drive) pinLate(ctx context.Context) error {
	d.s.pendingUntil = time.Now().Add(answerTime)
	d.l.several = true
	d.dropSuffix()
	if len(d.l.pins) == 0 {
		if err := d.s.pin(ctx, &d.l, d.count); err != nil {
			return fmt.Errorf("listen to %s only: %w", d.l.ecu, err)
		}
	}
	return d.s.hurry(ctx, &d.l, d.count)
}

// dropSuffix ceases to tell the adapter how many lines to wait for.
func (d *drive) dropSuffix() {
	d.l.suffix, d.packs, d.sched.speed.cmd = false, nil, ""
	for _, t := range d.sched.other {
		t.cmd = ""
	}
}

// loosened calls ask with the adapter open for all ECUs, and for long answers. The pins are set again after it: without them the number
// of lines to wait for may count another ECU's answer. Where that fails the error is errSettings.
func (d *drive) loosened(ctx context.Context, ask func() error) error {
	var loose []pin
	err := func() error {
		for _, p := range d.l.pins {
			_, err := d.s.at(ctx, p.undo, deadlineAT)
			switch {
			case err == nil, errors.Is(err, ErrMalformed): // an empty OK
				loose = append(loose, p)
			case errors.Is(err, ErrUnknownCommand):
			default:
				return err
			}
		}
		return ask()
	}()
	for _, p := range loose {
		if _, again := d.s.at(ctx, p.set, deadlineAT); again != nil {
			return fmt.Errorf("%s again: %w: %w", p.set, errSettings, again)
		}
	}
	return err
}
