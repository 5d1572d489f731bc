package gps_test

import (
	"context"
	"io/fs"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/gps"
	"obdagent/gps/nmeasim"
)

// driving is a car at 20 m/s.
func driving(at time.Time) nmeasim.State {
	const degreesPerSecond = 20.0 / 111_195                                // northwards
	since := at.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Seconds() // when a synctest bubble begins
	return nmeasim.State{Fix: true, Lat: 48 + math.Mod(since, 3600)*degreesPerSecond, Lon: 11.5, Alt: 520, Speed: 20, Sats: 9}
}

// line is a simulated serial device: what is written to it at the right speed can be read, at any other it is noise.
type line struct {
	baud   int
	reader net.Conn
	writer net.Conn

	mu    sync.Mutex
	speed int
}

func newLine(baud int) *line {
	l := &line{baud: baud}
	l.reader, l.writer = net.Pipe()
	return l
}

func (l *line) Read(p []byte) (int, error) {
	n, err := l.reader.Read(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.speed != l.baud {
		for i := range p[:n] {
			p[i] |= 0x80
		}
	}
	return n, err
}

func (l *line) Write(p []byte) (int, error) { return l.reader.Write(p) }
func (l *line) Close() error                { return l.reader.Close() }

func (l *line) SetSpeed(baud int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.speed = baud
	return nil
}

// bench is a simulated system with serial devices.
type bench struct {
	mu      sync.Mutex
	devices map[string]int // the speed of the receiver on each; 0: silent
	lines   map[string]*line
	states  []gps.StateChange
	fixes   []gps.Fix
	opens   int
	busy    error
}

func (b *bench) open(ctx context.Context, wg *sync.WaitGroup) func(string, int) (gps.SerialPort, error) {
	return func(name string, baud int) (gps.SerialPort, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.opens++
		if b.busy != nil {
			return nil, b.busy
		}
		speed, ok := b.devices[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		l := newLine(speed)
		b.lines[name] = l
		if err := l.SetSpeed(baud); err != nil {
			return nil, err
		}
		if speed > 0 {
			wg.Go(func() {
				_ = nmeasim.Synth{Latency: 60 * time.Millisecond}.Run(ctx, l.writer, driving) // ends with the line
			})
		}
		return l, nil
	}
}

func (b *bench) handler() gps.Handler {
	return gps.Handler{
		Fix: func(f gps.Fix) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.fixes = append(b.fixes, f)
		},
		State: func(c gps.StateChange) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.states = append(b.states, c)
		},
	}
}

func (b *bench) unplug(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.devices, name)
	_ = b.lines[name].writer.Close()
}

func (b *bench) plug(name string, baud int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.devices[name] = baud
}

func (b *bench) history() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s []string
	for _, c := range b.states {
		s = append(s, string(c.To))
	}
	return strings.Join(s, " ")
}

func (b *bench) fixCount() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.fixes)
}

// onBench runs a Receiver within a bubble until test returns.
func onBench(t *testing.T, devices map[string]int, opt gps.Options, test func(t *testing.T, b *bench, r *gps.Receiver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{devices: devices, lines: make(map[string]*line)}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		opt.OpenSerial = b.open(ctx, &wg)
		if opt.Candidates == nil {
			opt.Candidates = func() ([]string, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				var names []string
				for _, n := range []string{"/dev/ttyUSB0", "/dev/ttyUSB1"} {
					if _, ok := b.devices[n]; ok {
						names = append(names, n)
					}
				}
				return names, nil
			}
		}
		r, err := gps.New(opt)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := r.Run(ctx, b.handler()); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		test(t, b, r)
		cancel()
		wg.Wait()
		if s := r.Status().State; s != gps.StateClosed {
			t.Errorf("after Run the state is %s, want closed", s)
		}
	})
}

// after lets simulated time pass.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
