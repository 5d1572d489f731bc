package gps_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/gps"
)

func frame(f *gps.Framer, chunks ...string) []string {
	got := []string{}
	for _, c := range chunks {
		f.Feed([]byte(c), func(s []byte) { got = append(got, string(s)) })
	}
	return got
}

func TestFramer(t *testing.T) {
	t.Parallel()
	const (
		rmc = "$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A"
		gll = "$GNGLL,4404.14012,N,12118.85993,W,001037.00,A,A*67"
	)
	ais := "!" + strings.TrimSpace(sum("AIVDM,1,1,,B,13u?etPv2;0n:dDPwUM1U1Cb069D,0"))[1:]
	long := "$GPTXT," + strings.Repeat("A", 130) + "*00"
	for name, tc := range map[string]struct {
		in             []string
		want           []string
		bad, noise     uint64
		noiseUnchecked bool
	}{
		"a sentence is what stands before its line end":   {in: []string{rmc + "\r\n"}, want: []string{rmc}},
		"a line feed alone ends a line":                   {in: []string{rmc + "\n" + gll + "\n"}, want: []string{rmc, gll}},
		"a carriage return alone ends a line":             {in: []string{rmc + "\r" + gll + "\r"}, want: []string{rmc, gll}},
		"the checksum may be in lower case":               {in: []string{strings.Replace(rmc, "*6A", "*6a", 1) + "\n"}, want: []string{strings.Replace(rmc, "*6A", "*6a", 1)}},
		"an AIS sentence is one too":                      {in: []string{ais + "\r\n"}, want: []string{ais}},
		"blanks before the line end are let pass":         {in: []string{rmc + "  \r\n"}, want: []string{rmc}},
		"NULs before a sentence are noise":                {in: []string{"\x00\x00" + rmc + "\r\n"}, want: []string{rmc}, noise: 2},
		"two dollars are one start":                       {in: []string{"$" + rmc + "\r\n"}, want: []string{rmc}, noise: 1},
		"a binary island is skipped":                      {in: []string{rmc + "\r\n\xb5\x62\x01\x07\x02\x00\x11\x22" + gll + "\r\n"}, want: []string{rmc, gll}, noise: 8},
		"a cut sentence is given up for the next":         {in: []string{rmc[:20] + gll + "\r\n"}, want: []string{gll}, bad: 1, noise: 20},
		"a NUL within spoils the sentence":                {in: []string{rmc[:20] + "\x00" + rmc[20:] + "\r\n" + gll + "\r\n"}, want: []string{gll}, bad: 1, noiseUnchecked: true},
		"a wrong checksum is bad":                         {in: []string{strings.Replace(rmc, "*6A", "*6B", 1) + "\r\n"}, bad: 1},
		"no checksum is bad":                              {in: []string{strings.TrimSuffix(rmc, "*6A") + "\r\n"}, bad: 1},
		"a checksum that is no number is bad":             {in: []string{strings.Replace(rmc, "*6A", "*6G", 1) + "\r\n"}, bad: 1},
		"the last star counts":                            {in: []string{sum("GNTXT,a*b")}, want: []string{strings.TrimSpace(sum("GNTXT,a*b"))}},
		"an endless line is dropped and the next is read": {in: []string{long + "\r\n" + gll + "\r\n"}, want: []string{gll}, bad: 1, noiseUnchecked: true},
		"without a line end nothing is a sentence yet":    {in: []string{rmc}},
		"a dollar alone is nothing":                       {in: []string{"$\r\n" + gll + "\r\n"}, want: []string{gll}, bad: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.want == nil {
				tc.want = []string{}
			}
			var f gps.Framer
			if d := cmp.Diff(tc.want, frame(&f, tc.in...)); d != "" {
				t.Error(d)
			}
			if f.Good != uint64(len(tc.want)) || f.Bad != tc.bad || f.Noise != tc.noise && !tc.noiseUnchecked {
				t.Errorf("good %d, bad %d, noise %d; want %d, %d, %d", f.Good, f.Bad, f.Noise, len(tc.want), tc.bad, tc.noise)
			}
			var single gps.Framer
			var bytewise []string
			for _, c := range []byte(strings.Join(tc.in, "")) {
				bytewise = append(bytewise, string([]byte{c}))
			}
			if d := cmp.Diff(tc.want, frame(&single, bytewise...)); d != "" {
				t.Errorf("byte by byte: %s", d)
			}
		})
	}
}

func TestDatagramEndsALine(t *testing.T) {
	t.Parallel()
	var f gps.Framer
	got := 0
	f.Feed([]byte("$GNGLL,4404.14012,N,12118.85993,W,001037.00,A,A*67"), func([]byte) { got++ })
	f.EndLine(func([]byte) { got++ })
	f.EndLine(func([]byte) { got++ })
	if got != 1 {
		t.Errorf("%d sentences, want 1", got)
	}
}

// seeds adds the beginnings of some recordings, or at least a few sentences.
func seeds(f *testing.F) {
	f.Add([]byte("$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n"))
	f.Add([]byte("\x00$GNRMC,,V,,,,,,,,,,N*4D\r\n\xb5\x62\x01\x07$$GNZDA,235959.99,31,12,1999,,*7E\n"))
	dir := filepath.Join("..", "..", "shared", "nmea")
	for _, name := range []string{"ac12.log", "bu353-glonass.log", "hemi.log", "polarx2.log", "mixed/ublox-zed-f9t-ubx_nmea_l5.log"} {
		if log, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			f.Add(log[:min(len(log), 2000)])
		}
	}
}

func FuzzFramer(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var whole gps.Framer
		var sentences [][]byte
		whole.Feed(data, func(s []byte) {
			if len(s) < 4 || len(s) > 130 || s[0] != '$' && s[0] != '!' || s[len(s)-3] != '*' || bytes.ContainsAny(s[1:], "$!\r\n\x00") {
				t.Errorf("not a sentence: %q", s)
			}
			if !bytes.Contains(data, s) {
				t.Errorf("sentence %q is not in the data", s)
			}
			sentences = append(sentences, bytes.Clone(s))
		})
		if whole.Good != uint64(len(sentences)) || whole.Noise > uint64(len(data)) {
			t.Errorf("good %d of %d, noise %d of %d bytes", whole.Good, len(sentences), whole.Noise, len(data))
		}
		// How the bytes arrive makes no difference.
		var single gps.Framer
		for i := range data {
			single.Feed(data[i:i+1], func(s []byte) {
				if len(sentences) == 0 || !bytes.Equal(s, sentences[0]) {
					t.Fatalf("byte by byte there is %q", s)
				}
				sentences = sentences[1:]
			})
		}
		if len(sentences) > 0 || single != whole {
			t.Errorf("byte by byte %d sentences are missing", len(sentences))
		}
	})
}
