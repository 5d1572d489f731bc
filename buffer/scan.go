package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// scanWindow is how much of a segment is read at once.
const scanWindow = 64 << 10

// scanner finds the frames of one segment, and finds its way on behind damage.
type scanner struct {
	name  string // of the segment, for errors
	r     io.ReaderAt
	id    uint64
	limit int64 // bytes from here on are not looked at

	hops bool  // only headers are asked for: of large frames the rest need not be read
	last int64 // bytes of the frame found last, 0 if there was none right before

	blind bool  // what can not be read counts as damage
	dark  int64 // where the last such place ends

	off   int64 // where the next frame is expected
	win   []byte
	winAt int64
}

// start begins a scan behind the segment header.
func (s *scanner) start(name string, r io.ReaderAt, id uint64, limit int64) {
	s.name, s.r, s.id, s.limit = name, r, id, limit
	s.off = framePlace(segmentHeaderBytes)
	s.win, s.winAt = s.win[:0], 0
	s.hops, s.last = false, 0
	s.blind, s.dark = false, 0
}

// next returns the header of the next frame and where it begins. ok is false if there is none before limit. skipped
// tells that bytes were passed over that are no frame of this segment. An error is one of reading, or ErrFormat.
func (s *scanner) next() (h frameHeader, at int64, skipped, ok bool, err error) {
	for at = framePlace(s.off); at+frameHeaderBytes <= s.limit; {
		var b []byte
		if b, err = s.bytes(at, frameHeaderBytes); err != nil {
			return h, at, skipped, false, err
		}
		if h, ok = parseFrameHeader(b); ok && h.id == s.id {
			if err = h.known(s.name, at); err != nil {
				return h, at, skipped, false, err
			}
			s.off = min(at+frameHeaderBytes+int64(h.body), s.limit)
			s.last = s.off - at
			return h, at, skipped, true, nil
		}
		skipped, s.last = true, 0
		at += s.toMagic(at + frameAlign)
	}
	return h, at, skipped, false, nil
}

// toMagic returns how far it is from the place before from to the next one that could be a frame, within what is in
// memory: most of a segment's free room is zeros.
func (s *scanner) toMagic(from int64) int64 {
	step := int64(frameAlign)
	lo := from - s.winAt
	if lo < 0 || lo >= int64(len(s.win)) {
		return step
	}
	i := bytes.IndexByte(s.win[lo:], frameMagic[0])
	if i < 0 {
		i = len(s.win[lo:])
	}
	return step + int64(i)/frameAlign*frameAlign
}

// body returns the stored bytes of a frame found by next, valid until the next call of next or body; nil if the frame
// claims more than the segment has.
func (s *scanner) body(h *frameHeader, at int64) ([]byte, error) {
	if at+frameHeaderBytes+int64(h.body) > s.limit {
		return nil, nil
	}
	return s.bytes(at+frameHeaderBytes, int(h.body))
}

// bytes returns n bytes at off, which end before limit.
func (s *scanner) bytes(off int64, n int) ([]byte, error) {
	if off < s.winAt || off+int64(n) > s.winAt+int64(len(s.win)) {
		window := int64(scanWindow)
		if s.hops && s.last > pageBytes {
			window = pageBytes
		}
		size := int(min(max(window, int64(n)), s.limit-off))
		if cap(s.win) < size {
			s.win = make([]byte, size)
		}
		s.win, s.winAt = s.win[:size], off
		if err := readAround(s.r, s.win, off); err != nil {
			if !s.blind {
				s.win = s.win[:0]
				return nil, fmt.Errorf("read segment %s: %w", s.name, err)
			}
			clear(s.win)
			s.dark = off + int64(size)
		}
	}
	return s.win[off-s.winAt:][:n], nil
}

// readAround reads b at off. What lies behind the end of the file, and pages that a disk can not read while it can read
// others around, become zeros: no frame is made of zeros, so they count as damage. If nothing can be read it is not the
// page but the disk, and that is an error.
func readAround(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if err == nil || errors.Is(err, io.EOF) {
		clear(b[n:])
		return nil
	}
	good := false
	for at := 0; at < len(b); {
		stop := min(len(b), int(roundUp(off+int64(at)+1, pageBytes)-off))
		n, perr := r.ReadAt(b[at:stop], off+int64(at))
		switch {
		case perr == nil:
			good = true
		case errors.Is(perr, io.EOF):
			clear(b[at+n : stop])
		default:
			clear(b[at:stop])
		}
		at = stop
	}
	if !good {
		return err
	}
	return nil
}
