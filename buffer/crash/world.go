package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"obdagent/buffer"
)

const (
	before = -1              // a position before the life that is recorded
	never  = math.MaxInt     // a position that was not reached
	now    = math.MaxInt - 1 // a position behind everything that was reached
)

// A number is what is known of one sequence number: what happened to it, as the number of events of the disk before it happened.
type number struct {
	data string
	hole bool // no record has it any more: one that was lost, or torn

	appended  int // before Append was called
	committed int // when the commit that covers it had returned
	acked     int // before Ack was called
	rode      int // before a commit whose frames tell of the acknowledgement
	sealed    int // when that had returned
	unsealed  int // before a commit whose frames do not tell of it any more: there were 64 ranges below
	given     int // before the step in which the log gave it up

	acking bool // it is acknowledged for the log as it is open
}

// settled says whether the number must not come again.
func (n *number) settled(at int) bool { return n.sealed <= at && at <= n.unsealed }

func (n *number) required(at int) bool {
	return !n.hole && n.committed <= at && n.acked >= at && n.given >= at
}

// world is what was done to a log. Nothing of it is asked of the log but what it gives up.
type world struct {
	opts    buffer.Options
	rnd     *rand.Rand
	numbers []number // by sequence number; the first is unused
	sparse  bool     // acknowledges every other record only
	slow    bool     // acknowledges less than is appended

	count
}

// count is what came about, to see that the run had what it is to have.
type count struct {
	torn    int // states with a frame torn
	given   int // records given up with their segment
	thinned int // records given up by thinning
	reused  int // segments written into the file of another
	opened  int // lives that went on on what a cut had left
}

func (w *world) next() uint64 { return uint64(len(w.numbers)) }

// newWorld has the options of a run: a log with room, one that drops its oldest segments, one that thins them.
func newWorld(seed, run uint64) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, run)), numbers: make([]number, 1), sparse: run%4 == 3, slow: run%3 > 0}
	w.opts = buffer.Options{SegmentBytes: 64 << 10, MaxBytes: 16 * 64 << 10}
	switch run % 3 {
	case 1:
		w.opts.MaxBytes = 5 * 64 << 10
	case 2:
		w.opts.MaxBytes, w.opts.Overflow = 7*64<<10, buffer.Thin
	}
	return w
}

// life is one life of the process on a mounted disk.
type life struct {
	*world
	at     func() int // how many events there were
	dir    string
	l      *buffer.Log
	reader *buffer.Reader
	read   []buffer.Entry // and not acknowledged
	lost   uint64         // given up, as the log counts them
	ids    map[string]bool
}

// live does some steps on a disk that is mounted at dir, and calls stop when it is done.
func (w *world) live(dir string, at func() int, stop func(), steps int) error {
	v := &life{world: w, at: at, dir: dir, ids: map[string]bool{}}
	start := at()
	if err := v.open(start); err != nil {
		return err
	}
	err := v.steps(steps)
	v.reader.Close()
	start = at()
	err = errors.Join(err, v.close(start))
	stop()
	if err != nil {
		return err
	}
	// What was given up on closing is found out by looking.
	if err := v.open(start); err != nil {
		return err
	}
	v.reader.Close()
	return v.l.Close()
}

func (v *life) steps(n int) error {
	w := v.world
	for range n {
		var err error
		switch w.rnd.IntN(12) {
		case 0, 1, 2:
			err = v.append()
		case 3, 4, 5, 6:
			err = v.commit()
		case 7, 8:
			err = v.take()
		case 9:
			if !v.slow {
				v.acknowledge()
			}
		case 10:
			if w.rnd.IntN(4) == 0 {
				err = v.reopen()
			} else {
				err = v.append()
			}
		case 11:
			err = v.neighbour()
		}
		if s := v.l.Stats(); err == nil && (s.Bytes > s.MaxBytes || s.State != buffer.StateOK) {
			err = fmt.Errorf("%d bytes on disk, %d allowed; %s", s.Bytes, s.MaxBytes, s.State)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// open opens the log. What it says to have given up was given up since start.
func (v *life) open(start int) error {
	v.opts.Dir = filepath.Join(v.dir, "buffer")
	l, err := buffer.Open(v.opts)
	if err != nil {
		return err
	}
	v.l, v.reader, v.read, v.lost = l, l.Reader(0), nil, 0
	for s := range v.numbers { // what did not ride, being too many ranges, is not acknowledged any more
		v.numbers[s].acking = v.numbers[s].settled(now)
	}
	if next := l.Stats().NextSeq; next != v.next() {
		return fmt.Errorf("opened: the next number is %d, want %d", next, v.next())
	}
	return v.giveUp(start)
}

func (v *life) close(start int) error {
	ride := v.lowest() // if none of it is new there is no frame, and the last one has it
	if err := v.l.Close(); err != nil {
		return err
	}
	v.committedAll(start, ride)
	return nil
}

func (v *life) reopen() error {
	v.reader.Close()
	start := v.at()
	if err := v.close(start); err != nil {
		return err
	}
	return v.open(start)
}

func (v *life) append() error {
	for range 1 + v.rnd.IntN(24) {
		data := fmt.Sprintf("record %d %s", v.next(), strings.Repeat(string(rune('a'+v.rnd.IntN(26))), v.rnd.IntN(300)))
		if v.rnd.IntN(2) == 0 {
			most := 2500
			if v.rnd.IntN(20) == 0 {
				most = 16 << 10 // the largest that there may be
			}
			b := make([]byte, v.rnd.IntN(most)) // what does not compress
			for i := range b {
				b[i] = byte(v.rnd.Uint32())
			}
			data = string(b)
		}
		at := v.at()
		seq, err := v.l.Append([]byte(data))
		if err != nil || seq != v.next() {
			return fmt.Errorf("append: number %d, %w, want %d", seq, err, v.next())
		}
		v.numbers = append(v.numbers, number{data: data, appended: at, committed: never, acked: never, rode: never, sealed: never, unsealed: never, given: never})
	}
	return nil
}

func (v *life) commit() error {
	start := v.at()
	var ride []uint64
	if n := len(v.numbers) - 1; n > 0 && v.numbers[n].committed == never { // else no frame is written for it to ride in
		ride = v.lowest()
	}
	if err := v.l.Commit(); err != nil {
		return err
	}
	v.committedAll(start, ride)
	v.countReused()
	return v.giveUp(start)
}

// committedAll notes that a commit has returned.
func (v *life) committedAll(start int, ride []uint64) {
	at := v.at()
	for s := len(v.numbers) - 1; s > 0 && v.numbers[s].committed == never; s-- {
		v.numbers[s].committed = at
	}
	if ride == nil {
		return
	}
	rides := make([]bool, len(v.numbers))
	for _, s := range ride {
		rides[s] = true
	}
	for s := range v.numbers {
		n := &v.numbers[s]
		switch {
		case rides[s]:
			n.rode = min(n.rode, start)
			if n.unsealed != never {
				n.sealed, n.unsealed = never, never
			}
			n.sealed = min(n.sealed, at)
		case n.sealed != never:
			n.unsealed = min(n.unsealed, start)
		}
	}
}

// lowest is what rides in a frame that is made now: the acknowledged numbers, as far as they are in 64 ranges above the position.
func (w *world) lowest() []uint64 {
	list := []uint64{}
	ranges := 0
	for s := 1; s < len(w.numbers); s++ {
		if !w.numbers[s].acking {
			continue
		}
		if s > 1 && !w.numbers[s-1].acking {
			if ranges++; ranges > 64 {
				return list
			}
		}
		list = append(list, uint64(s))
	}
	return list
}

// countReused notes files that began another life: a segment in a file that had another name.
func (v *life) countReused() {
	files, err := os.ReadDir(v.opts.Dir)
	if err != nil {
		return // it is only a count
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".spare") && !v.ids[f.Name()] {
			v.ids[f.Name()] = true
			v.reused++
		}
	}
}

// giveUp notes what the log has given up since start, and says what it must not have.
func (v *life) giveUp(start int) error {
	s := v.l.Stats().LostRecords
	lost := s[buffer.ReasonOverflow] + s[buffer.ReasonThinned]
	if lost == v.lost && lost > 0 {
		return nil
	}
	v.lost = lost
	return v.world.giveUp(v.l, start)
}

func (w *world) giveUp(l *buffer.Log, start int) error {
	r := l.Reader(0)
	defer r.Close()
	for {
		e, ok, err := r.TryNext()
		if !ok || err != nil {
			return err
		}
		if e.Lost == nil {
			continue
		}
		for s := e.Lost.From; s <= e.Lost.To && s < w.next(); s++ {
			n := &w.numbers[s]
			if n.hole || n.given != never {
				continue
			}
			switch {
			case e.Lost.Reason == buffer.ReasonOverflow:
				w.given++
			case e.Lost.Reason == buffer.ReasonThinned && w.opts.Overflow == buffer.Thin && s%10 != 0:
				w.thinned++
			default:
				return fmt.Errorf("while it runs, the log says of record %d: %+v", s, *e.Lost)
			}
			n.given = start
		}
	}
}

// take reads on.
func (v *life) take() error {
	for range v.rnd.IntN(80) {
		e, ok, err := v.reader.TryNext()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if e.Lost == nil {
			n := &v.numbers[e.Seq]
			if n.hole || n.data != string(e.Data) {
				return fmt.Errorf("record %d is not what was appended", e.Seq)
			}
			if n.settled(now) {
				return fmt.Errorf("record %d came again: its acknowledgement was committed", e.Seq)
			}
			if n.rode == never { // after another opening it may come again
				n.acked = never
			}
		}
		e.Data = nil
		v.read = append(v.read, e)
	}
	if v.rnd.IntN(2) == 0 && (!v.slow || v.rnd.IntN(3) == 0) {
		v.acknowledge()
	}
	return nil
}

// acknowledge acknowledges some of what was read.
func (v *life) acknowledge() {
	for range v.rnd.IntN(len(v.read) + 1) {
		e := v.read[0]
		v.read = v.read[1:]
		if v.rnd.IntN(10) == 0 || v.sparse && e.Seq%2 == 0 {
			continue
		}
		to := e.Seq
		if e.Lost != nil {
			to = e.Lost.To
		}
		at := v.at()
		v.l.Ack(e.Seq, to)
		for s := e.Seq; s <= to; s++ {
			n := &v.numbers[s]
			n.acked, n.acking = min(n.acked, at), true
		}
	}
}

// neighbour is another program on the same disk, which syncs: the journal commits what the buffer has renamed, or not.
func (v *life) neighbour() error {
	f, err := os.OpenFile(filepath.Join(v.dir, "neighbour"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 1+v.rnd.IntN(3000)))
	return errors.Join(err, f.Sync(), f.Close())
}
