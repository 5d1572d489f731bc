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
//
// With pack set, signals that are due ride in one request, as long as the answer stays within one CAN frame: no flow control, no
// second frame, no further wait. Those that fit beside speed wait for its next turn, so that they cost no request at all.
type schedule struct {
	gap   time.Duration // between two requests
	last  time.Duration // when the last request was put
	begun bool
	pack  bool
	run   int // speed requests in a row while others were due
	speed *task
	other []*task
	batch []*task // what next returned
}

// task is one signal to be asked for.
type task struct {
	signal Signal
	decode decoder
	echo   []byte // what follows the service byte of its answer
	cmd    string // its request alone, once the link is known
	part   []byte // of the last answer
	period time.Duration
	due    time.Duration
	misses int // NO DATA in a row
	off    bool
}

// frameRoom is what a single frame of ISO 15765-2 holds (7 bytes) less the service byte.
const frameRoom = 6

// size is the room that the signal takes in a packed answer; 0 if it cannot be packed.
func (t *task) size() int {
	if t.signal.service() != 1 || len(t.echo) != 1 {
		return 0
	}
	return 1 + t.signal.Bytes
}

func newTask(sig Signal, period time.Duration) *task {
	t := &task{signal: sig, echo: sig.echo(), period: period}
	t.decode = decoder{signal: &t.signal, echo: t.echo}
	return t
}

// newSchedule plans signals (by period) around speed, at most maxRate requests a second.
func newSchedule(maxRate float64, speed Signal, others []Signal, period map[string]time.Duration) *schedule {
	s := &schedule{gap: time.Duration(float64(time.Second) / maxRate)}
	rest := maxRate
	for _, sig := range others {
		p := period[sig.Name]
		s.other = append(s.other, newTask(sig, p))
		rest -= float64(time.Second) / float64(p)
	}
	// However greedy the periods are, half of the cap is kept for speed.
	hz := max(rest, maxRate/2)
	if maxRate <= defaultMaxRate {
		hz = min(hz, speedHz)
	}
	s.speed = newTask(speed, time.Duration(float64(time.Second)/hz))
	return s
}

// next returns the tasks to be run in one request, or how long to wait before asking again. The tasks are valid until the next call. With
// nothing to be done at all it says to look again in a second.
func (s *schedule) next(now time.Duration) ([]*task, time.Duration) {
	if s.begun {
		if wait := s.last + s.gap - now; wait > 0 {
			return nil, wait
		}
	}
	late := s.latest(now, 0, true)
	switch {
	case !s.speed.off && s.speed.due <= now && (late == nil || s.run < speedRun):
		if late != nil {
			s.run++
		}
		return s.take(s.speed, now), 0
	case late != nil:
		s.run = 0
		return s.take(late, now), 0
	}
	wait := time.Duration(-1)
	soonest := func(t *task) {
		if !t.off && !s.rides(t) && (wait < 0 || t.due-now < wait) {
			wait = max(0, t.due-now)
		}
	}
	soonest(s.speed)
	for _, t := range s.other {
		soonest(t)
	}
	if wait < 0 {
		return nil, time.Second
	}
	return nil, wait
}

// rides tells whether the task waits for speed's next turn.
func (s *schedule) rides(t *task) bool {
	return s.pack && t != s.speed && !s.speed.off && t.size() > 0 && s.speed.size()+t.size() <= frameRoom
}

// latest is the task that is most overdue: with alone set among those that need a request of their own, else among those that
// take at most room.
func (s *schedule) latest(now time.Duration, room int, alone bool) *task {
	var late *task
	for _, t := range s.other {
		if t.off || t.due > now || late != nil && t.due >= late.due {
			continue
		}
		if alone && !s.rides(t) || !alone && t.size() > 0 && t.size() <= room {
			late = t
		}
	}
	return late
}

// take books the task, and those that ride with it.
func (s *schedule) take(t *task, now time.Duration) []*task {
	s.book(t, now)
	s.batch = append(s.batch[:0], t)
	if s.pack && t.size() > 0 {
		for room := frameRoom - t.size(); room > 0; {
			more := s.latest(now, room, false)
			if more == nil {
				break
			}
			s.book(more, now)
			s.batch = append(s.batch, more)
			room -= more.size()
		}
	}
	s.last, s.begun = now, true
	return s.batch
}

// book sets the task's next turn: one period after this one was due, or after now if it has fallen behind.
func (s *schedule) book(t *task, now time.Duration) {
	t.due += t.period
	if t.due <= now || !s.begun {
		t.due = now + t.period
	}
}
