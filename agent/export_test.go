package agent

import "time"

// SetBoard puts a boot, its system clock, and whether that is synchronised in place of the board's own.
func (o *Options) SetBoard(bootID string, now func() time.Time, synced bool) {
	o.board = board{bootID: bootID, now: now, synced: func() bool { return synced }}
}
