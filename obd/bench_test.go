package obd_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rzetterberg/elmobd"
	"go.bug.st/serial"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

// BenchmarkRate38400 measures requests a second, headers on, over a pty whose peer is paced at 38400 baud, with an ECU of 8 ms. A request
// (010D1 and CR) and its reply are 20 bytes: the limit is 1/(20*10/38400 + 8 ms) = 75.7 a second.
func BenchmarkRate38400(b *testing.B) {
	benchmarkRate(b, 20, elmsim.Options{Baud: 38400, ECUDelay: 8 * time.Millisecond}, nil)
}

// BenchmarkRate115200 is the same at 115200 baud: 102.7 a second.
func BenchmarkRate115200(b *testing.B) {
	benchmarkRate(b, 20, elmsim.Options{Baud: 115200, ECUDelay: 8 * time.Millisecond}, nil)
}

// BenchmarkPairRate38400 asks for speed and revolutions in one frame: 8 bytes there (010D0C1 and CR), 20 back (7E806410D320C1AF8, two CR and the
// prompt), 28 in all, and the car's time: 65.4 pairs a second.
func BenchmarkPairRate38400(b *testing.B) {
	benchmarkRate(b, 28, elmsim.Options{Baud: 38400, ECUDelay: 8 * time.Millisecond}, map[string]time.Duration{"rpm": time.Millisecond})
}

// BenchmarkKLineRate is ISO 9141-2, where the bus itself needs some 130 ms: 23 bytes to and from the adapter more.
func BenchmarkKLineRate(b *testing.B) {
	benchmarkRate(b, 23, elmsim.Options{Protocol: elmsim.ISO9141, Baud: 38400, ECUDelay: 130 * time.Millisecond}, nil)
}

// benchmarkRate polls as fast as it goes. size is the bytes of one request and its reply; limit is what they and the ECU's time allow.
func benchmarkRate(b *testing.B, size int, opt elmsim.Options, period map[string]time.Duration) {
	exchange := time.Duration(size)*10*time.Second/time.Duration(opt.Baud) + opt.ECUDelay
	opt.VIN, opt.Vehicle = testVIN, vehicleAt(50)
	device, _ := plug(b, elmsim.New(opt))
	car, err := obd.New(obd.Options{Port: device, Baud: opt.Baud, MaxRate: 5000, Period: period})
	if err != nil {
		b.Fatal(err)
	}
	type stamped struct {
		obd.Sample
		at time.Time
	}
	samples := make(chan stamped, 1024)
	others := 0
	states := follow(b, car, func(s obd.Sample) {
		if s.Signal != obd.SignalSpeed {
			others++
			return
		}
		select {
		case samples <- stamped{s, time.Now()}:
		default:
		}
	})
	reach(b, states, obd.StateLive)
	// Trouble codes are read once at the beginning, between speeds: that is not steady polling.
	for car.Status().Trouble == nil {
		<-samples
	}
	for len(samples) > 0 {
		<-samples
	}
	last := (<-samples).at
	overhead := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for range b.N {
		s := <-samples
		if s.Err != nil {
			b.Fatal(s.Err)
		}
		overhead = append(overhead, s.at.Sub(last)-exchange)
		last = s.at
	}
	b.StopTimer()
	rate := float64(b.N) / b.Elapsed().Seconds()
	slices.Sort(overhead)
	b.ReportMetric(rate, "requests/s")
	b.ReportMetric(100*rate*exchange.Seconds(), "%limit")
	b.ReportMetric(float64(overhead[len(overhead)/2].Microseconds()), "p50-overhead-us")
	if period != nil && others < b.N {
		b.Errorf("%d other samples beside %d speeds: they were not packed", others, b.N)
	}
}

// BenchmarkPlainReader38400 is the usual way beside ours, on the same simulator: headers off, echo off, spaces off, go.bug.st/serial's Read until
// the prompt, and no check of who has answered. A request and its reply are 15 bytes: the limit is 84.0 a second.
func BenchmarkPlainReader38400(b *testing.B) {
	device, _ := plug(b, elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), Baud: 38400, ECUDelay: 8 * time.Millisecond}))
	port, err := serial.Open(device, &serial.Mode{BaudRate: 38400})
	if err != nil {
		b.Fatal(err)
	}
	defer port.Close()
	var reply []byte
	buf := make([]byte, 128)
	ask := func(cmd string) {
		if _, err := port.Write([]byte(cmd + "\r")); err != nil {
			b.Fatal(err)
		}
		for reply = reply[:0]; !bytes.HasSuffix(reply, []byte(">")); {
			n, err := port.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			reply = append(reply, buf[:n]...)
		}
	}
	for _, cmd := range []string{"ATE0", "ATL0", "ATS0", "ATH0", "ATSP6", "010D1"} {
		ask(cmd)
	}
	b.ResetTimer()
	for range b.N {
		ask("010D1")
		if string(reply) != "410D32\r\r>" {
			b.Fatalf("%q", reply)
		}
	}
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "requests/s")
	b.ReportMetric(100*rate/84.0, "%limit")
}

// BenchmarkElmobd38400 is elmobd's own device layer on the same simulator. It wants echo and spaces,
// and ends its commands with CR LF, which a genuine chip takes for an interruption: here the chip is a lenient one.
func BenchmarkElmobd38400(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), Baud: 38400, ECUDelay: 8 * time.Millisecond, QuietLines: true, IgnoreLF: true})
	ctx, cancel := context.WithCancel(b.Context())
	var served sync.WaitGroup
	served.Go(func() { _ = sim.ServeListener(ctx, ln) })
	defer served.Wait()
	defer cancel()
	dev, err := elmobd.NewDevice("tcp://"+ln.Addr().String(), false)
	if err != nil {
		b.Skipf("elmobd does not open the simulator: %v", err)
	}
	b.ResetTimer()
	for range b.N {
		if _, err := dev.RunOBDCommand(elmobd.NewVehicleSpeed()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// canned answers every request with the same reply, at once.
type canned struct {
	reply []byte
	next  []byte // the replies take turns, if set
	ready bool
}

func (c *canned) Read(p []byte) (int, error) {
	if !c.ready {
		return 0, os.ErrDeadlineExceeded
	}
	c.ready = false
	return copy(p, c.reply), nil
}
func (c *canned) Write(p []byte) (int, error) {
	c.ready = true
	if c.next != nil {
		c.reply, c.next = c.next, c.reply
	}
	return len(p), nil
}
func (c *canned) SetReadDeadline(time.Time) error { return nil }
func (c *canned) Close() error                    { return nil }

// BenchmarkSteadyPolling is the host's work for one request: from the schedule's choice to the sample.
func BenchmarkSteadyPolling(b *testing.B) {
	p, err := obd.NewPoller(&canned{reply: []byte("7E803410D32\r\r>")}, obd.Options{Port: "auto", MaxRate: 10000, Now: leaps()}, obd.Handler{}, "speed")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Poll(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// leaps is a clock that is a second further at each look, so that no cap holds.
func leaps() func() time.Duration {
	var now time.Duration
	return func() time.Duration { now += 10 * time.Millisecond; return now }
}

// BenchmarkGate measures what one reply costs from its bytes to the value.
func BenchmarkGate(b *testing.B) {
	raw := []byte("7E803410D32\r\r")
	b.ReportAllocs()
	for b.Loop() {
		if v, err := obd.Speed(raw, obd.FramingCAN11, "7E8"); err != nil || v != 50 {
			b.Fatal(v, err)
		}
	}
}

// BenchmarkChangedValue is the same for an answer of two data bytes that is not the one before: it goes through elmobd.
func BenchmarkChangedValue(b *testing.B) {
	line := &canned{reply: []byte("7E804410C1AF8\r\r>"), next: []byte("7E804410C1AF4\r\r>")}
	p, err := obd.NewPoller(line, obd.Options{Port: "auto", MaxRate: 10000, Now: leaps()}, obd.Handler{}, "rpm")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Poll(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
