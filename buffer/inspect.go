package buffer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// An Inspection is what a look into a directory found. Nothing is changed and no lock is taken: it may belong to a running
// process, be a copy, or be on a disk that can only be read.
type Inspection struct {
	Dir         string        `json:"dir"`
	Segments    []SegmentInfo `json:"segments"`   // oldest first
	Spares      int           `json:"spares"`     // recycled files
	Quarantine  []string      `json:"quarantine"` // damaged segments that were set aside
	Bytes       int64         `json:"bytes"`      // of all these files
	FirstSeq    uint64        `json:"first_seq"`  // of the oldest readable record; 0: there is none
	LastSeq     uint64        `json:"last_seq"`   // of the newest one
	Records     uint64        `json:"records"`    // readable
	Waiting     uint64        `json:"waiting"`    // of them, not acknowledged
	Payload     uint64        `json:"payload_bytes"`
	AckedBelow  uint64        `json:"acked_below"`  // everything below is acknowledged
	AckedRanges int           `json:"acked_ranges"` // above it
	Damage      []Damage      `json:"damage"`
}

// SegmentInfo is one segment.
type SegmentInfo struct {
	Name    string `json:"name"`
	Bytes   int64  `json:"bytes"`
	Used    int64  `json:"used_bytes"` // up to the end of the last good frame
	First   uint64 `json:"first_seq"`  // of the first readable record; 0: there is none
	Last    uint64 `json:"last_seq"`
	Frames  int    `json:"frames"`
	Records uint64 `json:"records"`
	Thinned bool   `json:"thinned,omitempty"` // holds one in ten of the records that it was made of
}

// Damage is a place that is not what was written.
type Damage struct {
	Segment string `json:"segment"`
	Offset  int64  `json:"offset"` // in bytes, where the frame is or was expected
	From    uint64 `json:"from"`   // first and last record that it cost; both 0 if that cannot be told
	To      uint64 `json:"to"`
	Reason  string `json:"reason"` // ReasonDamaged, or ReasonTorn for the end that a power cut leaves: it was never committed
}

// ScannedRecord is a record found by Inspect.
type ScannedRecord struct {
	Seq   uint64
	Acked bool
	Data  []byte // valid until the callback returns
}

// Inspect reads a whole directory. each, if not nil, gets every readable record in order, acknowledged ones that are still
// there too; its error ends the inspection and is returned. The other errors are those of listing and opening, and ErrFormat.
// Memory is bounded by a segment's frame, whatever the size of the directory.
func Inspect(dir string, each func(ScannedRecord) error) (*Inspection, error) {
	in, err := inspect(osDir{dir}, each)
	if err != nil {
		return nil, fmt.Errorf("inspect buffer %s: %w", dir, err)
	}
	in.Dir = dir
	return in, nil
}

func inspect(dir fsys, each func(ScannedRecord) error) (*Inspection, error) {
	files, err := dir.ReadDir("")
	if err != nil {
		return nil, err
	}
	in := &Inspection{Segments: []SegmentInfo{}, Quarantine: []string{}, Damage: []Damage{}}
	var segments []*segment
	for _, f := range files {
		if first, id, sparse, ok := parseSegment(f.Name); ok {
			segments = append(segments, &segment{name: f.Name, id: id, first: first, size: f.Size, sized: true, sparse: sparse})
			in.Bytes += f.Size
		} else if _, _, ok := parseName(f.Name, spareExt); ok {
			in.Spares++
			in.Bytes += f.Size
		}
	}
	slices.SortFunc(segments, compareSegments)
	aside, err := dir.ReadDir(quarantineDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, f := range aside {
		in.Quarantine = append(in.Quarantine, f.Name)
		if !slices.ContainsFunc(segments, func(s *segment) bool { return s.name == f.Name }) {
			in.Bytes += f.Size // else both names are of one file
		}
	}
	slices.Sort(in.Quarantine)
	x := inspector{in: in, each: each, expected: 0}
	if x.acks, err = newestAcks(dir, segments); err != nil {
		return nil, err
	}
	in.AckedBelow, in.AckedRanges = x.acks.below, len(x.acks.spans)
	for i, s := range segments {
		s.next = 0
		x.last = true
		if i+1 < len(segments) {
			s.next = segments[i+1].first
			h, life := readSegmentHeader(dir, segments[i+1])
			x.last = life == lifeNotBegun || life == lifeBegun && h.opened
			if life == lifeBegun { // it knows where this one ended, and why
				s.gapKnown, s.gapFrom, s.gapReason = true, h.gapFrom, h.gapReason
			}
		}
		if err := x.segment(dir, s); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// newestAcks finds what is acknowledged: the last good frame of all knows it.
func newestAcks(dir fsys, segments []*segment) (acks, error) {
	r := recovered{acks: acks{below: 1}}
	for _, s := range slices.Backward(segments) {
		found, _, err := r.readEnd(dir, s, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue // recycled since it was listed
		}
		if err != nil {
			return r.acks, err
		}
		if found {
			return r.acks, nil
		}
	}
	r.acks.reset(1)
	return r.acks, nil
}

// inspector walks through segments.
type inspector struct {
	in       *Inspection
	each     func(ScannedRecord) error
	acks     acks
	dec      frameDecoder
	expected uint64 // number of the next record; 0: none was seen yet
	last     bool   // whether this segment is the last one that a process wrote
}

func (x *inspector) segment(dir fsys, s *segment) error {
	f, err := dir.Open(s.name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // recycled since it was listed
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var sc scanner
	sc.start(s.name, f, s.id, s.size)
	sc.blind = true // what can not be read is what this is to find
	info := SegmentInfo{Name: s.name, Bytes: s.size, Thinned: s.sparse}
	var (
		r       recovered
		bad     []Damage
		synced  int         // how many of bad have another commit behind them: they had been synced
		pending = int64(-1) // where bytes begin that are no frame
	)
	life, header, err := r.readHeader(&sc, s)
	if err != nil {
		return err
	}
	x.expected = max(x.expected, s.first) // what is missing before a segment is told by its header, and no damage here
	for {
		from := framePlace(sc.off)
		h, at, skipped, ok, err := sc.next()
		if err != nil {
			return err
		}
		if skipped && pending < 0 {
			pending = from
		}
		if !ok {
			break
		}
		body, err := sc.body(&h, at)
		if err != nil {
			return err
		}
		records, derr := x.dec.decode(&h, body, nil)
		if derr != nil {
			if pending < 0 {
				pending = at
			}
			continue
		}
		if h.first > x.expected && pending >= 0 {
			bad = append(bad, Damage{Segment: s.name, Offset: pending, From: x.expected, To: h.first - 1, Reason: ReasonDamaged})
		}
		pending = -1
		if h.flags&flagContinued == 0 {
			synced = len(bad)
		}
		info.Frames++
		info.Used = min(at+frameHeaderBytes+int64(h.body), s.size)
		if err := x.frame(&info, s, &h, records); err != nil {
			return err
		}
	}
	for i := synced; i < len(bad) && x.last; i++ {
		bad[i].Reason = ReasonTorn // as Reader.whyMissing says it
	}
	if end := x.end(&sc, s, &info, life, &header, pending); end != nil {
		bad = append(bad, *end)
	}
	if len(bad) > 0 {
		// A running owner may have given the file a new life meanwhile.
		files, err := dir.ReadDir("")
		if err == nil && !slices.ContainsFunc(files, func(f fileInfo) bool { return f.Name == s.name }) {
			return nil
		}
	}
	x.in.Damage = append(x.in.Damage, bad...)
	x.in.Segments = append(x.in.Segments, info)
	return nil
}

func (x *inspector) frame(info *SegmentInfo, s *segment, h *frameHeader, records []byte) error {
	seq := h.first
	for range h.count {
		at, record, rest, _ := h.cut(records, seq) // decode has looked at all of them
		records, seq = rest, at
		if s.sparse && s.next != 0 && seq >= s.next {
			break // they are still where they came from
		}
		if seq >= x.expected {
			in := x.in
			if info.First == 0 {
				info.First = seq
			}
			if in.FirstSeq == 0 {
				in.FirstSeq = seq
			}
			info.Last, in.LastSeq = seq, seq
			info.Records++
			in.Records++
			in.Payload += uint64(len(record))
			acked := x.acks.covers(seq, seq+1)
			if !acked {
				in.Waiting++
			}
			if x.each != nil {
				if err := x.each(ScannedRecord{Seq: seq, Acked: acked, Data: record}); err != nil {
					return err
				}
			}
			x.expected = seq + 1
		}
		seq++
	}
	if end := h.end(); h.sparse() && (s.next == 0 || end <= s.next) {
		x.expected = max(x.expected, end)
	}
	return nil
}

// end says what is wrong behind the last good frame of a segment.
func (x *inspector) end(sc *scanner, s *segment, info *SegmentInfo, life int, h *segmentHeader, pending int64) *Damage {
	if pending < 0 && life != lifeIllegible || info.Frames == 0 && life == lifeNotBegun && sc.dark == 0 {
		return nil
	}
	d := &Damage{Segment: s.name, Offset: max(pending, 0), Reason: ReasonDamaged}
	end := max(info.Used, segmentHeaderBytes)
	if life == lifeIllegible && info.Frames > 0 {
		d.Offset = 0
		return d // the header alone: it costs no record
	}
	if info.Frames > 0 && isEnd(sc, end) && sc.dark <= end && int64(h.size) <= s.size && x.acks.covers(x.expected, s.next) {
		return nil // zeros, and an earlier life behind them; what is missing was in a segment between, which is used again
	}
	if s.gapKnown && s.gapFrom <= x.expected && s.gapReason != ReasonDamaged {
		return nil // it was torn or given up; that is no damage
	}
	if s.next > x.expected {
		d.From, d.To = x.expected, s.next-1
	} else if s.next == 0 && life == lifeBegun && sc.dark <= end && int64(h.size) <= s.size {
		d.Reason = ReasonTorn // the newest one: what is behind its last good frame was not committed, as far as can be told
	}
	if s.next != 0 && d.From == 0 {
		return nil // the next segment goes on where this one ends: nothing is missing
	}
	return d
}
