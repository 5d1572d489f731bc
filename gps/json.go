package gps

import (
	"math"
	"strconv"
	"time"
)

// MarshalJSON returns f as one object on one line, for debuggers and for comparing with other programs. Absent values are
// left out:
//
//	time         RFC 3339, UTC, with milliseconds; absent without a date
//	time_of_day  15:04:05.000, where there is a time and no date
//	mode         none 2d 3d dgps rtk dr sim
//	lat, lon     degrees WGS 84
//	alt          metres above mean sea level
//	speed        over ground, m/s
//	heading      degrees true
//	sats, hdop   satellites used, horizontal dilution
//	reason       why mode is none
func (f Fix) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	switch {
	case !f.Time.IsZero():
		b = append(b, `"time":"`...)
		b = f.Time.UTC().Round(time.Millisecond).AppendFormat(b, "2006-01-02T15:04:05.000Z")
		b = append(b, `",`...)
	case f.TimeOfDay >= 0:
		b = append(b, `"time_of_day":"`...)
		b = time.Time{}.Add(f.TimeOfDay.Round(time.Millisecond)).AppendFormat(b, "15:04:05.000")
		b = append(b, `",`...)
	}
	b = append(b, `"mode":"`...)
	b = append(b, f.Mode.String()...)
	b = append(b, '"')
	// A nanodegree is a tenth of a millimetre: more than any receiver gives, and no noise of the conversion from minutes.
	b = appendNumber(b, "lat", f.Lat, 1e9)
	b = appendNumber(b, "lon", f.Lon, 1e9)
	b = appendNumber(b, "alt", f.Alt, 1e3)
	b = appendNumber(b, "speed", f.Speed, 1e3)
	b = appendNumber(b, "heading", f.Course, 1e3)
	if f.Sats >= 0 {
		b = append(b, `,"sats":`...)
		b = strconv.AppendInt(b, int64(f.Sats), 10)
	}
	b = appendNumber(b, "hdop", f.HDOP, 1e2)
	if f.Reason != "" {
		b = append(b, `,"reason":`...)
		b = strconv.AppendQuoteToASCII(b, f.Reason) // our own words: no escape that JSON does not know
	}
	return append(b, '}'), nil
}

// appendNumber appends a member, rounded to a fraction of 1/unit; nothing if v is not a number.
func appendNumber(b []byte, name string, v, unit float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return strconv.AppendFloat(b, math.Round(v*unit)/unit, 'f', -1, 64)
}
