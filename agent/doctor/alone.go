package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"obdagent/agent"
	"obdagent/agent/config"
	"obdagent/agent/status"
)

const (
	// aloneLinger and aloneInterval make the round trip of a first record short.
	aloneLinger   = time.Second
	aloneInterval = 5 * time.Second
	// aloneTimeWait is how long a record waits for the receiver's time, which comes three epochs after the first fix.
	aloneTimeWait = 15 * time.Second
	// deviceSuffix keeps the records of a test apart from the daemon's: their sequence numbers begin anew.
	deviceSuffix = "-doctor"
)

// An Agent is one of the doctor's own, for where the daemon does not run.
type Agent struct {
	agent *agent.Agent
	stop  func() error
	// Refused is why the configured uplink could not be set up; records then go nowhere.
	Refused error
}

// Alone starts an agent with the ports and the uplink of o.Config, and a buffer that ends with it. Stop must be called. ctx bounds the start only.
func Alone(ctx context.Context, o agent.Options) (_ *Agent, err error) {
	dir, err := os.MkdirTemp("", "obdagent-doctor-")
	if err != nil {
		return nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	cfg := *o.Config
	if cfg.Vehicle.DeviceID == "" {
		if cfg.Vehicle.DeviceID, err = agent.BoardID(); err != nil {
			return nil, errors.Join(err, remove())
		}
	}
	cfg.Vehicle.DeviceID += deviceSuffix
	learned(o.Config.Buffer.Dir, filepath.Join(dir, "buffer"))
	cfg.Buffer.Dir = filepath.Join(dir, "buffer")
	cfg.Status = config.Status{}
	cfg.Record.Interval = min(cfg.Record.Interval, aloneInterval)
	cfg.Record.ParkedInterval = min(cfg.Record.ParkedInterval, aloneInterval)
	cfg.Record.Curve = nil // it would hold the first record back
	cfg.Uplink.Linger = min(cfg.Uplink.Linger, aloneLinger)
	cfg.Uplink.TimeWait = min(cfg.Uplink.TimeWait, aloneTimeWait)
	o.Config = &cfg
	d := &Agent{}
	if d.agent, err = agent.New(ctx, o); err != nil {
		// Without its uplink the rest can still be examined.
		d.Refused = err
		cfg.Uplink = config.Default().Uplink
		cfg.Uplink.Kind, cfg.Uplink.Path = config.KindDirectory, filepath.Join(dir, "nowhere")
		if d.agent, err = agent.New(ctx, o); err != nil {
			return nil, errors.Join(err, remove())
		}
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- d.agent.Run(running) }()
	d.stop = func() error {
		cancel()
		return errors.Join(<-done, remove())
	}
	return d, nil
}

// Snapshot is what the agent says of itself.
func (d *Agent) Snapshot(context.Context) (status.Snapshot, error) { return d.agent.Snapshot(), nil }

// Stop ends the agent and removes its buffer.
func (d *Agent) Stop() error {
	if err := d.stop(); err != nil {
		return fmt.Errorf("the agent of the test: %w", err)
	}
	return nil
}

// learned copies what the daemon has learned of ports and adapter, which spares probing. Its loss costs seconds.
func learned(from, to string) {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return // the buffer says so
	}
	for _, name := range []string{"obd.json", "gps.json"} {
		if text, err := os.ReadFile(filepath.Join(from, name)); err == nil {
			_ = os.WriteFile(filepath.Join(to, name), text, 0o600) // as above
		}
	}
}
