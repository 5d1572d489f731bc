package buffer

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// minDeflate is the size below which deflate can not win anything back for its own block header.
const minDeflate = 64

// errDamaged is why a frame whose header is good can not be used.
var errDamaged = errors.New("frame is damaged")

// frameEncoder makes frames in a buffer that it uses again for the next one.
type frameEncoder struct {
	deflate *flate.Writer
	out     sliceWriter // room for a segment header, the frame header, the body
	h       frameHeader
}

// sliceWriter is the io.Writer that deflate wants, on a slice.
type sliceWriter struct{ b []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// encode makes the body from records that are framed already (length and bytes each) and from the acknowledgements.
// It returns the size of the frame without padding.
func (e *frameEncoder) encode(first uint64, count int, records []byte, a *acks) (int64, error) {
	e.h = frameHeader{first: first, below: a.below, raw: uint32(len(records)), count: uint16(count)}
	e.out.b = append(e.out.b[:0], zeroHeaders[:]...)
	prev := a.below
	for _, s := range a.spans[:min(len(a.spans), maxRanges)] {
		e.out.b = binary.AppendUvarint(e.out.b, s.from-prev)
		e.out.b = binary.AppendUvarint(e.out.b, s.to-s.from)
		prev = s.to
		e.h.ranges++
	}
	return e.complete(records)
}

// encodeSparse is encode for records of which each has the numbers passed over before it. gap says why there is nothing
// between the frame before and this one.
func (e *frameEncoder) encodeSparse(first, end uint64, count int, records []byte, gap string) (int64, error) {
	e.h = frameHeader{flags: flagSparse, first: first, below: end, raw: uint32(len(records)), count: uint16(count), ranges: gapCode(gap)}
	e.out.b = append(e.out.b[:0], zeroHeaders[:]...)
	return e.complete(records)
}

func (e *frameEncoder) complete(records []byte) (int64, error) {
	at := len(e.out.b)
	if len(records) >= minDeflate {
		if err := e.compress(records); err != nil {
			return 0, err
		}
	}
	if n := len(e.out.b) - at; n == 0 || n >= len(records) {
		e.h.codec = codecNone
		e.out.b = append(e.out.b[:at], records...)
	}
	body := e.out.b[len(zeroHeaders):]
	e.h.body = uint32(len(body))
	e.h.bodyCRC = crc32.Checksum(body, castagnoli)
	return int64(frameHeaderBytes + len(body)), nil
}

// deflaters are compressors whose log is closed: one takes 800 KB.
var deflaters sync.Pool

// release gives the compressor to the next log.
func (e *frameEncoder) release() {
	if e.deflate != nil {
		deflaters.Put(e.deflate)
		e.deflate = nil
	}
}

var zeroHeaders [segmentHeaderBytes + frameHeaderBytes]byte

func (e *frameEncoder) compress(records []byte) error {
	if e.deflate == nil {
		e.deflate, _ = deflaters.Get().(*flate.Writer)
	}
	if e.deflate == nil {
		// Level 6 is where position records stop getting smaller for the time spent.
		w, err := flate.NewWriter(&e.out, 6)
		if err != nil {
			return fmt.Errorf("make compressor: %w", err)
		}
		e.deflate = w
	} else {
		e.deflate.Reset(&e.out)
	}
	e.h.codec = codecDeflate
	if _, err := e.deflate.Write(records); err != nil {
		return fmt.Errorf("compress frame: %w", err)
	}
	if err := e.deflate.Close(); err != nil {
		return fmt.Errorf("compress frame: %w", err)
	}
	return nil
}

// seal completes the encoded frame for a place in a segment and returns the bytes to write there: the segment header
// too if sh is given (the frame then follows it at once), and zeros behind the frame up to the end of the page in which
// the next one will begin. That page is written anyway.
func (e *frameEncoder) seal(id uint64, at, size int64, sh *segmentHeader) []byte {
	e.h.id = id
	e.h.put(e.out.b[segmentHeaderBytes:])
	end := at + int64(len(e.out.b)) - segmentHeaderBytes
	stop := min(roundUp(framePlace(end)+endBytes, pageBytes), size)
	if n := int(stop - end); n > 0 {
		e.out.b = append(e.out.b, zeroPage[:min(n, len(zeroPage))]...)
	}
	if sh != nil {
		sh.put(e.out.b)
		return e.out.b
	}
	return e.out.b[segmentHeaderBytes:]
}

// zeroPage is long enough for what can lie between the end of a frame and the end of the next one's first page.
var zeroPage [pageBytes + sectorBytes + endBytes]byte

// frameDecoder reads frames, into buffers that it uses again.
type frameDecoder struct {
	inflate io.ReadCloser
	in      bytes.Reader
	raw     []byte
}

// decode returns the records of a frame, still framed by their lengths, and its acknowledgements in a, if that is not
// nil. The result is valid until the next call, and no longer than body.
func (d *frameDecoder) decode(h *frameHeader, body []byte, a *acks) ([]byte, error) {
	if len(body) != int(h.body) || crc32.Checksum(body, castagnoli) != h.bodyCRC {
		return nil, errDamaged
	}
	if !h.sparse() {
		var err error
		if body, err = decodeRanges(h, body, a); err != nil {
			return nil, err
		}
	}
	records := body
	if h.codec == codecDeflate {
		var err error
		if records, err = d.decompress(body, int(h.raw)); err != nil {
			return nil, err
		}
	}
	if len(records) != int(h.raw) {
		return nil, errDamaged
	}
	rest, seq := records, h.first
	for range h.count {
		at, _, next, ok := h.cut(rest, seq)
		if !ok {
			return nil, errDamaged
		}
		rest, seq = next, at+1
	}
	if len(rest) != 0 {
		return nil, errDamaged
	}
	return records, nil
}

func decodeRanges(h *frameHeader, body []byte, a *acks) ([]byte, error) {
	if a != nil {
		a.reset(h.below)
	}
	at := h.below
	for range h.ranges {
		skip, n := binary.Uvarint(body)
		if n <= 0 {
			return nil, errDamaged
		}
		length, m := binary.Uvarint(body[n:])
		from := at + skip
		if m <= 0 || from < at || from+length < from || from+length > h.first {
			return nil, errDamaged
		}
		at = from + length
		body = body[n+m:]
		if a != nil {
			a.add(from, at)
		}
	}
	return body, nil
}

func (d *frameDecoder) decompress(body []byte, raw int) ([]byte, error) {
	// Deflate makes at most 1032 bytes of one: a frame that claims more is not worth the memory.
	if int64(raw) > int64(len(body))*1032 {
		return nil, errDamaged
	}
	d.in.Reset(body)
	if d.inflate == nil {
		d.inflate = flate.NewReader(&d.in)
	} else if err := d.inflate.(flate.Resetter).Reset(&d.in, nil); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if cap(d.raw) < raw+1 {
		d.raw = make([]byte, raw+1)
	}
	// One byte more is asked for, so that the end of the stream is seen.
	n, err := io.ReadFull(d.inflate, d.raw[:raw+1])
	if n != raw || (!errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF)) || d.in.Len() != 0 {
		return nil, errDamaged
	}
	return d.raw[:raw], nil
}

// cut splits the first record off those of a frame that are left, of which seq may be the first number, and returns its number.
func (h *frameHeader) cut(b []byte, seq uint64) (at uint64, record, rest []byte, ok bool) {
	if h.sparse() {
		skip, n := binary.Uvarint(b)
		if n <= 0 || seq >= h.below || skip >= h.below-seq {
			return 0, nil, nil, false
		}
		b, seq = b[n:], seq+skip
	}
	record, rest, ok = cutRecord(b)
	return seq, record, rest, ok
}

// cutRecord splits the first record off a run of framed ones.
func cutRecord(b []byte) (record, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(length) : n+int(length)], b[n+int(length):], true
}
