package buffer

import "time"

// syncBounds are the upper ends of the classes of a [SyncTimes], the last class being what took longer. A good eMMC flushes in
// 1 to 10 ms; an SD card that tidies up takes hundreds.
var syncBounds = [...]time.Duration{
	time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond,
	100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second,
}

// SyncTimes is how long the storage took to confirm what was written, since Open. Syncs that failed are not in it.
type SyncTimes struct {
	Count [len(syncBounds) + 1]uint64 // by class, see Bound
	Last  time.Duration
	Max   time.Duration
	Sum   time.Duration
}

// Bound is the longest time that counts in class i of Count; ok is false for the last class, which has no end.
func (SyncTimes) Bound(i int) (upTo time.Duration, ok bool) {
	if i < 0 || i >= len(syncBounds) {
		return 0, false
	}
	return syncBounds[i], true
}

// Total is how many syncs there were.
func (s SyncTimes) Total() (n uint64) {
	for _, c := range s.Count {
		n += c
	}
	return n
}

func (s *SyncTimes) add(d time.Duration) {
	i := 0
	for i < len(syncBounds) && d > syncBounds[i] {
		i++
	}
	s.Count[i]++
	s.Last, s.Sum, s.Max = d, s.Sum+d, max(s.Max, d)
}

// meter is what is counted for Stats alone. Log.mu protects it.
type meter struct {
	opened  time.Time
	payload int64 // bytes of appended records
	written int64 // bytes given to the file system
	syncs   SyncTimes
	ages    ages
}

// maxMarks bounds what ages remembers: the error is below a hundredth of the span that it covers.
const maxMarks = 256

// ages knows when records were appended, roughly: a mark holds for all records from its number up to the next mark's.
type ages struct {
	marks   []mark
	spacing time.Duration // least time between two marks
}

type mark struct {
	first uint64
	at    time.Time
}

// add notes that the records from first on were appended at that time or later.
func (a *ages) add(first uint64, at time.Time) {
	n := len(a.marks)
	if n > 0 && (at.Sub(a.marks[n-1].at) < a.spacing || first <= a.marks[n-1].first) {
		return
	}
	if n == maxMarks {
		for i := range n / 2 {
			a.marks[i] = a.marks[2*i]
		}
		a.marks = a.marks[:n/2]
		a.spacing = max(2*a.spacing, at.Sub(a.marks[0].at)/maxMarks)
	}
	a.marks = append(a.marks, mark{first, at})
}

// of returns when the record was appended at the earliest, and forgets what was before it. ok is false if it is older than
// all marks.
func (a *ages) of(seq uint64) (at time.Time, ok bool) {
	n := 0
	for n < len(a.marks) && a.marks[n].first <= seq {
		n++
	}
	if n == 0 {
		return time.Time{}, false
	}
	at = a.marks[n-1].at
	if n > 1 {
		a.marks = a.marks[:copy(a.marks, a.marks[n-1:])]
		if len(a.marks) == 1 {
			a.spacing = 0
		}
	}
	return at, true
}

// measure adds to the snapshot what the meter knows. l.mu is held.
func (l *Log) measure(s *Stats) {
	m := &l.meter
	s.Payload, s.Written, s.Syncs = m.payload, m.written, m.syncs
	switch {
	case s.Records == 0:
	case s.FirstSeq >= l.committed:
		s.OldestAge = s.OldestUnsynced
	default:
		at, ok := m.ages.of(s.FirstSeq)
		if !ok {
			at = m.opened
		}
		s.OldestAge, s.OldestBeforeOpen = time.Since(at), !ok
	}
}
