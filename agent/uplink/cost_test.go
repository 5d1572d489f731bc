package uplink_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

// Two hours at 1 Hz with the default linger: what a record costs at the socket and on the bill, and that none waits longer than the linger. The lines
// of docs/benchmarks.md are those that this test prints.
func TestWhatARecordCostsAtTheLinger(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		linger     time.Duration
		gzip       bool
		wire, less float64 // at most, bytes; at least, times less billed than a line a record
	}{
		{time.Minute, false, 190, 45},
		{time.Minute, true, 58, 58},
		{5 * time.Minute, false, 152, 45},
		{5 * time.Minute, true, 28, 250},
	} {
		if race && tt.linger > time.Minute { // the same code, for seconds of a core
			continue
		}
		t.Run(fmt.Sprintf("linger %v, gzip %v", tt.linger, tt.gzip), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				keys := firehosetest.Credentials{AccessKeyID: "AKIDEXAMPLEEXAMPLE00", SecretAccessKey: secret, SessionToken: token()}
				c, stopServer := newCloud(t, firehosetest.Options{Credentials: []firehosetest.Credentials{keys}},
					uplink.StreamOptions{Linger: tt.linger, Credentials: &uplink.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken}})
				defer stopServer()
				c.server.SetFaults(firehosetest.Faults{Delay: 5 * time.Millisecond})
				made := drive(2 * 3600)
				log := newFakeLog()
				begin := time.Now()
				var late time.Duration
				sink := &watchedSink{Firehose: c.sink, before: func() {
					if open := log.open(); len(open) > 0 { // record n is made n-1 seconds after the beginning
						late = max(late, time.Since(begin.Add(time.Duration(open[0]-1)*time.Second)))
					}
				}}
				u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: true, Gzip: tt.gzip, Linger: tt.linger, LiveFirst: true, Rand: rng2(1)})
				for _, line := range made {
					log.append(line)
					time.Sleep(time.Second)
				}
				time.Sleep(tt.linger)
				synctest.Wait()
				st := u.Status()
				stop()
				n := float64(st.Delivered)
				wire, billed := float64(st.BytesUp+st.BytesDown)/n, float64(st.BilledBytes)/n
				t.Logf("%.0f records a flush, %.1f B a record on the wire (%.1f up, %.1f down), %.1f billed: %.1f times less than a line a record, %.4f dollars a million",
					n/float64(st.Calls), wire, float64(st.BytesUp)/n, float64(st.BytesDown)/n, billed, 5120/billed, billed/1000*dollarsPerGB)
				if wire > tt.wire || 5120/billed < tt.less {
					t.Errorf("at most %.0f B on the wire and %.0f times less than a line a record are wanted", tt.wire, tt.less)
				}
				if late > tt.linger {
					t.Errorf("a record waited %v", late)
				}
				check(t, c, log, made, 0)
			})
		})
	}
}

// watchedSink tells of each call before it is made.
type watchedSink struct {
	*uplink.Firehose
	before func()
}

func (s *watchedSink) Put(ctx context.Context, entries [][]byte) ([]uplink.Failure, error) {
	s.before()
	return s.Firehose.Put(ctx, entries)
}

// dialed counts a cloud's connections.
func dialed(t *testing.T, linger time.Duration) (c *cloud, f *uplink.Firehose, dials *atomic.Int64, stop func()) {
	t.Helper()
	c, stop = newCloud(t, firehosetest.Options{}, uplink.StreamOptions{})
	c.server.SetFaults(firehosetest.Faults{Delay: 10 * time.Millisecond})
	dials = new(atomic.Int64)
	f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "gps-delivery-stream", Region: "eu-central-1", Endpoint: c.server.URL(), Now: trueTime(), Linger: linger,
		Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret, SessionToken: "token"},
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return c.server.Dial(ctx, network, addr)
		}})
	if err != nil {
		t.Fatal(err)
	}
	return c, f, dials, stop
}

// A connection is kept from one flush to the next where that is less than carriers take to forget it, and closed soon where not.
func TestAConnectionIsKeptForTheLingerAndNotMuchLonger(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		linger, pause time.Duration
		dials         int64
	}{
		{time.Minute, 61 * time.Second, 1},
		{time.Minute, 95 * time.Second, 1},
		{time.Minute, 110 * time.Second, 5},
		{5 * time.Minute, 10 * time.Second, 1},
		{5 * time.Minute, 20 * time.Second, 5},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, f, dials, stop := dialed(t, tt.linger)
			defer stop()
			defer f.CloseIdle()
			for range 5 {
				if _, err := f.Put(t.Context(), [][]byte{[]byte("line\n")}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.pause)
			}
			if n := dials.Load(); n != tt.dials {
				t.Errorf("linger %v, a call each %v: %d connections for 5 calls, want %d", tt.linger, tt.pause, n, tt.dials)
			}
		})
	}
}

func TestAChangeOfTheLinkClosesTheConnectionOfBefore(t *testing.T) {
	t.Parallel()
	for _, changed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			_, f, dials, stopServer := dialed(t, time.Minute)
			defer stopServer()
			log := newFakeLog()
			log.appendN(1)
			u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: f, LiveFirst: true})
			defer stop()
			time.Sleep(time.Second)
			if changed {
				u.LinkChanged()
			}
			log.appendN(1)
			time.Sleep(time.Second)
			synctest.Wait()
			want := int64(1)
			if changed {
				want = 2
			}
			if n := dials.Load(); n != want || log.open() != nil {
				t.Errorf("link changed %v: %d connections for 2 calls, want %d; not acknowledged %v", changed, n, want, log.open())
			}
		})
	}
}

// What a day has cost is told by direction and with what is billed, and is kept over a restart.
func TestTheDaysCostIsKeptByDirection(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/uplink.json"
	synctest.Test(t, func(t *testing.T) {
		c, f, _, stopServer := dialed(t, time.Minute)
		defer stopServer()
		now := trueTime()
		o := uplink.Options{Encoder: &plain{}, Sink: f, Pack: true, LiveFirst: true, StateFile: file, Today: func() (time.Time, bool) { return now(), true }}
		log := newFakeLog()
		log.append(drive(100)...)
		u, stop := start(t, log, o)
		time.Sleep(time.Minute)
		one := u.Status()
		stop()
		if one.DayUp != one.BytesUp || one.DayDown != one.BytesDown || one.DayBytes != one.DayUp+one.DayDown || one.DayBilled != one.BilledBytes || one.DayRecords != 100 || one.DayUp < 14_000 || one.DayDown < 300 {
			t.Errorf("after the first call: %+v", one)
		}
		if counted := c.server.Counters(); uint64(counted.Billed) != one.BilledBytes {
			t.Errorf("billed %d, the stream says %d", one.BilledBytes, counted.Billed)
		}
		log.append(drive(100)...)
		u, stop = start(t, log, o)
		time.Sleep(time.Minute)
		two := u.Status()
		if two.DayRecords != 200 || two.DayUp != two.BytesUp || two.DayBilled != one.DayBilled+two.BilledBytes { // the sink counts on
			t.Errorf("after a restart: %+v", two)
		}
		time.Sleep(24 * time.Hour)
		log.append(drive(1)...)
		time.Sleep(time.Second)
		synctest.Wait()
		if three := u.Status(); three.Day != "2026-11-24" || three.DayRecords != 1 || three.DayBilled != 5120 || three.DayUp != three.BytesUp-two.BytesUp || three.DayUp == 0 {
			t.Errorf("on the next day: %+v", three)
		}
		stop()
	})
}

// What is not billed by the record is not said to be.
func TestOnlyFirehoseBillsByTheStep(t *testing.T) {
	t.Parallel()
	d, err := uplink.NewDirectory(uplink.DirectoryOptions{Path: t.TempDir(), Stream: "s"})
	if err != nil {
		t.Fatal(err)
	}
	log := newFakeLog()
	log.appendN(10)
	running := make(chan struct{})
	u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: d, Pack: true, OnState: func(c uplink.StateChange) {
		if c.To == uplink.StateStarting {
			close(running)
		}
	}})
	<-running
	if err := u.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := u.Status()
	stop()
	if st.Delivered != 10 || st.BilledBytes != 0 || !strings.HasPrefix(st.Sink, "directory") {
		t.Errorf("%+v", st)
	}
}
