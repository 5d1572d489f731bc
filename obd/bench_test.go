package obd_test

import (
	"testing"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

// BenchmarkRate38400 measures requests a second, headers on, over a pty whose peer is paced at 38400 baud, with an ECU of 8 ms. A request
// (010D1 and CR) and its reply are 20 bytes: the limit is 1/(20*10/38400 + 8 ms) = 75.7 a second.
func BenchmarkRate38400(b *testing.B) { benchmarkRate(b, 38400, 75.7) }

// BenchmarkRate115200 is the same at 115200 baud: 102.7 a second.
func BenchmarkRate115200(b *testing.B) { benchmarkRate(b, 115200, 102.7) }

func benchmarkRate(b *testing.B, baud int, limit float64) {
	sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), Baud: baud, ECUDelay: 8 * time.Millisecond})
	device, _ := plug(b, sim)
	car, err := obd.New(obd.Options{Port: device, Baud: baud, MaxRate: 5000})
	if err != nil {
		b.Fatal(err)
	}
	samples := make(chan obd.Sample, 1024)
	states := follow(b, car, func(s obd.Sample) {
		select {
		case samples <- s:
		default:
		}
	})
	reach(b, states, obd.StateLive, 20*time.Second)
	for len(samples) > 0 {
		<-samples
	}
	b.ResetTimer()
	for range b.N {
		if s := <-samples; s.Err != nil {
			b.Fatal(s.Err)
		}
	}
	b.StopTimer()
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "requests/s")
	b.ReportMetric(100*rate/limit, "%limit")
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
