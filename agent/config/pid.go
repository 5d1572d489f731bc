package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"obdagent/obd"
)

// A PID is one [[obd.pid]]: a parameter of the car that the user describes.
type PID struct {
	Name    string        // name of the record's field: [a-z][a-z0-9_]{0,31}
	Request string        // mode and PID in hex: 01A6, or 22 and a four-digit data identifier
	Bytes   int           // data bytes of the answer after mode and PID; 1..64
	Formula string        // of the data bytes A, B, C, ...
	Unit    string        //
	Min     float64       // an answer outside of Min..Max is not believed
	Max     float64       //
	Period  time.Duration // how often it is asked; 100 ms..24 h

	origin Origin
}

// maxPIDs is how many a file may have: each second of a slow bus (ISO 9141-2) has time for some eight requests, so that more
// than this could not be asked in the ten seconds that are the default.
const maxPIDs = 64

// defaultPID is what a PID is without its keys. Name, Request, Bytes, Formula and Max have no default.
var defaultPID = PID{Period: 10 * time.Second}

// A pidKey is a key of [[obd.pid]].
type pidKey struct {
	name string
	set  func(p *PID, raw any) (problem string)
}

func newPIDKey[T any](name string, as func(any) (T, string), field func(*PID) *T, check func(T) string) pidKey {
	return pidKey{name, func(p *PID, raw any) string {
		v, problem := as(raw)
		if problem == "" && check != nil {
			problem = check(v)
		}
		if problem == "" {
			*field(p) = v
		}
		return problem
	}}
}

var pidKeys = []pidKey{
	newPIDKey("name", asText, func(p *PID) *string { return &p.Name }, checkPIDName),
	newPIDKey("request", asText, func(p *PID) *string { return &p.Request }, checkPIDRequest),
	newPIDKey("bytes", asInteger, func(p *PID) *int { return &p.Bytes }, checkPIDBytes),
	newPIDKey("formula", asText, func(p *PID) *string { return &p.Formula }, checkPIDFormula),
	newPIDKey("unit", asText, func(p *PID) *string { return &p.Unit }, nil),
	newPIDKey("min", asNumber, func(p *PID) *float64 { return &p.Min }, nil),
	newPIDKey("max", asNumber, func(p *PID) *float64 { return &p.Max }, nil),
	newPIDKey("period", asDuration, func(p *PID) *time.Duration { return &p.Period }, between(100*time.Millisecond, 24*time.Hour)),
}

func findPIDKey(name string) *pidKey {
	for i := range pidKeys {
		if pidKeys[i].name == name {
			return &pidKeys[i]
		}
	}
	return nil
}

func unknownPIDKey(name string) string {
	names := make([]string, len(pidKeys))
	for i := range pidKeys {
		names[i] = pidKeys[i].name
	}
	if near := nearest(name, names); near != "" {
		return "unknown key; did you mean " + near + "?"
	}
	return "unknown key; the keys are " + strings.Join(names, ", ")
}

var (
	pidName    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	pidRequest = regexp.MustCompile(`^(01[0-9A-Fa-f]{2}|22[0-9A-Fa-f]{4})$`)
	pidFormula = regexp.MustCompile(`^[A-Z0-9 .+*/()-]+$`)
)

func checkPIDName(s string) string {
	if !pidName.MatchString(s) {
		return fmt.Sprintf("%q is not a field name; write small letters, digits and _, at most 32", s)
	}
	if slices.Contains(recordFields, s) {
		return fmt.Sprintf("%q is a field that every record has; choose another name", s)
	}
	if slices.Contains(signals, s) {
		return fmt.Sprintf("%q is a value that this program knows by itself; give it a period in [obd.period], or choose another name", s)
	}
	return ""
}

func checkPIDRequest(s string) string {
	// Only modes that read: 01 (SAE J1979, current data) and 22 (ISO 14229, read data by identifier). Others can change the car.
	if !pidRequest.MatchString(s) {
		return fmt.Sprintf("%q is not a request that only reads; write mode 01 and two digits (\"01A6\"), or 22 and four (\"22F190\")", s)
	}
	return ""
}

func checkPIDBytes(n int) string {
	if n < 1 || n > 64 {
		return fmt.Sprintf("%d is out of range; write 1 to 64", n)
	}
	return ""
}

func checkPIDFormula(s string) string {
	if !pidFormula.MatchString(s) {
		return fmt.Sprintf("%q is not a formula; write it with the bytes A B C ..., numbers, + - * / and ( )", s)
	}
	return ""
}

// badFormula says why the formula cannot be reckoned with that many bytes.
func (p *PID) badFormula() string {
	if _, err := obd.ParseFormula(p.Formula, p.Bytes); err != nil {
		return "has a wrong " + err.Error()
	}
	return ""
}

// missing says what a PID lacks.
func (p *PID) missing() string {
	switch {
	case p.Name == "":
		return "has no name; add one, such as name = \"torque\""
	case p.Request == "":
		return "has no request; add mode and PID, such as request = \"01A6\""
	case p.Bytes == 0:
		return "does not say how many bytes the answer has; add one, such as bytes = 4"
	case p.Formula == "":
		return "has no formula; add one, such as formula = \"A*256+B\""
	case p.badFormula() != "":
		return p.badFormula()
	case p.Min >= p.Max:
		return fmt.Sprintf("has min %v, which is not below max %v; an answer outside of them is not believed", p.Min, p.Max)
	}
	return ""
}
