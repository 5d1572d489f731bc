package obd_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

// twoECUs are an engine's and a gearbox's, whose speed is wrong and which answers first.
func twoECUs(protocol elmsim.Protocol, functionalOnly bool) []elmsim.ECU {
	wrong := 99.0
	gearbox, engine := "7E9", "7E8"
	if protocol == elmsim.CAN29Bit500k {
		gearbox, engine = "18DAF118", "18DAF110"
	}
	return []elmsim.ECU{
		{Address: gearbox, PIDs: []byte{0x0C, 0x0D}, Speed: &wrong, Stored: []uint16{0x0700}},
		{Address: engine, PIDs: elmsim.EnginePIDs, VIN: true, FunctionalOnly: functionalOnly},
	}
}

// TestThePinnedECUIsAskedTheFastestWayTheAdapterKnows runs two ECUs behind adapters of all abilities, with the cap lifted.
func TestThePinnedECUIsAskedTheFastestWayTheAdapterKnows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		personality elmsim.Personality
		protocol    elmsim.Protocol
		deaf        bool     // the engine's ECU does not hear its own address
		sent, never []string // commands
		least, most int      // speeds in ten seconds
	}{
		// 20 bytes at 38400 and 8 ms: 75.7 a second are the limit.
		{"a filter and a count", elmsim.Genuine, elmsim.CAN11Bit500k, false, []string{"ATCRA7E8", "010D1"}, []string{"ATSH7E0", "ATST10"}, 700, 760},
		{"no filter, so it is asked alone", elmsim.NoFilter, elmsim.CAN11Bit500k, false, []string{"ATSH7E0", "010D1"}, []string{"ATST10"}, 700, 760},
		{"the same with 29 bits", elmsim.NoFilter, elmsim.CAN29Bit500k, false, []string{"ATSHDA10F1", "010D1"}, []string{"ATST10"}, 600, 760},
		// Two answers of 14 bytes, no count, 64 ms more: 12 a second.
		{"no filter, and deaf at its own address", elmsim.NoFilter, elmsim.CAN11Bit500k, true, []string{"ATSH7E0", "ATSH7DF", "ATST10"}, nil, 100, 130},
		{"no count, so the wait is short", elmsim.NoCount, elmsim.CAN11Bit500k, false, []string{"ATCRA7E8", "ATST10"}, nil, 110, 135},
		// 205 ms after each answer.
		{"nothing at all", elmsim.CloneV21, elmsim.CAN11Bit500k, false, []string{"010D"}, nil, 35, 48},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim := elmsim.New(elmsim.Options{VIN: testVIN, Protocol: c.protocol, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond, Baud: 38400,
					ECUs: twoECUs(c.protocol, c.deaf), Personality: c.personality})
				b := newBench(t, sim, obd.Options{MaxRate: 1000})
				b.run(t)
				b.until(t, obd.StateLive, 20*time.Second)
				commands := sim.Commands()
				pass(5 * time.Second)
				b.clear()
				pass(10 * time.Second)
				commands = append(commands, sim.Commands()...)
				for _, s := range b.taken() {
					if s.Err != nil || s.Value != 50 {
						t.Errorf("%+v", s)
					}
				}
				n := len(b.taken())
				if n < c.least || n > c.most {
					t.Errorf("%d speeds in 10 s", n)
				}
				t.Logf("%.1f speeds a second", float64(n)/10)
				for _, cmd := range c.sent {
					if !slices.Contains(commands, cmd) {
						t.Errorf("%s was not sent", cmd)
					}
				}
				for _, cmd := range c.never {
					if slices.Contains(commands, cmd) {
						t.Errorf("%s was sent", cmd)
					}
				}
				st := b.car.Status()
				if st.Vehicle.VIN != testVIN {
					t.Errorf("vehicle %+v", st.Vehicle)
				}
				// Whatever is pinned, the others' trouble codes are heard.
				if st.Trouble == nil || len(st.Trouble.Others) != 1 || !slices.Equal(st.Trouble.Others[0].Stored, []string{"P0700"}) {
					t.Errorf("trouble %+v", st.Trouble)
				}
			})
		})
	}
}

// TestASlowECUKeepsTheUsualWait has an ECU that takes longer than the short wait: it is noticed before the polling begins.
func TestASlowECUKeepsTheUsualWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUDelay: 90 * time.Millisecond, Baud: 38400,
			ECUs: twoECUs(elmsim.CAN11Bit500k, false), Personality: elmsim.NoCount})
		b := newBench(t, sim, obd.Options{MaxRate: 1000})
		b.run(t)
		b.until(t, obd.StateLive, 20*time.Second)
		commands := sim.Commands()
		if i := slices.Index(commands, "ATST10"); i < 0 || !slices.Contains(commands[i:], "ATST32") {
			t.Errorf("the wait was not shortened and given back: %q", commands)
		}
		b.clear()
		pass(10 * time.Second)
		good := 0
		for _, s := range b.taken() {
			if s.Err == nil && s.Value == 50 {
				good++
			}
		}
		if good < 20 || b.car.Status().State != obd.StateLive {
			t.Errorf("%d speeds in 10 s, state %s", good, b.car.Status().State)
		}
	})
}

// TestAnECUThatWakesUpLaterIsKeptOut lets a second ECU answer first from some moment on, at full speed.
func TestAnECUThatWakesUpLaterIsKeptOut(t *testing.T) {
	t.Parallel()
	for _, p := range []elmsim.Personality{elmsim.Genuine, elmsim.CloneV15, elmsim.NoFilter, elmsim.CloneV21} {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond, Baud: 38400, Personality: p})
				b := newBench(t, sim, obd.Options{MaxRate: 1000})
				b.run(t)
				b.until(t, obd.StateLive, 20*time.Second)
				pass(2 * time.Second)
				b.clear()
				for range 50 {
					sim.Inject(elmsim.ForeignECUFirst)
				}
				pass(20 * time.Second)
				failed := 0
				for _, s := range b.taken() {
					switch {
					case s.Err != nil:
						failed++
					case s.Value != 50:
						t.Errorf("%+v", s)
					}
				}
				if failed > 0 {
					t.Errorf("%d samples without a value", failed)
				}
			})
		})
	}
}

// TestAnAnnouncedAnswerIsNotTakenForThatToALaterRequest has the speed change while the answer is on its way.
func TestAnAnnouncedAnswerIsNotTakenForThatToALaterRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		car := newDial()
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: car.get, ECUDelay: 8 * time.Millisecond, Baud: 38400})
		b := newBench(t, sim, obd.Options{MaxRate: 1000})
		b.run(t)
		b.until(t, obd.StateLive, 20*time.Second)
		pass(2 * time.Second)
		car.turn(func(v *elmsim.Vehicle) { v.Speed = 30 })
		sim.Inject(elmsim.Pending)
		for sim.Counts().Faults[elmsim.Pending] == 0 {
			pass(time.Millisecond)
		}
		b.clear()
		car.turn(func(v *elmsim.Vehicle) { v.Speed = 60 })
		pass(8 * time.Second)
		refused, good := 0, 0
		for _, s := range b.taken() {
			switch {
			case s.Err != nil:
				refused++
			case s.Value != 60:
				t.Errorf("%+v", s)
			default:
				good++
			}
		}
		if refused != 1 || good < 20 {
			t.Errorf("%d refused, %d good", refused, good)
		}
		if c := sim.Commands(); strings.HasSuffix(c[len(c)-1], "1") {
			t.Errorf("still asks for one line: %s", c[len(c)-1])
		}
	})
}

// TestACloneThatCutsAnswersGivesWhatFitsAndNothingElse: full frames and the VIN are cut, single values are whole.
func TestACloneThatCutsAnswersGivesWhatFitsAndNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond, Baud: 38400, Personality: elmsim.Cutter})
		every := 200 * time.Millisecond
		b := newBench(t, sim, obd.Options{Period: map[string]time.Duration{"rpm": every, "coolant": every, "map": every}})
		b.run(t)
		b.until(t, obd.StateLive, 20*time.Second)
		pass(20 * time.Second)
		count := map[string]int{}
		for _, s := range b.taken() {
			if s.Err != nil {
				continue
			}
			count[s.Signal]++
			if want := map[string]float64{"speed": 50, "rpm": 800, "coolant": 88, "map": 35}[s.Signal]; s.Value != want {
				t.Errorf("%+v", s)
			}
		}
		for _, name := range []string{"speed", "rpm", "coolant", "map"} {
			if count[name] < 40 {
				t.Errorf("%s: %d values in 20 s: %v", name, count[name], count)
			}
		}
		if st := b.car.Status(); st.Vehicle.VIN != "" || st.Failures["malformed"] == 0 {
			t.Errorf("%+v; failures %v", st.Vehicle, st.Failures)
		}
	})
}

// TestAFilterThatDoesNotWorkIsNoHarm has adapters that say OK to it, and two ECUs, of which the wrong one is first now and then.
func TestAFilterThatDoesNotWorkIsNoHarm(t *testing.T) {
	t.Parallel()
	ignores, drops := elmsim.Genuine, elmsim.Genuine
	ignores.IgnoresFilter, drops.DropsAll = true, true
	for name, p := range map[string]elmsim.Personality{"it shows all": ignores, "it shows nothing": drops} {
		for _, engineFirst := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ecus := twoECUs(elmsim.CAN11Bit500k, false)
					if engineFirst {
						slices.Reverse(ecus)
					}
					sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond, Baud: 38400, ECUs: ecus, Personality: p})
					b := newBench(t, sim, obd.Options{})
					b.run(t)
					b.until(t, obd.StateLive, 20*time.Second)
					pass(2 * time.Second)
					for range 10 {
						sim.Inject(elmsim.ForeignECUFirst)
					}
					pass(10 * time.Second)
					good := 0
					for _, s := range b.taken() {
						if s.Err != nil || s.Value != 50 {
							t.Errorf("%+v", s)
						}
						good++
					}
					if st := b.car.Status(); good < 80 || st.Vehicle.VIN != testVIN {
						t.Errorf("%d speeds; %+v", good, st.Vehicle)
					}
				})
			})
		}
	}
}
