package agent_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"obdagent/agent/clock"
	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/agent/record"
	"obdagent/agent/status"
	"obdagent/agent/uplink/firehosetest"
)

// How long the benchmarks of `obdagent run` look at the daemon: long enough for every timer of a default configuration when they
// are asked for by name (-bench=Run), and shorter when they are among all benchmarks.
const (
	watchNamed = time.Minute
	watchAmong = 5 * time.Second
)

func askedForByName() bool {
	f := flag.Lookup("test.bench")
	return f != nil && strings.Contains(f.Value.String(), "Run")
}

func watchTime() time.Duration {
	if askedForByName() {
		return watchNamed
	}
	return watchAmong
}

// BenchmarkRunAtOneHz is what `obdagent run` costs a board: a release's binary, as a process of its own, with the default
// configuration, a simulated adapter and a receiver of 1 Hz on pseudo-terminals, and the local endpoint. It looks at the process
// after the first records were made.
//
//	RSS-MiB       resident memory at the end, of which anon-MiB is the process's own; the rest are pages of the binary
//	peak-MiB      highest resident memory since the start
//	CPU-ms/min    user and system time of all threads
//	wakeups/min   voluntary context switches of all threads: each is one that went to sleep and was woken again
//	preempted/min the others: the processor was taken away from a thread that ran
func BenchmarkRunAtOneHz(b *testing.B) {
	p := startDaemon(b, daemonOptions{})
	p.untilLive(b)
	for range b.N {
		c := p.watch(b, watchTime())
		if c.records < 0.8 || c.records > 1.2 {
			b.Errorf("%.2f records a second, want 1", c.records)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRunParked is the same while the van stands with its ignition off, after a drive: the car counts as parked and is not
// asked, the receiver still tells its position each second, and a record is made each minute.
func BenchmarkRunParked(b *testing.B) {
	p := startDaemon(b, daemonOptions{parkedInterval: config.Default().Record.ParkedInterval})
	p.untilLive(b)
	p.park(b)
	for range b.N {
		if c := p.watch(b, watchTime()); c.requests > 0.1 {
			b.Errorf("a parked car was asked %.2f times a second", c.requests)
		}
	}
	if s := p.status(b); s.Car.State != "parked" {
		b.Errorf("the car is %s at the end: %s", s.Car.State, s.Car.Reason)
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRunStart is the time from the start of the process (exec) to its first records, on a directory without anything learned.
//
//	made-ms       the first record, with whatever is known: that the car answers
//	position-ms   the first with a position
//	speed-ms      the first with the car's own speed
//	on-disk-ms    a commit has covered the first record
//	delivered-ms  the endpoint has taken the first record
func BenchmarkRunStart(b *testing.B) {
	for _, c := range []struct {
		name string
		fast bool
		from daemonOptions
	}{
		// A receiver of 10 Hz is the fastest that is simulated.
		{"sources=at-once/linger=1s", true, daemonOptions{sim: demo.SimOptions{Fast: true, Rate: 10}, linger: time.Second}},
		{"sources=real-time/linger=1s", false, daemonOptions{linger: time.Second}},
		{"sources=real-time/linger=60s", false, daemonOptions{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			if c.from.linger == 0 && !askedForByName() {
				b.Skip("two minutes; ask for it by name: -bench=RunStart")
			}
			for range b.N {
				timeStart(b, c.from)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// timeStart starts a daemon once and reports when it had what.
func timeStart(b *testing.B, o daemonOptions) {
	b.Helper()
	o.json = true
	p := startDaemon(b, o)
	onDisk := time.Duration(0)
	p.until(b, 5*time.Millisecond, "delivery of a record with position and speed", func(s *status.Snapshot) bool {
		if onDisk == 0 && s.Record.Made > 0 && int(s.Record.Made) > s.Buffer.Unsynced {
			onDisk = clock.Boottime()
		}
		first := p.first()
		return onDisk > 0 && first.delivered > 0 && first.position > 0 && first.speed > 0
	})
	first := p.first()
	for _, m := range []struct {
		unit string
		at   time.Duration
	}{{"made-ms", first.made}, {"position-ms", first.position}, {"speed-ms", first.speed}, {"on-disk-ms", onDisk}, {"delivered-ms", first.delivered}} {
		b.ReportMetric(float64((m.at - p.began).Milliseconds()), m.unit)
	}
}

// daemonOptions say what a daemon is given. The zero value is the default configuration, but for a record each second also at a traffic
// light, and a simulation that takes the time of the real ones.
type daemonOptions struct {
	sim            demo.SimOptions
	linger         time.Duration // 0: the default
	parkedInterval time.Duration // 0: a second
	json           bool          // record.format; the endpoint then tells of the first records
	dir            string        // for buffer and status log; empty: a temporary one
	env            []string      // besides its credentials
}

// A daemon is a running `obdagent run`.
type daemon struct {
	pid    int
	socket string
	sim    *demo.Simulation
	began  time.Duration   // CLOCK_BOOTTIME just before exec
	exited <-chan struct{} // closed when it has ended, as it must not

	mu       sync.Mutex
	firsts   firsts
	received int // records that the endpoint took
}

// firsts are the CLOCK_BOOTTIME moments at which the first record of a kind was made, and at which the endpoint had the first; 0: not yet.
type firsts struct{ made, position, speed, delivered time.Duration }

func (p *daemon) first() firsts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.firsts
}

// deliver is what the endpoint has taken.
func (p *daemon) deliver(_, _ string, object []byte) error {
	now := clock.Boottime()
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &p.firsts
	if f.delivered == 0 {
		f.delivered = now
	}
	sooner := func(at *time.Duration, made time.Duration, ok bool) {
		if ok && (*at == 0 || made < *at) {
			*at = made
		}
	}
	for line := range strings.Lines(string(object)) {
		r, err := record.Parse([]byte(line))
		if err != nil {
			return err
		}
		p.received++
		made := time.Duration(r.MonoMS) * time.Millisecond
		_, position := r.Lat.Get()
		_, speed := r.SpeedOBD.Get()
		sooner(&f.made, made, true)
		sooner(&f.position, made, position)
		sooner(&f.speed, made, speed)
	}
	return nil
}

// startDaemon runs the daemon on a simulation until the benchmark ends.
func startDaemon(b testing.TB, o daemonOptions) *daemon {
	b.Helper()
	dir := b.TempDir()
	if o.dir == "" {
		o.dir = dir
	}
	if o.parkedInterval == 0 {
		o.parkedInterval = time.Second
	}
	if o.linger == 0 {
		o.linger = config.Default().Uplink.Linger
	}
	format := config.FormatText
	p := &daemon{socket: filepath.Join(dir, "s")}
	deliver := func(_, _ string, _ []byte) error { return nil }
	if o.json {
		format, deliver = config.FormatJSON, p.deliver
	}
	server, err := firehosetest.New(firehosetest.Options{Addr: "127.0.0.1:0", Deliver: deliver, Streams: []firehosetest.Stream{{
		Name: config.Default().Uplink.Stream, Size: 1, // an object for each call
	}}})
	if err != nil {
		b.Fatal(err)
	}
	o.sim.Dir, o.sim.Seed = dir, 1
	if p.sim, err = demo.NewSimulation(o.sim); err != nil {
		b.Fatal(err)
	}
	inBackground(b, server.Run)
	inBackground(b, p.sim.Run)
	for _, port := range []string{p.sim.CarPort(), p.sim.GPSPort()} { // plugged in before power comes
		for _, err := os.Stat(port); err != nil; _, err = os.Stat(port) {
			runtime.Gosched()
		}
	}

	file := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("vehicle.device_id = \"bench\"\nobd.port = %q\ngps.source = %q\nrecord.parked_interval = %q\nrecord.format = %q\nbuffer.dir = %q\n"+
		"uplink.endpoint = %q\nuplink.linger = %q\nstatus.log = %q\nstatus.socket = %q\n",
		p.sim.CarPort(), p.sim.GPSPort(), o.parkedInterval, format, filepath.Join(o.dir, "buffer"), server.URL(), o.linger, filepath.Join(o.dir, "status.log"), p.socket)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(buildRelease(b, runtime.GOARCH, "obdagent"), "run", "--config", file)
	cmd.Env = append(o.env, "AWS_ACCESS_KEY_ID=AKIDBENCH00000000000", "AWS_SECRET_ACCESS_KEY=secret of a local endpoint")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	p.began = clock.Boottime()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	exited := make(chan struct{})
	p.exited = exited
	var ended error
	go func() { ended = cmd.Wait(); close(exited) }()
	b.Cleanup(func() {
		select {
		case <-exited:
		default:
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				b.Error(err)
			}
		}
		<-exited
		if ended != nil || b.Failed() {
			b.Errorf("obdagent run: %v\n%s", ended, &stderr)
		}
	})
	return p
}

// status asks the daemon.
func (p *daemon) status(b testing.TB) status.Snapshot {
	b.Helper()
	s, err := status.Fetch(b.Context(), p.socket)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// until asks the daemon each so often, until it is as it should be. Before its socket is there the snapshot is the zero value.
func (p *daemon) until(b testing.TB, every time.Duration, what string, ok func(*status.Snapshot) bool) {
	b.Helper()
	end := time.Now().Add(2 * patience)
	for {
		s, err := status.Fetch(b.Context(), p.socket)
		if err != nil && b.Context().Err() != nil {
			b.Fatal(err)
		}
		if ok(&s) {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("no %s within %v: %+v", what, 2*patience, s)
		}
		p.wait(b, every)
	}
}

// untilLive returns when records are made of both sources.
func (p *daemon) untilLive(b testing.TB) {
	b.Helper()
	p.until(b, 100*time.Millisecond, "record of both sources", func(s *status.Snapshot) bool {
		return s.Car.State == "live" && s.GPS.Fixes >= 5 && s.Record.Made >= 5
	})
}

// park has the van stand, and returns when the agent has let the car rest and its last records of the drive have gone.
func (p *daemon) park(b testing.TB) {
	b.Helper()
	p.sim.Park()
	p.until(b, 100*time.Millisecond, "parked car", func(s *status.Snapshot) bool { return s.Car.State == "parked" && s.Car.Answers > 0 })
}

// wait waits, as long as the daemon runs.
func (p *daemon) wait(b testing.TB, d time.Duration) {
	b.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.exited:
		b.Fatal("the daemon has ended")
	}
}

func inBackground(b testing.TB, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}

// rates are what was seen of a daemon, a second.
type rates struct{ records, requests float64 }

// watch looks at the daemon for a time, and reports what it took.
func (p *daemon) watch(b *testing.B, watch time.Duration) rates {
	b.Helper()
	before := p.status(b)
	cpu, switches, began := cpuTime(b, p.pid), contextSwitches(b, p.pid), time.Now()
	p.wait(b, watch)
	minutes := time.Since(began).Minutes()
	cpu, switches = cpuTime(b, p.pid)-cpu, contextSwitches(b, p.pid).minus(switches)
	memory := procNumbers(b, filepath.Join("/proc", strconv.Itoa(p.pid), "status"))
	after := p.status(b)
	r := rates{
		records:  float64(after.Record.Made-before.Record.Made) / (60 * minutes),
		requests: float64(after.Car.Requests-before.Car.Requests) / (60 * minutes),
	}
	const mib = 1 << 10 // in kB, the unit of /proc
	b.ReportMetric(float64(memory["VmRSS"])/mib, "RSS-MiB")
	b.ReportMetric(float64(memory["RssAnon"])/mib, "anon-MiB")
	b.ReportMetric(float64(memory["VmHWM"])/mib, "peak-MiB")
	b.ReportMetric(float64(cpu.Milliseconds())/minutes, "CPU-ms/min")
	b.ReportMetric(float64(switches.voluntary)/minutes, "wakeups/min")
	b.ReportMetric(float64(switches.other)/minutes, "preempted/min")
	b.ReportMetric(r.records*60, "records/min")
	b.ReportMetric(r.requests, "requests/s")
	return r
}

// cpuTime is the user and system time of a process so far (proc_pid_stat(5), fields 14 and 15). Their sum is exact but for the
// clock tick it is rounded to, since the kernel scales both to what the scheduler counted.
func cpuTime(b testing.TB, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	// The name, field 2, may hold anything; it ends with the last parenthesis.
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	fields := strings.Fields(rest) // from field 3 on
	user, err1 := strconv.ParseInt(fields[14-3], 10, 64)
	system, err2 := strconv.ParseInt(fields[15-3], 10, 64)
	if err1 != nil || err2 != nil {
		b.Fatalf("/proc/%d/stat: %s", pid, text)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all that Go runs on
	return time.Duration(user+system) * tick
}

// switches are context switches of all threads of a process.
type switches struct{ voluntary, other int64 }

func (s switches) minus(o switches) switches {
	return switches{s.voluntary - o.voluntary, s.other - o.other}
}

// contextSwitches counts those of all threads so far. Go's runtime hardly ever ends a thread.
func contextSwitches(b testing.TB, pid int) (n switches) {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		b.Fatalf("threads of %d: %v", pid, err)
	}
	for _, name := range threads {
		s := procNumbers(b, name)
		n.voluntary += s["voluntary_ctxt_switches"]
		n.other += s["nonvoluntary_ctxt_switches"]
	}
	return n
}

// procNumbers reads the numbers of a file of /proc that has a name and a number on each line (proc_pid_status(5), proc_pid_io(5)).
func procNumbers(b testing.TB, name string) map[string]int64 {
	b.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	numbers := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		if fields := strings.Fields(value); len(fields) > 0 {
			if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
				numbers[key] = n
			}
		}
	}
	return numbers
}
