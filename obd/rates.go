package obd

import (
	"slices"
	"time"
)

// A Rate is how often a signal is asked for and how often it is told.
type Rate struct {
	Signal      string
	AskedHz     float64 // what the schedule aims at, requests a second; slow signals stretch where the car is too slow for all
	Hz          float64 // good answers a second, over the last eight; 0 if there were less than two
	Unsupported bool    // the car does not have it: it is not asked
}

// rateSpan is over how many answers a rate is reckoned: enough to be steady, few enough for a signal of twice an hour.
const rateSpan = 8

// meter counts the good answers to one signal.
type meter struct {
	signal      string
	period      time.Duration
	unsupported bool
	last        []time.Duration // of answers, oldest first, at most rateSpan
}

func newMeter(t *task) meter {
	return meter{signal: t.signal.Name, period: t.period, last: make([]time.Duration, 0, rateSpan)}
}

// good notes an answer. It takes no memory.
func (m *meter) good(at time.Duration) {
	if len(m.last) == rateSpan {
		copy(m.last, m.last[1:])
		m.last = m.last[:rateSpan-1]
	}
	m.last = append(m.last, at)
}

// rate is that of the last answers; it falls when the next is overdue.
func (m *meter) rate(now time.Duration) Rate {
	r := Rate{Signal: m.signal, Unsupported: m.unsupported}
	if m.unsupported {
		return r
	}
	r.AskedHz = float64(time.Second) / float64(m.period)
	if n := len(m.last); n > 1 {
		first := m.last[0]
		// Between two answers n intervals have begun and n-1 are over; overdue, the time until now counts.
		r.Hz = min(float64(n-1)/max(m.last[n-1]-first, 1).Seconds(), float64(n)/max(now-first, 1).Seconds())
	}
	return r
}

// measure begins to count for the tasks of a schedule.
func (c *Car) measure(s *schedule) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.meters = append(c.meters[:0], newMeter(s.speed))
	for _, t := range s.other {
		c.meters = append(c.meters, newMeter(t))
	}
}

// meter finds that of a signal. The caller holds mu.
func (c *Car) meter(signal string) *meter {
	i := slices.IndexFunc(c.meters, func(m meter) bool { return m.signal == signal })
	if i < 0 {
		return nil
	}
	return &c.meters[i]
}

// rates are those of all signals, speed first. The caller holds mu.
func (c *Car) rates(now time.Duration) []Rate {
	var all []Rate
	for i := range c.meters {
		all = append(all, c.meters[i].rate(now))
	}
	return all
}
