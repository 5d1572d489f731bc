package buffer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// roll ends the current segment and begins a new one, whose first record will be first. The header it returns has to be
// written together with the first frame. The name, and the id in it, is durable when it returns.
func (l *Log) roll(first uint64) (*segmentHeader, error) {
	l.seal()
	l.learnSizes()
	w := &l.w
	spare, err := l.room()
	if err != nil {
		return nil, err
	}
	w.lastID++
	l.mu.Lock()
	s := &segment{
		name: segmentName(first, w.lastID, segmentExt), id: w.lastID, first: first, next: first,
		size: spare.Size, sized: true, end: segmentHeaderBytes, gapKnown: true, gapFrom: min(l.tail, first), gapReason: l.tailReason,
	}
	l.mu.Unlock()
	w.spares = w.spares[:len(w.spares)-1]
	if err := l.dir.Rename(spare.Name, s.name); err != nil {
		w.leftover = append(w.leftover, spare) // should it be gone, the next try must not ask for it again
		return nil, fmt.Errorf("name segment %s: %w", s.name, err)
	}
	l.mu.Lock()
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	w.cur = s // from here on abandon takes care of it
	if err := l.dir.SyncDir(); err != nil {
		return nil, fmt.Errorf("sync directory: %w", err)
	}
	f, err := l.dir.Open(s.name, true)
	if err != nil {
		return nil, fmt.Errorf("open segment %s: %w", s.name, err)
	}
	w.f = f
	h := &segmentHeader{
		version: formatVersion, id: s.id, uuid: w.uuid, first: first,
		gapFrom: s.gapFrom, opened: !w.written, recycled: !spare.zeros, size: uint32(s.size),
	}
	if s.gapFrom < first {
		h.gapReason = s.gapReason
	}
	return h, nil
}

// room returns the last of the spare files, after making one if there is none: from a segment that is acknowledged, or
// new, or, when neither can be had, from the oldest segment.
func (l *Log) room() (fileInfo, error) {
	w := &l.w
	l.removeLeftover()
	reserve := 0
	if l.opts.Overflow == Thin {
		reserve = 1 // for what is kept
	}
	for {
		n := len(w.spares)
		if n > reserve {
			return w.spares[n-1], nil
		}
		size := int64(l.opts.SegmentBytes)
		l.mu.Lock()
		fits := l.bytes+size <= l.opts.MaxBytes
		if !fits && n == 0 && l.oneLargeLeft() {
			fits = true
			l.log.Warn("the newest segment is of a larger buffer: until the next segment there is more on disk than allowed",
				"bytes", l.bytes+size, "allowed", l.opts.MaxBytes)
		}
		l.mu.Unlock()
		if fits {
			err := l.create(size)
			if err == nil {
				continue
			}
			if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
				return fileInfo{}, err
			}
			l.log.Warn("no space for a new segment", "err", err)
		}
		if len(w.leftover) > 1 {
			// Files that can not be removed take the room: to drop records for them would help nobody.
			return fileInfo{}, fmt.Errorf("remove %s: the storage refuses: check it", w.leftover[0].Name)
		}
		if l.thinQuarantine(0) {
			continue
		}
		if l.opts.Overflow == Thin {
			done, err := l.thinOldest()
			if err != nil {
				return fileInfo{}, err
			}
			if done {
				continue
			}
		}
		if err := l.giveUp(); err != nil {
			if n > 0 && errors.Is(err, unix.ENOSPC) {
				return w.spares[n-1], nil
			}
			return fileInfo{}, err
		}
	}
}

// oneLargeLeft says whether all that is left to give up is the newest segment, which has to stay until another one has a frame, and
// whether nothing but its size, from a time when MaxBytes was larger, keeps that one from being made. l.mu is held.
func (l *Log) oneLargeLeft() bool {
	size := int64(l.opts.SegmentBytes)
	return len(l.segments) == 1 && l.segments[0].size > size && l.bytes-l.segments[0].size+2*size <= l.opts.MaxBytes
}

// learnSizes looks at the sizes of the segments that Open found. Those that it can not look at count as what a new one takes, until the
// next time.
func (l *Log) learnSizes() {
	l.mu.Lock()
	if !l.unsized {
		l.mu.Unlock()
		return
	}
	var list []*segment
	for _, s := range l.segments {
		if !s.sized {
			list = append(list, s)
		}
	}
	l.unsized = len(list) > 0
	l.mu.Unlock()
	for _, s := range list {
		size, err := l.dir.Size(s.name)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // one that somebody took away: readers find it
			}
			l.log.Warn("can not look at the sizes of segments yet", "err", err)
			return
		}
		l.mu.Lock()
		l.learnSize(s, size)
		l.mu.Unlock()
	}
}

// learnSize takes note of a segment's size. l.mu is held.
func (l *Log) learnSize(s *segment, size int64) {
	if s.sized {
		return
	}
	l.bytes += size - s.size
	s.size, s.end, s.sized = size, size, true
}

// create makes a spare file. It is filled with zeros, so that later writes allocate nothing: they can not run out of
// space, and the file system's journal has no part in them.
func (l *Log) create(size int64) error {
	w := &l.w
	w.lastID++
	l.mu.Lock()
	name := segmentName(l.committed, w.lastID, spareExt)
	l.mu.Unlock()
	f, err := l.dir.Create(name)
	if errors.Is(err, fs.ErrNotExist) { // the directory was removed
		if err = l.relock(); err == nil {
			f, err = l.dir.Create(name)
		}
	}
	if err != nil {
		return fmt.Errorf("create segment: %w", err)
	}
	for at := int64(0); at < size && err == nil; at += int64(len(zeroChunk)) {
		_, err = f.WriteAt(zeroChunk[:min(size-at, int64(len(zeroChunk)))], at)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	info := fileInfo{Name: name, Size: size, zeros: true}
	l.mu.Lock()
	l.bytes += size
	l.meter.written += size
	l.mu.Unlock()
	if err != nil {
		w.leftover = append(w.leftover, info)
		l.removeLeftover()
		return fmt.Errorf("fill segment %s: %w", name, err)
	}
	w.spares = append(w.spares, info)
	return nil
}

// relock makes the directory anew and takes it, after it was removed under us.
func (l *Log) relock() error {
	lock, err := l.dir.Lock(lockName)
	if err != nil {
		return fmt.Errorf("make the directory again: %w", err)
	}
	l.log.Warn("the directory was removed; it is made again")
	_ = l.lock.Close() // of a file without a name
	l.lock = lock
	return nil
}

var zeroChunk [64 << 10]byte

// giveUp discards one segment to make room: an acknowledged one if there is any, else by the policy. The newest one with
// a frame stays: it holds the acknowledgements, and the numbers that are used.
func (l *Log) giveUp() error {
	l.mu.Lock()
	last := len(l.segments) - 1
	for last > 0 && l.segments[last].end <= segmentHeaderBytes {
		last--
	}
	var victim *segment
	missing := uint64(0)
	for _, s := range l.segments[:max(last, 0)] {
		if l.acks.covers(s.first, s.next) {
			victim = s
			break
		}
	}
	if victim == nil && last > 0 {
		if l.opts.Overflow == DropNewest {
			l.mu.Unlock()
			return fmt.Errorf("begin a segment: %w: %d bytes on disk, %d allowed", ErrFull, l.bytes, l.opts.MaxBytes)
		}
		victim = l.segments[0]
		missing = l.waitingIn(victim)
		l.lost[ReasonOverflow] += missing
	}
	l.mu.Unlock()
	if victim == nil {
		return fmt.Errorf("begin a segment: no room, and nothing to give up: %w", unix.ENOSPC)
	}
	if missing > 0 {
		l.log.Warn("buffer is full: the oldest segment is dropped",
			"from", victim.first, "to", victim.next-1, "records", missing)
	}
	l.discard(victim)
	return nil
}

// recycle discards the segments whose acknowledgement is durable.
func (l *Log) recycle() {
	l.removeLeftover()
	l.setAside()
	w := &l.w
	if w.cur == nil {
		return // acknowledgements are durable in the newest segment, which has to stay
	}
	for {
		l.mu.Lock()
		i := slices.IndexFunc(l.segments, func(s *segment) bool {
			return s != w.cur && w.durable.covers(s.first, s.next) && !(s.gapKnown && s.gapFrom < s.first && !w.durable.covers(s.gapFrom, s.first))
		})
		var s *segment
		if i >= 0 {
			s = l.segments[i]
		}
		l.mu.Unlock()
		if s == nil {
			return
		}
		l.discard(s)
	}
}

// waitingIn counts the records of a segment that are not acknowledged: how many a thinned one has is reckoned. l.mu is held.
func (l *Log) waitingIn(s *segment) uint64 {
	n := l.acks.missing(s.first, s.next)
	if s.sparse {
		n /= keepOneIn
	}
	return n
}

// discard takes a segment out of the log and makes a spare of its file, or removes it.
func (l *Log) discard(s *segment) {
	l.setAside()
	if l.w.thin.seg == s {
		l.closeThin()
	}
	l.mu.Lock()
	l.takeOut(s)
	l.mu.Unlock()
	l.freeFile(s)
}

// takeOut takes a segment out of the log. l.mu is held.
func (l *Log) takeOut(s *segment) {
	s.gone = true
	if i := slices.Index(l.segments, s); i >= 0 {
		l.segments = slices.Delete(l.segments, i, i+1)
	}
}

// freeFile makes a spare of the file of a segment that is taken out, or removes it.
func (l *Log) freeFile(s *segment) {
	w := &l.w
	l.mu.Lock()
	damaged := s.damaged
	keep := !s.failed && s.sized && s.size == int64(l.opts.SegmentBytes) && len(w.spares) < maxSpares && l.bytes <= l.opts.MaxBytes
	l.mu.Unlock()
	info := fileInfo{Name: s.name, Size: s.size}
	switch {
	case damaged && !s.aside && l.moveAside(s):
		return
	case keep && !s.aside:
		spare := fileInfo{Name: segmentName(s.first, s.id, spareExt), Size: s.size}
		err := l.dir.Rename(info.Name, spare.Name)
		if err == nil {
			w.spares = append(w.spares, spare)
			return
		}
		l.log.Warn("can not recycle segment", "segment", s.name, "err", err)
	}
	w.leftover = append(w.leftover, info)
	l.removeLeftover()
}

// removeLeftover removes files that are in the way; those that resist are tried again later.
func (l *Log) removeLeftover() {
	w := &l.w
	w.leftover = slices.DeleteFunc(w.leftover, func(f fileInfo) bool {
		err := l.dir.Remove(f.Name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.log.Warn("can not remove segment", "segment", f.Name, "err", err)
			return false
		}
		l.mu.Lock()
		l.bytes -= f.Size
		l.mu.Unlock()
		return true
	})
}
