package uplink

import (
	"math/rand/v2"
	"time"
)

// The back-off between failed calls.
const (
	backoffBase = 2 * time.Second
	backoffCap  = 5 * time.Minute

	// partialSteps bounds the back-off while some entries of each call are still taken: 32 s. The stream is then alive and
	// each call makes progress.
	partialSteps = 5

	// startJitter spreads the first calls of vans that get power in the same second (a depot's switch).
	startJitter = 5 * time.Second
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
