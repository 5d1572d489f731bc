package gps

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"
)

// Options says where a Receiver listens and to whom it reports. Only Source is needed.
type Options struct {
	// Source is a device path, gpsd://host[:port] (a gpsd's reports; its port is 2947), tcp://host:port (we connect),
	// udp://[host]:port (we listen), file:path (a recording, at its own pace, its dates moved to now), or auto (the one serial
	// port that speaks NMEA).
	Source string
	// Baud is the line speed of a serial port; 0 probes.
	Baud int
	// Init holds lines to write to the receiver after each opening, as written but for the line end. Nothing else is ever written.
	Init []string
	// Now is the monotonic clock that stamps fixes; default: time since New. It is called from several goroutines.
	Now func() time.Duration
	// Claim, if set, is asked before a serial device is opened, so that two users of one process keep off each other's ports.
	// The device's name is the resolved one, not that of a link to it. release is called when the port is closed. An error is
	// the reason why the port is not to be touched.
	Claim func(device string) (release func(), err error)
	// Memory is a file in which the line speeds that worked and the port that auto took are kept over restarts, to be tried
	// first; empty: they are forgotten. Its loss costs some seconds at the next start, so it is not synced, and what is wrong
	// with it only goes to Logger.
	Memory string
	// Candidates lists the serial ports that auto looks at; default: the ports of the
	// system, by the stable names that udev gives them where it does.
	Candidates func() ([]string, error)
	// Capture, if set, sees every piece that is read, with the direction rx. It must not block, and not keep data.
	Capture func(direction string, data []byte)
	// Pulse, if set, is told of progress, from the goroutine of Run: it will be called again within that time (0: without one, as a
	// recording has ended, or Memory's disk has to answer), unless something that Run does hangs which has a bound of its own. It must not block.
	Pulse func(within time.Duration)
	// Logger gets details for debugging; default: discarded. State changes go to Handler.State and are not logged.
	Logger *slog.Logger

	// OpenSerial opens a serial device; default: the device of that name, raw, 8N1. An error that is fs.ErrNotExist means
	// unplugged. For tests and for ports that are no devices.
	OpenSerial func(device string, baud int) (SerialPort, error)
	// Dial connects to tcp:// and gpsd://; default: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Listen listens for udp://; default: net.ListenConfig, or a multicast group where the host is one.
	Listen func(ctx context.Context, network, address string) (net.PacketConn, error)
}

// A SerialPort is an open serial device. Read may return 0 bytes and no error when nothing came for a while; any error means
// that the device is gone. Close ends a Read.
type SerialPort interface {
	io.ReadWriteCloser
	// SetSpeed changes the line speed and drops what was received at the old one.
	SetSpeed(baud int) error
}

// State is what the receiver is doing.
type State string

// The states. Absent to Silent: nothing usable arrives. NoFix and Fixed: epochs arrive.
const (
	StateClosed  State = "closed"  // not running
	StateAbsent  State = "absent"  // the source cannot be opened: not there, in use, refused
	StateProbing State = "probing" // open, nothing understood yet; looking for the line speed or the port
	StateSilent  State = "silent"  // open, but no valid sentence for a while
	StateNoFix   State = "no_fix"  // epochs arrive, without a position
	StateFix     State = "fix"     // epochs arrive with a position
	StateEnded   State = "ended"   // a file has been played to its end
)

// A StateChange is one step of the receiver's life.
type StateChange struct {
	From, To State
	Reason   string // for a person: what happened, where, what to do
}

// Handler gets what a Receiver finds. Its functions are called from Run's goroutine, one at a time, and must not block;
// nil functions are skipped.
type Handler struct {
	Fix   func(Fix)
	State func(StateChange)
}

// Status is a snapshot of a Receiver for people and metrics.
type Status struct {
	State   State
	Since   time.Duration // on the clock of Options.Now
	Reason  string        // for a person
	Cause   Cause         // the same as a code; empty where there is a fix, and while it is being looked for
	Source  string        // as configured
	Port    string        // as opened; empty while closed
	Baud    int           // 0 where it means nothing
	LastFix Fix           // the last epoch, with or without position; its Mono is 0 before the first

	Epochs      uint64 // epochs reported
	Fixes       uint64 // of these with a position
	Sentences   uint64 // with a good checksum
	BadChecksum uint64 // lines with a wrong or missing checksum
	BadSentence uint64 // good checksum, but a value out of range or malformed
	NoiseBytes  uint64 // bytes outside of sentences
	Binary      string // the binary protocol met among them, for a person; empty: none for sure
	Opens       uint64 // successful openings of the source
}
