package nmeasim_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"obdagent/gps"
	"obdagent/gps/nmeasim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func decode(t testing.TB, nmea []byte) ([]gps.Fix, gps.Counts) {
	var fixes []gps.Fix
	counts, err := gps.Decode(bytes.NewReader(nmea), func(f gps.Fix) { fixes = append(fixes, f) })
	if err != nil {
		t.Fatal(err)
	}
	return fixes, counts
}

func TestWhatSynthSaysIsWhatGpsReads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := nmeasim.State{
			Fix:    true,
			Lat:    rapid.Float64Range(-90, 90).Draw(rt, "lat"),
			Lon:    rapid.Float64Range(-180, 180).Draw(rt, "lon"),
			Alt:    rapid.Float64Range(-400, 9000).Draw(rt, "alt"),
			Speed:  rapid.Float64Range(0, 100).Draw(rt, "speed"),
			Course: rapid.Float64Range(0, 359.9).Draw(rt, "course"),
			Sats:   rapid.IntRange(4, 20).Draw(rt, "sats"),
			HDOP:   rapid.Float64Range(0.5, 20).Draw(rt, "hdop"),
		}
		at := time.UnixMilli(rapid.Int64Range(0, 3_000_000_000).Draw(rt, "time") * 100 * 10).UTC().Truncate(100 * time.Millisecond)
		if at.Year() > 2068 || math.Abs(s.Lat)+math.Abs(s.Lon) < 0.001 {
			rt.Skip()
		}
		fixes, counts := decode(t, nmeasim.AppendEpoch(nil, at, s))
		if len(fixes) != 1 || counts.Sentences != 4 || counts.BadChecksum+counts.BadSentence+counts.NoiseBytes > 0 {
			rt.Fatalf("%d epochs, %+v", len(fixes), counts)
		}
		f := fixes[0]
		near := func(name string, got, want, by float64) {
			if !(math.Abs(got-want) <= by) {
				rt.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		near("lat", f.Lat, s.Lat, 1e-7)
		near("lon", f.Lon, s.Lon, 1e-7)
		near("alt", f.Alt, s.Alt, 0.051)
		near("speed", f.Speed, s.Speed, 0.001)
		near("hdop", f.HDOP, s.HDOP, 0.0051)
		if s.Speed >= 0.1 {
			near("course", f.Course, s.Course, 0.0051)
		}
		if f.Mode != gps.Mode3D || f.Sats != s.Sats || !f.Time.Equal(at) {
			rt.Errorf("%+v, want %s at %s", f, gps.Mode3D, at)
		}
	})
}

func TestSynthWithoutAFixSaysSo(t *testing.T) {
	t.Parallel()
	fixes, _ := decode(t, nmeasim.AppendEpoch(nil, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), nmeasim.State{Sats: 2}))
	if len(fixes) != 1 || fixes[0].Mode != gps.ModeNone || fixes[0].Sats != 2 || fixes[0].Time.IsZero() {
		t.Errorf("%+v", fixes)
	}
}

func TestSynthKeepsItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []int{0, 1, 5, 10} {
			var out bytes.Buffer
			var times []time.Time
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
			err := nmeasim.Synth{Rate: rate}.Run(ctx, &out, func(at time.Time) nmeasim.State {
				times = append(times, at)
				return nmeasim.State{Fix: true, Lat: 1, Lon: 2, Sats: 5}
			})
			cancel()
			if err != nil || len(times) != 10*max(rate, 1) {
				t.Fatalf("rate %d: %d epochs in 10 s, error %v", rate, len(times), err)
			}
			for i, at := range times[1:] {
				if d := at.Sub(times[i]); d != time.Second/time.Duration(max(rate, 1)) {
					t.Errorf("rate %d: step of %s", rate, d)
				}
			}
			if fixes, _ := decode(t, out.Bytes()); len(fixes) != len(times) || !fixes[len(fixes)-1].Time.Equal(times[len(times)-1]) {
				t.Errorf("rate %d: %d fixes of %d epochs", rate, len(fixes), len(times))
			}
		}
		if err := (nmeasim.Synth{Rate: 11}).Run(t.Context(), &bytes.Buffer{}, nil); err == nil {
			t.Error("a rate of 11 Hz is taken")
		}
	})
}

// drive is one minute of a synthetic receiver.
func drive() []byte {
	var log []byte
	for i := range 60 {
		at := time.Date(2020, 2, 28, 23, 59, 30+i, 0, time.UTC)
		log = nmeasim.AppendEpoch(log, at, nmeasim.State{Fix: true, Lat: 48 + float64(i)*0.0002, Lon: 11, Speed: 22, Sats: 8})
	}
	return log
}

func TestReplayKeepsTheTimingAndMovesTheDates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		begin := time.Now()
		start := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
		if err := (nmeasim.Replay{Log: drive(), Start: start}).Run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != 59*time.Second {
			t.Errorf("took %s, want 59 s", d)
		}
		fixes, counts := decode(t, out.Bytes())
		if len(fixes) != 60 || counts.BadChecksum > 0 || !fixes[0].Time.Equal(start) || !fixes[59].Time.Equal(start.Add(59*time.Second)) {
			t.Errorf("%d fixes from %s to %s", len(fixes), fixes[0].Time, fixes[len(fixes)-1].Time)
		}
		out.Reset()
		begin = time.Now()
		if err := (nmeasim.Replay{Log: drive(), Fast: true}).Run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != 0 || !bytes.Equal(out.Bytes(), drive()) {
			t.Errorf("fast took %s; same bytes: %v", d, bytes.Equal(out.Bytes(), drive()))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		out.Reset()
		if err := (nmeasim.Replay{Log: drive()}).Run(ctx, &out); err != nil || bytes.Count(out.Bytes(), []byte("RMC")) > 6 {
			t.Errorf("stopped after 5 s: error %v, %d epochs", err, bytes.Count(out.Bytes(), []byte("RMC")))
		}
	})
}

func TestFaultsAreNoticedAndNeverTurnIntoAWrongPosition(t *testing.T) {
	t.Parallel()
	whole, _ := decode(t, drive())
	right := make(map[float64]bool)
	for _, f := range whole {
		right[f.Lat] = true
	}
	for name, tc := range map[string]struct {
		faults  nmeasim.Faults
		noticed func(fixes []gps.Fix, c gps.Counts, out []byte) bool
	}{
		"cut":        {nmeasim.Faults{Cut: 0.5}, func(_ []gps.Fix, c gps.Counts, _ []byte) bool { return c.BadChecksum > 10 }},
		"garbage":    {nmeasim.Faults{Garbage: 0.5}, func(_ []gps.Fix, c gps.Counts, _ []byte) bool { return c.NoiseBytes > 100 }},
		"NUL":        {nmeasim.Faults{NUL: 0.5}, func(_ []gps.Fix, c gps.Counts, _ []byte) bool { return c.NoiseBytes > 10 && c.BadChecksum == 0 }},
		"binary":     {nmeasim.Faults{Binary: 0.5}, func(_ []gps.Fix, c gps.Counts, out []byte) bool { return bytes.Count(out, []byte("\xb5\x62")) > 10 }},
		"wrong baud": {nmeasim.Faults{WrongBaud: 0.5}, func(f []gps.Fix, c gps.Counts, _ []byte) bool { return c.NoiseBytes > 100 && len(f) < 50 }},
		"backward": {nmeasim.Faults{Backward: 0.5}, func(f []gps.Fix, _ gps.Counts, _ []byte) bool {
			for i := range f[1:] {
				if f[i+1].Time.Before(f[i].Time) {
					return true
				}
			}
			return false
		}},
		"no fix": {nmeasim.Faults{NoFix: 0.5}, func(_ []gps.Fix, c gps.Counts, _ []byte) bool {
			return c.Epochs == 60 && c.Fixes > 10 && c.Fixes < 50 && c.BadChecksum == 0
		}},
		"all": {nmeasim.Faults{Cut: 0.1, Garbage: 0.1, NUL: 0.1, Binary: 0.1, Backward: 0.1, WrongBaud: 0.1, NoFix: 0.1}, func(f []gps.Fix, _ gps.Counts, _ []byte) bool { return len(f) > 20 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(5) {
				var out, again bytes.Buffer
				r := nmeasim.Replay{Log: drive(), Fast: true, Faults: tc.faults, Seed: seed}
				if err := errors.Join(r.Run(t.Context(), &out), func() error { return r.Run(t.Context(), &again) }()); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(out.Bytes(), again.Bytes()) {
					t.Errorf("seed %d: two runs differ", seed)
				}
				fixes, counts := decode(t, out.Bytes())
				if !tc.noticed(fixes, counts, out.Bytes()) {
					t.Errorf("seed %d: not noticed: %d epochs, %+v", seed, len(fixes), counts)
				}
				for _, f := range fixes {
					if f.HasPosition() && !right[f.Lat] {
						t.Errorf("seed %d: %v is no position of the drive", seed, f.Lat)
					}
				}
			}
		})
	}
}

func TestStallIsAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		begin := time.Now()
		if err := (nmeasim.Replay{Log: drive(), Fast: true, Faults: nmeasim.Faults{Stall: 1}}).Run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d < 2*60*time.Second || d > 5*60*time.Second {
			t.Errorf("sixty stalls took %s", d)
		}
	})
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("unplugged") }

func TestAFailingWriterEndsTheRun(t *testing.T) {
	t.Parallel()
	err := nmeasim.Replay{Log: drive(), Fast: true}.Run(t.Context(), broken{})
	if err == nil || !strings.Contains(err.Error(), "unplugged") {
		t.Errorf("error %v", err)
	}
	if d := cmp.Diff("write NMEA burst: unplugged", err.Error()); d != "" {
		t.Error(d)
	}
}
