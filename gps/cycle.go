package gps

import (
	"bytes"
	"slices"
	"strings"
)

const (
	// maxCycle is how many sentences of interest a cycle may have to be learned; a receiver of five constellations sends
	// about 20.
	maxCycle = 32
	// maxCycles is how many different cycles are kept: receivers send some types only every few epochs.
	maxCycles = 12
	// staleCycles is after how many cycles one that did not come again is forgotten.
	staleCycles = 64
	// maxPeriod is the longest period, in cycles, in which the cycles of a receiver take turns. Ten is the satellites once a
	// second at ten epochs a second.
	maxPeriod = 10
	// minRepeats and minMatches say how often a period must have come again to be believed: a receiver that leaves sentences
	// out at random looks periodic for a while.
	minRepeats = 2
	minMatches = 8
)

// A cycleLearner learns in which order a receiver sends the sentences of an epoch, to know the last one when it comes. A
// cycle that is the beginning of another one that was seen lately does not count as complete: waiting costs a moment,
// cutting an epoch in two costs its altitude. The exception is where the receiver's cycles take turns, such as GSA with each
// fifth epoch only, and it is the short one's turn.
type cycleLearner struct {
	codes map[sentenceName]byte
	now   []byte // the cycle so far
	over  bool   // longer than can be learned
	known []knownCycle
	n     uint64 // cycles seen

	// turns are the last cycles as hashes, the latest last; period is after how many they repeat, 0 if they do not.
	turns  [maxPeriod + max(minMatches, minRepeats*maxPeriod)]uint64
	period int
}

type sentenceName struct{ talker, typ string }

type knownCycle struct {
	order []byte
	seen  int
	last  uint64
}

// add notes the next sentence of the running cycle and reports whether it completes a cycle seen at least twice.
func (l *cycleLearner) add(code byte) (complete bool) {
	if len(l.now) == maxCycle {
		l.over = true
	}
	if l.over {
		return false
	}
	l.now = append(l.now, code)
	goesOn, inTurn := false, true
	for _, k := range l.known {
		switch {
		case len(k.order) == len(l.now):
			complete = complete || k.seen >= 2 && bytes.Equal(k.order, l.now)
		case len(k.order) > len(l.now) && bytes.HasPrefix(k.order, l.now):
			goesOn = true
			// One that did not come within the last period is not explained by it.
			inTurn = inTurn && k.last+uint64(l.period) > l.n
		}
	}
	if complete && goesOn {
		return inTurn && l.period > 0 && l.turns[len(l.turns)-l.period] == hash(l.now)
	}
	return complete
}

// end closes the cycle and starts a new one.
func (l *cycleLearner) end() {
	l.n++
	copy(l.turns[:], l.turns[1:])
	l.turns[len(l.turns)-1] = 0
	if !l.over && len(l.now) > 0 {
		l.amend(l.now)
	}
	l.forget()
}

// amend sets the last cycle to its full length, of which more may have come after its end.
func (l *cycleLearner) amend(order []byte) {
	l.note(order)
	l.turns[len(l.turns)-1] = hash(order)
	l.period = l.repeats()
}

// repeats finds the shortest period of the turns, 0 if there is none.
func (l *cycleLearner) repeats() int {
	for p := 1; p <= maxPeriod; p++ {
		n := len(l.turns)
		m := n - max(minMatches, minRepeats*p)
		if slices.Equal(l.turns[m:], l.turns[m-p:n-p]) && l.turns[m-p] != 0 {
			return p
		}
	}
	return 0
}

// hash tells cycles from each other; it is never 0 but for one in 2^64. FNV-1a, as its authors publish it.
func hash(order []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range order {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// forget drops the cycle so far.
func (l *cycleLearner) forget() { l.now, l.over = l.now[:0], false }

// has reports whether the running cycle holds a sentence.
func (l *cycleLearner) has(code byte) bool { return l.over || bytes.IndexByte(l.now, code) >= 0 }

// canBegin reports whether a cycle seen at least twice begins with a sentence.
func (l *cycleLearner) canBegin(code byte) bool {
	for _, k := range l.known {
		if k.seen >= 2 && k.order[0] == code {
			return true
		}
	}
	return false
}

// note counts a whole cycle.
func (l *cycleLearner) note(order []byte) {
	oldest := -1
	for i := range l.known {
		k := &l.known[i]
		if bytes.Equal(k.order, order) {
			k.seen++
			k.last = l.n
			return
		}
		if oldest < 0 || k.last < l.known[oldest].last {
			oldest = i
		}
	}
	fresh := knownCycle{order: bytes.Clone(order), seen: 1, last: l.n}
	if len(l.known) == maxCycles || oldest >= 0 && l.n-l.known[oldest].last > staleCycles {
		l.known[oldest] = fresh
		return
	}
	l.known = append(l.known, fresh)
}

// code numbers the sentence names as they come; all beyond the 255th share one number.
func (l *cycleLearner) code(talker, typ string) byte {
	name := sentenceName{talker, typ}
	c, ok := l.codes[name]
	if !ok {
		if l.codes == nil {
			l.codes = make(map[sentenceName]byte)
		}
		c = byte(min(len(l.codes), 255))
		if c < 255 {
			// The strings are parts of the sentence: cloned, they do not keep it.
			l.codes[sentenceName{strings.Clone(talker), strings.Clone(typ)}] = c
		}
	}
	return c
}
