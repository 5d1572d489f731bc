package main

import (
	"math/rand/v2"
	"sync"
)

const (
	sectorBytes = 512  // what storage writes whole or not at all
	blockBytes  = 4096 // of the file system
)

// An event is a write of the disk or, without bytes, a flush.
type event struct {
	off  int64
	data []byte
}

func (e event) flush() bool { return e.data == nil }

// image is what is on a disk: a base that does not change, and the blocks that were written since. It may be used from any
// goroutine.
type image struct {
	mu        sync.Mutex
	base      []byte
	over      map[int64][]byte // by number of the block
	recording bool
	events    []event
}

// load puts other content onto the disk.
func (m *image) load(base []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.base, m.over, m.events, m.recording = base, map[int64][]byte{}, nil, false
}

// record begins to note what is written.
func (m *image) record() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recording = true
}

// stop ends that and returns the notes.
func (m *image) stop() []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recording = false
	return m.events
}

// position is how many events there were.
func (m *image) position() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.events)
}

func (m *image) readAt(b []byte, off int64) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off >= int64(len(m.base)) {
		return 0
	}
	n := copy(b, m.base[off:])
	for at := off; at < off+int64(n); at = (at/blockBytes + 1) * blockBytes {
		if block := m.over[at/blockBytes]; block != nil {
			copy(b[at-off:n], block[at%blockBytes:])
		}
	}
	return n
}

// writeAt takes over b, and keeps none of it. It says how much of it is within the disk.
func (m *image) writeAt(b []byte, off int64) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off >= int64(len(m.base)) {
		return 0
	}
	b = b[:min(int64(len(b)), int64(len(m.base))-off)]
	if m.recording && len(b) > 0 {
		m.events = append(m.events, event{off, append(make([]byte, 0, len(b)), b...)})
	}
	put(m.base, m.over, b, off)
	return len(b)
}

func (m *image) flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.recording {
		m.events = append(m.events, event{})
	}
}

// put writes into the blocks over a base.
func put(base []byte, over map[int64][]byte, b []byte, off int64) {
	for len(b) > 0 {
		n := off / blockBytes
		block := over[n]
		if block == nil {
			block = make([]byte, blockBytes)
			copy(block, base[n*blockBytes:])
			over[n] = block
		}
		done := copy(block[off%blockBytes:], b)
		b, off = b[done:], off+int64(done)
	}
}

// flat is a base with the blocks over it.
func flat(base []byte, over map[int64][]byte) []byte {
	b := append(make([]byte, 0, len(base)), base...)
	for n, block := range over {
		copy(b[n*blockBytes:], block)
	}
	return b
}

// A cutMode says what is left of the writes since the last flush.
type cutMode int

const (
	cutNone    cutMode = iota
	cutAll             // of them
	cutFirst           // of them, in their order
	cutAny             // of them
	cutBlocks          // any blocks of any of them
	cutSectors         // any sectors of any of them
	cutModes
)

var cutModeNames = [...]string{"none of the unflushed writes", "all unflushed writes", "the first unflushed writes", "any unflushed writes", "any blocks of the unflushed writes", "any sectors of the unflushed writes"}

// cut returns the blocks that the writes since the last flush leave over a base that has all before. Where two of them went to one
// place either may be there. The first block of the disk is not torn: it holds the superblock of ext4, two sectors with one
// checksum, without which no ext4 can be mounted.
func cut(base []byte, writes []event, mode cutMode, rnd *rand.Rand) map[int64][]byte {
	over := map[int64][]byte{}
	first := rnd.IntN(len(writes) + 1)
	for i, w := range writes {
		if mode == cutNone || mode == cutFirst && i >= first || mode == cutAny && rnd.IntN(2) == 0 {
			continue
		}
		unit := int64(0)
		switch mode {
		case cutBlocks:
			unit = blockBytes
		case cutSectors:
			unit = sectorBytes
		}
		if unit == 0 {
			put(base, over, w.data, w.off)
			continue
		}
		for at := int64(0); at < int64(len(w.data)); {
			step := unit
			if w.off+at < blockBytes {
				step = blockBytes
			}
			stop := min(int64(len(w.data)), ((w.off+at)/step+1)*step-w.off)
			if rnd.IntN(2) == 0 {
				put(base, over, w.data[at:stop], w.off+at)
			}
			at = stop
		}
	}
	return over
}
