package obd

import "time"

const (
	// speedHz is the most that speed is asked for while the cap on requests is the default or less: ten times the rate of a
	// usual GPS. Who raises the cap wants more, and gets all that is left.
	speedHz = 10
	// speedRun is how many speed requests in a row make room for one overdue other on a slow car (K-line: 7 requests a second).
	speedRun = 4
)

// A schedule decides what is asked next. It is pure: time comes in.
//
// Requests keep a gap that holds them under the cap. Speed goes first whenever it is due; others use the slots
// between. If the car is too slow for all, the others stretch, and each fifth request is theirs.
type schedule struct {
	gap   time.Duration // between two requests
	last  time.Duration // when the last request was put
	begun bool
	run   int // speed requests in a row while others were due
	speed task
	other []task
}

// task is one signal to be asked for.
type task struct {
	signal Signal
	period time.Duration
	due    time.Duration
	misses int // NO DATA in a row
	off    bool
}

// newSchedule plans signals (by period) around speed, at most maxRate requests a second.
func newSchedule(maxRate float64, speed Signal, others []Signal, period map[string]time.Duration) *schedule {
	s := &schedule{gap: time.Duration(float64(time.Second) / maxRate)}
	rest := maxRate
	for _, sig := range others {
		p := period[sig.Name]
		s.other = append(s.other, task{signal: sig, period: p})
		rest -= float64(time.Second) / float64(p)
	}
	// However greedy the periods are, half of the cap is kept for speed.
	hz := max(rest, maxRate/2)
	if maxRate <= defaultMaxRate {
		hz = min(hz, speedHz)
	}
	s.speed = task{signal: speed, period: time.Duration(float64(time.Second) / hz)}
	return s
}

// next returns the task to be run and how long to wait before asking again; one of the two is zero. With nothing to be done at all it says to
// look again in a second.
func (s *schedule) next(now time.Duration) (*task, time.Duration) {
	if s.begun {
		if wait := s.last + s.gap - now; wait > 0 {
			return nil, wait
		}
	}
	var late *task
	for i := range s.other {
		t := &s.other[i]
		if !t.off && t.due <= now && (late == nil || t.due < late.due) {
			late = t
		}
	}
	switch {
	case !s.speed.off && s.speed.due <= now && (late == nil || s.run < speedRun):
		if late != nil {
			s.run++
		}
		return s.take(&s.speed, now), 0
	case late != nil:
		s.run = 0
		return s.take(late, now), 0
	}
	wait := time.Duration(-1)
	soonest := func(t *task) {
		if !t.off && (wait < 0 || t.due-now < wait) {
			wait = max(0, t.due-now)
		}
	}
	soonest(&s.speed)
	for i := range s.other {
		soonest(&s.other[i])
	}
	if wait < 0 {
		return nil, time.Second
	}
	return nil, wait
}

// take books the task: its next turn is one period after this one was due, or after now if it has fallen behind.
func (s *schedule) take(t *task, now time.Duration) *task {
	t.due += t.period
	if t.due <= now || !s.begun {
		t.due = now + t.period
	}
	s.last, s.begun = now, true
	return t
}
