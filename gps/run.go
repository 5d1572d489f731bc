package gps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// absentPoll is how often a device that is not there is looked for: a replugged cable is read again within 3 s.
	absentPoll = 500 * time.Millisecond
	// minBackoff and maxBackoff bound the wait before a source that refused is tried again.
	minBackoff = time.Second
	maxBackoff = 30 * time.Second
	// dialTimeout bounds one attempt to connect.
	dialTimeout = 10 * time.Second
)

// A Receiver reads one GPS source and keeps reading it through everything that can happen to it.
type Receiver struct {
	opt    Options
	source source
	log    *slog.Logger

	// Used by Run's goroutine alone.
	handler   Handler
	asm       epochs
	lastBaud  map[string]int // the speed that worked, by device
	lastAuto  string         // the device that auto took
	kept      memory         // what Options.Memory holds
	lastEpoch time.Duration
	cycle     time.Duration // between the last two epochs

	mu     sync.Mutex
	status Status
}

// epochs makes Fixes of bytes: the Assembler of NMEA sentences, the gpsdReader of gpsd's reports.
type epochs interface {
	Feed(p []byte, at time.Duration)
	Deadline() (at time.Duration, ok bool)
	Expire(now time.Duration)
	Flush(now time.Duration)
	Counts() Counts
}

// New checks opt and returns a Receiver; nothing is opened before Run.
func New(opt Options) (*Receiver, error) {
	src, err := parseSource(opt.Source)
	if err != nil {
		return nil, err
	}
	if opt.Baud < 0 {
		return nil, fmt.Errorf("gps baud %d: want a line speed, or 0 to probe", opt.Baud)
	}
	if opt.Now == nil {
		begin := time.Now()
		opt.Now = func() time.Duration { return time.Since(begin) }
	}
	if opt.Claim == nil {
		opt.Claim = func(string) (func(), error) { return func() {}, nil }
	}
	if opt.Candidates == nil {
		opt.Candidates = Ports
	}
	if opt.OpenSerial == nil {
		opt.OpenSerial = openDevice
	}
	if opt.Dial == nil {
		opt.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	if opt.Listen == nil {
		opt.Listen = listenUDP
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Receiver{opt: opt, source: src, log: opt.Logger}
	r.recall()
	r.asm = NewAssembler(r.onFix)
	if src.kind == gpsdSource {
		if len(opt.Init) > 0 {
			return nil, fmt.Errorf("gps source %q: gpsd owns the receiver, init lines cannot be written to it; remove gps.init", opt.Source)
		}
		r.asm = newGpsdReader(r.onFix)
	}
	r.status = Status{State: StateClosed, Source: opt.Source, Since: opt.Now()}
	return r, nil
}

// Status returns a snapshot; it may be called from any goroutine.
func (r *Receiver) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Run reads the source until ctx is done and returns nil then. What fails in between is a state, not an error. It may be
// called again after it returned, but not twice at a time.
func (r *Receiver) Run(ctx context.Context, h Handler) error {
	r.handler = h
	failures := 0
	for ctx.Err() == nil {
		r.pulse(0)
		p, err := r.open(ctx)
		if err == nil {
			r.opened(p)
			before := r.asm.Counts().Sentences
			err = r.session(ctx, p)
			r.closed()
			if r.asm.Counts().Sentences > before {
				failures, r.lastAuto = 0, p.name
			}
		}
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errEnded):
			r.setState(StateEnded, "", err.Error())
			if r.opt.Pulse != nil {
				r.opt.Pulse(0)
			}
			<-ctx.Done()
		case errors.Is(err, errSilent):
			// The state says so already, and stays until something is heard.
			r.pause(ctx, absentPoll)
		case errors.Is(err, fs.ErrNotExist) && r.source.kind != fileSource:
			r.setState(StateAbsent, causeOf(err), err.Error())
			r.pause(ctx, absentPoll)
		default:
			r.setState(StateAbsent, causeOf(err), err.Error())
			r.backOff(ctx, failures)
			failures++
		}
	}
	r.setState(StateClosed, "", "stopped")
	return nil
}

// openPort is a source that is open.
type openPort struct {
	io.ReadWriteCloser
	name    string
	baud    int   // 0 where it means nothing
	probe   []int // the speeds to try while nothing is understood; empty: no probing
	release func()
}

// close closes p and gives its claim back.
func (p *openPort) close() error {
	defer p.release()
	return p.Close()
}

// open opens the source. The error is for a person; it is fs.ErrNotExist where a device is not there.
func (r *Receiver) open(ctx context.Context) (*openPort, error) {
	address := r.source.address
	p := &openPort{name: address, release: func() {}}
	switch r.source.kind {
	case autoSource:
		return r.openAuto(ctx)
	case serialSource:
		return r.openSerial(address)
	case tcpSource:
		c, err := r.opt.Dial(ctx, "tcp", address)
		if err != nil {
			return nil, causedError{CauseNoConnection, fmt.Errorf("connect to the GPS at %s: %w; check that the host is on and sends NMEA there", address, err)}
		}
		p.ReadWriteCloser = tcpPort{c}
	case gpsdSource:
		return r.openGpsd(ctx, p)
	case udpSource:
		c, err := r.opt.Listen(ctx, "udp", address)
		if err != nil {
			return nil, causedError{CauseNoConnection, fmt.Errorf("listen for GPS datagrams on %s: %w", address, err)}
		}
		p.ReadWriteCloser = udpPort{c}
	case fileSource:
		info, err := os.Stat(address)
		if err != nil {
			return nil, causedError{CauseFile, fmt.Errorf("recording: %w", err)}
		}
		if info.Size() > maxRecording {
			return nil, causedError{CauseFile, fmt.Errorf("recording %s is larger than %d MiB: cut it", address, maxRecording>>20)}
		}
		data, err := os.ReadFile(address)
		if err != nil {
			return nil, causedError{CauseFile, fmt.Errorf("recording: %w", err)}
		}
		p.ReadWriteCloser = openFile(data)
	}
	return p, nil
}

// openGpsd connects to a gpsd and asks for its reports.
func (r *Receiver) openGpsd(ctx context.Context, p *openPort) (*openPort, error) {
	c, err := r.opt.Dial(ctx, "tcp", p.name)
	if err != nil {
		return nil, causedError{CauseNoConnection, fmt.Errorf("connect to gpsd at %s: %w; check that gpsd runs there and listens on that address", p.name, err)}
	}
	p.ReadWriteCloser = tcpPort{c}
	p.name = "gpsd at " + p.name
	if _, err := p.Write([]byte(gpsdWatch)); err != nil {
		return nil, causedError{CauseNoConnection, errors.Join(fmt.Errorf("ask %s for reports: %w", p.name, err), c.Close())}
	}
	return p, nil
}

// absentError is a device that is not there.
type absentError struct{ device string }

func (e absentError) Error() string {
	return e.device + " is not there: plug the receiver in, or correct gps.source"
}

func (e absentError) Is(target error) bool { return target == fs.ErrNotExist }

// openSerial claims and opens a device, at the configured speed or the one that worked last.
func (r *Receiver) openSerial(name string) (*openPort, error) {
	release, err := r.opt.Claim(realDevice(name))
	if err != nil {
		return nil, causedError{CauseBusy, fmt.Errorf("%s: %w", name, err)}
	}
	p := &openPort{name: name, baud: r.opt.Baud, release: release}
	anySpeed := r.opt.Baud == 0 && ignoresSpeed(name)
	if p.baud == 0 {
		p.baud = r.lastBaud[name]
		if p.baud == 0 {
			p.baud = speeds[0]
		}
		if !anySpeed {
			p.probe = probeOrder(p.baud)
		}
	}
	port, err := r.opt.OpenSerial(name, p.baud)
	switch {
	case err == nil:
		p.ReadWriteCloser = port
		if anySpeed {
			p.baud = 0
		}
		return p, nil
	case errors.Is(err, fs.ErrNotExist):
		err = absentError{name}
	default:
		err = &openError{name, err}
	}
	release()
	return nil, err
}

// openError is a device that is there and cannot be opened.
type openError struct {
	device string
	err    error
}

func (e *openError) Error() string { return openReason(e.device, e.err) }
func (e *openError) Unwrap() error { return e.err }

// probeOrder returns all speeds, first before the others.
func probeOrder(first int) []int {
	order := []int{first}
	for _, s := range speeds {
		if s != first {
			order = append(order, s)
		}
	}
	return order
}

// roundMost bounds what Run does without looking up: listening on all ports at all line speeds takes 16 s, a connection 10 s, and the
// handler next to nothing.
const roundMost = 30 * time.Second

// pulse tells that Run goes on, and is about to wait.
func (r *Receiver) pulse(wait time.Duration) {
	if r.opt.Pulse != nil {
		r.opt.Pulse(wait + roundMost)
	}
}

func (r *Receiver) now() time.Duration { return r.opt.Now() }

// pause waits, at most until ctx is done.
func (r *Receiver) pause(ctx context.Context, d time.Duration) {
	r.pulse(d)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// backOff waits before the next attempt: doubled each time, half of it random, so that a fleet does not come back at once.
// A device that went away and is back is tried at once.
func (r *Receiver) backOff(ctx context.Context, failures int) {
	d := maxBackoff
	if failures < 5 {
		d = min(minBackoff<<failures, maxBackoff)
	}
	left := d/2 + rand.N(d/2)
	was := r.devices()
	for left > 0 && ctx.Err() == nil {
		step := min(left, absentPoll)
		r.pause(ctx, step)
		left -= step
		is := r.devices()
		if is != was && is != "" {
			return
		}
		was = is
	}
}

// devices returns the names of the devices that are there and could be this source's.
func (r *Receiver) devices() string {
	switch r.source.kind {
	case autoSource:
		names, err := r.opt.Candidates()
		if err != nil {
			return ""
		}
		return strings.Join(names, " ")
	case serialSource:
		if _, err := os.Stat(r.source.address); err == nil {
			return r.source.address
		}
	}
	return ""
}

func (r *Receiver) opened(p *openPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Opens++
	r.status.Port, r.status.Baud = p.name, p.baud
}

func (r *Receiver) closed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Port, r.status.Baud = "", 0
}

// setState changes the state and reports it; the same state again only gets the new reason.
func (r *Receiver) setState(s State, cause Cause, reason string) {
	r.mu.Lock()
	from := r.status.State
	r.status.Cause, r.status.Reason = cause, reason
	if from != s {
		r.status.State, r.status.Since = s, r.now()
	}
	r.mu.Unlock()
	if from != s && r.handler.State != nil {
		r.handler.State(StateChange{From: from, To: s, Reason: reason})
	}
}

// onFix takes an epoch from the Assembler.
func (r *Receiver) onFix(f Fix) {
	if r.lastEpoch > 0 {
		r.cycle = f.Done - r.lastEpoch
	}
	r.lastEpoch = f.Done
	r.mu.Lock()
	r.status.LastFix = f
	r.mu.Unlock()
	if f.Mode == ModeNone {
		r.setState(StateNoFix, f.Cause, f.Reason)
	} else {
		r.setState(StateFix, "", "")
	}
	if r.handler.Fix != nil {
		r.handler.Fix(f)
	}
}

// count copies the Assembler's counters where Status finds them.
func (r *Receiver) count() {
	c := r.asm.Counts()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.status
	s.Epochs, s.Fixes, s.Sentences = c.Epochs, c.Fixes, c.Sentences
	s.BadChecksum, s.BadSentence, s.NoiseBytes = c.BadChecksum, c.BadSentence, c.NoiseBytes
	s.Binary = c.Binary.Name()
}
