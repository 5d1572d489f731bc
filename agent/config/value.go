package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// A kind is the type of a key's value, in the words of whoever writes the file.
type kind string

const (
	kindText     kind = "text"          // string
	kindInteger  kind = "whole number"  // int
	kindNumber   kind = "number"        // float64
	kindSwitch   kind = "true or false" // bool
	kindDuration kind = "duration"      // time.Duration
	kindSize     kind = "size"          // int64, bytes
	kindList     kind = "list of texts" // []string
)

// takes tells whether a TOML value is of a type that a key of this kind has, whatever the value.
func (k kind) takes(raw any) bool {
	switch raw.(type) {
	case string:
		return k == kindText || k == kindDuration || k == kindSize
	case int64:
		return k == kindInteger || k == kindNumber || k == kindSize || k == kindDuration
	case float64:
		return k == kindNumber
	case bool:
		return k == kindSwitch
	case []any:
		return k == kindList
	default:
		return false
	}
}

// A TOML value is a string, int64, float64, bool or []any of these; anything else (a date, a table) is a stranger.

// wrongType says what was found and how the right thing is written.
func wrongType(raw any, example string) string {
	found := "a value of another kind"
	switch raw.(type) {
	case string:
		found = "a text"
	case int64, float64:
		found = "a number"
	case bool:
		found = "true or false"
	case []any:
		found = "a list"
	case map[string]any:
		found = "a section"
	}
	return "is " + found + "; write it like " + example
}

func asText(raw any) (string, string) {
	switch v := raw.(type) {
	case string:
		return v, ""
	case int64, float64, bool:
		return "", fmt.Sprintf("is not in quotes; write it as %q", fmt.Sprint(v))
	default:
		return "", wrongType(raw, `"text"`)
	}
}

func asInteger(raw any) (int, string) {
	v, ok := raw.(int64)
	if !ok || int64(int(v)) != v {
		if s, isText := raw.(string); isText {
			if _, err := strconv.Atoi(s); err == nil {
				return 0, "is a text; write it without quotes: " + s
			}
		}
		return 0, wrongType(raw, "9600")
	}
	return int(v), ""
}

func asNumber(raw any) (float64, string) {
	switch v := raw.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return 0, "is not a finite number"
		}
		return v, ""
	case int64:
		return float64(v), ""
	case string:
		if _, err := strconv.ParseFloat(v, 64); err == nil {
			return 0, "is a text; write it without quotes: " + v
		}
	}
	return 0, wrongType(raw, "2.5")
}

func asSwitch(raw any) (bool, string) {
	v, ok := raw.(bool)
	if !ok {
		if s, isText := raw.(string); isText && (s == "true" || s == "false") {
			return false, "is a text; write it without quotes: " + s
		}
		return false, wrongType(raw, "true")
	}
	return v, ""
}

func asDuration(raw any) (time.Duration, string) {
	switch v := raw.(type) {
	case string:
		d, err := time.ParseDuration(v)
		if err != nil {
			if _, bare := strconv.ParseFloat(v, 64); bare == nil {
				return 0, fmt.Sprintf("%q has no unit; write it like %q (ms, s, m or h)", v, v+"s")
			}
			return 0, fmt.Sprintf("%q is not a duration; write it like \"500ms\", \"30s\", \"5m\" or \"1h\"", v)
		}
		return d, ""
	case int64:
		if v == 0 {
			return 0, ""
		}
		return 0, fmt.Sprintf("is a number without a unit; write it like \"%ds\" (ms, s, m or h), in quotes", v)
	}
	return 0, wrongType(raw, `"30s"`)
}

// units of sizes; the longest suffix first, so that "B" does not take the end of "MiB".
var units = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

func asSize(raw any) (int64, string) {
	switch v := raw.(type) {
	case int64:
		if v < 0 {
			return 0, fmt.Sprintf("%d is below zero", v)
		}
		return v, ""
	case string:
		n, ok := parseSize(v)
		if !ok {
			return 0, fmt.Sprintf("%q is not a size; write it like \"512MiB\" or \"2GiB\" (B, kB, KiB, MB, MiB, GB, GiB)", v)
		}
		return n, ""
	}
	return 0, wrongType(raw, `"512MiB"`)
}

// parseSize reads a number and a unit, "512MiB" or "1.5 GB", as a number of bytes.
func parseSize(s string) (int64, bool) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		digits = strings.TrimSpace(digits)
		if strings.Trim(digits, "0123456789.") != "" {
			return 0, false // signs, exponents, inf and hex are no way to write a size
		}
		v, err := strconv.ParseFloat(digits, 64)
		// 2^53: above it a float64 does not hold every byte, and no disk of a vehicle is that large.
		if err != nil || v*u.bytes > 1<<53 {
			return 0, false
		}
		return int64(v * u.bytes), true
	}
	return 0, false
}

func asList(raw any) ([]string, string) {
	v, ok := raw.([]any)
	if !ok {
		return nil, wrongType(raw, `["one", "two"]`)
	}
	list := make([]string, len(v))
	for i := range v {
		s, problem := asText(v[i])
		if problem != "" {
			return nil, fmt.Sprintf("element %d %s", i+1, problem)
		}
		list[i] = s
	}
	return list, ""
}

// fromText turns the text of a variable into the TOML value that a key of this kind takes.
func (k kind) fromText(s string) (any, string) {
	switch k {
	case kindInteger:
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, fmt.Sprintf("%q is not a whole number; write it like 9600", s)
		}
		return v, ""
	case kindNumber:
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, fmt.Sprintf("%q is not a number; write it like 2.5", s)
		}
		return v, ""
	case kindSwitch:
		switch s {
		case "true", "1":
			return true, ""
		case "false", "0":
			return false, ""
		}
		return nil, fmt.Sprintf("%q is neither true nor false", s)
	case kindSize:
		if v, err := strconv.ParseInt(s, 10, 64); err == nil {
			return v, ""
		}
		return s, ""
	case kindList:
		return listFromText(s)
	default:
		return s, ""
	}
}

// listFromText reads a list as the environment has it: with commas, or as a TOML array. A comma within an NMEA sentence is
// part of it: where the text starts with a $, elements begin at ",$" only.
func listFromText(s string) (any, string) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "[") {
		var doc struct{ List []any }
		if err := toml.Unmarshal([]byte("List = "+s), &doc); err != nil {
			return nil, fmt.Sprintf("%q is not a TOML array; write it like [\"one\", \"two\"] or one,two", s)
		}
		return doc.List, ""
	}
	list := []any{}
	if s == "" {
		return list, ""
	}
	if strings.HasPrefix(s, "$") {
		for i, part := range strings.Split(s, ",$") {
			if i > 0 {
				part = "$" + part
			}
			list = append(list, part)
		}
		return list, ""
	}
	for part := range strings.SplitSeq(s, ",") {
		list = append(list, strings.TrimSpace(part))
	}
	return list, ""
}

// formatValue writes a value as TOML.
func formatValue(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case time.Duration:
		return `"` + formatDuration(v) + `"`
	case int64:
		return formatSize(v)
	case float64:
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	case []string:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = quote(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// formatDuration writes what people write: 60s rather than 1m0s, 5m rather than 5m0s.
func formatDuration(d time.Duration) string {
	if d >= 0 && d <= 2*time.Minute && d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// formatSize writes bytes in the largest unit that loses nothing.
func formatSize(n int64) string {
	if n == 0 {
		return "0"
	}
	for _, u := range []struct {
		suffix string
		shift  uint
	}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n%(1<<u.shift) == 0 {
			return fmt.Sprintf(`"%d%s"`, n>>u.shift, u.suffix)
		}
	}
	return strconv.FormatInt(n, 10)
}
