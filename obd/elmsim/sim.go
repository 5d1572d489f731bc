package elmsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options describe the adapter and the car. The zero value is a genuine ELM327 on an idling car with 11-bit CAN.
type Options struct {
	// Vehicle is asked for the car's state at each request; default: Idling.
	Vehicle func() Vehicle
	// VIN that the engine's ECU tells; "" for none.
	VIN string
	// Protocol of the car; default: CAN11Bit500k.
	Protocol Protocol
	// ECUs on the bus; default: the engine's with EnginePIDs.
	ECUs []ECU
	// ECUDelay is the time from a request to its answer on the bus; 5 to 10 ms are usual on CAN.
	ECUDelay time.Duration
	// NoDataAfter is how long the adapter waits before NO DATA, and after an answer for another one if it was not told how many to expect;
	// default: 205 ms, that of ATST 32. ATST changes it. With adaptive timing (ATAT1, the default) it waits a quarter of that after
	// an answer, with ATAT2 an eighth: the data sheet gives no figures for this, so they are for comparison only.
	NoDataAfter time.Duration
	// Late is the delay of the fault LateAnswer; default: 3 s.
	Late time.Duration
	// BusInit is the pause of the faults BusInitPause and SearchPause; default: 400 ms. A 5-baud initialisation takes some 2.5 s, a
	// search up to half a minute.
	BusInit time.Duration
	// SleepAfter is the time without a byte from the other side after which the chip says ACT ALERT; a minute later it sleeps. 0: never.
	SleepAfter time.Duration
	// Personality of the adapter; default: Genuine.
	Personality Personality
	// Baud paces the adapter's bytes, ten bits each; 0: unpaced.
	Baud int
	// LineSpeed, if set, tells what speed the other side has set. If it differs from Baud, bytes are garbage both ways.
	LineSpeed func() int
	// QuietLines is pin 7 of the chip tied to ground: no line feeds after power-on (DSJ, "Pin Descriptions").
	QuietLines bool
	// IgnoreLF makes a line feed no interruption, as for some clones; a genuine chip stops what it does at any byte (DSJ p. 9).
	IgnoreLF bool
	// Padding fills CAN frames to eight bytes with PadByte; 00, 55 and AA are met.
	Padding bool
	PadByte byte
	// CutAt is how many bytes of a reply the fault Truncate leaves; 0: drawn by lot; negative: none.
	CutAt int
	// Seed of what is drawn by lot.
	Seed uint64
	// FaultRate is the share of replies, 0 to 1, that a fault befalls, by fault.
	FaultRate map[Fault]float64
	// FaultOn befalls every reply to a request, by its hex digits without the number of lines, such as 0902; it goes before all else.
	FaultOn map[string]Fault
}

// A Personality is a kind of adapter.
type Personality struct {
	Name     string // the answer to ATI
	Describe string // the answer to AT@1
	// Unknown lists commands, without arguments, that are answered with "?".
	Unknown []string
	// NoProtocolNumber makes ATDPN answer A0 although connected.
	NoProtocolNumber bool
	// NoSuffix makes a request with the number of expected lines a "?".
	NoSuffix bool
	// IgnoresSettings makes it say OK to echo, line feeds, spaces, headers and memory, and go on as before.
	IgnoresSettings bool
	// MaxBytes is how many bytes of a request it puts on the bus, dropping the rest; 0: all. Counterfeit v2.1 chips send two.
	MaxBytes int
	// NotAdaptive makes it wait as long after an answer as for none, whatever ATAT says.
	NotAdaptive bool
	// IgnoresFilter makes it say OK to ATCRA and show all; DropsAll makes it show nothing after it.
	IgnoresFilter, DropsAll bool
	// MaxShown is how many bytes of a CAN frame it shows, length byte included, dropping the rest; 0: all.
	MaxShown int
	// NoRepeat makes a bare CR do nothing; the genuine chip repeats the last command.
	NoRepeat bool
	// LocksOnTPA0 makes ATTPA0 the last command that is heard until the power is cycled (PowerBroker2/ELMduino#69).
	LocksOnTPA0 bool
	// NoAutoNumber makes ATSPA8 and its like a "?" (brendan-w/python-OBD#27).
	NoAutoNumber bool
	// Noise puts a byte of garbage before its name, as after a reset (brendan-w/python-OBD#22).
	Noise bool
}

// The personalities. Clones are drawn from reports (brendan-w/python-OBD#22 #27 #218): what they call themselves says
// nothing about what they can do.
var (
	Genuine  = Personality{Name: "ELM327 v1.4b", Describe: "OBDII to RS232 Interpreter"}
	CloneV15 = Personality{Name: "ELM327 v1.5", Describe: "OBDII to RS232 Interpreter", Unknown: []string{"ATAT", "ATFE", "ATPC", "ATIGN", "ATPPS", "ATCV"}, NoProtocolNumber: true, NotAdaptive: true}
	Liar     = Personality{Name: "ELM327 v2.1", Describe: "OBDII to RS232 Interpreter", IgnoresSettings: true}
	STN      = Personality{Name: "ELM327 v1.4b", Describe: "OBDII to RS232 Interpreter"} // as OBDLink's chips call themselves
	CloneV21 = Personality{Name: "ELM327 v2.1", Describe: "?", Unknown: []string{"ATAT", "ATCRA", "ATM", "ATAL", "ATFE", "ATPPS", "ATST", "AT@", "ATD"}, NoSuffix: true, MaxBytes: 2, NotAdaptive: true}
	// Cutter is a clone that cuts answers: single values and lists of PIDs get through, full frames and a VIN do not.
	Cutter = Personality{Name: "ELM327 v2.1", Describe: "?", Unknown: []string{"ATAT", "ATFE"}, MaxShown: 7, NotAdaptive: true}
	// NoFilter is a clone that takes the number of lines to expect, but has no filter.
	NoFilter = Personality{Name: "ELM327 v1.5", Describe: "OBDII to RS232 Interpreter", Unknown: []string{"ATAT", "ATCRA", "ATFE"}, NotAdaptive: true}
	// NoCount is a clone that has a filter, but does not take the number of lines to expect.
	NoCount = Personality{Name: "ELM327 v1.5", Describe: "OBDII to RS232 Interpreter", Unknown: []string{"ATAT", "ATFE"}, NoSuffix: true, NotAdaptive: true}
	Fragile = Personality{Name: "ELM327 v1.5", Describe: "OBDII to RS232 Interpreter", NoRepeat: true, LocksOnTPA0: true, NoAutoNumber: true, Noise: true}
)

// Counts are what a Sim has done so far.
type Counts struct {
	Requests int // put on the car's bus, also while the car was off
	Answered int
	Commands int // lines from the other side, AT and other
	Writes   int // attempts to write the adapter's non-volatile memory: ATSP with memory on, ATPP, ATSD
	Faults   map[Fault]int
}

// A Sim is a simulated adapter. It may serve one connection after another, and keeps its settings between them, as the real
// one does while it has power. Make one with New.
type Sim struct {
	opt Options

	mu     sync.Mutex // guards the following
	rng    *rand.Rand
	set    settings
	queue  []Fault // to befall the next replies
	counts Counts
	log    []string // the last commands, newest last
	asleep bool
	lock   lock
	poke   chan struct{} // Rouse was called

	noCANSearch bool          // see dip
	cranked     chan struct{} // Crank was called
}

// settings are what AT commands change.
type settings struct {
	echo, linefeed, spaces, headers, memory bool
	flow                                    bool // the adapter sends flow control
	protocol                                byte // '0' automatic
	found                                   bool // the bus has been found
	receive                                 string
	header                                  string        // of requests, as ATSH set it; "" for the protocol's own, which reaches all ECUs
	patience                                time.Duration // as ATST set it
	eager                                   int           // as ATAT set it
	expect                                  int           // lines of this answer; 0: not told
}

func (o *Options) defaults() settings {
	return settings{echo: true, linefeed: !o.QuietLines, spaces: true, memory: true, flow: true, protocol: '0', patience: o.NoDataAfter, eager: 1}
}

// New makes a simulated adapter.
func New(opt Options) *Sim {
	if opt.Vehicle == nil {
		opt.Vehicle = Idling
	}
	if opt.Protocol == 0 {
		opt.Protocol = CAN11Bit500k
	}
	if opt.ECUs == nil {
		opt.ECUs = []ECU{{Address: opt.Protocol.engine(), PIDs: EnginePIDs, VIN: true}}
	}
	if opt.NoDataAfter == 0 {
		opt.NoDataAfter = 205 * time.Millisecond
	}
	if opt.Late == 0 {
		opt.Late = 3 * time.Second
	}
	if opt.BusInit == 0 {
		opt.BusInit = 400 * time.Millisecond
	}
	if opt.Personality.Name == "" {
		opt.Personality = Genuine
	}
	return &Sim{opt: opt, rng: rand.New(rand.NewPCG(opt.Seed, 0)), set: opt.defaults(), counts: Counts{Faults: map[Fault]int{}}, poke: make(chan struct{}, 1),
		cranked: make(chan struct{}, 1)}
}

// Inject makes faults befall the next replies to requests of the car, one each, in order. NoFault lets one pass.
func (s *Sim) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, faults...)
}

// Counts may be called from any goroutine.
func (s *Sim) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Faults = make(map[Fault]int, len(s.counts.Faults))
	for f, n := range s.counts.Faults {
		c.Faults[f] = n
	}
	return c
}

// Commands are the last lines that arrived, at most 1000, newest last.
func (s *Sim) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.log...)
}

// PowerCycle resets all settings, as pulling the adapter does.
func (s *Sim) PowerCycle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set, s.asleep, s.lock, s.noCANSearch = s.opt.defaults(), false, free, false
}

// Serve speaks on conn until it ends or ctx is done, and closes it. It returns nil for both of these ends.
// The master side of a pty ends when the last user closes the other side: keep that side open too.
func (s *Sim) Serve(ctx context.Context, conn io.ReadWriteCloser) error {
	l := &line{sim: s, conn: conn}
	if f, ok := conn.(*os.File); ok {
		l.real = true
		// Whoever made this file (creack/pty does) may have asked for its descriptor, which makes it blocking: Close would
		// then not end the Read below.
		if err := unix.SetNonblock(int(f.Fd()), true); err != nil {
			return fmt.Errorf("elmsim: set %s non-blocking: %w", f.Name(), err)
		}
	}
	s.mu.Lock()
	if s.lock == lockedUntilOpened {
		s.lock = free
	}
	s.mu.Unlock()
	in := make(chan byte, 4096)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(in)
		buf := make([]byte, 256)
		for {
			n, err := conn.Read(buf)
			for _, b := range buf[:n] {
				if b == '\n' && s.opt.IgnoreLF {
					continue
				}
				select {
				case in <- b:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	if _, ok := conn.(*net.TCPConn); ok {
		l.real = true
	}
	l.in = in
	err := l.run(ctx)
	cancel()
	if stop() {
		_ = conn.Close()
	}
	reader.Wait()
	if errors.Is(err, errEnd) || ctx.Err() != nil {
		return nil
	}
	return err
}

// ServeListener serves one connection after another until ctx is done, as a Wi-Fi adapter does, and closes ln.
func (s *Sim) ServeListener(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	defer ln.Close()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("elmsim: accept: %w", err)
		}
		// One client's broken line is no reason to refuse the next.
		_ = s.Serve(ctx, conn)
	}
}

// fault draws what befalls the reply to a request.
func (s *Sim) fault(request string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.opt.FaultOn[request]
	if f != NoFault {
		s.counts.Faults[f]++
		return f
	}
	if len(s.queue) > 0 {
		f, s.queue = s.queue[0], s.queue[1:]
	} else {
		x := s.rng.Float64()
		for g := NoFault + 1; g < faultEnd; g++ {
			if x -= s.opt.FaultRate[g]; x < 0 && s.opt.FaultRate[g] > 0 {
				f = g
				break
			}
		}
	}
	if f != NoFault {
		s.counts.Faults[f]++
	}
	return f
}

func (s *Sim) roll(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

func (s *Sim) unknown(cmd string) bool {
	name := strings.TrimRight(cmd, "0123456789")
	for _, u := range s.opt.Personality.Unknown {
		if name == u || cmd == u || (u == "ATCRA" && strings.HasPrefix(cmd, u)) || (u == "ATST" && strings.HasPrefix(cmd, u)) || (u == "ATSH" && strings.HasPrefix(cmd, u)) {
			return true
		}
	}
	return false
}
