package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"obdagent/agent/clock"
	"obdagent/agent/config"
	"obdagent/agent/fusion"
	"obdagent/agent/record"
	"obdagent/agent/status"
	"obdagent/agent/uplink"
	"obdagent/buffer"
	"obdagent/gps"
	"obdagent/obd"
)

// Options says what to run. Config is needed.
type Options struct {
	Config  *config.Config
	Version string
	// Build is the earliest time that is believed; default Floor.
	Build time.Time
	// Logger gets transitions and details; default: discarded.
	Logger *slog.Logger
	// LogLevel, if set, is Logger's level, which obdagent log-level then changes.
	LogLevel *slog.LevelVar
	// Credentials, if set, are used in place of the configured source of credentials.
	Credentials *uplink.Credentials
	// Installed, if set, is the file with AWS keys that systemd would hand over. It is read where systemd has not started this
	// process, the file is there, and neither configuration nor environment name another.
	Installed string
	// DrainOnStop is how long stopping may take to deliver what is buffered; 0: it is not tried.
	DrainOnStop time.Duration
	// Capture, if set, gets what passes through the adapter's and the receiver's port, as JSON lines (obd.Captured; ports "obd" and "gps").
	Capture io.Writer
	// OnRecord, if set, sees each record that the buffer has taken. It must not block.
	OnRecord func(record.Record)

	systemd systemd // what tests put in its place; zero: the one that started this process
	board   board   // what tests put in place of the board's own; zero: the board
}

// A systemd is who started the process: both are as those of go-systemd's daemon.
type systemd struct {
	notify   func(state string) error
	watchdog time.Duration // within which it wants to be fed; 0: it has none
}

// A board is what a board believes of the time by itself.
type board struct {
	bootID string           // of the running boot
	now    func() time.Time // the system clock
	synced func() bool      // whether the kernel calls it synchronised
}

// Floor is a moment before which no build of this program was made: the earliest time that is believed where the build does
// not tell its own.
var Floor = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// An Agent is the daemon. Make one with New and let it Run once.
type Agent struct {
	opts     Options
	cfg      *config.Config // at the start
	log      *slog.Logger
	deviceID string
	started  time.Duration // boottime

	ports   ports
	clock   *clock.Clock
	car     source[obd.Car]
	gps     source[gps.Receiver]
	buffer  *buffer.Log
	uplink  *uplink.Uplink
	encode  *encoder
	status  *status.Log // nil without a status log
	traffic *status.Feed
	page    *status.Page
	tap     *capture // nil without Options.Capture

	newID       func() uuid.UUID               // of records; used by fuse alone
	reload      sync.Mutex                     // one at a time
	inForce     atomic.Pointer[config.Config]  // cfg, with what was reloaded since
	configState atomic.Pointer[status.Config]  // how that stands to the file
	refit       atomic.Pointer[fusion.Options] // for fusion, which has not seen them yet
	refitted    chan struct{}                  // tells fusion so

	events    chan event    // from the sources to fusion
	commit    chan struct{} // asks for a commit at once
	dropped   atomic.Uint64 // events that found the channel full
	clockStep atomic.Bool   // the time source contradicted itself since fusion last looked
	made      atomic.Uint64 // records the buffer took
	refused   atomic.Uint64 // records it did not take
	undated   atomic.Uint64 // records made before the time was known
	lastMade  atomic.Int64  // boottime in ns; 0: none yet
	lastSpeed atomic.Pointer[obd.Sample]
	noSpeed   atomic.Pointer[string]     // why the latest answer held no speed; nil: it held one
	curve     *fusion.Curve              // nil without record.curve; used by fuse alone
	leftOut   atomic.Uint64              // records that curve left out
	lag       atomic.Pointer[fusion.Lag] // of the receiver behind the car
	pulses    pulses                     // for the watchdog

	judging sync.Mutex     // makes snapshots one at a time
	history status.History // guarded by judging
}

// event is what a source has to say; exactly one field is set.
type event struct {
	sample  *obd.Sample
	vehicle *obd.Vehicle
	trouble *obd.Trouble
	car     *obd.StateChange
	fix     *gps.Fix
	at      time.Duration // of a change of the car
}

// eventQueue bounds what waits for fusion: at 20 answers and 10 epochs a second half a minute of a stalled board.
const eventQueue = 1024

// New builds an agent. It opens the buffer, and neither ports nor connections; ctx bounds reading the credentials' files.
func New(ctx context.Context, o Options) (_ *Agent, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Build.IsZero() {
		o.Build = Floor
	}
	if o.systemd.notify == nil {
		o.systemd = startedBy()
	}
	a := &Agent{opts: o, cfg: o.Config, log: o.Logger, started: clock.Boottime(),
		car: newSource[obd.Car](), gps: newSource[gps.Receiver](),
		events: make(chan event, eventQueue), commit: make(chan struct{}, 1), refitted: make(chan struct{}, 1)}
	a.inForce.Store(a.cfg)
	a.configState.Store(&status.Config{})
	a.traffic = status.NewFeed(a.now)
	a.page = status.NewPage(a.Snapshot, func() bool { return a.inForce.Load().Status.PagePosition })
	if o.Capture != nil {
		a.tap = newCapture(o.Capture, a.log)
	}
	ids, err := record.NewIDs()
	if err != nil {
		return nil, err
	}
	a.newID = ids.Next
	if a.deviceID = a.cfg.Vehicle.DeviceID; a.deviceID == "" {
		if a.deviceID, err = BoardID(); err != nil {
			return nil, err
		}
	}
	if err := a.openSources(); err != nil {
		return nil, err
	}
	if a.buffer, err = buffer.Open(buffer.Options{
		Dir:      a.cfg.Buffer.Dir,
		MaxBytes: a.cfg.Buffer.MaxBytes,
		Sync:     a.cfg.Buffer.Sync,
		Overflow: buffer.Overflow(a.cfg.Buffer.Overflow),
		Logger:   a.log.With("part", "buffer"),
	}); err != nil {
		return nil, err // it says "open buffer", which, and what to do
	}
	if err := a.openRest(ctx); err != nil {
		return nil, errors.Join(err, a.buffer.Close())
	}
	return a, nil
}

func (a *Agent) openSources() error {
	car, err := a.newCar(a.cfg)
	if err != nil {
		return err
	}
	receiver, err := a.newReceiver(a.cfg)
	if err != nil {
		return err
	}
	a.car.replace(car)
	a.gps.replace(receiver)
	return nil
}

// newCar is the car of a configuration; nil with obd.port none.
func (a *Agent) newCar(cfg *config.Config) (*obd.Car, error) {
	if cfg.OBD.Port == config.None {
		return nil, nil
	}
	return obd.New(obd.Options{
		Port:    cfg.OBD.Port,
		Baud:    cfg.OBD.Baud,
		MaxRate: cfg.OBD.MaxRate,
		Period:  cfg.OBD.Period,
		Custom:  customPIDs(cfg),
		Memory:  filepath.Join(a.cfg.Buffer.Dir, "obd.json"),
		Capture: a.tap.port("obd", a.traffic.OBD),
		Pulse:   a.pulses.car.patient,
		Now:     clock.Boottime,
		Claim:   a.ports.claim("car's adapter"),
		Logger:  a.log.With("part", "obd"),
	})
}

// newReceiver is the receiver of a configuration; nil with gps.source none.
func (a *Agent) newReceiver(cfg *config.Config) (*gps.Receiver, error) {
	if cfg.GPS.Source == config.None {
		return nil, nil
	}
	return gps.New(gps.Options{
		Source:  cfg.GPS.Source,
		Baud:    cfg.GPS.Baud,
		Init:    cfg.GPS.Init,
		Now:     clock.Boottime,
		Claim:   a.ports.claim("GPS"),
		Memory:  filepath.Join(a.cfg.Buffer.Dir, "gps.json"),
		Capture: a.tap.port("gps", a.traffic.NMEA),
		Pulse:   a.pulses.gps.patient,
		Logger:  a.log.With("part", "gps"),
	})
}

func (a *Agent) openRest(ctx context.Context) error {
	var err error
	board := a.opts.board
	if board.bootID == "" {
		if board.bootID, err = clock.BootID(); err != nil {
			return err
		}
		board.now, board.synced = time.Now, clock.Synced
	}
	// The offsets of boots lie with the records that they date: a copied buffer directory can still be read.
	a.clock, err = clock.Open(clock.Options{
		BootID:   board.bootID,
		Build:    a.opts.Build,
		Boottime: clock.Boottime,
		System:   board.now,
		Synced:   board.synced,
		Path:     filepath.Join(a.cfg.Buffer.Dir, "clock.json"),
		OnChange: a.clockChanged,
	})
	if a.clock == nil {
		return err
	}
	if err != nil {
		a.log.Warn("earlier boots' records will go without a time", "err", err)
	}
	if a.cfg.Status.Log != "" {
		a.status = status.NewLog(a.cfg.Status.Log, a.now, clock.Boottime)
	}
	a.uplink, err = a.newUplink(ctx)
	return err
}

// now is the best known time, for all that talks to the outside.
func (a *Agent) now() time.Time {
	t, _ := a.clock.Now()
	return t
}

// Run runs the agent until ctx is done, and stops it in order. A nil error means that everything is committed.
func (a *Agent) Run(ctx context.Context) error {
	sources := []task{
		{"gps", func(ctx context.Context) error {
			return a.gps.run(ctx, func(ctx context.Context, r *gps.Receiver) error {
				defer a.pulses.gps.beat(0)
				return r.Run(ctx, a.gpsHandler())
			})
		}},
		{"obd", func(ctx context.Context) error {
			return a.car.run(ctx, func(ctx context.Context, c *obd.Car) error {
				defer a.pulses.car.beat(0)
				return c.Run(ctx, a.carHandler())
			})
		}},
	}
	fuser := a.newFuser()
	outer := []task{{"supervisor", a.supervise}}
	if a.cfg.Status.Socket != "" {
		outer = append(outer, task{"status socket", func(ctx context.Context) error {
			return status.Serve(ctx, a.cfg.Status.Socket, a.Snapshot, a.endpoints()...)
		}})
	}
	if a.cfg.Status.Listen != "" {
		outer = append(outer, task{"page", a.servePage})
	}
	var logged []task
	if a.status != nil {
		logged = append(logged, task{"status log", a.runStatusLog})
	}
	a.transition("agent", "", "running", a.about())
	var closed error
	err := runStages(ctx, []stage{
		{tasks: sources},
		{tasks: []task{{"fusion", func(ctx context.Context) error { return a.fuse(ctx, fuser) }}}, after: func() {
			a.commitNow()
			a.drain(ctx)
		}},
		{tasks: []task{{"uplink", a.runUplink}, {"link", a.watchLink}}},
		{tasks: []task{{"buffer", a.buffer.Run}, {"commits", a.commits}, {"clock's file", a.clock.Run}}, after: func() {
			if closed = a.buffer.Close(); closed != nil {
				closed = fmt.Errorf("close the buffer: %w", closed)
			}
			a.transition("agent", "running", "stopped", "")
		}},
		{tasks: outer},
		{tasks: logged},
	})
	return errors.Join(err, closed)
}

// about is what a debugger who has nothing but the status log must know of the process.
func (a *Agent) about() string {
	return fmt.Sprintf("version %s, device %s, boot %s, obd.port %s, gps.source %s, to %s", a.opts.Version, a.deviceID, a.clock.Status().BootID,
		a.cfg.OBD.Port, a.cfg.GPS.Source, a.uplink.Status().Sink)
}

func (a *Agent) runUplink(ctx context.Context) error {
	defer a.pulses.uplink.beat(0)
	return a.uplink.Run(ctx)
}

// drain delivers what is committed before the uplink is stopped, where stopping may take that long.
func (a *Agent) drain(ctx context.Context) {
	if a.opts.DrainOnStop == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opts.DrainOnStop)
	defer cancel()
	if err := a.uplink.Drain(ctx); err != nil {
		a.log.Warn("not everything was delivered before stopping; it stays in the buffer", "err", err)
	}
}

// commits makes commits that are asked for.
func (a *Agent) commits(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.commit:
			a.commitNow()
		}
	}
}

func (a *Agent) commitNow() {
	if err := a.buffer.Commit(); err != nil {
		// The buffer keeps the records, tries again, and says so in its state.
		a.log.Warn("commit", "err", err)
	}
}

// runStatusLog keeps the agent running when the log's disk fails: the log is for the debugger, the records are for the owner.
func (a *Agent) runStatusLog(ctx context.Context) error {
	if err := a.status.Run(ctx); err != nil {
		a.log.Warn("some lines are missing in the status log", "err", err)
	}
	return nil
}

// transition tells of a change of state: one line in the status log, one in the journal.
func (a *Agent) transition(part, from, to, reason string) {
	a.log.Info(part+" "+to, "from", from, "reason", reason)
	a.logEvent(part, "from", from, "to", to, "reason", reason)
}

// event tells of something else than a change of state, likewise.
func (a *Agent) event(name string, pairs ...string) {
	args := make([]any, len(pairs))
	for i, p := range pairs {
		args[i] = p
	}
	a.log.Info(name, args...)
	a.logEvent(name, pairs...)
}

func (a *Agent) logEvent(name string, pairs ...string) {
	line := status.Pairs(append([]string{"event", name}, pairs...)...)
	if a.status != nil {
		a.status.Event(line)
	}
	a.page.Line(a.clockTime() + line)
}

// clockTime begins a line of the page.
func (a *Agent) clockTime() string {
	return a.now().UTC().Format(time.TimeOnly) + " "
}

func (a *Agent) clockChanged(c clock.Change) {
	a.transition("clock", string(c.From), string(c.To), c.Reason)
	if c.From == clock.GNSS {
		a.clockStep.Store(true)
	}
}

func (a *Agent) newFuser() *fusion.Fuser {
	if c := a.cfg.Record.Curve; c != nil {
		a.curve = fusion.NewCurve(c.PositionM, c.SpeedKmh)
	}
	return fusion.New(a.fusionOptions(a.cfg))
}

// fusionOptions are those of a configuration.
func (a *Agent) fusionOptions(cfg *config.Config) fusion.Options {
	ages := map[string]time.Duration{}
	for _, p := range cfg.OBD.PID {
		ages[p.Name] = 2*p.Period + 2*time.Second
	}
	for name, period := range cfg.OBD.Period {
		// One answer may be missed, and slow signals stretch when the adapter is slow.
		ages[name] = 2*period + 2*time.Second
	}
	return fusion.Options{
		Interval:       cfg.Record.Interval,
		ParkedInterval: cfg.Record.ParkedInterval,
		MaxAge:         ages,
		VIN:            cfg.Vehicle.VIN,
		DeviceID:       a.deviceID,
		BootID:         a.clock.Status().BootID,
		NewID:          a.newID,
		Clock:          a.clock,
		Car:            cfg.OBD.Port != config.None,
		GPS:            cfg.GPS.Source != config.None,
		Fuel:           cfg.Vehicle.Fuel,
		DisplacementL:  cfg.Vehicle.DisplacementL,
	}
}

// asideFile holds records that can never be sent, beside those that wait.
func (a *Agent) asideFile() string { return filepath.Join(a.cfg.Buffer.Dir, "aside.jsonl") }

// maxAsideBytes bounds the file of records that were set aside: a fault that sets all aside must not fill the disk.
const maxAsideBytes = 4 << 20

// setAside keeps a record that can never be sent, for a person to look at, and says so.
func (a *Agent) setAside(seq uint64, stored []byte, reason error) {
	var refused *uplink.RefusedError
	if stored == nil && errors.As(reason, &refused) {
		stored = refused.Line
	}
	a.transition("record", "", "set aside", fmt.Sprintf("sequence number %d: %v", seq, reason))
	if err := appendBounded(a.asideFile(), stored, maxAsideBytes); err != nil {
		a.log.Warn("a record that cannot be sent could not be kept either", "seq", seq, "err", err)
	}
}

func appendBounded(path string, line []byte, limit int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size()+int64(len(line)) > limit {
		err = fmt.Errorf("%s is full", path)
	}
	if err == nil {
		_, err = f.Write(line)
	}
	return errors.Join(err, f.Close())
}
