package buffer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// The format of a segment file, version 1. Integers are little-endian; CRC is CRC-32C (Castagnoli).
//
// A segment is a file of fixed size, filled with zeros before its first use and used again for another life once its
// records are acknowledged. Its name is <first seq:016x>-<segment id:016x>.seg, or .thin if it holds what was kept of others; a segment id is never used for two lives,
// and it is durable in the name before the first byte of that life is written. Whatever lies in the file with another id
// is left from an earlier life and means nothing.
//
//	+----------------+-------+-------+-----+-------+------------------------------+
//	| segment header | frame | frame | ... | frame | zeros or an earlier life     |
//	+----------------+-------+-------+-----+-------+------------------------------+
//
// Segment header, 64 bytes. Magic, version, flags and CRC keep their places in all versions to come.
//
//	 0       8      10      12      16
//	 +-------+-------+-------+-------+
//	 | magic |version| flags |  CRC  |  flags: unknown ones must be understood. 1: thinned; CRC: of these 64 bytes but itself
//	 +-------+-------+-------+-------+
//	16 | segment id          | 8 bytes
//	24 | buffer UUID         | 16 bytes, the same in all segments of a directory
//	40 | first seq           | 8 bytes
//	48 | gap from            | 8 bytes: numbers from here up to first seq will never come
//	56 | gap reason          | 1 byte: 0 none, 1 overflow, 2 damaged, 3 torn, 4 thinned
//	57 | opened              | 1 byte: 1 in the first segment that a process writes after Open. The last commit before it
//	   |                     | may be torn; those before any other segment were synced
//	58 | recycled            | 1 byte: 1 if there was an earlier life: what is behind the last frame may be its
//	59 | zero                | 1 byte
//	60 | size                | 4 bytes: of the file
//
// Frame, one for each commit (more when a commit is large), at a multiple of 8 bytes. Its header never crosses a
// 512-byte sector, the unit that storage writes whole: after a power cut it is there or it is not. If less than a header
// is left of a sector, the frame begins at the next one.
//
//	 0     3       4       8                     16                    24                    32
//	 +-----+-------+-------+---------------------+---------------------+---------------------+
//	 |magic| flags |  CRC  | segment id          | first seq           | acked below         |
//	 +-----+-------+-------+---------------------+---------------------+---------------------+
//	32      36      40      42       43      44      48
//	 +-------+-------+-------+--------+-------+-------+--------------+---------------+------------------+
//	 |  body |  raw  | count | ranges | codec |body   | acked ranges | records,      | zeros up to a    |
//	 |  bytes|  bytes|       |        |       |    CRC|              | maybe deflated| multiple of 8    |
//	 +-------+-------+-------+--------+-------+-------+--------------+---------------+------------------+
//
//	flags        unknown ones must be understood. 1: continued, not the first frame of its commit; 2: sparse, see below
//	CRC          of the 48 bytes of the header but itself: it covers body CRC and segment id too
//	first seq    of the first record; of the next one to be written if count is 0
//	acked below  all records below are acknowledged
//	body bytes   of acked ranges and records as stored
//	raw bytes    of the records once inflated
//	count        of records, 0..4096
//	ranges       how many acked ranges follow, 0..64: each two uvarints, the numbers skipped since the end of the last
//	             range (at first: acked below) and the length of the range
//	codec        0 none, 1 deflate (RFC 1951)
//	records      each a uvarint, its length, and its bytes
//
// A sparse frame, in thinned segments only, holds what was kept of a range of numbers. It differs in three places: at 24 stands
// the number behind the range, which begins with first seq; at 42 the gap reason of the numbers between the frame before and this
// one; and before each record's length stands a uvarint, how many numbers of the range were passed over since the record before.
//
// A thinned segment is complete on disk before it has its name. It may go on behind that for the next segment, whose name goes
// only then: what a thinned segment has of numbers from the first one of the next segment on does not count. Where several names
// begin with the same number, thinned segments come first, of them the one with the highest id.
//
// Behind the last frame at least 8 bytes at the place of the next one are zero, so that an end can be told from damage.
const (
	formatVersion      = 1
	segmentHeaderBytes = 64
	frameHeaderBytes   = 48
	frameAlign         = 8
	sectorBytes        = 512  // the unit that storage writes whole or not at all
	pageBytes          = 4096 // the unit that the kernel and most flash controllers write
	endBytes           = 8    // zeros that tell the end of a segment
	maxRanges          = 64   // acknowledged ranges in a frame
	maxFrameRecords    = 4096 // records in a frame; bounds what an unreadable one can have held

	codecNone    = 0
	codecDeflate = 1

	flagContinued = 1 << 0 // the frame was synced together with the one before it
	flagSparse    = 1 << 1 // not all numbers of the frame's range have a record
	knownFlags    = flagContinued | flagSparse

	segmentThinned = 1 << 0 // of a segment: its frames are sparse
)

// The first byte can not occur in UTF-8, so that no text record holds the magic; CR LF and ^Z show a file that was
// copied as text.
var (
	segmentMagic = [8]byte{0xf5, 'B', 'S', 'G', '\r', '\n', 0x1a, '\n'}
	frameMagic   = [3]byte{0xf5, 'B', 'F'}
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// gapReasons are the codes of the reasons on disk.
var gapReasons = [...]string{"", ReasonOverflow, ReasonDamaged, ReasonTorn, ReasonThinned}

func gapCode(reason string) uint8 {
	for i, r := range gapReasons {
		if r == reason {
			return uint8(i)
		}
	}
	return 0
}

func gapReason(code uint8) string {
	if code == 0 || int(code) >= len(gapReasons) {
		return ReasonDamaged
	}
	return gapReasons[code]
}

// segmentHeader is the first 64 bytes of a segment.
type segmentHeader struct {
	version   uint16
	flags     uint16
	id        uint64
	uuid      [16]byte
	first     uint64
	gapFrom   uint64
	gapReason string
	opened    bool // the first one after an Open
	recycled  bool // the file may hold an earlier life
	size      uint32
}

func (h *segmentHeader) put(b []byte) {
	le := binary.LittleEndian
	copy(b, segmentMagic[:])
	le.PutUint16(b[8:], h.version)
	le.PutUint16(b[10:], h.flags)
	le.PutUint64(b[16:], h.id)
	copy(b[24:40], h.uuid[:])
	le.PutUint64(b[40:], h.first)
	le.PutUint64(b[48:], h.gapFrom)
	b[56], b[57], b[58], b[59] = gapCode(h.gapReason), 0, 0, 0
	if h.opened {
		b[57] = 1
	}
	if h.recycled {
		b[58] = 1
	}
	le.PutUint32(b[60:], h.size)
	le.PutUint32(b[12:], crcAround(b[:segmentHeaderBytes], 12))
}

// parseSegmentHeader returns the header if its checksum fits, whatever its version.
func parseSegmentHeader(b []byte) (h segmentHeader, ok bool) {
	if len(b) < segmentHeaderBytes || !bytes.Equal(b[:8], segmentMagic[:]) {
		return h, false
	}
	le := binary.LittleEndian
	if le.Uint32(b[12:]) != crcAround(b[:segmentHeaderBytes], 12) {
		return h, false
	}
	h.version = le.Uint16(b[8:])
	h.flags = le.Uint16(b[10:])
	h.id = le.Uint64(b[16:])
	copy(h.uuid[:], b[24:40])
	h.first = le.Uint64(b[40:])
	h.gapFrom = le.Uint64(b[48:])
	h.gapReason = gapReason(b[56])
	h.opened = b[57] == 1
	h.recycled = b[58] == 1
	h.size = le.Uint32(b[60:])
	return h, true
}

// known says whether this version can read the segment.
func (h *segmentHeader) known(name string) error {
	if h.version != formatVersion || h.flags&^segmentThinned != 0 {
		return fmt.Errorf("segment %s: %w: version %d, flags %#x; this program knows version %d: use the newer program, or move the directory away",
			name, ErrFormat, h.version, h.flags, formatVersion)
	}
	return nil
}

// frameHeader is the first 48 bytes of a frame.
type frameHeader struct {
	flags   uint8
	id      uint64
	first   uint64
	below   uint64 // of a sparse one: the number behind its range
	body    uint32
	raw     uint32
	count   uint16
	ranges  uint8 // of a sparse one: the gap reason
	codec   uint8
	bodyCRC uint32
}

func (h *frameHeader) put(b []byte) {
	le := binary.LittleEndian
	copy(b, frameMagic[:])
	b[3] = h.flags
	le.PutUint64(b[8:], h.id)
	le.PutUint64(b[16:], h.first)
	le.PutUint64(b[24:], h.below)
	le.PutUint32(b[32:], h.body)
	le.PutUint32(b[36:], h.raw)
	le.PutUint16(b[40:], h.count)
	b[42] = h.ranges
	b[43] = h.codec
	le.PutUint32(b[44:], h.bodyCRC)
	le.PutUint32(b[4:], crcAround(b[:frameHeaderBytes], 4))
}

// parseFrameHeader returns the header if its checksum fits and its lengths can be true.
func parseFrameHeader(b []byte) (h frameHeader, ok bool) {
	if len(b) < frameHeaderBytes || b[0] != frameMagic[0] || b[1] != frameMagic[1] || b[2] != frameMagic[2] {
		return h, false
	}
	le := binary.LittleEndian
	if le.Uint32(b[4:]) != crcAround(b[:frameHeaderBytes], 4) {
		return h, false
	}
	h.flags = b[3]
	h.id = le.Uint64(b[8:])
	h.first = le.Uint64(b[16:])
	h.below = le.Uint64(b[24:])
	h.body = le.Uint32(b[32:])
	h.raw = le.Uint32(b[36:])
	h.count = le.Uint16(b[40:])
	h.ranges = b[42]
	h.codec = b[43]
	h.bodyCRC = le.Uint32(b[44:])
	switch {
	case h.body > maxSegmentBytes, h.raw > maxSegmentBytes:
		return h, false
	case h.count > maxFrameRecords, h.ranges > maxRanges, uint32(h.count) > h.raw:
		return h, false
	case h.first == 0, h.first > math.MaxUint64/2: // half of all numbers is enough, and none wraps around
		return h, false
	case h.sparse() && (h.below < h.first+uint64(h.count) || h.below > math.MaxUint64/2):
		return h, false
	case !h.sparse() && h.below > h.first: // nothing is acknowledged that was not committed before
		return h, false
	}
	return h, true
}

// known says whether this version can read the frame.
func (h *frameHeader) known(name string, at int64) error {
	if h.flags&^knownFlags != 0 || h.codec > codecDeflate {
		return fmt.Errorf("segment %s: offset %d: %w: frame flags %#x, codec %d: use the newer program, or move the directory away",
			name, at, ErrFormat, h.flags, h.codec)
	}
	return nil
}

func (h *frameHeader) sparse() bool { return h.flags&flagSparse != 0 }

// end is the number behind the last one of the frame.
func (h *frameHeader) end() uint64 {
	if h.sparse() {
		return h.below
	}
	return h.first + uint64(h.count)
}

// crcAround is the checksum of b without the four bytes at skip.
func crcAround(b []byte, skip int) uint32 {
	return crc32.Update(crc32.Checksum(b[:skip], castagnoli), castagnoli, b[skip+4:])
}

// framePlace is where the next frame begins if the last one, or the header, ends at off.
func framePlace(off int64) int64 {
	off = roundUp(off, frameAlign)
	if off%sectorBytes > sectorBytes-frameHeaderBytes {
		off = roundUp(off, sectorBytes)
	}
	return off
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
