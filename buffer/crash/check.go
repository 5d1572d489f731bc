package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"obdagent/buffer"
)

// check opens the buffer that a cut at a position has left on a disk mounted at dir, and looks for everything that has to be there.
// It returns the world as it is then, with which another life can begin. The disk is used: the log lives on for one more record.
func (w *world) check(dir string, at int) (*world, error) {
	opts := w.opts
	opts.Dir = filepath.Join(dir, "buffer")
	if err := w.inspect(opts.Dir, at); err != nil {
		return nil, fmt.Errorf("inspected: %w", err)
	}
	l, err := buffer.Open(opts)
	if err != nil {
		return nil, err
	}
	then, err := w.reopened(l, at)
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	// A second life appends: all that was there has to be there still, and the new record too.
	more := *then
	more.numbers = slices.Clone(then.numbers)
	seq, err := l.Append([]byte("second life"))
	if err == nil && seq != more.next() {
		err = fmt.Errorf("it got the number %d, want %d", seq, more.next())
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("append after the cut: %w", err)
	}
	more.numbers = append(more.numbers, number{data: "second life", committed: 0, acked: never, rode: never, sealed: never, unsealed: never, given: never})
	if err := l.Commit(); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("commit after the cut: %w", err)
	}
	err = more.giveUp(l, 0)
	if s := l.Stats(); err == nil && (s.Bytes > s.MaxBytes || s.State != buffer.StateOK) {
		err = fmt.Errorf("%d bytes on disk, %d allowed; %s", s.Bytes, s.MaxBytes, s.State)
	}
	if cerr := l.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("after the cut: %w", err)
	}
	if l, err = buffer.Open(opts); err != nil {
		return nil, fmt.Errorf("opened again: %w", err)
	}
	if _, err = more.reopened(l, now); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("opened again: %w", err)
	}
	return then, l.Close()
}

// inspect looks without changing anything.
func (w *world) inspect(dir string, at int) error {
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		if n := slices.IndexFunc(w.numbers, func(n number) bool { return n.required(at) }); n > 0 {
			return fmt.Errorf("the directory is gone, with record %d in it", n)
		}
		return nil
	}
	in, err := buffer.Inspect(dir, func(r buffer.ScannedRecord) error {
		return w.record(r.Seq, r.Data, at)
	})
	if err != nil {
		return err
	}
	for _, d := range in.Damage {
		if d.Reason == buffer.ReasonTorn {
			continue
		}
		// A segment that was given up between two others, acknowledged in memory only, looks like frames that became zeros.
		for s := d.From; s <= d.To; s++ {
			if s == 0 || s >= w.next() || !w.numbers[s].hole && w.numbers[s].acked >= at && w.numbers[s].given >= at {
				return fmt.Errorf("damage: %+v", d)
			}
		}
	}
	return nil
}

// record says what is wrong with a record that is there.
func (w *world) record(seq uint64, data []byte, at int) error {
	if seq == 0 || seq >= w.next() || w.numbers[seq].appended >= at && w.numbers[seq].appended >= 0 {
		return fmt.Errorf("record %d is there; it had not been appended", seq)
	}
	if n := w.numbers[seq]; n.hole || n.data != string(data) {
		return fmt.Errorf("record %d has %d bytes that are not what was appended", seq, len(data))
	}
	return nil
}

// reopened reads everything after an opening, and returns the world as it is then.
func (w *world) reopened(l *buffer.Log, at int) (*world, error) {
	next := l.Stats().NextSeq
	got, lost := map[uint64]bool{}, map[uint64]bool{}
	last := uint64(0)
	r := l.Reader(0)
	defer r.Close()
	for {
		e, ok, err := r.TryNext()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		if e.Seq <= last {
			return nil, fmt.Errorf("%d came after %d", e.Seq, last)
		}
		if last = e.Seq; e.Lost != nil {
			last = e.Lost.To
			if e.Lost.Reason == buffer.ReasonTorn {
				w.torn++
			}
		}
		for s := e.Seq; s <= last; s++ {
			if s < w.next() && w.numbers[s].settled(at) {
				return nil, fmt.Errorf("%d came again (%+v): its acknowledgement was committed", s, e.Lost)
			}
			if e.Lost != nil {
				lost[s] = true
				if err := w.lostRightly(s, e.Lost.Reason, at); err != nil {
					return nil, err
				}
			}
		}
		if e.Lost == nil {
			got[e.Seq] = true
			if err := w.record(e.Seq, e.Data, at); err != nil {
				return nil, err
			}
		}
	}
	then := *w
	then.numbers = make([]number, 1, next)
	for s := uint64(1); s < max(next, w.next()); s++ {
		n := number{hole: true, appended: before, committed: before, acked: never, rode: never, sealed: never, unsealed: never, given: never}
		known := number{hole: true, committed: never, acked: never, sealed: never, given: never}
		if s < w.next() {
			known = w.numbers[s]
		}
		switch {
		case known.required(at) && !got[s]:
			return nil, fmt.Errorf("record %d is missing: its commit had returned (%d events before, the cut came after %d)", s, known.committed, at)
		case s >= next:
			continue
		case got[s]:
			n.hole, n.data = false, known.data
		case lost[s]:
		case known.acked >= at:
			return nil, fmt.Errorf("number %d is missing, and nobody says so", s)
		default: // it is acknowledged; its segment may be there still
			n.hole, n.data = known.hole, known.data
			n.acked, n.rode, n.sealed = before, before, before
		}
		then.numbers = append(then.numbers, n)
	}
	return &then, nil
}

// lostRightly says whether a log may report a number as lost.
func (w *world) lostRightly(s uint64, reason string, at int) error {
	if s >= w.next() || w.numbers[s].hole {
		if reason == buffer.ReasonDamaged {
			return fmt.Errorf("%d is %s; nothing was damaged", s, reason)
		}
		return nil
	}
	n := &w.numbers[s]
	right := false
	switch reason {
	case buffer.ReasonTorn:
		right = n.committed > at
	case buffer.ReasonOverflow:
		right = n.given < at || n.acked < at
	case buffer.ReasonThinned: // what is acknowledged in memory only is thinned like the rest
		right = w.opts.Overflow == buffer.Thin && (s%10 != 0 && (n.given < at || n.acked < at) || n.rode < at)
	}
	if !right {
		return fmt.Errorf("%d is said to be %s: cut after %d events, commit %d, ack %d, riding from %d on, given up after %d",
			s, reason, at, n.committed, n.acked, n.rode, n.given)
	}
	return nil
}
