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
	"syscall"
	"testing"
	"time"

	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/agent/status"
	"obdagent/agent/uplink/firehosetest"
)

// How long BenchmarkRunAtOneHz looks at the daemon: long enough for every timer of a default configuration when it is asked
// for by name, and shorter when it is one of all benchmarks.
const (
	watchNamed = time.Minute
	watchAmong = 5 * time.Second
)

// BenchmarkRunAtOneHz is what `obdagent run` costs a board: a release's binary, as a process of its own, with the default
// configuration, a simulated adapter and a receiver of 1 Hz on pseudo-terminals, and the local endpoint. It looks at the process
// after the first records were made. Ask for it by name (-bench=RunAtOneHz) to have it look for a minute.
//
//	RSS-MiB     resident memory at the end, of which anon-MiB is the process's own; the rest are pages of the binary
//	peak-MiB    highest resident memory since the start
//	CPU-ms/min  user and system time of all threads
//	switches/s  context switches of all threads: how often the processor is woken
func BenchmarkRunAtOneHz(b *testing.B) {
	watch := watchAmong
	if f := flag.Lookup("test.bench"); f != nil && strings.Contains(f.Value.String(), "RunAtOneHz") {
		watch = watchNamed
	}
	p := startDaemon(b)
	for range b.N {
		watchDaemon(b, p, watch)
	}
	b.ReportMetric(0, "ns/op")
}

// A daemon is a running `obdagent run`.
type daemon struct {
	pid    int
	socket string
	exited <-chan struct{} // closed when it has ended, as it must not
}

// startDaemon runs the daemon on a simulation until the benchmark ends, and returns when records are made of both sources.
func startDaemon(b *testing.B) *daemon {
	b.Helper()
	dir := b.TempDir()
	server, err := firehosetest.New(firehosetest.Options{Addr: "127.0.0.1:0", Streams: []firehosetest.Stream{{Name: config.Default().Uplink.Stream}},
		Deliver: func(_, _ string, _ []byte) error { return nil }})
	if err != nil {
		b.Fatal(err)
	}
	sim, err := demo.NewSimulation(demo.SimOptions{Dir: dir, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	inBackground(b, server.Run)
	inBackground(b, sim.Run)

	p := &daemon{socket: filepath.Join(dir, "s")}
	file := filepath.Join(dir, "config.toml")
	// A record each second also at a traffic light.
	text := fmt.Sprintf("vehicle.device_id = \"bench\"\nobd.port = %q\ngps.source = %q\nrecord.parked_interval = \"1s\"\nbuffer.dir = %q\n"+
		"uplink.endpoint = %q\nstatus.log = %q\nstatus.socket = %q\n",
		sim.CarPort(), sim.GPSPort(), filepath.Join(dir, "buffer"), server.URL(), filepath.Join(dir, "status.log"), p.socket)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(buildRelease(b, runtime.GOARCH, "obdagent"), "run", "--config", file)
	cmd.Env = []string{"AWS_ACCESS_KEY_ID=AKIDBENCH00000000000", "AWS_SECRET_ACCESS_KEY=secret of a local endpoint"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
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
		if ended != nil {
			b.Errorf("obdagent run: %v\n%s", ended, &stderr)
		}
	})
	for s := (status.Snapshot{}); s.Car.State != "live" || s.GPS.Fixes < 5 || s.Record.Made < 5; {
		p.wait(b, 100*time.Millisecond)
		if s, err = status.Fetch(b.Context(), p.socket); err != nil && b.Context().Err() != nil {
			b.Fatal(err)
		}
	}
	return p
}

// wait waits, as long as the daemon runs.
func (p *daemon) wait(b *testing.B, d time.Duration) {
	b.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.exited:
		b.Fatal("the daemon has ended")
	}
}

func inBackground(b *testing.B, f func(context.Context) error) {
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

func watchDaemon(b *testing.B, p *daemon, watch time.Duration) {
	b.Helper()
	before, err := status.Fetch(b.Context(), p.socket)
	if err != nil {
		b.Fatal(err)
	}
	cpu, switches, began := cpuTime(b, p.pid), contextSwitches(b, p.pid), time.Now()
	p.wait(b, watch)
	minutes := time.Since(began).Minutes()
	cpu, switches = cpuTime(b, p.pid)-cpu, contextSwitches(b, p.pid)-switches
	memory := procStatus(b, filepath.Join("/proc", strconv.Itoa(p.pid), "status"))
	after, err := status.Fetch(b.Context(), p.socket)
	if err != nil {
		b.Fatal(err)
	}
	records := float64(after.Record.Made-before.Record.Made) / (60 * minutes)
	if records < 0.8 || records > 1.2 {
		b.Errorf("%.2f records a second, want 1: %+v", records, after)
	}
	const mib = 1 << 10 // in kB, the unit of /proc
	b.ReportMetric(float64(memory["VmRSS"])/mib, "RSS-MiB")
	b.ReportMetric(float64(memory["RssAnon"])/mib, "anon-MiB")
	b.ReportMetric(float64(memory["VmHWM"])/mib, "peak-MiB")
	b.ReportMetric(float64(cpu.Milliseconds())/minutes, "CPU-ms/min")
	b.ReportMetric(float64(switches)/(60*minutes), "switches/s")
	b.ReportMetric(records, "records/s")
	b.ReportMetric(float64(after.Car.Requests-before.Car.Requests)/(60*minutes), "requests/s")
}

// cpuTime is the user and system time of a process so far (proc_pid_stat(5), fields 14 and 15). Their sum is exact but for the
// clock tick it is rounded to, since the kernel scales both to what the scheduler counted.
func cpuTime(b *testing.B, pid int) time.Duration {
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

// contextSwitches counts those of all threads. Go's runtime hardly ever ends a thread.
func contextSwitches(b *testing.B, pid int) (n int64) {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		b.Fatalf("threads of %d: %v", pid, err)
	}
	for _, name := range threads {
		s := procStatus(b, name)
		n += s["voluntary_ctxt_switches"] + s["nonvoluntary_ctxt_switches"]
	}
	return n
}

// procStatus reads the numbers of a status file of /proc (proc_pid_status(5)).
func procStatus(b *testing.B, name string) map[string]int64 {
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
