package uplink

import (
	"bytes"
	"compress/gzip"
	"fmt"
)

// gzipLevel is the best there is: 60 lines are packed in half a millisecond, and each percent is paid for on the air.
const gzipLevel = 9

// gzipSlack is more than a member may be larger than what is in it: 18 bytes of head and tail (RFC 1952) and five for each
// stored block of at most 65,535 bytes (RFC 1951, section 3.2.4).
const gzipSlack = 1 << 10

// mostGzipLines bounds the lines of one call: they lie in memory beside their members. Together with gzipSlack for each of
// MaxEntries entries it is less than MaxCallBytes, so that lines that do not shrink at all are within the limit.
const mostGzipLines = 2 << 20

// What is known of how well lines shrink before any was packed, and the least that is ever assumed: a run of equal lines
// must not make the next entry huge.
const (
	firstRatio = 0.25
	leastRatio = 0.05
)

// ratioBytes is the least size of an entry that tells how well lines shrink: head and tail weigh on smaller ones.
const ratioBytes = 2 << 10

// fillTo is how much of its billing steps an entry is meant to fill, by the ratio of those before it: the ratio of text
// lines varies by about one percent from one entry to the next, and one byte over the step costs the whole step.
const fillTo = 0.98

// A squeezer makes gzip members. The zero value is ready.
type squeezer struct {
	w   *gzip.Writer // made once: its tables are about a megabyte
	out bytes.Buffer
}

// member returns data as one whole gzip member, which the caller owns.
func (s *squeezer) member(data []byte) ([]byte, error) {
	s.out.Reset()
	if s.w == nil {
		w, err := gzip.NewWriterLevel(&s.out, gzipLevel)
		if err != nil {
			return nil, fmt.Errorf("compressing: %w", err)
		}
		s.w = w
	} else {
		s.w.Reset(&s.out)
	}
	if _, err := s.w.Write(data); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	if err := s.w.Close(); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	return bytes.Clone(s.out.Bytes()), nil
}

// sent returns what goes up of an entry: its lines, or the gzip member that holds them.
func (u *Uplink) sent(e *entry) ([]byte, error) {
	if !u.pack.gzip {
		return e.data, nil
	}
	if e.member == nil {
		m, err := u.squeeze.member(e.data)
		if err != nil {
			return nil, err
		}
		e.member = m
		u.pack.learn(len(e.data), len(m))
	}
	return e.member, nil
}

// learn keeps the ratio that entries shrink by.
func (p *packer) learn(lines, member int) {
	if lines < ratioBytes {
		return
	}
	// The mean of the last few: lines of a town differ from those of a motorway.
	p.ratio = max((3*p.ratio+float64(member)/float64(lines))/4, leastRatio)
}
