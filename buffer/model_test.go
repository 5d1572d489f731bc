package buffer_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"obdagent/buffer"
)

// model is a log beside what it has to hold. Numbers that were lost rightly, or are acknowledged, need not be there.
type model struct {
	m    *memFS
	l    *buffer.Log
	opts buffer.Options

	records []string // by number; the first is unused
	must    []bool   // was committed, and nothing was done that may cost it
	acked   []bool
	hit     []bool // damage was there: a copy that a failed commit left behind may come instead, or not
	durable uint64 // everything below was covered by a commit that returned
	used    uint64 // the number behind the last record that was committed
	drops   bool   // the oldest may be given up: there was no room
}

func newModel(t *rapid.T) *model {
	w := &model{m: newMemFS(), records: []string{""}, must: []bool{false}, acked: []bool{false}, hit: []bool{false}, durable: 1, used: 1}
	w.opts = buffer.Options{
		Dir: "test", SegmentBytes: 4 << 10, MaxBytes: rapid.SampledFrom([]int64{5 * 4 << 10, 1 << 20}).Draw(t, "MaxBytes"),
		Overflow: rapid.SampledFrom([]buffer.Overflow{buffer.DropOldest, buffer.DropNewest, buffer.Thin}).Draw(t, "Overflow"),
	}
	w.drops = w.opts.MaxBytes < 1<<20 && w.opts.Overflow != buffer.DropNewest
	w.open(t, w.m)
	return w
}

func (w *model) open(t *rapid.T, m *memFS) {
	var err error
	w.m = m
	if w.l, err = buffer.OpenOn(m, w.opts); err != nil {
		t.Fatalf("open: %v", err)
	}
}

// next is the number of the next record.
func (w *model) next() uint64 { return uint64(len(w.records)) }

func (w *model) grow(data string) {
	w.records, w.must, w.acked, w.hit = append(w.records, data), append(w.must, false), append(w.acked, false), append(w.hit, false)
}

func (w *model) append(t *rapid.T) {
	for n := rapid.IntRange(1, 12).Draw(t, "records"); n > 0; n-- {
		data := strings.Repeat(rapid.StringN(1, 6, 20).Draw(t, "data"), rapid.IntRange(0, 40).Draw(t, "times"))
		seq, err := w.l.Append([]byte(data))
		if errors.Is(err, buffer.ErrFull) && w.opts.Overflow == buffer.DropNewest {
			return
		}
		if err != nil || seq != w.next() {
			t.Fatalf("append: %d, %v, want %d", seq, err, w.next())
		}
		w.grow(data)
	}
}

// commit commits, and takes note of it. It may fail where the disk does, and on one that is full for new records.
func (w *model) commit(t *rapid.T, fails bool) {
	err := w.l.Commit()
	switch {
	case err == nil:
		w.committed()
		if w.l.Committed() != w.durable || w.l.Stats().Unsynced != 0 {
			t.Fatalf("a commit is done, and %+v; %d were appended", w.l.Stats(), w.durable-1)
		}
	case fails && strings.HasPrefix(w.l.Stats().State, "storage f"): // failed, or full
	case errors.Is(err, buffer.ErrFull) && w.opts.Overflow == buffer.DropNewest:
	default:
		t.Fatalf("commit: %v", err)
	}
}

// committed takes note of a commit that is done.
func (w *model) committed() {
	for s := w.durable; s < w.next(); s++ {
		w.must[s] = true
		w.used = s + 1
	}
	w.durable = w.next()
}

// read reads everything from a number on. With again, what had been acknowledged may come again.
func (w *model) read(t *rapid.T, from uint64, again bool) (seen map[uint64]bool) {
	seen = map[uint64]bool{}
	r := w.l.Reader(from)
	defer r.Close()
	last, handed := uint64(0), false
	for {
		e, ok, err := r.TryNext()
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		if !ok {
			break
		}
		if e.Seq <= last || e.Seq < from {
			t.Fatalf("%d came after %d, read from %d", e.Seq, last, from)
		}
		if last = e.Seq; e.Lost != nil {
			last = e.Lost.To
			w.lose(t, *e.Lost, handed, again)
			continue
		}
		handed = true
		switch {
		case e.Seq >= w.next() || string(e.Data) != w.records[e.Seq]:
			t.Fatalf("record %d is %q, which was never appended", e.Seq, e.Data)
		case w.acked[e.Seq] && !again:
			t.Fatalf("record %d came again; it is acknowledged", e.Seq)
		}
		w.acked[e.Seq] = false
		seen[e.Seq] = true
	}
	for s := max(from, 1); s < w.next(); s++ {
		if w.must[s] && !w.acked[s] && !seen[s] {
			t.Fatalf("record %d is missing, and nobody said so", s)
		}
	}
	return seen
}

// lose takes note of a loss that was reported, if it may be.
func (w *model) lose(t *rapid.T, lost buffer.Lost, handed, again bool) {
	for s := lost.From; s <= min(lost.To, w.next()-1); s++ {
		switch {
		case w.acked[s] && !again:
			t.Fatalf("%+v: %d is acknowledged", lost, s)
		case lost.Reason == buffer.ReasonThinned && (w.opts.Overflow != buffer.Thin || s%10 == 0 && w.must[s] && !w.acked[s]):
			t.Fatalf("%+v: %d is to be kept", lost, s)
		case w.must[s] && !w.acked[s] && (lost.Reason != buffer.ReasonOverflow && lost.Reason != buffer.ReasonThinned || !w.drops):
			t.Fatalf("%+v: %d was committed", lost, s)
		case w.must[s] && !w.acked[s] && handed && lost.Reason != buffer.ReasonThinned:
			t.Fatalf("%+v: there are older records", lost)
		}
		w.must[s], w.acked[s] = false, false
	}
}

func (w *model) ack(t *rapid.T) {
	if w.durable == 1 {
		return
	}
	from := uint64(1)
	if rapid.IntRange(0, 3).Draw(t, "apart") == 0 {
		from = rapid.Uint64Range(1, w.durable-1).Draw(t, "from")
	}
	to := rapid.Uint64Range(from, w.durable-1).Draw(t, "to")
	w.l.Ack(from, to)
	for s := from; s <= to; s++ {
		w.acked[s] = true
	}
}

// reopened compares after an open. What was not committed may be gone; where it is not, it counts from now on.
func (w *model) reopened(t *rapid.T, again bool) {
	next := w.l.Stats().NextSeq
	if next < w.used {
		t.Fatalf("the next number is %d; %d was a committed record's", next, w.used-1)
	}
	seen := w.read(t, 0, again)
	for s := range uint64(len(w.records)) {
		if seen[s] {
			w.must[s] = !w.hit[s]
			w.used = max(w.used, s+1)
		}
	}
	for w.next() < next {
		w.grow("")
	}
	w.records, w.must, w.acked, w.hit, w.durable = w.records[:next], w.must[:next], w.acked[:next], w.hit[:next], next
}

// close ends the process in peace, as far as the disk lets it.
func (w *model) close(t *rapid.T) (done bool) {
	err := w.l.Close()
	if err != nil && (!errors.Is(err, buffer.ErrFull) || w.opts.Overflow != buffer.DropNewest) {
		t.Fatalf("close: %v", err)
	}
	if err == nil {
		w.committed()
	}
	return err == nil
}

func (w *model) reopen(t *rapid.T) {
	done := w.close(t)
	w.open(t, w.m)
	w.reopened(t, !done)
}

func (w *model) cut(t *rapid.T) {
	w.read(t, 0, false) // what was given up is known then: names that were removed may be there again after the cut
	image := w.m.cut(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "cut"), 0)))
	_ = w.l.Close() // of what is no more; it must not be seen in the image
	w.open(t, image)
	w.reopened(t, true)
}

// damage changes some bytes of a segment between two lives of the process. It may cost the frames that it touches, and
// acknowledgements that were in them.
func (w *model) damage(t *rapid.T) {
	w.close(t)
	if names := w.m.segmentNames(); len(names) > 0 {
		b := w.m.names[rapid.SampledFrom(names).Draw(t, "segment")].seen
		from := rapid.IntRange(0, len(b)-1).Draw(t, "offset")
		to := min(len(b), from+rapid.IntRange(1, 100).Draw(t, "bytes"))
		var oldest uint64
		if _, err := fmt.Sscanf(names[0], "%016x-", &oldest); err != nil {
			t.Fatal(err)
		}
		for s, acked := range w.acked {
			// An older acknowledgement may be found after this, a newer one after a cut; or none, and then nobody knows whether
			// what was before the oldest segment was acknowledged or given up.
			if acked || uint64(s) < oldest {
				w.must[s], w.hit[s] = false, true
			}
		}
		le := binary.LittleEndian
		for _, at := range frameOffsets(b) {
			if at+48 > len(b) || from >= at+48+int(le.Uint32(b[at+32:])) || to <= at {
				continue
			}
			first := le.Uint64(b[at+16:])
			end := first + uint64(le.Uint16(b[at+40:]))
			if b[at+3]&2 != 0 { // sparse
				end = le.Uint64(b[at+24:])
			}
			for s := first; s < end && s < w.next(); s++ {
				w.must[s], w.hit[s] = false, true
			}
		}
		for i := from; i < to; i++ {
			b[i] ^= 0xa5
		}
		for _, n := range w.m.names { // it is so on the disk too
			n.durable, n.writes = append([]byte(nil), n.seen...), nil
		}
	}
	w.open(t, w.m)
	w.reopened(t, true)
}

// fail lets some operations fail while records are committed.
func (w *model) fail(t *rapid.T) {
	errno := rapid.SampledFrom([]error{syscall.EIO, syscall.EROFS}).Draw(t, "error")
	w.m.failFrom(rapid.IntRange(0, 6).Draw(t, "first"), rapid.IntRange(1, 6).Draw(t, "failures"), errno, changes)
	w.append(t)
	w.commit(t, true)
	w.m.fail = nil
	w.commit(t, false)
}

// full lets nothing new be made while records are committed.
func (w *model) full(t *rapid.T) {
	w.m.failFrom(0, 1<<30, syscall.ENOSPC, func(op string) bool { return op == "create" })
	w.drops = w.drops || w.opts.Overflow != buffer.DropNewest
	for n := rapid.IntRange(1, 6).Draw(t, "commits"); n > 0; n-- {
		w.append(t)
		w.commit(t, true)
	}
	w.m.fail = nil
	w.commit(t, false)
}

// used is what all files take. Those of two names count once: a damaged segment may have one in the quarantine too.
func (m *memFS) used() (bytes int64) {
	counted := map[*inode]bool{}
	for _, n := range m.names {
		if !counted[n] {
			bytes += int64(len(n.seen))
		}
		counted[n] = true
	}
	return bytes
}

// TestTheLogIsASlice does anything in any order to a log, and to a slice of what it has to hold.
func TestTheLogIsASlice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"append":  w.append,
			"append2": w.append,
			"commit":  func(t *rapid.T) { w.commit(t, false) },
			"commit2": func(t *rapid.T) { w.append(t); w.commit(t, false) },
			"read":    func(t *rapid.T) { w.read(t, 0, false) },
			"read on": func(t *rapid.T) { w.read(t, rapid.Uint64Range(1, w.next()).Draw(t, "at"), false) },
			"ack":     w.ack,
			"cut":     w.cut,
			"damage":  w.damage,
			"full":    w.full,
			"fail":    w.fail,
			"reopen":  w.reopen,
			"": func(t *rapid.T) {
				if s := w.l.Stats(); s.NextSeq != w.next() {
					t.Fatalf("%+v; %d were appended", s, w.next()-1)
				}
				if used := w.m.used(); used > w.opts.MaxBytes {
					t.Fatalf("%d bytes on disk, %d allowed", used, w.opts.MaxBytes)
				}
			},
		})
		w.close(t)
	})
}
