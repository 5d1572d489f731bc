package agent

import (
	"context"
	"fmt"
	"time"

	"obdagent/agent/clock"
	"obdagent/agent/config"
	"obdagent/agent/record"
	"obdagent/agent/uplink"
	"obdagent/buffer"
)

func (a *Agent) newUplink(ctx context.Context) (*uplink.Uplink, error) {
	encoder, err := a.newEncoder()
	if err != nil {
		return nil, err
	}
	u := &a.cfg.Uplink
	var sink uplink.Sink
	switch u.Kind {
	case config.KindDirectory:
		extension := ""
		if u.Compression == config.CompressionGzip {
			extension = ".gz"
		}
		sink, err = uplink.NewDirectory(uplink.DirectoryOptions{Path: u.Path, Stream: u.Stream, Extension: extension, Now: a.now})
	case config.KindFirehose:
		sink, err = uplink.NewFirehose(ctx, uplink.FirehoseOptions{
			Stream: u.Stream, Region: u.Region, Endpoint: u.Endpoint, Now: a.now, Credentials: a.opts.Credentials,
		})
	default:
		err = fmt.Errorf("uplink.kind %q: not built yet", u.Kind)
	}
	if err != nil {
		return nil, err
	}
	return uplink.New(a.buffer, uplink.Options{
		Encoder:   encoder,
		Sink:      sink,
		Linger:    u.Linger,
		Pack:      u.Pack,
		Gzip:      u.Compression == config.CompressionGzip,
		LiveFirst: u.Order == config.OrderLiveFirst,
		Aside:     a.setAside,
		OnState: func(c uplink.StateChange) {
			a.transition("uplink", string(c.From), string(c.To), c.Reason)
		},
		Log: a.log.With("part", "uplink"),
	})
}

// encoder makes wire lines of stored records, and dates those that were made before the time was known.
type encoder struct {
	clock    *clock.Clock
	started  time.Duration // boottime of the agent's start
	timeWait time.Duration
	bootID   string
	text     *record.TextFormat // nil: JSON
}

func (a *Agent) newEncoder() (*encoder, error) {
	e := &encoder{clock: a.clock, started: a.started, timeWait: a.cfg.Uplink.TimeWait, bootID: a.clock.Status().BootID}
	if a.cfg.Record.Format == config.FormatText {
		t, err := record.NewTextFormat(a.cfg.Record.Fields)
		if err != nil {
			return nil, fmt.Errorf("record.fields: %w", err)
		}
		e.text = &t
	}
	return e, nil
}

// Encode implements uplink.Encoder.
func (e *encoder) Encode(dst, stored []byte, lost []buffer.Lost) ([]byte, error) {
	r, err := record.Parse(stored)
	if err != nil {
		return dst, err
	}
	if r.Time.IsZero() {
		at := time.Duration(r.MonoMS) * time.Millisecond
		t, src, final := e.clock.Date(r.BootID, at, r.System)
		// A record waits from when it was made, or from when this process began to look, whichever is later.
		if !final && clock.Boottime()-max(at, e.started) < e.timeWait {
			return dst, uplink.ErrHold
		}
		r.Time, r.TimeSrc = t, src
	}
	for _, l := range lost {
		r.Lost = append(r.Lost, record.Lost{From: l.From, To: l.To, Reason: l.Reason})
	}
	if e.text != nil {
		return e.text.Append(dst, &r), nil
	}
	return r.AppendJSON(dst), nil
}
