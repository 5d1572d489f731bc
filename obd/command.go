package obd

import (
	"fmt"

	"github.com/rzetterberg/elmobd"
)

// command is an elmobd.OBDCommand for a PID that elmobd lacks. of makes the value of the data bytes as a big-endian number.
type command struct {
	mode, pid byte
	width     byte // 1, 2 or 4: what elmobd has integers for
	key       string
	of        func(raw uint32) float64
	value     float64
}

var _ elmobd.OBDCommand = (*command)(nil)

// ModeID is the service, such as 01.
func (c *command) ModeID() byte { return c.mode }

// ParameterID is the PID.
func (c *command) ParameterID() elmobd.OBDParameterID { return elmobd.OBDParameterID(c.pid) }

// DataWidth is the number of bytes after the PID in the answer.
func (c *command) DataWidth() byte { return c.width }

// Key is the signal's name.
func (c *command) Key() string { return c.key }

// SetValue decodes an answer that Validate has accepted.
func (c *command) SetValue(r *elmobd.Result) error {
	var raw uint32
	var err error
	switch c.width {
	case 1:
		var b byte
		b, err = r.PayloadAsByte()
		raw = uint32(b)
	case 2:
		var w uint16
		w, err = r.PayloadAsUInt16()
		raw = uint32(w)
	default:
		raw, err = r.PayloadAsUInt32()
	}
	if err != nil {
		return fmt.Errorf("decode %s: %w", c.key, err)
	}
	c.value = c.of(raw)
	return nil
}

// ValueAsLit is the value as text.
func (c *command) ValueAsLit() string { return fmt.Sprintf("%g", c.value) }

// ToCommand is the request without the count of expected lines.
func (c *command) ToCommand() string { return fmt.Sprintf("%02X%02X", c.mode, c.pid) }

func (c *command) number() float64 { return c.value }
