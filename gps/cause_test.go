package gps_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"obdagent/gps"
)

// TestEachFailureHasItsCause: what keeps a source from being opened, as a code.
func TestEachFailureHasItsCause(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	for name, c := range map[string]struct {
		opt   gps.Options
		cause gps.Cause
	}{
		"a device that is not there": {gps.Options{Source: none}, gps.CauseNotThere},
		"no serial port at all":      {gps.Options{Source: "auto", Candidates: func() ([]string, error) { return nil, nil }}, gps.CauseNoPort},
		"one that is in other hands": {gps.Options{Source: "auto", Candidates: func() ([]string, error) { return []string{none}, nil },
			Claim: func(string) (func(), error) { return nil, errors.New("taken") }}, gps.CauseBusy},
		"several, none of which is there": {gps.Options{Source: "auto", Candidates: func() ([]string, error) { return []string{none, none + "2"}, nil }}, gps.CauseNotFound},
		"several, none of which may be opened": {gps.Options{Source: "auto", Candidates: func() ([]string, error) { return []string{none, none + "2"}, nil },
			OpenSerial: func(string, int) (gps.SerialPort, error) { return nil, unix.EPERM }}, gps.CausePermission},
		"one that may not be opened, one that is gone": {gps.Options{Source: "auto", Candidates: func() ([]string, error) { return []string{none, none + "2"}, nil },
			OpenSerial: func(name string, _ int) (gps.SerialPort, error) {
				if name == none {
					return nil, unix.EPERM
				}
				return nil, unix.ENOENT
			}}, gps.CauseNotFound},
		"a directory":                   {gps.Options{Source: t.TempDir()}, gps.CauseNotAPort},
		"a host that refuses":           {gps.Options{Source: "tcp://127.0.0.1:1"}, gps.CauseNoConnection},
		"a gpsd that is not there":      {gps.Options{Source: "gpsd://127.0.0.1:1"}, gps.CauseNoConnection},
		"a recording that is not there": {gps.Options{Source: "file:" + none}, gps.CauseFile},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := gps.New(c.opt)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var got gps.Cause
			if err := r.Run(ctx, gps.Handler{State: func(s gps.StateChange) {
				if s.To == gps.StateAbsent {
					got = r.Status().Cause
					cancel()
				}
			}}); err != nil {
				t.Error(err)
			}
			if got != c.cause {
				t.Errorf("cause %q, want %q", got, c.cause)
			}
			if s := r.Status(); s.Cause != "" {
				t.Errorf("closed, and the cause is still %q", s.Cause)
			}
		})
	}
}

// TestAnEpochWithoutAFixSaysWhy, as a code and in words.
func TestAnEpochWithoutAFixSaysWhy(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]gps.Cause{
		"$GPRMC,081530.00,V,,,,,,,231126,,,N*":                            gps.CauseNoFix,
		"$GPRMC,081530.00,A,0000.0000,N,00000.0000,E,0.0,0.0,231126,,,A*": gps.CauseZero,
		"$GPRMC,081530.00,A,,,,,0.0,0.0,231126,,,A*":                      gps.CauseNoPosition,
		"$GPRMC,081530.00,A,4807.0380,N,01131.0000,E,0.0,0.0,231126,,,A*\n$GPGGA,081530.00,4807.0380,N,01131.0000,E,1,02,1.2,500.0,M,47.0,M,,*":   gps.CauseSatellites,
		"$GPRMC,081530.00,A,4807.0380,N,01131.0000,E,0.0,0.0,231126,,,A*\n$GPGGA,081530.00,4807.0380,N,01131.0000,E,1,07,50.0,500.0,M,47.0,M,,*":  gps.CauseDilution,
		"$GPRMC,081530.00,A,4807.0380,N,01131.0000,E,0.0,0.0,231126,,,A*\n$GPGGA,081530.00,4807.0380,N,01131.0000,E,1,07,1.2,500.0,M,47.0,M,,*\n": "",
	} {
		var log strings.Builder
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(strings.TrimSpace(line), "*")
			sum := byte(0)
			for i := 1; i < len(line); i++ {
				sum ^= line[i]
			}
			log.WriteString(line + "*" + string("0123456789ABCDEF"[sum>>4]) + string("0123456789ABCDEF"[sum&15]) + "\r\n")
		}
		var got []gps.Fix
		if _, err := gps.Decode(strings.NewReader(log.String()), func(f gps.Fix) { got = append(got, f) }); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].Cause != want || (got[0].Reason == "") != (want == "") {
			t.Errorf("%s\n%+v, want the cause %q", log.String(), got, want)
		}
	}
}
