package fusion_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"obdagent/agent/clock"
	"obdagent/agent/fusion"
	"obdagent/agent/record"
	"obdagent/gps"
	"obdagent/obd"
)

var midnight = time.Date(2026, time.November, 23, 0, 0, 0, 0, time.UTC)

// fakeClock vouches for midnight + boottime, unless it is told not to.
type fakeClock struct{ src clock.Source }

func (c *fakeClock) At(mono time.Duration) (time.Time, clock.Source) {
	if c.src == clock.None {
		return time.Time{}, clock.None
	}
	return midnight.Add(mono), c.src
}

func (c *fakeClock) System() time.Time { return time.Unix(12, 0).UTC() }

// A drive feeds a Fuser and collects what it makes.
type drive struct {
	*fusion.Fuser
	clock   *fakeClock
	records []record.Record
	edges   []bool // of the records
}

func newDrive(change func(*fusion.Options)) *drive {
	d := &drive{clock: &fakeClock{clock.GNSS}}
	n := 0
	o := fusion.Options{Interval: time.Second, ParkedInterval: time.Minute, DeviceID: "van", BootID: "boot", Clock: d.clock, Car: true, GPS: true,
		NewID: func() uuid.UUID { n++; return uuid.UUID{15: byte(n), 14: byte(n >> 8)} }}
	if change != nil {
		change(&o)
	}
	d.Fuser = fusion.New(o)
	return d
}

func (d *drive) take(r record.Record, ok bool) {
	if ok {
		d.records = append(d.records, r)
		d.edges = append(d.edges, d.Edge())
	}
}

func (d *drive) car(at time.Duration, to obd.State) { d.take(d.Car(obd.StateChange{To: to}, at)) }
func (d *drive) speed(at time.Duration, kmh float64) {
	d.take(d.Sample(obd.Sample{Signal: "speed", Value: kmh, Mono: at}))
}

// epoch is a fix at the time at, that arrives delay later.
func (d *drive) epoch(at, delay time.Duration, kmh float64, change func(*gps.Fix)) {
	x := gps.Fix{Mono: at + delay, Done: at + delay, Time: midnight.Add(at), TimeOfDay: at, Mode: gps.Mode3D,
		Lat: 48 + at.Seconds()*1e-4, Lon: 11, Alt: 500, Speed: kmh / 3.6, Course: 90, HDOP: 0.9, Sats: 11}
	if change != nil {
		y := x // what change is given escapes: benchmarks are not to pay for it
		change(&y)
		x = y
	}
	d.take(d.Fix(x, x.Time))
}

func noFix(x *gps.Fix) {
	x.Mode, x.Lat, x.Lon, x.Alt, x.Speed, x.Reason = gps.ModeNone, math.NaN(), math.NaN(), math.NaN(), math.NaN(), "rmc void"
}

func want(t *testing.T, name string, got record.Float, want float64) {
	t.Helper()
	if v, ok := got.Get(); !ok || math.Abs(v-want) > 1e-6 {
		t.Errorf("%s is %v (present %t), want %v", name, v, ok, want)
	}
}

func absent(t *testing.T, name string, got record.Float) {
	t.Helper()
	if v, ok := got.Get(); ok {
		t.Errorf("%s is %v, want it absent", name, v)
	}
}

func TestTheCarsSpeedIsInterpolatedAtTheEpoch(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.car(0, obd.StateLive)
	d.speed(900*time.Millisecond, 40)
	d.speed(1100*time.Millisecond, 50)
	// The epoch of 1.000 s arrives at 1.180 s, after the sample of 1.100 s.
	d.epoch(time.Second, 180*time.Millisecond, 43, nil)
	r := d.records[len(d.records)-1]
	want(t, "speed", r.Speed, 45)
	want(t, "speed_obd", r.SpeedOBD, 45)
	want(t, "speed_gps", r.SpeedGPS, 43)
	want(t, "obd_age_ms", r.OBDAge, 100)
	want(t, "fix_age_ms", r.FixAge, 0)
	if r.SpeedSrc != "obd" || !r.Time.Equal(midnight.Add(time.Second)) || r.TimeSrc != clock.GNSS || r.MonoMS != 1000 || r.Fix != "3d" {
		t.Errorf("record %+v", r)
	}
}

func TestAnOldSpeedIsNoSpeed(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.car(0, obd.StateLive)
	d.speed(time.Second, 40)
	d.epoch(2*time.Second, 0, 39, nil)
	want(t, "speed_obd of a second ago", d.records[len(d.records)-1].SpeedOBD, 40)
	d.epoch(3*time.Second, 0, 38, nil)
	r := d.records[len(d.records)-1]
	absent(t, "speed_obd of two seconds ago", r.SpeedOBD)
	want(t, "speed", r.Speed, 38)
	if r.SpeedSrc != "gps" || !slices.Contains(r.Flags, record.FlagStaleOBD) {
		t.Errorf("speed_src %s, flags %v; want gps, stale_obd", r.SpeedSrc, r.Flags)
	}
}

func TestSamplesFarApartAreNotInterpolatedBetween(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.car(0, obd.StateLive)
	d.speed(time.Second, 0)
	d.speed(4*time.Second, 90)
	d.epoch(3*time.Second, time.Second, 60, nil)
	r := d.records[len(d.records)-1]
	absent(t, "speed_obd", r.SpeedOBD)
	want(t, "speed", r.Speed, 60)
}

func TestNothingOutlivesTheCar(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.car(0, obd.StateLive)
	d.take(d.Sample(obd.Sample{Signal: "rpm", Value: 2000, Mono: 900 * time.Millisecond}))
	d.speed(time.Second, 50)
	d.epoch(time.Second, 0, 50, nil)
	want(t, "rpm", d.records[len(d.records)-1].RPM, 2000)
	d.car(1100*time.Millisecond, obd.StateAbsent)
	d.epoch(2*time.Second, 0, 50, nil)
	r := d.records[len(d.records)-1]
	absent(t, "rpm", r.RPM)
	absent(t, "speed_obd", r.SpeedOBD)
	want(t, "speed", r.Speed, 50)
	if r.SpeedSrc != "gps" {
		t.Errorf("speed_src %s, want gps", r.SpeedSrc)
	}
}

func TestAnAnswerWithAnErrorIsNoValue(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.car(0, obd.StateLive)
	for _, signal := range []string{"speed", "rpm"} {
		d.take(d.Sample(obd.Sample{Signal: signal, Value: 0, Mono: time.Second, Err: errors.New("NO DATA")}))
	}
	d.epoch(time.Second, 0, 50, nil)
	r := d.records[len(d.records)-1]
	absent(t, "rpm", r.RPM)
	absent(t, "speed_obd", r.SpeedOBD)
}

func TestASignalHasItsAgeLimit(t *testing.T) {
	t.Parallel()
	d := newDrive(func(o *fusion.Options) { o.MaxAge = map[string]time.Duration{"coolant": time.Minute} })
	d.car(0, obd.StateLive)
	for _, signal := range []string{"coolant", "rpm"} {
		d.take(d.Sample(obd.Sample{Signal: signal, Value: 80, Mono: time.Second}))
	}
	d.epoch(20*time.Second, 0, 50, nil)
	r := d.records[len(d.records)-1]
	want(t, "coolant of 19 s ago", r.Coolant, 80)
	absent(t, "rpm of 19 s ago", r.RPM)
}

func TestATunnelKeepsTheSpeedAndLosesThePosition(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.car(0, obd.StateLive)
	d.speed(time.Second, 50)
	d.epoch(time.Second, 0, 50, nil)
	d.speed(2*time.Second, 52)
	d.epoch(2*time.Second, 0, 0, noFix)
	r := d.records[len(d.records)-1]
	absent(t, "lat", r.Lat)
	absent(t, "lon", r.Lon)
	absent(t, "speed_gps", r.SpeedGPS)
	want(t, "speed", r.Speed, 52)
	want(t, "fix_age_ms", r.FixAge, 1000)
	if r.Fix != "none" || !slices.Contains(r.Flags, record.FlagNoFix) {
		t.Errorf("fix %s, flags %v", r.Fix, r.Flags)
	}
}

func TestWithoutAReceiverRecordsLieOnTheCarsAnswers(t *testing.T) {
	t.Parallel()
	d := newDrive(func(o *fusion.Options) { o.GPS = false })
	d.car(0, obd.StateLive)
	var at []int64
	d.take(d.Tick(0))
	for ms := time.Duration(100); ms <= 5000; ms += 100 {
		d.speed(ms*time.Millisecond-30*time.Millisecond, 36)
		d.take(d.Tick(ms * time.Millisecond))
	}
	for _, r := range d.records[1:] { // the first is the ignition's
		at = append(at, r.MonoMS)
		if len(r.Flags) > 0 {
			t.Errorf("flags %v without a receiver", r.Flags)
		}
		want(t, "speed", r.Speed, 36)
	}
	if wantAt := []int64{70, 1070, 2070, 3070, 4070}; !slices.Equal(at, wantAt) {
		t.Errorf("records at %v ms, want %v", at, wantAt)
	}
}

func TestOneRecordAnIntervalAtTenEpochsASecond(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	for ms := range 100 {
		at := time.Duration(ms) * 100 * time.Millisecond
		d.epoch(at, time.Duration(ms%3)*20*time.Millisecond, 50, nil)
	}
	// The first epoch is a start as well as the first record.
	if n := len(d.records); n < 10 || n > 11 {
		t.Errorf("%d records of ten seconds", n)
	}
	for i := 2; i < len(d.records); i++ {
		if gap := d.records[i].MonoMS - d.records[i-1].MonoMS; gap != 1000 {
			t.Errorf("gap of %d ms before record %d", gap, i)
		}
	}
}

func TestEveryEpochAtAnIntervalOfTheReceivers(t *testing.T) {
	t.Parallel()
	d := newDrive(func(o *fusion.Options) { o.Interval = 100 * time.Millisecond })
	for ms := range 100 {
		d.epoch(time.Duration(ms)*100*time.Millisecond, time.Duration(ms*7%30)*time.Millisecond, 50, nil)
	}
	if len(d.records) != 100 {
		t.Errorf("%d records of 100 epochs", len(d.records))
	}
}

func TestAParkedVanIsHeardOnceAMinuteAndAtOnceWhenItStarts(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	for s := range 300 {
		d.epoch(time.Duration(s)*time.Second, 0, 0.4, nil)
	}
	if n := len(d.records); n != 5 {
		t.Errorf("%d records in five parked minutes, want 5", n)
	}
	d.car(300*time.Second, obd.StateLive)
	d.speed(300100*time.Millisecond, 0)
	before := len(d.records)
	d.speed(300200*time.Millisecond, 3)
	if len(d.records) != before+1 {
		t.Fatal("no record at the start")
	}
	r := d.records[before]
	want(t, "speed at the start", r.Speed, 3)
	want(t, "lat at the start", r.Lat, 48+299e-4)
	if r.MonoMS != 300200 {
		t.Errorf("start at %d ms", r.MonoMS)
	}
	d.speed(310*time.Second, 0)
	if stop := d.records[len(d.records)-1]; stop.MonoMS != 310000 {
		t.Errorf("no record at the stop")
	}
}

func TestTheNoiseOfAParkedReceiverIsNoDrive(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	for s := range 60 {
		d.epoch(time.Duration(s)*time.Second, 0, []float64{0.2, 4.4, 2.1, 3.8}[s%4], nil)
	}
	if n := len(d.records); n != 1 {
		t.Errorf("%d records in a parked minute, want 1", n)
	}
}

func TestTheIgnitionGivesARecordAtOnce(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.car(5*time.Second, obd.StateLive)
	d.car(6*time.Second, obd.StateLive) // no change
	d.car(7*time.Second, obd.StateParked)
	d.car(8*time.Second, obd.StateAbsent) // off is off
	d.car(9*time.Second, obd.StateLive)
	d.car(10*time.Second, obd.StateClosed) // the agent stops: no news of the car
	if len(d.records) != 3 || d.records[0].MonoMS != 5000 || d.records[1].MonoMS != 7000 || d.records[2].MonoMS != 9000 {
		t.Errorf("records %+v", d.records)
	}
}

func TestUndatedRecordsKeepWhatDatesThemLater(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.clock.src = clock.None
	x := gps.Fix{Mono: 30 * time.Second, Mode: gps.Mode3D, Lat: 48, Lon: 11, Speed: 10, Sats: 9}
	d.take(d.Fix(x, time.Time{}))
	r := d.records[0]
	if !r.Time.IsZero() || r.TimeSrc != clock.None || r.BootID != "boot" || r.MonoMS != 30000 || r.System.Unix() != 12 {
		t.Errorf("record %+v", r)
	}
}

func TestDisagreementIsFlaggedAfterFiveSeconds(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.car(0, obd.StateLive)
	var flagged []int64
	for s := 1; s <= 10; s++ {
		at := time.Duration(s) * time.Second
		ground := 60.0
		if s >= 3 {
			ground = 40
		}
		d.speed(at, 60)
		d.epoch(at, 0, ground, nil)
		if r := d.records[len(d.records)-1]; slices.Contains(r.Flags, record.FlagSpeedMismatch) {
			flagged = append(flagged, r.MonoMS)
			want(t, "speed_obd", r.SpeedOBD, 60)
			want(t, "speed_gps", r.SpeedGPS, 40)
		}
	}
	if wantAt := []int64{8000, 9000, 10000}; !slices.Equal(flagged, wantAt) {
		t.Errorf("flagged at %v ms, want %v", flagged, wantAt)
	}
}

func TestAJumpIsFlagged(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.epoch(time.Second, 0, 50, nil)
	d.epoch(2*time.Second, 0, 50, func(x *gps.Fix) { x.Lat += 0.01 }) // 1.1 km in a second
	d.epoch(3*time.Second, 0, 50, func(x *gps.Fix) { x.Lat += 0.01 })
	var flagged []int64
	for _, r := range d.records {
		if slices.Contains(r.Flags, record.FlagJump) {
			flagged = append(flagged, r.MonoMS)
		}
	}
	if !slices.Equal(flagged, []int64{2000}) {
		t.Errorf("flagged at %v ms, want at 2000", flagged)
	}
}

func TestAStepOfTheClockIsFlaggedOnce(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.epoch(time.Second, 0, 50, nil)
	d.ClockStep()
	d.epoch(2*time.Second, 0, 50, nil)
	d.epoch(3*time.Second, 0, 50, nil)
	n := 0
	for _, r := range d.records {
		if slices.Contains(r.Flags, record.FlagClockStep) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d records are flagged, want 1", n)
	}
}

func TestTheHeadingOfAStandingReceiverIsNoise(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.epoch(time.Second, 0, 1.7, nil)
	absent(t, "heading at 0.47 m/s", d.records[0].Heading)
	d = newDrive(nil)
	d.epoch(time.Second, 0, 1.9, nil)
	want(t, "heading at 0.53 m/s", d.records[0].Heading, 90)
}

func TestTheVINIsTheCarsElseTheConfigs(t *testing.T) {
	t.Parallel()
	d := newDrive(func(o *fusion.Options) { o.VIN = "WDB9066331S123456" })
	d.epoch(time.Second, 0, 50, nil)
	d.Vehicle(obd.Vehicle{VIN: "1FTFW1ET5DFC10312"})
	d.epoch(2*time.Second, 0, 50, nil)
	first, last := d.records[0], d.records[len(d.records)-1]
	if first.VIN != "WDB9066331S123456" || first.VINSrc != "config" || last.VIN != "1FTFW1ET5DFC10312" || last.VINSrc != "ecu" {
		t.Errorf("VIN %s (%s), then %s (%s)", first.VIN, first.VINSrc, last.VIN, last.VINSrc)
	}
}

func TestWithNeitherSourceThereIsAHeartbeat(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	for s := range 181 {
		d.take(d.Tick(100*time.Hour + time.Duration(s)*time.Second))
	}
	if n := len(d.records); n != 3 {
		t.Errorf("%d records in three minutes, want 3", n)
	}
	for _, r := range d.records {
		absent(t, "speed", r.Speed)
		absent(t, "lat", r.Lat)
	}
}

func TestAReceiverWhoseTimeGoesBackStillGivesRecords(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	for s := 10; s < 15; s++ {
		d.epoch(time.Duration(s)*time.Second, 0, 50, nil)
	}
	n := len(d.records)
	for s := 15; s < 20; s++ {
		d.epoch(time.Duration(s)*time.Second, 0, 50, func(x *gps.Fix) { x.Time = x.Time.Add(-time.Second) })
	}
	if got := len(d.records) - n; got < 4 {
		t.Errorf("%d records of five epochs after the step", got)
	}
	for i := 1; i < len(d.records); i++ {
		if d.records[i].MonoMS <= d.records[i-1].MonoMS && i > 1 {
			t.Errorf("record %d is not later than the one before it", i)
		}
	}
}

func BenchmarkFuse(b *testing.B) {
	d := newDrive(func(o *fusion.Options) { o.Interval = 100 * time.Millisecond })
	d.car(0, obd.StateLive)
	b.ReportAllocs()
	at := time.Duration(0)
	for b.Loop() {
		at += 100 * time.Millisecond
		d.speed(at-20*time.Millisecond, 50)
		d.epoch(at, 0, 50, nil)
		d.records = d.records[:0]
	}
}

// TestWhatACarToldDoesNotOutliveIt: obd.port becomes "none" while the car answers. Its last words may come late.
func TestWhatACarToldDoesNotOutliveIt(t *testing.T) {
	t.Parallel()
	var o fusion.Options
	d := newDrive(func(p *fusion.Options) {
		p.VIN, p.MaxAge = "WDB9066331S123456", map[string]time.Duration{"coolant": time.Hour}
		o = *p
	})
	told := func() {
		d.car(0, obd.StateLive)
		d.Vehicle(obd.Vehicle{VIN: "1FTBR1XG2MKA12345"})
		d.Trouble(obd.Trouble{MIL: true, Count: 1, Stored: []string{"P0133"}})
		d.take(d.Sample(obd.Sample{Signal: "coolant", Value: 90, Mono: time.Second}))
		d.speed(time.Second, 50)
	}
	last := func() record.Record {
		t.Helper()
		n := len(d.records)
		for s := 2 * time.Second; s < 5*time.Second; s += time.Second {
			d.epoch(s+time.Duration(n)*time.Minute, 0, 50, nil)
		}
		if len(d.records) == n {
			t.Fatal("no record")
		}
		return d.records[len(d.records)-1]
	}
	told()
	if r := last(); r.VINSrc != "ecu" || !r.MIL.IsSet() || !slices.Contains(r.Flags, record.FlagStaleOBD) {
		t.Fatalf("before: %+v", r)
	}
	o.Car = false
	d.SetOptions(o)
	for _, late := range []func(){func() {}, told} {
		late()
		r := last()
		if r.VIN != "WDB9066331S123456" || r.VINSrc != "config" || r.MIL.IsSet() || r.DTCCount.IsSet() || r.DTCs != nil || r.SpeedOBD.IsSet() || r.Coolant.IsSet() ||
			slices.Contains(r.Flags, record.FlagStaleOBD) || slices.Contains(r.Flags, record.FlagSpeedMismatch) {
			t.Errorf("after: %+v", r)
		}
	}
	o.Car = true
	d.SetOptions(o)
	d.car(time.Hour, obd.StateLive)
	d.speed(time.Hour, 50)
	if r := d.records[len(d.records)-1]; r.VINSrc != "config" || r.MIL.IsSet() {
		t.Errorf("another car: %+v", r)
	}
}
