package gps

import (
	"bytes"
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
)

// A cycleLearner learns in which order a receiver sends the sentences of an epoch, to know the last one when it comes. A
// cycle that is the beginning of another one that was seen lately never counts as complete: waiting costs a moment,
// cutting an epoch in two costs its altitude.
type cycleLearner struct {
	codes map[sentenceName]byte
	now   []byte // the cycle so far
	over  bool   // longer than can be learned
	known []knownCycle
	n     uint64 // cycles seen
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
	for _, k := range l.known {
		switch {
		case len(k.order) == len(l.now):
			complete = complete || k.seen >= 2 && bytes.Equal(k.order, l.now)
		case len(k.order) > len(l.now) && bytes.HasPrefix(k.order, l.now):
			return false
		}
	}
	return complete
}

// end closes the cycle and starts a new one.
func (l *cycleLearner) end() {
	l.n++
	if !l.over && len(l.now) > 0 {
		l.note(l.now)
	}
	l.forget()
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
