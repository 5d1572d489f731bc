package buffer_test

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"

	"obdagent/buffer"
)

const sector = 512

// memFS is a directory in memory that knows what would survive a power cut, and fails when it is told to.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*inode // what the process sees
	durable map[string]*inode // what is there after a power cut for sure
	pending []dirOp           // since the last SyncDir
	locked  bool

	// fail is asked before each operation ("create", "write", ...) and may return an error instead. A failing write
	// still writes a part, and a failing sync leaves it open what is durable.
	fail func(op, name string) error
	// before is called before each operation that changes something, with mu held.
	before func(op, name string)
	syncs  int
}

type dirOp struct {
	op       string // create, rename, remove
	from, to string
	node     *inode
}

// inode is the content of a file: as durable, as seen, and the writes between.
type inode struct {
	durable []byte
	seen    []byte
	writes  []write
}

type write struct {
	off  int64
	data []byte
}

func newMemFS() *memFS {
	return &memFS{names: map[string]*inode{}, durable: map[string]*inode{}}
}

func (m *memFS) check(op, name string) error {
	if m.before != nil && op != "open" && op != "read" && op != "readdir" && op != "stat" {
		m.before(op, name)
	}
	if m.fail != nil {
		if err := m.fail(op, name); err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	return nil
}

type memLock struct{ m *memFS }

func (l memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.locked = false
	return nil
}

func (m *memFS) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, buffer.ErrLocked
	}
	if m.fail != nil {
		if err := m.fail("lock", name); err != nil {
			return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
		}
	}
	m.locked = true
	m.names[name], m.durable[name] = &inode{}, &inode{}
	return memLock{m}, nil
}

func (m *memFS) ReadDir(sub string) ([]buffer.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("readdir", "."); err != nil {
		return nil, err
	}
	var list []buffer.FileInfo
	for name, n := range m.names {
		dir, base := path.Split(name)
		if dir = strings.TrimSuffix(dir, "/"); dir != sub {
			continue
		}
		name = base
		list = append(list, buffer.FileInfo{Name: name, Size: int64(len(n.seen))})
	}
	return list, nil
}

func (m *memFS) Names() ([]string, error) {
	list, err := m.ReadDir("")
	var names []string
	for _, f := range list {
		names = append(names, f.Name)
	}
	return names, err
}

func (m *memFS) Size(name string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("stat", name); err != nil {
		return 0, err
	}
	n := m.names[name]
	if n == nil {
		return 0, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return int64(len(n.seen)), nil
}

func (m *memFS) Create(name string) (buffer.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("create", name); err != nil {
		return nil, err
	}
	if m.names[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	n := &inode{}
	m.names[name] = n
	m.pending = append(m.pending, dirOp{op: "create", to: name, node: n})
	return &memFile{m: m, n: n, name: name, write: true}, nil
}

func (m *memFS) Open(name string, write bool) (buffer.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("open", name); err != nil {
		return nil, err
	}
	n := m.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memFile{m: m, n: n, name: name, write: write}, nil
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("rename", from); err != nil {
		return err
	}
	n := m.names[from]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	delete(m.names, from)
	m.names[to] = n
	m.pending = append(m.pending, dirOp{op: "rename", from: from, to: to, node: n})
	return nil
}

func (m *memFS) Link(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("link", from); err != nil {
		return err
	}
	n := m.names[from]
	switch {
	case n == nil:
		return &fs.PathError{Op: "link", Path: from, Err: fs.ErrNotExist}
	case m.names[to] != nil:
		return &fs.PathError{Op: "link", Path: to, Err: fs.ErrExist}
	}
	m.names[to] = n
	m.pending = append(m.pending, dirOp{op: "create", to: to, node: n})
	return nil
}

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("remove", name); err != nil {
		return err
	}
	if m.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(m.names, name)
	m.pending = append(m.pending, dirOp{op: "remove", from: name})
	return nil
}

func (m *memFS) SyncDir() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("syncdir", "."); err != nil {
		return err
	}
	m.durable = maps.Clone(m.names)
	m.pending = nil
	return nil
}

type memFile struct {
	m      *memFS
	n      *inode
	name   string
	write  bool
	closed bool
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.check("read", f.name); err != nil {
		return 0, err
	}
	if off >= int64(len(f.n.seen)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.seen[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if !f.write || f.closed {
		return 0, fmt.Errorf("write %s: %w", f.name, fs.ErrPermission)
	}
	err := f.m.check("write", f.name)
	if err != nil {
		b = b[:len(b)/2/sector*sector]
	}
	f.n.seen = overwrite(f.n.seen, b, off)
	f.n.writes = append(f.n.writes, write{off, slices.Clone(b)})
	return len(b), err
}

func overwrite(to, b []byte, off int64) []byte {
	if need := int(off) + len(b); need > len(to) {
		to = append(to, make([]byte, need-len(to))...)
	}
	copy(to[off:], b)
	return to
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.check("sync", f.name); err != nil {
		return err
	}
	f.m.syncs++
	for _, w := range f.n.writes {
		f.n.durable = overwrite(f.n.durable, w.data, w.off)
	}
	f.n.writes = nil
	return nil
}

func (f *memFile) Close() error { f.closed = true; return nil }

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.seen)), nil
}

// copyAll is the directory as the process sees it, all durable, in memory of its own.
func (m *memFS) copyAll() *memFS {
	c := newMemFS()
	for name, n := range m.names {
		b := slices.Clone(n.seen)
		c.names[name] = &inode{seen: b, durable: slices.Clone(b)}
	}
	c.durable = maps.Clone(c.names)
	return c
}

// cut is the directory after a power cut now: unsynced operations on the directory and writes to files are there, or
// not, or the sectors of writes in part, as rnd decides. m.mu is held, or m is not in use.
func (m *memFS) cut(rnd *rand.Rand) *memFS {
	names := maps.Clone(m.durable)
	mode := rnd.IntN(4) // none, all, a prefix, any of them
	prefix := rnd.IntN(len(m.pending) + 1)
	for i, op := range m.pending {
		if mode == 0 || mode == 2 && i >= prefix || mode == 3 && rnd.IntN(2) == 0 {
			continue
		}
		switch op.op {
		case "create":
			names[op.to] = op.node
		case "rename":
			if names[op.from] == op.node { // else the name it came from never got there
				delete(names, op.from)
				names[op.to] = op.node
			}
		case "remove":
			delete(names, op.from)
		}
	}
	c := newMemFS()
	after := map[*inode]*inode{}                           // a file of two names is one still
	for _, name := range slices.Sorted(maps.Keys(names)) { // in order, so that a seed gives the same cut again
		n := names[name]
		if after[n] == nil {
			b := n.cut(rnd)
			after[n] = &inode{seen: b, durable: slices.Clone(b)}
		}
		c.names[name] = after[n]
	}
	c.durable = maps.Clone(c.names)
	return c
}

func (n *inode) cut(rnd *rand.Rand) []byte {
	b := slices.Clone(n.durable)
	mode := rnd.IntN(4) // none, all, a prefix of the writes, any sectors
	prefix := rnd.IntN(len(n.writes) + 1)
	for i, w := range n.writes {
		if mode == 0 || mode == 2 && i >= prefix {
			continue
		}
		for at := int64(0); at < int64(len(w.data)); {
			stop := min(int64(len(w.data)), ((w.off+at)/sector+1)*sector-w.off)
			if mode != 3 || rnd.IntN(2) == 0 {
				b = overwrite(b, w.data[at:stop], w.off+at)
			}
			at = stop
		}
	}
	return b
}
