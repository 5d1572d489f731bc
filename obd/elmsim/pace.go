package elmsim

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// spin is the last part of a wait that is left to the kernel's high-resolution timer, where the other side lives in real time:
// Go's own timers wake an idle process on whole milliseconds (epoll_wait), which is four bytes at 38400 baud, and later after a long wait
// on a busy machine.
const spin = 5 * time.Millisecond

// sleep waits until l.clock.
func (l *line) sleep(ctx context.Context) error {
	d := time.Until(l.clock)
	if l.real {
		d -= spin
	}
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	l.finish()
	return ctx.Err()
}

// finish waits for the rest of a wait, at most spin.
func (l *line) finish() {
	if !l.real {
		return
	}
	for d := min(time.Until(l.clock), spin); d > 0; d = min(time.Until(l.clock), spin) {
		// A signal ends the sleep early, and the loop goes on.
		ts := unix.NsecToTimespec(int64(d)) // its fields are narrower on 32 bits
		_ = unix.Nanosleep(&ts, nil)
	}
}

// busy waits for the car. A byte that arrives meanwhile aborts (DSJ p. 9: "any character").
func (l *line) busy(ctx context.Context, d time.Duration) (aborted bool, err error) {
	l.clock = l.clock.Add(d)
	wait := time.Until(l.clock)
	if l.real {
		wait -= spin
	}
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-timer.C:
		l.finish()
		return false, nil
	case _, ok := <-l.in:
		if !ok {
			return false, errEnd
		}
		l.clock = time.Now()
		return true, nil
	}
}
