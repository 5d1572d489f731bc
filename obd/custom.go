package obd

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"time"
)

// A Custom is a signal that the user describes. Its samples carry its Name.
type Custom struct {
	Name    string        // [a-z][a-z0-9_]{0,31}, none of Signals
	Request string        // service and PID in hex: 01A6, or 22 and four digits; only services that read
	Bytes   int           // data bytes of the answer after service and PID, 1 to 64
	Formula string        // see ParseFormula
	Unit    string        //
	Min     float64       // a value outside of Min and Max is refused as implausible
	Max     float64       //
	Period  time.Duration // how often it is asked
}

var (
	customName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	// Service 01 is SAE J1979's current data, 22 ISO 14229's read data by identifier. Any other may change the car.
	customRequest = regexp.MustCompile(`^(01[0-9A-Fa-f]{2}|22[0-9A-Fa-f]{4})$`)
)

// Signal checks the description and makes a signal of it. Its errors say what is wrong and what would do.
func (c Custom) Signal() (Signal, error) {
	switch {
	case !customName.MatchString(c.Name):
		return Signal{}, fmt.Errorf("PID %q: want a name of small letters, digits and _", c.Name)
	case !customRequest.MatchString(c.Request):
		return Signal{}, fmt.Errorf("PID %s: request %q: want 01 and two hex digits, or 22 and four", c.Name, c.Request)
	case c.Bytes < 1 || c.Bytes > 64:
		return Signal{}, fmt.Errorf("PID %s: %d bytes: want 1 to 64", c.Name, c.Bytes)
	case !(c.Min < c.Max):
		return Signal{}, fmt.Errorf("PID %s: minimum %g is not below maximum %g", c.Name, c.Min, c.Max)
	case c.Period <= 0:
		return Signal{}, fmt.Errorf("PID %s: period %v: want a positive one", c.Name, c.Period)
	}
	f, err := ParseFormula(c.Formula, c.Bytes)
	if err != nil {
		return Signal{}, fmt.Errorf("PID %s: %w", c.Name, err)
	}
	raw, err := hex.DecodeString(c.Request)
	if err != nil { // the pattern has only let hex pass
		return Signal{}, fmt.Errorf("PID %s: %w", c.Name, err)
	}
	return Signal{Name: c.Name, Unit: c.Unit, Min: c.Min, Max: c.Max, Mode: raw[0], PID: raw[1], did: raw[1:], Bytes: c.Bytes, Note: c.Formula,
		native: func(data []byte) (float64, error) { return f.Of(data), nil }}, nil
}
