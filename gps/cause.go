package gps

import (
	"errors"
	"io/fs"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// Cause says why there is no fix, as a short stable code for metrics and for programs that branch; Reason says the same to
// a person.
type Cause string

// The causes, by the state that they stand with.
const (
	// Absent.
	CauseNoPort       Cause = "no_port"       // auto: there is no serial port at all
	CauseNotFound     Cause = "not_found"     // auto: none of the ports speaks NMEA
	CauseSeveral      Cause = "several"       // auto: more than one does
	CauseNotThere     Cause = "not_there"     // the device does not exist
	CauseGone         Cause = "gone"          // it was unplugged, or the connection ended
	CauseBusy         Cause = "busy"          // another program, or another part of this one, has it
	CausePermission   Cause = "no_permission" // it may not be opened
	CauseNotAPort     Cause = "not_a_port"    // it is no serial port
	CauseNoConnection Cause = "no_connection" // the host, or gpsd, does not answer, or the address cannot be listened on
	CauseFile         Cause = "file"          // the recording cannot be read
	CauseOther        Cause = "other"

	// Silent.
	CauseSilent  Cause = "silent"   // nothing comes
	CauseNotNMEA Cause = "not_nmea" // bytes come, and no sentence at any line speed
	CauseBinary  Cause = "binary"   // they are a binary protocol's

	// NoFix.
	CauseNoFix      Cause = "no_fix"      // the receiver says so
	CauseNoPosition Cause = "no_position" // it calls the fix valid and gives no position
	CauseZero       Cause = "zero"        // the position 0,0
	CauseSatellites Cause = "satellites"  // too few
	CauseDilution   Cause = "hdop"        // the satellites stand too badly
	CauseFrozen     Cause = "frozen"      // the position does not change while the speed says that it must
	CauseNoEpoch    Cause = "no_epoch"    // sentences come, but none that makes an epoch
)

// Causes lists all.
func Causes() []Cause {
	return []Cause{
		CauseNoPort, CauseNotFound, CauseSeveral, CauseNotThere, CauseGone, CauseBusy, CausePermission, CauseNotAPort, CauseNoConnection, CauseFile, CauseOther,
		CauseSilent, CauseNotNMEA, CauseBinary,
		CauseNoFix, CauseNoPosition, CauseZero, CauseSatellites, CauseDilution, CauseFrozen, CauseNoEpoch,
	}
}

// A causedError is an error whose cause is known where it is made.
type causedError struct {
	cause Cause
	error
}

func (e causedError) Unwrap() error { return e.error }

// causeOf returns the cause of a source that cannot be opened or read.
func causeOf(err error) Cause {
	if c, ok := errors.AsType[causedError](err); ok {
		return c.cause
	}
	if p, ok := errors.AsType[*serial.PortError](err); ok {
		switch p.Code() {
		case serial.PortBusy:
			return CauseBusy
		case serial.PermissionDenied:
			return CausePermission
		case serial.InvalidSerialPort:
			return CauseNotAPort
		case serial.PortNotFound:
			return CauseNotThere
		}
	}
	switch {
	case errors.Is(err, noPortError{}):
		return CauseNoPort
	case errors.Is(err, fs.ErrNotExist):
		return CauseNotThere
	case errors.Is(err, fs.ErrPermission):
		return CausePermission
	case errors.Is(err, unix.EBUSY):
		return CauseBusy
	case errors.Is(err, unix.EISDIR):
		return CauseNotAPort
	}
	return CauseOther
}
