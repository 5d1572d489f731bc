package recording_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/gps/internal/recording"
)

func line(body string) string { return string(recording.Append(nil, body)) + "\r\n" }

func TestShiftMovesTimesAndDatesWithTheirChecksums(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in, want string
		delta    time.Duration
	}{
		"RMC moves with its date":              {line("GPRMC,235959.25,A,1,N,2,E,0,0,311299,,,A"), line("GPRMC,000000.25,A,1,N,2,E,0,0,010100,,,A"), time.Second},
		"RMC without a date keeps none":        {line("GPRMC,120000,V,,,,,,,,,,N"), line("GPRMC,110000,V,,,,,,,,,,N"), -time.Hour},
		"RMC without a time stays":             {line("GPRMC,,V,,,,,,,,,,N"), line("GPRMC,,V,,,,,,,,,,N"), time.Hour},
		"ZDA has a year of four digits":        {line("GPZDA,120000.00,28,02,2024,00,00"), line("GPZDA,120000.00,29,02,2024,00,00"), 24 * time.Hour},
		"GLL has its time behind":              {line("GPGLL,1,N,2,E,120000,A"), line("GPGLL,1,N,2,E,120001,A"), time.Second},
		"parts of a second are not moved":      {line("GPGGA,120000.123,1,N,2,E,1"), line("GPGGA,120001.123,1,N,2,E,1"), 1900 * time.Millisecond},
		"GSV has no time":                      {line("GPGSV,3,1,12,07"), line("GPGSV,3,1,12,07"), time.Hour},
		"a broken sentence stays broken":       {"$GPGGA,120000,1,N,2,E,1*00\r\n", "$GPGGA,120000,1,N,2,E,1*00\r\n", time.Hour},
		"noise before a sentence stays":        {"\x00\xb5b" + line("GPGLL,1,N,2,E,120000,A"), "\x00\xb5b" + line("GPGLL,1,N,2,E,130000,A"), time.Hour},
		"a line without an end is one":         {strings.TrimSpace(line("GPGLL,1,N,2,E,120000,A")), strings.TrimSpace(line("GPGLL,1,N,2,E,130000,A")), time.Hour},
		"a proprietary sentence is left alone": {line("PGRME,120000,M"), line("PGRME,120000,M"), time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tc.want, string(recording.Shift([]byte(tc.in), tc.delta))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestBurstsHaveTheirPlaceInTime(t *testing.T) {
	t.Parallel()
	rmc := func(tod, date string) string { return line("GPRMC," + tod + ",A,1,N,2,E,0,0," + date + ",,,A") }
	log := "# a comment\n" + rmc("235958", "311299") + line("GPGSA,A,3") + rmc("235959", "311299") + line("GPGGA,235959,1,N,2,E,1") +
		rmc("000001", "010100") + rmc("000000", "010100") + rmc("010000", "010100") + line("GPRMC,,V") + line("GPRMC,,V")
	r := recording.Parse([]byte(log))
	var got []string
	var all []byte
	for _, b := range r.Bursts {
		got = append(got, fmt.Sprint(b.Offset, " ", bytes.Count(b.Data, []byte("$"))))
		all = append(all, b.Data...)
	}
	// The step back takes a second; the hour's gap is cut to ten; what has no time keeps the last ordinary pause.
	want := []string{"0s 2", "1s 2", "3s 1", "4s 1", "14s 1", "16s 1", "18s 1"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(log, string(all)); d != "" {
		t.Errorf("the bursts together are not the log: %s", d)
	}
	if r.Duration() != 18*time.Second {
		t.Errorf("duration %s", r.Duration())
	}
	if recording.Parse(nil).Duration() != 0 {
		t.Error("an empty recording has a duration")
	}
}

func TestMoveToTakesTheFirstValidDate(t *testing.T) {
	t.Parallel()
	// A cold start: the receiver makes up a date until it has a fix.
	log := line("GPRMC,000001,V,,,,,,,060180,,,N") + line("GPRMC,000002,V,,,,,,,060180,,,N") + line("GPRMC,120000,A,1,N,2,E,0,0,230324,,,A")
	r := recording.Parse([]byte(log))
	r.MoveTo(time.Date(2026, 11, 23, 8, 0, 0, 0, time.FixedZone("CET", 3600)))
	last := string(r.Bursts[2].Data)
	if want := line("GPRMC,070011,A,1,N,2,E,0,0,231126,,,A"); last != want {
		t.Errorf("got %q, want %q", last, want)
	}
}

func TestMoveToClosesTheGapsOfAnInterruptedRecording(t *testing.T) {
	t.Parallel()
	rmc := func(tod, date string) string { return line("GPRMC," + tod + ",A,1,N,2,E,0,0," + date + ",,,A") }
	r := recording.Parse([]byte(rmc("120000", "230324") + rmc("120001", "230324") + rmc("090000", "250324") + rmc("090001", "250324") + rmc("080000", "010124")))
	r.MoveTo(time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC))
	var got strings.Builder
	for _, b := range r.Bursts {
		got.Write(b.Data)
	}
	want := rmc("080000", "231126") + rmc("080001", "231126") + rmc("080011", "231126") + rmc("080012", "231126") + rmc("080013", "231126")
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Error(d)
	}
}

func TestMoveToWithoutDatesMovesTheTimeOfDay(t *testing.T) {
	t.Parallel()
	r := recording.Parse([]byte(line("GPGGA,235959.50,1,N,2,E,1") + line("GPGGA,000000.50,1,N,2,E,1")))
	r.MoveTo(time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC))
	if got := string(r.Bursts[0].Data); !strings.HasPrefix(got, "$GPGGA,075959.50") && !strings.HasPrefix(got, "$GPGGA,080000.50") {
		t.Errorf("got %q", got)
	}
	empty := recording.Parse([]byte("nothing\n"))
	empty.MoveTo(time.Now())
	if string(empty.Bursts[0].Data) != "nothing\n" {
		t.Error("a recording without times was changed")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(line("GPRMC,235959.25,A,1,N,2,E,0,0,311299,,,A") + line("GPZDA,120000.00,28,02,2024,00,00")))
	f.Fuzz(func(t *testing.T, log []byte) {
		r := recording.Parse(log)
		var all []byte
		last := time.Duration(-1)
		for _, b := range r.Bursts {
			if b.Offset <= last {
				t.Errorf("offset %s after %s", b.Offset, last)
			}
			last = b.Offset
			all = append(all, b.Data...)
		}
		if !bytes.Equal(all, log) {
			t.Error("the bursts together are not the log")
		}
		r.MoveTo(time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC))
	})
}
