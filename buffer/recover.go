package buffer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
)

// illegibleSkip is how many numbers are passed over when the end of the newest segment was overwritten by something that
// tells nothing: as many as one frame can hold.
const illegibleSkip = maxFrameRecords

// recovered is what the names and the newest segment tell.
type recovered struct {
	segments []*segment
	spares   []fileInfo
	odd      []fileInfo // spares of another size, segments that were not begun: to be removed
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
	names, err := dir.Names()
	if err != nil {
		return nil, fmt.Errorf("list directory: %w", err)
	}
	r := &recovered{tail: 1, next: 1, acks: acks{below: 1}}
	witness, witnessName := uint64(1), ""
	for _, name := range names {
		if first, id, sparse, ok := parseSegment(name); ok {
			r.lastID = max(r.lastID, id)
			r.segments = append(r.segments, &segment{name: name, id: id, first: first, size: segmentBytes, end: segmentBytes, sparse: sparse, earlier: true})
		} else if first, id, ok := parseName(name, spareExt); ok {
			// A spare had records before: its name is one more witness of the numbers that are used.
			r.lastID = max(r.lastID, id)
			if first > witness {
				witness, witnessName = first, name
			}
			f := fileInfo{Name: name}
			if f.Size, err = dir.Size(name); errors.Is(err, fs.ErrNotExist) {
				continue // removed since
			} else if err != nil {
				return nil, fmt.Errorf("list directory: %w", err)
			}
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
	known, err := r.findEnd(dir, log)
	if err != nil {
		return nil, err
	}
	r.syncNewest(dir, log)
	if witness > r.next {
		r.next = witness
		if r.tailReason == "" {
			r.tailReason = witnessReason(dir, witnessName)
		}
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

// syncNewest makes durable what was read from the newest segment. A process that was killed, or whose sync failed, may have
// left frames that only the kernel's memory has: they are handed out from now on, so a power cut must not take them back, nor
// let their numbers be used again. A disk that refuses is no reason not to open.
func (r *recovered) syncNewest(dir fsys, log *slog.Logger) {
	if len(r.segments) == 0 {
		return
	}
	name := r.segments[len(r.segments)-1].name
	f, err := dir.Open(name, true)
	if err == nil {
		err = f.Sync()
		_ = f.Close() // nothing was written
	}
	if err != nil {
		log.Warn("what the newest segment holds may not be durable", "segment", name, "err", err)
	}
}

// witnessReason says why there is nothing up to the number in the name of a spare. If it had records, those before them are
// gone too, and somebody took them away. If it is new it was made for the first record after some that were torn.
func witnessReason(dir fsys, name string) string {
	f, err := dir.Open(name, false)
	if err != nil {
		return ReasonDamaged
	}
	defer func() { _ = f.Close() }()
	var b [segmentHeaderBytes]byte
	if _, err := f.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) || !allZero(b[:]) {
		return ReasonDamaged
	}
	return ReasonTorn
}

// findEnd reads segments from the newest one on until it knows where the log ends and what is acknowledged. Mostly the
// newest one tells both. known is false if none tells what is acknowledged.
func (r *recovered) findEnd(dir fsys, log *slog.Logger) (known bool, err error) {
	named := uint64(1)
	for len(r.segments) > 0 {
		s := r.segments[len(r.segments)-1]
		s.next = s.first
		begun := false
		known, begun, err = r.readEnd(dir, s, true)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if begun {
			break
		}
		// It was named and nothing was written: there was a cut in the moment of a roll. Its name tells which numbers were
		// used, by records that had not been committed.
		log.Info("segment was not begun", "segment", s.name)
		named = max(named, s.first)
		r.segments = r.segments[:len(r.segments)-1]
		if err != nil {
			continue
		}
		// Not a spare: its name must not be there any more when there is a later one, whose header knows why the numbers
		// between are missing.
		r.odd = append(r.odd, fileInfo{Name: s.name, Size: s.size})
	}
	if len(r.segments) == 0 {
		r.tail, r.next = named, named
		return false, nil
	}
	if named > r.next {
		r.next = named
		if r.tailReason == "" {
			r.tailReason = ReasonTorn
		}
	}
	for n := len(r.segments) - 2; n >= 0 && !known; n-- {
		s := r.segments[n]
		if known, _, err = r.readEnd(dir, s, false); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return known, nil
}

// readEnd reads one segment. newest says that numbers are taken from it, not only acknowledgements. found tells that it
// has a good frame with acknowledgements, begun that something was written to it.
func (r *recovered) readEnd(dir fsys, s *segment, newest bool) (found, begun bool, err error) {
	f, err := dir.Open(s.name, false)
	if err != nil {
		return false, false, fmt.Errorf("open newest segment: %w", err)
	}
	defer func() { _ = f.Close() }()
	if !s.sized {
		if s.size, err = f.Size(); err != nil {
			return false, false, fmt.Errorf("look at newest segment: %w", err)
		}
		s.end, s.sized = s.size, true
	}
	var sc scanner
	sc.start(s.name, f, s.id, s.size)
	sc.blind = true // a sector that died must not keep the agent from starting
	sc.hops = true
	state, header, err := r.readHeader(&sc, s)
	if err != nil {
		return false, false, err
	}
	var dec frameDecoder
	legible := uint64(0) // the end of what frames claim to hold whose records are damaged
	end := int64(segmentHeaderBytes)
	last := end // where the last frame ends, by its header
	// Only headers are read on the way to the end; then bodies, from the last one back to one that is good. Damage before
	// it is for Readers to find.
	var places []int64
	for {
		_, at, _, ok, err := sc.next()
		if err != nil {
			return false, false, err
		}
		if !ok {
			break
		}
		places = append(places, at)
	}
	for _, at := range slices.Backward(places) {
		b, err := sc.bytes(at, frameHeaderBytes)
		if err != nil {
			return false, false, err
		}
		h, _ := parseFrameHeader(b)
		stop := min(at+frameHeaderBytes+int64(h.body), s.size)
		last = max(last, stop)
		body, err := sc.body(&h, at)
		if err != nil {
			return false, false, err
		}
		if _, err := dec.decode(&h, body, &r.acks); err != nil {
			legible = max(legible, h.end())
			continue
		}
		found = true
		end = stop
		if newest {
			s.next = max(s.next, h.end())
		}
		break
	}
	known := found && !s.sparse
	if !newest {
		return known, true, nil
	}
	if !found && state == lifeNotBegun && sc.dark == 0 {
		return false, false, nil
	}
	s.end = end
	r.tail, r.next = s.next, s.next
	if !found && header.gapFrom < s.first {
		// The segment goes when there is nothing in it: what its header says is taken over by the next one.
		r.tail, r.tailReason = header.gapFrom, header.gapReason
	}
	if legible > r.next {
		r.next = legible
		r.tailReason = cmp.Or(r.tailReason, ReasonTorn)
	}
	// What is behind the last frame, and how many records that was, is not known unless the log ends cleanly there.
	dark, size := sc.dark > last, int64(header.size)
	switch {
	case dark, s.size < size, !found && state == lifeIllegible:
	case isEnd(&sc, last):
		return known, true, nil
	case len(places) > 0 && header.recycled:
		// The zeros behind the frame were not written: it is of the last commit, which ended there or went on. Or they were,
		// and damage took the frame that was written over them. Both are reported, as the likelier one.
		r.next, r.tailReason = r.next+illegibleSkip, cmp.Or(r.tailReason, ReasonTorn)
		return known, true, nil
	}
	r.next, r.tailReason = r.next+illegibleSkip, ReasonDamaged
	s.damaged = true
	return known, true, nil
}

// What the header of a segment says of this life.
const (
	lifeBegun     = iota // a header of this id
	lifeNotBegun         // zeros or the header of an earlier life: the name was made, nothing was written
	lifeIllegible        // something else
)

// readHeader looks at the segment header and returns what it says, with the size the file should have.
func (r *recovered) readHeader(sc *scanner, s *segment) (life int, h segmentHeader, err error) {
	none := segmentHeader{size: uint32(s.size), gapFrom: s.first}
	if s.size < segmentHeaderBytes {
		return lifeIllegible, none, nil
	}
	b, err := sc.bytes(0, segmentHeaderBytes)
	if err != nil {
		return 0, none, err
	}
	h, ok := parseSegmentHeader(b)
	switch {
	case ok && h.id == s.id:
		if !r.hasUUID {
			r.uuid, r.hasUUID = h.uuid, true
		}
		return lifeBegun, h, h.known(s.name)
	case ok:
		none.recycled = true
		return lifeNotBegun, none, nil
	case allZero(b):
		return lifeNotBegun, none, nil
	}
	return lifeIllegible, none, nil
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
