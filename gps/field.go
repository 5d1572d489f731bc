package gps

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// What is wrong with a field. The text reaches people through debug logs only.
var (
	errNumber   = errors.New("not a plain decimal number")
	errPosition = errors.New("position out of range or malformed")
	errTime     = errors.New("time of day out of range or malformed")
	errDate     = errors.New("date out of range or malformed")
)

// fields are the data fields of a sentence as received.
type fields []string

// at returns field i without padding; empty also where the sentence is too short.
func (f fields) at(i int) string {
	if i >= len(f) {
		return ""
	}
	return strings.TrimSpace(f[i])
}

// char returns the first character of field i, 0 if it is empty.
func (f fields) char(i int) byte {
	if s := f.at(i); s != "" {
		return s[0]
	}
	return 0
}

// number reads field i as a plain decimal number; NaN if it is empty. Exponents, NaN and Inf, which strconv takes, are
// refused: no receiver writes them.
func (f fields) number(i int) (float64, error) {
	s := f.at(i)
	if s == "" {
		return math.NaN(), nil
	}
	return decimal(s)
}

// plausible reads field i; NaN if it is empty, malformed or outside of lo..hi. For fields where receivers are known to
// write placeholders (99.99 for an unknown dilution, 36000.0 for an unknown course).
func (f fields) plausible(i int, lo, hi float64) float64 {
	v, err := f.number(i)
	if err != nil || !(lo <= v && v <= hi) {
		return math.NaN()
	}
	return v
}

// count reads field i as a small whole number; -1 if it is empty or malformed.
func (f fields) count(i int) int {
	n, err := strconv.ParseUint(f.at(i), 10, 8)
	if err != nil {
		return -1
	}
	return int(n)
}

func decimal(s string) (float64, error) {
	digits, dots := 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			digits++
		case c == '.':
			dots++
		case (c == '-' || c == '+') && i == 0:
		default:
			return 0, errNumber
		}
	}
	if digits == 0 || dots > 1 {
		return 0, errNumber
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, errNumber
	}
	return v, nil
}

// A coordinates value is a position with the number of digits it was given with.
type coordinates struct {
	lat, lon float64 // degrees; NaN if absent
	digits   int     // of the latitude field: more digits are the better copy of the same position
}

var noCoordinates = coordinates{lat: math.NaN(), lon: math.NaN()}

// position reads ddmm.mmm,N,dddmm.mmm,E at field i. Empty numbers mean that the position is absent, whatever stands in
// the hemisphere fields.
func (f fields) position(i int) (coordinates, error) {
	la, lo := f.at(i), f.at(i+2)
	if la == "" && lo == "" {
		return noCoordinates, nil
	}
	lat, err := angle(la, f.at(i+1), "N", "S", 90)
	if err != nil {
		return noCoordinates, err
	}
	lon, err := angle(lo, f.at(i+3), "E", "W", 180)
	if err != nil {
		return noCoordinates, err
	}
	return coordinates{lat: lat, lon: lon, digits: len(la)}, nil
}

// angle reads degrees and minutes, dddmm.mmm: the two digits before the point and all after it are minutes.
func angle(s, hemisphere, plus, minus string, limit float64) (float64, error) {
	point := strings.IndexByte(s, '.')
	if point < 0 {
		point = len(s)
	}
	if point < 3 || point > 5 || s[0] == '-' || s[0] == '+' {
		return 0, errPosition
	}
	whole, err1 := decimal(s[:point-2])
	minutes, err2 := decimal(s[point-2:])
	if err1 != nil || err2 != nil || s[point-2] == '-' || s[point-2] == '+' || minutes >= 60 {
		return 0, errPosition
	}
	v := whole + minutes/60
	if v > limit {
		return 0, errPosition
	}
	switch hemisphere {
	case plus:
		return v, nil
	case minus:
		return -v, nil
	}
	return 0, errPosition
}

// timeOfDay reads hhmmss.sss at field i; -1 if it is empty. Second 60 is refused: the epoch of a leap second (the last
// was in 2016) is lost rather than taken for the next midnight.
func (f fields) timeOfDay(i int) (time.Duration, error) {
	s := f.at(i)
	if s == "" {
		return -1, nil
	}
	if len(s) < 6 {
		return -1, errTime
	}
	h, ok1 := twoDigits(s[0:2])
	m, ok2 := twoDigits(s[2:4])
	sec, ok3 := twoDigits(s[4:6])
	if !ok1 || !ok2 || !ok3 || h > 23 || m > 59 || sec > 59 {
		return -1, errTime
	}
	d := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(sec)*time.Second
	if len(s) == 6 {
		return d, nil
	}
	if s[6] != '.' {
		return -1, errTime
	}
	unit := time.Second / 10
	for _, c := range []byte(s[7:]) {
		if c < '0' || c > '9' {
			return -1, errTime
		}
		d += time.Duration(c-'0') * unit
		unit /= 10
	}
	return d, nil
}

// A date is a day of the calendar; the zero value is none.
type date struct{ year, month, day int }

// ddmmyy reads the date of RMC. Two-digit years from 69 on are of the twentieth century, as in POSIX; receivers that roll
// over by 1024 weeks stay within that.
func ddmmyy(s string) (date, error) {
	if s == "" {
		return date{}, nil
	}
	if len(s) != 6 {
		return date{}, errDate
	}
	d, ok1 := twoDigits(s[0:2])
	m, ok2 := twoDigits(s[2:4])
	y, ok3 := twoDigits(s[4:6])
	if !ok1 || !ok2 || !ok3 {
		return date{}, errDate
	}
	if y < 69 {
		y += 100
	}
	return calendar(1900+y, m, d)
}

// calendar refuses days that do not exist: time.Date would silently make others of them.
func calendar(y, m, d int) (date, error) {
	t := time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC)
	if y < 1969 || y > 2200 || t.Day() != d || int(t.Month()) != m {
		return date{}, errDate
	}
	return date{y, m, d}, nil
}

// at returns the instant of a time of day on the date.
func (d date) at(tod time.Duration) time.Time {
	return time.Date(d.year, time.Month(d.month), d.day, 0, 0, 0, 0, time.UTC).Add(tod)
}

// plus returns the date n days on.
func (d date) plus(n int) date {
	y, m, day := time.Date(d.year, time.Month(d.month), d.day+n, 0, 0, 0, 0, time.UTC).Date()
	return date{y, int(m), day}
}

func twoDigits(s string) (int, bool) {
	if s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9' {
		return 0, false
	}
	return int(s[0]-'0')*10 + int(s[1]-'0'), true
}
