package firehosetest

import (
	"net/http"
	"time"
)

// Faults is how a server misbehaves. The zero value is a server that does not. Probabilities are 0 to 1 and drawn from
// Options.Seed.
type Faults struct {
	Down bool // every connection is cut at once

	Throttle       float64 // of refusing a whole call with ServiceUnavailableException
	ThrottleStatus int     // its HTTP status; default 500, as the API reference says; seen in the field is also 503
	FailEntry      float64 // of each record of a batch failing while the call succeeds
	CutBefore      float64 // of cutting the connection before anything was taken
	CutAfter       float64 // of cutting it after everything was taken, so that the sender cannot know
	Delay          time.Duration

	// Call, if set, decides about each PutRecordBatch before the probabilities do. n counts them from 1.
	Call func(n int, entries [][]byte) Verdict
}

// A Verdict is what happens to one PutRecordBatch.
type Verdict struct {
	Status  int    // with Code: the HTTP status, default 400
	Code    string // refuse the call with this error
	Message string

	Fail      map[int]string // records that fail, by index, with their error code
	CutBefore bool
	CutAfter  bool
}

// Messages of the error codes that a record may fail with, as AWS words them (boto/boto3#2804 shows the first).
var failMessages = map[string]string{
	"ServiceUnavailableException": "Slow down.",
	"InternalFailure":             "Internal failure.",
}

// SetFaults replaces the faults from the next call on.
func (s *Server) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// verdict decides about a batch. The lock is held.
func (s *Server) verdict(entries [][]byte) Verdict {
	f := s.faults
	if f.Call != nil {
		return f.Call(s.counters.Batches, entries)
	}
	v := Verdict{CutBefore: s.chance(f.CutBefore), CutAfter: s.chance(f.CutAfter)}
	if s.chance(f.Throttle) {
		v.Code, v.Message, v.Status = "ServiceUnavailableException", "Slow down.", f.ThrottleStatus
		if v.Status == 0 {
			v.Status = http.StatusInternalServerError
		}
	}
	if f.FailEntry > 0 {
		v.Fail = make(map[int]string)
		for i := range entries {
			if !s.chance(f.FailEntry) {
				continue
			}
			v.Fail[i] = "ServiceUnavailableException"
			if s.rng.IntN(4) == 0 {
				v.Fail[i] = "InternalFailure"
			}
		}
	}
	return v
}

func (s *Server) chance(p float64) bool { return p > 0 && s.rng.Float64() < p }
