package agent_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"obdagent/agent/agenttest"
	"obdagent/agent/demo"
	"obdagent/agent/record"
	"obdagent/agent/status"
	"obdagent/gps/nmeasim"
)

// movingSeed is of a trip that goes on at more than 17 km/h for two minutes, once it has begun.
const movingSeed = 24

func TestWithoutAFixARecordHasNoPosition(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		faults nmeasim.Faults
		hidden bool
	}{
		"the receiver says nothing of a position":      {hidden: true},
		"the receiver shows a position it is not sure": {faults: nmeasim.Faults{NoFix: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.often()
			sim := r.simulate(demo.SimOptions{Rate: 5, Seed: movingSeed, GPSFaults: test.faults})
			sim.SetSky(!test.hidden)
			r.start()
			r.until("receiver without a fix beside a car", func(s status.Snapshot) bool {
				return s.GPS.State == "no_fix" && s.GPS.Fix == "none" && s.Car.State == "live"
			})
			r.untilRecords("records of the car alone", 5, func(x record.Record) bool { return x.SpeedOBD.IsSet() })
			unplaced := uint64(len(r.records()))
			if test.hidden {
				sim.SetSky(true)
				r.until("fix", func(s status.Snapshot) bool { return s.GPS.State == "fix" })
				r.untilRecords("records with a position", 3, func(x record.Record) bool { return x.Lat.IsSet() })
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			checked := 0
			for _, line := range objectLines(t, r.cfg.Uplink.Path) {
				x := parse(t, line)
				if x.Seq > unplaced {
					continue
				}
				checked++
				if !strings.Contains(line, `"lon":null,"lat":null`) {
					t.Errorf("the position is not null: %s", line)
				}
				if x.Lat.IsSet() || x.Lon.IsSet() || x.SpeedGPS.IsSet() || x.Heading.IsSet() || x.Alt.IsSet() || x.Fix != "none" || x.SpeedSrc == "gps" {
					t.Errorf("there was no fix: %s", line)
				}
				if !slices.Contains(x.Flags, record.FlagNoFix) {
					t.Errorf("nothing tells of the missing fix: %s", line)
				}
			}
			if checked < 5 {
				t.Errorf("%d records without a fix", checked)
			}
		})
	}
}

// ofTheCar reports whether a record has a value that only the car can tell.
func ofTheCar(x record.Record) bool {
	for _, v := range []record.Float{x.SpeedOBD, x.OBDAge, x.RPM, x.Load, x.Coolant, x.MAF, x.MAP, x.IAT, x.Lambda, x.Throttle, x.FuelRate, x.FuelLvl} {
		if v.IsSet() {
			return true
		}
	}
	return x.SpeedSrc == "obd"
}

func TestAParkedCarIsLeftAloneAndFoundAgain(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "pace") // records are compared with where the vehicle was
	r := newRig(t)
	r.often()
	r.cfg.Uplink.TimeWait = patience // so that every record has its true time
	sim := r.simulate(demo.SimOptions{Rate: 5, Seed: movingSeed})
	r.start()
	r.until("driving car", func(s status.Snapshot) bool {
		return s.Car.State == "live" && s.Car.Speed != nil && *s.Car.Speed > 15 && s.GPS.State == "fix"
	})
	r.untilRecords("records of the car", 3, ofTheCar)

	// A garage: nothing tells of motion, and nothing is asked.
	sim.SetSky(false)
	r.until("receiver without a fix", func(s status.Snapshot) bool { return s.GPS.State == "no_fix" })
	sim.SetIgnition(false)
	s := r.until("parked car", func(s status.Snapshot) bool { return s.Car.State == "parked" })
	parkedAt, asked := time.Now(), sim.Adapter().Requests
	// Samples of the car may still be on their way to fusion; once one record is without them, all later ones are.
	var parked uint64
	r.untilRecords("record of a parked car", 1, func(x record.Record) bool {
		off := x.Seq > s.Record.Made && !ofTheCar(x) && !slices.Contains(x.Flags, record.FlagStaleOBD)
		if off && parked == 0 {
			parked = x.Seq
		}
		return off
	})
	s = r.until("25 records of a parked car", func(s status.Snapshot) bool { return s.Record.Made >= parked+25 })
	// After a minute it is asked for once; on a machine that is that slow this is no error.
	silent := func() int { return int(time.Since(parkedAt) / time.Minute) }
	if n := sim.Adapter().Requests - asked; n > silent()*maxSearch {
		t.Errorf("the parked car's bus saw %d requests", n)
	}
	if s.Car.State != "parked" || s.Car.Speed != nil {
		t.Errorf("the status of a parked car is %+v", s.Car)
	}

	// It leaves on a tow truck: the receiver tells of motion, and the car is looked for at once, 5 s later, 10 s later, and so on.
	towedAt := time.Now()
	sim.SetSky(true)
	towed := s.Record.Made
	r.untilRecords("records of a towed car", 15, func(x record.Record) bool { return x.Seq > towed && x.Lat.IsSet() })
	requests := sim.Adapter().Requests - asked
	var attempts int
	await(t, "look for the car in the status log", func() bool {
		attempts = strings.Count(r.log(), "event=car from=parked to=search")
		return (attempts+silent())*maxSearch >= requests
	}, r.log)
	most := 1
	for gap, left := 5*time.Second, time.Since(towedAt); left >= gap; gap *= 2 {
		left -= gap
		most++
	}
	if attempts < 1 || attempts > most || requests < 1 {
		t.Errorf("the towed car's bus saw %d requests, as it was looked for %d times, at most %d in that time", requests, attempts, most)
	}
	ended := uint64(len(r.records()))

	sim.SetIgnition(true)
	r.until("car that is found again", func(s status.Snapshot) bool { return s.Car.State == "live" && s.Car.Speed != nil && *s.Car.Speed > 15 })
	found := func(x record.Record) bool { return x.Seq > ended && ofTheCar(x) && x.RPM.IsSet() && x.VIN == demo.VIN }
	r.untilRecords("records of the car", 5, found)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	all, _ := deliveredAsMade(t, r.records(), objectLines(t, r.cfg.Uplink.Path), nil)
	byGPS := 0
	for _, x := range bySeq(all) {
		truthful(t, sim, x)
		if x.Seq < parked || x.Seq > ended {
			continue
		}
		if ofTheCar(x) || slices.Contains(x.Flags, record.FlagStaleOBD) {
			t.Errorf("the car was off when it was said: %s", x.AppendJSON(nil))
		}
		if speed, ok := x.Speed.Get(); ok && speed > 15 && x.SpeedSrc == "gps" {
			byGPS++
		}
	}
	if byGPS < 15 {
		t.Errorf("%d records of the towed car have the receiver's speed", byGPS)
	}
	if n := len(slices.DeleteFunc(all, func(x record.Record) bool { return !found(x) })); n < 5 {
		t.Errorf("%d delivered records of the car that was found again", n)
	}
}

// maxSearch is the most requests that one look for a car puts on its bus: one by the protocol that it last spoke, one by the
// adapter's own search.
const maxSearch = 2

// log is the status log so far.
func (r *rig) log() string {
	r.t.Helper()
	text, err := os.ReadFile(r.cfg.Status.Log)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}
