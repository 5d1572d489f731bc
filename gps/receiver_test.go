package gps_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/gps"
	"obdagent/gps/nmeasim"
)

// driving is a car at 20 m/s.
func driving(at time.Time) nmeasim.State {
	const degreesPerSecond = 20.0 / 111_195 // northwards
	since := at.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Seconds() // when a synctest bubble begins
	return nmeasim.State{Fix: true, Lat: 48 + math.Mod(since, 3600)*degreesPerSecond, Lon: 11.5, Alt: 520, Speed: 20, Sats: 9}
}

// line is a simulated serial device: what is written to it at the right speed can be read, at any other it is noise.
type line struct {
	baud   int
	reader net.Conn
	writer net.Conn

	mu    sync.Mutex
	speed int
}

func newLine(baud int) *line {
	l := &line{baud: baud}
	l.reader, l.writer = net.Pipe()
	return l
}

func (l *line) Read(p []byte) (int, error) {
	n, err := l.reader.Read(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.speed != l.baud {
		for i := range p[:n] {
			p[i] |= 0x80
		}
	}
	return n, err
}

func (l *line) Write(p []byte) (int, error) { return l.reader.Write(p) }
func (l *line) Close() error                { return l.reader.Close() }

func (l *line) SetSpeed(baud int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.speed = baud
	return nil
}

// bench is a simulated system with serial devices.
type bench struct {
	mu      sync.Mutex
	devices map[string]int // the speed of the receiver on each; 0: silent
	lines   map[string]*line
	states  []gps.StateChange
	fixes   []gps.Fix
	opens   int
	busy    error
}

func (b *bench) open(ctx context.Context, wg *sync.WaitGroup) func(string, int) (gps.SerialPort, error) {
	return func(name string, baud int) (gps.SerialPort, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.opens++
		if b.busy != nil {
			return nil, b.busy
		}
		speed, ok := b.devices[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		l := newLine(speed)
		b.lines[name] = l
		if err := l.SetSpeed(baud); err != nil {
			return nil, err
		}
		if speed > 0 {
			wg.Go(func() {
				_ = nmeasim.Synth{Latency: 60 * time.Millisecond}.Run(ctx, l.writer, driving) // ends with the line
			})
		}
		return l, nil
	}
}

func (b *bench) handler() gps.Handler {
	return gps.Handler{
		Fix: func(f gps.Fix) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.fixes = append(b.fixes, f)
		},
		State: func(c gps.StateChange) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.states = append(b.states, c)
		},
	}
}

func (b *bench) unplug(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.devices, name)
	_ = b.lines[name].writer.Close()
}

func (b *bench) plug(name string, baud int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.devices[name] = baud
}

func (b *bench) history() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s []string
	for _, c := range b.states {
		s = append(s, string(c.To))
	}
	return strings.Join(s, " ")
}

func (b *bench) fixCount() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.fixes)
}

// onBench runs a Receiver within a bubble until test returns.
func onBench(t *testing.T, devices map[string]int, opt gps.Options, test func(t *testing.T, b *bench, r *gps.Receiver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{devices: devices, lines: make(map[string]*line)}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		opt.OpenSerial = b.open(ctx, &wg)
		if opt.Candidates == nil {
			opt.Candidates = func() ([]string, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				var names []string
				for _, n := range []string{"/dev/ttyUSB0", "/dev/ttyUSB1"} {
					if _, ok := b.devices[n]; ok {
						names = append(names, n)
					}
				}
				return names, nil
			}
		}
		r, err := gps.New(opt)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := r.Run(ctx, b.handler()); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		test(t, b, r)
		cancel()
		wg.Wait()
		if s := r.Status().State; s != gps.StateClosed {
			t.Errorf("after Run the state is %s, want closed", s)
		}
	})
}

// after lets simulated time pass.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestReceiverFindsTheLineSpeed(t *testing.T) {
	t.Parallel()
	for _, baud := range []int{4800, 9600, 19200, 38400, 57600, 115200, 230400} {
		onBench(t, map[string]int{"/dev/ttyUSB0": baud}, gps.Options{Source: "/dev/ttyUSB0"}, func(t *testing.T, b *bench, r *gps.Receiver) {
			after(12 * time.Second)
			s := r.Status()
			if s.Baud != baud || s.State != gps.StateFix {
				t.Errorf("receiver at %d baud: found %d, state %s (%s)", baud, s.Baud, s.State, s.Reason)
			}
			if h := b.history(); h != "probing fix" {
				t.Errorf("receiver at %d baud: states %q", baud, h)
			}
		})
	}
}

func TestReceiverReadsAgainAfterReplugging(t *testing.T) {
	t.Parallel()
	onBench(t, map[string]int{"/dev/ttyUSB0": 38400}, gps.Options{Source: "/dev/ttyUSB0"}, func(t *testing.T, b *bench, r *gps.Receiver) {
		after(10 * time.Second)
		b.unplug("/dev/ttyUSB0")
		after(7 * time.Second)
		if s := r.Status(); s.State != gps.StateAbsent || !strings.Contains(s.Reason, "/dev/ttyUSB0") || s.Port != "" {
			t.Fatalf("unplugged: %+v", s)
		}
		seen := b.fixCount()
		b.plug("/dev/ttyUSB0", 38400)
		after(3 * time.Second)
		if b.fixCount() == seen {
			t.Errorf("no fix within 3 s of replugging: %s", b.history())
		}
		if h := b.history(); h != "probing fix absent probing fix" {
			t.Errorf("states %q", h)
		}
	})
}

func TestReceiverThatFallsSilentIsReopened(t *testing.T) {
	t.Parallel()
	onBench(t, map[string]int{"/dev/ttyUSB0": 0}, gps.Options{Source: "/dev/ttyUSB0", Baud: 9600}, func(t *testing.T, b *bench, r *gps.Receiver) {
		after(6 * time.Second)
		if s := r.Status(); s.State != gps.StateSilent || s.Reason == "" {
			t.Fatalf("after 6 s: %s %q", s.State, s.Reason)
		}
		after(30 * time.Second)
		if s := r.Status(); s.Opens < 2 || s.Opens > 4 {
			t.Errorf("opened %d times in 36 s of silence, want 2 to 4", s.Opens)
		}
		b.plug("/dev/ttyUSB0", 9600)
		after(20 * time.Second)
		if h := b.history(); h != "silent fix" {
			t.Errorf("states %q", h)
		}
	})
}

func TestSilentLineWithUnknownSpeedIsSilentNotProbingForEver(t *testing.T) {
	t.Parallel()
	onBench(t, map[string]int{"/dev/ttyUSB0": 0}, gps.Options{Source: "/dev/ttyUSB0"}, func(t *testing.T, b *bench, _ *gps.Receiver) {
		after(2 * time.Minute)
		if h := b.history(); h != "probing silent" {
			t.Errorf("states %q", h)
		}
	})
}

func TestBusyDeviceIsTriedWithBackOffAndNamed(t *testing.T) {
	t.Parallel()
	onBench(t, map[string]int{"/dev/ttyUSB0": 9600}, gps.Options{Source: "/dev/ttyUSB0"}, func(t *testing.T, b *bench, r *gps.Receiver) {
		b.mu.Lock()
		b.busy = errors.New("device or resource busy")
		b.mu.Unlock()
		after(10 * time.Minute)
		if s := r.Status(); s.State != gps.StateAbsent || !strings.Contains(s.Reason, "/dev/ttyUSB0: device or resource busy") {
			t.Fatalf("state %s: %s", s.State, s.Reason)
		}
		b.mu.Lock()
		opens := b.opens
		b.mu.Unlock()
		if opens < 20 || opens > 60 {
			t.Errorf("tried %d times in ten minutes, want 20 to 60", opens)
		}
	})
}

func TestAutoTakesTheOnePortThatSpeaksNMEA(t *testing.T) {
	t.Parallel()
	onBench(t, map[string]int{"/dev/ttyUSB0": 0, "/dev/ttyUSB1": 115200}, gps.Options{Source: "auto"}, func(t *testing.T, b *bench, r *gps.Receiver) {
		after(14 * time.Second)
		if s := r.Status(); s.State != gps.StateFix || s.Port != "/dev/ttyUSB1" || s.Baud != 115200 {
			t.Fatalf("%+v; states %s", s, b.history())
		}
		b.unplug("/dev/ttyUSB1")
		after(5 * time.Second)
		b.plug("/dev/ttyUSB1", 115200)
		after(20 * time.Second)
		if s := r.Status(); s.State != gps.StateFix {
			t.Errorf("after replugging: %s (%s); states %s", s.State, s.Reason, b.history())
		}
	})
}

func TestAutoDoesNotChooseBetweenSeveral(t *testing.T) {
	t.Parallel()
	onBench(t, map[string]int{"/dev/ttyUSB0": 9600, "/dev/ttyUSB1": 9600}, gps.Options{Source: "auto"}, func(t *testing.T, b *bench, r *gps.Receiver) {
		after(5 * time.Second)
		s := r.Status()
		for _, part := range []string{"/dev/ttyUSB0", "/dev/ttyUSB1", "set gps.source"} {
			if s.State != gps.StateAbsent || !strings.Contains(s.Reason, part) {
				t.Errorf("state %s, reason %q: want absent and %q", s.State, s.Reason, part)
			}
		}
		after(time.Minute)
		if h := b.history(); h != "probing absent" {
			t.Errorf("states %q", h)
		}
	})
}

func TestAutoKeepsOffClaimedPorts(t *testing.T) {
	t.Parallel()
	opt := gps.Options{Source: "auto", Claim: func(device string) (func(), error) {
		if device == "/dev/ttyUSB0" {
			return nil, errors.New("it is the OBD adapter's")
		}
		return func() {}, nil
	}}
	onBench(t, map[string]int{"/dev/ttyUSB0": 9600, "/dev/ttyUSB1": 9600}, opt, func(t *testing.T, b *bench, r *gps.Receiver) {
		after(5 * time.Second)
		if s := r.Status(); s.State != gps.StateFix || s.Port != "/dev/ttyUSB1" {
			t.Errorf("%+v", s)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.lines["/dev/ttyUSB0"] != nil {
			t.Error("the claimed port was opened")
		}
	})
}

func TestInitLinesAreWrittenOnceAfterTheLockAndNothingElseEver(t *testing.T) {
	t.Parallel()
	for _, initLines := range [][]string{nil, {"$PMTK220,200*2C"}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			l := newLine(9600)
			var written []byte
			wg.Go(func() {
				buf := make([]byte, 100)
				for {
					n, err := l.writer.Read(buf)
					written = append(written, buf[:n]...)
					if err != nil {
						return
					}
				}
			})
			wg.Go(func() { _ = nmeasim.Synth{}.Run(ctx, l.writer, driving) })
			r, err := gps.New(gps.Options{Source: "/dev/ttyUSB0", Init: initLines, OpenSerial: func(_ string, baud int) (gps.SerialPort, error) {
				return l, l.SetSpeed(baud)
			}})
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() { _ = r.Run(ctx, gps.Handler{}) })
			after(10 * time.Second)
			cancel()
			wg.Wait()
			want := ""
			for _, s := range initLines {
				want += s + "\r\n"
			}
			if string(written) != want {
				t.Errorf("written %q, want %q", written, want)
			}
		})
	}
}

func TestFixIsOutWithin50msOfItsLastByteOnceTheCycleIsKnown(t *testing.T) {
	t.Parallel()
	onBench(t, map[string]int{"/dev/ttyUSB0": 9600}, gps.Options{Source: "/dev/ttyUSB0"}, func(t *testing.T, b *bench, _ *gps.Receiver) {
		after(20 * time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.fixes) < 15 {
			t.Fatalf("%d fixes in 20 s", len(b.fixes))
		}
		for _, f := range b.fixes[4:] {
			if d := f.Done - f.Mono; d > 50*time.Millisecond {
				t.Errorf("epoch %s was held back by %s", f.Time, d)
			}
		}
	})
}

func TestTCPSourceIsReadAndReconnected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var dials int
		var server net.Conn
		dial := func(_ context.Context, network, address string) (net.Conn, error) {
			dials++
			if network != "tcp" || address != "router:9345" {
				t.Errorf("dialled %s %s", network, address)
			}
			if dials == 2 {
				return nil, errors.New("connection refused")
			}
			var client net.Conn
			client, server = net.Pipe()
			wg.Go(func() { _ = nmeasim.Synth{}.Run(ctx, server, driving) })
			return client, nil
		}
		b := &bench{}
		r, err := gps.New(gps.Options{Source: "tcp://router:9345", Dial: dial})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _ = r.Run(ctx, b.handler()) })
		after(5 * time.Second)
		_ = server.Close()
		after(10 * time.Second)
		if h := b.history(); h != "fix absent fix" {
			t.Errorf("states %q, %+v", h, r.Status())
		}
		cancel()
		wg.Wait()
	})
}

func TestUDPDatagramsNeedNoLineEnd(t *testing.T) {
	t.Parallel()
	fixes := make(chan gps.Fix, 10)
	addr := make(chan net.Addr, 1)
	r, err := gps.New(gps.Options{Source: "udp://127.0.0.1:1", Listen: func(ctx context.Context, network, _ string) (net.PacketConn, error) {
		var l net.ListenConfig
		c, err := l.ListenPacket(ctx, network, "127.0.0.1:0")
		if err == nil {
			addr <- c.LocalAddr()
		}
		return c, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, gps.Handler{Fix: func(f gps.Fix) { fixes <- f }}) }()
	c, err := net.Dial("udp", (<-addr).String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range strings.Fields(string(nmeasim.AppendEpoch(nil, time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), driving(time.Time{})))) {
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case f := <-fixes:
		if f.Mode != gps.Mode3D || f.Speed < 19.9 || f.Speed > 20.1 {
			t.Errorf("%+v", f)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("no fix: %+v", r.Status())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	_ = c.Close()
}

func TestWrongSourcesAreRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	for source, part := range map[string]string{
		"":                 "want a device path",
		"none":             "want a device path",
		"ttyUSB0":          "want a device path",
		"gpsd://host:2947": "not built yet",
		"tcp://host":       "host:port",
		"tcp://:9345":      "host is missing",
		"udp://:gps9":      "port gps9",
		"file:":            "path is missing",
		"http://host:80":   "unknown kind http",
	} {
		_, err := gps.New(gps.Options{Source: source})
		if err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), source) {
			t.Errorf("source %q: error %v, want one with %q", source, err, part)
		}
	}
	if _, err := gps.New(gps.Options{Source: "auto", Baud: -1}); err == nil {
		t.Error("a negative line speed is taken")
	}
}

func TestReceiverSurvivesEveryFaultAndNeverInventsAPosition(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			b := &bench{}
			faults := nmeasim.Faults{Cut: 0.1, Garbage: 0.1, NUL: 0.1, Binary: 0.1, Stall: 0.05, Backward: 0.05, WrongBaud: 0.1, NoFix: 0.1}
			until := time.Now().Add(5 * time.Minute)
			dial := func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				wg.Go(func() {
					stop, done := context.WithDeadline(ctx, until)
					defer done()
					_ = nmeasim.Synth{Rate: 2, Faults: faults, Seed: seed}.Run(stop, server, driving)
					_ = nmeasim.Synth{Rate: 2}.Run(ctx, server, driving)
				})
				return client, nil
			}
			r, err := gps.New(gps.Options{Source: "tcp://router:9345", Dial: dial})
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() { _ = r.Run(ctx, b.handler()) })
			after(6 * time.Minute)
			s := r.Status()
			if s.State != gps.StateFix || s.BadChecksum == 0 || s.NoiseBytes == 0 || s.Fixes == s.Epochs {
				t.Errorf("seed %d: %+v", seed, s)
			}
			b.mu.Lock()
			if n := len(b.fixes); n < 300 {
				t.Errorf("seed %d: %d epochs", seed, n)
			}
			for _, f := range b.fixes {
				want := driving(f.Time)
				// A burst sent with its times set back still has the positions of its own time: at most 30 s of driving.
				if f.HasPosition() && (f.Lon != want.Lon || f.Lat < want.Lat-1e-6 || f.Lat > want.Lat+31*20.0/111_195) {
					t.Errorf("seed %d: %v %v at %s, the car was at %v %v", seed, f.Lat, f.Lon, f.Time, want.Lat, want.Lon)
				}
			}
			b.mu.Unlock()
			cancel()
			wg.Wait()
		})
	}
}
