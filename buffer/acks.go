package buffer

import (
	"math"
	"slices"
)

// span is a range of sequence numbers, from inclusive, to exclusive.
type span struct{ from, to uint64 }

// maxSpans bounds the acknowledged ranges held in memory. A frame holds the lowest 64 of them; the others wait there for
// gaps to close. A caller that acknowledges in any sensible order never gets near.
const maxSpans = 4096

// acks is what is acknowledged: everything below a position, and spans above it, sorted, apart from each other.
type acks struct {
	below uint64
	spans []span
}

func (a *acks) reset(below uint64) {
	a.below = below
	a.spans = a.spans[:0]
}

// copyFrom takes over the position and at most n spans.
func (a *acks) copyFrom(b *acks, n int) {
	a.below = b.below
	a.spans = append(a.spans[:0], b.spans[:min(n, len(b.spans))]...)
}

// add acknowledges from..to (exclusive). It says whether anything changed; when there are too many spans it does not.
func (a *acks) add(from, to uint64) bool {
	if to <= a.below || from >= to {
		return false
	}
	from = max(from, a.below)
	// i..j are the spans that touch the new one.
	i, _ := slices.BinarySearchFunc(a.spans, from, func(s span, at uint64) int {
		if s.to < at {
			return -1
		}
		return 1
	})
	j := i
	for j < len(a.spans) && a.spans[j].from <= to {
		j++
	}
	if j-i == 1 && a.spans[i].from <= from && a.spans[i].to >= to {
		return false
	}
	if j > i {
		from = min(from, a.spans[i].from)
		to = max(to, a.spans[j-1].to)
	}
	switch {
	case from == a.below:
		a.below = to
		a.spans = slices.Delete(a.spans, 0, j)
	case j > i:
		a.spans[i] = span{from, to}
		a.spans = slices.Delete(a.spans, i+1, j)
	case len(a.spans) >= maxSpans:
		return false
	default:
		a.spans = slices.Insert(a.spans, i, span{from, to})
	}
	return true
}

// at returns the index of the first span that ends above seq.
func (a *acks) at(seq uint64) int {
	i, _ := slices.BinarySearchFunc(a.spans, seq, func(s span, at uint64) int {
		if s.to <= at {
			return -1
		}
		return 1
	})
	return i
}

// next is the first number at or above seq that is not acknowledged.
func (a *acks) next(seq uint64) uint64 {
	seq = max(seq, a.below)
	if i := a.at(seq); i < len(a.spans) && a.spans[i].from <= seq {
		return a.spans[i].to
	}
	return seq
}

// until is the first acknowledged number above seq, which is not acknowledged itself.
func (a *acks) until(seq uint64) uint64 {
	if i := a.at(seq); i < len(a.spans) {
		return a.spans[i].from
	}
	return math.MaxUint64
}

// covers says whether all of from..to (exclusive) is acknowledged.
func (a *acks) covers(from, to uint64) bool { return from >= to || a.next(from) >= to }

// missing counts the numbers in from..to (exclusive) that are not acknowledged.
func (a *acks) missing(from, to uint64) uint64 {
	from = max(from, a.below)
	if from >= to {
		return 0
	}
	n := to - from
	for _, s := range a.spans[a.at(from):] {
		if s.from >= to {
			break
		}
		n -= min(s.to, to) - max(s.from, from)
	}
	return n
}
