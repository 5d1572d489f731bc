package buffer_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"obdagent/buffer"
)

// testSeed is the seed of a random test: a new one each time, or what OBDAGENT_TEST_SEED says, to see a failure again.
func testSeed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("OBDAGENT_TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("OBDAGENT_TEST_SEED: %v", err)
		}
	}
	t.Logf("replay with OBDAGENT_TEST_SEED=%d", seed)
	return seed
}

// testStates is how many power cuts TestPowerCuts makes; OBDAGENT_TEST_STATES sets it for longer runs.
func testStates(t testing.TB) int {
	t.Helper()
	s := os.Getenv("OBDAGENT_TEST_STATES")
	switch {
	case s == "" && testing.Short():
		return 500
	case s == "" && raceDetector:
		return 500 // it makes everything ten times slower, and finds nothing here: one goroutine writes
	case s == "":
		return 10_000
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("OBDAGENT_TEST_STATES: %v", err)
	}
	return n
}

// world is what the test knows of a log over several lives of its process. Nothing of it is asked of the log but the
// number that a life begins with.
type world struct {
	rnd     *rand.Rand
	opts    buffer.Options
	life    int
	content map[uint64]string // of every record appended that can still be there
	acked   map[uint64]bool
	next    uint64
	durable uint64          // everything below was covered by a commit that returned
	sealed  map[uint64]bool // of acked, what is in a frame that was synced for sure
	sealing map[uint64]bool // what is in the frames being written for sure
	riding  map[uint64]bool // what may be in a frame that was written
	rode    map[uint64]bool // what may be in a frame that was synced
	syncing bool            // a sync of such a frame was begun
	floor   uint64          // what is below and not acknowledged was given up, rightly
	thinned uint64          // what is below was thinned, rightly: of it every tenth record is kept

	peace   bool // the last life ended with Close
	sparse  bool // acknowledges every other record
	reading *reading

	states int
	torn   int // states with a torn frame
	given  int // segments given up with records in them
	thins  int // segments thinned
}

// reading is what was read and not acknowledged yet. It is acknowledged at any time, also while a commit is under way.
type reading struct {
	l       *buffer.Log
	entries []buffer.Entry
}

// acknowledge acknowledges some of what was read.
func (w *world) acknowledge() {
	r := w.reading
	for n := w.rnd.IntN(len(r.entries) + 1); n > 0; n-- {
		e := r.entries[0]
		r.entries = r.entries[1:]
		if w.rnd.IntN(10) == 0 || w.sparse && e.Seq%2 == 0 {
			continue
		}
		to := e.Seq
		if e.Lost != nil {
			to = e.Lost.To
		}
		r.l.Ack(e.Seq, to)
		for s := e.Seq; s <= to; s++ {
			w.acked[s] = true
		}
	}
}

// discarding is called before a segment loses its name. It says what is wrong with that, or notes what was given up. A
// segment may go when the acknowledgement of all in it was synced, or when there is no room, all in it is acknowledged, or
// it is the oldest where that is not so.
func (w *world) discarding(m *memFS, name string) (floor uint64, err error) {
	var first, id uint64
	if _, err := fmt.Sscanf(name, "%016x-%016x.", &first, &id); err != nil {
		return w.floor, err
	}
	thin := strings.HasSuffix(name, ".thin")
	next := w.durable // what is not committed is of no account
	oldest, kept := true, false
	total := int64(w.opts.SegmentBytes)
	for other, n := range m.names {
		total += int64(len(n.seen))
		var f, i uint64
		if !isSegment(other) || other == name {
			continue
		}
		if _, err := fmt.Sscanf(other, "%016x-%016x.", &f, &i); err != nil {
			return w.floor, err
		}
		if f == first && thin && strings.HasSuffix(other, ".seg") {
			return w.floor, nil // what it was to be made of is there
		}
		if f == first && strings.HasSuffix(other, ".thin") || f < first && strings.HasSuffix(other, ".thin") && !thin {
			kept = true // there is one that can have taken it over; whether it has is for the readers to find
		}
		if f > first || f == first && i > id && !strings.HasSuffix(other, ".thin") {
			next = min(next, f)
		}
	}
	for s := range w.content {
		if s >= w.floor && s < first && !w.acked[s] && (s >= w.thinned || s%10 == 0) {
			oldest = false
		}
	}
	for s := max(first, w.floor); s < next; s++ {
		if _, there := w.content[s]; !there || w.sealed[s] || w.rode[s] || w.acked[s] && total > w.opts.MaxBytes {
			continue
		}
		switch {
		case kept && w.opts.Overflow == buffer.Thin && total > w.opts.MaxBytes:
			w.thins++
			w.thinned = max(w.thinned, next)
			return w.floor, nil
		case thin && s%10 != 0:
			continue
		case total <= w.opts.MaxBytes:
			return w.floor, fmt.Errorf("%s is given up with record %d in it: %d of %d bytes are used", name, s, total, w.opts.MaxBytes)
		case !oldest:
			return w.floor, fmt.Errorf("%s is given up with record %d in it, and is not the oldest", name, s)
		}
		w.given++
		return next, nil
	}
	return w.floor, nil
}

// watch looks at everything that is done to m, and asks at before each change, with the state of the world as it is then.
func (w *world) watch(m *memFS, at func() error) (failed *error) {
	failed = new(error)
	m.before = func(op, name string) {
		if *failed != nil {
			return
		}
		if w.syncing {
			w.sealed, w.rode, w.syncing = w.sealing, w.riding, false
		}
		if op == "write" && strings.HasSuffix(name, ".seg") {
			w.riding = w.lowest64()
		}
		if at != nil {
			if err := at(); err != nil {
				*failed = fmt.Errorf("life %d, cut before %s of %s: %w", w.life, op, name, err)
				return
			}
		}
		if (op == "rename" || op == "remove") && isSegment(name) {
			floor, err := w.discarding(m, name)
			if err != nil {
				*failed = fmt.Errorf("life %d: %w", w.life, err)
			}
			w.floor = floor
		}
		w.syncing = op == "sync" && strings.HasSuffix(name, ".seg") && w.sealing != nil
	}
	return failed
}

// seal is called before a commit that writes a frame.
func (w *world) seal() { w.sealing = w.lowest64() }

// lowest64 is what rides in a frame that is made now.
func (w *world) lowest64() map[uint64]bool {
	m := map[uint64]bool{}
	ranges := 0
	for s := uint64(1); s < w.next; s++ {
		if !w.acked[s] {
			continue
		}
		if s > 1 && !w.acked[s-1] {
			if ranges++; ranges > 64 {
				return m
			}
		}
		m[s] = true
	}
	return m
}

// committed is called when a commit has returned.
func (w *world) committed() {
	if w.durable = w.next; w.sealing != nil {
		w.sealed, w.rode, w.sealing, w.syncing = w.sealing, w.riding, nil, false
	}
}

// fork is the world as it is, for a life that is only tried.
func (w *world) fork() *world {
	c := *w
	c.peace = false
	c.content, c.acked = maps.Clone(w.content), maps.Clone(w.acked)
	return &c
}

// check opens the directory, looks for everything that has to be there, and lives on for one more record.
func (w *world) check(image *memFS) error {
	w.sealing = nil // Open syncs too, and that seals nothing of the last life
	failed := w.watch(image, nil)
	l, err := buffer.OpenOn(image, w.opts)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if err := w.reopened(l); err != nil {
		return err
	}
	// A second life appends; all that was there has to be there still, and the new record too.
	seq, err := l.Append([]byte("second life"))
	if err != nil || seq != w.next {
		return fmt.Errorf("append after the cut: %d, %w, want %d", seq, err, w.next)
	}
	w.content[seq] = "second life"
	w.next++
	w.seal()
	if err := l.Commit(); err != nil {
		return fmt.Errorf("commit after the cut: %w", err)
	}
	w.committed()
	w.seal()
	if err := l.Close(); err != nil {
		return fmt.Errorf("close after the cut: %w", err)
	}
	w.committed()
	if *failed != nil {
		return *failed
	}
	if l, err = buffer.OpenOn(image, w.opts); err != nil {
		return fmt.Errorf("second open: %w", err)
	}
	if _, _, err = w.readAll(l); err != nil {
		return fmt.Errorf("second open: %w", err)
	}
	return l.Close()
}

// reopened reads everything after an open, and takes over what was not promised and is there all the same.
func (w *world) reopened(l *buffer.Log) error {
	next := l.Stats().NextSeq
	if next < w.durable {
		return fmt.Errorf("next number is %d again, %d were committed", next, w.durable-1)
	}
	got, lost, err := w.readAll(l)
	if err != nil {
		return err
	}
	// What is handed out again is not acknowledged for the log, whatever it was before.
	for s := range got {
		delete(w.acked, s)
	}
	for _, x := range lost {
		for s := x.From; s <= x.To; s++ {
			delete(w.acked, s)
			delete(w.content, s)
		}
	}
	for s := range w.content {
		if s >= next || s >= w.durable && !got[s] && !w.acked[s] {
			delete(w.content, s)
			delete(w.acked, s)
		}
	}
	w.sealed = maps.Clone(w.acked)
	w.rode, w.riding = w.sealed, nil
	w.next, w.durable, w.sealing, w.syncing, w.peace = next, next, nil, false, false
	return nil
}

// readAll reads everything, and checks that it comes in order and is what was appended, that all that was committed is
// there, that nothing is lost but what was given up or not committed, and that nothing comes again after its
// acknowledgement was committed.
func (w *world) readAll(l *buffer.Log) (got map[uint64]bool, lost []buffer.Lost, err error) {
	got = make(map[uint64]bool, len(w.content))
	last := uint64(0)
	r := l.Reader(0)
	defer r.Close()
	for {
		e, ok, err := r.TryNext()
		if err != nil {
			return nil, nil, fmt.Errorf("read: %w", err)
		}
		if !ok {
			break
		}
		if e.Seq <= last {
			return nil, nil, fmt.Errorf("%d came after %d", e.Seq, last)
		}
		if w.sealed[e.Seq] && (w.riding == nil || w.riding[e.Seq]) {
			return nil, nil, fmt.Errorf("%d came again; its acknowledgement was committed", e.Seq)
		}
		last = e.Seq
		if e.Lost != nil {
			last = e.Lost.To
			lost = append(lost, *e.Lost)
			switch {
			case e.Lost.Reason == buffer.ReasonTorn && e.Lost.From >= w.durable:
				if w.torn++; w.peace {
					return nil, nil, fmt.Errorf("%+v: the log had been closed", *e.Lost)
				}
				continue
			case e.Lost.Reason == buffer.ReasonTorn && w.tornBefore(e.Lost): // word of it was not acknowledged yet
				continue
			case e.Lost.Reason == buffer.ReasonOverflow && w.gone(e.Lost):
				continue
			case e.Lost.Reason == buffer.ReasonThinned && w.passed(e.Lost):
				continue
			}
			return nil, nil, fmt.Errorf("%+v: committed below %d, given up below %d", *e.Lost, w.durable, w.floor)
		}
		if want, there := w.content[e.Seq]; !there || string(e.Data) != want {
			return nil, nil, fmt.Errorf("record %d is %q, want %q", e.Seq, e.Data, want)
		}
		got[e.Seq] = true
	}
	for s := range w.content {
		if s >= w.floor && s < w.durable && !got[s] && !w.acked[s] && (s >= w.thinned || s%10 == 0) {
			return nil, nil, fmt.Errorf("record %d is missing; %d were committed, %d and less given up", s, w.durable-1, w.floor)
		}
	}
	return got, lost, nil
}

// tornBefore says whether none of these numbers has a record, since an earlier cut.
func (w *world) tornBefore(lost *buffer.Lost) bool {
	for s := lost.From; s <= lost.To; s++ {
		if _, there := w.content[s]; there {
			return false
		}
	}
	return true
}

// gone says whether each of these numbers was given up or acknowledged, or never had a record.
func (w *world) gone(lost *buffer.Lost) bool {
	for s := lost.From; s <= lost.To; s++ {
		if _, there := w.content[s]; there && s >= w.floor && !w.acked[s] {
			return false
		}
	}
	return true
}

// passed says whether each of these numbers is one that thinning need not keep, or never had a record. Of those that it has to
// keep one may be missing whose acknowledgement may have been committed; in memory it does not count.
func (w *world) passed(lost *buffer.Lost) bool {
	for s := lost.From; s <= lost.To; s++ {
		if _, there := w.content[s]; !there || s < w.floor || w.acked[s] && (s%10 != 0 || w.rode[s]) {
			continue
		}
		if s >= w.thinned || s%10 == 0 {
			return false
		}
	}
	return true
}

// isSegment says whether a file has records that count.
func isSegment(name string) bool {
	return (strings.HasSuffix(name, ".seg") || strings.HasSuffix(name, ".thin")) && !strings.Contains(name, "/")
}

// live runs one life of the process and returns the directory that a power cut leaves at some moment of it, and the world
// as it was then.
func (w *world) live(m *memFS, steps, cutEvery int) (*memFS, *world, error) {
	w.life++
	w.reading, w.sealing = nil, nil
	var image *memFS
	var then *world
	failed := w.watch(m, func() error {
		if w.reading != nil && !w.sparse && w.rnd.IntN(4) == 0 {
			w.acknowledge()
		}
		if w.rnd.IntN(cutEvery) > 0 {
			return nil
		}
		image, then = m.cut(w.rnd), w.fork()
		w.states++
		now := w.fork()
		err := now.check(image.copyAll())
		w.torn, w.given, w.thins = now.torn, now.given, now.thins
		return err
	})
	l, err := buffer.OpenOn(m, w.opts)
	if err != nil {
		return nil, nil, fmt.Errorf("open life %d: %w", w.life, err)
	}
	if err := w.reopened(l); err != nil {
		return nil, nil, fmt.Errorf("life %d: %w", w.life, err)
	}
	w.reading = &reading{l: l}
	reader := l.Reader(0)
	defer func() { reader.Close() }()
	for range steps {
		var err error
		switch w.rnd.IntN(8) {
		case 0, 1, 2:
			err = w.append(l)
		case 3, 4, 5:
			err = w.commit(l)
		case 6:
			if err = w.read(reader); w.rnd.IntN(2) == 0 {
				w.acknowledge()
			}
		case 7:
			if s := l.Stats(); s.Bytes > s.MaxBytes {
				err = fmt.Errorf("%d bytes on disk, %d allowed", s.Bytes, s.MaxBytes)
			}
			if w.rnd.IntN(4) == 0 {
				reader.Close()
				reader = l.Reader(0)
			}
		}
		if err = cmp.Or(*failed, err); err != nil {
			return nil, nil, fmt.Errorf("life %d: %w", w.life, err)
		}
	}
	w.seal()
	if err := cmp.Or(l.Close(), *failed); err != nil {
		return nil, nil, fmt.Errorf("close: %w", err)
	}
	w.committed()
	if image == nil || w.rnd.IntN(4) == 0 { // the process ended in peace
		w.states++
		image, then = m.copyAll(), w
		w.peace = true
	}
	states, torn, given, thins, life := w.states, w.torn, w.given, w.thins, w.life
	*w = *then
	w.states, w.torn, w.given, w.thins, w.life = states, torn, given, thins, life
	return image, w, nil
}

func (w *world) append(l *buffer.Log) error {
	for range 1 + w.rnd.IntN(12) {
		data := fmt.Sprintf("life %d record %d %s", w.life, w.next, strings.Repeat(strconv.Itoa(w.rnd.IntN(10)), w.rnd.IntN(300)))
		if w.rnd.IntN(3) == 0 {
			b := make([]byte, w.rnd.IntN(800)) // what does not compress
			for i := range b {
				b[i] = byte(w.rnd.Uint32())
			}
			data = string(b)
		}
		w.content[w.next] = data
		seq, err := l.Append([]byte(data))
		if err != nil || seq != w.next {
			return fmt.Errorf("append: %d, %w, want %d", seq, err, w.next)
		}
		w.next++
	}
	return nil
}

func (w *world) commit(l *buffer.Log) error {
	if w.next > w.durable { // else no frame is written that the acknowledgement could ride in
		w.seal()
	}
	if err := l.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	w.committed()
	return nil
}

func (w *world) read(r *buffer.Reader) error {
	for range w.rnd.IntN(60) {
		e, ok, err := r.TryNext()
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if !ok {
			break
		}
		if e.Lost == nil && string(e.Data) != w.content[e.Seq] {
			return fmt.Errorf("record %d is %q, want %q", e.Seq, e.Data, w.content[e.Seq])
		}
		e.Data = nil
		w.reading.entries = append(w.reading.entries, e)
	}
	return nil
}

// TestPowerCuts lets logs live and cuts the power before any operation that changes something. What was not synced is
// there, or not, or in part, sector by sector and name by name.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	seed := testSeed(t)
	want := testStates(t)
	states, torn, given, thins := 0, 0, 0, 0
	for n := uint64(0); states < want; n++ {
		w := &world{
			rnd:     rand.New(rand.NewPCG(seed, n)),
			content: map[uint64]string{},
			acked:   map[uint64]bool{},
			next:    1, durable: 1, floor: 1,
			opts: buffer.Options{Dir: "test", SegmentBytes: 8 << 10, MaxBytes: 1 << 20},
		}
		if n%3 == 1 {
			w.opts.MaxBytes = 5 * 8 << 10
		}
		if n%3 == 2 {
			w.opts.MaxBytes, w.opts.Overflow = 7*8<<10, buffer.Thin
		}
		w.sparse = n%4 == 3
		image := newMemFS()
		for range 6 {
			var err error
			if image, _, err = w.live(image, 40, 3); err != nil {
				t.Fatalf("run %d: %v", n, err)
			}
		}
		states += w.states
		torn += w.torn
		given += w.given
		thins += w.thins
	}
	t.Logf("%d power cuts, %d torn frames, %d segments given up, %d thinned", states, torn, given, thins)
	// A few hundred states are some ten logs, of which each may be spared the one or the other.
	if want >= 10_000 && (torn == 0 || given == 0 || thins == 0) || want >= 500 && torn+given+thins == 0 {
		t.Error("no frame was torn, or no segment given up or thinned: the test does not do what it should")
	}
}
