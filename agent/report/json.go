package report

import (
	"encoding/json"
	"fmt"
	"math"
)

// jsonLine leaves a field as it was if its key is missing or null.
type jsonLine struct {
	RecordID  string  `json:"record_id"`
	Timestamp string  `json:"timestamp"`
	VIN       string  `json:"vin"`
	Lon       float64 `json:"lon"`
	Lat       float64 `json:"lat"`
	Speed     float64 `json:"speed"`
	CO2       float64 `json:"co2"`
	FuelRate  float64 `json:"fuel_rate"`
}

func parseJSON(line []byte) (values, error) {
	none := unknown()
	j, ok := scanJSON(line)
	if !ok {
		var slow jsonLine
		slow.Lon, slow.Lat, slow.Speed, slow.CO2, slow.FuelRate = none.lon, none.lat, none.speed, none.co2, none.fuel
		if err := json.Unmarshal(line, &slow); err != nil {
			return none, fmt.Errorf("not a JSON object of a record: %w", err)
		}
		j = scanned{
			id: []byte(slow.RecordID), time: []byte(slow.Timestamp), vin: []byte(slow.VIN),
			lon: slow.Lon, lat: slow.Lat, speed: slow.Speed, co2: slow.CO2, fuel: slow.FuelRate,
		}
	}
	v := none
	if err := v.setID(j.id); err != nil {
		return none, err
	}
	var err error
	if len(j.time) > 0 {
		if v.time, err = parseTime(j.time); err != nil {
			return none, err
		}
	}
	if len(j.vin) > 0 {
		if v.vin, err = parseVIN(j.vin); err != nil {
			return none, err
		}
	}
	v.lon, v.lat, v.speed, v.co2, v.fuel = j.lon, j.lat, j.speed, j.co2, j.fuel
	for _, err := range [...]error{longitude.check(v.lon), latitude.check(v.lat), speed.check(v.speed), co2.check(v.co2), fuelRate.check(v.fuel)} {
		if err != nil {
			return none, err
		}
	}
	v.pairPosition()
	return v, nil
}

// scanned is a line's fields; the bytes are the line's own.
type scanned struct {
	id, time, vin              []byte
	lon, lat, speed, co2, fuel float64
}

// scanJSON reads an object such as the agent writes, several times as fast as encoding/json. Anything else it leaves to that: it
// says false where the line is not JSON, and also where it only might be (escapes, spaces, keys in capitals, characters beyond
// ASCII, a number that is not a plain decimal).
func scanJSON(b []byte) (j scanned, ok bool) {
	nan := math.NaN()
	j.lon, j.lat, j.speed, j.co2, j.fuel = nan, nan, nan, nan, nan
	s := scanner{b: b}
	if !s.take('{') {
		return j, false
	}
	for first := true; !s.take('}'); first = false {
		if !first && !s.take(',') {
			return j, false
		}
		key, ok := s.text()
		if !ok || !s.take(':') {
			return j, false
		}
		var text *[]byte
		var number *float64
		switch string(key) {
		case "record_id":
			text = &j.id
		case "timestamp":
			text = &j.time
		case "vin":
			text = &j.vin
		case "lon":
			number = &j.lon
		case "lat":
			number = &j.lat
		case "speed":
			number = &j.speed
		case "co2":
			number = &j.co2
		case "fuel_rate":
			number = &j.fuel
		default:
			if !plainKey(key) || !s.value(0) {
				return j, false
			}
			continue
		}
		switch {
		case s.word("null"):
		case text != nil:
			if *text, ok = s.text(); !ok {
				return j, false
			}
		default:
			if *number, ok = s.number(); !ok {
				return j, false
			}
		}
	}
	return j, s.i == len(b)
}

// plainKey: encoding/json takes a key in capitals for the field too.
func plainKey(key []byte) bool {
	for _, c := range key {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// A scanner stands at b[i].
type scanner struct {
	b []byte
	i int
}

func (s *scanner) take(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.i >= len(w) && string(s.b[s.i:s.i+len(w)]) == w {
		s.i += len(w)
		return true
	}
	return false
}

// text reads a string of printable ASCII characters without escapes.
func (s *scanner) text() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	for begin := s.i; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[begin : s.i-1], true
		case c < ' ' || c > '~' || c == '\\':
			return nil, false
		}
	}
	return nil, false
}

// number reads a plain decimal as JSON has it: no plus, no leading zeros, digits on both sides of a point.
func (s *scanner) number() (float64, bool) {
	begin := s.i
	for s.i < len(s.b) && (s.b[s.i]-'0' <= 9 || s.b[s.i] == '.' || s.b[s.i] == '-') {
		s.i++
	}
	text := s.b[begin:s.i]
	digits := text
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || digits[len(digits)-1] == '.' || len(digits) > 1 && digits[0] == '0' && digits[1] != '.' {
		return 0, false
	}
	return parseDecimal(text)
}

// value passes over any value; lists and objects may be a few deep.
func (s *scanner) value(depth int) bool {
	if s.i == len(s.b) || depth > 4 {
		return false
	}
	switch s.b[s.i] {
	case '"':
		_, ok := s.text()
		return ok
	case '[':
		return s.members('[', ']', func() bool { return s.value(depth + 1) })
	case '{':
		return s.members('{', '}', func() bool {
			_, ok := s.text()
			return ok && s.take(':') && s.value(depth+1)
		})
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	_, ok := s.number()
	return ok
}

func (s *scanner) members(begin, end byte, member func() bool) bool {
	s.take(begin)
	for first := true; !s.take(end); first = false {
		if !first && !s.take(',') || !member() {
			return false
		}
	}
	return true
}
