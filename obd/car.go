package obd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
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
	// Custom are signals of the user's own, asked for beside those of Period.
	Custom []Custom
	// Now is the monotonic clock that stamps samples; default: time since New.
	Now func() time.Duration
	// Claim, if set, is asked before a serial device is opened, so that two users of one process keep off each other's ports.
	// release is called when the port is closed. An error is the reason why the port is not to be touched.
	Claim func(device string) (release func(), err error)
	// Candidates lists the serial ports that auto looks at; default: the ports of the system.
	Candidates func() ([]string, error)
	// Dial, if set, opens the way to the adapter instead of Port, which is then only its name: for transports that this
	// package does not know, and for tests.
	Dial func(context.Context) (Conn, error)
	// Memory is a file in which line speeds, the port that auto took and the protocol of each pair of adapter and car (by its VIN) are kept
	// over restarts, to be tried first, with what the pair has proved able to do, and how often the parked car was asked. "": they are kept as long
	// as the Car. One file is one Car's.
	Memory string
	// Capture, if set, sees every piece that is read (rx) or written (tx). It must not block, and not keep data.
	Capture func(direction string, data []byte)
	// Pulse, if set, is told of progress, from the goroutine of Run: it will be called again within that time (0: when Memory's disk has
	// answered, which has no bound), unless something that Run does hangs which has a bound of its own. It must not block.
	Pulse func(within time.Duration)
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
	// Trouble gets the trouble codes once after connecting, and when they have changed.
	Trouble func(Trouble)
}

// Status is a snapshot of a Car for people and metrics.
type Status struct {
	State   State
	Since   time.Duration // on the clock of Options.Now
	Reason  string        // for a person
	Cause   string        // the Reason code of the error behind State, or, while a new try is under way, of the last one; "" while live
	Port    string        // as opened; as configured while closed
	Baud    int           // 0 where it means nothing or is not known yet
	Vehicle Vehicle
	Voltage float64  // at the adapter, V; NaN if unknown
	Trouble *Trouble // as last told; nil while the car does not answer, or does not tell; not to be changed

	SpeedHz  float64           // speed answers a second, over the last ten seconds
	AskedHz  float64           // speed requests a second that the schedule aims at; 0 while not live
	Rates    []Rate            // of each signal that is asked, speed first; nil while not live
	Requests uint64            // put to the car's bus
	Answers  uint64            // good ones
	Failures map[string]uint64 // by Reason of the error
	Opens    uint64            // successful openings of the port
}

// defaultMaxRate is the cap on requests a second: polling at more has lit warning lamps and set off alarms in some
// cars (PowerBroker2/ELMduino#286, fr3ts0n/AndrOBD#211, meatpiHQ/wican-fw#506).
const defaultMaxRate = 20

// speedWindow is the time over which Status.SpeedHz is averaged.
const speedWindow = 10 * time.Second

// A Car is an adapter and the car behind it. Make one with New.
type Car struct {
	opt    Options // complete, immutable
	speed  Signal  // immutable
	others []Signal

	// The following belong to Run's goroutine.
	handler  Handler
	known    string // the port that was an ELM327 before; "" if none was
	mute     bool   // the port opens, but nobody answers: that is said once
	lastBaud int    // that worked before, or 0
	learned  protocol
	memory   memory
	unsaved  bool          // the file lacks news of it
	parking  *parkPolicy   // of the parking that goes on, over a reopened port; nil after a drive
	asked    time.Duration // when the last request was put to the bus

	mu      sync.Mutex // guards all that follows
	running bool
	status  Status
	answers []time.Duration // of speed answers within speedWindow, oldest first
	meters  []meter         // of the signals asked, speed first; none while not live
	moved   bool            // Wake was called
	rouse   func()          // interrupts a parked wait; nil while there is none
}

// New checks the options without opening anything. Its errors name the option, what is wrong with it, and what would do.
func New(opt Options) (*Car, error) {
	if opt.Dial == nil {
		if err := checkPort(opt.Port); err != nil {
			return nil, fmt.Errorf("obd: %w", err)
		}
	}
	if opt.Baud < 0 {
		return nil, fmt.Errorf("obd: baud %d: want a line speed such as 38400, or 0 to have it probed", opt.Baud)
	}
	switch {
	case opt.MaxRate == 0:
		opt.MaxRate = defaultMaxRate
	case !(opt.MaxRate > 0.1 && opt.MaxRate <= 10000):
		return nil, fmt.Errorf("obd: maximum rate %g: want requests a second, above 0.1", opt.MaxRate)
	}
	table := Signals()
	c := &Car{speed: table[0]}
	for _, name := range slices.Sorted(maps.Keys(opt.Period)) {
		period := opt.Period[name]
		sig, ok := signalByName(table, name)
		switch {
		case !ok:
			var names []string
			for _, s := range table[1:] {
				names = append(names, s.Name)
			}
			return nil, fmt.Errorf("obd: period of %q: there is no such signal; known are %s", name, strings.Join(names, ", "))
		case name == SignalSpeed:
			return nil, errors.New("obd: period of speed: speed is always asked, at the rate that is left; leave it out")
		case period < 0:
			return nil, fmt.Errorf("obd: period of %s is %v: want a positive one, or 0 for not asked", name, period)
		case period > 0:
			c.others = append(c.others, sig)
		}
	}
	opt.Period = maps.Clone(opt.Period)
	for _, custom := range opt.Custom {
		sig, err := custom.Signal()
		if err != nil {
			return nil, fmt.Errorf("obd: %w", err)
		}
		if _, taken := signalByName(table, sig.Name); taken {
			return nil, fmt.Errorf("obd: PID %s: there is a signal of that name; choose another", sig.Name)
		}
		table = append(table, sig)
		c.others = append(c.others, sig)
		if opt.Period == nil {
			opt.Period = map[string]time.Duration{}
		}
		opt.Period[sig.Name] = custom.Period
	}
	if opt.Now == nil {
		start := time.Now()
		opt.Now = func() time.Duration { return time.Since(start) }
	}
	if opt.Candidates == nil {
		opt.Candidates = Ports
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	c.opt = opt
	c.recall()
	c.status = Status{State: StateClosed, Since: opt.Now(), Reason: "not started", Port: opt.Port, Voltage: math.NaN(), Failures: map[string]uint64{}}
	return c, nil
}

// Status may be called from any goroutine.
func (c *Car) Status() Status {
	now := c.opt.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.status
	st.Failures = maps.Clone(st.Failures)
	st.Rates = c.rates(now)
	c.forget(now)
	if n := len(c.answers); n > 0 {
		// A session younger than the window is not judged by the time before it.
		span := min(speedWindow, max(now-st.Since, time.Second))
		st.SpeedHz = float64(n) / span.Seconds()
	}
	return st
}

// Wake tells that the vehicle moves, as a GPS sees it: a parked car is then looked for. Calls while not parked
// are forgotten, and repeated ones are spaced, so it may be called at each fix. It may be called from any goroutine.
func (c *Car) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rouse != nil {
		c.moved = true
		c.rouse()
	}
}

// forget drops the answers that are older than the window. The caller holds mu.
func (c *Car) forget(now time.Duration) {
	i := 0
	for i < len(c.answers) && c.answers[i] <= now-speedWindow {
		i++
	}
	c.answers = slices.Delete(c.answers, 0, i)
}

// update changes the status under the lock.
func (c *Car) update(change func(*Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.status)
}

// ended counts a failure that ends a state.
func (c *Car) ended(err error) {
	c.failed(err)
	c.update(func(st *Status) { st.Cause = Reason(err) })
}

// failed counts a failure.
func (c *Car) failed(err error) {
	c.update(func(st *Status) { st.Failures[Reason(err)]++ })
}

// setState takes a step and tells the handler if it is one. The reason is kept in any case.
func (c *Car) setState(to State, reason string) {
	var from State
	c.update(func(st *Status) {
		from = st.State
		st.State, st.Reason = to, reason
		if to == StateLive || to == StateClosed {
			st.Cause = ""
		}
		if from != to {
			st.Since = c.opt.Now()
		}
	})
	if from == to {
		return
	}
	if to != StateLive {
		c.mu.Lock()
		c.answers, c.meters = nil, nil
		c.status.AskedHz = 0
		c.status.Trouble = nil
		c.mu.Unlock()
	}
	if c.handler.State != nil {
		c.handler.State(StateChange{From: from, To: to, Reason: reason})
	}
}

// deliver hands a sample out and counts it.
func (c *Car) deliver(sample Sample) {
	c.mu.Lock()
	switch {
	case sample.Err != nil:
		c.status.Failures[Reason(sample.Err)]++
	default:
		c.status.Answers++
		if m := c.meter(sample.Signal); m != nil {
			m.good(sample.Mono)
		}
		if sample.Signal == SignalSpeed {
			c.forget(sample.Mono)
			c.answers = append(c.answers, sample.Mono)
		}
	}
	c.mu.Unlock()
	if c.handler.Sample != nil {
		c.handler.Sample(sample)
	}
}
