package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"obdagent/agent"
	"obdagent/agent/config"
	"obdagent/agent/record"
	"obdagent/agent/report"
	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
	"obdagent/gps/nmeasim"
	"obdagent/obd/elmsim"
)

// Bucket is the directory below Options.Dir that holds the delivered objects, and the name of the bucket that it stands for.
const Bucket = "sd-vehicle-data"

// ErrEarlierRun is wrapped in Run's error where Options.Dir has been used before.
var ErrEarlierRun = errors.New("an earlier run is in there")

const (
	// deliverEvery is how long the local endpoint buffers: a run of 30 s then makes a handful of objects.
	deliverEvery = 5 * time.Second
	// timeWait is how long a record waits for the receiver's time: an agent that is stopped within its first seconds may never
	// learn it, and delivers with the system clock's before drainFor is over. The receiver's takes 3 epochs.
	timeWait = 5 * time.Second
	// drainFor is how long the end of the demo waits until everything is delivered.
	drainFor = 15 * time.Second
)

// credentials are those of the local endpoint, which checks each signature against them.
var credentials = uplink.Credentials{AccessKeyID: "AKIDEMO0000000000000", SecretAccessKey: "demo-secret-of-a-local-endpoint"}

// Options says how the demo runs. Dir is needed.
type Options struct {
	For     time.Duration // how long the van drives
	Dir     string        // where everything goes; the delivered objects under sd-vehicle-data
	Seed    uint64        // of the trip and of the faults
	Rate    int           // epochs of the receiver a second, 1 to 10; a record is made of each
	Faults  bool          // pull cables, break replies, throttle and fail the endpoint
	Version string
	Logger  *slog.Logger // of the agent; default: discarded
	Out     io.Writer    // the live view and the result
	Live    bool         // Out is a terminal: the live view is one line that changes
}

// Result is what came out.
type Result struct {
	Report  *report.Report
	Made    int         // records that the agent made
	Missing []uuid.UUID // of these, not delivered
	Foreign int         // delivered, but never made
	Deliver firehosetest.Counters
	Truth   func(time.Time) State // where the van was, and what its instruments had to say
}

// OK reports whether every record that was made was delivered, and nothing else. problem says what is wrong.
func (r *Result) OK(faults bool) (problem string, ok bool) {
	switch {
	case r.Made == 0:
		return "no record was made", false
	case len(r.Missing) > 0:
		return fmt.Sprintf("%d of %d records made were not delivered, the first %s", len(r.Missing), r.Made, r.Missing[0]), false
	case r.Foreign > 0:
		return fmt.Sprintf("%d records were delivered that were never made", r.Foreign), false
	case r.Report.Damaged > 0:
		return fmt.Sprintf("%d delivered lines are damaged", r.Report.Damaged), false
	case r.Report.Total.Duplicates > 0 && !faults:
		return fmt.Sprintf("%d records were delivered twice, though nothing failed", r.Report.Total.Duplicates), false
	}
	return "", true
}

// Run runs the demo. Its error is of what it needs from the machine; bad news about the records are in the Result.
func Run(ctx context.Context, o Options) (_ *Result, err error) {
	if err := prepare(o.Dir); err != nil {
		return nil, err
	}
	fmt.Fprintf(o.Out, "obdagent demo: trip %d for %v, everything in %s\n", o.Seed, o.For, o.Dir)
	server, err := firehosetest.New(firehosetest.Options{
		Addr:        "127.0.0.1:0",
		Streams:     []firehosetest.Stream{{Name: config.Default().Uplink.Stream, Bucket: Bucket, Interval: deliverEvery}},
		Credentials: []firehosetest.Credentials{{AccessKeyID: credentials.AccessKeyID, SecretAccessKey: credentials.SecretAccessKey}},
		Dir:         o.Dir,
		Seed:        o.Seed,
	})
	if err != nil {
		return nil, err
	}
	sim, err := NewSimulation(simOptions(o))
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	made := &ledger{}
	a, err := agent.New(ctx, agent.Options{
		Config: configure(o, sim, server.URL()), Version: o.Version, Logger: o.Logger, Credentials: &credentials,
		DrainOnStop: drainFor, OnRecord: made.add,
	})
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	if err := drive(ctx, o, sim, server, a); err != nil {
		return nil, err
	}
	r, err := readBack(ctx, filepath.Join(o.Dir, Bucket), made, server.Counters())
	if err != nil {
		return nil, err
	}
	r.Truth = sim.At
	return r, nil
}

// prepare makes the directory, and refuses one with an earlier run's objects in it: they would be counted with this run's.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{Bucket, "buffer"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("%s: %w: name another directory", dir, ErrEarlierRun)
		}
	}
	// Also a run that delivers nothing has a place to read back from.
	return os.Mkdir(filepath.Join(dir, Bucket), 0o755)
}

func simOptions(o Options) SimOptions {
	s := SimOptions{Dir: o.Dir, Seed: o.Seed, Rate: o.Rate}
	if o.Faults {
		s.CarFaults = map[elmsim.Fault]float64{elmsim.NoData: 0.01, elmsim.Truncate: 0.01, elmsim.GarbageBytes: 0.01,
			elmsim.BufferFull: 0.01, elmsim.NULs: 0.01, elmsim.ForeignECUFirst: 0.01}
		s.GPSFaults = nmeasim.Faults{Cut: 0.03, Garbage: 0.03, NUL: 0.02, Binary: 0.02, NoFix: 0.03}
	}
	return s
}

// configure is the agent's configuration: the defaults, but for where things are and for how long records wait.
func configure(o Options, sim *Simulation, endpoint string) *config.Config {
	c := config.Default()
	c.Vehicle.DeviceID = "demo"
	c.OBD.Port = sim.CarPort()
	c.GPS.Source = sim.GPSPort()
	c.Record.Interval = time.Second / time.Duration(max(o.Rate, 1))
	c.Record.ParkedInterval = c.Record.Interval // a demo that stands at a traffic light still moves
	c.Buffer.Dir = filepath.Join(o.Dir, "buffer")
	c.Uplink.Endpoint = endpoint
	c.Uplink.Linger = time.Second
	c.Uplink.TimeWait = timeWait
	c.Status.Log = filepath.Join(o.Dir, "status.log")
	c.Status.Socket = filepath.Join(o.Dir, "status.sock")
	return &c
}

// drive lets everything run for its time, and stops it in order: agent, simulation, endpoint.
func drive(ctx context.Context, o Options, sim *Simulation, server *firehosetest.Server, a *agent.Agent) error {
	// The parts stop one after the other, whatever ends the drive.
	background := context.WithoutCancel(ctx)
	serve := start(background, server.Run)
	simulate := start(background, sim.Run)
	run := start(background, a.Run)

	drive, stop := context.WithTimeout(ctx, o.For)
	defer stop()
	var faults sync.WaitGroup
	if o.Faults {
		faults.Go(func() { breakThings(drive, o, sim, server) })
	}
	view := time.NewTicker(500 * time.Millisecond)
	defer view.Stop()
	began := time.Now()
	screen := screen{out: o.Out, live: o.Live, total: o.For}
	for drive.Err() == nil {
		select {
		case <-drive.Done():
		case <-run.done:
			stop() // it has ended by itself: run.stop says why
		case <-view.C:
			screen.show(time.Since(began), a.Snapshot())
		}
	}
	faults.Wait()
	server.SetFaults(firehosetest.Faults{})
	screen.end("delivering what is left")
	// The agent first, while what it needs still runs.
	return errors.Join(run.stop(), simulate.stop(), serve.stop())
}

// A part is something that runs until it is stopped.
type part struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
}

func start(ctx context.Context, run func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(ctx)
	p := &part{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = run(ctx)
	}()
	return p
}

func (p *part) stop() error {
	p.cancel()
	<-p.done
	return p.err
}

// breakThings does to the agent what a day on the road does, in the middle eight tenths of the drive.
func breakThings(ctx context.Context, o Options, sim *Simulation, server *firehosetest.Server) {
	flaky := firehosetest.Faults{Throttle: 0.15, FailEntry: 0.2, CutBefore: 0.05, CutAfter: 0.05}
	short := max(o.For/15, time.Second)
	server.SetFaults(flaky)
	events := []struct {
		at float64 // of the drive
		do func()
	}{
		{0.30, func() { sim.PullGPS(short) }},
		{0.50, func() { sim.PullCar(short) }},
		{0.65, func() { f := flaky; f.Down = true; server.SetFaults(f) }},
		{0.80, func() { server.SetFaults(flaky) }},
	}
	began := time.Now()
	for _, e := range events {
		timer := time.NewTimer(time.Until(began.Add(time.Duration(e.at * float64(o.For)))))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			e.do()
		}
	}
}

// ledger notes every record made.
type ledger struct {
	mu  sync.Mutex
	ids []uuid.UUID
}

func (l *ledger) add(r record.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, r.ID)
}

// readBack reads what was delivered, and compares it with what was made.
func readBack(ctx context.Context, dir string, made *ledger, counters firehosetest.Counters) (*Result, error) {
	delivered := map[uuid.UUID]bool{}
	rep, err := report.Read(context.WithoutCancel(ctx), report.Directory(dir), report.Options{
		Each: func(l report.Line) { delivered[l.ID] = true },
	})
	if err != nil {
		return nil, err
	}
	r := &Result{Report: rep, Made: len(made.ids), Deliver: counters}
	for _, id := range made.ids {
		if !delivered[id] {
			r.Missing = append(r.Missing, id)
		}
		delete(delivered, id)
	}
	r.Foreign = len(delivered)
	return r, nil
}
