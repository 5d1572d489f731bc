package obd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

// dial is a vehicle whose state a test turns.
type dial struct {
	mu sync.Mutex
	v  elmsim.Vehicle
}

func newDial() *dial { return &dial{v: elmsim.Idling()} }

func (d *dial) turn(change func(*elmsim.Vehicle)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.v)
}

func (d *dial) get() elmsim.Vehicle {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.v
}

func (d *dial) off() {
	d.turn(func(v *elmsim.Vehicle) { v.Ignition, v.Voltage, v.RPM, v.Speed = false, 12.5, 0, 0 })
}
func (d *dial) on() {
	d.turn(func(v *elmsim.Vehicle) { v.Ignition, v.Voltage, v.RPM = true, 14.1, 800 })
}

func steps(b *bench) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s []string
	for _, c := range b.states {
		if c.Reason == "" {
			s = append(s, "(no reason)")
		}
		s = append(s, string(c.To))
	}
	return strings.Join(s, " ")
}

func TestIgnitionCycleParksAndWakesByVoltage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		car := newDial()
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: car.get, ECUDelay: 8 * time.Millisecond})
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		pass(5 * time.Second)
		car.off()
		b.until(t, obd.StateParked, 30*time.Second)
		pass(time.Minute / 2)
		b.clear()
		if v := b.car.Status().Voltage; v != 12.5 {
			t.Errorf("voltage %v while parked", v)
		}
		if r := b.car.Status().Rates; r != nil {
			t.Errorf("rates while parked: %+v", r)
		}
		if hz := b.car.Status().SpeedHz; hz != 0 {
			t.Errorf("%v speeds a second while parked", hz)
		}
		pass(10 * time.Second)
		if s := b.taken(); len(s) != 0 {
			t.Errorf("%d samples while parked: %+v", len(s), s[0])
		}
		car.on()
		if took := b.until(t, obd.StateLive, time.Minute); took > 35*time.Second {
			t.Errorf("woke after %v", took)
		}
		if got, want := steps(b), "probing search live parked search live"; got != want {
			t.Errorf("steps %s, want %s", got, want)
		}
	})
}

// TestTalkingPortIsNeverWrittenTo has a GPS where the adapter is looked for.
func TestTalkingPortIsNeverWrittenTo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bench
		var talkers sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var heard []byte
		dial := func(context.Context) (obd.Conn, error) {
			near, far := net.Pipe()
			stop := context.AfterFunc(ctx, func() { _ = far.Close() })
			talkers.Go(func() {
				defer stop()
				for {
					if _, err := far.Write([]byte("$GPRMC,080000,V,,,,,,,231126,,*2E\r\n")); err != nil {
						return
					}
					timer := time.NewTimer(time.Second)
					select {
					case <-timer.C:
					case <-ctx.Done():
						return
					}
				}
			})
			talkers.Go(func() {
				buf := make([]byte, 100)
				for {
					n, err := far.Read(buf)
					mu.Lock()
					heard = append(heard, buf[:n]...)
					mu.Unlock()
					if err != nil {
						return
					}
				}
			})
			return near, nil
		}
		car, err := obd.New(obd.Options{Port: "gps", Dial: dial})
		if err != nil {
			t.Fatal(err)
		}
		b.car = car
		b.run(t)
		t.Cleanup(func() {
			cancel()
			talkers.Wait()
		})
		pass(5 * time.Minute)
		if st := car.Status(); st.State != obd.StateAbsent || !strings.Contains(st.Reason, "GPS") || st.Opens < 3 {
			t.Errorf("%s: %s; %d openings", st.State, st.Reason, st.Opens)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(heard) > 0 {
			t.Errorf("written: %q", heard)
		}
	})
}

func TestUnpluggedAdapterIsLiveAgainWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond, Baud: 38400})
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		for _, away := range []time.Duration{time.Second, 10 * time.Minute} {
			b.mu.Lock()
			b.absent = errors.New("no such device")
			b.cut()
			b.mu.Unlock()
			b.until(t, obd.StateAbsent, time.Second)
			b.clear()
			pass(away)
			if s := b.taken(); len(s) != 0 {
				t.Errorf("%d samples while absent", len(s))
			}
			if st := b.car.Status(); st.State != obd.StateAbsent || !strings.Contains(st.Reason, "no such device") {
				t.Errorf("after %v: %s: %s", away, st.State, st.Reason)
			}
			sim.PowerCycle()
			b.mu.Lock()
			b.absent = nil
			b.mu.Unlock()
			if took := b.until(t, obd.StateLive, 20*time.Second); took > 5*time.Second {
				t.Errorf("live again after %v", took)
			}
		}
		if n := b.car.Status().Opens; n != 3 {
			t.Errorf("%d openings", n)
		}
	})
}

func TestMuteAdapterIsOpenedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50)})
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		for range 20 {
			sim.Inject(elmsim.NoPrompt)
		}
		pass(2 * time.Minute)
		if st := b.car.Status(); st.State != obd.StateLive {
			t.Errorf("%s: %s", st.State, st.Reason)
		}
		for _, s := range b.taken() {
			if s.Err == nil && s.Value != 50 {
				t.Errorf("sample %+v", s)
			}
		}
	})
}

func TestLowVoltageResetSetsTheAdapterUpAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50)})
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		sim.Inject(elmsim.LVReset)
		pass(5 * time.Second)
		b.clear()
		pass(time.Second)
		s := b.taken()
		if len(s) < 5 || s[0].Value != 50 {
			t.Errorf("after the reset: %+v", s)
		}
		if n := b.car.Status().Opens; n != 1 {
			t.Errorf("%d openings", n)
		}
		if got, want := steps(b), "probing search live search live"; got != want {
			t.Errorf("steps %s, want %s", got, want)
		}
	})
}

func TestEngineECUIsPinnedWhateverTheOrder(t *testing.T) {
	t.Parallel()
	wrong := 99.0
	gearbox := elmsim.ECU{Address: "7E9", PIDs: []byte{0x0D, 0x0C}, Speed: &wrong}
	engine := elmsim.ECU{Address: "7E8", PIDs: elmsim.EnginePIDs, VIN: true}
	for name, ecus := range map[string][]elmsim.ECU{"gearbox first": {gearbox, engine}, "engine first": {engine, gearbox}} {
		for _, personality := range []elmsim.Personality{elmsim.Genuine, elmsim.CloneV21} {
			t.Run(name+" on "+personality.Name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUs: ecus, Personality: personality})
					b := newBench(t, sim, obd.Options{})
					b.run(t)
					b.until(t, obd.StateLive, 10*time.Second)
					pass(2 * time.Second)
					for _, s := range b.taken() {
						if s.Err != nil || s.Value != 50 || s.ECU != "7E8" {
							t.Errorf("sample %+v", s)
						}
					}
					if v := b.car.Status().Vehicle; v.VIN != testVIN || v.ECU != "7E8" {
						t.Errorf("vehicle %+v", v)
					}
				})
			})
		}
	}
}

func TestUnsupportedSignalIsReportedOnceAndNotAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{Vehicle: vehicleAt(50), ECUs: []elmsim.ECU{{Address: "7E8", PIDs: []byte{0x0C, 0x0D}}}})
		b := newBench(t, sim, obd.Options{Period: map[string]time.Duration{"rpm": time.Second, "maf": time.Second, "lambda": time.Second}})
		b.run(t)
		b.until(t, obd.StateLive, 20*time.Second)
		pass(10 * time.Second)
		seen := map[string]int{}
		for _, s := range b.taken() {
			if s.Err != nil && !errors.Is(s.Err, obd.ErrUnsupported) {
				t.Errorf("sample %+v", s)
			}
			seen[s.Signal]++
		}
		for _, r := range b.car.Status().Rates {
			switch r.Signal {
			case "maf", "lambda":
				if !r.Unsupported || r.AskedHz != 0 || r.Hz != 0 {
					t.Errorf("%+v", r)
				}
			case "rpm":
				if r.AskedHz != 1 || r.Hz < 0.9 || r.Hz > 1.1 {
					t.Errorf("%+v", r)
				}
			}
		}
		if seen["maf"] != 1 || seen["lambda"] != 1 || seen["rpm"] < 9 || seen["speed"] < 80 {
			t.Errorf("samples %v", seen)
		}
		for _, c := range sim.Commands() {
			if strings.HasPrefix(c, "0110") || strings.HasPrefix(c, "0144") {
				t.Errorf("asked %s", c)
			}
		}
		if v := b.car.Status().Vehicle.VIN; v != "" {
			t.Errorf("VIN %q of a car that does not tell it", v)
		}
	})
}

func TestImplausibleValueIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{Vehicle: func() elmsim.Vehicle {
			v := elmsim.Idling()
			v.RPM = 16383.75 // FFFF
			return v
		}})
		b := newBench(t, sim, obd.Options{Period: map[string]time.Duration{"rpm": time.Second}})
		b.run(t)
		b.until(t, obd.StateLive, 20*time.Second)
		pass(5 * time.Second)
		n := 0
		for _, s := range b.taken() {
			if s.Signal == "rpm" {
				n++
				if !errors.Is(s.Err, obd.ErrImplausible) {
					t.Errorf("sample %+v", s)
				}
			}
		}
		if n < 4 {
			t.Errorf("%d samples of rpm", n)
		}
	})
}

func TestRateStaysUnderTheCapAndSpeedDoesNotStarve(t *testing.T) {
	t.Parallel()
	every := map[string]time.Duration{}
	for _, s := range obd.Signals()[1:] {
		every[s.Name] = 100 * time.Millisecond // far more than there is room for
	}
	for _, c := range []struct {
		name     string
		opt      obd.Options
		delay    time.Duration
		speedMin float64
		total    float64
	}{
		{"default", obd.Options{}, 8 * time.Millisecond, 9.5, 10.5},
		{"default with greedy periods", obd.Options{Period: every}, 8 * time.Millisecond, 9.5, 20.5},
		{"a low cap with greedy periods", obd.Options{MaxRate: 4, Period: every}, 8 * time.Millisecond, 1.9, 4.2},
		{"a slow car with greedy periods", obd.Options{Period: every}, 140 * time.Millisecond, 5, 7.5},
		{"a high cap", obd.Options{MaxRate: 1000}, 8 * time.Millisecond, 60, 110},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				engine := elmsim.ECU{Address: "7E8", PIDs: elmsim.AllPIDs, VIN: true}
				sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUDelay: c.delay, Baud: 38400, ECUs: []elmsim.ECU{engine}})
				b := newBench(t, sim, c.opt)
				b.run(t)
				b.until(t, obd.StateLive, 20*time.Second)
				pass(10 * time.Second)
				b.clear()
				before := sim.Counts().Requests
				pass(20 * time.Second)
				total := float64(sim.Counts().Requests-before) / 20
				seen := map[string]int{}
				for _, s := range b.taken() {
					if s.Err != nil {
						t.Errorf("sample %+v", s)
					}
					seen[s.Signal]++
				}
				if hz := float64(seen["speed"]) / 20; hz < c.speedMin {
					t.Errorf("speed at %v Hz, want %v; %v", hz, c.speedMin, seen)
				}
				if total > c.total {
					t.Errorf("%v requests a second, want at most %v", total, c.total)
				}
				for name := range c.opt.Period {
					if seen[name] == 0 {
						t.Errorf("%s was never asked for: %v", name, seen)
					}
				}
				st := b.car.Status()
				if st.SpeedHz < c.speedMin*0.95 {
					t.Errorf("status says %v Hz", st.SpeedHz)
				}
				if len(st.Rates) != 1+len(c.opt.Period) || st.Rates[0].Signal != obd.SignalSpeed || st.Rates[0].AskedHz != st.AskedHz {
					t.Errorf("rates %+v", st.Rates)
				}
				for _, r := range st.Rates {
					// The figure is that of eight answers, the count that of 20 s.
					if counted := float64(seen[r.Signal]) / 20; r.Hz < 0.5*counted || r.Hz > 2*counted || r.Unsupported {
						t.Errorf("%+v, counted %v Hz", r, counted)
					}
				}
			})
		})
	}
}

func TestAdapterThatAlwaysDoesTheSameOddThingWorks(t *testing.T) {
	t.Parallel()
	for _, fault := range []elmsim.Fault{elmsim.Checksum, elmsim.NULs, elmsim.CRLF, elmsim.LeadingCR, elmsim.OneByteAtATime, elmsim.Spaces, elmsim.Echo,
		elmsim.ForeignECUFirst, elmsim.NULAfterPrompt, elmsim.LFAfterPrompt, elmsim.GluedSearching, elmsim.SearchingLine, elmsim.Chatter} {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), Padding: fault != elmsim.Checksum, FaultRate: map[elmsim.Fault]float64{fault: 1}})
				b := newBench(t, sim, obd.Options{})
				b.run(t)
				b.until(t, obd.StateLive, 20*time.Second)
				pass(3 * time.Second)
				good := 0
				for _, s := range b.taken() {
					if s.Err != nil || s.Value != 50 {
						t.Errorf("sample %+v", s)
					}
					good++
				}
				if v := b.car.Status().Vehicle.VIN; v != testVIN {
					t.Errorf("VIN %q; failures %v", v, b.car.Status().Failures)
				}
				if good < 20 {
					t.Errorf("%d samples", good)
				}
			})
		})
	}
}

func TestEveryPaddingOfFramesIsTold(t *testing.T) {
	t.Parallel()
	for _, with := range []byte{0x00, 0x55, 0xAA} {
		synctest.Test(t, func(t *testing.T) {
			sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), Padding: true, PadByte: with})
			b := newBench(t, sim, obd.Options{Period: map[string]time.Duration{"rpm": time.Second}})
			b.run(t)
			b.until(t, obd.StateLive, 10*time.Second)
			pass(3 * time.Second)
			for _, s := range b.taken() {
				if s.Err != nil || s.Signal == "speed" && s.Value != 50 || s.Signal == "rpm" && s.Value != 800 {
					t.Errorf("%02X: %+v", with, s)
				}
			}
			if n := len(b.taken()); n < 25 || b.car.Status().Vehicle.VIN != testVIN {
				t.Errorf("%02X: %d samples, %+v", with, n, b.car.Status().Vehicle)
			}
		})
	}
}

func TestSearchOfHalfAMinuteIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), BusInit: 25 * time.Second, FaultOn: map[string]elmsim.Fault{"0100": elmsim.SearchPause}})
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		if took := b.until(t, obd.StateLive, time.Minute); took < 25*time.Second {
			t.Errorf("live after %v", took)
		}
	})
}

func TestFaultsByLotNeverGiveAWrongNumber(t *testing.T) {
	t.Parallel()
	rates := map[elmsim.Fault]float64{}
	for _, f := range elmsim.Faults() {
		switch f {
		case elmsim.Implausible, elmsim.BadBusChecksum, elmsim.Unplugged, elmsim.LockUp: // these change a value beyond recognition, or end the line
		default:
			rates[f] = 0.005
		}
	}
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				speedAt := func(at time.Duration) float64 { return float64(20 + int(at/time.Second)%200) }
				sim := elmsim.New(elmsim.Options{VIN: testVIN, Seed: seed, FaultRate: rates, ECUDelay: 8 * time.Millisecond, Vehicle: func() elmsim.Vehicle {
					v := elmsim.Idling()
					v.Speed = speedAt(time.Since(start))
					return v
				}})
				b := newBench(t, sim, obd.Options{Now: func() time.Duration { return time.Since(start) }, Period: map[string]time.Duration{"rpm": time.Second}})
				b.run(t)
				pass(10 * time.Minute)
				good := 0
				for _, s := range b.taken() {
					if s.Err != nil {
						continue
					}
					good++
					switch {
					case s.Signal == "rpm" && s.Value != 800:
						t.Errorf("rpm %+v", s)
					case s.Signal == "speed" && s.Value != speedAt(s.Mono-550*time.Millisecond) && s.Value != speedAt(s.Mono) && s.Value != speedAt(s.Mono+550*time.Millisecond):
						t.Errorf("at %v speed %v", s.Mono, s.Value)
					}
				}
				for _, v := range b.vehicles {
					if v.VIN != "" && v.VIN != testVIN {
						t.Errorf("VIN %q", v.VIN)
					}
				}
				if good < 1000 {
					t.Errorf("%d good samples in ten minutes; %v; %s", good, b.car.Status().Failures, steps(b))
				}
			})
		})
	}
}
