package fusion_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/fusion"
	"obdagent/agent/record"
	"obdagent/obd"
)

// A town is a drive through one: it pulls away, cruises, brakes and stands. Its speed is known at any moment.
type town struct{ kmh []float64 } // every 10 ms

func newTown(seed uint64, length time.Duration) town {
	rng := rand.New(rand.NewPCG(seed, 1))
	var t town
	v, target, accel, hold := 0.0, 0.0, 0.0, 3.0
	for range int(length / (10 * time.Millisecond)) {
		if d := target - v; d != 0 {
			v += max(-1.4*accel*0.01, min(accel*0.01, d))
		} else if hold -= 0.01; hold <= 0 {
			target, accel, hold = float64(20+rng.IntN(60)), 1.6+2.6*rng.Float64(), 12*rng.Float64()
			if rng.Float64() < 0.3 {
				target = 0
			}
		}
		t.kmh = append(t.kmh, v)
	}
	return t
}

func (t town) at(m time.Duration) float64 {
	return t.kmh[max(0, min(len(t.kmh)-1, int(m/(10*time.Millisecond))))]
}

// A pairing is how car and receiver tell of one drive.
type pairing struct {
	lag      time.Duration // of the receiver
	carEvery time.Duration // between answers of the car
	gpsEvery time.Duration // between epochs
	ratio    float64       // of the receiver's speed to the car's
	seed     uint64
}

// run feeds the drive and returns the root mean square of what records on epochs err in km/h, from the moment on that the
// receiver's position is of: with the Fuser's lag, and if it had none. Records count from the given time on.
func (p pairing) run(d *drive, from, length time.Duration) (with, without float64) {
	truth := newTown(p.seed, length)
	rng := rand.New(rand.NewPCG(p.seed, 2))
	d.car(0, obd.StateLive)
	var n, sum, sumWithout float64
	answer := time.Duration(0)
	sample := func(until time.Duration) {
		for answer < until {
			// 010D tells whole km/h.
			d.speed(answer, math.Round(truth.at(answer)))
			answer += p.carEvery*8/10 + time.Duration(rng.Int64N(int64(p.carEvery*4/10)))
		}
	}
	for at := time.Second; at < length-time.Second; at += p.gpsEvery {
		delay := 60*time.Millisecond + time.Duration(rng.Int64N(int64(120*time.Millisecond)))
		sample(at + delay)
		was := truth.at(at - p.lag)
		before := len(d.records)
		d.epoch(at, delay, max(0, p.ratio*was+0.2*rng.NormFloat64()), nil)
		if at < from || len(d.records) == before {
			continue
		}
		got, ok := d.records[len(d.records)-1].SpeedOBD.Get()
		if !ok {
			continue
		}
		n++
		sum += (got - was) * (got - was)
		sumWithout += (truth.at(at) - was) * (truth.at(at) - was)
	}
	return math.Sqrt(sum / n), math.Sqrt(sumWithout / n)
}

func TestTheLagOfTheReceiverIsFoundAndTakenOutOfTheSpeed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pairing
		rms float64 // km/h, at most
	}{
		"the measured receiver":            {pairing{1050 * time.Millisecond, 100 * time.Millisecond, time.Second, 0.976, 1}, 0.5},
		"another drive":                    {pairing{1050 * time.Millisecond, 100 * time.Millisecond, time.Second, 0.976, 2}, 0.5},
		"a receiver without lag":           {pairing{0, 100 * time.Millisecond, time.Second, 1, 3}, 0.5},
		"a receiver of 10 Hz":              {pairing{300 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond, 1, 4}, 0.5},
		"a lag between two candidates":     {pairing{725 * time.Millisecond, 100 * time.Millisecond, time.Second, 1, 5}, 0.5},
		"a slow receiver and wrong tyres":  {pairing{2400 * time.Millisecond, 100 * time.Millisecond, time.Second, 1.12, 6}, 0.5},
		"a K-line car of 4 answers/s":      {pairing{1050 * time.Millisecond, 250 * time.Millisecond, time.Second, 1, 7}, 0.5},
		"a car that trails the receiver":   {pairing{-300 * time.Millisecond, 100 * time.Millisecond, time.Second, 1, 8}, 2},
		"a fast adapter of 100 answers/s":  {pairing{1050 * time.Millisecond, 10 * time.Millisecond, time.Second, 1, 9}, 0.5},
		"a car of one answer in 1 second ": {pairing{1050 * time.Millisecond, time.Second, time.Second, 1, 10}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDrive(func(o *fusion.Options) { o.Interval = c.gpsEvery })
			with, without := c.run(d, 10*time.Minute, 20*time.Minute)
			lag := d.Lag()
			if !lag.Known || (lag.Applied-c.lag).Abs() > 60*time.Millisecond || (lag.Estimate-c.lag).Abs() > 60*time.Millisecond {
				t.Errorf("lag %+v, want %v", lag, c.lag)
			}
			if math.Abs(lag.Ratio-c.ratio) > 0.01 {
				t.Errorf("ratio %.3f, want %.3f", lag.Ratio, c.ratio)
			}
			if with > c.rms {
				t.Errorf("%.2f km/h RMS (%.2f without the lag), want at most %.1f", with, without, c.rms)
			}
			t.Logf("%.2f km/h RMS, %.2f without the lag; %+v", with, without, lag)
		})
	}
}

func TestNoLagIsAppliedBeforeItIsStable(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.car(0, obd.StateLive)
	for s := time.Second; s < 20*time.Minute; s += time.Second {
		for ms := time.Duration(-1000); ms < 0; ms += 100 {
			d.speed(s+ms*time.Millisecond, 80) // a motorway tells nothing of the lag
		}
		d.epoch(s, 0, 79.5, nil)
	}
	if lag := d.Lag(); lag.Known || lag.Applied != 0 || lag.Epochs != 0 {
		t.Errorf("a lag was found at a constant speed: %+v", lag)
	}
	d = newDrive(nil)
	pairing{lag: time.Second, carEvery: 100 * time.Millisecond, gpsEvery: time.Second, ratio: 1, seed: 1}.run(d, 0, 40*time.Second)
	if lag := d.Lag(); lag.Applied != 0 {
		t.Errorf("a lag was applied after 40 seconds: %+v", lag)
	}
}

func TestSpeedsThatHaveNothingToDoWithEachOtherHaveNoLag(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.car(0, obd.StateLive)
	car, ground := newTown(1, 20*time.Minute), newTown(99, 20*time.Minute)
	for s := time.Second; s < 20*time.Minute; s += time.Second {
		for ms := time.Duration(-1000); ms < 0; ms += 100 {
			d.speed(s+ms*time.Millisecond, math.Round(car.at(s+ms*time.Millisecond)))
		}
		d.epoch(s, 0, ground.at(s), nil)
		if lag := d.Lag(); lag.Applied != 0 {
			t.Fatalf("a lag was applied at %v: %+v", s, lag)
		}
	}
}

func TestAnotherReceiverIsNoticed(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	truth := newTown(5, 60*time.Minute)
	d.car(0, obd.StateLive)
	feed := func(from, to, lag time.Duration) {
		for s := from; s < to; s += time.Second {
			for ms := time.Duration(-1000); ms < 0; ms += 100 {
				d.speed(s+ms*time.Millisecond, math.Round(truth.at(s+ms*time.Millisecond)))
			}
			d.epoch(s, 100*time.Millisecond, truth.at(s-lag), nil)
		}
	}
	feed(time.Second, 10*time.Minute, 2*time.Second)
	if lag := d.Lag(); (lag.Applied - 2*time.Second).Abs() > 60*time.Millisecond {
		t.Fatalf("the first receiver: %+v, want 2s", lag)
	}
	feed(10*time.Minute, 59*time.Minute, 200*time.Millisecond)
	if lag := d.Lag(); (lag.Applied - 200*time.Millisecond).Abs() > 60*time.Millisecond {
		t.Errorf("the second receiver: %+v, want 200ms", lag)
	}
}

func TestTheSameInputGivesTheSameRecords(t *testing.T) {
	t.Parallel()
	run := func() []record.Record {
		d := newDrive(nil)
		pairing{lag: time.Second, carEvery: 90 * time.Millisecond, gpsEvery: time.Second, ratio: 1, seed: 3}.run(d, 0, 5*time.Minute)
		return d.records
	}
	if d := cmp.Diff(run(), run(), cmp.AllowUnexported(record.Float{}, record.Opt[bool]{})); d != "" {
		t.Errorf("(-first +second)\n%s", d)
	}
}

// BenchmarkLagOfTheReceiver reports what the records of a drive err whose GPS trails by 1.05 s.
func BenchmarkLagOfTheReceiver(b *testing.B) {
	var with, without float64
	for b.Loop() {
		d := newDrive(nil)
		p := pairing{lag: 1050 * time.Millisecond, carEvery: 100 * time.Millisecond, gpsEvery: time.Second, ratio: 0.976, seed: 1}
		with, without = p.run(d, 10*time.Minute, 20*time.Minute)
	}
	b.ReportMetric(with, "km/h-RMS")
	b.ReportMetric(without, "km/h-RMS-uncompensated")
}

// BenchmarkEpochWhileTheSpeedChanges is an epoch that the lag is estimated with, and the ten answers of the car before it.
func BenchmarkEpochWhileTheSpeedChanges(b *testing.B) {
	d := newDrive(nil)
	d.car(0, obd.StateLive)
	b.ReportAllocs()
	at := time.Duration(0)
	for b.Loop() {
		for range 10 {
			at += 100 * time.Millisecond
			d.speed(at, 50+40*math.Sin(at.Seconds()/5))
		}
		d.epoch(at, 0, 50+40*math.Sin(at.Seconds()/5-0.2), nil)
		d.records = d.records[:0]
	}
}
