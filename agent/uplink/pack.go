package uplink

import (
	"time"

	"obdagent/buffer"
)

// What one PutRecordBatch may hold. All sizes are of decoded bytes (Amazon Data Firehose API reference, PutRecordBatch; that
// they are not base64 sizes was seen by others sending four records of exactly 1,000 KiB in one call: kolide/fleet#2022).
const (
	MaxEntries    = 500         // Firehose records in one call
	MaxCallBytes  = 4 << 20     // 4 MiB in one call
	MaxEntryBytes = 1000 * 1024 // 1,000 KiB in one Firehose record
)

// BillingStep is what Firehose rounds the size of each record up to when it charges for it (Amazon Data Firehose pricing: 5 KB).
const BillingStep = 5120

// packBytes is how far lines are joined: eight billing steps. That is enough for the answer, 224 characters of id for each
// entry, to stay near one percent of what goes up, and little enough for one throttled entry to cost no more than 55 kB when it goes again.
const packBytes = 8 * BillingStep

// A mark is where one line of an entry ends.
type mark struct {
	seq uint64
	end int // offset in the entry's data
}

// An entry is one Firehose record: one or more lines and what is acknowledged once it is taken.
type entry struct {
	data   []byte // the lines
	member []byte // the lines as one gzip member; nil until it is needed, and without compression
	marks  []mark
	lost   []buffer.Lost // reported by lines of this entry
	room   int           // lines are joined up to this many bytes of them
	sealed bool          // was sent once: goes again as it is
}

// divide cuts an entry of at least two lines into two. Reports of lost records go with the first.
func (e *entry) divide() (first, second *entry) {
	half := len(e.marks) / 2
	cut := e.marks[half-1].end
	first = &entry{data: e.data[:cut:cut], marks: e.marks[:half:half], lost: e.lost, sealed: true}
	second = &entry{data: e.data[cut:], marks: make([]mark, 0, len(e.marks)-half), sealed: true}
	for _, m := range e.marks[half:] {
		second.marks = append(second.marks, mark{m.seq, m.end - cut})
	}
	return first, second
}

// A batch is what goes up in one call.
type batch struct {
	entries []*entry
	bytes   int // of lines
	lines   int
	since   time.Time // when the line that has waited longest was read
	full    bool      // a line was turned away
	goes    time.Time // when a full batch goes; zero: at once
}

// A packer fills batches.
type packer struct {
	join  bool    // several lines into one entry
	bytes int     // of one call as it is sent, at most MaxCallBytes
	most  int     // of the next call, where a budget leaves less; 0: no limit
	gzip  bool    // an entry is sent as one gzip member
	ratio float64 // bytes sent of each byte of lines, as it was of late; 1 without gzip
}

// maxLine returns how long a line may be.
func (p *packer) maxLine() int {
	if p.gzip {
		return MaxEntryBytes - gzipSlack
	}
	return MaxEntryBytes
}

// callRoom returns how many bytes of lines go into one call. Lines that do not shrink at all are within the limits too.
func (p *packer) callRoom() int {
	n := p.bytes
	if p.most > 0 {
		n = min(n, p.most)
	}
	if p.gzip {
		return min(int(float64(n)/p.ratio), mostGzipLines)
	}
	return n
}

// entryRoom returns how many bytes of lines are joined into an entry that begins with a line of n bytes.
func (p *packer) entryRoom(n int) int {
	if p.gzip {
		return max(n, min(int(fillTo*packBytes/p.ratio), p.maxLine()))
	}
	return max(packBytes, (n+BillingStep-1)/BillingStep*BillingStep)
}

// stepRoom returns how many bytes of lines fill one billing step.
func (p *packer) stepRoom() int {
	if p.gzip {
		return int(fillTo * BillingStep / p.ratio)
	}
	return BillingStep
}

// add puts a line into the batch, or reports that it belongs into the next one. A line is at most maxLine long.
func (p *packer) add(b *batch, seq uint64, line []byte, lost []buffer.Lost, at time.Time) bool {
	if b.lines > 0 && b.bytes+len(line) > p.callRoom() {
		b.full = true
		return false
	}
	e := b.last()
	if e == nil || e.sealed || !p.join || len(e.data)+len(line) > e.room {
		if len(b.entries) == MaxEntries {
			b.full = true
			return false
		}
		e = &entry{room: p.entryRoom(len(line))}
		b.entries = append(b.entries, e)
	}
	e.data, e.member = append(e.data, line...), nil
	e.marks = append(e.marks, mark{seq, len(e.data)})
	e.lost = append(e.lost, lost...)
	if b.lines == 0 || at.Before(b.since) {
		b.since = at
	}
	b.lines++
	b.bytes += len(line)
	return true
}

func (b *batch) last() *entry {
	if len(b.entries) == 0 {
		return nil
	}
	return b.entries[len(b.entries)-1]
}

// ranges calls yield for each unbroken run of sequence numbers in the entries, and for each range of lost records that they report.
func ranges(entries []*entry, yield func(from, to uint64)) {
	var from, to uint64
	for _, e := range entries {
		for _, l := range e.lost {
			yield(l.From, l.To)
		}
		for _, m := range e.marks {
			if to != 0 && m.seq == to+1 {
				to = m.seq
				continue
			}
			if to != 0 {
				yield(from, to)
			}
			from, to = m.seq, m.seq
		}
	}
	if to != 0 {
		yield(from, to)
	}
}
