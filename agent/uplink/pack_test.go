package uplink_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"obdagent/agent/uplink"
)

// Whatever the lines' lengths: every call is within the limits, every entry ends with a newline and holds whole lines, an
// entry is filled until no further line fits below the multiple of the billing step it was opened with, and every line
// arrives once, in order.
func TestCallsAreWithinTheLimitsAndEntriesFilledToTheBillingStep(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		pack := rapid.Bool().Draw(rt, "pack")
		size := rapid.SampledFrom([]*rapid.Generator[int]{rapid.IntRange(1, 300), rapid.IntRange(1, 300), rapid.IntRange(1, 12_000), rapid.IntRange(400_000, uplink.MaxEntryBytes-20)}).Draw(rt, "kind of lines")
		sizes := rapid.SliceOfN(size, 1, 700).Draw(rt, "sizes")
		for sum, i := 0, 0; i < len(sizes); i++ {
			if sum += sizes[i]; sum > 2<<20 {
				sizes = sizes[:i+1] // more calls show nothing new
			}
		}
		synctest.Test(t, func(t *testing.T) {
			log, sink := newFakeLog(), &fakeSink{}
			var want []string
			for i, n := range sizes {
				want = append(want, fmt.Sprintf("%d:%s", i, strings.Repeat("x", n)))
			}
			log.append(want...)
			_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: pack})
			time.Sleep(time.Hour)
			stop()
			if got := sink.got(); !slices.Equal(want, got) {
				rt.Fatalf("%d lines arrived, not the %d that went out in their order", len(got), len(want))
			}
			for _, call := range sink.all() {
				total := 0
				for i, e := range call {
					total += len(e)
					n := len(lines(e))
					switch {
					case len(e) == 0 || len(e) > uplink.MaxEntryBytes || !strings.HasSuffix(e, "\n"):
						rt.Fatalf("an entry of %d bytes", len(e))
					case !pack && n != 1:
						rt.Fatalf("%d lines in an entry that was to hold one", n)
					case pack && i+1 < len(call):
						next := lines(call[i+1])[0]
						step := max(8*uplink.BillingStep, (len(lines(e)[0])+uplink.BillingStep)/uplink.BillingStep*uplink.BillingStep)
						if len(e)+len(next)+1 <= step {
							rt.Fatalf("an entry of %d bytes was closed before a line of %d, %d fit", len(e), len(next)+1, step)
						}
						if n > 1 && len(e) > step {
							rt.Fatalf("an entry of %d lines has %d bytes, beyond %d", n, len(e), step)
						}
					}
				}
				if len(call) == 0 || len(call) > uplink.MaxEntries || total > uplink.MaxCallBytes {
					rt.Fatalf("a call of %d entries and %d bytes", len(call), total)
				}
			}
		})
	})
}

func TestCallsGrowToHalfAMiBAndNoFurther(t *testing.T) {
	t.Parallel()
	for _, pack := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			log, sink := newFakeLog(), &fakeSink{}
			line := strings.Repeat("x", 9_999)
			for range 500 {
				log.append(line)
			}
			_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: pack})
			time.Sleep(time.Minute)
			stop()
			most := 0
			for _, call := range sink.all() {
				size := 0
				for _, e := range call {
					size += len(e)
				}
				most = max(most, size)
			}
			if most > 512<<10 || most <= 512<<10-10_000 { // a fast link: memory is the limit
				t.Errorf("pack %v: the largest call has %d bytes", pack, most)
			}
			if got := len(sink.got()); got != 500 {
				t.Errorf("%d lines arrived", got)
			}
		})
	}
}

func TestALineOfTheLargestSizeGoesAndOneByteMoreIsSetAside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		log.append(strings.Repeat("x", uplink.MaxEntryBytes-1), strings.Repeat("y", uplink.MaxEntryBytes))
		var aside []uint64
		_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: true, Aside: func(seq uint64, _ []byte, _ error) { aside = append(aside, seq) }})
		time.Sleep(time.Minute)
		stop()
		if len(sink.got()) != 1 || !slices.Equal(aside, []uint64{2}) {
			t.Errorf("%d delivered, %v set aside", len(sink.got()), aside)
		}
	})
}

func TestASlowLinkGetsSmallCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, sink := newFakeLog(), &fakeSink{}
		sink.answer = func(_ context.Context, _ int, entries []string) ([]uplink.Failure, error) {
			size := 0
			for _, e := range entries {
				size += len(e)
			}
			time.Sleep(time.Duration(size) * time.Second / 2000)
			return nil, nil
		}
		log.appendN(50_000) // 0.6 MB
		_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: sink, Pack: true, AirTime: 30 * time.Second})
		time.Sleep(time.Hour)
		stop()
		for i, call := range sink.all() {
			size := 0
			for _, e := range call {
				size += len(e)
			}
			if i > 0 && size > 60_000 {
				t.Errorf("call %d carries %d bytes, %d s of air time", i, size, size/2000)
			}
		}
		if got := len(sink.got()); got != 50_000 {
			t.Errorf("%d delivered", got)
		}
	})
}
