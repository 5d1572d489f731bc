package obd

import (
	"fmt"

	"github.com/rzetterberg/elmobd"
)

// command is an elmobd.OBDCommand for a PID that elmobd lacks: the big-endian unsigned value of the first take bytes,
// times scale, plus offset.
type command struct {
	mode, pid byte
	width     byte
	key       string
	scale     float64
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
	raw, err := r.PayloadAsUInt16()
	if err != nil {
		return fmt.Errorf("decode %s: %w", c.key, err)
	}
	c.value = float64(raw) * c.scale
	return nil
}

// ValueAsLit is the value as text.
func (c *command) ValueAsLit() string { return fmt.Sprintf("%g", c.value) }

// ToCommand is the request without the count of expected lines.
func (c *command) ToCommand() string { return fmt.Sprintf("%02X%02X", c.mode, c.pid) }

func (c *command) number() float64 { return c.value }
