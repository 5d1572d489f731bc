package gps_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"obdagent/gps"
)

// sum makes a line of a sentence without '$' and checksum.
func sum(body string) string {
	var c byte
	for i := range len(body) {
		c ^= body[i]
	}
	return fmt.Sprintf("$%s*%02X\r\n", body, c)
}

// fixesOf assembles sentences (one a line, without '$' and checksum) that arrive all at once.
func fixesOf(lines string) ([]gps.Fix, gps.Counts) {
	var fixes []gps.Fix
	a := gps.NewAssembler(func(f gps.Fix) { fixes = append(fixes, f) })
	for _, l := range strings.Fields(lines) {
		a.Feed([]byte(sum(l)), 0)
	}
	a.Flush(0)
	return fixes, a.Counts()
}

func TestOneEpoch(t *testing.T) {
	t.Parallel()
	const (
		rmc  = "GPRMC,120000.00,A,4807.0380,N,01131.0000,E,10.0,084.4,230324,,,A "
		gga  = "GPGGA,120000.00,4807.0380,N,01131.0000,E,1,08,0.9,545.4,M,46.9,M,, "
		gsa3 = "GPGSA,A,3,01,02,03,04,05,06,07,08,,,,,1.6,0.9,1.3 "
	)
	for name, tc := range map[string]struct {
		in     string
		mode   gps.Mode
		reason string
	}{
		"RMC alone is a fix without altitude":         {rmc, gps.Mode2D, ""},
		"RMC and GGA are one with":                    {rmc + gga, gps.Mode3D, ""},
		"GGA and RMC too":                             {gga + rmc, gps.Mode3D, ""},
		"GGA without RMC is a fix":                    {gga + gsa3, gps.Mode3D, ""},
		"GNS without RMC is a fix":                    {"GNGNS,120000.00,4807.0380,N,01131.0000,E,AANNN,09,0.9,545.4,46.9,,,V", gps.Mode3D, ""},
		"GLL alone is a fix":                          {"GPGLL,4807.0380,N,01131.0000,E,120000.00,A,A", gps.Mode2D, ""},
		"RMC with an unknown navigational status":     {strings.TrimSpace(rmc) + ",X", gps.Mode2D, ""},
		"a position of lower case hemispheres":        {"GPRMC,120000.00,A,4807.0380,n,01131.0000,E,10.0,084.4,230324,,,A", gps.ModeNone, "-"},
		"GGA of 13 fields":                            {"GPGGA,120000.00,4807.0380,N,01131.0000,E,1,08,0.9,545.4,M,46.9,M,", gps.Mode3D, ""},
		"differential":                                {rmc + strings.Replace(gga, "E,1,08", "E,2,08", 1), gps.ModeDGPS, ""},
		"RTK":                                         {rmc + strings.Replace(gga, "E,1,08", "E,4,08", 1), gps.ModeRTK, ""},
		"float RTK":                                   {rmc + strings.Replace(gga, "E,1,08", "E,5,08", 1), gps.ModeRTK, ""},
		"dead reckoning without a satellite":          {rmc + strings.Replace(gga, "E,1,08", "E,6,00", 1), gps.ModeDR, ""},
		"simulated":                                   {rmc + strings.Replace(gga, "E,1,08", "E,8,08", 1), gps.ModeSimulated, ""},
		"differential by RMC's mode":                  {strings.Replace(rmc, ",,,A ", ",,,D ", 1), gps.ModeDGPS, ""},
		"dead reckoning by RMC's mode":                {strings.Replace(rmc, ",,,A ", ",,,E ", 1), gps.ModeDR, ""},
		"RMC V":                                       {strings.Replace(rmc, ",A,48", ",V,48", 1) + gga, gps.ModeNone, "RMC V"},
		"RMC A against GGA 0":                         {rmc + strings.Replace(gga, "E,1,08", "E,0,08", 1), gps.ModeNone, "GGA quality 0"},
		"RMC A against GSA 1":                         {rmc + gga + strings.Replace(gsa3, "A,3", "A,1", 1), gps.ModeNone, "GSA 1"},
		"RMC A against GNS N":                         {rmc + "GNGNS,120000.00,,,,,NN,00,,,,,,V", gps.ModeNone, "GNS N"},
		"RMC A of mode N":                             {strings.Replace(rmc, ",,,A ", ",,,N ", 1), gps.ModeNone, "mode N"},
		"two satellites":                              {rmc + strings.Replace(gga, "1,08", "1,02", 1), gps.ModeNone, "2 satellites"},
		"few satellites of one constellation of many": {rmc + gga + strings.Replace(strings.Replace(gga, "GP", "GA", 1), "1,08", "1,01", 1), gps.Mode3D, ""},
		"HDOP 49.9":                                   {rmc + strings.Replace(gga, "0.9", "49.9", 1), gps.ModeNone, "HDOP 49.9"},
		"HDOP 99.99 is unknown, not absurd":           {rmc + strings.Replace(gga, "0.9", "99.99", 1), gps.Mode3D, ""},
		"three satellites have no altitude":           {rmc + strings.Replace(gga, "1,08", "1,03", 1), gps.Mode2D, ""},
		"an A without a position":                     {"GPRMC,120000.00,A,,,,,,,230324,,,A", gps.ModeNone, "no position"},
		"0,0":                                         {"GPRMC,120000.00,A,0000.0000,N,00000.0000,E,0.0,0.0,230324,,,A", gps.ModeNone, "0,0"},
		"one talker with a fix and one without":       {rmc + strings.Replace(strings.Replace(rmc, "GP", "GA", 1), ",A,48", ",V,48", 1), gps.Mode2D, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fixes, counts := fixesOf(tc.in)
			if tc.reason == "-" {
				if len(fixes) != 0 || counts.BadSentence != 1 {
					t.Errorf("%+v, %+v; want none and a bad sentence", fixes, counts)
				}
				return
			}
			if len(fixes) != 1 {
				t.Fatalf("%d epochs, want 1 (%+v)", len(fixes), counts)
			}
			f := fixes[0]
			if f.Mode != tc.mode || !strings.Contains(f.Reason, tc.reason) || (f.Reason == "") != (f.Mode != gps.ModeNone) {
				t.Errorf("mode %s (%s), want %s (%s)", f.Mode, f.Reason, tc.mode, tc.reason)
			}
			if f.HasPosition() != (tc.mode != gps.ModeNone) {
				t.Errorf("position %v %v", f.Lat, f.Lon)
			}
			if f.HasPosition() && (math.Abs(f.Lat-48.1173) > 1e-4 || math.Abs(f.Lon-11.51667) > 1e-4) {
				t.Errorf("position %v %v", f.Lat, f.Lon)
			}
			if !f.HasPosition() && (!math.IsNaN(f.Lat) || !math.IsNaN(f.Speed) || !math.IsNaN(f.Alt)) {
				t.Errorf("without a fix there is %v %v %v", f.Lat, f.Speed, f.Alt)
			}
			if f.TimeOfDay != 12*time.Hour {
				t.Errorf("time of day %s", f.TimeOfDay)
			}
		})
	}
}

func TestSatellitesAreThoseOfTheSentenceThatKnows(t *testing.T) {
	t.Parallel()
	const rmc = "GPRMC,120000.00,A,4807.0380,N,01131.0000,E,10.0,084.4,230324,,,A "
	for name, tc := range map[string]struct {
		gga, gsa string
		want     int
	}{
		"GGA's number":                           {"08", "01,02,03,04,05,06,07,08,,,,", 8},
		"GGA's number though GSA lists others":   {"08", "01,02,03,04,05,06,07,,,,,", 8},
		"GSA's where GGA has counted none yet":   {"00", "01,02,03,,,,,,,,,", 3},
		"GSA's where GGA leaves it empty":        {"", "01,02,03,04,,,,,,,,", 4},
		"neither says enough: GGA's, and no fix": {"02", "01,02,,,,,,,,,,", 2},
	} {
		fixes, _ := fixesOf(rmc + "GPGGA,120000.00,4807.0380,N,01131.0000,E,1," + tc.gga + ",0.9,545.4,M,46.9,M,, GPGSA,A,2," + tc.gsa + ",1.6,0.9,1.3")
		if len(fixes) != 1 || fixes[0].Sats != tc.want || fixes[0].HasPosition() != (tc.want >= 3) {
			t.Errorf("%s: %+v, want %d satellites", name, fixes, tc.want)
		}
	}
}

func TestAbsentIsNotZero(t *testing.T) {
	t.Parallel()
	fixes, _ := fixesOf("GPRMC,120000.00,A,4807.0380,N,01131.0000,E,,,230324,,,A GPGGA,120000.00,4807.0380,N,01131.0000,E,1,,,,M,,M,,")
	f := fixes[0]
	for name, v := range map[string]float64{"speed": f.Speed, "course": f.Course, "alt": f.Alt, "hdop": f.HDOP} {
		if !math.IsNaN(v) {
			t.Errorf("%s is %v, want NaN", name, v)
		}
	}
	if f.Sats != -1 || f.Mode != gps.Mode2D {
		t.Errorf("sats %d, mode %s", f.Sats, f.Mode)
	}
}

func TestNonsenseIsRefusedAndCounted(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"GPRMC,120000.00,A,NaN,N,01131.0000,E,10.0,084.4,230324,,,A",
		"GPRMC,120000.00,A,4807.0380,N,Inf,E,10.0,084.4,230324,,,A",
		"GPRMC,120000.00,A,4899.0380,N,01131.0000,E,10.0,084.4,230324,,,A",
		"GPRMC,120000.00,A,-4807.0380,N,01131.0000,E,10.0,084.4,230324,,,A",
		"GPRMC,120000.00,A,9107.0380,N,01131.0000,E,10.0,084.4,230324,,,A",
		"GPRMC,120000.00,A,4807.0380,N,18131.0000,E,10.0,084.4,230324,,,A",
		"GPRMC,120000.00,A,4807.0380,E,01131.0000,N,10.0,084.4,230324,,,A",
		"GPRMC,120000.00,A,4807.0380,,01131.0000,E,10.0,084.4,230324,,,A",
		"GPRMC,120000.00,A,4807.0380,N,,,10.0,084.4,230324,,,A",
		"GPRMC,120000.00,A,4.8070380e3,N,01131.0000,E,10.0,084.4,230324,,,A",
		"GPRMC,120000.00,A,4807.0380,N,01131.0000,E,1e3,084.4,230324,,,A",
		"GPRMC,996199,A,4807.0380,N,01131.0000,E,10.0,084.4,230324,,,A",
		"GPRMC,120060,A,4807.0380,N,01131.0000,E,10.0,084.4,230324,,,A",
		"GPRMC,1200,A,4807.0380,N,01131.0000,E,10.0,084.4,230324,,,A",
		"GPRMC,120000.0x,A,4807.0380,N,01131.0000,E,10.0,084.4,230324,,,A",
		"GPGGA,120000.00,4807.0380,N,01131.0000,E,1,08,0.9,NaN,M,46.9,M,,",
		"GPGGA,120000.00,4807.0380,N,01131.0000,E,1,08,0.9,54*5.4,M,46.9,M,,",
	} {
		if fixes, counts := fixesOf(s); len(fixes) != 0 || counts.BadSentence != 1 {
			t.Errorf("%s: %+v, %d bad", s, fixes, counts.BadSentence)
		}
	}
	for _, d := range []string{"321399", "310224", "000024", "2303-1", "23032", "xxxxxx"} {
		fixes, counts := fixesOf("GPRMC,120000.00,A,4807.0380,N,01131.0000,E,10.0,084.4," + d + ",,,A")
		if len(fixes) != 1 || counts.BadSentence != 1 || !fixes[0].Time.IsZero() || fixes[0].TimeOfDay != 12*time.Hour {
			t.Errorf("date %s: %+v, %d bad; want a fix without a date", d, fixes, counts.BadSentence)
		}
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	gga := func(tod string) string {
		return "GPGGA," + tod + ",4807.0380,N,01131.0000,E,1,08,0.9,545.4,M,46.9,M,, "
	}
	rmc := func(tod, date string) string {
		return "GPRMC," + tod + ",A,4807.0380,N,01131.0000,E,1.0,084.4," + date + ",,,A "
	}
	for name, tc := range map[string]struct{ in, want string }{
		"RMC gives the date":                        {rmc("120000", "230324"), "2024-03-23T12:00:00Z"},
		"a year from 69 on is of the last century":  {rmc("120000", "060180"), "1980-01-06T12:00:00Z"},
		"ZDA gives the date":                        {gga("120000") + "GPZDA,120000,04,07,2026,00,00", "2026-07-04T12:00:00Z"},
		"without a date there is none":              {gga("120000"), "-"},
		"an epoch without RMC is of the last date":  {rmc("120000", "230324") + gga("120001"), "2024-03-23T12:00:00Z 2024-03-23T12:00:01Z"},
		"the date is carried over midnight":         {rmc("235959", "311223") + gga("000000") + gga("000001"), "2023-12-31T23:59:59Z 2024-01-01T00:00:00Z 2024-01-01T00:00:01Z"},
		"a step back over midnight is one":          {rmc("000000", "010124") + gga("235959"), "2024-01-01T00:00:00Z 2023-12-31T23:59:59Z"},
		"GGA before RMC at midnight has RMC's date": {rmc("235959", "311223") + gga("000000") + rmc("000000", "010124"), "2023-12-31T23:59:59Z 2024-01-01T00:00:00Z"},
		"time may step back":                        {rmc("120005", "230324") + rmc("120003", "230324"), "2024-03-23T12:00:05Z 2024-03-23T12:00:03Z"},
		"decimals may differ within an epoch":       {rmc("120000", "230324") + gga("120000.003"), "2024-03-23T12:00:00Z"},
		"ten hertz are ten epochs":                  {rmc("120000.00", "230324") + gga("120000.00") + gga("120000.10") + gga("120000.20"), "2024-03-23T12:00:00Z 2024-03-23T12:00:00.1Z 2024-03-23T12:00:00.2Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fixes, _ := fixesOf(tc.in)
			var got []string
			for _, f := range fixes {
				if f.Time.IsZero() {
					got = append(got, "-")
					continue
				}
				got = append(got, f.Time.Format(time.RFC3339Nano))
			}
			if s := strings.Join(got, " "); s != tc.want {
				t.Errorf("got %s, want %s", s, tc.want)
			}
		})
	}
}

func TestFrozenPositionAtSpeedIsNoFix(t *testing.T) {
	t.Parallel()
	var in strings.Builder
	for i := range 30 {
		fmt.Fprintf(&in, "GPRMC,1200%02d,A,4807.0380,N,01131.0000,E,5.8,084.4,230324,,,A ", i) // 3 m/s
	}
	fixes, _ := fixesOf(in.String())
	if len(fixes) != 30 || fixes[10].Mode != gps.Mode2D || fixes[20].Mode != gps.ModeNone || !strings.Contains(fixes[20].Reason, "stands still") {
		t.Errorf("%d epochs; the tenth %s, the twentieth %s (%s)", len(fixes), fixes[10].Mode, fixes[20].Mode, fixes[20].Reason)
	}
	parked, _ := fixesOf(strings.ReplaceAll(in.String(), ",5.8,", ",0.3,"))
	if f := parked[29]; f.Mode != gps.Mode2D {
		t.Errorf("a parked van's fix is %s (%s)", f.Mode, f.Reason)
	}
}

// burst is the cycle of a receiver at second i of the day.
func burst(i int, extra ...string) string {
	tod := fmt.Sprintf("12%02d%02d.00", i/60, i%60)
	pos := fmt.Sprintf("4807.%04d,N,01131.0000,E", i)
	s := sum("GPRMC,"+tod+",A,"+pos+",10.0,084.4,230324,,,A") + sum("GPVTG,084.4,T,,M,10.0,N,18.5,K,A") +
		sum("GPGGA,"+tod+","+pos+",1,08,0.9,545.4,M,46.9,M,,")
	for _, e := range extra {
		s += sum(e)
	}
	return s
}

func TestEpochIsOutWithItsLastSentenceOnceTheCycleIsKnown(t *testing.T) {
	t.Parallel()
	var fixes []gps.Fix
	a := gps.NewAssembler(func(f gps.Fix) { fixes = append(fixes, f) })
	for i := range 10 {
		at := time.Duration(i) * time.Second
		a.Feed([]byte(burst(i)), at)
		if deadline, open := a.Deadline(); open {
			if i >= 3 {
				t.Errorf("cycle %d is still open after its last sentence", i)
			}
			if deadline-at != 250*time.Millisecond {
				t.Errorf("deadline after %s, want 250 ms", deadline-at)
			}
			a.Expire(deadline - 1)
			if len(fixes) != i {
				t.Errorf("cycle %d was out before its deadline", i)
			}
			a.Expire(deadline)
		}
		if len(fixes) != i+1 {
			t.Fatalf("%d fixes after cycle %d", len(fixes), i)
		}
		if f := fixes[i]; f.Mode != gps.Mode3D || f.Mono != at {
			t.Errorf("cycle %d: %+v", i, f)
		}
	}
}

func TestSentenceThatComesOnlySometimesDoesNotCostTheAltitude(t *testing.T) {
	t.Parallel()
	var fixes []gps.Fix
	a := gps.NewAssembler(func(f gps.Fix) { fixes = append(fixes, f) })
	extra := "GPGLL,4807.0380,N,01131.0000,E,120000.00,A,A"
	for i := range 60 {
		var more []string
		if i%5 == 4 {
			more = append(more, strings.Replace(extra, "120000", fmt.Sprintf("12%02d%02d", i/60, i%60), 1))
		}
		at := time.Duration(i) * time.Second
		for _, l := range strings.SplitAfter(burst(i, more...), "\n") {
			at += time.Millisecond
			a.Feed([]byte(l), at)
		}
		a.Expire(at + 300*time.Millisecond)
	}
	if len(fixes) != 60 {
		t.Fatalf("%d epochs of 60", len(fixes))
	}
	for i, f := range fixes {
		if f.Mode != gps.Mode3D {
			t.Errorf("epoch %d is %s", i, f.Mode)
		}
	}
	if n := a.Counts().Late; n > 1 {
		t.Errorf("%d sentences were late, want at most the first", n)
	}
}

func TestReceiverThatRepeatsItsTimeGivesOneEpoch(t *testing.T) {
	t.Parallel()
	n := 0
	a := gps.NewAssembler(func(gps.Fix) { n++ })
	for i := range 20 {
		a.Feed([]byte(burst(7)), time.Duration(i)*time.Second)
		a.Expire(time.Duration(i)*time.Second + 900*time.Millisecond)
	}
	if n != 1 || a.Counts().Late == 0 {
		t.Errorf("%d epochs, %d late", n, a.Counts().Late)
	}
}

func TestSlowLineWithPausesWidensTheQuietGap(t *testing.T) {
	t.Parallel()
	whole := 0
	a := gps.NewAssembler(func(f gps.Fix) {
		if f.Mode == gps.Mode3D {
			whole++
		}
	})
	for i := range 20 {
		at := time.Duration(i) * 2 * time.Second
		for _, l := range strings.SplitAfter(strings.TrimSpace(burst(i)), "\n") {
			if d, open := a.Deadline(); open && d <= at {
				a.Expire(d)
			}
			a.Feed([]byte(strings.TrimSpace(l)+"\n"), at)
			at += 300 * time.Millisecond
		}
		if d, open := a.Deadline(); open {
			a.Expire(d)
		}
	}
	if whole < 18 {
		t.Errorf("%d of 20 epochs are whole", whole)
	}
}

func FuzzAssembler(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		epochs := 0
		a := gps.NewAssembler(func(f gps.Fix) {
			epochs++
			switch {
			case f.Mode == gps.ModeNone:
				if f.Reason == "" || !math.IsNaN(f.Lat) || !math.IsNaN(f.Lon) || !math.IsNaN(f.Speed) {
					t.Errorf("no fix, but %+v", f)
				}
			case !(f.Lat >= -90 && f.Lat <= 90 && f.Lon >= -180 && f.Lon <= 180) || f.Lat == 0 && f.Lon == 0:
				t.Errorf("impossible position: %+v", f)
			}
			if f.TimeOfDay < -1 || f.TimeOfDay >= 24*time.Hour || f.Sats < -1 || f.Speed < 0 || f.Course < 0 || f.Course >= 360 ||
				math.IsInf(f.Speed, 0) || math.IsInf(f.Alt, 0) {
				t.Errorf("impossible value: %+v", f)
			}
			_ = f.Mode.String()
		})
		a.Feed(data, 0)
		// The same lines with checksums that fit: else nearly everything would end at the framer.
		for l := range bytes.Lines(data) {
			body, _, _ := bytes.Cut(bytes.TrimLeft(bytes.TrimSpace(l), "$"), []byte("*"))
			a.Feed([]byte(sum(string(body))), 0)
		}
		a.Flush(0)
		if c := a.Counts(); c.Epochs != uint64(epochs) || c.Fixes > c.Epochs {
			t.Errorf("%d epochs, %+v", epochs, c)
		}
	})
}
