package clock_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"obdagent/agent/clock"
)

// A crystal is a board whose clock runs off: it counts millionths more than there are.
type crystal struct {
	*board
	millionths float64
	now        time.Time // in the world
	rest       float64   // ns not yet counted
}

func (c *crystal) pass(d time.Duration) {
	c.now = c.now.Add(d)
	counted := float64(d)*(1+c.millionths/1e6) + c.rest
	c.rest = counted - float64(time.Duration(counted))
	c.board.pass(time.Duration(counted))
}

// epoch feeds the epoch of now, arriving delay late.
func (c *crystal) epoch(delay time.Duration) { c.clock.Epoch(c.now, c.mono+delay) }

func TestTheOffsetFollowsAClockThatRunsOff(t *testing.T) {
	t.Parallel()
	for _, millionths := range []float64{-50, -5, 0, 5, 50} {
		t.Run(fmt.Sprint(millionths), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, 1))
			c := &crystal{board: newBoard(t), millionths: millionths, now: truth}
			for range 6 * 3600 {
				// A receiver at 4800 baud: never earlier than 60 ms, at times half a second later.
				delay := 60*time.Millisecond + time.Duration(rng.ExpFloat64()*float64(60*time.Millisecond))
				c.epoch(min(delay, 400*time.Millisecond))
				c.pass(time.Second)
				if got, src := c.clock.At(c.mono); src == clock.GNSS {
					// At least late by the least delay; the largest offset of 64 s may be 64 s of drift old.
					if late := c.now.Sub(got); late < 55*time.Millisecond || late > 150*time.Millisecond {
						t.Fatalf("at %v the clock is %v late", c.now, late)
					}
				}
			}
			if got := c.clock.Status().Dropped; got != 0 {
				t.Errorf("trust was dropped %d times", got)
			}
		})
	}
}

func TestADayOfSuspendIsDatedOnBothSides(t *testing.T) {
	t.Parallel()
	for _, millionths := range []float64{-50, 50} {
		c := &crystal{board: newBoard(t), millionths: millionths, now: truth}
		type moment struct {
			mono time.Duration
			at   time.Time
		}
		var moments []moment
		note := func() { moments = append(moments, moment{c.mono, c.now}) }
		note() // before the time is known
		for range 10 {
			c.pass(time.Second)
			c.epoch(0)
		}
		note()
		c.pass(24 * time.Hour) // 4.3 s off
		c.board.system = time.Unix(0, 0)
		note()
		for range 4 {
			c.pass(time.Second)
			c.epoch(0)
		}
		note()
		if got := c.clock.Status().Dropped; got != 1 {
			t.Errorf("%v: trust was dropped %d times, want once", millionths, got)
		}
		for restart := range 2 {
			for i, m := range moments {
				if got, src := c.clock.At(m.mono); src != clock.GNSS || got.Sub(m.at).Abs() > 100*time.Millisecond {
					t.Errorf("%v, restart %d: moment %d is dated %v off (%s)", millionths, restart, i, got.Sub(m.at), src)
				}
			}
			c.start()
		}
	}
}

func TestNTPIsBetterThanAReceiverOfYesterday(t *testing.T) {
	t.Parallel()
	c := &crystal{board: newBoard(t), millionths: 50, now: truth}
	for range 3 {
		c.epoch(0)
		c.pass(time.Second)
	}
	sync := func() { c.system, c.synced = c.now, true }
	c.pass(11 * time.Hour)
	sync()
	if _, src := c.clock.At(c.mono); src != clock.GNSS {
		t.Errorf("after 11 hours without the receiver: %s, want gnss", src)
	}
	c.pass(13 * time.Hour)
	sync()
	if got, src := c.clock.At(c.mono); src != clock.NTP || !got.Equal(c.now) {
		t.Errorf("after a day without the receiver: %s, %v off; want ntp, right", src, got.Sub(c.now))
	}
	for range 3 {
		c.epoch(0)
		c.pass(time.Second)
	}
	if got, src := c.clock.At(c.mono); src != clock.GNSS || got.Sub(c.now).Abs() > 100*time.Millisecond {
		t.Errorf("with the receiver again: %s, %v off; want gnss", src, got.Sub(c.now))
	}
}

func TestRecordsOfBootOneAreSentInBootThree(t *testing.T) {
	t.Parallel()
	c := &crystal{board: newBoard(t), now: truth}
	early := c.mono // made before boot 1 knew the time
	for range 3 {
		c.epoch(0)
		c.pass(time.Second)
	}
	late := c.mono
	c.pass(time.Hour)
	c.boot("boot-2", time.Unix(12, 0)) // no sky
	c.pass(48 * time.Hour)
	c.boot("boot-3", time.Unix(12, 0))
	for name, want := range map[string]time.Time{"before trust": truth, "after trust": truth.Add(3 * time.Second)} {
		mono := map[string]time.Duration{"before trust": early, "after trust": late}[name]
		if got, src, final := c.clock.Date("boot-1", mono, time.Unix(13, 0)); !got.Equal(want) || src != clock.GNSS || !final {
			t.Errorf("%s: %v, %s, final %t; want %v, gnss, final", name, got, src, final, want)
		}
	}
	if got, src, final := c.clock.Date("boot-2", 30*time.Second, time.Unix(22, 0)); !got.IsZero() || src != clock.None || !final {
		t.Errorf("of boot 2, that had no sky: %v, %s, final %t; want none, final", got, src, final)
	}
}

// A made record and the truth about it.
type madeRecord struct {
	boot   string
	mono   time.Duration
	system time.Time
	at     time.Time // in the world
	src    clock.Source
	dated  time.Time // when it was made
}

func TestEveryRecordThatCanBeDatedIsDatedRightAndNoneWrongly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		b := &board{t: t, path: t.TempDir() + "/clock.json"}
		c := &crystal{board: b, now: truth, millionths: rapid.Float64Range(-50, 50).Draw(rt, "millionths")}
		b.boot("boot-0", time.Unix(0, 0))
		var records []madeRecord
		boots := 0
		knew := map[string][]time.Duration{} // moments at which each boot learned the time
		rollover := time.Duration(0)
		note := func() {
			dated, src := b.clock.At(b.mono)
			records = append(records, madeRecord{b.bootID, b.mono, b.system, c.now, src, dated})
		}
		steps := map[string]func(*rapid.T){
			"boot": func(rt *rapid.T) {
				c.pass(time.Duration(rapid.Int64Range(0, int64(72*time.Hour)).Draw(rt, "off")))
				system := rapid.SampledFrom([]time.Time{time.Unix(0, 0), time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), c.now.Add(-3 * time.Hour)}).Draw(rt, "system")
				boots++
				b.boot(fmt.Sprintf("boot-%d", boots), system)
				rollover = rapid.SampledFrom([]time.Duration{0, 0, -1024 * 7 * 24 * time.Hour}).Draw(rt, "rollover")
			},
			"restart": func(*rapid.T) { b.start() },
			"suspend": func(rt *rapid.T) {
				c.pass(time.Duration(rapid.Int64Range(0, int64(30*time.Hour)).Draw(rt, "asleep")))
				b.synced = false
			},
			"drive": func(rt *rapid.T) {
				// A receiver may begin with up to two epochs of a wrong date; then it is right.
				wrong := rapid.IntRange(0, 2).Draw(rt, "wrong")
				by := time.Duration(rapid.Int64Range(int64(3*time.Second), int64(1000*time.Hour)).Draw(rt, "by"))
				for range wrong {
					b.clock.Epoch(c.now.Add(by+rollover), b.mono+50*time.Millisecond)
					c.pass(time.Second)
					note()
				}
				for range rapid.IntRange(3, 90).Draw(rt, "epochs") {
					delay := time.Duration(rapid.Int64Range(int64(50*time.Millisecond), int64(300*time.Millisecond)).Draw(rt, "delay"))
					b.clock.Epoch(c.now.Add(rollover), b.mono+delay)
					c.pass(time.Second)
				}
				knew[b.bootID] = append(knew[b.bootID], b.mono)
			},
			"network": func(*rapid.T) {
				b.system, b.synced = c.now, true
				if _, src := b.clock.Now(); src == clock.NTP {
					knew[b.bootID] = append(knew[b.bootID], b.mono)
				}
			},
			"no network": func(*rapid.T) { b.synced = false },
			"clock set by hand": func(rt *rapid.T) {
				b.system, b.synced = c.now.Add(time.Duration(rapid.Int64Range(int64(-100*24*time.Hour), int64(100*24*time.Hour)).Draw(rt, "off"))), false
			},
			"record": func(*rapid.T) {
				note()
				c.pass(time.Second)
			},
		}
		rt.Repeat(steps)
		for i, r := range records {
			got, src := r.dated, r.src
			if src == clock.None {
				got, src, _ = b.clock.Date(r.boot, r.mono, r.system)
			}
			switch src {
			case clock.GNSS, clock.NTP:
				// What the board's clock can have run off since the nearest moment at which the time was known, of those that
				// could be known when the record was dated.
				far := time.Duration(math.MaxInt64)
				for _, m := range knew[r.boot] {
					if r.src == clock.None || m <= r.mono {
						far = min(far, (r.mono - m).Abs())
					}
				}
				if off := got.Sub(r.at).Abs(); off > 400*time.Millisecond+time.Duration(60e-6*float64(far)) {
					rt.Fatalf("record %d of %s is dated %v off by %s, %v after the time was known", i, r.boot, got.Sub(r.at), src, far)
				}
			case clock.System, clock.None:
				if len(knew[r.boot]) > 0 {
					rt.Fatalf("record %d of %s goes with time source %s, but its boot knew the time", i, r.boot, src)
				}
				if src == clock.System && !got.Equal(r.system.UTC()) {
					rt.Fatalf("record %d has a system time that it was not made with", i)
				}
			}
		}
	})
}
