package agent

import (
	"time"

	"obdagent/agent/clock"
	"obdagent/agent/fusion"
	"obdagent/gps"
)

// SetBoard puts a boot, its system clock, and whether that is synchronised in place of the board's own.
func (o *Options) SetBoard(bootID string, now func() time.Time, synced bool) {
	o.board = board{bootID: bootID, now: now, synced: func() bool { return synced }}
}

// Clock is the agent's.
func (a *Agent) Clock() *clock.Clock { return a.clock }

// Fuse feeds an epoch to f as the agent's own fusion does; the record, if there is one, is dropped.
func (a *Agent) Fuse(f *fusion.Fuser, x gps.Fix) { a.feedFix(f, x) }
