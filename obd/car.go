package obd

import (
	"context"
	"log/slog"
	"time"
)

// Options says where the adapter is and what to ask. Only Port is needed.
type Options struct {
	// Port is a device path, tcp://host:port, or auto (the one serial port with an ELM327 behind it).
	Port string
	// Baud is the line speed of a serial port; 0 probes.
	Baud int
	// MaxRate is the most requests a second that are put to the car; default 20.
	MaxRate float64
	// Period says how often each signal besides speed is asked for, by its name (see Signals); speed is always asked, at the
	// rate that is left. Zero or absent: not asked.
	Period map[string]time.Duration
	// Now is the monotonic clock that stamps samples; default: time since New.
	Now func() time.Duration
	// Claim, if set, is asked before a serial device is opened, so that two users of one process keep off each other's ports.
	// release is called when the port is closed. An error is the reason why the port is not to be touched.
	Claim func(device string) (release func(), err error)
	// Candidates lists the serial ports that auto looks at; default: the ports of the system.
	Candidates func() ([]string, error)
	// Logger gets details for debugging; default: discarded. State changes go to Handler.State and are not logged.
	Logger *slog.Logger
}

// A Sample is one answer of the car, or the reason why there is none.
type Sample struct {
	Signal  string        // speed, rpm, coolant, ...: see Signals
	Value   float64       // in the unit of the Signal; NaN if Err is set
	Mono    time.Duration // midpoint of the exchange, on the clock of Options.Now
	Latency time.Duration // from the last byte of the request written to the first byte of the reply
	ECU     string        // the answering ECU's address as the header gave it, such as 7E8
	Err     error         // why there is no value; branch with errors.Is on the Err values of this package
}

// A Vehicle is what was learned of the car on connecting.
type Vehicle struct {
	VIN      string // 17 characters, checked; empty if the car does not tell
	Protocol string // in the adapter's words, such as ISO 15765-4 (CAN 11/500)
	ECU      string // the address that is listened to
	Adapter  string // what the adapter calls itself
}

// State is what the session is doing.
type State string

// The states of a Car.
const (
	StateClosed  State = "closed"  // not running
	StateAbsent  State = "absent"  // the port cannot be opened, or no ELM327 answers on it
	StateProbing State = "probing" // port open, looking for line speed, identity and features of the adapter
	StateSearch  State = "search"  // adapter ready, looking for the car
	StateLive    State = "live"    // the car answers
	StateParked  State = "parked"  // the car is off: its bus is left alone
)

// A StateChange is one step of the session's life.
type StateChange struct {
	From, To State
	Reason   string // for a person: what happened, where, what to do
}

// Handler gets what a Car finds. Its functions are called from Run's goroutine, one at a time, and must not block; nil
// functions are skipped.
type Handler struct {
	Sample  func(Sample)
	Vehicle func(Vehicle)
	State   func(StateChange)
}

// Status is a snapshot of a Car for people and metrics.
type Status struct {
	State   State
	Since   time.Duration // on the clock of Options.Now
	Reason  string
	Port    string // as opened; as configured while closed
	Baud    int
	Vehicle Vehicle
	Voltage float64 // at the adapter, V; NaN if unknown

	SpeedHz  float64           // speed answers a second, over the last ten seconds
	Requests uint64            // put to the car's bus
	Answers  uint64            // good ones
	Failures map[string]uint64 // by reason
	Opens    uint64            // successful openings of the port
}

// The methods of Car are implemented beside this file; this is their contract:
//
//	func New(Options) (*Car, error)                 // checks Port and Period without opening anything
//	func (*Car) Run(context.Context, Handler) error // until ctx is done, then nil
//	func (*Car) Status() Status                     // from any goroutine
var _ = context.Background
