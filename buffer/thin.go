package buffer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// Thinning: what is kept of the oldest segment goes behind what was kept of those before it, into a thinned segment, which may be
// one new file; then the segment's own file is free. As long as the old segment has its name the thinned one's copy of it does not
// count (format.go), so that a power cut leaves the one or the other. The names go in the order of the records, each after the one
// before is gone for good: one that came back would end the thinned segment where it begins.

// keepOneIn is how many of the oldest records there are for each that is kept: at 10 Hz one a second. A record is kept by its
// number, so that a segment that is thinned twice is the same.
const keepOneIn = 10

// thinner is the thinned segment that is written.
type thinner struct {
	seg *segment
	f   file
	off int64 // where its last frame ends
}

// kept is what is kept of a range of numbers, as sparse frames.
type kept struct {
	limit  int          // bytes of records in a frame
	enc    frameEncoder // the log's own may hold the frame that room is made for
	frames []keptFrame

	first, at uint64 // the frame at hand begins with first; everything below at is dealt with
	gap       string // why there is nothing before first
	records   []byte // of the frame at hand
	count     int
	seq       uint64 // number behind the last record in it

	passed uint64 // records that are not kept
}

type keptFrame struct {
	h    frameHeader
	body []byte
}

// thinOldest makes room for one segment by keeping one record in ten of the oldest that is whole. It says whether it did: there
// may be none, or half of the room be taken by thinned ones already. An error is one of writing.
func (l *Log) thinOldest() (done bool, err error) {
	s, before := l.thinnable()
	if s == nil {
		return false, nil
	}
	w := &l.w
	if l.stuck() {
		return false, nil
	}
	t := &w.thin
	if t.seg == nil && len(w.spares) == 0 {
		return false, nil // nowhere to write what would be kept
	}
	from := s.first
	if t.seg != nil {
		l.mu.Lock()
		from = t.seg.next // with the gap between
		l.mu.Unlock()
	}
	k, err := l.keep(from, s)
	if err == nil && len(k.frames) == 0 {
		l.discard(s)
		return true, nil
	}
	if err == nil && t.seg != nil && k.size(t.off) <= t.seg.size {
		return l.thinInto(k, s)
	}
	l.closeThin()
	if len(w.spares) == 0 {
		return false, nil
	}
	// A new one: with what an earlier life of the process kept, if there is room for both.
	gone := []*segment{s}
	if err == nil && before != nil && !before.packed {
		both, berr := l.keep(before.first, s)
		before.packed = true
		if berr == nil && both.size(segmentHeaderBytes) <= int64(l.opts.SegmentBytes) {
			return l.thinAnew(both, []*segment{before, s})
		}
	}
	if from != s.first && err == nil {
		k, err = l.keep(s.first, s)
	}
	if err != nil { // it can not be read: what is to be given up need not be
		l.log.Warn("the oldest segment can not be thinned", "segment", s.name, "err", err)
		return false, nil
	}
	return l.thinAnew(k, gone)
}

// thinnable returns the oldest whole segment, unless it is the newest with a frame, and the thinned one before it.
func (l *Log) thinnable() (s, before *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.segments) - 1
	for last > 0 && l.segments[last].end <= segmentHeaderBytes {
		last--
	}
	i := slices.IndexFunc(l.segments, func(s *segment) bool { return !s.sparse })
	if i < 0 || i >= last {
		return nil, nil
	}
	var thinned, all int64
	for n, s := range l.segments {
		if all += s.size; n < i {
			thinned += s.size
		}
	}
	if 2*thinned > all {
		return nil, nil
	}
	if i > 0 {
		before = l.segments[i-1]
	}
	return l.segments[i], before
}

// keep reads the numbers from from on to the end of a segment. What is acknowledged in memory only is kept like the rest: after a
// power cut nobody would know of the acknowledgement, and the log would say of records that have been delivered that they are lost.
func (l *Log) keep(from uint64, s *segment) (*kept, error) {
	k := &kept{limit: min(frameBytes, l.maxRecord), first: from, at: from, seq: from}
	defer k.enc.release()
	r := l.Reader(from)
	r.acks = &l.w.durable // only the holder of Log.writing changes it, and that is who calls
	defer r.Close()
	for {
		l.mu.Lock()
		end := s.next
		l.mu.Unlock()
		e := Entry{Seq: end}
		if r.next < end {
			var ok bool
			var err error
			if e, ok, err = r.TryNext(); err != nil {
				return nil, err
			} else if !ok {
				e = Entry{Seq: end}
			}
		}
		if e.Seq >= end {
			k.at = max(k.at, end)
			return k, k.flush()
		}
		k.at = e.Seq
		if e.Lost != nil {
			if err := k.lose(*e.Lost); err != nil {
				return nil, err
			}
			continue
		}
		if e.Seq%keepOneIn != 0 {
			k.at++
			l.mu.Lock()
			if !l.acks.covers(e.Seq, e.Seq+1) {
				k.passed++
			}
			l.mu.Unlock()
			continue
		}
		if k.count > 0 && (len(k.records)+recordBytes(len(e.Data)) > k.limit || k.count == maxFrameRecords) {
			if err := k.flush(); err != nil {
				return nil, err
			}
		}
		k.records = binary.AppendUvarint(k.records, e.Seq-k.seq)
		k.records = binary.AppendUvarint(k.records, uint64(len(e.Data)))
		k.records = append(k.records, e.Data...)
		k.count++
		k.at++
		k.seq = k.at
	}
}

// lose takes over that numbers are lost, and why.
func (k *kept) lose(lost Lost) error {
	if lost.Reason == ReasonThinned {
		k.at = lost.To + 1
		return nil
	}
	if err := k.flush(); err != nil {
		return err
	}
	k.gap = lost.Reason
	k.first, k.at, k.seq = lost.To+1, lost.To+1, lost.To+1
	return nil
}

// flush ends the frame at hand.
func (k *kept) flush() error {
	if k.at == k.first && k.gap == "" {
		return nil
	}
	if _, err := k.enc.encodeSparse(k.first, k.at, k.count, k.records, k.gap); err != nil {
		return err
	}
	k.frames = append(k.frames, keptFrame{h: k.enc.h, body: bytes.Clone(k.enc.out.b[len(zeroHeaders):])})
	k.records, k.count, k.gap = k.records[:0], 0, ""
	k.first, k.seq = k.at, k.at
	return nil
}

// size is where the last frame would end if the first one came behind off.
func (k *kept) size(off int64) int64 {
	for _, f := range k.frames {
		off = framePlace(off) + frameHeaderBytes + int64(len(f.body))
	}
	return off
}

// writeKept writes the frames behind t.off, where there is room for them, with a segment header if there is one, and makes them
// durable.
func (l *Log) writeKept(t *thinner, id uint64, size int64, k *kept, sh *segmentHeader) error {
	enc := &k.enc
	for _, f := range k.frames {
		at := framePlace(t.off)
		enc.h = f.h
		enc.out.b = append(append(enc.out.b[:0], zeroHeaders[:]...), f.body...)
		to := at
		if sh != nil {
			to = 0
		}
		n, err := t.f.WriteAt(enc.seal(id, at, size, sh), to)
		l.mu.Lock()
		l.meter.written += int64(n)
		l.mu.Unlock()
		if err != nil {
			return fmt.Errorf("write thinned segment: %w", err)
		}
		sh = nil
		t.off = at + frameHeaderBytes + int64(len(f.body))
	}
	if err := t.f.Sync(); err != nil {
		return fmt.Errorf("sync thinned segment: %w", err)
	}
	return nil
}

// thinInto writes on in the thinned segment.
func (l *Log) thinInto(k *kept, s *segment) (bool, error) {
	t := &l.w.thin
	if err := l.writeKept(t, t.seg.id, t.seg.size, k, nil); err != nil {
		l.closeThin() // what is behind its end does not count
		return false, err
	}
	return l.replace(k, s)
}

// thinAnew begins a thinned segment in the spare that is kept for it. It gets its name when it is complete: until then it is a
// spare, whose name has the id that no other life may have.
func (l *Log) thinAnew(k *kept, gone []*segment) (bool, error) {
	w := &l.w
	if len(w.spares) == 0 {
		return false, nil
	}
	first := gone[0]
	l.mu.Lock()
	known := first.gapKnown
	l.mu.Unlock()
	if !known {
		from, reason := l.readGap(first)
		l.mu.Lock()
		first.gapKnown, first.gapFrom, first.gapReason = true, from, reason
		l.mu.Unlock()
	}
	spare := w.spares[len(w.spares)-1]
	if k.size(segmentHeaderBytes) > spare.Size {
		return false, nil
	}
	w.spares = w.spares[:len(w.spares)-1]
	w.lastID++
	t := &segment{
		name: segmentName(first.first, w.lastID, thinExt), id: w.lastID, first: first.first, next: first.first, size: spare.Size, sized: true,
		end: segmentHeaderBytes, sparse: true, gapKnown: true, gapFrom: first.gapFrom, gapReason: first.gapReason,
	}
	h := &segmentHeader{
		version: formatVersion, flags: segmentThinned, id: t.id, uuid: w.uuid, first: t.first,
		gapFrom: t.gapFrom, recycled: !spare.zeros, size: uint32(t.size),
	}
	if t.gapFrom < t.first {
		h.gapReason = t.gapReason
	}
	w.thin = thinner{off: segmentHeaderBytes}
	if err := l.makeThin(&spare, t, k, h); err != nil {
		l.closeThin()
		w.leftover = append(w.leftover, spare)
		return false, err
	}
	w.thin.seg = t
	return l.replace(k, gone...)
}

// makeThin makes a thinned segment of a spare, whose name changes on the way.
func (l *Log) makeThin(spare *fileInfo, t *segment, k *kept, h *segmentHeader) error {
	made := segmentName(t.first, t.id, spareExt)
	if err := l.dir.Rename(spare.Name, made); err != nil {
		return fmt.Errorf("name thinned segment %s: %w", t.name, err)
	}
	spare.Name = made
	w := &l.w.thin
	if err := l.dir.SyncDir(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	var err error
	if w.f, err = l.dir.Open(made, true); err != nil {
		return fmt.Errorf("open thinned segment %s: %w", t.name, err)
	}
	if err := l.writeKept(w, t.id, t.size, k, h); err != nil {
		return err
	}
	if err := l.dir.Rename(made, t.name); err != nil {
		return fmt.Errorf("name thinned segment %s: %w", t.name, err)
	}
	return nil
}

// replace puts the thinned segment in the place of those that it was made of, and frees their files.
func (l *Log) replace(k *kept, gone ...*segment) (bool, error) {
	t := l.w.thin
	for i, s := range gone {
		if err := l.dir.SyncDir(); err != nil {
			l.closeThin()
			if !slices.Contains(l.segments, t.seg) {
				l.w.leftover = append(l.w.leftover, fileInfo{Name: t.seg.name, Size: t.seg.size})
			}
			return false, fmt.Errorf("sync directory: %w", err)
		}
		l.setAside()
		l.mu.Lock()
		if at := slices.Index(l.segments, s); !slices.Contains(l.segments, t.seg) {
			l.segments = slices.Insert(l.segments, at, t.seg)
		}
		l.takeOut(s)
		t.seg.next, t.seg.end = max(t.seg.next, s.next), t.off
		if !s.sparse {
			l.lost[ReasonThinned] += k.passed
		}
		l.mu.Unlock()
		l.freeFile(s)
		if i+1 < len(gone) && l.stuck() {
			l.closeThin()
			return false, fmt.Errorf("remove %s: the storage refuses: check it", s.name)
		}
	}
	s := gone[len(gone)-1]
	l.log.Warn("buffer is full: the oldest segment is thinned", "from", s.first, "to", s.next-1, "given up", k.passed)
	return true, nil
}

// stuck says whether a segment that is given up could not lose its name: it would count when the log is opened again.
func (l *Log) stuck() bool {
	return slices.ContainsFunc(l.w.leftover, func(f fileInfo) bool {
		_, _, _, ok := parseSegment(f.Name)
		return ok
	})
}

// closeThin ends the thinned segment that is written; the next one is a new one.
func (l *Log) closeThin() {
	t := &l.w.thin
	if t.f != nil {
		_ = t.f.Close() // all that counts is synced
	}
	if t.seg != nil {
		t.seg.packed = true
	}
	*t = thinner{}
}
