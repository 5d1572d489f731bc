package uplink_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
	"obdagent/buffer"
)

// van is a log that makes a record each period, at the same moments as all others, and keeps nothing.
type van struct {
	start  time.Time
	period time.Duration
	size   int // of a record

	mu    sync.Mutex
	acked map[uint64]bool
	low   uint64 // all before it are acknowledged
}

func (v *van) Committed() uint64 { return uint64(time.Since(v.start)/v.period) + 1 }

func (v *van) Ack(from, to uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for s := from; s <= to; s++ {
		v.acked[s] = true
	}
	for v.acked[v.low] {
		delete(v.acked, v.low)
		v.low++
	}
}

func (v *van) Reader(from uint64) *vanReader { return &vanReader{v, max(from, 1)} }

type vanReader struct {
	v    *van
	next uint64
}

func (r *vanReader) Close() {}

func (r *vanReader) TryNext() (buffer.Entry, bool, error) {
	r.v.mu.Lock()
	r.next = max(r.next, r.v.low)
	for r.v.acked[r.next] {
		r.next++
	}
	r.v.mu.Unlock()
	if r.next >= r.v.Committed() {
		return buffer.Entry{}, false, nil
	}
	r.next++
	return buffer.Entry{Seq: r.next - 1, Data: bytes.Repeat([]byte("x"), r.v.size)}, true, nil
}

func (r *vanReader) Next(ctx context.Context) (buffer.Entry, error) {
	for {
		if e, ok, err := r.TryNext(); ok || err != nil {
			return e, err
		}
		timer := time.NewTimer(time.Until(r.v.start.Add(time.Duration(r.v.Committed()) * r.v.period)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return buffer.Entry{}, ctx.Err()
		}
	}
}

// stream counts the calls of a fleet by the second.
type stream struct {
	start time.Time

	mu    sync.Mutex
	calls []int
	taken int
	down  error // what calls end with
}

func (s *stream) Put(_ context.Context, entries [][]byte) ([]uplink.Failure, error) {
	s.mu.Lock()
	at := int(time.Since(s.start) / time.Second)
	for len(s.calls) <= at {
		s.calls = append(s.calls, 0)
	}
	s.calls[at]++
	down := s.down
	s.mu.Unlock()
	time.Sleep(300 * time.Millisecond)
	if down != nil {
		return nil, down
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		s.taken += len(lines(string(e)))
	}
	return nil, nil
}

func (s *stream) String() string { return "the fleet's stream" }

func (s *stream) Billed(n int) uint64 { return billed(n) }

func (s *stream) set(down error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// most returns the largest number of calls in a second of a span.
func (s *stream) most(from, to time.Duration) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for i := int(from / time.Second); i < min(int(to/time.Second), len(s.calls)); i++ {
		n = max(n, s.calls[i])
	}
	return n
}

// Ten thousand vans get power in the same second, make their records in the same moments, lose the stream at once and get it
// back at once. A stream takes 1,000 requests a second (Amazon Data Firehose quotas, the regions with the lower one).
func TestTenThousandVansStayUnderTheStreamsQuota(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a fleet takes seconds")
	}
	vans, quota := 10_000, 1_000
	if race { // which makes ten thousand take a minute: a tenth of the fleet at a tenth of the quota
		vans, quota = 1_000, 100
	}
	synctest.Test(t, func(t *testing.T) {
		failure := &uplink.CallError{Kind: uplink.KindThrottled, Code: "ServiceUnavailableException"}
		s := &stream{start: time.Now()}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		all := make([]*van, vans)
		for i := range all {
			v := &van{start: s.start, period: time.Minute, size: 8, acked: map[uint64]bool{}, low: 1}
			all[i] = v
			u, err := uplink.New(v, uplink.Options{Encoder: &plain{}, Sink: s, Linger: time.Minute, Pack: true, LiveFirst: true, Rand: rng2(uint64(i))})
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				if err := u.Run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		const lost, back, end = 5 * time.Minute, 25 * time.Minute, 35 * time.Minute
		time.Sleep(lost)
		s.set(failure)
		time.Sleep(back - lost)
		s.set(nil)
		time.Sleep(end - back)
		cancel()
		wg.Wait()
		start, outage, after := s.most(0, lost), s.most(lost, back), s.most(back, end)
		t.Logf("most requests in a second: %d from power-on, %d in the outage, %d after it", start, outage, after)
		if max(start, outage, after) > quota {
			t.Errorf("more than %d requests in a second", quota)
		}
		for _, v := range all {
			if missing := v.Committed() - v.low; missing > 3 {
				t.Fatalf("a van still has %d records six minutes after the outage", missing)
			}
		}
		if want := vans * int(end/time.Minute); s.taken < want-3*vans || s.taken > want {
			t.Errorf("%d records arrived of %d", s.taken, want)
		}
	})
}

// Vans whose batches close at a billing step, with records at the same moments, keep apart too: from power-on, while they drive, and however rarely
// they make a record.
func TestVansThatFillTheirStepsDoNotSendTogether(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		period time.Duration
		size   int
	}{{time.Second, 106}, {12 * time.Second, 1_269}} { // 47 and 4 lines a step, in 48 s
		synctest.Test(t, func(t *testing.T) {
			const vans, quota, end = 100, 15, 5 * time.Minute // a hundredth of ten thousand; of the quota too, and some for so small a number
			s := &stream{start: time.Now()}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for i := range vans {
				v := &van{start: s.start, period: tt.period, size: tt.size, acked: map[uint64]bool{}, low: 1}
				u, err := uplink.New(v, uplink.Options{Encoder: &plain{}, Sink: s, Linger: time.Minute, Pack: true, LiveFirst: true, Rand: rng2(uint64(i))})
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					if err := u.Run(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			time.Sleep(end)
			cancel()
			wg.Wait()
			calls := 0
			for _, n := range s.calls {
				calls += n
			}
			// A call each 48 s, but for the first minute and the last.
			if want := vans * int(end/time.Second) / 48; calls < want*9/10 || calls > want*12/10 {
				t.Errorf("a record each %v: %d calls, about %d are wanted", tt.period, calls, want)
			}
			most := s.most(0, end)
			t.Logf("a record each %v: most requests in a second: %d", tt.period, most)
			if most > quota {
				t.Errorf("a record each %v: %d requests in a second", tt.period, most)
			}
		})
	}
}

// A fleet with real requests and the strict endpoint, in memory: power-on in one second, ten minutes of a stream that is down, and each record of
// each van is there once.
func TestAFleetDeliversEachRecordOnceToTheStrictEndpoint(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a fleet takes seconds")
	}
	vans := 60
	if race {
		vans = 15
	}
	synctest.Test(t, func(t *testing.T) {
		c, stopServer := newCloud(t, firehosetest.Options{}, uplink.StreamOptions{})
		defer stopServer()
		begin := time.Now()
		perSecond := map[int]int{}
		well := firehosetest.Faults{Delay: 50 * time.Millisecond, Call: func(int, [][]byte) firehosetest.Verdict {
			perSecond[int(time.Since(begin)/time.Second)]++ // under the server's lock
			return firehosetest.Verdict{}
		}}
		c.server.SetFaults(well)
		var stops []func()
		var logs []*fakeLog
		var want []string
		for i := range vans {
			log := newFakeLog()
			_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: across(t, c, c.server.Dial), Linger: time.Minute, Pack: true, LiveFirst: true, Rand: rng2(uint64(i))})
			logs, stops = append(logs, log), append(stops, stop)
		}
		const minutes = 30
		for m := range minutes {
			switch m {
			case 8:
				c.server.SetFaults(firehosetest.Faults{Down: true})
			case 18:
				c.server.SetFaults(well)
			}
			for i, log := range logs {
				line := fmt.Sprintf("van-%d record-%d", i, m)
				want = append(want, line)
				log.append(line)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(2 * time.Minute)
		for _, stop := range stops {
			stop()
		}
		for i, log := range logs[1:] {
			if open := log.open(); open != nil {
				t.Errorf("van %d: not acknowledged %v", i+1, open)
			}
		}
		check(t, c, logs[0], want, 0)
		most := 0
		for _, n := range perSecond {
			most = max(most, n)
		}
		t.Logf("%d vans: at most %d calls taken in a second", vans, most)
		if most > max(vans/10, 8) { // the quota, 1,000, for the share of ten thousand vans, and some for so small a number
			t.Errorf("%d vans made %d calls in a second", vans, most)
		}
	})
}
