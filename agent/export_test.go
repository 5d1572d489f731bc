package agent

import (
	"context"
	"time"

	"obdagent/agent/clock"
	"obdagent/agent/fusion"
	"obdagent/agent/uplink"
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

// A Source is a source.
type Source[S any] struct{ source source[S] }

// NewSource is newSource.
func NewSource[S any]() *Source[S] { return &Source[S]{newSource[S]()} }

// Now is what runs.
func (s *Source[S]) Now() *S { return s.source.now() }

// Replace puts another in its place.
func (s *Source[S]) Replace(next *S) { s.source.replace(next) }

// Run runs it.
func (s *Source[S]) Run(ctx context.Context, run func(context.Context, *S) error) error {
	return s.source.run(ctx, run)
}

// StreamOptions say which stream is written to, and with whose credentials.
func (a *Agent) StreamOptions() (uplink.StreamOptions, error) { return a.streamOptions() }
