package buffer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	retryFirst = time.Second // a USB stick that comes back does so within seconds
	retryMost  = time.Minute // each try costs a new file
	idleWait   = time.Hour   // Run is woken when there is something to do; this is only a bound
)

// writer is what only the holder of Log.writing uses.
type writer struct {
	cur   *segment // nil: the next frame begins a new one
	f     file
	off   int64 // where the last frame ends
	dirty bool  // frames are written and not synced

	sentBytes, sentCount int    // of Log.inflight, written and not synced
	sentEnd              uint64 // number behind the last one sent

	enc       frameEncoder
	riding    acks   // what the next frame acknowledges
	ridingGen uint64 // its Log.ackGen
	sent      acks   // what the last frame acknowledges that was written
	sentGen   uint64 // its Log.ackGen
	durable   acks   // what the last committed frame acknowledges
	uuid      [16]byte
	lastID    uint64
	written   bool       // something was committed since Open
	spares    []fileInfo // zeros or an earlier life, of the right size
	leftover  []fileInfo // to be removed, at the latest when the disk works again

	quarantine []fileInfo // oldest first

	thin thinner
}

// Commit makes everything durable that was appended before, but for what [Stats.LostRecords] says was given up. When it
// returns an error the records stay in memory, as many as fit, and are tried again by the next Commit and by Run.
func (l *Log) Commit() error {
	l.mu.Lock()
	target, attached, closing := l.next, l.attached, l.closing
	l.mu.Unlock()
	if closing {
		return ErrClosed
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	done, closing := attached && l.committed >= target, l.closing
	l.mu.Unlock()
	switch {
	case done: // by somebody else, in the meantime
		return nil
	case closing:
		return ErrClosed
	}
	if err := l.commitAll(false); err != nil {
		return fmt.Errorf("commit to buffer %s: %w", l.opts.Dir, err)
	}
	return nil
}

// due says how long Run may wait, or that there is something to commit now.
func (l *Log) due() (wait time.Duration, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	at := now.Add(idleWait)
	if !l.attached {
		at = now
	} else if since, ok := l.oldestUnsynced(); ok {
		at = since.Add(l.opts.Sync)
		if l.inflight.bytes()+l.open.bytes() >= frameBytes {
			at = now
		}
	} else if l.ackGen != l.ackGenOK {
		at = l.lastFrame.Add(idleAck)
	}
	if l.failures > 0 && l.retryAt.After(at) {
		at = l.retryAt
	}
	wait = at.Sub(now)
	return wait, wait <= 0
}

// commitDue is Run's commit. Its failure is seen in Stats and, when it begins, in the log.
func (l *Log) commitDue() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	closing := l.closing
	l.mu.Unlock()
	if !closing {
		_ = l.commitAll(true) // kept in Log.problem
	}
}

// commitAll writes and syncs what is in memory; if there is nothing and ack is set, an acknowledgement that is not
// durable yet. A failure is tried once more on a new segment: after a failed sync nobody knows what a file holds, and
// a second sync would say that all is well (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
func (l *Log) commitAll(ack bool) error {
	start := time.Now()
	l.mu.Lock()
	attached := l.attached
	l.mu.Unlock()
	if !attached {
		if err := l.attach(); err != nil {
			l.settle(err, start)
			return err
		}
		l.learnSizes() // Run did it before there were any
	}
	l.mu.Lock()
	target := l.next
	l.mu.Unlock()
	err := l.write(target, ack)
	if err != nil && !errors.Is(err, ErrFull) {
		l.abandon()
		first := err
		if err = l.write(target, ack); err != nil && !errors.Is(err, ErrFull) {
			l.abandon()
		} else {
			l.log.Warn("segment failed; its records went to a new one", "err", first)
		}
	}
	l.settle(err, start)
	if err == nil {
		l.recycle()
	}
	return err
}

// settle notes how a commit ended.
func (l *Log) settle(err error, start time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full = errors.Is(err, ErrFull)
	was := l.problem
	if err == nil {
		l.commitTime = time.Since(start)
		l.failures, l.problem = 0, ""
		if was != "" {
			l.log.Info("storage works again", "was", was)
		}
		return
	}
	l.problem = StateStorageFailed + err.Error()
	if l.full {
		l.problem = StateStorageFull + err.Error()
	}
	wait := min(retryFirst<<min(l.failures, 16), retryMost)
	wait = wait/2 + rand.N(wait/2) // jitter, so that what fails in step does not retry in step
	l.failures++
	l.retryAt = time.Now().Add(wait)
	if was == "" {
		l.log.Error("buffer can not write; records stay in memory", "err", err, "retry", wait)
	}
}

// write brings everything below target to disk, and whatever else fits into the same commit.
func (l *Log) write(target uint64, ack bool) error {
	defer func() {
		l.mu.Lock()
		l.busy = false
		l.mu.Unlock()
	}()
	w := &l.w
	for {
		l.mu.Lock()
		if l.inflight.count == 0 && l.committed < target {
			l.inflight, l.open = l.open, l.inflight
		}
		l.busy = true
		first, left := l.committed, l.inflight.count-w.sentCount
		if left > 0 {
			first = l.inflight.first + uint64(w.sentCount)
		}
		ackOnly := ack && left == 0 && l.ackGen != l.ackGenOK
		if left > 0 || ackOnly && !w.dirty { // what came later than the last frame does not ride in it
			w.riding.copyFrom(&l.acks, maxRanges)
			w.ridingGen = l.ackGen
		}
		l.mu.Unlock()

		if left == 0 && w.dirty {
			if err := l.sync(); err != nil {
				return err
			}
			continue
		}
		if left == 0 && !ackOnly {
			return nil
		}
		var records []byte
		count := 0
		if left > 0 {
			records, count = l.inflight.frame(w.sentBytes, min(frameBytes, l.maxRecord))
		}
		if err := l.writeFrame(first, count, records); err != nil {
			return err
		}
	}
}

// writeFrame writes one frame, into a new segment if it does not fit into the current one.
func (l *Log) writeFrame(first uint64, count int, records []byte) error {
	w := &l.w
	size, err := w.enc.encode(first, count, records, &w.riding)
	if err != nil {
		return err
	}
	var sh *segmentHeader
	at := framePlace(w.off)
	if w.cur == nil || at+size > w.cur.size {
		if w.dirty {
			if err := l.sync(); err != nil {
				return err
			}
		}
		if sh, err = l.roll(first); err != nil {
			return err
		}
		at = framePlace(segmentHeaderBytes)
	}
	to := at
	if sh != nil {
		to = 0
	}
	if w.dirty {
		w.enc.h.flags |= flagContinued
	}
	n, err := w.f.WriteAt(w.enc.seal(w.cur.id, at, w.cur.size, sh), to)
	l.mu.Lock()
	l.meter.written += int64(n)
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("write segment %s: %w", w.cur.name, err)
	}
	w.sent.copyFrom(&w.riding, maxRanges) // not before: what is synced in between does not have it
	w.sentGen = w.ridingGen
	w.off = at + size
	w.dirty = true
	w.sentBytes += len(records)
	w.sentCount += count
	w.sentEnd = first + uint64(count)
	return nil
}

// sync makes the written frames durable and lets Readers have them.
func (l *Log) sync() error {
	w := &l.w
	start := time.Now()
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("sync segment %s: %w", w.cur.name, err)
	}
	took := time.Since(start)
	w.durable.copyFrom(&w.sent, maxRanges)
	w.written = true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.meter.syncs.add(took)
	if w.sentCount > 0 {
		if l.acks.below >= l.inflight.first {
			l.meter.ages = ages{marks: l.meter.ages.marks[:0]} // nobody asks for those any more
		}
		l.meter.ages.add(l.inflight.first, l.inflight.since)
	}
	l.inflight.drop(w.sentBytes, w.sentCount)
	w.cur.next, w.cur.end = w.sentEnd, w.off
	l.committed = w.sentEnd
	l.tail, l.tailReason = w.sentEnd, ReasonOverflow
	l.ackGenOK = w.sentGen
	l.lastFrame = time.Now()
	l.commits++
	w.sentBytes, w.sentCount, w.dirty = 0, 0, false
	if l.waiting > 0 {
		close(l.changed)
		l.changed = make(chan struct{})
		l.waiting = 0
	}
	return nil
}

// seal ends the current segment. What is not synced in it does not count.
func (l *Log) seal() {
	w := &l.w
	if w.f != nil {
		_ = w.f.Close() // all that counts is synced
	}
	w.cur, w.f, w.off = nil, nil, 0
	w.sentBytes, w.sentCount, w.dirty = 0, 0, false
}

// abandon gives the current segment up after a failure: it is never written again. Its committed records stay readable.
func (l *Log) abandon() {
	cur := l.w.cur
	l.seal()
	if cur == nil {
		return
	}
	l.mu.Lock()
	cur.failed = true
	empty := cur.end <= segmentHeaderBytes
	l.mu.Unlock()
	if empty {
		l.discard(cur)
	}
}
