package obd

import (
	"fmt"
	"math"

	"github.com/rzetterberg/elmobd"
)

// SignalSpeed is the name of the signal that is always asked.
const SignalSpeed = "speed"

// A Signal is something the car can be asked for: its name, unit and range, and how it is asked.
type Signal struct {
	Name  string
	Unit  string  // "" for a ratio
	Min   float64 // a value outside of Min and Max is refused as implausible
	Max   float64
	Mode  byte   // the service of SAE J1979: 01, current data
	PID   byte   // parameter of the service
	Bytes int    // length of the answer's data
	Note  string // where the formula and the range come from

	decimals int // digits that the PID's resolution justifies; takes the noise of elmobd's float32 off
	decode   func() (elmobd.OBDCommand, func() float64)
	// native decodes the data bytes where elmobd has no integer of their width; decode is nil then.
	native func(data []byte) (float64, error)
	did    []byte // what follows the service byte of the request, where that is not PID
}

// Signals is the table of all signals, speed first. The formulas are those of SAE J1979 (ISO 15031-5) appendix B.
// Ranges are what the PID can express, narrowed where physics is narrower; the Note says so.
func Signals() []Signal {
	return append([]Signal{
		{Name: SignalSpeed, Unit: "km/h", Min: 0, Max: 255, PID: 0x0D, Bytes: 1, Note: "A; J1979 PID 0D", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewVehicleSpeed()
			return c, func() float64 { return float64(c.Value) }
		}},
		{Name: "rpm", Unit: "1/min", Min: 0, Max: 12000, PID: 0x0C, Bytes: 2, decimals: 2, Note: "(256A+B)/4; J1979 PID 0C; range narrowed: no road engine turns faster, FFFF is not a speed", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewEngineRPM()
			return c, func() float64 { return float64(c.Value) }
		}},
		{Name: "load", Unit: "%", Min: 0, Max: 100, PID: 0x04, Bytes: 1, decimals: 2, Note: "100A/255; J1979 PID 04", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewEngineLoad()
			return c, func() float64 { return float64(c.Value) * 100 }
		}},
		{Name: "coolant", Unit: "°C", Min: -40, Max: 150, PID: 0x05, Bytes: 1, Note: "A-40; J1979 PID 05; range narrowed: beyond 150 a sensor is broken", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewCoolantTemperature()
			return c, func() float64 { return float64(c.Value) }
		}},
		{Name: "maf", Unit: "g/s", Min: 0, Max: 655.35, PID: 0x10, Bytes: 2, decimals: 2, Note: "(256A+B)/100; J1979 PID 10", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewMafAirFlowRate()
			return c, func() float64 { return float64(c.Value) }
		}},
		{Name: "map", Unit: "kPa", Min: 0, Max: 255, PID: 0x0B, Bytes: 1, Note: "A, absolute; J1979 PID 0B", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewIntakeManifoldPressure()
			return c, func() float64 { return float64(c.Value) }
		}},
		{Name: "iat", Unit: "°C", Min: -40, Max: 150, PID: 0x0F, Bytes: 1, Note: "A-40; J1979 PID 0F; range narrowed as for coolant", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewIntakeAirTemperature()
			return c, func() float64 { return float64(c.Value) }
		}},
		{Name: "lambda", Unit: "", Min: 0, Max: 2, PID: 0x44, Bytes: 2, decimals: 4, Note: "(256A+B)*2/65536, commanded equivalence ratio; J1979 PID 44", decode: func() (elmobd.OBDCommand, func() float64) {
			c := &command{mode: 1, pid: 0x44, width: 2, key: "lambda", of: times(2.0 / 65536)}
			return c, c.number
		}},
		{Name: "throttle", Unit: "%", Min: 0, Max: 100, PID: 0x11, Bytes: 1, decimals: 2, Note: "100A/255; J1979 PID 11", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewThrottlePosition()
			return c, func() float64 { return float64(c.Value) * 100 }
		}},
		{Name: "fuel_rate", Unit: "L/h", Min: 0, Max: 3276.75, PID: 0x5E, Bytes: 2, decimals: 2, Note: "(256A+B)/20; J1979 PID 5E", decode: func() (elmobd.OBDCommand, func() float64) {
			c := &command{mode: 1, pid: 0x5E, width: 2, key: "fuel_rate", of: times(0.05)}
			return c, c.number
		}},
		{Name: "fuel_level", Unit: "%", Min: 0, Max: 100, PID: 0x2F, Bytes: 1, decimals: 2, Note: "100A/255; J1979 PID 2F", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewFuel()
			return c, func() float64 { return float64(c.Value) * 100 }
		}},
		{Name: "voltage", Unit: "V", Min: 0, Max: 36, PID: 0x42, Bytes: 2, decimals: 3, Note: "(256A+B)/1000, at the control module; J1979 PID 42; range narrowed: a 24 V system charges below 36", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewControlModuleVoltage()
			return c, func() float64 { return float64(c.Value) }
		}},
	}, furtherSignals()...)
}

// signalByName finds a signal in a table.
func signalByName(table []Signal, name string) (Signal, bool) {
	for _, s := range table {
		if s.Name == name {
			return s, true
		}
	}
	return Signal{}, false
}

// Service is the service byte of the request; the tables leave 01 out.
func (s *Signal) service() byte {
	if s.Mode == 0 {
		return 1
	}
	return s.Mode
}

// request is what is sent to the adapter, without the CR.
func (s *Signal) request() string { return fmt.Sprintf("%02X%X", s.service(), s.echo()) }

// echo is what follows the service byte of the answer.
func (s *Signal) echo() []byte {
	if s.did != nil {
		return s.did
	}
	return []byte{s.PID}
}

// Decode turns one complete answer, from its service byte (such as 41 0D 32), into the value.
//
// Errors: ErrMismatch for another service or PID, ErrMalformed for a wrong length, ErrImplausible for a value out of range.
func (s Signal) Decode(answer []byte) (float64, error) {
	// A new one each time: elmobd's commands hold their value, and one shared by two goroutines would race.
	var r reader
	return s.read(&r, answer)
}

// A reader is elmobd's command for a signal, and room for the bytes as the text that it takes. The zero reader becomes that of the signal
// that reads with it first. It is used by one goroutine.
type reader struct {
	cmd   elmobd.OBDCommand
	value func() float64
	text  []byte
}

// read is Decode with a reader that is kept.
func (s *Signal) read(r *reader, answer []byte) (float64, error) {
	echo := s.echo()
	if !answers(answer, s.service(), echo) {
		return math.NaN(), fmt.Errorf("%s: answer % X to request %s: %w", s.Name, answer, s.request(), ErrMismatch)
	}
	data := answer[1+len(echo):]
	if len(data) != s.Bytes {
		return math.NaN(), fmt.Errorf("%s: %d data bytes instead of %d: %w", s.Name, len(data), s.Bytes, ErrMalformed)
	}
	if s.native != nil {
		v, err := s.native(data)
		if err != nil {
			return math.NaN(), fmt.Errorf("%s: %w", s.Name, err)
		}
		return s.plausible(v)
	}
	// elmobd wants two-digit hex with one space between; its own checks run again on what the gate has passed.
	r.text = r.text[:0]
	for _, b := range answer {
		r.text = append(r.text, hexDigits[b>>4], hexDigits[b&15], ' ')
	}
	result, err := elmobd.NewResult(string(r.text[:len(r.text)-1]))
	if err != nil {
		return math.NaN(), fmt.Errorf("%s: %w: %w", s.Name, ErrMalformed, err)
	}
	if r.cmd == nil {
		r.cmd, r.value = s.decode()
	}
	if err := result.Validate(r.cmd); err != nil {
		return math.NaN(), fmt.Errorf("%s: %w: %w", s.Name, ErrMalformed, err)
	}
	if err := r.cmd.SetValue(result); err != nil {
		return math.NaN(), fmt.Errorf("%s: %w: %w", s.Name, ErrMalformed, err)
	}
	unit := math.Pow10(s.decimals)
	return s.plausible(math.Round(r.value()*unit) / unit)
}

const hexDigits = "0123456789ABCDEF"

// plausible is the last gate. A value that is not a number does not pass.
func (s *Signal) plausible(v float64) (float64, error) {
	if !(v >= s.Min && v <= s.Max) {
		return math.NaN(), fmt.Errorf("%s: %g %s lies outside of %g to %g: %w", s.Name, v, s.Unit, s.Min, s.Max, ErrImplausible)
	}
	return v, nil
}
