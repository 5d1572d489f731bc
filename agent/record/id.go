package record

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/google/uuid"
)

// IDs mints record ids: UUIDs of version 8 (RFC 9562, section 5.8) that are unique by construction.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                            random                             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|            random             | ver 8 |        random         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|var|                         random                            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                            counter                            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// The 90 random bits are drawn once for each start of the process, the counter counts its records. Neither the clock nor
// anything on disk takes part: a start at a wrong time, a kill -9 or a cloned disk image repeats no id. With 10^10 starts in a
// fleet's life the chance that any two share their random bits is about 4 in 10^8; the counter lasts 13 years at 10 Hz.
// Consecutive ids differ in their last characters only and cost almost nothing once compressed, see docs/decisions.
type IDs struct {
	prefix uuid.UUID
	count  atomic.Uint32
}

// NewIDs draws the random part. Its error is that of the system's random source.
func NewIDs() (*IDs, error) {
	var s IDs
	if _, err := rand.Read(s.prefix[:12]); err != nil {
		return nil, fmt.Errorf("draw the random part of record ids: %w", err)
	}
	s.prefix[6] = s.prefix[6]&0x0f | 0x80 // version 8
	s.prefix[8] = s.prefix[8]&0x3f | 0x80 // variant of RFC 9562
	return &s, nil
}

// Next returns a new id. It may be called from any goroutine.
func (s *IDs) Next() uuid.UUID {
	id := s.prefix
	binary.BigEndian.PutUint32(id[12:], s.count.Add(1))
	return id
}
