package uplink

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"obdagent/buffer"
)

// maxLostReports bounds the reports of lost records that wait for a record to ride on. Reports of neighbouring ranges are
// joined, so that only scattered damage during a long hold comes near it.
const maxLostReports = 64

// A lane is a reader and the batch that is being filled from it.
type lane struct {
	rd    Reader
	limit uint64    // records at or above it are not this lane's; 0: no limit
	done  bool      // the limit was reached
	next  uint64    // the sequence number after the last record read
	empty time.Time // when there was last nothing to read: what is read now has waited no longer
	batch batch
	stash *stashed // read but not in the batch
	paced bool     // it has sent since it was opened: its sends are this van's own, not those of all that got power at once
}

// A stashed record could not go into the batch yet: it is held, or the batch was full.
type stashed struct {
	seq    uint64
	stored []byte
	at     time.Time // when it was read
	retry  time.Time // held until then; zero: it waits for the next batch
}

// low returns the lowest sequence number that the lane has in hand, or the next one that it will read.
func (l *lane) low() uint64 {
	low := l.next
	if l.stash != nil {
		low = min(low, l.stash.seq)
	}
	for _, e := range l.batch.entries {
		low = min(low, e.marks[0].seq)
	}
	return low
}

func (l *lane) close() {
	if l.rd != nil {
		l.rd.Close()
		l.rd = nil
	}
}

func (l *lane) pending() int {
	n := l.batch.lines
	if l.stash != nil {
		n++
	}
	return n
}

func (l *lane) held() bool { return l.stash != nil && !l.stash.retry.IsZero() }

// fill reads into the lane's batch until there is nothing more to read, the batch is full, or a record must be held.
func (u *Uplink) fill(l *lane) error {
	if s := l.stash; s != nil && !l.batch.full {
		if now := time.Now(); now.Before(s.retry) {
			return nil
		}
		l.stash = nil
		if !u.encode(l, s.seq, s.stored, s.at) {
			return nil
		}
	}
	for l.rd != nil && !l.done && !l.batch.full {
		var e buffer.Entry
		var ok bool
		var err error
		u.onDisk(func() { e, ok, err = l.rd.TryNext() })
		if err != nil {
			return fmt.Errorf("reading the buffer: %w", err)
		}
		if !ok {
			l.empty = time.Now()
			return nil
		}
		if !u.take(l, e) {
			return nil
		}
	}
	return nil
}

// take puts what the reader handed out where it belongs, and reports whether the lane can take more.
func (u *Uplink) take(l *lane, e buffer.Entry) bool {
	if l.limit != 0 && e.Seq >= l.limit { // the other lane's, also what was lost
		l.done = true
		l.close()
		return false
	}
	if e.Lost != nil {
		lost := *e.Lost
		if l.limit != 0 {
			lost.To = min(lost.To, l.limit-1) // the rest is the other lane's
		}
		u.addLost(lost)
		l.next = max(l.next, lost.To+1)
		return true
	}
	l.next = e.Seq + 1
	if l.empty.IsZero() {
		l.empty = time.Now()
	}
	return u.encode(l, e.Seq, e.Data, l.empty)
}

// encode makes the line of a record and puts it into the batch, stashes the record, or sets it aside. It reports whether the
// lane can take more.
func (u *Uplink) encode(l *lane, seq uint64, stored []byte, at time.Time) bool {
	line, err := u.o.Encoder.Encode(u.scratch[:0], seq, stored, u.lost)
	switch {
	case errors.Is(err, ErrHold):
		l.stash = &stashed{seq: seq, stored: bytes.Clone(stored), at: at, retry: time.Now().Add(u.o.HoldRetry)}
		return false
	case err != nil:
		u.aside(seq, stored, fmt.Errorf("encoding record %d: %w", seq, err))
		return true
	case len(line) == 0:
		u.aside(seq, stored, fmt.Errorf("encoding record %d: the line is empty", seq))
		return true
	}
	u.scratch = line
	if line[len(line)-1] != '\n' {
		line = append(line, '\n') // Firehose puts nothing between records: without it two lines would become one
	}
	if most := u.pack.maxLine(); len(line) > most {
		u.aside(seq, stored, fmt.Errorf("record %d: its line of %d bytes is longer than a Firehose record may be (%d)", seq, len(line), most))
		return true
	}
	if l == &u.live && u.closes(l, len(line)) {
		l.batch.full, l.batch.goes = true, u.closing(&l.batch)
		u.grid = at // the next linger begins here
	}
	if l.batch.full || !u.pack.add(&l.batch, seq, line, u.lost, at) {
		l.stash = &stashed{seq: seq, stored: bytes.Clone(stored), at: at}
		return false
	}
	u.lost = nil
	return true
}

// aside gives up a record that can never be sent. It is acknowledged only after Options.Aside has had it.
func (u *Uplink) aside(seq uint64, stored []byte, reason error) {
	if u.o.Aside != nil {
		u.onDisk(func() { u.o.Aside(seq, stored, reason) })
	}
	u.log.ack(seq, seq)
	u.update(func(s *Status) { s.Aside++ })
}

// addLost notes a report of lost records for the next line.
func (u *Uplink) addLost(l buffer.Lost) {
	for i := range u.lost {
		o := &u.lost[i]
		if o.Reason == l.Reason && l.From <= o.To+1 && o.From <= l.To+1 {
			o.From, o.To = min(o.From, l.From), max(o.To, l.To)
			return
		}
	}
	if len(u.lost) == maxLostReports {
		u.lost = slices.Delete(u.lost, 0, 1)
		u.update(func(s *Status) { s.LostReports++ })
	}
	u.lost = append(u.lost, l)
}

// abandon forgets what the lanes have in hand; the buffer still has it. While an outage is young the live lane starts again
// at what it had; after that it jumps to the tail and leaves the rest to the backlog, so that after a coverage hole the
// newest records go first.
func (u *Uplink) abandon(jump bool) {
	from := u.live.low()
	if jump {
		from = u.log.committed()
	}
	u.restart(from)
}

// restart forgets what the lanes have in hand, and opens them anew.
func (u *Uplink) restart(from uint64) {
	for _, l := range []*lane{&u.live, &u.backlog} {
		for _, e := range l.batch.entries {
			for _, x := range e.lost {
				u.addLost(x)
			}
		}
	}
	u.open(from)
}

// open starts the lanes: the live one at from, the other with all that is older.
func (u *Uplink) open(from uint64) {
	u.live.close()
	u.backlog.close()
	if !u.o.LiveFirst {
		u.live, u.backlog = lane{rd: u.log.reader(0)}, lane{done: true}
		return
	}
	u.live = lane{rd: u.log.reader(from), next: from, empty: time.Now()}
	u.backlog = lane{rd: u.log.reader(0), limit: from}
}
