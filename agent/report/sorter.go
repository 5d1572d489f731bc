package report

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

const (
	// sortMemory is what all chunks of one sorter hold together. Two sorters are at work at a time.
	sortMemory = 8 << 20
	// fanIn is how many runs are merged at once; each has a buffer of runBuffer.
	fanIn       = 128
	runBuffer   = 16 << 10
	writeBuffer = 64 << 10
	wordSize    = 8
	// A context is looked at once per so many rows.
	rowsPerContextCheck = 1 << 16
)

// A TempError says that a temporary file failed: most often its disk is full.
type TempError struct {
	Dir string
	Err error
}

// Error names the directory.
func (e TempError) Error() string { return fmt.Sprintf("temporary files in %s: %v", e.Dir, e.Err) }

// Unwrap returns the cause.
func (e TempError) Unwrap() error { return e.Err }

// A sorter puts rows in order, more of them than fit into memory. A row is a fixed number of words; the order is that of the
// first word, then of the second, and so on.
//
// Rows are collected in chunks. A full chunk is sorted and appended to a temporary file as a run; fanIn runs of one level are
// merged to one run of the next, so that neither open files nor buffers grow with the rows. What never filled a chunk stays in
// memory. The files have no name any more once they are open: whatever ends the process, nothing is left behind.
type sorter struct {
	width int    // words a row
	dir   string // of temporary files

	mu     sync.Mutex
	levels []*level
	kept   []*chunk // sorted, in memory
}

// A level is a file of sorted runs.
type level struct {
	file *os.File
	out  *bufio.Writer
	name string // if the system would not take it from the open file
	size int64
	runs []span
}

// A span is a run's place in its file.
type span struct{ offset, length int64 }

func newSorter(width int, dir string) *sorter { return &sorter{width: width, dir: dir} }

// A chunk collects rows of one writer.
type chunk struct {
	s     *sorter
	max   int // rows
	words []uint64
	order []place
}

// A place is a row of a chunk and its first word, which mostly decides.
type place struct {
	key uint64
	row uint32
}

// chunk returns a new writer; share is its part of the memory.
func (s *sorter) chunk(share int) *chunk {
	return &chunk{s: s, max: max(1, sortMemory/share/(s.width*wordSize))}
}

// next returns the row to fill.
func (c *chunk) next() ([]uint64, error) {
	width := c.s.width
	if len(c.words) == c.max*width {
		if err := c.s.spill(c); err != nil {
			return nil, err
		}
		c.words = c.words[:0]
	}
	n := len(c.words)
	if n+width > cap(c.words) {
		// At most double, and never more than can be filled.
		c.words = slices.Grow(c.words, min(max(n, 64*width), c.max*width-n))
	}
	c.words = c.words[:n+width]
	return c.words[n : n+width : n+width], nil
}

// done keeps what the chunk holds for the merge.
func (c *chunk) done() {
	if len(c.words) == 0 {
		return
	}
	c.sort()
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.kept = append(c.s.kept, c)
}

func (c *chunk) row(i uint32) []uint64 {
	w := c.s.width
	return c.words[int(i)*w : int(i)*w+w]
}

func (c *chunk) sort() {
	n := len(c.words) / c.s.width
	if cap(c.order) < n {
		c.order = make([]place, 0, n)
	}
	c.order = c.order[:0]
	for i := range n {
		c.order = append(c.order, place{c.words[i*c.s.width], uint32(i)})
	}
	slices.SortFunc(c.order, func(a, b place) int {
		if a.key != b.key {
			return cmp.Compare(a.key, b.key)
		}
		return slices.Compare(c.row(a.row), c.row(b.row))
	})
}

// spill sorts a chunk and writes it as a run.
func (s *sorter) spill(c *chunk) error {
	c.sort()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(0, func(w *rowWriter) error {
		for _, p := range c.order {
			if err := w.write(c.row(p.row)); err != nil {
				return err
			}
		}
		return nil
	})
}

// write appends a run to a level; a level that is full becomes a run of the next.
func (s *sorter) write(n int, fill func(*rowWriter) error) error {
	if n == len(s.levels) {
		l, err := newLevel(s.dir)
		if err != nil {
			return TempError{s.dir, err}
		}
		s.levels = append(s.levels, l)
	}
	l := s.levels[n]
	l.out.Reset(io.NewOffsetWriter(l.file, l.size))
	w := rowWriter{w: l.out, dir: s.dir}
	if err := fill(&w); err != nil {
		return err
	}
	if err := w.w.Flush(); err != nil {
		return TempError{s.dir, err}
	}
	l.runs = append(l.runs, span{l.size, w.n})
	l.size += w.n
	if len(l.runs) < fanIn {
		return nil
	}
	err := s.write(n+1, func(w *rowWriter) error {
		return merge(s.cursors(l), func(row []uint64) error { return w.write(row) })
	})
	if err != nil {
		return err
	}
	l.runs, l.size = l.runs[:0], 0
	if err := l.file.Truncate(0); err != nil {
		return TempError{s.dir, err}
	}
	return nil
}

func newLevel(dir string) (*level, error) {
	f, err := os.CreateTemp(dir, "obdfleet-*.tmp")
	if err != nil {
		return nil, err
	}
	l := &level{file: f, out: bufio.NewWriterSize(nil, writeBuffer)}
	if os.Remove(f.Name()) != nil { // not every system takes an open file's name
		l.name = f.Name()
	}
	return l, nil
}

// close gives the files' space back.
func (s *sorter) close() {
	for _, l := range s.levels {
		// All that was wanted has been read, or is not wanted any more.
		_ = l.file.Close()
		if l.name != "" {
			_ = os.Remove(l.name)
		}
	}
	s.levels, s.kept = nil, nil
}

type rowWriter struct {
	w   *bufio.Writer
	n   int64
	dir string
}

func (w *rowWriter) write(row []uint64) error {
	b := w.w.AvailableBuffer()
	for _, x := range row {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	if _, err := w.w.Write(b); err != nil {
		return TempError{w.dir, err}
	}
	w.n += int64(len(b))
	return nil
}

// each calls visit with all rows in order. The row is valid during the call. Nothing can be added afterwards.
func (s *sorter) each(ctx context.Context, visit func(row []uint64) error) error {
	var all []*cursor
	for _, l := range s.levels {
		all = append(all, s.cursors(l)...)
	}
	for _, c := range s.kept {
		all = append(all, &cursor{chunk: c})
	}
	n := 0
	return merge(all, func(row []uint64) error {
		if n++; n%rowsPerContextCheck == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return visit(row)
	})
}

func (s *sorter) cursors(l *level) []*cursor {
	all := make([]*cursor, len(l.runs))
	for i, r := range l.runs {
		all[i] = &cursor{
			row: make([]uint64, s.width), bytes: make([]byte, s.width*wordSize), dir: s.dir,
			in: bufio.NewReaderSize(io.NewSectionReader(l.file, r.offset, r.length), runBuffer),
		}
	}
	return all
}

// A cursor stands on a row of a run, in a file or in a chunk.
type cursor struct {
	row []uint64

	in    *bufio.Reader
	bytes []byte
	dir   string

	chunk *chunk
	next  int
}

// advance goes to the next row, and says whether there is one.
func (c *cursor) advance() (bool, error) {
	if c.chunk != nil {
		if c.next == len(c.chunk.order) {
			return false, nil
		}
		c.row = c.chunk.row(c.chunk.order[c.next].row)
		c.next++
		return true, nil
	}
	if _, err := io.ReadFull(c.in, c.bytes); err != nil {
		if err == io.EOF {
			return false, nil
		}
		return false, TempError{c.dir, err}
	}
	for i := range c.row {
		c.row[i] = binary.LittleEndian.Uint64(c.bytes[i*wordSize:])
	}
	return true, nil
}

// merge visits the rows of all runs in order, with a heap of cursors.
func merge(runs []*cursor, visit func([]uint64) error) error {
	heap := make([]*cursor, 0, len(runs))
	for _, c := range runs {
		more, err := c.advance()
		if err != nil {
			return err
		}
		if more {
			heap = append(heap, c)
		}
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		sink(heap, i)
	}
	for len(heap) > 0 {
		if err := visit(heap[0].row); err != nil {
			return err
		}
		more, err := heap[0].advance()
		if err != nil {
			return err
		}
		if !more {
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
		}
		sink(heap, 0)
	}
	return nil
}

// sink puts the cursor at i where it belongs among those below it.
func sink(heap []*cursor, i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(heap) && before(heap[child].row, heap[least].row) {
				least = child
			}
		}
		if least == i {
			return
		}
		heap[i], heap[least] = heap[least], heap[i]
		i = least
	}
}

func before(a, b []uint64) bool {
	for i, x := range a {
		if y := b[i]; x != y {
			return x < y
		}
	}
	return false
}
