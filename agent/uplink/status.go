package uplink

import (
	"time"
)

// State is one word for how delivery is doing.
type State string

// The states.
const (
	StateStarting  State = "starting"  // nothing was sent yet since Run began
	StateOK        State = "ok"        // the last call was taken whole
	StateWaiting   State = "waiting"   // records are held because they cannot be dated yet
	StateBudget    State = "budget"    // the day's bytes are used up: older records wait for the next day, new ones go
	StateThrottled State = "throttled" // the destination takes part, or asks to be asked less often
	StateDown      State = "down"      // the last call got no usable answer; it is tried again
	StateRefused   State = "refused"   // stream, credentials, permission or clock: a person must look; it is tried again
	StateStopped   State = "stopped"   // Run has returned, or was never called
)

// States lists all.
func States() []State {
	return []State{StateStarting, StateOK, StateWaiting, StateBudget, StateThrottled, StateDown, StateRefused, StateStopped}
}

// A StateChange is one transition.
type StateChange struct {
	From, To State
	Reason   string // why, and what to do next; empty for ok
}

// Status is a snapshot for people and metrics. The points in time carry Go's monotonic reading, so that time.Since tells
// their age whatever the wall clock did meanwhile; zero means never.
type Status struct {
	State  State
	Since  time.Time // of the last change of State
	Reason string    // why the state is not ok, and what to do next
	Cause  Cause     // of the failed call behind a state of throttled, down or refused; empty in the others

	Sink      string // where records go
	Delivered uint64 // records that the sink has taken
	Aside     uint64 // records that can never be sent, set aside
	Pending   int    // records read from the buffer and not yet taken
	Held      bool   // a record waits to be dated

	Calls        uint64        // uploads, failed ones included
	FailedCalls  uint64        // uploads of which nothing was taken
	Entries      uint64        // Firehose records taken
	Retried      uint64        // entries that went again because they alone had failed
	LostReports  uint64        // reports of lost records that were dropped because too many were waiting for a record to ride on
	LineBytes    uint64        // of lines taken, before compression
	PayloadBytes uint64        // of entries taken, decoded, as they were sent
	BilledBytes  uint64        // of entries taken, as a [Biller] charges for them; 0 if the sink is none
	BytesUp      uint64        // sent, all overhead included; 0 if the sink does not count
	BytesDown    uint64        // received, likewise
	CallTime     time.Duration // of the last call

	Day         string // in UTC, that the next five count; empty: the date is not known yet
	DayBytes    uint64 // both ways: the sum of the next two
	DayUp       uint64 // sent, all overhead included; 0 if the sink does not count
	DayDown     uint64 // received, likewise
	DayBilled   uint64 // as BilledBytes
	DayRecords  uint64 // taken
	BudgetBytes int64  // that a day may have; 0: no budget

	LastSuccess time.Time // last call of which something was taken
	LastError   string    // of the last failed call or entry, kept after recovery
	LastFailure time.Time // when that was
	NextTry     time.Time // not before this; zero unless backing off
}

// Status returns a snapshot. It may be called at any time by any goroutine.
func (u *Uplink) Status() Status {
	u.mu.Lock()
	s := u.status
	s.BudgetBytes = u.o.DailyBytes
	u.mu.Unlock()
	s.Sink = u.o.Sink.String()
	if c, ok := u.o.Sink.(ByteCounter); ok {
		s.BytesUp, s.BytesDown = c.Bytes()
	}
	return s
}

// update changes the status under its lock.
func (u *Uplink) update(f func(*Status)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(&u.status)
}

// setState notes a transition and tells of it. A new reason in the same state is noted but is no transition.
func (u *Uplink) setState(to State, reason string) {
	u.mu.Lock()
	from := u.status.State
	u.status.Reason = reason
	if to != StateThrottled && to != StateDown && to != StateRefused {
		u.status.Cause = ""
	}
	if from != to {
		u.status.State, u.status.Since = to, time.Now()
	}
	u.mu.Unlock()
	if from == to {
		return
	}
	if u.o.OnState != nil { // who listens logs it
		u.o.OnState(StateChange{From: from, To: to, Reason: reason})
	}
}
