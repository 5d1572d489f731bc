package agent_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"obdagent/agent/agenttest"
	"obdagent/agent/clock"
	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/agent/record"
	"obdagent/agent/status"
	"obdagent/gps/nmeasim"
)

// wokenIn1970 is the system clock of a board without a battery: it begins with the kernel.
func wokenIn1970() time.Time { return time.Unix(0, 0).Add(clock.Boottime()) }

// ahead is by how much the clock of a board is off that nobody has set, and that looks credible.
const ahead = 36 * time.Hour

func wrongClock() time.Time { return time.Now().Add(ahead) }

// transmit plays a receiver on a bare port, at 5 Hz: each epoch is what at makes of its moment.
func transmit(t *testing.T, port io.Writer, at func(time.Time) []byte) {
	background(t, func(ctx context.Context) error {
		epochs := time.NewTicker(200 * time.Millisecond)
		defer epochs.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case now := <-epochs.C:
				if _, err := port.Write(at(now.Truncate(10 * time.Millisecond))); err != nil {
					return err
				}
			}
		}
	})
}

// depot is where the receivers of transmit are.
var depot = nmeasim.State{Fix: true, Lat: -6.3385652, Lon: 106.9447146, Alt: 42, Sats: 9, HDOP: 1}

// withoutDates leaves out the sentences that have one.
func withoutDates(burst []byte) (out []byte) {
	for line := range bytes.Lines(burst) {
		if !bytes.Contains(line, []byte("RMC")) {
			out = append(out, line...)
		}
	}
	return out
}

func TestABoardThatWakesIn1970DatesItsRecordsAndSignsItsCalls(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "pace") // records are compared with where the vehicle was
	r := newRig(t)
	firehose := r.firehose(stream) // refuses signatures that are five minutes off
	r.often()
	sim := r.simulate(demo.SimOptions{Rate: 5, Seed: movingSeed})
	sim.SetSky(false)
	r.opts.SetBoard("boot-a", wokenIn1970, false)
	r.start()
	driven := func(x record.Record) bool { speed, ok := x.SpeedOBD.Get(); return ok && speed > 15 }
	r.untilRecords("records of a drive", 10, driven)
	s := r.until("uplink that waits for the time", func(s status.Snapshot) bool { return s.Uplink.State == "waiting" })
	if s.TimeSrc != "none" || s.Record.Undated != s.Record.Made || s.Uplink.Calls > 0 || firehose.Counters().Calls > 0 {
		t.Errorf("time_src %s, %d of %d records undated, %d calls sent, %d received", s.TimeSrc, s.Record.Undated, s.Record.Made, s.Uplink.Calls, firehose.Counters().Calls)
	}
	undated := len(r.records())
	sim.SetSky(true)
	r.until("delivery of everything", func(s status.Snapshot) bool {
		return settled(s) && s.TimeSrc == "gnss" && s.Uplink.State == "ok" && s.Record.Made > uint64(undated)+10
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for _, x := range r.records()[:undated] {
		if !x.Time.IsZero() || x.TimeSrc != clock.None {
			t.Errorf("nobody knew the time when record %d was made, and yet it has %v, %s", x.Seq, x.Time, x.TimeSrc)
		}
	}
	delivered, _ := deliveredAsMade(t, r.records(), firehose.lines(), nil)
	for _, x := range delivered {
		if x.Time.IsZero() || x.TimeSrc != clock.GNSS {
			t.Errorf("record %d went with time %v, %s", x.Seq, x.Time, x.TimeSrc)
		}
		truthful(t, sim, x)
	}
	if n := r.agent.Snapshot().Uplink.Failed; n > 0 {
		t.Errorf("%d calls failed", n)
	}
}

func TestAReceiverThatCountsItsWeeksFromNaughtAgainIsUnderstood(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.Uplink.TimeWait = patience
	r.often()
	const rollover = 1024 * 7 * 24 * time.Hour
	transmit(t, r.plug(), func(now time.Time) []byte { return nmeasim.AppendEpoch(nil, now.Add(-rollover), depot) })
	r.opts.SetBoard("boot-a", wokenIn1970, false)
	r.start()
	r.untilRecords("dated records", 3, func(x record.Record) bool { return x.TimeSrc == clock.GNSS })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	delivered, _ := deliveredAsMade(t, r.records(), objectLines(t, r.cfg.Uplink.Path), nil)
	for _, x := range delivered {
		if d := x.Time.Sub(momentOf(x)).Abs(); d > datingError || x.TimeSrc != clock.GNSS {
			t.Errorf("record %d went with time %v (%s), %v from the truth", x.Seq, x.Time, x.TimeSrc, d)
		}
	}
}

func TestWhereNobodyKnowsTheTimeRecordsGoWithTheSystemClockOrWithout(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		system func() time.Time
		source clock.Source
		dates  bool // the receiver has a date, but no position
		format string
	}{
		"a credible clock, a receiver without a date":     {wrongClock, clock.System, false, config.FormatJSON},
		"a credible clock, a receiver without a position": {wrongClock, clock.System, true, config.FormatJSON},
		"a clock of 1970, as JSON":                        {wokenIn1970, clock.None, false, config.FormatJSON},
		"a clock of 1970, as text":                        {wokenIn1970, clock.None, false, config.FormatText},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.cfg.Record.Format = test.format
			r.cfg.Uplink.TimeWait = time.Second
			r.often()
			transmit(t, r.plug(), func(now time.Time) []byte {
				if test.dates {
					return nmeasim.AppendEpoch(nil, now, nmeasim.State{Sats: 2})
				}
				return withoutDates(nmeasim.AppendEpoch(nil, now, depot))
			})
			r.opts.SetBoard("boot-a", test.system, false)
			r.start()
			r.until("record that waits", func(s status.Snapshot) bool { return s.Record.Made > 0 && s.Uplink.State == "waiting" })
			r.until("delivery after the wait", func(s status.Snapshot) bool { return s.Uplink.Delivered >= 5 })
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			placed := 0
			for _, line := range objectLines(t, r.cfg.Uplink.Path) {
				if test.format == config.FormatText {
					if columns := strings.Split(line, " "); len(columns) != 6 || columns[1] != "NaN" {
						t.Errorf("the time was not known: %q", line)
					}
					continue
				}
				x := parse(t, line)
				if x.TimeSrc != test.source || x.Time.IsZero() != (test.source == clock.None) {
					t.Errorf("the time is vouched for by %s, not by %s: %s", x.TimeSrc, test.source, line)
				}
				// What a tick notices late is dated by its moment, and the system clock by when it was noticed.
				if d := x.Time.Sub(momentOf(x)) - ahead; test.source == clock.System && d.Abs() > time.Second {
					t.Errorf("the system clock did not say that at that moment, %v off: %s", d, line)
				}
				if x.Lat.IsSet() {
					placed++
				}
			}
			if test.format == config.FormatJSON && (placed > 0) == test.dates {
				t.Errorf("%d records have a position", placed)
			}
		})
	}
}

func TestARecordHasTheTimeOfItsOwnBoot(t *testing.T) {
	t.Parallel()
	for name, learned := range map[string]bool{"that learned it after the record": true, "that never learned it, whatever is known now": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.often()
			r.cfg.Uplink.Linger = time.Hour // nothing goes out in the first boot
			r.opts.DrainOnStop = 0
			sim := r.simulate(demo.SimOptions{Rate: 5})
			sim.SetSky(false)
			r.opts.SetBoard("boot-a", wrongClock, false)
			r.start()
			r.untilRecords("undated records", 5, func(x record.Record) bool { return x.Time.IsZero() })
			first, source := len(r.records()), clock.System
			if learned {
				source = clock.GNSS
				sim.SetSky(true)
				r.until("time", func(s status.Snapshot) bool { return s.TimeSrc == "gnss" })
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}

			r.cfg.Uplink.Linger, r.opts.DrainOnStop = 50*time.Millisecond, 5*time.Second
			sim.SetSky(true)
			r.opts.SetBoard("boot-b", wokenIn1970, false)
			r.start()
			r.until("delivery of both boots", func(s status.Snapshot) bool {
				return s.TimeSrc == "gnss" && s.Uplink.Delivered >= uint64(len(r.records()))
			})
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			old := 0
			for _, x := range r.delivered() {
				if x.Seq > uint64(first) || x.BootID != "boot-a" {
					continue
				}
				old++
				want := momentOf(x)
				if source == clock.System {
					want = want.Add(ahead)
				}
				if d := x.Time.Sub(want).Abs(); x.TimeSrc != source || d > time.Second {
					t.Errorf("record %d has time %v by %s, want %v by %s", x.Seq, x.Time, x.TimeSrc, want, source)
				}
			}
			if old != first {
				t.Errorf("%d of the first boot's %d undated records were delivered", old, first)
			}
		})
	}
}
