package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"obdagent/gps/nmeasim"
	"obdagent/obd/elmsim"
)

// SimOptions says what is simulated. Dir is needed.
type SimOptions struct {
	Dir  string // where the ports appear, as car and gps
	OBD  string // tcp://host:port to listen on in place of a port; empty: DIR/car
	NMEA string // a recording to replay in place of the trip's positions; empty: the trip
	Seed uint64 // of the trip
	Rate int    // epochs of the receiver a second, 1 to 10; 0 is 1
	Fast bool   // adapter, car and receiver answer at once, and not in the time that real ones take

	CarFaults map[elmsim.Fault]float64 // share of the adapter's replies that a fault befalls
	GPSFaults nmeasim.Faults
}

// VIN is that of the simulated van. It keeps to ISO 3779, check digit included, and belongs to nobody: WMI 1FT is Ford's, the
// serial number is made up.
const VIN = "1FTBR1XG2MKA12345"

// adapterBaud is the line speed at which the adapter paces its bytes: the factory setting of an ELM327.
const adapterBaud = 38400

// receiverLatency is the time from an epoch to its first byte that a u-blox 8 takes.
const receiverLatency = 60 * time.Millisecond

// A Simulation is an adapter and a receiver on one trip.
type Simulation struct {
	opts    SimOptions
	trip    *Trip
	started time.Time
	elm     *elmsim.Sim
	car     *socket
	gps     *socket
	listen  net.Listener // in place of car; nil if there is none

	ignitionOff atomic.Bool
	skyHidden   atomic.Bool
	parked      atomic.Pointer[time.Time] // since when the van stands; nil: it is on its trip
}

// NewSimulation makes the simulation's ports. The trip begins now.
func NewSimulation(o SimOptions) (*Simulation, error) {
	if o.Rate < 0 || o.Rate > 10 {
		return nil, fmt.Errorf("rate of %d epochs a second: use 1 to 10", o.Rate)
	}
	s := &Simulation{opts: o, trip: NewTrip(o.Seed), started: time.Now()}
	adapter := elmsim.Options{
		Vehicle:  func() elmsim.Vehicle { return s.At(time.Now()).instruments(!s.ignitionOff.Load()) },
		VIN:      VIN,
		ECUs:     []elmsim.ECU{{Address: "7E8", PIDs: enginePIDs, VIN: true}},
		ECUDelay: 8 * time.Millisecond,
		// The pseudo-terminal has no line speed; this one decides.
		Baud:      adapterBaud,
		Seed:      o.Seed,
		FaultRate: o.CarFaults,
	}
	if o.Fast {
		adapter.ECUDelay, adapter.Baud = 0, 0
	}
	s.elm = elmsim.New(adapter)
	s.gps = newSocket(filepath.Join(o.Dir, "gps"), s.serveGPS)
	if o.OBD == "" {
		s.car = newSocket(filepath.Join(o.Dir, "car"), s.elm.Serve)
		return s, nil
	}
	addr, ok := strings.CutPrefix(o.OBD, "tcp://")
	if !ok {
		return nil, fmt.Errorf("adapter at %q: use tcp://host:port", o.OBD)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("adapter at %s: %w", o.OBD, err)
	}
	s.listen = l
	return s, nil
}

// enginePIDs are what the van's ECU answers: the usual ones, the state of the fuel system, the standard, and petrol as its fuel, so that CO2
// can be told.
var enginePIDs = append([]byte{0x03, 0x1C, 0x51}, elmsim.EnginePIDs...)

// restVoltage is that of a charged lead battery at rest.
const restVoltage = 12.6 // V

// instruments is what the car's ECU knows of the state.
func (s State) instruments(ignition bool) elmsim.Vehicle {
	v := elmsim.Vehicle{
		Ignition: ignition, Voltage: s.Voltage, Speed: s.Speed * 3.6, RPM: s.RPM, Load: s.Load, Coolant: s.Coolant, MAF: s.MAF,
		MAP: s.MAP, IAT: s.IAT, Lambda: 1, Throttle: s.Throttle, FuelRate: s.FuelRate, FuelLevel: s.FuelLevel,
	}
	if !ignition {
		v.Voltage = restVoltage
	}
	return v
}

// At is the truth at a moment.
func (s *Simulation) At(t time.Time) State {
	since := s.parked.Load()
	if since == nil || t.Before(*since) {
		return s.trip.At(t.Sub(s.started))
	}
	at := s.trip.At(since.Sub(s.started))
	at.Speed, at.RPM, at.Load, at.MAF, at.FuelRate = 0, 0, 0, 0, 0
	return at
}

// CarPort is what obd.port must say.
func (s *Simulation) CarPort() string {
	if s.listen != nil {
		return "tcp://" + s.listen.Addr().String()
	}
	return s.car.cable.Link()
}

// GPSPort is what gps.source must say.
func (s *Simulation) GPSPort() string { return s.gps.cable.Link() }

// ServeCar is the adapter on a port of the caller's, until ctx is done or the port ends; it closes the port. It is for ports other
// than those that Run makes, such as a serial chip of a virtual machine: without Run these do not exist.
func (s *Simulation) ServeCar(ctx context.Context, port io.ReadWriteCloser) error {
	return s.elm.Serve(ctx, port)
}

// ServeGPS is the receiver on a port of the caller's, as ServeCar is the adapter, but it leaves the port open.
func (s *Simulation) ServeGPS(ctx context.Context, port io.ReadWriteCloser) error {
	return s.serveGPS(ctx, port)
}

// PullCar unplugs the adapter for a while. It does nothing where the adapter is on TCP.
func (s *Simulation) PullCar(d time.Duration) {
	if s.car != nil {
		s.car.pull(d)
	}
}

// PullGPS unplugs the receiver for a while.
func (s *Simulation) PullGPS(d time.Duration) { s.gps.pull(d) }

// SetIgnition switches the ignition, which is on at first. With it off the car's ECUs are silent and its alternator rests; the
// trip goes on, as that of a van on a ferry or a tow truck does.
func (s *Simulation) SetIgnition(on bool) { s.ignitionOff.Store(!on) }

// Park ends the trip: the van stands where it is, with its ignition off.
func (s *Simulation) Park() {
	now := time.Now()
	s.parked.CompareAndSwap(nil, &now)
	s.SetIgnition(false)
}

// SetSky says whether the receiver sees the sky, as it does at first. Without it there is no fix, but still the date: the
// receiver's own clock goes on.
func (s *Simulation) SetSky(free bool) { s.skyHidden.Store(!free) }

// Adapter counts what the adapter was asked and what it put on the car's bus.
func (s *Simulation) Adapter() elmsim.Counts { return s.elm.Counts() }

// Run simulates until ctx is done.
func (s *Simulation) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.gps.run(ctx) })
	if s.listen != nil {
		g.Go(func() error { return s.elm.ServeListener(ctx, s.listen) })
	} else {
		g.Go(func() error { return s.car.run(ctx) })
	}
	return g.Wait()
}

// serveGPS is the receiver on its cable.
func (s *Simulation) serveGPS(ctx context.Context, port io.ReadWriteCloser) error {
	if s.opts.NMEA != "" {
		return replay(ctx, port, s.opts.NMEA)
	}
	latency := receiverLatency
	if s.opts.Fast {
		latency = 0
	}
	synth := nmeasim.Synth{Rate: max(s.opts.Rate, 1), Latency: latency, Seed: s.opts.Seed, Faults: s.opts.GPSFaults}
	return synth.Run(ctx, port, func(t time.Time) nmeasim.State {
		if s.skyHidden.Load() {
			return nmeasim.State{Sats: 2}
		}
		at := s.At(t)
		return nmeasim.State{Fix: true, Lat: at.Lat, Lon: at.Lon, Alt: at.Alt, Speed: at.Speed, Course: at.Heading, Sats: 11, HDOP: 0.8}
	})
}

// replay plays a recording over and over, its dates moved to now.
func replay(ctx context.Context, w io.Writer, path string) error {
	for ctx.Err() == nil {
		log, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := (nmeasim.Replay{Log: log, Start: time.Now()}).Run(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// A socket is where a cable is plugged in and pulled out.
type socket struct {
	cable *Cable
	serve func(context.Context, io.ReadWriteCloser) error
	pulls chan time.Duration
}

func newSocket(link string, serve func(context.Context, io.ReadWriteCloser) error) *socket {
	return &socket{cable: NewCable(link), serve: serve, pulls: make(chan time.Duration, 1)}
}

// pull unplugs for a while; while a pull is pending, further ones do nothing.
func (s *socket) pull(d time.Duration) {
	select {
	case s.pulls <- d:
	default:
	}
}

// run keeps the cable plugged in, but for pulls, until ctx is done.
func (s *socket) run(ctx context.Context) error {
	for {
		out, err := s.session(ctx)
		if err != nil || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(out)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// freeEvery is how soon a port that a killed program had claimed can be opened again.
const freeEvery = 200 * time.Millisecond

// session is the cable from being plugged in to being pulled, and for how long it is then out.
func (s *socket) session(ctx context.Context) (out time.Duration, err error) {
	port, err := s.cable.Plug()
	if err != nil {
		return 0, err
	}
	serveCtx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- s.serve(serveCtx, port) }()
	free := time.NewTicker(freeEvery)
	defer free.Stop()
wait:
	for {
		select {
		case err = <-served:
			return time.Second, errors.Join(err, s.cable.Pull())
		case out = <-s.pulls:
			break wait
		case <-ctx.Done():
			break wait
		case <-free.C:
			if err = s.cable.Free(); err != nil {
				break wait
			}
		}
	}
	stop()
	err = errors.Join(err, s.cable.Pull()) // also ends a read or write that is under way
	<-served                               // what it says of its port vanishing is no news
	return out, err
}
