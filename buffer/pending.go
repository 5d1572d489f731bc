package buffer

import (
	"encoding/binary"
	"time"
)

// keepPending is how large an emptied queue's memory may stay: a full frame, with some room.
const keepPending = 512 << 10

// pending is a queue of records in memory, framed as they will be on disk, with consecutive numbers.
type pending struct {
	buf   []byte
	head  int    // where the oldest record begins
	first uint64 // its number
	count int
	since time.Time // when the oldest was appended, or one that was given up since
}

func (p *pending) bytes() int { return len(p.buf) - p.head }

func (p *pending) push(seq uint64, record []byte, now time.Time) {
	if p.count == 0 {
		p.first, p.since = seq, now
	}
	if p.head > 0 && p.head >= len(p.buf)/2 && len(p.buf)+len(record)+binary.MaxVarintLen64 > cap(p.buf) {
		p.buf = p.buf[:copy(p.buf, p.buf[p.head:])]
		p.head = 0
	}
	p.buf = binary.AppendUvarint(p.buf, uint64(len(record)))
	p.buf = append(p.buf, record...)
	p.count++
}

// frame returns the oldest records from offset at (behind head) on, as many as fit into limit bytes, but at least one.
func (p *pending) frame(at, limit int) (records []byte, count int) {
	b := p.buf[p.head+at:]
	n := 0
	for n < len(b) && count < maxFrameRecords {
		record, _, ok := cutRecord(b[n:])
		if !ok {
			break
		}
		size := recordBytes(len(record))
		if count > 0 && n+size > limit {
			break
		}
		n += size
		count++
	}
	return b[:n], count
}

// drop removes the oldest records.
func (p *pending) drop(bytes, count int) {
	p.head += bytes
	p.first += uint64(count)
	p.count -= count
	if p.count == 0 {
		p.head, p.buf = 0, p.buf[:0]
		if cap(p.buf) > keepPending {
			p.buf = nil
		}
	}
}

// recordBytes is what a record of n bytes takes when framed.
func recordBytes(n int) int {
	size := 1
	for v := uint64(n); v >= 0x80; v >>= 7 {
		size++
	}
	return size + n
}
