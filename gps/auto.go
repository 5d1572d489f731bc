package gps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
)

// openAuto takes the one serial port that speaks NMEA. It only listens. The port taken last is tried first and alone, so
// that a replugged receiver is back at once.
func (r *Receiver) openAuto(ctx context.Context) (*openPort, error) {
	if name := r.lastAuto; name != "" {
		r.lastAuto = "" // until it has spoken again
		if p, err := r.openSerial(name); err == nil {
			return p, nil
		}
	}
	names, err := r.opt.Candidates()
	if err != nil {
		return nil, fmt.Errorf("list serial ports: %w", err)
	}
	if len(names) == 0 {
		return nil, noPortError{}
	}
	if r.Status().State != StateAbsent { // else the state would change to and fro with each attempt
		r.setState(StateProbing, "", "listening for NMEA on "+strings.Join(names, ", "))
	}

	found := make([]int, len(names)) // the speed at which the port speaks, 0 if it does not
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { found[i], errs[i] = r.listenOn(ctx, name) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("listen for NMEA: %w", ctx.Err())
	}

	var speaking, reasons []string
	baud := 0
	for i, name := range names {
		if found[i] > 0 {
			speaking = append(speaking, name)
			baud = found[i]
		} else if errs[i] != nil {
			reasons = append(reasons, errs[i].Error())
		}
	}
	switch len(speaking) {
	case 0:
		reason := "no serial port speaks NMEA (listened on " + strings.Join(names, ", ") + ")"
		if len(reasons) > 0 {
			reason += "; " + strings.Join(reasons, "; ")
		}
		cause := CauseNotFound
		denied := !slices.ContainsFunc(errs, func(err error) bool { return causeOf(err) != CausePermission })
		if len(names) == 1 && errs[0] != nil || denied {
			cause = causeOf(errs[0]) // what all have in common
		}
		return nil, causedError{cause, errors.New(reason + ": check the receiver's cable, or set gps.source")}
	case 1:
		r.lastBaud[speaking[0]] = baud
		return r.openSerial(speaking[0])
	}
	return nil, causedError{CauseSeveral, fmt.Errorf("several serial ports speak NMEA (%s): set gps.source to the one to use", strings.Join(speaking, ", "))}
}

// noPortError is a system without a serial port; one may be plugged in any time.
type noPortError struct{}

func (noPortError) Error() string {
	return "there is no serial port: plug the receiver in, or set gps.source"
}

func (noPortError) Is(target error) bool { return target == fs.ErrNotExist }

// listenOn listens on one port at all speeds, once, and returns the speed at which it speaks NMEA; 0 if it does not.
func (r *Receiver) listenOn(ctx context.Context, name string) (baud int, err error) {
	release, err := r.opt.Claim(realDevice(name))
	if err != nil {
		return 0, causedError{CauseBusy, fmt.Errorf("%s: %w", name, err)}
	}
	defer release()
	first := r.opt.Baud
	if first == 0 {
		first = speeds[0]
	}
	port, err := r.opt.OpenSerial(name, first)
	if err != nil {
		return 0, &openError{name, err}
	}
	order := probeOrder(first)
	if r.opt.Baud != 0 || ignoresSpeed(name) {
		order = order[:1]
	}

	chunks := make(chan chunk)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { r.read(&openPort{ReadWriteCloser: port, name: name}, chunks, quit) })
	defer func() {
		close(quit)
		if cerr := port.Close(); cerr != nil {
			r.log.Debug("close port after listening", "port", name, "error", cerr)
		}
		wg.Wait()
	}()
	for i, baud := range order {
		if i > 0 {
			if err := port.SetSpeed(baud); err != nil {
				return 0, fmt.Errorf("set %s to %d baud: %w", name, baud, err)
			}
		}
		ok, err := hears(ctx, chunks)
		if ok || err != nil {
			return baud, err
		}
	}
	return 0, nil
}

// hears reports whether two good sentences come in time.
func hears(ctx context.Context, chunks <-chan chunk) (bool, error) {
	var f Framer
	heard := 0
	t := time.NewTimer(listenFor)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-t.C:
			return false, nil
		case c := <-chunks:
			f.Feed(c.data, func([]byte) {})
			heard += len(c.data)
			switch {
			case f.Good >= lockOn:
				return true, nil
			case c.err != nil:
				return false, c.err
			case heard >= noiseEnough && f.Good == 0:
				return false, nil
			}
		}
	}
}
