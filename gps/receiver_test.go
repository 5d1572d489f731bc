package gps_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/gps"
	"obdagent/gps/nmeasim"
)

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

func TestLineSpeedIsFoundThoughTheReceiverMixesBinary(t *testing.T) {
	t.Parallel()
	log := loadRecording(t, recordings(t), "mixed/ublox-zed-f9t-ubx_nmea_l5.log")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		l := newLine(38400)
		wg.Go(func() {
			for (nmeasim.Replay{Log: log}).Run(ctx, l.writer) == nil && ctx.Err() == nil {
				<-time.After(time.Second)
			}
		})
		r, err := gps.New(gps.Options{Source: "/dev/ttyUSB0", OpenSerial: func(_ string, baud int) (gps.SerialPort, error) {
			return l, l.SetSpeed(baud)
		}})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _ = r.Run(ctx, gps.Handler{}) })
		after(12 * time.Second)
		if s := r.Status(); s.Baud != 38400 || s.State != gps.StateFix || s.NoiseBytes == 0 {
			t.Errorf("%+v", s)
		}
		cancel()
		wg.Wait()
	})
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
		if h := b.history(); h != "probing silent fix" {
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

// uart sends its bytes one after the other, as a line of 9600 baud does, and knows when it sent the last.
type uart struct {
	net.Conn
	idle atomic.Pointer[time.Time]
}

func (u *uart) Write(p []byte) (int, error) {
	for i := range p {
		<-time.After(10 * time.Second / 9600) // a byte is ten bits
		if _, err := u.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		now := time.Now()
		u.idle.Store(&now)
	}
	return len(p), nil
}

func TestFixIsOutWithin50msOfItsLastByteOnceTheCycleIsKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		l := newLine(9600)
		u := &uart{Conn: l.writer}
		wg.Go(func() { _ = nmeasim.Synth{Latency: 60 * time.Millisecond}.Run(ctx, u, driving) })
		r, err := gps.New(gps.Options{Source: "/dev/ttyUSB0", OpenSerial: func(_ string, baud int) (gps.SerialPort, error) {
			return l, l.SetSpeed(baud)
		}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		wg.Go(func() {
			_ = r.Run(ctx, gps.Handler{Fix: func(f gps.Fix) {
				n++
				if d := time.Since(*u.idle.Load()); n > 3 && d > 50*time.Millisecond {
					t.Errorf("epoch %s was out %s after its last byte", f.Time, d)
				}
				if d := time.Since(f.Time); n > 3 && (d < 300*time.Millisecond || d > 400*time.Millisecond) {
					t.Errorf("epoch %s was out after %s; its burst takes 60 ms and some 270 bytes", f.Time, d)
				}
			}})
		})
		after(20 * time.Second)
		if n < 18 {
			t.Errorf("%d epochs in 20 s", n)
		}
		cancel()
		wg.Wait()
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
		if h := b.history(); h != "probing fix absent probing fix" {
			t.Errorf("states %q, %+v", h, r.Status())
		}
		cancel()
		wg.Wait()
	})
}

func TestSentencesWithoutANewEpochAreNoFix(t *testing.T) {
	t.Parallel()
	for name, repeated := range map[string]string{
		"the time stands still": burst(7),
		"only GSV":              sum("GPGSV,1,1,01,07,06,336,17"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				client, server := net.Pipe()
				wg.Go(func() {
					tick := time.NewTicker(time.Second)
					defer tick.Stop()
					for {
						if _, err := io.WriteString(server, repeated); err != nil {
							return
						}
						<-tick.C
					}
				})
				b := &bench{}
				r, err := gps.New(gps.Options{Source: "tcp://router:9345", Dial: func(context.Context, string, string) (net.Conn, error) { return client, nil }})
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() { _ = r.Run(ctx, b.handler()) })
				after(30 * time.Second)
				if s := r.Status(); s.State != gps.StateNoFix || !strings.Contains(s.Reason, "no new epoch") || s.Opens != 1 {
					t.Errorf("%+v", s)
				}
				cancel()
				wg.Wait()
			})
		})
	}
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
		"":                "want a device path",
		"none":            "want a device path",
		"ttyUSB0":         "want a device path",
		"gpsd://":         "no host",
		"gpsd://:2947":    "no host",
		"gpsd://van:gps9": "no host",
		"gpsd://a:b:c":    "no host",
		"tcp://host":      "host:port",
		"tcp://:9345":     "host is missing",
		"udp://:gps9":     "port gps9",
		"file:":           "path is missing",
		"http://host:80":  "unknown kind http",
	} {
		_, err := gps.New(gps.Options{Source: source})
		if err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), source) {
			t.Errorf("source %q: error %v, want one with %q", source, err, part)
		}
	}
	if _, err := gps.New(gps.Options{Source: "gpsd://van", Init: []string{"$PMTK220,200*2C"}}); err == nil || !strings.Contains(err.Error(), "remove gps.init") {
		t.Errorf("init lines through gpsd: error %v", err)
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
