package uplink

import (
	"context"
	"fmt"
	"log/slog"
	"math/bits"
	"slices"
	"time"
)

// How many bytes one call may carry, so that it takes no longer than Options.AirTime on the link as it was last measured.
const (
	firstCallBytes = 96 << 10 // before anything was measured: 52 s at 20 kbit/s, base64 included; each good call doubles it
	// However fast the link is: an eighth of what Firehose takes. The heads of a call are a quarter of a percent of it, and each
	// byte of a call takes some ten of memory on its way through base64, JSON and the signature: with 1 MiB the whole process took 9 MiB more.
	mostCallBytes  = 512 << 10
	leastCallBytes = 16 << 10 // however slow the link is: 35 s at slowestBytes, and still 150 lines to a head
)

// jumpAfter is how long the link must have been failing before the live lane leaves what it has to the backlog. Less would
// tear many small holes into the order, and the buffer keeps at most 64 acknowledged ranges above its position.
const jumpAfter = 30 * time.Second

// send makes one call with the lane's batch and acts on the answer.
func (u *Uplink) send(ctx context.Context, l *lane) {
	u.noteReleased()
	failed, err := u.put(ctx, l.batch.entries)
	switch {
	case err == nil:
		l.paced = true
		u.took(l, l.batch.entries, failed)
	case ctx.Err() != nil:
		// Run is ending: what was not taken is still in the buffer, and nothing is wrong with the link.
	case kindOf(err) == KindRefused:
		u.single(ctx, l, err)
	default:
		u.failed(err)
	}
}

// A bounded sink ends each call by itself.
type bounded interface {
	bound(size int) time.Duration // of a call with that many decoded bytes
}

// put makes one call. If ctx ends meanwhile, the call is given Options.Grace to come to its end.
func (u *Uplink) put(ctx context.Context, entries []*entry) ([]Failure, error) {
	data := make([][]byte, len(entries))
	size := 0
	for i, e := range entries {
		d, err := u.sent(e)
		if err != nil {
			return nil, err
		}
		data[i] = d
		size += len(d)
	}
	type answer struct {
		failed []Failure
		err    error
	}
	answers := make(chan answer, 1)
	callCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	most := time.Duration(0)
	if b, ok := u.o.Sink.(bounded); ok {
		most = b.bound(size) + stepMost // credentials may have to be fetched first, within the bound
	}
	u.pulse(most)
	defer u.pulse(stepMost)
	start := time.Now()
	go func() {
		f, err := u.o.Sink.Put(callCtx, data)
		answers <- answer{f, err}
	}()
	var a answer
	select {
	case a = <-answers:
	case <-ctx.Done():
		grace := time.NewTimer(u.o.Grace)
		defer grace.Stop()
		select {
		case a = <-answers:
		case <-grace.C:
			cancel()
			a = <-answers
		}
	}

	took := time.Since(start)
	u.count(0, 0)
	u.update(func(s *Status) {
		s.Calls++
		s.CallTime = took
		if a.err != nil {
			s.FailedCalls++
		}
	})
	u.measure(size, took, a.err)
	return a.failed, a.err
}

// measure sets the size of the next call by the rate of this one.
func (u *Uplink) measure(size int, took time.Duration, err error) {
	if err != nil {
		if kindOf(err) == KindLink {
			u.pack.bytes = max(u.pack.bytes/2, leastCallBytes)
		}
		return
	}
	n := 2 * u.pack.bytes
	if size >= leastCallBytes || took > u.o.AirTime { // a small call measures the link's latency, not its rate
		fits := float64(size) * float64(u.o.AirTime) / float64(took+1) // may be more than an int of 32 bits holds
		n = int(min(float64(n), fits))
	}
	u.pack.bytes = min(max(n, leastCallBytes), mostCallBytes)
}

// took acknowledges what of entries was taken and keeps the rest in the lane's batch, to go again as it is.
func (u *Uplink) took(l *lane, entries []*entry, failures []Failure) {
	why := make(map[int]Failure, len(failures))
	for _, f := range failures {
		if f.Index >= 0 && f.Index < len(entries) {
			why[f.Index] = f
		}
	}
	var taken, again []*entry
	var refused []Failure // beside refusedEntries
	var refusedEntries []*entry
	var first Failure
	for i, e := range entries {
		f, failed := why[i]
		if failed && first.Code == "" {
			first = f
		}
		switch {
		case !failed:
			taken = append(taken, e)
		case !f.Permanent:
			e.sealed = true
			again = append(again, e)
		case len(e.marks) > 1:
			again = append(again, lines(e)...)
		default:
			refused, refusedEntries = append(refused, f), append(refusedEntries, e)
		}
	}
	if len(again) == len(entries) && len(entries) > 0 && len(taken)+len(refused) == 0 && allTransient(why) {
		u.failed(&CallError{Kind: KindThrottled, Code: first.Code, Advice: fmt.Sprintf("all %d entries failed with %s (%s); they go again, more slowly", len(entries), first.Code, first.Message)})
		return
	}
	u.ack(taken)
	for i, e := range refusedEntries {
		u.refuse(e, refused[i].Code+": "+refused[i].Message)
	}

	since := l.batch.since
	l.batch = batch{entries: again, since: since}
	for _, e := range again {
		l.batch.lines += len(e.marks)
		l.batch.bytes += len(e.data)
	}
	u.update(func(s *Status) { s.Retried += uint64(len(again)) })

	if len(why) == 0 {
		u.lastKind = KindLink
		u.attempt, u.urgent, u.nextTry = 0, false, time.Time{}
		u.update(func(s *Status) { s.NextTry = time.Time{} })
		u.settle()
		return
	}
	reason := fmt.Sprintf("%s took %d of %d entries, the others failed with %s (%s): they go again", u.o.Sink, len(taken), len(entries), first.Code, first.Message)
	u.urgent, u.lastKind = true, KindThrottled
	u.failedSince = time.Now()
	if len(taken) > 0 {
		u.attempt = min(u.attempt, partialSteps-1)
	}
	u.backOff(reason)
	u.update(func(s *Status) { s.Cause = Cause(KindThrottled.String()) })
	u.setState(StateThrottled, reason)
}

func allTransient(failures map[int]Failure) bool {
	for _, f := range failures {
		if f.Permanent {
			return false
		}
	}
	return true
}

// lines takes an entry apart into entries of one line each.
func lines(e *entry) []*entry {
	if len(e.marks) == 1 {
		e.sealed = true
		return []*entry{e}
	}
	a, b := e.divide()
	return append(lines(a), lines(b)...)
}

// failed acts on a call of which nothing was taken: everything in hand goes back to the buffer, and the next try waits.
func (u *Uplink) failed(err error) {
	now := time.Now()
	if u.attempt == 0 {
		u.failedSince = now
	}
	u.abandon(now.Sub(u.failedSince) >= max(u.o.Linger, jumpAfter))
	u.urgent, u.lastKind = true, kindOf(err)
	reason := fmt.Sprintf("sending to %s: %s", u.o.Sink, adviceOf(err))
	u.backOff(err.Error())
	u.update(func(s *Status) { s.Cause = causeOf(err) })
	switch kindOf(err) {
	case KindThrottled:
		u.setState(StateThrottled, reason)
	case KindSetup, KindClock, KindRefused:
		u.setState(StateRefused, reason)
	default:
		u.setState(StateDown, reason)
	}
}

// backOff puts the next try off.
func (u *Uplink) backOff(lastError string) {
	u.attempt++
	now := time.Now()
	u.nextTry = now.Add(backoff(u.attempt, u.o.Rand))
	u.update(func(s *Status) { s.LastError, s.LastFailure, s.NextTry = lastError, now, u.nextTry })
	u.o.Log.Debug("uplink backs off", slog.Int("attempt", u.attempt), slog.Duration("wait", u.nextTry.Sub(now)), slog.String("error", lastError))
}

// ack acknowledges exactly the records in the entries.
func (u *Uplink) ack(taken []*entry) {
	if len(taken) == 0 {
		return
	}
	ranges(taken, u.log.ack)
	var records, lines, payload, billed uint64
	for _, e := range taken {
		n := len(e.data)
		if e.member != nil {
			n = len(e.member)
		}
		records += uint64(len(e.marks))
		lines += uint64(len(e.data))
		payload += uint64(n)
		if u.bills != nil {
			billed += u.bills.Billed(n)
		}
	}
	u.count(records, billed)
	u.update(func(s *Status) {
		s.Delivered += records
		s.LineBytes += lines
		s.PayloadBytes += payload
		s.BilledBytes += billed
		s.Entries += uint64(len(taken))
		s.LastSuccess = time.Now()
	})
}

// refuse sets a line aside that the sink will never take.
func (u *Uplink) refuse(e *entry, reason string) {
	for _, l := range e.lost {
		u.addLost(l) // the report rides on the next line instead
	}
	u.aside(e.marks[0].seq, nil, &RefusedError{Line: e.data, Reason: reason})
}

// single finds the lines to blame for a refused call by dividing it. They are set aside only if something else was taken
// in the same search: a destination that refuses everything has another trouble, and then nothing may be given up.
func (u *Uplink) single(ctx context.Context, l *lane, cause error) {
	all := l.batch
	var suspects, again []*entry
	accepted := false
	// Without one acceptance the search ends after going down to single lines about twice. The halves are tried in random
	// order, so that a run of bad lines does not hide the good ones for ever.
	left := 2*bits.Len(uint(all.lines)) + 2
	stack := u.halves(nil, all.entries)
	if stack == nil {
		u.failed(cause)
		return
	}
	for len(stack) > 0 && ctx.Err() == nil {
		group := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		failed, err := u.put(ctx, group)
		switch {
		case err == nil:
			accepted = true
			l.batch = batch{since: all.since}
			u.took(l, group, failed)
			again = append(again, l.batch.entries...)
		case ctx.Err() != nil:
			return
		case kindOf(err) != KindRefused:
			l.batch = all
			u.failed(err)
			return
		default:
			if halves := u.halves(stack, group); halves != nil {
				stack = halves
			} else {
				suspects = append(suspects, group[0])
			}
			if left--; left <= 0 && !accepted {
				l.batch = all
				u.failed(err)
				return
			}
		}
	}
	if ctx.Err() != nil {
		return
	}
	if !accepted {
		l.batch = all
		u.failed(cause)
		return
	}
	for _, e := range suspects {
		u.refuse(e, adviceOf(cause))
	}
	l.batch = batch{entries: again, since: all.since}
	for _, e := range again {
		l.batch.lines += len(e.marks)
		l.batch.bytes += len(e.data)
	}
}

// halves pushes the two halves of a group, in random order, or returns nil if the group is a single line.
func (u *Uplink) halves(stack [][]*entry, group []*entry) [][]*entry {
	var a, b []*entry
	switch {
	case len(group) > 1:
		a, b = slices.Clip(group[:len(group)/2]), slices.Clip(group[len(group)/2:])
	case len(group[0].marks) > 1:
		x, y := group[0].divide()
		a, b = []*entry{x}, []*entry{y}
	default:
		return nil
	}
	if u.o.Rand.IntN(2) == 0 {
		a, b = b, a
	}
	return append(stack, a, b)
}
