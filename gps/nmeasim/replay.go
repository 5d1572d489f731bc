package nmeasim

import (
	"context"
	"io"
	"time"

	"obdagent/gps/internal/recording"
)

// A Replay sends a recorded log.
type Replay struct {
	Log    []byte    // the bytes that a receiver sent
	Start  time.Time // the first burst's new time, cut to the second; zero leaves times and dates as they are
	Fast   bool      // without the pauses between the epochs
	Faults Faults
	Seed   uint64 // of the faults
}

// Run writes the whole log to w, each epoch's burst at its time. It returns nil at the end or when ctx is done, and w's
// error when that fails.
func (r Replay) Run(ctx context.Context, w io.Writer) error {
	rec := recording.Parse(r.Log)
	if !r.Start.IsZero() {
		rec.MoveTo(r.Start)
	}
	release, err := interruptible(ctx, w)
	if err != nil {
		return err
	}
	defer release()
	breaker := newBreaker(r.Faults, r.Seed)
	begin := time.Now()
	for _, b := range rec.Bursts {
		if !r.Fast && !wait(ctx, time.Until(begin.Add(b.Offset))) || ctx.Err() != nil {
			return nil
		}
		if err := breaker.write(ctx, w, b.Data); err != nil {
			return err
		}
	}
	return nil
}
