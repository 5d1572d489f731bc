package obd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
)

// Why there is no value. The adapter's own words are those of the ELM327 data sheet (DSJ), "Error Messages and Alerts".
var (
	// ErrNoData is the adapter's NO DATA: nobody answered in time. The usual reply for a PID that the car does not know.
	ErrNoData = errors.New("no answer from the car (NO DATA)")
	// ErrUnableToConnect is UNABLE TO CONNECT: no protocol found anybody. Ignition off, or a car without OBD.
	ErrUnableToConnect = errors.New("the adapter found no car (UNABLE TO CONNECT)")
	// ErrBusInit is BUS INIT: ERROR: a K-line car did not wake up.
	ErrBusInit = errors.New("the car did not wake up (BUS INIT: ERROR)")
	// ErrCAN is CAN ERROR: nobody acknowledges on the CAN bus. Ignition off, wrong protocol or wiring.
	ErrCAN = errors.New("the CAN bus does not respond (CAN ERROR)")
	// ErrBus is BUS ERROR, BUS BUSY or FB ERROR: the bus is stuck or noisy.
	ErrBus = errors.New("the car's bus is stuck or noisy (BUS ERROR, BUS BUSY, FB ERROR)")
	// ErrData is DATA ERROR or RX ERROR: something arrived with a wrong checksum or format.
	ErrData = errors.New("the answer arrived damaged (DATA ERROR, RX ERROR)")
	// ErrAdapter is ERRnn: a fault inside the adapter; its settings are lost.
	ErrAdapter = errors.New("fault inside the adapter (ERRnn)")
	// ErrBufferFull is BUFFER FULL: the adapter could not send as fast as it received; the answer is cut.
	ErrBufferFull = errors.New("the adapter's buffer ran over (BUFFER FULL)")
	// ErrStopped is STOPPED: the adapter was interrupted by a byte while it waited for the car.
	ErrStopped = errors.New("the adapter was interrupted (STOPPED)")
	// ErrLVReset is LV RESET: the adapter's supply dipped, as in cranking; its settings are lost.
	ErrLVReset = errors.New("the adapter's supply dipped and it restarted (LV RESET)")
	// ErrRestarted means that the adapter has gone to sleep (LP ALERT), or tells its name unasked, as after a restart: its settings are lost.
	ErrRestarted = errors.New("the adapter was asleep or has restarted")
	// ErrUnknownCommand is "?": the adapter does not know the command.
	ErrUnknownCommand = errors.New("the adapter does not know the command (?)")
	// ErrNegative is matched by every NegativeResponse.
	ErrNegative = errors.New("the car refused the request")
	// ErrTimeout means that no prompt came within the deadline of the command.
	ErrTimeout = errors.New("the adapter did not finish its reply in time")
	// ErrPortGone means that the port was closed from the other side: unplugged, radio off, connection lost.
	ErrPortGone = errors.New("the port is gone")
	// ErrPortBusy means that another program, or another part of this one, uses the port.
	ErrPortBusy = errors.New("the port is in use by another program")
	// ErrNoPort means that auto found no serial port at all.
	ErrNoPort = errors.New("there is no serial port")
	// ErrNotFound means that auto found several ports and an adapter on none of them.
	ErrNotFound = errors.New("no adapter found")
	// ErrSeveral means that auto found adapters on several ports.
	ErrSeveral = errors.New("several adapters answer")
	// ErrNotAPort means that the name leads to something that is not a serial port.
	ErrNotAPort = errors.New("not a serial port")
	// ErrMalformed means that a reply is not what the protocol allows: cut, wrong length, wrong checksum, not hex.
	ErrMalformed = errors.New("the reply is malformed")
	// ErrMismatch means that a well-formed reply answers another question than the one asked.
	ErrMismatch = errors.New("the reply answers another question")
	// ErrImplausible means that the value lies outside of the signal's range.
	ErrImplausible = errors.New("the value is out of range")
	// ErrLate means that a right answer came so long after its question that nobody can say when it was true.
	ErrLate = errors.New("the answer came too late to be dated")
	// ErrUnsupported means that the car says, or has shown, that it does not have the signal; it is not asked again on
	// this connection.
	ErrUnsupported = errors.New("the car does not support this signal")
	// ErrNotELM327 means that what is on the port does not answer as an ELM327.
	ErrNotELM327 = errors.New("no ELM327 answers")
	// ErrTalksUnasked means that the port sends without being asked, as a GPS does; it is never written to.
	ErrTalksUnasked = errors.New("the device talks without being asked, so it is not an ELM327")
)

// A NegativeResponse is the car's refusal: 7F, the service asked for, and a code of ISO 14229-1 table A.1 (11 service not
// supported, 12 sub-function not supported, 22 conditions not correct, 31 out of range, 78 answer pending).
// It matches ErrNegative.
type NegativeResponse struct {
	Service byte
	Code    byte
}

// Error names service and code.
func (e *NegativeResponse) Error() string {
	return fmt.Sprintf("the car refused service %02X with code %02X", e.Service, e.Code)
}

// Is makes every NegativeResponse match ErrNegative.
func (e *NegativeResponse) Is(target error) bool { return target == ErrNegative }

// reasons pairs errors with their short codes. The first match wins, so the more telling ones come first.
var reasons = []struct {
	err  error
	code string
}{
	{ErrUnsupported, "unsupported"},
	{ErrNegative, "negative_response"},
	{ErrUnableToConnect, "unable_to_connect"},
	{ErrBusInit, "bus_init"},
	{ErrCAN, "can_error"},
	{ErrBus, "bus_error"},
	{ErrData, "data_error"},
	{ErrAdapter, "adapter_error"},
	{ErrBufferFull, "buffer_full"},
	{ErrStopped, "stopped"},
	{ErrLVReset, "lv_reset"},
	{ErrRestarted, "restarted"},
	{ErrUnknownCommand, "unknown_command"},
	{ErrNoData, "no_data"},
	{ErrTimeout, "timeout"},
	{ErrPortGone, "port_gone"},
	{ErrPortBusy, "port_busy"},
	{ErrMismatch, "mismatch"},
	{ErrImplausible, "implausible"},
	{ErrLate, "late"},
	{ErrTalksUnasked, "talks_unasked"},
	{ErrNotELM327, "not_elm327"},
	{ErrMalformed, "malformed"},
	{ErrNoPort, "no_port"},
	{ErrNotFound, "not_found"},
	{ErrSeveral, "several"},
	{ErrNotAPort, "not_a_port"},
	{fs.ErrNotExist, "not_there"},
	{fs.ErrPermission, "no_permission"},
	{context.Canceled, "stopped_by_us"},
}

const (
	reasonNoConnection = "no_connection" // the network's error of a tcp:// port that does not open
	reasonOther        = "other"
)

// Reasons lists every code that Reason returns.
func Reasons() []string {
	var all []string
	for _, r := range reasons {
		all = append(all, r.code)
	}
	return append(all, reasonNoConnection, reasonOther)
}

// Reason is a short stable code for an error of this package, such as no_data: the key of Status.Failures and fit for
// metrics. It is "" for nil and "other" for an error of somebody else. Reasons lists all.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.code
		}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return reasonNoConnection
	}
	return reasonOther
}
