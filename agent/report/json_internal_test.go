package report

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// same compares what the scanner and encoding/json make of a line that the scanner takes.
func sameAsEncodingJSON(t interface {
	Helper()
	Errorf(string, ...any)
}, line string) (taken bool) {
	t.Helper()
	got, taken := scanJSON([]byte(line))
	if !taken {
		return false
	}
	nan := math.NaN()
	want := jsonLine{Lon: nan, Lat: nan, Speed: nan, CO2: nan, FuelRate: nan}
	if err := json.Unmarshal([]byte(line), &want); err != nil {
		t.Errorf("%q is taken; encoding/json says %v", line, err)
		return true
	}
	numbers := [][2]float64{{got.lon, want.Lon}, {got.lat, want.Lat}, {got.speed, want.Speed}, {got.co2, want.CO2}, {got.fuel, want.FuelRate}}
	for _, n := range numbers {
		if n[0] != n[1] && !(math.IsNaN(n[0]) && math.IsNaN(n[1])) {
			t.Errorf("%q: number %v, want %v", line, n[0], n[1])
		}
	}
	if string(got.id) != want.RecordID || string(got.time) != want.Timestamp || string(got.vin) != want.VIN {
		t.Errorf("%q: %q %q %q, want %q %q %q", line, got.id, got.time, got.vin, want.RecordID, want.Timestamp, want.VIN)
	}
	return true
}

const agentLine = `{"record_id":"939ed1d1-1740-820c-8906-445278573c7f","timestamp":"2026-11-23T08:00:00.000Z","time_src":"gnss","vin":"WVWZZZ1JZXW000001","lon":106.9447146,"lat":-6.3385652,"speed":36.4,"rpm":2012.25,"co2":1.234,"fuel_rate":7.25,"lost":[{"from":17,"to":20,"reason":"overflow"}],"mil":false,"dtcs":["P0301"],"extra":{"odometer":123456.7},"seq":12,"flags":[]}`

func TestTheScannerTakesWhatTheAgentWrites(t *testing.T) {
	t.Parallel()
	for _, line := range []string{agentLine, `{}`, `{"vin":null,"lon":null}`, `{"a":{"b":[[1,2],{}]},"speed":0}`, `{"speed":1,"speed":2}`, `{"vin":"A","vin":null}`} {
		if !sameAsEncodingJSON(t, line) {
			t.Errorf("%s is left to encoding/json", line)
		}
	}
}

func TestTheScannerLeavesTheRest(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		``, `{`, `{"speed":}`, `{"speed":1`, `{"speed":1}}`, `{"speed":1,}`, `{,"speed":1}`, `{"speed":01}`, `{"speed":-}`, `{"speed":1.}`, `{"speed":.5}`,
		`{"speed":1e2}`, `{"Speed":1}`, `{"vin":"\u0041"}`, `{"vin":"é"}`, `{ "speed":1}`, `{"speed":"1"}`, `{"vin":1}`, `{"a":tru}`, `{"a":[1,]}`, `{"a":[1`,
		`{"a":{"b"}}`, `{"speed":1-2}`, `{"speed":--2}`, `{"a":[[[[[[1]]]]]]}`, `null`, `[1]`, `{"speed":1.2.3}`, "{\"vin\":\"A\tB\"}", `{"speed":1234567890123456}`,
	} {
		if _, taken := scanJSON([]byte(line)); taken {
			t.Errorf("%s is taken", line)
		}
	}
}

// Lines of the agent, changed anywhere: whatever the scanner takes is what encoding/json makes of it.
func TestTheScannerAgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		line := []byte(agentLine)
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			i := rapid.IntRange(0, len(line)-1).Draw(t, "at")
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				line[i] = rapid.SampledFrom([]byte(`0123456789.-+eE"{}[],:\ tfnuVa`)).Draw(t, "byte")
			case 1:
				line = append(line[:i], line[i+1:]...)
			default:
				part := rapid.SampledFrom([]string{`"speed":7,`, `null`, `"lat":-0.5`, `,`, `}`, `0`, `"vin":"X",`}).Draw(t, "part")
				line = []byte(string(line[:i]) + part + string(line[i:]))
			}
		}
		sameAsEncodingJSON(t, string(line))
	})
}

// What the fast readers of text take is what the library makes of it.
func TestFastAndThoroughReadersAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`-?[0-9]{0,9}(\.[0-9]{0,9})?`), rapid.StringMatching(`[-+0-9.eE]{0,12}`)).Draw(t, "number")
		if x, ok := parseDecimal([]byte(text)); ok {
			var want float64
			if err := json.Unmarshal([]byte(strings.TrimSuffix(trimZeros(text), ".")), &want); err != nil || want != x {
				t.Errorf("%q is %v, want %v (%v)", text, x, want, err)
			}
		}
		at := rapid.OneOf(rapid.StringMatching(`20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\.[0-9]{3}Z`), rapid.StringMatching(`[0-9T:.Z-]{24}`)).Draw(t, "time")
		if fast, ok := parseOwnTime([]byte(at)); ok {
			slow := fast
			if err := slow.UnmarshalText([]byte(at)); err != nil || !slow.Equal(fast) {
				t.Errorf("%q is %v, want %v (%v)", at, fast, slow, err)
			}
		}
	})
}

// trimZeros makes a number of JSON of one that has zeros before it.
func trimZeros(s string) string {
	sign, digits, _ := strings.Cut("+"+s, "-")
	if digits == "" {
		sign, digits = "", strings.TrimPrefix(sign, "+")
	} else {
		sign = "-"
	}
	digits = strings.TrimLeft(digits, "0")
	if digits == "" || digits[0] == '.' {
		digits = "0" + digits
	}
	return sign + digits
}
