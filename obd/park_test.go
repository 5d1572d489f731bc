package obd_test

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

func TestParkedCarIsLeftAloneForTwelveHours(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		car := newDial()
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: car.get})
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		car.off()
		b.until(t, obd.StateParked, 30*time.Second)
		before := sim.Counts().Requests
		pass(12 * time.Hour)
		// Retries after 1, 2, 4, 8, 16, 32 and then each 60 minutes: 6 in the first 63 minutes, 10 after them, less by jitter.
		retries := sim.Counts().Requests - before
		if retries < 14 || retries > 17 {
			t.Errorf("%d requests on the bus in 12 hours", retries)
		}
		if n := strings.Count(steps(b), "parked"); n != 1 {
			t.Errorf("parked %d times: %s", n, steps(b))
		}
		var rv int
		for _, c := range sim.Commands() {
			if c == "ATRV" {
				rv++
			}
		}
		if rv < 900 {
			t.Errorf("of the last 1000 commands only %d are ATRV", rv)
		}
	})
}

// TestALooseAdapterOfAParkedCarDoesNotBecomePolling has the port come and go once a minute for twelve hours.
func TestALooseAdapterOfAParkedCarDoesNotBecomePolling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		car := newDial()
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: car.get})
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		car.off()
		b.until(t, obd.StateParked, 30*time.Second)
		before := sim.Counts().Requests
		for range 12 * 60 {
			b.cut()
			pass(time.Minute)
			if st := b.car.Status(); st.State != obd.StateParked {
				t.Fatalf("%s: %s", st.State, st.Reason)
			}
		}
		// The retries without a sign (16), and each ten minutes, as the adapter's return may be the ignition's doing; two requests each.
		if n := sim.Counts().Requests - before; n < 60 || n > 2*(17+12*6+8) {
			t.Errorf("%d requests on the bus in 12 hours", n)
		}
		if n := b.car.Status().Opens; n < 12*60 {
			t.Errorf("%d openings", n)
		}
		car.on()
		b.until(t, obd.StateLive, time.Minute)
		pass(time.Second)
		b.cut()
		if took := b.until(t, obd.StateAbsent, time.Second) + b.until(t, obd.StateLive, 20*time.Second); took > 5*time.Second {
			t.Errorf("after a drive live again after %v", took)
		}
	})
}

func TestRetriesOfAParkedCarGoOnAfterARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "obd.json")
	// requests are those of an hour after the first look at a car that is off, or on.
	session := func(on bool) (requests int) {
		synctest.Test(t, func(t *testing.T) {
			car := newDial()
			sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: car.get})
			b := newBench(t, sim, obd.Options{Memory: path})
			if !on {
				car.off()
			}
			b.run(t)
			if on {
				b.until(t, obd.StateLive, 10*time.Second)
				pass(10 * time.Second)
				car.off()
			}
			b.until(t, obd.StateParked, time.Minute)
			before := sim.Counts().Requests
			pass(50 * time.Minute)
			requests = sim.Counts().Requests - before
		})
		return requests
	}
	// After 1, 2, 4, 8, 16 minutes; 31 and the jitter are less than 50.
	if n := session(false); n < 4 || n > 6 {
		t.Errorf("%d requests in the first 50 minutes", n)
	}
	if n := session(false); n > 2 {
		t.Errorf("after a restart %d requests in 50 minutes", n)
	}
	if n := session(true); n < 4 || n > 6 {
		t.Errorf("after a drive %d requests in 50 minutes", n)
	}
}

// TestCrankingIsNoReasonToMissTheCar has the supply dip, after which a chip of version 2 leaves CAN out of its searches.
func TestCrankingIsNoReasonToMissTheCar(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*testing.T, *bench, *dial){
		"before the first search": func(_ *testing.T, b *bench, _ *dial) { b.sim.Crank() },
		"while parked": func(t *testing.T, b *bench, d *dial) {
			b.until(t, obd.StateLive, 10*time.Second)
			d.off()
			b.until(t, obd.StateParked, 30*time.Second)
			pass(40 * time.Second)
			d.turn(func(v *elmsim.Vehicle) { v.Ignition, v.RPM = true, 800 }) // the voltage tells nothing yet
			b.sim.Crank()
		},
		"while live": func(t *testing.T, b *bench, _ *dial) {
			b.until(t, obd.StateLive, 10*time.Second)
			b.sim.Crank()
			pass(time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				car := newDial()
				sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: car.get})
				b := newBench(t, sim, obd.Options{})
				b.run(t)
				before(t, b, car)
				b.until(t, obd.StateLive, 10*time.Second)
				if st := b.car.Status(); st.Vehicle.VIN != testVIN {
					t.Errorf("%+v", st.Vehicle)
				}
			})
		})
	}
}

func TestChargerAndNoisyVoltageDoNotBecomePolling(t *testing.T) {
	t.Parallel()
	for name, volts := range map[string]func(i int) float64{
		"a charger that holds 13.6 V":     func(int) float64 { return 13.6 },
		"a load that comes and goes":      func(i int) float64 { return []float64{12.3, 12.6}[i%2] },
		"a charger in cycles of a minute": func(i int) float64 { return []float64{12.5, 12.5, 13.8, 13.8}[i%4] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				off := elmsim.Idling()
				off.Ignition = false
				sim := elmsim.New(elmsim.Options{Vehicle: func() elmsim.Vehicle {
					v := off
					v.Voltage = volts(int(time.Since(start) / (30 * time.Second)))
					return v
				}})
				b := newBench(t, sim, obd.Options{})
				b.run(t)
				b.until(t, obd.StateParked, time.Minute)
				before := sim.Counts().Requests
				pass(12 * time.Hour)
				// At most each ten minutes by voltage, and the retries.
				if n := sim.Counts().Requests - before; n > 12*6*2+40 {
					t.Errorf("%d requests on the bus in 12 hours", n)
				}
			})
		})
	}
}

func TestMotionWakesAParkedCar(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		car := newDial()
		car.off()
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: car.get})
		b := newBench(t, sim, obd.Options{})
		b.car.Wake() // does nothing while nothing is parked
		b.run(t)
		b.until(t, obd.StateParked, time.Minute)
		pass(31 * time.Second)
		before := sim.Counts().Requests
		for range 600 { // ten minutes on a tow truck
			b.car.Wake()
			pass(time.Second)
		}
		if n := sim.Counts().Requests - before; n == 0 || n > 40 {
			t.Errorf("%d requests in ten minutes of motion", n)
		}
		car.turn(func(v *elmsim.Vehicle) { v.Ignition = true }) // the voltage stays
		for range 400 {
			b.car.Wake()
			pass(time.Second)
		}
		if st := b.car.Status(); st.State != obd.StateLive && st.Voltage > 13 {
			t.Errorf("%s: %s", st.State, st.Reason)
		}
		if !strings.Contains(steps(b), "live") {
			t.Errorf("never live: %s", steps(b))
		}
	})
}

func TestStandingCarWithItsEngineOffIsParkedAlthoughItAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		car := newDial()
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: car.get})
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		pass(10 * time.Minute)
		if st := b.car.Status(); st.State != obd.StateLive {
			t.Fatalf("an idling car: %s: %s", st.State, st.Reason)
		}
		car.turn(func(v *elmsim.Vehicle) { v.RPM, v.Voltage = 0, 12.4 })
		took := b.until(t, obd.StateParked, 10*time.Minute)
		if took < 2*time.Minute {
			t.Errorf("parked after %v: a red light is longer", took)
		}
		before := sim.Counts().Requests
		pass(6 * time.Hour)
		if n := sim.Counts().Requests - before; n > 60 {
			t.Errorf("%d requests on the bus in 6 hours", n)
		}
		car.on()
		b.until(t, obd.StateLive, time.Minute)
	})
}
