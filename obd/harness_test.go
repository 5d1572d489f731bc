package obd_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

const testVIN = "1D4GP00R55B123456"

// bench is a Car on a simulated adapter, with all that it has reported.
type bench struct {
	car *obd.Car
	sim *elmsim.Sim

	mu       sync.Mutex
	samples  []obd.Sample
	states   []obd.StateChange
	vehicles []obd.Vehicle
	trouble  func(obd.Trouble)
	absent   error // what Dial answers, if set
	cut      func()
}

// newBench wires a Car to sim. It is to be called in a synctest bubble; run starts it.
func newBench(t *testing.T, sim *elmsim.Sim, opt obd.Options) *bench {
	t.Helper()
	b := &bench{sim: sim}
	opt.Port = "bench"
	var servers sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		servers.Wait()
	})
	opt.Dial = func(context.Context) (obd.Conn, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.absent != nil {
			return nil, b.absent
		}
		near, far := net.Pipe()
		b.cut = func() { _ = far.Close() }
		servers.Go(func() { _ = sim.Serve(ctx, far) })
		return near, nil
	}
	car, err := obd.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	b.car = car
	return b
}

// run starts the Car and stops it when the test ends.
func (b *bench) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.car.Run(ctx, obd.Handler{
			Sample: func(s obd.Sample) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.samples = append(b.samples, s)
			},
			Vehicle: func(v obd.Vehicle) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.vehicles = append(b.vehicles, v)
			},
			Trouble: b.trouble,
			State: func(s obd.StateChange) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.states = append(b.states, s)
			},
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// pass lets d of the bubble's time go by. In a bubble this is no sleep: the clock jumps when all goroutines wait.
func pass(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

// until lets time go by until the Car is in the state, at most limit, and returns how long it took.
func (b *bench) until(t *testing.T, want obd.State, limit time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	for time.Since(start) < limit {
		if b.car.Status().State == want {
			return time.Since(start)
		}
		pass(10 * time.Millisecond)
	}
	t.Fatalf("state %s (%s) after %v instead of %s; steps %v", b.car.Status().State, b.car.Status().Reason, limit, want, b.states)
	return 0
}

func (b *bench) taken() []obd.Sample {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]obd.Sample(nil), b.samples...)
}

func (b *bench) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.samples = nil
}

// vehicleAt is an idling car at a speed.
func vehicleAt(kmh float64) func() elmsim.Vehicle {
	return func() elmsim.Vehicle {
		v := elmsim.Idling()
		v.Speed = kmh
		return v
	}
}
