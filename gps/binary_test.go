package gps_test

import (
	"bytes"
	"strings"
	"testing"

	"obdagent/gps"
)

func TestBinaryIslandsAreNamed(t *testing.T) {
	t.Parallel()
	sentence := sum("GPRMC,102014.00,A,5550.6082,N,03732.2488,E,000.0,092.9,300518,,,A") + "\r\n"
	for name, tc := range map[string]struct{ island, want string }{
		"u-blox":                       {"\xb5\x62\x01\x07\x04\x00$!\x00\xff\x30\x40", "UBX (u-blox binary)"},
		"SiRF":                         {"\xa0\xa2\x00\x02\x01\x02\x00\x03\xb0\xb3", "SiRF binary"},
		"SkyTraq":                      {"\xa0\xa1\x00\x02\x83\x02\x81\x0d\x0a", "SkyTraq binary"},
		"RTCM 3":                       {"\xd3\x00\x13\x3e\xd7\xd3\x02\x02\x98\x0e", "RTCM 3 (corrections for another receiver)"},
		"RTCM 3 of a manufacturer":     {"\xd3\x00\x26\xfe\x80\x01\x00\x00", "RTCM 3 (corrections for another receiver)"},
		"noise that begins like RTCM":  {"\xd3\xd3\x00\x13\x80\xd3\x40\x13\x3e", ""},
		"noise":                        {"\xff\x00\xfe\x81", ""},
		"an island that cuts the line": {"$GPRMC,1\xb5\x62\x01", "UBX (u-blox binary)"},
	} {
		for _, chunk := range []int{1, 7, 1 << 20} {
			var f gps.Framer
			stream := []byte(strings.Repeat(sentence+tc.island, 5))
			for len(stream) > 0 {
				n := min(chunk, len(stream))
				f.Feed(stream[:n], func([]byte) {})
				stream = stream[n:]
			}
			if got := f.Binary.Name(); got != tc.want || f.Good != 5 {
				t.Errorf("%s, in chunks of %d: named %q with %d sentences, want %q with 5", name, chunk, got, f.Good, tc.want)
			}
		}
	}
}

func TestBinaryOfRecordedReceiversIsNamed(t *testing.T) {
	t.Parallel()
	dir := recordings(t)
	named := map[string]string{
		"mixed/ublox-zed-f9t-ubx_nmea_l5.log": "UBX (u-blox binary)",
	}
	for _, name := range recordingNames(t, dir) {
		counts, err := gps.Decode(bytes.NewReader(loadRecording(t, dir, name)), func(gps.Fix) {})
		if err != nil {
			t.Fatal(err)
		}
		if got := counts.Binary.Name(); got != named[name] {
			t.Errorf("%s: named %q, want %q; %+v", name, got, named[name], counts.Binary)
		}
	}
}
