package obd_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

func TestAdapterThatSleepsIsFoundAndWoken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50)})
		sim.Sleep()
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		if took := b.until(t, obd.StateLive, 20*time.Second); took > 6*time.Second {
			t.Errorf("live after %v", took)
		}
		if n := b.car.Status().Opens; n != 1 {
			t.Errorf("%d openings", n)
		}
	})
}

func TestLowPowerAlertWhileLiveCostsSecondsAndNoWrongNumber(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(*elmsim.Sim){
		"announced":       func(s *elmsim.Sim) { s.Inject(elmsim.LowPower) },
		"without a word":  func(s *elmsim.Sim) { s.Sleep() },
		"within a reply":  func(s *elmsim.Sim) { s.Inject(elmsim.LPAlert) },
		"twice in a row":  func(s *elmsim.Sim) { s.Inject(elmsim.LowPower, elmsim.NoFault, elmsim.Asleep) },
		"a power failure": func(s *elmsim.Sim) { s.PowerCycle() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond, Baud: 38400})
				b := newBench(t, sim, obd.Options{})
				b.run(t)
				b.until(t, obd.StateLive, 10*time.Second)
				pass(time.Second)
				disturb(sim)
				pass(15 * time.Second)
				b.clear()
				pass(time.Second)
				good := 0
				for _, s := range b.taken() {
					if s.Err == nil && s.Value != 50 {
						t.Errorf("%+v", s)
					}
					if s.Err == nil {
						good++
					}
				}
				if st := b.car.Status(); good < 9 || st.State != obd.StateLive || st.Opens != 1 {
					t.Errorf("%d good samples; %s: %s; %d openings; %s; failures %v", good, st.State, st.Reason, st.Opens, steps(b), st.Failures)
				}
				if strings.Contains(steps(b), "parked") {
					t.Errorf("parked on a running car: %s", steps(b))
				}
			})
		})
	}
}

func TestParkedAdapterIsLetSleepAndHeardWhenItWakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		car := newDial()
		// Asked each 30 s it never sleeps; this one wants to after 20.
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: car.get, SleepAfter: 20 * time.Second})
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		car.off()
		b.until(t, obd.StateParked, 30*time.Second)
		pass(80 * time.Minute)
		awake, before := 0, sim.Counts()
		for range 3600 {
			pass(time.Second)
			if sim.Awake() {
				awake++
			}
		}
		after := sim.Counts()
		// A reading each ten minutes, after which it stays awake for 80 s, and one retry.
		if awake > 8*90 {
			t.Errorf("awake for %d s of an hour", awake)
		}
		if n := after.Requests - before.Requests; n > 2 {
			t.Errorf("%d requests on the bus in an hour", n)
		}
		if v := b.car.Status().Voltage; v != 12.5 {
			t.Errorf("voltage %v", v)
		}
		for sim.Awake() {
			pass(time.Second)
		}
		car.on()
		sim.Rouse()
		if took := b.until(t, obd.StateLive, time.Minute); took > 6*time.Second {
			t.Errorf("live after %v", took)
		}
		car.off()
		b.until(t, obd.StateParked, 30*time.Second)
		for range 200 {
			pass(time.Second)
			if !sim.Awake() {
				break
			}
		}
		car.on()
		b.car.Wake()
		if took := b.until(t, obd.StateLive, time.Minute); took > 6*time.Second {
			t.Errorf("by motion live after %v", took)
		}
	})
}

func TestAdapterThatLocksUpIsOpenedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50)})
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		sim.Inject(elmsim.LockUp)
		pass(45 * time.Second)
		if st := b.car.Status(); st.State != obd.StateLive || st.Opens < 2 {
			t.Errorf("%s: %s; %d openings", st.State, st.Reason, st.Opens)
		}
		for _, s := range b.taken() {
			if s.Err == nil && s.Value != 50 {
				t.Errorf("%+v", s)
			}
		}
	})
}

// TestWhatLocksOrStartlesClonesIsNeverSent runs all personalities from a state in which somebody else left them.
func TestWhatLocksOrStartlesClonesIsNeverSent(t *testing.T) {
	t.Parallel()
	for _, p := range []elmsim.Personality{elmsim.Genuine, elmsim.STN, elmsim.CloneV15, elmsim.CloneV21, elmsim.Fragile} {
		for _, protocol := range []elmsim.Protocol{elmsim.CAN11Bit500k, elmsim.CAN29Bit250k, elmsim.KWP5Baud} {
			t.Run(p.Name+" "+string(byte(protocol)), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					sim := elmsim.New(elmsim.Options{VIN: testVIN, Protocol: protocol, Vehicle: vehicleAt(50), Personality: p})
					sim.Leave("ATCFC0", "ATCRA7EF", "ATH1", "ATE0")
					b := newBench(t, sim, obd.Options{})
					b.run(t)
					b.until(t, obd.StateLive, time.Minute)
					pass(time.Second)
					if v := b.car.Status().Vehicle.VIN; v != testVIN {
						t.Errorf("VIN %q; failures %v", v, b.car.Status().Failures)
					}
					for _, cmd := range sim.Commands() {
						for _, never := range []string{"ATTPA", "ATSPA", "ATZ", "ATPP", "ATBRD", "ATSD", "ATLP"} {
							if strings.HasPrefix(cmd, never) {
								t.Errorf("sent %s", cmd)
							}
						}
						if cmd == "" {
							t.Error("sent a bare CR, which repeats the last command")
						}
					}
				})
			})
		}
	}
}

// TestEveryFaultOfAVINGivesItWholeOrNotAtAll lets each fault befall every answer to 0902, which has several frames.
func TestEveryFaultOfAVINGivesItWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, protocol := range []elmsim.Protocol{elmsim.CAN11Bit500k, elmsim.CAN29Bit500k, elmsim.ISO9141} {
		for _, fault := range elmsim.Faults() {
			switch fault {
			case elmsim.Unplugged, elmsim.LockUp, elmsim.Asleep, elmsim.LowPower, elmsim.LVReset, elmsim.Err94, elmsim.Err42, elmsim.LPAlert:
				continue // these end the connection each time, so that the car is never live
			case elmsim.BadBusChecksum:
				if protocol != elmsim.ISO9141 {
					continue // on CAN there is none: it would change a character
				}
			}
			t.Run(fault.String()+" on protocol "+string(byte(protocol)), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					sim := elmsim.New(elmsim.Options{VIN: testVIN, Protocol: protocol, Vehicle: vehicleAt(50), Seed: 3,
						FaultOn: map[string]elmsim.Fault{"0902": fault}})
					b := newBench(t, sim, obd.Options{MaxRate: 3})
					b.run(t)
					b.until(t, obd.StateLive, 30*time.Second)
					pass(12 * time.Second) // in which it is asked for once more
					st := b.car.Status()
					if sim.Counts().Faults[fault] == 0 {
						t.Error("the fault has not befallen anything")
					}
					if v := st.Vehicle.VIN; v != "" && v != testVIN {
						t.Errorf("VIN %q", v)
					}
					if st.State != obd.StateLive {
						t.Errorf("%s: %s", st.State, st.Reason)
					}
				})
			})
		}
	}
}

func TestValueBehindALongBusInitialisationIsNotDated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Protocol: elmsim.KWP5Baud, Vehicle: vehicleAt(50), BusInit: 2500 * time.Millisecond})
		b := newBench(t, sim, obd.Options{})
		b.run(t)
		b.until(t, obd.StateLive, 20*time.Second)
		pass(time.Second)
		sim.Inject(elmsim.BusInitPause)
		pass(5 * time.Second)
		if n := b.car.Status().Failures["late"]; n != 1 {
			t.Errorf("failures %v", b.car.Status().Failures)
		}
	})
}
