package gps

import (
	"fmt"
	"math"
	"time"

	"github.com/adrianmo/go-nmea"
)

const (
	// sameEpoch is how far two times of day of one epoch may differ: some receivers write .00 in one sentence and .003 in
	// the next. The Telit SL869 steps its clock by 10 ms and sends an epoch for it; at 20 Hz there are 50 ms between epochs.
	sameEpoch = 9 * time.Millisecond
	// minQuiet and maxQuiet bound the silence after which an epoch counts as complete. Within a burst the longest pauses
	// are those of USB and of a busy receiver, some 20 to 100 ms; at 4800 baud bytes still come without a pause.
	minQuiet = 250 * time.Millisecond
	maxQuiet = 800 * time.Millisecond
	halfDay  = 12 * time.Hour
)

// An Assembler makes Fixes of the bytes of a receiver: it frames sentences, gathers those of one epoch, and emits the
// epoch when the time changes, when the last sentence of the learned cycle has come, or when [Assembler.Deadline] has
// passed. It is pure: it has no clock and starts nothing. Use it from one goroutine; NewAssembler makes one.
type Assembler struct {
	framer  Framer
	reader  *sentenceReader
	emit    func(Fix)
	counts  Counts
	cycle   cycleLearner
	frozen  frozenCheck
	onLine  func([]byte)
	arrival time.Duration

	open  epoch
	quiet time.Duration

	emitted struct { // the last epoch
		end   endReason
		tod   time.Duration // -1 if it had none
		order []byte        // its sentences
	}
	day struct { // the last date known, rolled over midnights since
		date date
		tod  time.Duration // of the epoch it belongs to
		at   time.Duration // when that was
	}
	lastByte time.Duration
}

// An endReason is what ended an epoch. Only after an end by time can no sentence of it follow.
type endReason uint8

const (
	endByTime endReason = iota
	endByCycle
	endByQuiet
)

// Counts are what an Assembler met.
type Counts struct {
	Epochs      uint64 // emitted
	Fixes       uint64 // of these with a position
	Sentences   uint64 // with a good checksum
	BadChecksum uint64 // lines with a wrong or missing checksum
	BadSentence uint64 // good checksum, but a value out of range or malformed
	Late        uint64 // sentences of an epoch that had been emitted
	NoiseBytes  uint64 // bytes outside of sentences
	Binary      Binary // what of them are binary frames
}

// NewAssembler returns an Assembler that calls emit for each epoch, from within its methods.
func NewAssembler(emit func(Fix)) *Assembler {
	a := &Assembler{emit: emit, reader: newSentenceReader(), quiet: minQuiet}
	a.open.reset()
	a.onLine = a.sentence
	return a
}

// Feed takes the next bytes, which arrived at the given time of a monotonic clock.
func (a *Assembler) Feed(p []byte, at time.Duration) {
	a.arrival, a.lastByte = at, at
	a.framer.Feed(p, a.onLine)
}

// EndLine tells that the line ends here although no line end was received, as at the end of a datagram.
func (a *Assembler) EndLine() { a.framer.EndLine(a.onLine) }

// Deadline returns when the open epoch is to be taken as complete if no further byte arrives; ok is false if none is
// open. At that time call [Assembler.Expire].
func (a *Assembler) Deadline() (at time.Duration, ok bool) {
	return a.lastByte + a.quiet, a.open.started
}

// Expire emits the open epoch if its deadline has passed.
func (a *Assembler) Expire(now time.Duration) {
	if at, ok := a.Deadline(); ok && now >= at {
		a.finish(now, endByQuiet)
	}
}

// Flush emits the open epoch whatever is missing: the source is closed, and nothing more will come.
func (a *Assembler) Flush(now time.Duration) {
	a.arrival = now
	a.EndLine()
	a.finish(now, endByTime)
	a.emitted.end = endByTime
	a.day.date = date{}
}

// Counts returns what was met so far.
func (a *Assembler) Counts() Counts {
	c := a.counts
	c.Sentences, c.BadChecksum, c.NoiseBytes = a.framer.Good, a.framer.Bad, a.framer.Noise
	c.Binary = a.framer.Binary
	return c
}

func (a *Assembler) sentence(line []byte) {
	s, err := a.reader.read(line)
	if err != nil {
		a.counts.BadSentence++
		return
	}
	if s == nil {
		return
	}
	if s.badDate {
		a.counts.BadSentence++
	}
	code := a.cycle.code(s.Talker, s.Type)
	if a.late(s, code) {
		a.counts.Late++
		return
	}
	if a.begins(s, code) {
		a.finish(a.arrival, endByTime)
	}
	a.open.add(s, a.arrival)
	if a.cycle.add(code) && a.open.reported {
		a.finish(a.arrival, endByCycle)
	}
}

// begins reports whether s opens a new epoch while one is open.
func (a *Assembler) begins(s *sentence, code byte) bool {
	switch {
	case !a.open.started:
		return false
	case s.tod >= 0 && a.open.tod >= 0:
		return (s.tod - a.open.tod).Abs() > sameEpoch
	case s.Type == nmea.TypeGSA || s.Type == nmea.TypeVTG:
		return false
	}
	// A type that has a time elsewhere, but one of the two has none: receivers leave it empty until they know it. Then the
	// same sentence again is the only sign of a new epoch.
	return a.cycle.has(code)
}

// late reports whether s belongs to the epoch emitted last; the cycle learner is then told that its list was too short.
func (a *Assembler) late(s *sentence, code byte) bool {
	if a.emitted.end == endByTime || a.open.tod >= 0 {
		return false
	}
	if s.tod >= 0 {
		if a.emitted.tod < 0 || (s.tod-a.emitted.tod).Abs() > sameEpoch {
			return false
		}
		a.dropPending()
	} else if a.open.started || a.emitted.end == endByQuiet || a.cycle.canBegin(code) {
		return false
	}
	if len(a.emitted.order) < maxCycle {
		a.emitted.order = append(a.emitted.order, code)
		a.cycle.amend(a.emitted.order)
	}
	if a.emitted.end == endByQuiet {
		a.quiet = min(2*a.quiet, maxQuiet)
		a.emitted.end = endByCycle // once per epoch
	}
	return true
}

// dropPending forgets untimed sentences that were taken for the beginning of an epoch.
func (a *Assembler) dropPending() {
	if a.open.started {
		a.open.reset()
		a.cycle.forget()
	}
}

// finish emits the open epoch.
func (a *Assembler) finish(now time.Duration, end endReason) {
	if !a.open.started {
		return
	}
	t := a.dated(now)
	if a.open.reported {
		f := a.open.fix()
		f.Time, f.Done = t, now
		if f.Mode != ModeNone && a.frozen.contradicts(f) {
			f = refused(f, CauseFrozen, fmt.Sprintf("position stands still at a speed of %.1f m/s", f.Speed))
		}
		a.counts.Epochs++
		if f.Mode != ModeNone {
			a.counts.Fixes++
		}
		defer a.emit(f)
	}
	a.emitted.end, a.emitted.tod = end, a.open.tod
	a.emitted.order = append(a.emitted.order[:0], a.cycle.now...)
	a.cycle.end()
	a.open.reset()
}

// dated returns the instant of the open epoch and keeps the date for those that come without one.
func (a *Assembler) dated(now time.Duration) time.Time {
	e := &a.open
	if e.tod < 0 {
		return time.Time{}
	}
	d := &a.day
	switch {
	case e.date != (date{}):
		d.date = e.date
	case d.date == (date{}) || now-d.at > halfDay-time.Hour:
		// After half a day without a date nobody knows how many midnights have passed.
		d.date = date{}
		return time.Time{}
	case d.tod-e.tod > halfDay:
		d.date = d.date.plus(1)
	case e.tod-d.tod > halfDay:
		d.date = d.date.plus(-1) // a step back over midnight
	}
	d.tod, d.at = e.tod, now
	return d.date.at(e.tod)
}

// refused takes the position from f.
func refused(f Fix, cause Cause, reason string) Fix {
	nan := math.NaN()
	f.Mode, f.Cause, f.Reason = ModeNone, cause, reason
	f.Lat, f.Lon, f.Alt, f.Speed, f.Course = nan, nan, nan, nan, nan
	return f
}

// A frozenCheck notices a receiver that reports a speed while its position does not change by a digit.
type frozenCheck struct {
	lat, lon float64
	tod      time.Duration
	claimed  float64 // metres driven, by the speed, since the position changed
}

func (c *frozenCheck) contradicts(f Fix) bool {
	step := f.TimeOfDay - c.tod
	c.tod = f.TimeOfDay
	if f.Lat != c.lat || f.Lon != c.lon {
		c.lat, c.lon, c.claimed = f.Lat, f.Lon, 0
		return false
	}
	if !(f.Speed >= frozenSpeed) {
		c.claimed = 0
		return false
	}
	if step > 0 && step < 10*time.Second {
		c.claimed += float64(f.Speed * step.Seconds()) // not fused: every machine refuses the same epochs
	}
	return c.claimed > frozenDistance
}
