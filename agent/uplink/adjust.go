package uplink

import "time"

// Adjust changes, while Run runs or before, how long a record may wait for company and what a day may have: Options.Linger and
// Options.DailyBytes. The next batch goes by them. How long connections are kept, and the longest time on the air of one call,
// stay as they were made for the linger that New was given.
func (u *Uplink) Adjust(linger time.Duration, dailyBytes int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.adjusted = &adjustment{max(linger, 0), max(dailyBytes, 0)}
	u.woken = true
	if u.cancelWait != nil {
		u.cancelWait()
	}
}

type adjustment struct {
	linger     time.Duration
	dailyBytes int64
}

// adjust takes what Adjust was told. Run's goroutine alone reads u.o, but for Status.
func (u *Uplink) adjust() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if a := u.adjusted; a != nil {
		u.o.Linger, u.o.DailyBytes, u.adjusted = a.linger, a.dailyBytes, nil
	}
}
