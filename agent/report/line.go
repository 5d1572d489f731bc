package report

import (
	"bytes"
	"encoding/json"
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
	// Duplicate says that the same ID was read before.
	Duplicate bool
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
)

var columnByName = map[string]column{
	"record_id": columnID, "timestamp": columnTime, "vin": columnVIN,
	"lon": columnLon, "lat": columnLat, "speed": columnSpeed,
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

func unknown() values { return values{lon: math.NaN(), lat: math.NaN(), speed: math.NaN()} }

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

// jsonLine leaves a field as it was if its key is missing or null.
type jsonLine struct {
	RecordID  string  `json:"record_id"`
	Timestamp string  `json:"timestamp"`
	VIN       string  `json:"vin"`
	Lon       float64 `json:"lon"`
	Lat       float64 `json:"lat"`
	Speed     float64 `json:"speed"`
}

func parseJSON(line []byte) (values, error) {
	none := unknown()
	j := jsonLine{Lon: math.NaN(), Lat: math.NaN(), Speed: math.NaN()}
	if err := json.Unmarshal(line, &j); err != nil {
		return none, fmt.Errorf("not a JSON object of a record: %w", err)
	}
	v := none
	if err := v.setID([]byte(j.RecordID)); err != nil {
		return none, err
	}
	var err error
	if j.Timestamp != "" {
		if v.time, err = parseTime([]byte(j.Timestamp)); err != nil {
			return none, err
		}
	}
	if j.VIN != "" {
		if v.vin, err = parseVIN([]byte(j.VIN)); err != nil {
			return none, err
		}
	}
	v.lon, v.lat, v.speed = j.Lon, j.Lat, j.Speed
	for _, err := range []error{longitude.check(v.lon), latitude.check(v.lat), speed.check(v.speed)} {
		if err != nil {
			return none, err
		}
	}
	v.pairPosition()
	return v, nil
}

func (v *values) setID(text []byte) error {
	// uuid.ParseBytes also takes braces, the urn: prefix and no hyphens; a record has the 36 characters of RFC 9562, section 4.
	const length = 36
	if len(text) == 0 || isMissing(text) {
		return errors.New("record_id is missing")
	}
	if len(text) != length {
		return fmt.Errorf("record_id %s is not a UUID", show(text))
	}
	id, err := uuid.ParseBytes(text)
	if err != nil {
		return fmt.Errorf("record_id %s is not a UUID", show(text))
	}
	v.id, v.hasID = id, true
	return nil
}

// pairPosition: half a position is none.
func (v *values) pairPosition() {
	if math.IsNaN(v.lon) || math.IsNaN(v.lat) {
		v.lon, v.lat = math.NaN(), math.NaN()
	}
}

// parseTime takes RFC 3339, and the time of day that the first devices sent (such as 4:25:06.00): without a date that is no
// point in time, and the zero Time is returned.
func parseTime(text []byte) (time.Time, error) {
	var t time.Time
	if err := t.UnmarshalText(text); err == nil {
		return t.UTC(), nil
	}
	if _, err := time.Parse("15:04:05", string(text)); err == nil {
		return time.Time{}, nil
	}
	return time.Time{}, fmt.Errorf("timestamp %s is not RFC 3339, such as 2006-01-02T15:04:05.000Z", show(text))
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
	if err := q.check(x); err != nil {
		return math.NaN(), err
	}
	return x, nil
}

// show quotes a piece of a line for a person, cut to a readable length.
func show(text []byte) string {
	const most = 40
	if len(text) > most {
		return strconv.QuoteToASCII(string(text[:most])) + "..."
	}
	return strconv.QuoteToASCII(string(text))
}
