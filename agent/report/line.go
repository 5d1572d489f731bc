package report

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A Line is one record as it was delivered.
type Line struct {
	// Object and Number say where the line stands: the key, and the line's number in the (unpacked) object, from 1.
	Object string
	Number int
	// ID is the record_id; zero where Options.Fields has no such column.
	ID uuid.UUID
	// Time is the record's own time; zero if it has none.
	Time time.Time
	// VIN is "" if unknown.
	VIN string
	// Lon and Lat are degrees, WGS 84; both are NaN if either is unknown.
	Lon, Lat float64
	// Speed is in km/h; NaN if unknown.
	Speed float64
	// Raw is the line without its end. It is valid only during the call of Options.Each.
	Raw []byte
}

// DefaultFields are the columns of a text line that existing readers rely on.
func DefaultFields() []string {
	return []string{"record_id", "timestamp", "vin", "lon", "lat", "speed"}
}

// A Layout knows the columns of text lines.
type Layout struct {
	fields  []string
	columns []column // what each column means to us
}

type column uint8

const (
	columnOther column = iota
	columnID
	columnTime
	columnVIN
	columnLon
	columnLat
	columnSpeed
	columnCO2
	columnFuel
)

var columnByName = map[string]column{
	"record_id": columnID, "timestamp": columnTime, "vin": columnVIN,
	"lon": columnLon, "lat": columnLat, "speed": columnSpeed,
	"co2": columnCO2, "fuel_rate": columnFuel,
}

// NewLayout returns the layout with these columns, in this order; none means [DefaultFields]. Columns that the report has no
// use for are allowed and passed over. It is an error if a name is not made of a-z, 0-9 and underscores or comes twice.
func NewLayout(fields ...string) (Layout, error) {
	if len(fields) == 0 {
		fields = DefaultFields()
	}
	l := Layout{fields: slices.Clone(fields)}
	for i, f := range fields {
		if f == "" || strings.Trim(f, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return Layout{}, fmt.Errorf("column %d is named %q: use the names of record.fields, such as %s", i+1, f, strings.Join(DefaultFields(), " "))
		}
		if slices.Index(fields, f) < i {
			return Layout{}, fmt.Errorf("column %q is named twice: each column has its own name", f)
		}
		l.columns = append(l.columns, columnByName[f])
	}
	return l, nil
}

// values is a parsed line before its VIN is made a string.
type values struct {
	id              uuid.UUID
	hasID           bool
	time            time.Time
	vin             []byte // valid as long as the line
	lon, lat, speed float64
	co2, fuel       float64 // g/s, L/h
}

// ParseText reads a text line, given without its newline: the layout's columns with exactly one space between, NaN for a
// missing value. The record_id must be there. The error says which column is wrong and shows it.
func (l Layout) ParseText(line []byte) (Line, error) {
	v, err := l.parseText(line)
	return v.line(), err
}

// ParseJSON reads a JSON line: one object whose flat keys are the record's fields. A missing or null key is a missing value;
// keys that the report has no use for are passed over. The record_id must be there.
func ParseJSON(line []byte) (Line, error) {
	v, err := parseJSON(line)
	return v.line(), err
}

func (v values) line() Line {
	return Line{ID: v.id, Time: v.time, VIN: string(v.vin), Lon: v.lon, Lat: v.lat, Speed: v.speed}
}

func unknown() values {
	nan := math.NaN()
	return values{lon: nan, lat: nan, speed: nan, co2: nan, fuel: nan}
}

func (l Layout) parseText(line []byte) (values, error) {
	v := unknown()
	if n := bytes.Count(line, []byte{' '}) + 1; n != len(l.columns) {
		return v, fmt.Errorf("column count %d instead of %d (%s)", n, len(l.columns), strings.Join(l.fields, " "))
	}
	for i, c := range l.columns {
		text, rest, _ := bytes.Cut(line, []byte{' '})
		line = rest
		if len(text) == 0 {
			return unknown(), fmt.Errorf("%s is empty: more than one space in a row", l.fields[i])
		}
		missing := isMissing(text)
		var err error
		switch c {
		case columnID:
			err = v.setID(text)
		case columnTime:
			if !missing {
				v.time, err = parseTime(text)
			}
		case columnVIN:
			if !missing {
				v.vin, err = parseVIN(text)
			}
		case columnLon:
			v.lon, err = parseNumber(text, missing, longitude)
		case columnLat:
			v.lat, err = parseNumber(text, missing, latitude)
		case columnSpeed:
			v.speed, err = parseNumber(text, missing, speed)
		case columnCO2:
			v.co2, err = parseNumber(text, missing, co2)
		case columnFuel:
			v.fuel, err = parseNumber(text, missing, fuelRate)
		case columnOther:
		}
		if err != nil {
			return unknown(), err
		}
	}
	v.pairPosition()
	return v, nil
}

// isMissing: NaN is what the agent writes; Python's print of the same value is nan.
func isMissing(text []byte) bool { return string(text) == "NaN" || string(text) == "nan" }

func (v *values) setID(text []byte) error {
	// As RFC 9562, section 4, has it: no braces, no prefix.
	const length = 36
	if len(text) == 0 || isMissing(text) {
		return errors.New("record_id is missing")
	}
	if len(text) != length {
		return fmt.Errorf("record_id %s is not a UUID", show(text))
	}
	id, ok := parseID(text)
	if !ok {
		return fmt.Errorf("record_id %s is not a UUID", show(text))
	}
	v.id, v.hasID = id, true
	return nil
}

// idDigits are the places of a UUID's bytes in its text.
var idDigits = [16]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// parseID reads the 36 characters.
func parseID(b []byte) (id uuid.UUID, ok bool) {
	bad := b[8] ^ '-' | b[13] ^ '-' | b[18] ^ '-' | b[23] ^ '-'
	for i, at := range idDigits {
		high, low := hexDigits[b[at]], hexDigits[b[at+1]]
		bad |= (high | low) & noDigit
		id[i] = high<<4 | low&0xf
	}
	return id, bad == 0
}

const noDigit = 0x10

// hexDigits has the value of each character, or noDigit.
var hexDigits = func() (t [256]byte) {
	for i := range t {
		t[i] = noDigit
	}
	for i := range byte(16) {
		t["0123456789abcdef"[i]] = i
		t["0123456789ABCDEF"[i]] = i
	}
	return t
}()

// pairPosition: half a position is none.
func (v *values) pairPosition() {
	if math.IsNaN(v.lon) || math.IsNaN(v.lat) {
		v.lon, v.lat = math.NaN(), math.NaN()
	}
}

// parseTime takes RFC 3339, and the time of day that the first devices sent (such as 4:25:06.00): without a date that is no
// point in time, and the zero Time is returned.
func parseTime(text []byte) (time.Time, error) {
	t, ok := parseOwnTime(text)
	if !ok {
		ok = t.UnmarshalText(text) == nil
	}
	if ok {
		if t.Before(firstTime) || !t.Before(lastTime) {
			return time.Time{}, fmt.Errorf("timestamp %s is not of a time when there were vehicles to read from, %d to %d", show(text), firstTime.Year(), lastTime.Year())
		}
		return t.UTC(), nil
	}
	if _, err := time.Parse("15:04:05", string(text)); err == nil {
		return time.Time{}, nil
	}
	return time.Time{}, fmt.Errorf("timestamp %s is not RFC 3339, such as 2006-01-02T15:04:05.000Z", show(text))
}

// All times lie within what a time.Duration can span.
var (
	firstTime = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// parseOwnTime reads the form that the agent writes, as in 2006-01-02T15:04:05.000Z, quicker than what reads all of RFC 3339 can,
// and leaves anything else to that.
func parseOwnTime(b []byte) (t time.Time, ok bool) {
	if len(b) != len(TimeLayout) {
		return t, false
	}
	for i, c := range []byte("dddd-dd-ddTdd:dd:dd.dddZ") {
		if c == 'd' && b[i]-'0' > 9 || c != 'd' && c != b[i] {
			return t, false
		}
	}
	two := func(i int) int { return int(b[i]-'0')*10 + int(b[i+1]-'0') }
	year, month, day, hour, minute, second := two(0)*100+two(2), two(5), two(8), two(11), two(14), two(17)
	if month < 1 || month > 12 || day < 1 || day > 28 || hour > 23 || minute > 59 || second > 59 {
		return t, false // also the days that not every month has
	}
	ms := two(20)*10 + int(b[22]-'0')
	return time.Date(year, time.Month(month), day, hour, minute, second, ms*int(time.Millisecond), time.UTC), true
}

// maxVIN leaves room for the 18 characters that the first devices sent, and for fleets that put their own number there. A
// VIN itself has 17 (ISO 3779).
const maxVIN = 64

func parseVIN(text []byte) ([]byte, error) {
	// A quotation mark would make a CSV reader take the following columns, and lines, into this one.
	bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }
	if len(text) > maxVIN || bytes.ContainsFunc(text, bad) {
		return nil, fmt.Errorf("vin %s is not made of at most %d printable characters", show(text), maxVIN)
	}
	return text, nil
}

// A quantity is a number's name and range.
type quantity struct {
	name     string
	min, max float64
}

var (
	longitude = quantity{"lon", -180, 180}
	latitude  = quantity{"lat", -90, 90}
	// No vehicle with an OBD connector moves at 1000 km/h; the connector's own speed ends at 255 (SAE J1979, PID 0D).
	speed = quantity{"speed", 0, 1000}
	// The largest engines on the road burn 3212 L/h at most, where PID 5E ends; of diesel that is 2.4 kg/s of CO2.
	co2      = quantity{"co2", 0, 10_000}
	fuelRate = quantity{"fuel_rate", 0, 10_000}
)

// check returns an error if x is outside of the range. NaN, a missing value, is not.
func (q quantity) check(x float64) error {
	if x < q.min || x > q.max {
		return fmt.Errorf("%s %v is outside of %v to %v", q.name, x, q.min, q.max)
	}
	return nil
}

func parseNumber(text []byte, missing bool, q quantity) (float64, error) {
	if missing {
		return math.NaN(), nil
	}
	if x, ok := parseDecimal(text); ok {
		return x, q.check(x)
	}
	for _, c := range text {
		// ParseFloat also takes hexadecimal, underscores and Inf, which no reader of the columns would.
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return math.NaN(), fmt.Errorf("%s %s is not a number", q.name, show(text))
		}
	}
	x, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return math.NaN(), fmt.Errorf("%s %s is not a number", q.name, show(text))
	}
	return x, q.check(x)
}

// parseDecimal reads a plain decimal number of at most 15 digits, quicker than what reads all numbers can. Both the digits and the
// power of ten are then exact as a float64, so that their quotient is the nearest to what was written.
func parseDecimal(b []byte) (x float64, ok bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	digits, decimals, point := 0, 0, false
	var n int64
	for _, c := range b {
		switch {
		case c == '.' && !point && digits > 0:
			point = true
		case c-'0' <= 9 && digits < len(powersOfTen):
			n = n*10 + int64(c-'0')
			digits++
			if point {
				decimals++
			}
		default:
			return 0, false
		}
	}
	if digits == 0 {
		return 0, false
	}
	x = float64(n) / powersOfTen[decimals]
	if negative {
		x = -x
	}
	return x, true
}

var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14}

// show quotes a piece of a line for a person, cut to a readable length.
func show(text []byte) string {
	const most = 40
	if len(text) > most {
		return strconv.QuoteToASCII(string(text[:most])) + "..."
	}
	return strconv.QuoteToASCII(string(text))
}
