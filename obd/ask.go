package obd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// packBadMax is how often in a row a packed request may go wrong before signals are asked one by one again.
	packBadMax = 2
	// maxPacks bounds the remembered requests: with n signals that fit there are at most n squared over two, and eight are many.
	maxPacks = 64
)

// packed is a request for several signals.
type packed struct {
	tasks []*task
	cmd   string
	bad   int // how often in a row it went wrong
}

// command is the request for a batch. Steady polling asks the same few again and again, so they are kept.
func (d *drive) command(batch []*task) string {
	if len(batch) == 1 {
		t := batch[0]
		if t.cmd == "" {
			t.cmd = d.l.command(t.signal.service(), t.echo...)
			if d.l.suffix && 1+len(t.echo)+t.signal.Bytes > 7 {
				t.cmd = t.cmd[:len(t.cmd)-1] // several frames: their number is the car's affair
			}
		}
		return t.cmd
	}
	for i := range d.packs {
		if slices.Equal(d.packs[i].tasks, batch) {
			return d.packs[i].cmd
		}
	}
	var pids []byte
	for _, t := range batch {
		pids = append(pids, t.echo...)
	}
	p := packed{tasks: slices.Clone(batch), cmd: d.l.command(1, pids...)}
	if len(d.packs) == maxPacks {
		d.packs = d.packs[:0]
	}
	d.packs = append(d.packs, p)
	return p.cmd
}

// ask puts one request, passes the answer through the gate and hands the samples out.
func (d *drive) ask(ctx context.Context, batch []*task) error {
	answer, when, err := d.exchange(ctx, batch)
	switch {
	case errors.Is(err, ErrStopped), errors.Is(err, errOthersOnly) && d.l.suffix:
		// The chip was interrupted: our fault or a stray byte's. Or another ECU's answer was the one line that was waited for. Once more, now
		// that it has finished.
		d.c.failed(err)
		if !errors.Is(err, ErrStopped) {
			if err := d.pinLate(ctx); err != nil {
				return err
			}
		}
		answer, when, err = d.exchange(ctx, batch)
	}
	if d.s.announces {
		if d.l.suffix {
			d.dropSuffix() // the announcement is a line, so that the answer itself would be missed again and again
		}
		if err := d.s.unhurry(ctx, &d.l); err != nil { // what is announced takes longer than the short wait
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = split(answer, batch)
		if errors.Is(err, ErrMismatch) {
			d.s.dirty = true
		}
	}
	if err == nil && when.whole() > maxLatency {
		err = fmt.Errorf("%s: after %v: %w", batch[0].signal.Name, when.whole().Round(time.Millisecond), ErrLate)
	}
	for _, t := range batch {
		failure := err
		sample := Sample{Signal: t.signal.Name, Value: math.NaN(), Mono: when.midpoint(), Latency: when.latency(), ECU: d.l.ecu}
		switch {
		case failure != nil:
		case len(t.part) == 0:
			failure = fmt.Errorf("%s: left out of the answer: %w", t.signal.Name, ErrNoData)
		default:
			sample.Value, failure = t.decode.decode(t.part)
		}
		if failure != nil {
			sample = Sample{Signal: t.signal.Name, Value: math.NaN(), Mono: d.c.opt.Now(), ECU: d.l.ecu, Err: failure}
		}
		d.note(t, sample)
		d.c.deliver(sample)
		if err == nil || len(batch) == 1 {
			d.countMiss(t, failure)
			if len(batch) == 1 {
				err = failure
			}
		}
	}
	if len(batch) > 1 {
		d.judgePack(batch, err)
	}
	return d.judge(ctx, err)
}

// note draws from a sample what tells of the drive.
func (d *drive) note(t *task, s Sample) {
	switch {
	case s.Err != nil:
	case t == d.sched.speed:
		d.moving = s.Value > 0
		d.ran = d.ran || d.moving
	case t.signal.Name == "rpm" && s.Value > 0:
		d.ran = true
	}
}

// countMiss gives a signal up that has been without an answer for too long.
func (d *drive) countMiss(t *task, err error) {
	switch {
	case err == nil:
		t.misses = 0
	case errors.Is(err, ErrNoData), errors.Is(err, ErrNegative):
		if t.misses++; t.misses >= missMax {
			d.drop(t, fmt.Errorf("%s: %d times in a row without an answer: %w", t.signal.Name, t.misses, ErrUnsupported))
		}
	}
}

// judgePack gives packing up where it goes wrong again and again: then each signal is asked by itself, as if the pair of adapter and
// car had never proved able.
// Each set of signals counts by itself: some clones cut only those answers that fill a frame.
func (d *drive) judgePack(batch []*task, err error) {
	i := slices.IndexFunc(d.packs, func(p packed) bool { return slices.Equal(p.tasks, batch) })
	switch {
	case i < 0: // all have been forgotten meanwhile
	case err == nil, errors.Is(err, ErrLate):
		d.packs[i].bad = 0
	default:
		d.packs[i].bad++
	}
	if i >= 0 && d.packs[i].bad >= packBadMax {
		d.sched.pack = false
		d.c.opt.Logger.Debug("several PIDs in one request do not work any more; asking one by one", "err", err)
	}
}

// exchange is one request and its answer, from the service byte on.
func (d *drive) exchange(ctx context.Context, batch []*task) ([]byte, timing, error) {
	if err := d.count(ctx); err != nil {
		return nil, timing{}, err
	}
	t := batch[0]
	echo := t.echo
	if len(batch) > 1 {
		echo = nil // the parts may come in any order (DSJ p. 45); split looks at them
	}
	return d.s.one(ctx, d.command(batch), t.signal.service(), echo, deadlineOf(d.l), d.l.sender)
}

// split takes an answer apart: each task's part is what an answer to it alone would be, and empty if the car left it out.
// Errors: ErrMismatch for a PID that was not asked or comes twice, ErrMalformed where the lengths do not add up.
func split(answer []byte, batch []*task) error {
	for _, t := range batch {
		t.part = t.part[:0]
	}
	if len(batch) == 1 {
		batch[0].part = append(batch[0].part, answer...)
		return nil
	}
	for rest := answer[1:]; len(rest) > 0; {
		i := slices.IndexFunc(batch, func(t *task) bool { return t.echo[0] == rest[0] })
		switch {
		case i < 0:
			return fmt.Errorf("PID %02X, which was not asked, in % X: %w", rest[0], answer, ErrMismatch)
		case len(batch[i].part) > 0:
			return fmt.Errorf("PID %02X twice in % X: %w", rest[0], answer, ErrMismatch)
		case len(rest) < batch[i].size():
			return fmt.Errorf("PID %02X has %d bytes in % X: %w", rest[0], len(rest)-1, answer, ErrMalformed)
		}
		t := batch[i]
		t.part = append(append(t.part, answer[0]), rest[:t.size()]...)
		rest = rest[t.size():]
	}
	return nil
}

// proofs are the PIDs that are asked together with the speed, to see whether the adapter and the car can do that: first what never
// changes (OBD standard, fuel type), then what changes slowly (temperatures, pressure). All have one data byte.
var proofs = []byte{0x1C, 0x51, 0x05, 0x0F, 0x33, 0x2F, 0x5C, 0x46}

// proofStep is by how much such a value may have changed between the two requests.
const proofStep = 2

// proveMulti compares a request for two PIDs with the answer to a request for one of them. Some clones send two bytes of any
// request and drop the rest, some cars answer the first PID only. A pair of adapter and car that has proved able before shows it by
// the answer to the one request for two; if it does not, or never did, both are asked; if it failed again and again, neither. Its errors
// are fatal ones.
func (s *session) proveMulti(ctx context.Context, l *link, count counter) error {
	if !l.framing.can() || !l.supported.has(0x0D) {
		return nil
	}
	if l.multiProof.hopeless() {
		l.multiProof = l.multiProof.after(false)
		return nil
	}
	i := slices.IndexFunc(proofs, func(pid byte) bool { return l.supported.bits[pid] })
	if i < 0 {
		return nil
	}
	pid := proofs[i]
	ask := func(pids ...byte) ([]byte, error) {
		if err := count(ctx); err != nil {
			return nil, err
		}
		data, _, err := s.one(ctx, l.command(1, pids...), 1, nil, deadlineSlow, l.sender)
		if fatal(ctx, err) || s.dead >= deadMax {
			return nil, fmt.Errorf("try several PIDs in one request: %w", err)
		}
		if err != nil {
			return nil, nil // not able
		}
		return data, nil
	}
	both := func() (int, error) {
		data, err := ask(0x0D, pid)
		switch {
		case err != nil || len(data) != 5:
			return -1, err
		case data[1] == 0x0D && data[3] == pid:
			return int(data[4]), nil
		case data[1] == pid && data[3] == 0x0D:
			return int(data[2]), nil
		}
		return -1, nil
	}
	if l.multiProof > 0 {
		if got, err := both(); err != nil || got >= 0 {
			l.multi = err == nil
			return err
		}
	}
	alone, err := ask(pid)
	if err != nil || len(alone) != 3 || alone[1] != pid {
		return err
	}
	value := int(alone[2])
	got, err := both()
	if err != nil {
		return err
	}
	l.multi = got >= 0 && max(got-value, value-got) <= proofStep
	l.multiProof = l.multiProof.after(l.multi)
	return nil
}
