package fusion_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"obdagent/agent/fusion"
	"obdagent/gps"
	"obdagent/obd"
)

// TestDueIsWhenTickGivesARecord goes through random drives: before Due a Tick gives nothing, and who looks at each Due gets the next
// heartbeat after a few looks.
func TestDueIsWhenTickGivesARecord(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		f := newDrive(func(o *fusion.Options) {
			o.Interval, o.ParkedInterval = time.Second, time.Duration(1+rng.IntN(60))*time.Second
		})
		now := time.Hour
		for range 400 {
			now += time.Duration(rng.Int64N(int64(1500 * time.Millisecond)))
			due := f.Due(now)
			if _, ok := f.Tick(now); ok != (now >= due) && ok {
				t.Fatalf("seed %d: a record at %v, due at %v", seed, now, due)
			}
			switch rng.IntN(6) {
			case 0:
				f.Car(obd.StateChange{To: [...]obd.State{obd.StateLive, obd.StateParked}[rng.IntN(2)]}, now)
			case 1, 2:
				f.Sample(obd.Sample{Signal: obd.SignalSpeed, Value: float64(rng.IntN(3) * 20), Mono: now})
			case 3:
				f.Fix(gps.Fix{Mono: now, Mode: gps.Mode3D, Lat: 1, Lon: 2, Speed: float64(rng.IntN(2) * 10)}, time.Time{})
			case 4: // quiet for a while: heartbeats come
				looks := 0
				for given := false; !given; looks++ {
					if now = max(f.Due(now), now); looks > 5 {
						t.Fatalf("seed %d: no record after %d looks, at %v", seed, looks, now)
					}
					_, given = f.Tick(now)
				}
			}
		}
	}
}

// TestAVehicleOfWhichNobodyTellsStands: after a reload to neither car nor receiver a heartbeat comes each parked interval.
func TestAVehicleOfWhichNobodyTellsStands(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fusion.Options){
		"no car and no receiver":             func(o *fusion.Options) { o.Car, o.GPS = false, false },
		"no receiver, and a car that is off": func(o *fusion.Options) { o.GPS = false },
	} {
		o := fusion.Options{Interval: time.Second, ParkedInterval: time.Minute, Car: true, GPS: true}
		d := newDrive(func(all *fusion.Options) { o.BootID, o.NewID, o.Clock = all.BootID, all.NewID, all.Clock; *all = o })
		for s := range 10 {
			d.epoch(time.Duration(s)*time.Second, 0, 50, nil)
		}
		change(&o)
		d.SetOptions(o)
		before := len(d.records)
		for s := 10; s < 10+600; s++ {
			d.take(d.Tick(time.Duration(s) * time.Second))
		}
		if n := len(d.records) - before; n < 9 || n > 11 {
			t.Errorf("%s: %d records in ten minutes, want one a minute", name, n)
		}
	}
}

// TestAVehicleOfWhoseSpeedNobodyTellsStands: an adapter that is unplugged, or a bus that dies, while the last speed was one, and a receiver
// that is not there, has no fix, or says nothing.
func TestAVehicleOfWhoseSpeedNobodyTellsStands(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gps   bool
		epoch func(*gps.Fix) // nil: there are none any more
		off   bool           // the car is noticed to be gone
		live  bool           // it answers, and tells everything but its speed
	}{
		"no receiver, the adapter unplugged":           {off: true},
		"no receiver, the bus dead":                    {},
		"no receiver, the car answers without a speed": {live: true},
		"no fix":                            {gps: true, epoch: noFix, off: true},
		"no fix, the bus dead":              {gps: true, epoch: noFix},
		"a position without a speed":        {gps: true, epoch: func(x *gps.Fix) { x.Speed = math.NaN() }, off: true},
		"the receiver falls silent with it": {gps: true, off: true},
	} {
		d := newDrive(func(o *fusion.Options) { o.GPS = c.gps })
		at := func(s int) time.Duration { return time.Hour + time.Duration(s)*time.Second }
		d.car(at(0), obd.StateLive)
		for s := range 10 {
			d.speed(at(s), 30)
			if c.gps {
				d.epoch(at(s), 0, 30, nil)
			}
			d.take(d.Tick(at(s)))
		}
		if c.off {
			d.car(at(10), obd.StateAbsent)
		}
		pass := func(from, to int) (records, edges int) {
			before := len(d.records)
			for s := from; s < to; s++ {
				if c.live {
					d.take(d.Sample(obd.Sample{Signal: "rpm", Value: 800, Mono: at(s)}))
				}
				if c.epoch != nil {
					d.epoch(at(s), 0, 0, c.epoch)
				}
				if now := at(s); now >= d.Due(now) {
					d.take(d.Tick(now))
				}
			}
			for _, e := range d.edges[before:] {
				if e {
					edges++
				}
			}
			return len(d.records) - before, edges
		}
		if n, _ := pass(10, 60); n < 15 {
			t.Errorf("%s: %d records in the first 50 s: it is taken for standing too soon", name, n)
		}
		if _, edges := pass(60, 80); edges != 1 {
			t.Errorf("%s: %d edges as it fades, want one", name, edges)
		}
		if n, edges := pass(80, 680); n < 9 || n > 11 || edges != 0 {
			t.Errorf("%s: %d records in ten minutes, %d of them edges, want one a minute", name, n, edges)
		}
		before := len(d.records)
		if d.speed(at(680), 30); len(d.records) != before+1 || !d.Edge() {
			t.Errorf("%s: the first speed gives no record", name)
		}
	}
}
