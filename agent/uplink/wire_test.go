package uplink_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

// wireConn is a connection over a link with a rate, which is cut after so many bytes.
type wireConn struct {
	net.Conn
	rate     int           // bytes a second upwards; 0: no limit
	up, down *atomic.Int64 // bytes until the cut
}

func (c *wireConn) Write(p []byte) (int, error) {
	n := min(int64(len(p)), c.up.Load())
	if c.rate > 0 {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(c.rate))
	}
	written, err := c.Conn.Write(p[:n])
	if c.up.Add(-int64(written)) <= 0 && err == nil {
		_ = c.Conn.Close()
		return written, fmt.Errorf("the link was cut after %d bytes of a request", written)
	}
	return written, err
}

func (c *wireConn) Read(p []byte) (int, error) {
	left := c.down.Load()
	if left <= 0 { // what comes next does not arrive
		_, _ = c.Conn.Read(p[:1])
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	c.down.Add(-int64(n))
	return n, err
}

// across connects a cloud's sink over a wire.
func across(t *testing.T, c *cloud, dial uplink.Dial) *uplink.Firehose {
	t.Helper()
	f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "gps-delivery-stream", Region: "eu-central-1", Endpoint: c.server.URL(), Dial: dial, Now: trueTime(),
		Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret, SessionToken: "token"}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const never = 1 << 40

// check compares what arrived with what was sent: each once, and so many of them a second time.
func check(t *testing.T, c *cloud, log *fakeLog, want []string, duplicates int) {
	t.Helper()
	got := c.lines(t)
	slices.Sort(got)
	n := len(got)
	got = slices.Compact(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(want, got) || n-len(got) != duplicates {
		t.Errorf("%d lines arrived, %d of them different; %d were sent and %d should come twice", n, len(got), len(want), duplicates)
	}
	if open := log.open(); open != nil {
		t.Errorf("%d records are not acknowledged", len(open))
	}
}

// The connection is cut once, after each of these numbers of bytes: in the request's head, in its body, at its end, and in the
// head and body of the answer. Only a cut after the request was whole makes records come twice: those of that call, with the same ids.
func TestACallThatIsCutAtAnyPhaseLosesNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		up, down int64
		twice    bool
	}{
		{"before the first byte", 0, never, false},
		{"in the first line", 3, never, false},
		{"in the head", 400, never, false},
		{"in the body", 3_000, never, false},
		{"before the answer", never, 0, true},
		{"in the answer's status line", never, 5, true},
		{"in the answer's head", never, 100, true},
		{"in the answer's body", never, 300, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, stopServer := newCloud(t, firehosetest.Options{}, uplink.StreamOptions{})
			defer stopServer()
			c.server.SetFaults(firehosetest.Faults{Delay: 10 * time.Millisecond})
			cuts := 0
			f := across(t, c, func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := c.server.Dial(ctx, network, addr)
				if err != nil || cuts > 0 {
					return conn, err
				}
				cuts++
				w := &wireConn{Conn: conn, up: new(atomic.Int64), down: new(atomic.Int64)}
				w.up.Store(tt.up)
				w.down.Store(tt.down)
				return w, nil
			})
			log := newFakeLog()
			log.appendN(200)
			u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: f, Pack: true, Linger: time.Second, LiveFirst: true, Rand: rng2(1)})
			time.Sleep(2 * time.Minute)
			st := u.Status()
			stop()
			duplicates := 0
			if tt.twice {
				duplicates = 200
			}
			check(t, c, log, records(1, 200), duplicates)
			if st.FailedCalls != 1 {
				t.Errorf("%s: %d calls failed, want the one that was cut", tt.name, st.FailedCalls)
			}
		})
	}
}

// An hour of records over a slow link: the first call is sized for 20 kbit/s, each further one by what was measured and ends within a
// minute, none misses its deadline, and the signature's five minutes are never near.
func TestASlowLinkCarriesABacklogInCallsOfAMinute(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		gzip  bool
		rate  int // bit/s
		first time.Duration
	}{{false, 20_000, time.Minute}, {true, 20_000, time.Minute}, {false, 6_000, 3 * time.Minute}, {true, 6_000, 3 * time.Minute}} {
		synctest.Test(t, func(t *testing.T) {
			c, stopServer := newCloud(t, firehosetest.Options{}, uplink.StreamOptions{})
			defer stopServer()
			f := across(t, c, func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := c.server.Dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				w := &wireConn{Conn: conn, rate: tt.rate / 8, up: new(atomic.Int64), down: new(atomic.Int64)}
				w.up.Store(never)
				w.down.Store(never)
				return w, nil
			})
			sink := &timedSink{Firehose: f}
			log := newFakeLog()
			want := drive(3_600)
			log.append(want...)
			u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: true, Gzip: tt.gzip, Linger: time.Minute, LiveFirst: true, Rand: rng2(2)})
			time.Sleep(time.Hour)
			st := u.Status()
			stop()
			check(t, c, log, want, 0)
			if st.FailedCalls != 0 {
				t.Errorf("%+v: %d calls failed: %s", tt, st.FailedCalls, st.LastError)
			}
			if slices.Max(sink.took) > tt.first || slices.Max(append([]time.Duration{0}, sink.took[1:]...)) > time.Minute+5*time.Second {
				t.Errorf("%+v: the calls took %v", tt, sink.took)
			}
			t.Logf("%+v: the calls took %v", tt, sink.took)
		})
	}
}

type timedSink struct {
	*uplink.Firehose
	took []time.Duration
}

func (s *timedSink) Put(ctx context.Context, entries [][]byte) ([]uplink.Failure, error) {
	begin := time.Now()
	failed, err := s.Firehose.Put(ctx, entries)
	s.took = append(s.took, time.Since(begin))
	return failed, err
}

// What a modem does to a connection before the first byte of HTTP: no name, no route, a reset in the handshake. All of it is waited out.
func TestTheWayToTheStreamMayFailInAnyMannerForAnHour(t *testing.T) {
	t.Parallel()
	for name, dial := range map[string]uplink.Dial{
		"DNS gone": func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", Name: "firehose.invalid", IsTemporary: true}}
		},
		"no route": func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: fmt.Errorf("no route to host")}
		},
		"reset at once": func(context.Context, string, string) (net.Conn, error) {
			a, b := net.Pipe()
			_ = b.Close()
			return a, nil
		},
		"silence": func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, stopServer := newCloud(t, firehosetest.Options{}, uplink.StreamOptions{})
			defer stopServer()
			begin := time.Now()
			f := across(t, c, func(ctx context.Context, network, addr string) (net.Conn, error) {
				if time.Since(begin) < time.Hour {
					return dial(ctx, network, addr)
				}
				return c.server.Dial(ctx, network, addr)
			})
			log := newFakeLog()
			log.appendN(100)
			u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: f, Pack: true, Linger: time.Second, LiveFirst: true, Rand: rng2(3)})
			time.Sleep(time.Hour)
			if st := u.Status(); st.State != uplink.StateDown || st.Delivered != 0 || st.Calls > 60 {
				t.Errorf("%s: after an hour: state %s, %d delivered, %d calls", name, st.State, st.Delivered, st.Calls)
			}
			time.Sleep(6 * time.Minute)
			stop()
			check(t, c, log, records(1, 100), 0)
		})
	}
}

// A stream that is gone for a week while a record a minute is made: nothing is lost, nothing comes twice, and the newest are there
// within minutes of its return.
func TestAfterAWeekWithoutTheStreamEverythingIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, stopServer := newCloud(t, firehosetest.Options{}, uplink.StreamOptions{})
		defer stopServer()
		c.server.SetFaults(firehosetest.Faults{Down: true})
		log := newFakeLog()
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: c.sink, Pack: true, Linger: time.Minute, LiveFirst: true, Rand: rng2(4)})
		week := 7 * 24 * 60          // minutes
		if race || testing.Short() { // each try takes milliseconds then: one day has them all
			week /= 7
		}
		for i := range week {
			log.appendN(1)
			if i == week/2 { // the stream is deleted and made again meanwhile
				c.server.DeleteStream("gps-delivery-stream")
				if err := c.server.CreateStream(firehosetest.Stream{Name: "gps-delivery-stream", Bucket: "sd-vehicle-data", Interval: time.Hour}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
		}
		tries := u.Status().Calls
		c.server.SetFaults(firehosetest.Faults{Delay: 10 * time.Millisecond})
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if !log.isAcked(uint64(week)) {
			t.Error("the newest record is not there six minutes after the return")
		}
		time.Sleep(time.Hour)
		stop()
		check(t, c, log, records(1, week), 0)
		if tries < uint64(week)*3/10 || tries > uint64(week)/2 {
			t.Errorf("%d tries in the week", tries)
		}
	})
}
