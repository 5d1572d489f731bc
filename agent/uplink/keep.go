package uplink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"
)

// keepEvery is how often the day's count is written while nothing else changes: a power cut forgets at most as much of it.
const keepEvery = 10 * time.Minute

// keepVersion is the format of the file. A file of another version is not read.
const keepVersion = 1

// keptAttempts is how many failures in a row are told apart: from there on the back-off is at its cap.
const keptAttempts = 9

// maxKeepFile is far more than the file has.
const maxKeepFile = 4 << 10

// What is kept over restarts, in Options.StateFile:
//
//	{"version":1,"attempt":3,"kind":"throttled","day":"2026-11-23","day_up":917504,"day_down":65536,"day_billed":3276800,"day_records":28800}
type kept struct {
	Version    int    `json:"version"`
	Attempt    int    `json:"attempt"`        // failures in a row, at most keptAttempts
	Kind       string `json:"kind,omitempty"` // of the last of them
	Day        string `json:"day,omitempty"`  // in UTC; empty: none was known yet
	DayUp      uint64 `json:"day_up"`
	DayDown    uint64 `json:"day_down"`
	DayBilled  uint64 `json:"day_billed"`
	DayRecords uint64 `json:"day_records"`
}

// recall reads what was kept. A file that is missing, damaged or of another version is as good as none.
func (u *Uplink) recall() {
	u.kept, u.keptAt = kept{Version: keepVersion}, time.Now()
	if u.o.StateFile == "" {
		return
	}
	var k kept
	var text []byte
	var err error
	u.onDisk(func() { text, err = readSmall(u.o.StateFile, maxKeepFile) })
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err == nil && k.Version != keepVersion {
		err = fmt.Errorf("it has version %d", k.Version)
	}
	if err != nil {
		u.o.Log.Warn("what the uplink kept is not read: its day's count and back-off begin anew",
			slog.String("file", u.o.StateFile), slog.String("error", err.Error()))
		return
	}
	k.Attempt = min(max(k.Attempt, 0), keptAttempts)
	u.kept = k
}

// keep writes what is kept, if anything of it matters now: a change of the back-off always, the count now and then. As long as the
// disk was not there it does not: there may be a file on it that is to be read first.
func (u *Uplink) keep(atOnce bool) {
	if !u.diskThere {
		return
	}
	k := u.kept
	k.Attempt = min(u.attempt, keptAttempts)
	k.Kind = ""
	if k.Attempt > 0 {
		k.Kind = u.lastKind.String()
	}
	if k.Attempt == u.kept.Attempt && k.Kind == u.kept.Kind && (!u.counted || !atOnce && time.Since(u.keptAt) < keepEvery) {
		return
	}
	u.kept, u.keptAt, u.counted = k, time.Now(), false
	if u.o.StateFile == "" {
		return
	}
	text, err := json.Marshal(k)
	if err == nil {
		u.onDisk(func() { err = writeSmall(u.o.StateFile, text) })
	}
	if err != nil && !u.keepTold {
		u.o.Log.Warn("the uplink's state cannot be kept over a restart", slog.String("file", u.o.StateFile), slog.String("error", err.Error()))
	}
	u.keepTold = err != nil
}

// count adds what went over the wire since the last time, and records that were taken and what is charged for them, to the day.
func (u *Uplink) count(records, billed uint64) {
	if u.o.Today != nil {
		if now, known := u.o.Today(); known {
			if day := now.UTC().Format(time.DateOnly); day != u.kept.Day {
				u.kept.Day, u.kept.DayUp, u.kept.DayDown, u.kept.DayBilled, u.kept.DayRecords = day, 0, 0, 0, 0
				u.counted = true
			}
		}
	}
	if c, ok := u.o.Sink.(ByteCounter); ok {
		up, down := c.Bytes()
		if up != u.wireUp || down != u.wireDown {
			u.kept.DayUp += up - u.wireUp
			u.kept.DayDown += down - u.wireDown
			u.wireUp, u.wireDown, u.counted = up, down, true
		}
	}
	if records > 0 {
		u.kept.DayRecords += records
		u.kept.DayBilled += billed
		u.counted = true
	}
	u.update(func(s *Status) {
		s.Day, s.DayUp, s.DayDown, s.DayBilled, s.DayRecords = u.kept.Day, u.kept.DayUp, u.kept.DayDown, u.kept.DayBilled, u.kept.DayRecords
		s.DayBytes = s.DayUp + s.DayDown
	})
}

// left returns how many bytes of the day's budget are left, and false if there is no budget.
func (u *Uplink) left() (int64, bool) {
	if u.o.DailyBytes <= 0 {
		return 0, false
	}
	return max(u.o.DailyBytes-int64(u.kept.DayUp+u.kept.DayDown), 0), true
}

// budgetPause is how often a backlog that waits for the next day looks whether it has come.
const budgetPause = time.Minute

// leastBudgetCall is the smallest call that the rest of a budget is worth being spent on: less is mostly its head.
const leastBudgetCall = 8 << 10

// withhold reports whether older records have to wait for the next day, and limits the next call to what is left of the budget.
func (u *Uplink) withhold() bool {
	left, limited := u.left()
	u.pack.most = 0
	if !limited {
		return false
	}
	// On the wire an entry is base64, and there are heads both ways.
	u.pack.most = max(int(min(left, MaxCallBytes))*3/4-leastBudgetCall/2, leastBudgetCall)
	return left < leastBudgetCall
}

// noteBudget notes whether records wait for the next day.
func (u *Uplink) noteBudget(waiting bool) {
	if waiting == u.budgetWaits {
		return
	}
	u.budgetWaits = waiting
	u.mu.Lock()
	state := u.status.State
	u.mu.Unlock()
	if state == StateOK || state == StateStarting || state == StateWaiting || state == StateBudget {
		u.settle()
	}
}
