package uplink_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/agent/uplink"
	"obdagent/buffer"
)

// van is a log that makes a record each period, at the same moments as all others, and keeps nothing.
type van struct {
	start  time.Time
	period time.Duration

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
	return buffer.Entry{Seq: r.next - 1, Data: []byte("a record")}, true, nil
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
			v := &van{start: s.start, period: time.Minute, acked: map[uint64]bool{}, low: 1}
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
