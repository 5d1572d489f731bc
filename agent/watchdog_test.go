package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/agent/clock"
	"obdagent/agent/config"
	"obdagent/agent/fusion"
	"obdagent/agent/record"
	"obdagent/agent/uplink"
	"obdagent/buffer"
	"obdagent/gps"
	"obdagent/obd"
)

// kennel is a supervised agent in a bubble, without the parts that are the test's own.
type kennel struct {
	t     *testing.T
	agent *Agent
	hang  atomic.Pointer[wedge] // of the system clock; nil: it does not
	mu    sync.Mutex
	fed   int // times
}

// newKennel makes an agent without sources, on a disk of the test's, and with a watchdog of half a minute.
func newKennel(t *testing.T) *kennel {
	t.Helper()
	k := &kennel{t: t}
	c := config.Default()
	c.Vehicle.DeviceID = "kennel"
	c.OBD.Port, c.GPS.Source = config.None, config.None
	dir := t.TempDir()
	c.Buffer.Dir = filepath.Join(dir, "buffer")
	c.Uplink.Kind, c.Uplink.Path = config.KindDirectory, filepath.Join(dir, "objects")
	c.Status.Log, c.Status.Socket = "", ""
	a, err := New(t.Context(), Options{Config: &c, Version: "test", systemd: systemd{watchdog: 30 * time.Second, notify: func(state string) error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if state == "WATCHDOG=1" {
			k.fed++
		}
		return nil
	}}, board: board{bootID: "b", now: time.Now, synced: func() bool {
		if w := k.hang.Load(); w != nil {
			w.wait()
		}
		return true
	}}})
	if err != nil {
		t.Fatal(err)
	}
	k.agent = a
	t.Cleanup(func() {
		if err := a.buffer.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// feeds is how often the watchdog is fed in a time.
func (k *kennel) feeds(d time.Duration) int {
	k.mu.Lock()
	before := k.fed
	k.mu.Unlock()
	<-time.After(d)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fed - before
}

// supervised runs f in a bubble beside the supervisor, and ends both.
func supervised(t *testing.T, f func(ctx context.Context, k *kennel, run func(func(context.Context) error))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := newKennel(t)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		run := func(task func(context.Context) error) {
			wg.Go(func() {
				if err := task(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		run(k.agent.supervise)
		f(ctx, k, run)
		cancel()
		wg.Wait()
	})
}

// A wedge is a lock that somebody else holds: whoever comes waits until the test is over.
type wedge chan struct{}

func (w wedge) wait() { <-w }

// line is the other end of an adapter or receiver.
type line struct {
	io.ReadWriteCloser
	read func(deadline time.Time) (int, error)
	mu   sync.Mutex
	by   time.Time
	stop chan struct{}
}

func newLine(read func(by time.Time) (int, error)) *line {
	return &line{read: read, stop: make(chan struct{})}
}

func (l *line) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by = t
	return nil
}

func (l *line) Read([]byte) (int, error) {
	l.mu.Lock()
	by := l.by
	l.mu.Unlock()
	return l.read(by)
}
func (l *line) Write(p []byte) (int, error) { return len(p), nil }
func (l *line) Close() error                { return nil }
func (l *line) SetSpeed(int) error          { return nil }

// silent reads nothing until the deadline.
func silent(by time.Time) (int, error) {
	if d := time.Until(by); d > 0 {
		<-time.After(d)
	}
	return 0, os.ErrDeadlineExceeded
}

func TestAWedgedTaskStarvesTheWatchdog(t *testing.T) {
	t.Parallel()
	for name, wedged := range map[string]func(ctx context.Context, k *kennel, w wedge, run func(func(context.Context) error)){
		"fusion": func(_ context.Context, k *kennel, w wedge, run func(func(context.Context) error)) {
			k.agent.opts.OnRecord = func(record.Record) { w.wait() }
			k.agent.send(event{fix: &gps.Fix{Mono: clock.Boottime(), Mode: gps.Mode3D, Lat: 48, Lon: 11}})
			run(func(ctx context.Context) error { return k.agent.fuse(ctx, k.agent.newFuser()) })
		},
		"the car": func(_ context.Context, k *kennel, w wedge, run func(func(context.Context) error)) {
			c, err := obd.New(obd.Options{Port: "adapter", Pulse: k.agent.pulses.car.patient, Dial: func(context.Context) (obd.Conn, error) {
				return newLine(func(time.Time) (int, error) { w.wait(); return 0, io.EOF }), nil // a read that knows no deadline
			}})
			k.check(err)
			run(func(ctx context.Context) error { return c.Run(ctx, obd.Handler{}) })
		},
		"the receiver": func(_ context.Context, k *kennel, w wedge, run func(func(context.Context) error)) {
			r, err := gps.New(gps.Options{Source: "/dev/ttyUSB7", Baud: 9600, Pulse: k.agent.pulses.gps.patient, OpenSerial: func(string, int) (gps.SerialPort, error) {
				w.wait()
				return nil, os.ErrNotExist
			}})
			k.check(err)
			run(func(ctx context.Context) error { return r.Run(ctx, gps.Handler{}) })
		},
		"the uplink": func(_ context.Context, k *kennel, w wedge, run func(func(context.Context) error)) {
			u, err := uplink.New(k.agent.buffer, uplink.Options{Encoder: encoderFunc(func() ([]byte, error) { w.wait(); return nil, errors.New("over") }),
				Sink: sinkFunc(func(context.Context) error { return nil }), Pulse: k.agent.pulses.uplink.patient})
			k.check(err)
			k.record()
			run(u.Run)
		},
		"what a snapshot asks": func(_ context.Context, k *kennel, w wedge, _ func(func(context.Context) error)) {
			// As a lock that any part holds: the supervisor's own look at all parts does not come back.
			k.hang.Store(&w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			supervised(t, func(ctx context.Context, k *kennel, run func(func(context.Context) error)) {
				if n := k.feeds(time.Minute); n < 3 {
					t.Errorf("fed %d times in the first minute", n)
				}
				w := make(wedge)
				wedged(ctx, k, w, run)
				<-time.After(15 * time.Minute) // the deadlines of its own, and mercy
				if n := k.feeds(time.Minute); n != 0 {
					t.Errorf("fed %d times in a minute while it is wedged", n)
				}
				close(w)
			})
		})
	}
}

func TestWhatIsAStateFeedsTheWatchdog(t *testing.T) {
	t.Parallel()
	car := func(dial func(context.Context) (obd.Conn, error)) func(*kennel, func(func(context.Context) error)) {
		return func(k *kennel, run func(func(context.Context) error)) {
			c, err := obd.New(obd.Options{Port: "adapter", Pulse: k.agent.pulses.car.patient, Dial: dial})
			k.check(err)
			run(func(ctx context.Context) error { return c.Run(ctx, obd.Handler{}) })
		}
	}
	receiver := func(o gps.Options) func(*kennel, func(func(context.Context) error)) {
		return func(k *kennel, run func(func(context.Context) error)) {
			o.Pulse = k.agent.pulses.gps.patient
			r, err := gps.New(o)
			k.check(err)
			run(func(ctx context.Context) error { return r.Run(ctx, gps.Handler{}) })
		}
	}
	send := func(e uplink.Encoder, s uplink.Sink) func(*kennel, func(func(context.Context) error)) {
		return func(k *kennel, run func(func(context.Context) error)) {
			u, err := uplink.New(k.agent.buffer, uplink.Options{Encoder: e, Sink: s, Linger: time.Second, Pulse: k.agent.pulses.uplink.patient})
			k.check(err)
			k.record()
			run(u.Run)
		}
	}
	good := encoderFunc(func() ([]byte, error) { return []byte("line\n"), nil })
	recording := filepath.Join(t.TempDir(), "drive.nmea")
	if err := os.WriteFile(recording, []byte("$GPRMC,120000.00,A,4807.0380,N,01131.0000,E,0.0,084.4,231126,,,A*52\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, state := range map[string]func(*kennel, func(func(context.Context) error)){
		"no sources, parked": func(k *kennel, run func(func(context.Context) error)) {
			run(func(ctx context.Context) error {
				return k.agent.fuse(ctx, fusion.New(fusion.Options{Interval: time.Second, ParkedInterval: time.Hour, BootID: "b", NewID: k.agent.newID, Clock: k.agent.clock}))
			})
		},
		"no adapter":             car(func(context.Context) (obd.Conn, error) { return nil, os.ErrNotExist }),
		"a silent adapter":       car(func(context.Context) (obd.Conn, error) { return newLine(silent), nil }),
		"a receiver's port gone": receiver(gps.Options{Source: "/dev/ttyUSB7", OpenSerial: func(string, int) (gps.SerialPort, error) { return nil, os.ErrNotExist }}),
		"a silent receiver": receiver(gps.Options{Source: "/dev/ttyUSB7", OpenSerial: func(string, int) (gps.SerialPort, error) {
			return newLine(func(time.Time) (int, error) { <-time.After(200 * time.Millisecond); return 0, nil }), nil
		}}),
		"a recording that has ended": receiver(gps.Options{Source: "file:" + recording}),
		"nothing to send":            send(good, sinkFunc(func(context.Context) error { return nil })),
		"no coverage": send(good, sinkFunc(func(context.Context) error {
			return &uplink.CallError{Kind: uplink.KindLink, Advice: "nobody answers"}
		})),
		"a directory whose disk hangs": send(good, sinkFunc(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })),
		"a backlog on a disk that hangs": func(k *kennel, run func(func(context.Context) error)) {
			u, err := uplink.New(slowLog{k.agent.buffer}, uplink.Options{Encoder: good, Sink: sinkFunc(func(context.Context) error { return nil }), Pulse: k.agent.pulses.uplink.patient})
			k.check(err)
			k.record()
			run(u.Run)
		},
		"a record set aside on a disk that hangs": func(k *kennel, run func(func(context.Context) error)) {
			u, err := uplink.New(k.agent.buffer, uplink.Options{Encoder: encoderFunc(func() ([]byte, error) { return nil, errors.New("damaged") }),
				Sink: sinkFunc(func(context.Context) error { return nil }), Pulse: k.agent.pulses.uplink.patient, Aside: func(uint64, []byte, error) { <-time.After(20 * time.Minute) }})
			k.check(err)
			k.record()
			run(u.Run)
		},
		"records that wait for the time": send(encoderFunc(func() ([]byte, error) { return nil, uplink.ErrHold }), sinkFunc(func(context.Context) error { return nil })),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			supervised(t, func(_ context.Context, k *kennel, run func(func(context.Context) error)) {
				state(k, run)
				if n := k.feeds(time.Hour); n < 238 {
					t.Errorf("fed %d times in an hour, want each 15 s: %q is stuck", n, k.agent.pulses.wedged())
				}
			})
		})
	}
}

func (k *kennel) check(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

// record puts one into the buffer.
func (k *kennel) record() {
	k.t.Helper()
	_, err := k.agent.buffer.Append([]byte("{}"))
	k.check(errors.Join(err, k.agent.buffer.Commit()))
}

// slowLog is a buffer whose disk takes twenty minutes for each read.
type slowLog struct{ *buffer.Log }

type slowReader struct{ *buffer.Reader }

func (l slowLog) Reader(from uint64) slowReader { return slowReader{l.Log.Reader(from)} }

func (r slowReader) TryNext() (buffer.Entry, bool, error) {
	<-time.After(20 * time.Minute)
	return r.Reader.TryNext()
}

type encoderFunc func() ([]byte, error)

func (f encoderFunc) Encode([]byte, uint64, []byte, []buffer.Lost) ([]byte, error) { return f() }

type sinkFunc func(context.Context) error

func (f sinkFunc) Put(ctx context.Context, _ [][]byte) ([]uplink.Failure, error) { return nil, f(ctx) }
func (f sinkFunc) String() string                                                { return "a sink of the test's" }
