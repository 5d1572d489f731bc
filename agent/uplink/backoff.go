package uplink

import (
	"math/rand/v2"
	"time"
)

// The back-off between failed calls.
const (
	// Ten thousand vans that lose the stream at once make 167 first tries a second at a linger of a minute. With this base each has made
	// four or five tries a minute later; two seconds would be seven, and over the 1,000 requests a second that a stream takes.
	backoffBase = 5 * time.Second
	backoffCap  = 5 * time.Minute

	// partialSteps bounds the back-off while some entries of each call are still taken: 40 s. The stream is then alive and
	// each call makes progress.
	partialSteps = 4

	// startJitter is the most that the first call waits for, to keep apart vans that get power in the same second (a depot's
	// switch): ten thousand of them make 170 calls a second, and a stream takes 1,000 (Amazon Data Firehose quotas).
	startJitter = time.Minute
)

// backoff returns how long to wait after the attempt-th failure in a row, counted from 1: uniform in (0, min(cap, base*2^(attempt-1))],
// which is full jitter, so that vans which failed together do not return together.
func backoff(attempt int, r *rand.Rand) time.Duration {
	ceiling := backoffCap
	if shift := attempt - 1; shift < 16 {
		ceiling = min(backoffBase<<max(shift, 0), backoffCap)
	}
	return time.Duration(1 + r.Int64N(int64(ceiling)))
}
