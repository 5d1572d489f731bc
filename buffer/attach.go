package buffer

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// attach opens the directory: it takes the lock, and takes over what the files tell. Records that are in memory already get
// the numbers behind those on disk: none of them was handed out. l.writing is held. When it fails nothing has changed.
func (l *Log) attach() (err error) {
	lock, err := l.dir.Lock(lockName)
	if errors.Is(err, ErrLocked) {
		return fmt.Errorf("%w by another process: stop it, or choose another directory", err)
	}
	if err != nil {
		return err
	}
	r, err := recoverDir(l.dir, int64(l.opts.SegmentBytes), l.log)
	if err != nil {
		_ = lock.Close() // the other error tells more
		return err
	}
	l.w = writer{lastID: r.lastID, uuid: r.uuid}
	if !r.hasUUID {
		_, _ = rand.Read(l.w.uuid[:])         // crypto/rand does not fail
		l.w.uuid[6] = l.w.uuid[6]&0x0f | 0x40 // version 4, RFC 9562
		l.w.uuid[8] = l.w.uuid[8]&0x3f | 0x80 // its variant
	}
	l.w.durable.copyFrom(&r.acks, maxRanges)
	l.take(r)
	l.lock = lock
	l.openQuarantine()
	l.removeLeftover()
	if len(l.segments) > 0 && l.acks.next(1) < l.segments[0].first {
		s := l.segments[0]
		from, reason := l.readGap(s)
		l.mu.Lock()
		s.gapKnown, s.gapFrom, s.gapReason = true, from, reason
		l.mu.Unlock()
	}
	return nil
}

// take takes over what was found in the directory.
func (l *Log) take(r *recovered) {
	var device *device
	if d, ok := l.dir.(osDir); ok {
		device = deviceOf("/sys", d.path) // before the lock, for which Append waits: it asks the file system
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attached = true
	more := r.next - l.committed
	l.next += more
	l.inflight.first += more
	l.open.first += more
	l.committed, l.found = r.next, r.next
	l.acks, l.segments = r.acks, r.segments
	l.tail, l.tailReason = r.tail, cmp.Or(r.tailReason, ReasonOverflow) // what memory had no room for
	l.lastFrame = time.Now()
	for _, s := range r.segments {
		l.bytes += s.size
		l.unsized = l.unsized || !s.sized
		l.toSetAside = l.toSetAside || s.damaged
	}
	for _, f := range r.spares {
		l.w.spares = append(l.w.spares, f)
		l.bytes += f.Size
	}
	for _, f := range r.odd {
		l.w.leftover = append(l.w.leftover, f)
		l.bytes += f.Size
	}
	l.device = device
	if r.next > r.tail {
		l.ackGen++ // a frame says so, also if no record comes: more damage must not make it fewer numbers
		l.lost[r.tailReason] += r.next - r.tail
		l.damaged.add(r.tail, r.next)
		l.log.Warn("records at the end are lost", "from", r.tail, "to", r.next-1, "reason", r.tailReason)
	}
	if l.waiting > 0 {
		close(l.changed)
		l.changed = make(chan struct{})
		l.waiting = 0
	}
}
