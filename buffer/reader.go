package buffer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// A Reader hands out committed records in order. Any number of Readers may read a Log; each belongs to one goroutine at
// a time.
type Reader struct {
	l    *Log
	acks *acks  // what it skips: Log.acks, or for thinning what is durable of it; Log.mu protects it
	next uint64 // number of the next record to hand out

	seg *segment // that f is of; nil if none is open
	f   file
	sc  scanner
	dec frameDecoder

	h       frameHeader // of the frame at hand, if have
	have    bool
	decoded bool
	at      int64
	end     int64  // of the last frame passed, 0 if what follows it was damaged
	skipped bool   // whether there is damage between it and the last good one
	rest    []byte // its records from number seq on
	seq     uint64

	bad badPlace
}

// badPlace is where a Reader can not read.
type badPlace struct {
	seg   *segment
	next  uint64
	since time.Time
	tries int
	blind bool // go on without what can not be read of seg
}

// When what can not be read counts as damaged: a cable that is plugged in again works within seconds.
const (
	readTries    = 3
	readPatience = 10 * time.Second
)

// givesUp says whether what can not be read of a segment shall count as damaged: it was tried several times over a while,
// and the storage is known to work otherwise. While all of it is away nothing is lost.
func (r *Reader) givesUp(seg *segment) bool {
	b := &r.bad
	if b.seg != seg || b.next != r.next {
		*b = badPlace{seg: seg, next: r.next, since: time.Now()}
	}
	b.tries++
	if b.blind || b.tries < readTries || time.Since(b.since) < readPatience {
		return false
	}
	if _, err := r.l.dir.Names(); err != nil {
		return false
	}
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	b.blind = r.l.problem == ""
	return b.blind
}

// Reader returns a Reader that begins at record from; at 0, at the oldest record that is not acknowledged.
func (l *Log) Reader(from uint64) *Reader { return &Reader{l: l, acks: &l.acks, next: max(from, 1)} }

// Next returns the next entry, and waits for a record to be committed if there is none. Acknowledged records are skipped.
// It returns the context's error when ctx is done, ErrClosed when the log is closed, ErrFormat when a newer version wrote
// the next record; another error means that the disk could not be read: the same entry can be asked for again.
func (r *Reader) Next(ctx context.Context) (Entry, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Entry{}, err
		}
		e, ok, err := r.TryNext()
		if ok || err != nil {
			return e, err
		}
		r.l.mu.Lock()
		if r.next < r.l.committed {
			r.l.mu.Unlock()
			continue
		}
		changed := r.l.changed
		r.l.waiting++
		r.l.mu.Unlock()
		select {
		case <-changed:
		case <-r.l.closed:
		case <-ctx.Done():
			return Entry{}, ctx.Err()
		}
	}
}

// TryNext is Next without waiting: it returns false if no record is there yet.
func (r *Reader) TryNext() (Entry, bool, error) {
	for {
		e, seg, err := r.locate()
		switch {
		case err != nil:
			r.Close()
			return Entry{}, false, err
		case e.Lost != nil:
			return e, true, nil
		case seg == nil:
			return Entry{}, false, nil
		}
		e, ok, err := r.read(seg)
		if ok {
			return e, true, nil
		}
		if r.overtaken(seg) {
			continue // what was read may be of another life
		}
		if err != nil {
			r.Close()
			if !errors.Is(err, ErrFormat) && r.givesUp(seg) {
				continue
			}
			return Entry{}, false, err
		}
	}
}

// Close frees the open file. The Reader may be used again; it goes on where it was.
func (r *Reader) Close() {
	if r.f != nil {
		_ = r.f.Close() // it was only read
	}
	r.seg, r.f, r.have, r.skipped, r.end = nil, nil, false, false, 0
}

// locate finds the segment of the next record, or the gap that it is in, or neither if there is nothing to read yet.
func (r *Reader) locate() (Entry, *segment, error) {
	l := r.l
	select {
	case <-l.closed:
		return Entry{}, nil, ErrClosed
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.next = r.acks.next(r.next)
	if r.next >= l.committed {
		return Entry{}, nil, nil
	}
	// The first segment behind the one that may hold it. Their ranges do not overlap.
	i, _ := slices.BinarySearchFunc(l.segments, r.next, func(s *segment, seq uint64) int {
		if s.first <= seq {
			return -1
		}
		return 1
	})
	if i > 0 && r.next < l.segments[i-1].next {
		return Entry{}, l.segments[i-1], nil
	}
	to, reason := l.committed, l.tailReason
	if i < len(l.segments) {
		s := l.segments[i]
		to, reason = min(to, s.first), s.gapReason
		if !s.gapKnown || r.next < s.gapFrom { // segments between were dropped
			reason = ReasonOverflow
			if s.gapKnown {
				to = min(to, s.gapFrom)
			}
		}
	}
	if reason == "" {
		reason = ReasonDamaged
	}
	return r.lose(to, reason), nil, nil
}

// lose returns word of the loss of all records that are not acknowledged from the next one to to (exclusive), as far as
// they are in one piece, and moves on behind it. Log.mu is held.
func (r *Reader) lose(to uint64, reason string) Entry {
	from := r.next
	to = min(to, r.acks.until(from))
	if reason == ReasonDamaged {
		r.l.noteDamage(from, to)
	}
	if reason != ReasonOverflow && reason != ReasonThinned { // which were counted when it happened
		for at := r.l.acks.next(from); at < to; { // nobody waits for the others
			stop := min(to, r.l.acks.until(at))
			r.l.lost[reason] += r.l.damaged.missing(at, stop)
			r.l.damaged.add(at, stop)
			at = r.l.acks.next(stop)
		}
	}
	r.next = to
	return Entry{Seq: from, Lost: &Lost{From: from, To: to - 1, Reason: reason}}
}

// overtaken says whether the segment was discarded, and forgets it then.
func (r *Reader) overtaken(seg *segment) bool {
	r.l.mu.Lock()
	gone := seg.gone
	r.l.mu.Unlock()
	if gone {
		r.Close()
	}
	return gone
}

// read returns the next entry from a segment that has it. ok is false if it has to be looked for again.
func (r *Reader) read(seg *segment) (e Entry, ok bool, err error) {
	if err := r.openSegment(seg); err != nil {
		blind := r.bad.blind && r.bad.seg == seg
		if !errors.Is(err, fs.ErrNotExist) && !blind {
			return Entry{}, false, err
		}
		// The file is gone, and nothing but a person can have removed it, if the directory is still ours.
		names, derr := r.l.dir.Names()
		if !blind && (derr != nil || !slices.Contains(names, lockName)) {
			return Entry{}, false, err
		}
		r.l.mu.Lock()
		defer r.l.mu.Unlock()
		if seg.gone {
			return Entry{}, false, nil
		}
		return r.lose(seg.next, ReasonDamaged), true, nil
	}
	r.l.mu.Lock()
	past := r.next >= seg.next // learnt from the segment behind
	r.l.mu.Unlock()
	if past {
		return Entry{}, false, nil
	}
	for {
		if !r.have {
			var skipped bool
			r.h, r.at, skipped, r.have, err = r.sc.next()
			if err != nil {
				return Entry{}, false, err
			}
			r.decoded = false
			r.skipped = r.skipped || skipped
			if !r.have {
				return r.segmentEnd(seg)
			}
		}
		r.end = r.sc.off
		if r.h.end() <= r.next {
			r.have, r.skipped = false, false
			continue
		}
		if !r.decoded {
			damaged, err := r.decodeFrame()
			if err != nil {
				return Entry{}, false, err
			}
			if damaged {
				r.have, r.skipped, r.end = false, true, 0
				continue
			}
		}
		return r.fromFrame(seg)
	}
}

// decodeFrame reads the records of the frame at hand.
func (r *Reader) decodeFrame() (damaged bool, err error) {
	body, err := r.sc.body(&r.h, r.at)
	if err != nil {
		return false, err
	}
	if r.rest, err = r.dec.decode(&r.h, body, nil); err != nil {
		return true, nil
	}
	r.seq = r.h.first
	r.decoded = true
	return false, nil
}

// fromFrame returns the next record from the frame at hand, or the loss of those before it.
func (r *Reader) fromFrame(seg *segment) (Entry, bool, error) {
	if r.h.first > r.next {
		reason, err := r.whyMissing(seg)
		if err != nil {
			return Entry{}, false, err
		}
		r.l.mu.Lock()
		defer r.l.mu.Unlock()
		if seg.gone {
			return Entry{}, false, nil
		}
		return r.lose(min(r.h.first, seg.next), reason), true, nil
	}
	for {
		seq, record, rest, ok := r.h.cut(r.rest, r.seq)
		if !ok {
			seq = r.h.end()
		}
		if seq > r.next && r.h.sparse() { // it is asked again: there may be acknowledged ones between
			r.l.mu.Lock()
			defer r.l.mu.Unlock()
			if seg.gone {
				return Entry{}, false, nil
			}
			return r.lose(min(seq, seg.next), ReasonThinned), true, nil
		}
		if !ok {
			r.have = false
			return Entry{}, false, nil
		}
		r.rest, r.seq = rest, seq+1
		if seq == r.next {
			r.next++
			r.skipped = false
			return Entry{Seq: seq, Data: record}, true, nil
		}
	}
}

// whyMissing says why the records before the frame at hand are not there. If they and all that follows them in the segment
// are of the last commit before a process ended without notice, they were never promised.
func (r *Reader) whyMissing(seg *segment) (string, error) {
	switch {
	case !r.skipped && r.h.sparse():
		return gapReason(r.h.ranges), nil
	case !r.skipped:
		return ReasonOverflow, nil
	}
	if r.h.flags&flagContinued == 0 || !r.l.lastOfLife(seg) {
		return ReasonDamaged, nil
	}
	ahead := scanner{name: r.sc.name, r: r.f, id: seg.id, limit: r.sc.limit, off: r.sc.off, blind: r.sc.blind}
	for {
		h, _, _, ok, err := ahead.next()
		switch {
		case err != nil:
			return "", err
		case !ok:
			return ReasonTorn, nil
		case h.flags&flagContinued == 0:
			return ReasonDamaged, nil
		}
	}
}

// lastOfLife says whether a segment is the last that a process wrote before this one, or before an Open in between.
func (l *Log) lastOfLife(seg *segment) bool {
	l.mu.Lock()
	if !seg.earlier {
		l.mu.Unlock()
		return false
	}
	i := slices.Index(l.segments, seg)
	if i < 0 || i+1 >= len(l.segments) || !l.segments[i+1].earlier {
		l.mu.Unlock()
		return true
	}
	after := l.segments[i+1]
	l.mu.Unlock()
	h, life := readSegmentHeader(l.dir, after)
	return life == lifeNotBegun || life == lifeBegun && h.opened
}

// segmentEnd is called when the segment has no more frames although it should hold the next record.
func (r *Reader) segmentEnd(seg *segment) (Entry, bool, error) {
	l := r.l
	l.mu.Lock()
	if r.sc.limit < seg.end { // more was committed in the meantime
		r.sc.limit = seg.end
		l.mu.Unlock()
		return Entry{}, false, nil
	}
	l.mu.Unlock()
	if l.learnGap(seg) {
		return Entry{}, false, nil
	}
	clean := seg.earlier && r.end > 0 && isEnd(&r.sc, r.end)
	l.mu.Lock()
	defer l.mu.Unlock()
	reason := ReasonDamaged
	if i := slices.Index(l.segments, seg); i >= 0 && i+1 < len(l.segments) {
		switch after := l.segments[i+1]; {
		case after.headless: // a cut in the first commit after an Open: it followed what was torn
			reason = ReasonTorn
		case clean && after.id > seg.id+1: // there can have been another one behind, which was given up
			reason = ReasonOverflow
		}
	}
	if seg.gone {
		return Entry{}, false, nil
	}
	return r.lose(seg.next, reason), true, nil
}

// learnGap reads, if that is not known yet, what the header of the segment behind seg says of the numbers before it. What seg
// has of them is a failed commit's and does not count. It says whether there was anything to learn.
func (l *Log) learnGap(seg *segment) bool {
	l.mu.Lock()
	var after *segment
	if i := slices.Index(l.segments, seg); i >= 0 && i+1 < len(l.segments) && !l.segments[i+1].gapKnown {
		after = l.segments[i+1]
	}
	l.mu.Unlock()
	if after == nil {
		return false
	}
	h, life := readSegmentHeader(l.dir, after)
	from, reason := gapOf(&h, life, after.first)
	l.mu.Lock()
	defer l.mu.Unlock()
	after.gapKnown, after.gapFrom, after.gapReason, after.headless = true, from, reason, life == lifeNotBegun
	if from < seg.next && !seg.gone {
		seg.next = max(from, seg.first)
	}
	return true
}

// readGap reads from the header of a segment which numbers before it are missing, and why.
func (l *Log) readGap(s *segment) (from uint64, reason string) {
	h, life := readSegmentHeader(l.dir, s)
	return gapOf(&h, life, s.first)
}

func gapOf(h *segmentHeader, life int, first uint64) (from uint64, reason string) {
	if life != lifeBegun {
		return first, ReasonDamaged
	}
	return h.gapFrom, h.gapReason
}

// readSegmentHeader reads the header of a segment, and whether it is of its present life.
func readSegmentHeader(dir fsys, s *segment) (h segmentHeader, life int) {
	f, err := dir.Open(s.name, false)
	if err != nil {
		return h, lifeIllegible
	}
	defer func() { _ = f.Close() }()
	var b [segmentHeaderBytes]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return h, lifeIllegible
	}
	h, ok := parseSegmentHeader(b[:])
	switch {
	case ok && h.id == s.id:
		return h, lifeBegun
	case ok || allZero(b[:]):
		return h, lifeNotBegun
	}
	return h, lifeIllegible
}

// openSegment makes seg the open one, and takes in how far it may be read.
func (r *Reader) openSegment(seg *segment) error {
	r.l.mu.Lock()
	end, sized := seg.end, seg.sized
	r.l.mu.Unlock()
	if r.seg == seg {
		r.sc.limit = end
		return nil
	}
	r.Close()
	f, err := r.l.dir.Open(seg.name, false)
	if err != nil {
		return fmt.Errorf("open segment %s: %w", seg.name, err)
	}
	if !sized {
		size, err := f.Size()
		if err != nil {
			_ = f.Close() // the other error tells more
			return fmt.Errorf("look at segment %s: %w", seg.name, err)
		}
		r.l.mu.Lock()
		if !seg.gone {
			r.l.learnSize(seg, size)
		}
		end = seg.end
		r.l.mu.Unlock()
	}
	r.seg, r.f = seg, f
	r.l.learnGap(seg)
	r.sc.start(seg.name, f, seg.id, end)
	r.sc.blind = r.bad.blind && r.bad.seg == seg
	if end < segmentHeaderBytes {
		return nil
	}
	b, err := r.sc.bytes(0, segmentHeaderBytes)
	if err != nil {
		r.Close()
		return err
	}
	if h, ok := parseSegmentHeader(b); ok && h.id == seg.id {
		if err := h.known(seg.name); err != nil {
			r.Close()
			return err
		}
	}
	return nil
}
