package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/cmd/internal/cli"
)

const twoEpochs = "$GPRMC,120000.00,V,,,,,,,231126,,,N*7B\r\n" +
	"$GPGGA,120000.00,,,,,0,02,99.99,,,,,,*67\r\n" +
	"noise\x00\r\n" +
	"$GPRMC,120001.00,A,4807.03811,N,01131.00000,E,10.00,084.4,231126,,,A*00\r\n" + // its checksum is wrong
	"$GPRMC,120002.00,A,4807.03811,N,01131.00000,E,10.00,084.4,231126,,,A*51\r\n" +
	"$GPGGA,120002.00,4807.03811,N,01131.00000,E,1,08,0.9,545.4,M,46.9,M,,*65\r\n"

func TestDecodePrintsOneLinePerEpoch(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "drive.nmea")
	if err := os.WriteFile(name, []byte(twoEpochs), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := cli.Run(t.Context(), rootCommand(), []string{"decode", name}, &stdout, &stderr); code != cli.ExitDone {
		t.Errorf("exit status %d", code)
	}
	want := `{"time":"2026-11-23T12:00:00.000Z","mode":"none","sats":2,"reason":"receiver says no fix (RMC V)"}
{"time":"2026-11-23T12:00:02.000Z","mode":"3d","lat":48.117301833,"lon":11.516666667,"alt":545.4,"speed":5.144,"heading":84.4,"sats":8,"hdop":0.9}
`
	if d := cmp.Diff(want, stdout.String()); d != "" {
		t.Error(d)
	}
	for _, part := range []string{"4 sentences, 2 epochs, 1 of them with a position", "1 lines with a wrong checksum", "6 bytes of noise"} {
		if !strings.Contains(stderr.String(), part) {
			t.Errorf("standard error %q lacks %q", stderr.String(), part)
		}
	}
}

func TestDecodeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "letter.txt")
	if err := os.WriteFile(empty, []byte("Dear van,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no file":      {nil, cli.ExitUsage, "want one recording"},
		"two files":    {[]string{"a", "b"}, cli.ExitUsage, "want one recording"},
		"not there":    {[]string{empty + ".nmea"}, cli.ExitUsage, "letter.txt.nmea: no such file"},
		"a directory":  {[]string{filepath.Dir(empty)}, cli.ExitBadNews, "is a directory"},
		"not a GPS's":  {[]string{empty}, cli.ExitBadNews, "no epoch in it"},
		"unknown flag": {[]string{"--json", empty}, cli.ExitUsage, "unknown flag"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := cli.Run(t.Context(), rootCommand(), append([]string{"decode"}, tc.args...), &stdout, &stderr)
			if code != tc.code || stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), tc.says) {
				t.Errorf("exit status %d, printed %q and %q", code, stdout.String(), stderr.String())
			}
		})
	}
}
