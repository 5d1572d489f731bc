package report_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"obdagent/agent/report"
)

// fataler is a testing.TB or a rapid.T.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func layout(t fataler, fields ...string) report.Layout {
	t.Helper()
	l, err := report.NewLayout(fields...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestParseTextRefusesAndSaysWhy(t *testing.T) {
	t.Parallel()
	const now = "2026-11-23T08:00:00.000Z"
	for _, test := range []struct{ name, line, want string }{
		{"an empty line", "", "column count 1 instead of 6"},
		{"two spaces", id(1) + "  " + now + " VIN 1 2", "timestamp is empty: more than one space"},
		{"a space at the end", id(1) + " " + now + " VIN 1 2 3 ", "column count 7 instead of 6"},
		{"a space at the start", " " + id(1) + " " + now + " VIN 1 2", "record_id is empty"},
		{"a tab instead of a space", id(1) + "\t" + now + " VIN 1 2 3", "column count 5"},
		{"the front half of a line", id(1) + " " + now + " VIN 1", "column count 4"},
		{"the back half of a line", "8906-445278573c7f " + now + " VIN 1 2 3", "is not a UUID"},
		{"two lines run together", id(1) + " " + now + " VIN 1 2 3" + id(2) + " " + now + " VIN 1 2 3", "column count 11"},
		{"no record_id", "NaN " + now + " VIN 1 2 3", "record_id is missing"},
		{"a record_id in braces", "{" + id(1)[2:] + "} " + now + " VIN 1 2 3", "is not a UUID"},
		{"a date without a time", id(1) + " 2026-11-23 VIN 1 2 3", `timestamp "2026-11-23" is not RFC 3339`},
		{"a day that the month lacks", id(1) + " 2026-02-30T08:00:00Z VIN 1 2 3", "is not RFC 3339"},
		{"a quotation mark in the VIN", id(1) + " " + now + ` "VIN 1 2 3`, `vin "\"VIN" is not made of`},
		{"a control character in the VIN", id(1) + " " + now + " V\x1bN 1 2 3", `vin "V\x1bN" is not made of`},
		{"a VIN without an end", id(1) + " " + now + " " + strings.Repeat("V", 65) + " 1 2 3", "vin"},
		{"a word for a number", id(1) + " " + now + " VIN one 2 3", `lon "one" is not a number`},
		{"a hexadecimal number", id(1) + " " + now + " VIN 0x1p4 2 3", `lon "0x1p4" is not a number`},
		{"infinity", id(1) + " " + now + " VIN 1 2 inf", `speed "inf" is not a number`},
		{"a number too large for a number", id(1) + " " + now + " VIN 1 2 1e999", `speed "1e999" is not a number`},
		{"a decimal comma", id(1) + " " + now + " VIN 1 2 3,5", `speed "3,5" is not a number`},
		{"a longitude off the earth", id(1) + " " + now + " VIN 180.1 2 3", "lon 180.1 is outside of -180 to 180"},
		{"a latitude off the earth", id(1) + " " + now + " VIN 1 -90.1 3", "lat -90.1 is outside of -90 to 90"},
		{"a negative speed", id(1) + " " + now + " VIN 1 2 -3", "speed -3 is outside of 0 to 1000"},
		{"a speed of no vehicle", id(1) + " " + now + " VIN 1 2 6553.5", "speed 6553.5 is outside of 0 to 1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l, err := layout(t).ParseText([]byte(test.line))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if !math.IsNaN(l.Speed) || !math.IsNaN(l.Lon) || l.VIN != "" || !l.Time.IsZero() {
				t.Errorf("a refused line has values: %+v", l)
			}
		})
	}
}

func TestParseJSONRefusesAndSaysWhy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, line, want string }{
		{"half an object", `{"record_id":"` + id(1) + `","speed":3`, "not a JSON object of a record"},
		{"two objects in a line", `{"record_id":"` + id(1) + `"}{}`, "not a JSON object of a record"},
		{"a list", `[1]`, "not a JSON object of a record"},
		{"null", `null`, "record_id is missing"},
		{"no record_id", `{"speed":3}`, "record_id is missing"},
		{"a number as text", `{"record_id":"` + id(1) + `","speed":"3"}`, "not a JSON object of a record"},
		{"a time of another form", `{"record_id":"` + id(1) + `","timestamp":"yesterday"}`, "is not RFC 3339"},
		{"a VIN with a space", `{"record_id":"` + id(1) + `","vin":"A B"}`, `vin "A B" is not made of`},
		{"a VIN that is no UTF-8", `{"record_id":"` + id(1) + `","vin":"A` + "\xff" + `"}`, "vin"},
		{"a speed of no vehicle", `{"record_id":"` + id(1) + `","speed":1e6}`, "speed 1e+06 is outside of"},
		{"a latitude off the earth", `{"record_id":"` + id(1) + `","lat":91}`, "lat 91 is outside of"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := report.ParseJSON([]byte(test.line)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestHalfAPositionIsNone(t *testing.T) {
	t.Parallel()
	fromText, err := layout(t).ParseText([]byte(id(1) + " NaN NaN 10 NaN 3"))
	if err != nil {
		t.Fatal(err)
	}
	fromJSON, err := report.ParseJSON([]byte(`{"record_id":"` + id(1) + `","lat":10,"lon":null}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []report.Line{fromText, fromJSON} {
		if !math.IsNaN(l.Lon) || !math.IsNaN(l.Lat) {
			t.Errorf("position %v %v, want none", l.Lon, l.Lat)
		}
	}
}

func TestTimesAreTakenToUTC(t *testing.T) {
	t.Parallel()
	l, err := layout(t).ParseText([]byte(id(1) + " 2026-11-23T09:30:00.5+01:00 NaN NaN NaN NaN"))
	if want := time.Date(2026, 11, 23, 8, 30, 0, 5e8, time.UTC); err != nil || l.Time != want {
		t.Errorf("time %v, error %v; want %v", l.Time, err, want)
	}
}

// sound checks what must hold for any line that was taken, whatever it was.
func sound(t *testing.T, l report.Line) {
	t.Helper()
	inside := func(x, low, high float64) bool { return math.IsNaN(x) || low <= x && x <= high }
	if !inside(l.Lon, -180, 180) || !inside(l.Lat, -90, 90) || !inside(l.Speed, 0, 1000) || math.IsNaN(l.Lon) != math.IsNaN(l.Lat) {
		t.Errorf("values out of range were taken: %+v", l)
	}
	if strings.ContainsFunc(l.VIN, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
		t.Errorf("the VIN %q was taken", l.VIN)
	}
}

func FuzzParseText(f *testing.F) {
	for _, line := range strings.Split(drive, "\n") {
		f.Add([]byte(line))
	}
	f.Add([]byte("939ed1d1-1740-420c-8906-445278573c7f 4:25:06.00 4ftex4944akl844294 106.9447146 -6.3385652 25"))
	f.Add([]byte("939ed1d1-1740-420c-8906-445278573c7f NaN NaN NaN NaN NaN"))
	columns := layout(f)
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		l, err := columns.ParseText(line)
		if !bytes.Equal(line, before) {
			t.Error("the line was changed")
		}
		if err != nil {
			return
		}
		sound(t, l)
		if n := bytes.Count(line, []byte(" ")); n != 5 {
			t.Errorf("a line with %d spaces was taken", n)
		}
		if !strings.EqualFold(l.ID.String(), string(line[:36])) {
			t.Errorf("record_id %s was read as %s", line[:36], l.ID)
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(`{"record_id":"939ed1d1-1740-420c-8906-445278573c7f","timestamp":"2026-11-23T08:00:00.000Z","vin":"WVWZZZ1JZXW000001","lon":10.5,"lat":50,"speed":36.4,"flags":["no_fix"]}`))
	f.Add([]byte(`{"record_id":"939ed1d1-1740-420c-8906-445278573c7f","timestamp":null,"vin":null,"lon":null,"lat":null,"speed":null,"dtcs":["P0301"],"mil":true}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if l, err := report.ParseJSON(line); err == nil {
			sound(t, l)
		}
	})
}

// FuzzRead: whatever an object holds, the report adds up.
func FuzzRead(f *testing.F) {
	f.Add([]byte(drive))
	f.Add([]byte(zip(drive) + drive + zip(zip(drive))))
	f.Add([]byte(zip(drive)[:60] + zip(drive)))
	f.Add([]byte("\x1f\x8b\x08\x1f\x8b\x08\n\x1f"))
	f.Fuzz(func(t *testing.T, object []byte) {
		lines := 0
		r := read(t, objects{"a", string(object)}, report.Options{Each: func(report.Line) { lines++ }})
		if lines != r.Lines-r.Damaged {
			t.Errorf("%d lines were handed out, %d were counted as good", lines, r.Lines-r.Damaged)
		}
		if r.Bytes != int64(len(object)) && r.UnreadableCount == 0 {
			t.Errorf("%d of %d bytes were read", r.Bytes, len(object))
		}
	})
}
