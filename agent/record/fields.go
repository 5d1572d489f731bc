package record

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// A field is one column: how its value is written, in both formats.
type field struct {
	name string
	// always is set for the fields that a JSON line has also when they are absent, as null: those of the text format's default.
	always bool
	// quoted is set for strings.
	quoted bool
	// stored is set for fields that are kept on disk and not sent.
	stored bool
	// text appends the bare value and reports whether there is one. Numbers and strings look the same in both formats.
	text func(r *Record, dst []byte) ([]byte, bool)
	// json appends the JSON value, where it is not the bare one.
	json func(r *Record, dst []byte) ([]byte, bool)
	// float points at the value of a numeric field, for those who set it by name.
	float func(r *Record) *Float
}

// fields is the one list of all columns, in the order of a JSON line.
var fields = []field{
	{name: "record_id", always: true, quoted: true, text: func(r *Record, dst []byte) ([]byte, bool) {
		dst = hex.AppendEncode(dst, r.ID[:4])
		for _, group := range [...][]byte{r.ID[4:6], r.ID[6:8], r.ID[8:10], r.ID[10:]} {
			dst = hex.AppendEncode(append(dst, '-'), group)
		}
		return dst, true
	}},
	{name: "timestamp", always: true, quoted: true, text: instant(func(r *Record) time.Time { return r.Time })},
	{name: "time_src", quoted: true, text: str(func(r *Record) string { return string(r.TimeSrc) })},
	{name: "vin", always: true, quoted: true, text: str(func(r *Record) string { return r.VIN })},
	{name: "vin_src", quoted: true, text: str(func(r *Record) string { return r.VINSrc })},
	always(fixed("lon", 7, func(r *Record) *Float { return &r.Lon })), // 7 decimals are 1.1 cm at the equator
	always(fixed("lat", 7, func(r *Record) *Float { return &r.Lat })),
	always(number("speed", 1, func(r *Record) *Float { return &r.Speed })), // a tenth is finer than either source
	{name: "speed_src", quoted: true, text: str(func(r *Record) string { return r.SpeedSrc })},
	number("speed_obd", 2, func(r *Record) *Float { return &r.SpeedOBD }),
	number("speed_gps", 2, func(r *Record) *Float { return &r.SpeedGPS }),
	number("obd_age_ms", 0, func(r *Record) *Float { return &r.OBDAge }),
	number("fix_age_ms", 0, func(r *Record) *Float { return &r.FixAge }),
	number("alt", 1, func(r *Record) *Float { return &r.Alt }),
	number("heading", 1, func(r *Record) *Float { return &r.Heading }),
	{name: "fix", quoted: true, text: str(func(r *Record) string { return r.Fix })},
	number("sats", 0, func(r *Record) *Float { return &r.Sats }),
	number("hdop", 2, func(r *Record) *Float { return &r.HDOP }),
	number("rpm", 2, func(r *Record) *Float { return &r.RPM }), // the PID's step is 0.25
	number("load", 1, func(r *Record) *Float { return &r.Load }),
	number("coolant", 1, func(r *Record) *Float { return &r.Coolant }),
	number("maf", 2, func(r *Record) *Float { return &r.MAF }), // the PID's step is 0.01
	number("map", 1, func(r *Record) *Float { return &r.MAP }),
	number("iat", 1, func(r *Record) *Float { return &r.IAT }),
	number("lambda", 4, func(r *Record) *Float { return &r.Lambda }), // the PID's step is 2/65536
	number("throttle", 1, func(r *Record) *Float { return &r.Throttle }),
	number("fuel_rate", 2, func(r *Record) *Float { return &r.FuelRate }), // the PID's step is 0.05
	number("fuel_level", 1, func(r *Record) *Float { return &r.FuelLvl }),
	number("voltage", 2, func(r *Record) *Float { return &r.Voltage }),
	number("co2", 3, func(r *Record) *Float { return &r.CO2 }),
	{name: "co2_method", quoted: true, text: str(func(r *Record) string { return r.CO2From })},
	{name: "co2_absent", quoted: true, text: str(func(r *Record) string { return r.CO2Lacks })},
	{name: "lost", text: lostText, json: func(r *Record, dst []byte) ([]byte, bool) { return list(dst, r.Lost) }},
	{name: "mil", text: func(r *Record, dst []byte) ([]byte, bool) {
		on, ok := r.MIL.Get()
		if !ok {
			return dst, false
		}
		return strconv.AppendBool(dst, on), true
	}},
	number("dtc_count", 0, func(r *Record) *Float { return &r.DTCCount }),
	{name: "dtcs", text: commas(func(r *Record) []string { return r.DTCs }),
		json: func(r *Record, dst []byte) ([]byte, bool) { return list(dst, r.DTCs) }},
	{name: "extra", text: extraText, json: extraJSON},
	{name: "device_id", quoted: true, text: str(func(r *Record) string { return r.DeviceID })},
	{name: "seq", text: func(r *Record, dst []byte) ([]byte, bool) { return strconv.AppendUint(dst, r.Seq, 10), r.Seq != 0 }},
	{name: "boot_id", quoted: true, text: str(func(r *Record) string { return r.BootID })},
	{name: "mono_ms", text: func(r *Record, dst []byte) ([]byte, bool) { return strconv.AppendInt(dst, r.MonoMS, 10), true }},
	{name: "flags", text: commas(func(r *Record) []string { return r.Flags }),
		json: func(r *Record, dst []byte) ([]byte, bool) { return list(dst, r.Flags) }},
	{name: "system_time", quoted: true, stored: true, text: instant(func(r *Record) time.Time { return r.System })},
}

var byName = func() map[string]*field {
	m := make(map[string]*field, len(fields))
	for i := range fields {
		m[fields[i].name] = &fields[i]
	}
	return m
}()

// FieldNames lists the fields that the text format can be made of, in the order of a JSON line.
func FieldNames() []string {
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		if !f.stored {
			names = append(names, f.name)
		}
	}
	return names
}

// ContractFields are the columns that existing readers of the text format expect.
func ContractFields() []string {
	return []string{"record_id", "timestamp", "vin", "lon", "lat", "speed"}
}

// SetFloat sets a numeric field by its name, and reports whether there is one of that name.
func (r *Record) SetFloat(name string, v Float) bool {
	f := byName[name]
	if f == nil || f.float == nil {
		return false
	}
	*f.float(r) = v
	return true
}

func always(f field) field { f.always = true; return f }

func instant(get func(*Record) time.Time) func(*Record, []byte) ([]byte, bool) {
	return func(r *Record, dst []byte) ([]byte, bool) {
		t := get(r)
		if t.IsZero() {
			return dst, false
		}
		// To the nearest millisecond: formatting alone would cut.
		return t.UTC().Round(time.Millisecond).AppendFormat(dst, TimeLayout), true
	}
}

func str(get func(*Record) string) func(*Record, []byte) ([]byte, bool) {
	return func(r *Record, dst []byte) ([]byte, bool) {
		s := get(r)
		return append(dst, s...), s != ""
	}
}

// fixed is a number with always the same decimals.
func fixed(name string, decimals int, get func(*Record) *Float) field {
	return field{name: name, float: get, text: func(r *Record, dst []byte) ([]byte, bool) {
		v, ok := get(r).Get()
		if !ok {
			return dst, false
		}
		return strconv.AppendFloat(dst, v, 'f', decimals, 64), true
	}}
}

// number is a number with at most that many decimals, and no trailing zero.
func number(name string, decimals int, get func(*Record) *Float) field {
	return field{name: name, float: get, text: func(r *Record, dst []byte) ([]byte, bool) {
		v, ok := get(r).Get()
		if !ok {
			return dst, false
		}
		start := len(dst)
		dst = strconv.AppendFloat(dst, v, 'f', decimals, 64)
		if decimals > 0 {
			for dst[len(dst)-1] == '0' {
				dst = dst[:len(dst)-1]
			}
			if dst[len(dst)-1] == '.' {
				dst = dst[:len(dst)-1]
			}
		}
		if string(dst[start:]) == "-0" {
			dst = append(dst[:start], '0')
		}
		return dst, true
	}}
}

func commas(get func(*Record) []string) func(*Record, []byte) ([]byte, bool) {
	return func(r *Record, dst []byte) ([]byte, bool) {
		for i, s := range get(r) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, s...)
		}
		return dst, len(get(r)) > 0
	}
}

// lostText writes 17-20:overflow,31-31:damaged.
func lostText(r *Record, dst []byte) ([]byte, bool) {
	for i, l := range r.Lost {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, l.From, 10)
		dst = append(dst, '-')
		dst = strconv.AppendUint(dst, l.To, 10)
		dst = append(dst, ':')
		dst = append(dst, l.Reason...)
	}
	return dst, len(r.Lost) > 0
}

// extraText writes odometer=123456.7,torque=210.
func extraText(r *Record, dst []byte) ([]byte, bool) {
	for i, name := range slices.Sorted(maps.Keys(r.Extra)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, name...), '=')
		dst = strconv.AppendFloat(dst, r.Extra[name], 'f', -1, 64)
	}
	return dst, len(r.Extra) > 0
}

// extraJSON writes an object. Names are [a-z0-9_], as the configuration and package obd have them, and need no escape; a value that is
// no number cannot be written and is left out.
func extraJSON(r *Record, dst []byte) ([]byte, bool) {
	open := byte('{')
	for _, name := range slices.Sorted(maps.Keys(r.Extra)) {
		if v := r.Extra[name]; !math.IsNaN(v) && !math.IsInf(v, 0) {
			dst = append(dst, open, '"')
			dst = append(append(dst, name...), '"', ':')
			dst = strconv.AppendFloat(dst, v, 'f', -1, 64)
			open = ','
		}
	}
	return append(dst, '}'), open == ','
}

func list[T any](dst []byte, items []T) ([]byte, bool) {
	if len(items) == 0 {
		return dst, false
	}
	text, err := json.Marshal(items)
	if err != nil { // strings and numbers only
		panic(err)
	}
	return append(dst, text...), true
}
