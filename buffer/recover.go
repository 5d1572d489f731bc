package buffer

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"slices"
)

// illegibleSkip is how many numbers are passed over when the end of the newest segment was overwritten by something that
// tells nothing: as many as one frame can hold.
const illegibleSkip = maxFrameRecords

// recovered is what the names and the newest segment tell.
type recovered struct {
	segments []*segment
	spares   []fileInfo
	odd      []fileInfo // spares of another size, to be removed
	lastID   uint64
	uuid     [16]byte
	hasUUID  bool

	tail       uint64 // number behind the last good record
	next       uint64 // number for the next record: tail, or more if numbers behind it were used
	tailReason string // why tail..next is missing
	acks       acks
}

// recoverDir reads the directory and the newest segment with a good frame in it: the newest one, but after a cut in the
// moment of a roll, or damage.
func recoverDir(dir fsys, segmentBytes int64, log *slog.Logger) (*recovered, error) {
	files, err := dir.ReadDir()
	if err != nil {
		return nil, fmt.Errorf("list directory: %w", err)
	}
	r := &recovered{tail: 1, next: 1, acks: acks{below: 1}}
	witness := uint64(1)
	for _, f := range files {
		if first, id, ok := parseName(f.Name, segmentExt); ok && first <= math.MaxUint64/2 {
			r.lastID = max(r.lastID, id)
			r.segments = append(r.segments, &segment{name: f.Name, id: id, first: max(first, 1), size: f.Size, end: f.Size})
		} else if first, id, ok := parseName(f.Name, spareExt); ok {
			// A spare had records before: its name is one more witness of the numbers that are used.
			r.lastID = max(r.lastID, id)
			witness = max(witness, first)
			if f.Size == segmentBytes {
				r.spares = append(r.spares, f)
			} else {
				r.odd = append(r.odd, f)
			}
		}
	}
	slices.SortFunc(r.segments, compareSegments)
	for i, s := range r.segments {
		s.next = s.first
		if i+1 < len(r.segments) {
			s.next = r.segments[i+1].first
		}
	}
	if n := len(r.segments); n > 0 {
		r.tail = r.segments[n-1].first
	}
	r.next = r.tail
	known := false
	for i, s := range slices.Backward(r.segments) {
		found, err := r.readEnd(dir, s, i == len(r.segments)-1)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found {
			known = true
			break
		}
		log.Info("segment without a good frame", "segment", s.name)
	}
	if witness > r.next {
		r.next, r.tailReason = witness, ReasonDamaged
	}
	switch {
	case len(r.segments) == 0:
		r.tail = r.next
		r.acks.reset(r.next)
	case !known: // what was before the oldest segment was acknowledged, as far as anybody can tell
		r.acks.reset(r.segments[0].first)
	}
	return r, nil
}

// readEnd reads one segment. newest says that numbers are taken from it, not only acknowledgements. found tells that it
// has a good frame.
func (r *recovered) readEnd(dir fsys, s *segment, newest bool) (found bool, err error) {
	f, err := dir.Open(s.name, false)
	if err != nil {
		return false, fmt.Errorf("open newest segment: %w", err)
	}
	defer func() { _ = f.Close() }()
	var sc scanner
	sc.start(s.name, f, s.id, s.size)
	state, size, err := r.readHeader(&sc, s)
	if err != nil {
		return false, err
	}
	var dec frameDecoder
	var got acks
	legible := uint64(0) // the end of what frames claim to hold whose records are damaged
	end := int64(segmentHeaderBytes)
	for {
		h, at, _, ok, err := sc.next()
		if err != nil {
			return false, err
		}
		if !ok {
			break
		}
		body, err := sc.body(&h, at)
		if err != nil {
			return false, err
		}
		if _, err := dec.decode(&h, body, &got); err != nil {
			legible = max(legible, h.end())
			continue
		}
		found = true
		end = sc.off
		r.acks, got = got, r.acks
		if newest {
			s.next = max(s.next, h.end())
		}
	}
	if !newest {
		return found, nil
	}
	s.end = end
	r.tail, r.next = s.next, s.next
	if !found && state == lifeNotBegun {
		return false, nil
	}
	if legible > r.tail {
		r.next, r.tailReason = legible, ReasonTorn
	}
	if s.size < size || !found && state == lifeIllegible || legible <= r.tail && !isEnd(&sc, end) {
		r.next, r.tailReason = r.next+illegibleSkip, ReasonDamaged
	}
	return found, nil
}

// What the header of a segment says of this life.
const (
	lifeBegun     = iota // a header of this id
	lifeNotBegun         // zeros or the header of an earlier life: the name was made, nothing was written
	lifeIllegible        // something else
)

// readHeader looks at the segment header and returns what it says, and the size the file should have.
func (r *recovered) readHeader(sc *scanner, s *segment) (life int, size int64, err error) {
	if s.size < segmentHeaderBytes {
		return lifeIllegible, s.size, nil
	}
	b, err := sc.bytes(0, segmentHeaderBytes)
	if err != nil {
		return 0, 0, err
	}
	h, ok := parseSegmentHeader(b)
	switch {
	case ok && h.id == s.id:
		if !r.hasUUID {
			r.uuid, r.hasUUID = h.uuid, true
		}
		return lifeBegun, int64(h.size), h.known(s.name)
	case ok, allZero(b):
		return lifeNotBegun, s.size, nil
	}
	return lifeIllegible, s.size, nil
}

// isEnd says whether the log ends cleanly at off: zeros where the next frame would be, or no room for one.
func isEnd(sc *scanner, off int64) bool {
	off = framePlace(off)
	if off+frameHeaderBytes > sc.limit {
		return true
	}
	b, err := sc.bytes(off, endBytes)
	return err == nil && allZero(b)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
