package fusion

import (
	"sort"
	"time"
)

// ringSize samples of the car's speed are kept: the fastest adapters answer about 100 times a second, and an epoch's moment,
// less the receiver's lag, lies up to maxEpochDelay + maxLag = 5 s back.
const ringSize = 512

// ring holds the car's latest speeds in the order of their moments.
type ring struct {
	samples [ringSize]reading
	n       int // ever added
}

// add takes a sample. One that is not later than the last is dropped: answers come one after the other.
func (r *ring) add(at time.Duration, v float64) {
	if last, ok := r.latest(); ok && at <= last {
		return
	}
	r.samples[r.n%ringSize] = reading{v, at}
	r.n++
}

func (r *ring) latest() (time.Duration, bool) {
	if r.n == 0 {
		return 0, false
	}
	return r.samples[(r.n-1)%ringSize].at, true
}

// around finds the samples on both sides of a moment; before may lie on it. Either is nil where there is none.
func (r *ring) around(m time.Duration) (before, after *reading) {
	kept := min(r.n, ringSize)
	first := r.n - kept
	i := sort.Search(kept, func(i int) bool { return r.samples[(first+i)%ringSize].at > m })
	if i > 0 {
		before = &r.samples[(first+i-1)%ringSize]
	}
	if i < kept {
		after = &r.samples[(first+i)%ringSize]
	}
	return before, after
}

// at is the speed at a moment: interpolated where two samples near each other bracket it, else the one before it while it is
// young enough. age is the distance to the nearest sample that took part.
func (r *ring) at(m time.Duration) (v float64, age time.Duration, ok bool) {
	if v, age, ok = r.between(m); ok {
		return v, age, true
	}
	if before, _ := r.around(m); before != nil && m-before.at <= maxSpeedAge {
		return before.value, m - before.at, true
	}
	return 0, 0, false
}

// between is the speed at a moment that two samples near each other bracket.
func (r *ring) between(m time.Duration) (v float64, age time.Duration, ok bool) {
	before, after := r.around(m)
	switch {
	case before == nil:
		return 0, 0, false
	case before.at == m:
		return before.value, 0, true
	case after == nil || after.at-before.at > maxSpeedAge:
		return 0, 0, false
	}
	share := float64(m-before.at) / float64(after.at-before.at)
	// The conversion keeps the compiler from fusing multiplication and addition, so that every machine makes the same record.
	return before.value + float64(share*(after.value-before.value)), min(m-before.at, after.at-m), true
}
