package uplink_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

// unpack reads one gzip member and fails if there is anything but that one.
func unpack(member string) (string, error) {
	src := bytes.NewReader([]byte(member))
	z, err := gzip.NewReader(src)
	if err != nil {
		return "", err
	}
	z.Multistream(false)
	text, err := io.ReadAll(z)
	if err != nil {
		return "", err
	}
	if src.Len() != 0 {
		return "", fmt.Errorf("%d bytes follow the member", src.Len())
	}
	return string(text), nil
}

// noise is text that gzip cannot shrink to much less than six bits a character.
func noise(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('0' + r.IntN(64))
	}
	return string(b)
}

func TestEachEntryIsOneGzipMemberWithinTheLimitsWhateverTheLinesAre(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		pack := rapid.Bool().Draw(rt, "pack")
		noisy := rapid.Bool().Draw(rt, "noisy")
		size := rapid.SampledFrom([]*rapid.Generator[int]{rapid.IntRange(1, 300), rapid.IntRange(1, 300), rapid.IntRange(1, 5_000)}).Draw(rt, "kind of lines")
		sizes := rapid.SliceOfN(size, 1, 100).Draw(rt, "sizes")
		r := rng2(rapid.Uint64().Draw(rt, "seed"))
		var want []string
		for sum, i := 0, 0; i < len(sizes) && sum < 20_000; i++ {
			line := strings.Repeat("x", sizes[i])
			if noisy {
				line = noise(r, sizes[i])
			}
			want = append(want, fmt.Sprintf("%d:%s", i, line))
			sum += sizes[i]
		}
		synctest.Test(t, func(t *testing.T) {
			log, sink := newFakeLog(), &fakeSink{}
			log.append(want...)
			_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: pack, Gzip: true})
			time.Sleep(time.Hour)
			stop()
			var got []string
			for _, call := range sink.all() {
				total := 0
				for _, e := range call {
					text, err := unpack(e)
					if err != nil || len(e) > uplink.MaxEntryBytes {
						rt.Fatalf("an entry of %d bytes: %v", len(e), err)
					}
					if n := len(lines(text)); !pack && n != 1 {
						rt.Fatalf("%d lines in an entry that was to hold one", n)
					}
					got = append(got, lines(text)...)
					total += len(e)
				}
				if len(call) > uplink.MaxEntries || total > uplink.MaxCallBytes {
					rt.Fatalf("a call of %d entries and %d bytes", len(call), total)
				}
			}
			if !slices.Equal(want, got) {
				rt.Fatalf("%d lines arrived, not the %d that went out in their order", len(got), len(want))
			}
			if n := len(log.open()); n != 0 {
				rt.Fatalf("%d records are not acknowledged", n)
			}
		})
	})
}

func TestLinesThatDoNotShrinkStayWithinTheLimitsToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		r := rng2(1)
		for range 3 {
			log.append(noise(r, uplink.MaxEntryBytes-2_000))
		}
		log.append(strings.Repeat("x", uplink.MaxEntryBytes-500)) // might not fit as a member
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: true, Gzip: true})
		time.Sleep(time.Hour)
		st := u.Status()
		stop()
		for _, call := range sink.all() {
			total := 0
			for _, e := range call {
				if len(e) > uplink.MaxEntryBytes {
					t.Errorf("an entry of %d bytes", len(e))
				}
				total += len(e)
			}
			if total > uplink.MaxCallBytes {
				t.Errorf("a call of %d bytes", total)
			}
		}
		if st.Delivered != 3 || st.Aside != 1 {
			t.Errorf("%d delivered, %d set aside", st.Delivered, st.Aside)
		}
	})
}

// With part of the entries failing at random, the objects of the bucket are gzip files from end to end: any reader that knows
// RFC 1952 (a file is a series of members) sees every line once.
func TestObjectsOfMembersUnpackAsTheyAreThroughPartialFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, stop := newCloud(t, firehosetest.Options{Seed: 5}, uplink.StreamOptions{})
		defer stop()
		c.server.SetFaults(firehosetest.Faults{FailEntry: 0.5, Throttle: 0.4})
		log := newFakeLog()
		want := drive(8_000)
		log.append(want...)
		u, end := start(t, log, uplink.Options{Encoder: &plain{}, Sink: c.sink, Pack: true, Gzip: true, LiveFirst: true, Linger: time.Minute})
		time.Sleep(3 * time.Hour)
		st := u.Status()
		end()
		got := c.lines(t)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(want, got) {
			t.Errorf("%d lines arrived, want %d, each once", len(got), len(want))
		}
		if st.Retried == 0 || st.FailedCalls == 0 {
			t.Errorf("nothing failed: %d entries again, %d calls", st.Retried, st.FailedCalls)
		}
		if counted := c.server.Counters(); uint64(counted.Billed) != st.BilledBytes || uint64(counted.Bytes) != st.PayloadBytes {
			t.Errorf("billed %d, payload %d; the stream counted %d and %d", st.BilledBytes, st.PayloadBytes, counted.Billed, counted.Bytes)
		}
	})
}

// What is billed of a backlog is at most a tenth more than what was sent.
func TestMembersOfABacklogCloseBelowABillingStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		log.append(drive(16_000)...)
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: true, Gzip: true, LiveFirst: true})
		time.Sleep(time.Hour)
		st := u.Status()
		stop()
		if st.Delivered != 16_000 {
			t.Fatalf("%d delivered", st.Delivered)
		}
		if share := float64(st.BilledBytes) / float64(st.PayloadBytes); share > 1.10 {
			t.Errorf("%.3f bytes are billed for each byte sent", share)
		}
		if ratio := float64(st.PayloadBytes) / float64(st.LineBytes); ratio > 0.15 {
			t.Errorf("lines shrink to %.3f only", ratio)
		}
	})
}
