package buffer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// A Salvage is what was found in an image.
type Salvage struct {
	Frames     int    `json:"frames"`      // good ones, each once
	Records    uint64 `json:"records"`     // in them, each number once
	FirstSeq   uint64 `json:"first_seq"`   // 0: there is none
	LastSeq    uint64 `json:"last_seq"`    //
	Broken     int    `json:"broken"`      // frame headers whose records are damaged or lie elsewhere on the disk
	AckedBelow uint64 `json:"acked_below"` // what the newest frame says
}

// carved is a frame in an image.
type carved struct {
	id, first, below uint64
	at               int64
	count            uint16
	sparse           bool // one record of a sparse frame
}

// carveChunk is how much of an image is looked at in one go.
const carveChunk = 4 << 20

// CarveRecords finds the records of a buffer in anything: a raw card, a partition, a file that fsck left. It knows frames by
// their mark and checksums, wherever they begin, as long as it is at a multiple of 8 bytes, and needs no file system. What a file
// system has scattered inside of a frame is not found. each gets every record once, by number; where two lives of a buffer
// used a number, the one of the later segment. Records that had been delivered long ago come too: Acked tells, as far as the
// newest frame knows. A sector that cannot be read is skipped.
//
// Memory: some 40 bytes for each frame, and for each record of the sparse ones, which thinning makes. Errors: each's own, or an image of which nothing can be read.
func CarveRecords(image io.ReaderAt, size int64, each func(ScannedRecord) error) (*Salvage, error) {
	out := &Salvage{}
	frames, err := carve(image, size)
	if err != nil {
		return nil, fmt.Errorf("salvage: %w", err)
	}
	var thin sparseReader
	frames = thin.split(image, size, frames)
	out.Frames, out.Broken = thin.good, thin.broken
	slices.SortStableFunc(frames, func(a, b carved) int {
		return cmp.Or(cmp.Compare(a.first, b.first), -cmp.Compare(a.id, b.id))
	})
	newest := carved{}
	for _, c := range frames {
		if !c.sparse && (c.id > newest.id || c.id == newest.id && c.first >= newest.first) {
			newest = c
		}
	}
	out.AckedBelow = newest.below
	var dec frameDecoder
	next := uint64(1)
	last := carved{}
	for _, c := range frames {
		if c.id == last.id && c.first == last.first && c.count == last.count { // a copy of it
			continue
		}
		var records []byte
		if c.sparse {
			if c.first < next {
				continue
			}
			records = thin.record(image, size, c)
		} else {
			h, body, err := readCarved(image, size, c.at)
			if err == nil {
				records, err = dec.decode(h, body, nil)
			}
			if err != nil {
				out.Broken++
				continue
			}
			last = c
			out.Frames++
		}
		for seq := c.first; seq < c.first+uint64(c.count); seq++ {
			record, rest, ok := cutRecord(records) // decode has looked at all of them
			records = rest
			if seq < next || !ok {
				continue
			}
			next = seq + 1
			out.Records++
			out.FirstSeq = cmp.Or(out.FirstSeq, seq)
			out.LastSeq = seq
			if each == nil {
				continue
			}
			if err := each(ScannedRecord{Seq: seq, Acked: seq < out.AckedBelow, Data: record}); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// carve lists everything that looks like a frame's header and has its checksum.
func carve(image io.ReaderAt, size int64) ([]carved, error) {
	var frames []carved
	buf := make([]byte, min(carveChunk+frameHeaderBytes, size))
	readable := size == 0
	for at := int64(0); at < size; at += carveChunk {
		b := buf[:min(int64(len(buf)), size-at)]
		if err := readAround(image, b, at); err != nil {
			if errors.Is(err, ErrClosed) {
				return nil, err
			}
			continue
		}
		readable = true
		for i := 0; i+frameHeaderBytes <= len(b) && i < carveChunk; {
			n := bytes.IndexByte(b[i:], frameMagic[0])
			if n < 0 {
				break
			}
			if i += n; i%frameAlign != 0 {
				i++
				continue
			}
			if h, ok := parseFrameHeader(b[i:]); ok && h.flags&^knownFlags == 0 && h.codec <= codecDeflate && h.count > 0 && i < carveChunk {
				frames = append(frames, carved{id: h.id, first: h.first, below: h.below, at: at + int64(i), count: h.count, sparse: h.sparse()})
			}
			i += frameAlign
		}
	}
	if !readable {
		return nil, errors.New("nothing of it can be read")
	}
	return frames, nil
}

// sparseReader reads sparse frames record by record: other frames hold the records between.
type sparseReader struct {
	good, broken int

	dec     frameDecoder
	at      int64 // of the frame at hand, if h is set
	h       *frameHeader
	records []byte
}

func (s *sparseReader) frame(image io.ReaderAt, size, at int64) bool {
	if s.h != nil && s.at == at {
		return true
	}
	h, body, err := readCarved(image, size, at)
	if err == nil {
		s.records, err = s.dec.decode(h, body, nil)
	}
	if s.h, s.at = h, at; err != nil {
		s.h = nil
	}
	return err == nil
}

// split puts the records of sparse frames in their place.
func (s *sparseReader) split(image io.ReaderAt, size int64, frames []carved) []carved {
	var out []carved
	for _, c := range frames {
		if !c.sparse {
			out = append(out, c)
			continue
		}
		if !s.frame(image, size, c.at) {
			s.broken++
			continue
		}
		s.good++
		rest, seq := s.records, s.h.first
		for range s.h.count {
			seq, _, rest, _ = s.h.cut(rest, seq) // decode has looked at all of them
			out = append(out, carved{id: c.id, first: seq, at: c.at, count: 1, sparse: true})
			seq++
		}
	}
	return out
}

// record returns one record, framed by its length.
func (s *sparseReader) record(image io.ReaderAt, size int64, c carved) []byte {
	if !s.frame(image, size, c.at) {
		return nil
	}
	rest, seq := s.records, s.h.first
	for range s.h.count {
		at, record, next, _ := s.h.cut(rest, seq)
		if at == c.first {
			return rest[len(rest)-len(next)-recordBytes(len(record)) : len(rest)-len(next)]
		}
		rest, seq = next, at+1
	}
	return nil
}

func readCarved(image io.ReaderAt, size, at int64) (*frameHeader, []byte, error) {
	var b [frameHeaderBytes]byte
	if _, err := image.ReadAt(b[:], at); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	h, ok := parseFrameHeader(b[:])
	if !ok || at > math.MaxInt64-frameHeaderBytes || at+frameHeaderBytes+int64(h.body) > size {
		return nil, nil, errDamaged
	}
	body := make([]byte, h.body)
	if err := readAround(image, body, at+frameHeaderBytes); err != nil {
		return nil, nil, err
	}
	return &h, body, nil
}
