package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"obdagent/buffer"
)

// Run delivers until ctx is done and then returns nil: no call is begun after that, and one in flight is given
// Options.Grace. Call Drain before to have everything out. It returns an error only if the buffer is closed, or was
// written by a newer version.
// It may be called again after it has returned, but not twice at a time.
func (u *Uplink) Run(ctx context.Context) error {
	u.mu.Lock()
	if u.running {
		u.mu.Unlock()
		return errors.New("uplink: Run is running already")
	}
	u.running = true
	u.mu.Unlock()
	defer u.stopped()

	u.setState(StateStarting, "")
	_, u.diskThere = u.log.found()
	u.backlogEnd = u.log.committed()
	u.open(u.backlogEnd)
	u.urgent, u.lost, u.budgetWaits = false, nil, false
	u.begin()

	for ctx.Err() == nil {
		u.pulse(stepMost)
		err := u.step(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, buffer.ErrClosed) || errors.Is(err, buffer.ErrFormat):
			return fmt.Errorf("uplink: %w", err)
		default: // the disk could not be read: the same entry can be asked for again
			u.lastKind = KindSetup // no change of the link mends it
			u.backOff(err.Error())
			u.update(func(s *Status) { s.Cause = CauseBuffer })
			u.setState(StateDown, err.Error()+": see that the buffer's disk is there; it is tried again")
		}
	}
	return nil
}

// stepMost bounds a step without its waits, calls and uses of the disk: a batch of 4 MiB is encoded.
const stepMost = time.Minute

// pulse tells that Run goes on.
func (u *Uplink) pulse(within time.Duration) {
	if u.o.Pulse != nil {
		u.o.Pulse(within)
	}
}

// onDisk does what may wait for the disk, for as long as that takes.
func (u *Uplink) onDisk(do func()) {
	u.pulse(0)
	defer u.pulse(stepMost)
	do()
}

// begin recalls what was kept and spreads the first calls: vans that get power in the same second (a depot's switch) send
// their backlog at different times within a linger, and their live records on grids of their own.
func (u *Uplink) begin() {
	u.recall()
	if c, ok := u.o.Sink.(ByteCounter); ok {
		u.wireUp, u.wireDown = c.Bytes()
	}
	u.count(0, 0)
	spread := func(most time.Duration) time.Duration { return time.Duration(u.o.Rand.Int64N(int64(most) + 1)) }
	wait := spread(min(u.o.Linger, startJitter))
	u.grid = time.Now().Add(spread(u.o.Linger))
	if u.attempt = u.kept.Attempt; u.attempt > 0 {
		// It failed before the restart: a process that is restarted again and again must not try more often for it.
		wait = max(wait, backoff(u.attempt, u.o.Rand))
		u.lastKind, u.failedSince, u.urgent = kindNamed(u.kept.Kind), time.Now(), true
		u.setState(StateStarting, fmt.Sprintf("sending failed before the restart (%s): it is tried again %v after the start", u.kept.Kind, wait.Round(time.Second)))
	}
	u.nextTry = time.Now().Add(wait)
	u.update(func(s *Status) { s.NextTry = u.nextTry })
}

// diskCame looks, as long as it was not there, whether the log has its disk now, and says so once: what is on it is from earlier, and
// so is what was kept there. What the lanes may have read of it is forgotten, not acknowledged.
func (u *Uplink) diskCame() bool {
	if u.diskThere {
		return false
	}
	next, ok := u.log.found()
	if !ok {
		return false
	}
	u.o.Log.Info("the buffer's disk is there", slog.Uint64("from", next))
	u.diskThere, u.backlogEnd = true, next
	u.restart(next)
	u.lost = nil // the lanes read of it again
	u.count(0, 0)
	before := u.kept
	u.begin()
	if k := &u.kept; k.Day == before.Day {
		k.DayUp += before.DayUp
		k.DayDown += before.DayDown
		k.DayBilled += before.DayBilled
		k.DayRecords += before.DayRecords
		u.counted = true
	}
	u.count(0, 0)
	return true
}

// stopped ends what waits for Run.
func (u *Uplink) stopped() {
	u.count(0, 0)
	u.keep(true)
	u.live.close()
	u.backlog.close()
	u.closeIdle()
	u.setState(StateStopped, "")
	u.mu.Lock()
	defer u.mu.Unlock()
	u.running = false
	for _, w := range u.waiters {
		w.done <- fmt.Errorf("draining the uplink: %w", ErrStopped)
	}
	u.waiters = nil
	u.status.Pending, u.status.Held, u.status.NextTry = 0, false, time.Time{}
}

// step does one thing: waits for the back-off, sends one batch, or waits for something to send.
func (u *Uplink) step(ctx context.Context) error {
	u.diskCame() // first: the wait that it begins is nothing for who waits in Drain
	draining := u.seeWaiters()
	u.adjust()
	u.relink()
	u.count(0, 0)
	u.keep(false)
	if time.Now().Before(u.nextTry) {
		return u.wait(ctx, u.nextTry, nil)
	}
	withhold := u.withhold()
	if u.o.LiveFirst {
		u.pack.most = 0
	}
	if err := u.fill(&u.live); err != nil {
		return err
	}
	if u.diskCame() { // meanwhile: what was read is not live
		if draining {
			u.nextTry = time.Time{}
		}
		return nil
	}
	liveWaits := withhold && !u.o.LiveFirst && u.live.batch.lines > 0
	if !liveWaits && u.due(&u.live, draining) {
		u.noteBudget(withhold && u.budgetWaits)
		u.send(ctx, &u.live)
		return nil
	}
	withhold = u.withhold()
	if err := u.fill(&u.backlog); err != nil {
		return err
	}
	u.noteBudget(liveWaits || withhold && u.backlog.batch.lines > 0)
	if u.backlog.batch.lines > 0 && !withhold {
		u.send(ctx, &u.backlog)
		return nil
	}
	u.noteWaiting()
	if u.live.pending()+u.backlog.pending() == 0 {
		u.releaseWaiters()
	}

	var until time.Time
	for _, l := range []*lane{&u.live, &u.backlog} {
		if l.held() {
			until = sooner(until, l.stash.retry)
		}
	}
	if u.live.batch.lines > 0 && !liveWaits {
		until = sooner(until, u.dueAt(&u.live.batch))
	}
	if u.budgetWaits {
		until = sooner(until, time.Now().Add(budgetPause))
	}
	if u.live.stash != nil || u.live.batch.full {
		return u.wait(ctx, until, nil)
	}
	return u.wait(ctx, until, &u.live)
}

// due reports whether the lane's batch goes now.
func (u *Uplink) due(l *lane, draining bool) bool {
	b := &l.batch
	if b.lines == 0 {
		return false
	}
	first := b.entries[0]
	return b.full && b.goes.IsZero() || draining || u.urgent || first.sealed ||
		first.marks[0].seq < u.backlogEnd || !time.Now().Before(u.dueAt(b))
}

// dueAt returns when a batch goes at the latest: at the next point of this uplink's grid, which is less than a linger away
// from its oldest line. Counting the linger from the line itself would make vans whose records come at the same moments, as those of
// GPS receivers do, send at the same moments.
func (u *Uplink) dueAt(b *batch) time.Time {
	switch {
	case !b.goes.IsZero():
		return b.goes
	case u.o.Linger == 0:
		return b.since
	}
	d := b.since.Sub(u.grid)
	n := d / u.o.Linger
	if d < 0 && d%u.o.Linger != 0 {
		n--
	}
	return u.grid.Add((n + 1) * u.o.Linger)
}

// leastStep is the share of a billing step that is worth waiting for the rest of a linger. Less, and the batch goes when the steps
// before it are full: at 1 Hz and the default linger 47 lines in one step go every 47 s instead of 60 lines in two each minute, which is
// billed a third less and costs 5 % more on the air.
const leastStep = 1. / 3

// closes reports whether the live batch goes before a line of n bytes: it fills its billing steps, that line would begin a new one, and
// what comes until the linger ends, at the rate so far, would fill too little of it. The first batch after a start or a failure
// waits for its moment on the grid, or vans that began together would send together.
func (u *Uplink) closes(l *lane, n int) bool {
	b := &l.batch
	e := b.last()
	if u.bills == nil || !u.pack.join || !l.paced || e == nil || e.sealed {
		return false
	}
	step := u.pack.stepRoom()
	if (len(e.data)-1)/step == (len(e.data)+n-1)/step { // it begins no step
		return false
	}
	now, due := time.Now(), u.dueAt(b)
	age, left := now.Sub(b.since), due.Sub(now)
	if age <= 0 || left <= 0 {
		return false
	}
	return float64(b.bytes)*left.Seconds()/age.Seconds() < leastStep*float64(step)
}

// closing returns when a batch goes that closes now: at any moment until the next record may be expected, or vans would send in
// the moments in which all make their records.
func (u *Uplink) closing(b *batch) time.Time {
	now := time.Now()
	gap := min(now.Sub(b.since)/time.Duration(b.lines), u.dueAt(b).Sub(now))
	return now.Add(time.Duration(u.o.Rand.Int64N(int64(gap) + 1)))
}

// sooner returns the earlier of two points in time, of which zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// wait waits until then (zero: for ever), for ctx or for Drain, and with a lane also for its next record, which it takes.
func (u *Uplink) wait(ctx context.Context, until time.Time, l *lane) error {
	var cancel context.CancelFunc
	if until.IsZero() {
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithDeadline(ctx, until)
	}
	defer cancel()

	u.mu.Lock()
	u.status.Pending = u.live.pending() + u.backlog.pending()
	u.status.Held = u.live.held() || u.backlog.held()
	if !time.Now().Before(u.nextTry) {
		u.status.NextTry = time.Time{}
	}
	if u.woken {
		u.mu.Unlock()
		return nil
	}
	u.cancelWait = cancel
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		u.cancelWait = nil
		u.mu.Unlock()
	}()

	if l == nil {
		u.pulse(0) // for what may never come: the time, coverage
		<-ctx.Done()
		u.pulse(stepMost)
		return nil
	}
	var e buffer.Entry
	var err error
	u.onDisk(func() { e, err = l.rd.Next(ctx) }) // a record may never come, either
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("reading the buffer: %w", err)
	}
	l.empty = time.Now() // it was just committed
	u.take(l, e)
	return nil
}

// seeWaiters marks the calls of Drain that are known before records are looked for, and reports whether there are any. The
// first sight of one cuts the back-off short: somebody is waiting.
func (u *Uplink) seeWaiters() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range u.waiters {
		if !w.seen {
			w.seen = true
			u.nextTry = time.Time{}
		}
	}
	u.woken = false
	return len(u.waiters) > 0
}

// releaseWaiters ends the calls of Drain that were seen before the lanes were found empty.
func (u *Uplink) releaseWaiters() {
	u.mu.Lock()
	defer u.mu.Unlock()
	left := u.waiters[:0]
	for _, w := range u.waiters {
		if w.seen {
			w.done <- nil
		} else {
			left = append(left, w)
		}
	}
	u.waiters = left
}

// settle sets the state for a link that is well: waiting while a record is held, else ok.
func (u *Uplink) settle() {
	if u.budgetWaits {
		u.setState(StateBudget, fmt.Sprintf("the day's %d bytes are used up: older records wait for the next day (UTC)", u.o.DailyBytes))
		return
	}
	if u.live.held() || u.backlog.held() {
		u.setState(StateWaiting, "records wait for the time: they go as soon as the GPS or the network has told it")
		return
	}
	u.setState(StateOK, "")
}

// noteReleased ends the state waiting once no record is held, before the call that takes what was: it may hang, and then it is not
// the time that is waited for.
func (u *Uplink) noteReleased() {
	u.mu.Lock()
	waiting, first := u.status.State == StateWaiting, u.status.LastSuccess.IsZero()
	u.mu.Unlock()
	switch {
	case !waiting || u.live.held() || u.backlog.held():
	case first:
		u.setState(StateStarting, "")
	default:
		u.setState(StateOK, "")
	}
}

// noteWaiting settles the state while there is nothing to send, unless it says something that matters more.
func (u *Uplink) noteWaiting() {
	u.mu.Lock()
	state := u.status.State
	u.mu.Unlock()
	held := u.live.held() || u.backlog.held()
	if state == StateWaiting || held && (state == StateOK || state == StateStarting) {
		u.settle()
	}
}
