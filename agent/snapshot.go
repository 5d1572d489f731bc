package agent

import (
	"context"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"obdagent/agent/clock"
	"obdagent/agent/status"
	"obdagent/gps"
	"obdagent/obd"
)

const (
	// logEvery is the rhythm of the status log.
	logEvery = time.Minute
	// lookEvery is how often faults are looked for: each shows within that time after it is due. The shortest is due after 15 s.
	lookEvery = 5 * time.Second
)

// supervise writes the status log's regular line, and tells systemd that the agent is ready, how it is, and that it makes
// progress. Outside of systemd the latter does nothing.
func (a *Agent) supervise(ctx context.Context) error {
	lines := time.NewTicker(logEvery)
	defer lines.Stop()
	dog := time.Duration(math.MaxInt64)
	if interval := a.opts.systemd.watchdog; interval > 0 {
		dog = interval / 2 // as sd_watchdog_enabled(3) recommends
	}
	feed := time.NewTicker(dog)
	defer feed.Stop()
	wedged := ""
	looks := time.NewTicker(lookEvery)
	defer looks.Stop()
	a.notify(daemon.SdNotifyReady)
	told := teller{agent: a}
	first := a.Snapshot()
	told.tell(&first)
	for {
		select {
		case <-ctx.Done():
			a.notify(daemon.SdNotifyStopping)
			return nil
		case <-lines.C:
			s := a.Snapshot()
			line := s.Line()
			if a.status != nil {
				a.status.Print(line)
			}
			a.page.Line(a.clockTime() + line)
		case <-looks.C:
			s := a.Snapshot()
			told.tell(&s)
		case <-feed.C:
			was := wedged
			if wedged = a.pulses.wedged(); wedged == "" {
				a.notify(daemon.SdNotifyWatchdog)
			} else if wedged != was {
				a.log.Error("the watchdog is not fed: a task is stuck; systemd will end this process with a dump of what each part does, and start it anew", "task", wedged)
				a.logEvent("wedged", "task", wedged)
			}
		}
	}
}

// startedBy is the systemd that started this process. Where it was not systemd, telling it does nothing.
func startedBy() systemd {
	s := systemd{notify: func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	}}
	if interval, err := daemon.SdWatchdogEnabled(false); err == nil && interval > 0 {
		s.watchdog = interval
	}
	return s
}

// A teller tells of what has changed since it last told: of each fault that shows or is over in a line of the status log, of the verdict
// to systemd.
type teller struct {
	agent   *Agent
	faults  map[string]float64 // those that showed, by code: for how many seconds
	verdict string
}

func (t *teller) tell(s *status.Snapshot) {
	shown := map[string]float64{}
	for _, f := range s.Faults {
		if _, before := t.faults[f.Code]; !before {
			t.agent.event("fault", "code", f.Code, "severity", string(f.Severity), "text", f.Text, "do", f.Action)
		}
		shown[f.Code] = f.Since
	}
	for _, code := range slices.Sorted(maps.Keys(t.faults)) {
		if _, still := shown[code]; !still {
			t.agent.event("fault_over", "code", code, "lasted_s", strconv.FormatFloat(t.faults[code], 'f', 0, 64))
		}
	}
	t.faults = shown
	if s.Verdict != t.verdict {
		t.verdict = s.Verdict
		t.agent.notify("STATUS=" + s.Verdict)
	}
}

func (a *Agent) notify(state string) {
	if err := a.opts.systemd.notify(state); err != nil {
		a.log.Warn("notify systemd", "err", err)
	}
}

// Snapshot is the state of the agent now. It may be called from any goroutine.
func (a *Agent) Snapshot() status.Snapshot {
	a.judging.Lock() // the history wants its snapshots in order
	defer a.judging.Unlock()
	now := clock.Boottime()
	t := a.clock.Status()
	s := status.Snapshot{
		Version:  a.opts.Version,
		DeviceID: a.deviceID,
		BootID:   t.BootID,
		PID:      os.Getpid(),
		Uptime:   seconds(now - a.started),
		Time:     t.Time.Round(time.Millisecond),
		TimeSrc:  string(t.Source),
		Car:      a.carStatus(now),
		GPS:      a.gpsStatus(now),
		Record: status.Record{
			Made: a.made.Load(), Refused: a.refused.Load(), Undated: a.undated.Load(), Dropped: a.dropped.Load(),
			LeftOut: a.leftOut.Load(),
		},
		Buffer: a.bufferStatus(),
		Uplink: a.uplinkStatus(),
		Config: a.configStatus(),
	}
	if last := a.lastMade.Load(); last != 0 {
		s.Record.LastAge = ptr(seconds(now - time.Duration(last)))
	}
	if t.SaveError != nil {
		s.ClockError = t.SaveError.Error()
	}
	a.history.Judge(now, &s)
	return s
}

func (a *Agent) carStatus(now time.Duration) status.Car {
	car := a.car.now()
	if car == nil {
		return status.Car{State: "none"}
	}
	c := car.Status()
	s := status.Car{
		State: string(c.State), Since: seconds(now - c.Since), Reason: c.Reason, Cause: c.Cause, Port: c.Port, Baud: c.Baud,
		Adapter: c.Vehicle.Adapter, Protocol: c.Vehicle.Protocol, ECU: c.Vehicle.ECU, VIN: c.Vehicle.VIN,
		Voltage: number(c.Voltage), SpeedHz: c.SpeedHz, AskedHz: c.AskedHz, Requests: c.Requests, Answers: c.Answers, Failures: c.Failures,
	}
	switch {
	case s.VIN != "":
		s.VINSrc = "ecu"
	case a.inForce.Load().Vehicle.VIN != "":
		s.VIN, s.VINSrc = a.inForce.Load().Vehicle.VIN, "config"
	}
	if t := c.Trouble; t != nil {
		s.MIL, s.DTCs = ptr(t.MIL), t.Stored
		for _, e := range t.Others {
			if len(e.Stored) == 0 {
				continue
			}
			if s.OtherDTCs == nil {
				s.OtherDTCs = map[string][]string{}
			}
			s.OtherDTCs[e.ECU] = e.Stored
		}
	}
	for _, r := range c.Rates {
		s.Rates = append(s.Rates, status.Rate{Signal: r.Signal, AskedHz: math.Round(r.AskedHz*1000) / 1000, Hz: math.Round(r.Hz*1000) / 1000, Unsupported: r.Unsupported})
	}
	// The last good value never outlives its source.
	if last := a.lastSpeed.Load(); last != nil && c.State == obd.StateLive && now-last.Mono < 2*time.Second {
		s.Speed = number(last.Value)
	}
	if why := a.noSpeed.Load(); why != nil && c.State == obd.StateLive {
		s.SpeedCause = *why
	}
	return s
}

func (a *Agent) gpsStatus(now time.Duration) status.GPS {
	receiver := a.gps.now()
	if receiver == nil {
		return status.GPS{State: "none", Fix: "none"}
	}
	g := receiver.Status()
	s := status.GPS{
		State: string(g.State), Since: seconds(now - g.Since), Reason: g.Reason, Cause: string(g.Cause), Port: g.Port, Baud: g.Baud, Fix: "none",
		Epochs: g.Epochs, Fixes: g.Fixes, BadSentence: g.BadChecksum + g.BadSentence, NoiseBytes: g.NoiseBytes, Binary: g.Binary,
	}
	if g.LastFix.Mono == 0 {
		return s
	}
	if lag := a.lag.Load(); lag != nil {
		if lag.Known {
			s.Lag, s.SpeedRatio = ptr(seconds(lag.Estimate)), number(lag.Ratio)
		}
		if lag.Applied != 0 {
			s.LagApplied = ptr(seconds(lag.Applied))
		}
	}
	age := now - g.LastFix.Mono
	s.Age = ptr(seconds(age))
	// The last good value never outlives its source, nor the epochs that have one.
	if g.State == gps.StateFix && age < 5*time.Second {
		s.Fix = g.LastFix.Mode.String()
		s.Speed = number(g.LastFix.Speed * 3.6)
		s.HDOP = number(g.LastFix.HDOP)
		if g.LastFix.Sats >= 0 {
			s.Sats = ptr(g.LastFix.Sats)
		}
	}
	return s
}

func (a *Agent) bufferStatus() status.Buffer {
	b := a.buffer.Stats()
	s := status.Buffer{State: b.State, Records: b.Records, Bytes: b.Bytes, MaxBytes: b.MaxBytes, Unsynced: b.Unsynced,
		Commits: b.Commits, Lost: b.LostRecords, UnsyncedAge: seconds(b.OldestUnsynced), Quarantined: b.Quarantined,
		PayloadBytes: b.Payload, WrittenBytes: b.Written}
	if b.Records > 0 {
		s.OldestAge, s.OldestBeforeStart = ptr(seconds(b.OldestAge)), b.OldestBeforeOpen
	}
	if b.Syncs.Total() > 0 {
		s.Syncs = &status.Syncs{Last: b.Syncs.Last.Seconds(), Max: b.Syncs.Max.Seconds(), Sum: b.Syncs.Sum.Seconds(), Count: b.Syncs.Count[:]}
	}
	if d := a.buffer.Device(); d.Name != "" {
		s.Device = &status.Device{Name: d.Name, WrittenBytes: d.Written, LifeUsed: d.LifeUsed, Reserve: d.Reserve}
		if b.Payload >= perPayloadFrom {
			s.Device.PerPayload = number(float64(d.Written) / float64(b.Payload))
		}
	}
	return s
}

// perPayloadFrom is how much payload it takes before what the device writes for it says anything: filling the first segments costs
// 1 MiB each, once.
const perPayloadFrom = 1 << 20

func (a *Agent) uplinkStatus() status.Uplink {
	u := a.uplink.Status()
	s := status.Uplink{
		State: string(u.State), Reason: u.Reason, Cause: string(u.Cause), Linger: a.inForce.Load().Uplink.Linger.Seconds(), Target: u.Sink, Delivered: u.Delivered, Calls: u.Calls, Failed: u.FailedCalls,
		Retried: u.Retried, Aside: u.Aside, Pending: u.Pending, BytesUp: u.BytesUp, BytesDown: u.BytesDown,
		Entries: u.Entries, LineBytes: u.LineBytes, PayloadBytes: u.PayloadBytes, BilledBytes: u.BilledBytes,
		Day: u.Day, DayBytes: u.DayBytes, DayUpBytes: u.DayUp, DayDownBytes: u.DayDown, DayBilledBytes: u.DayBilled, DayRecords: u.DayRecords,
		BudgetBytes: u.BudgetBytes, CallTime: seconds(u.CallTime), LostReports: u.LostReports,
	}
	if !u.Since.IsZero() {
		s.Since = seconds(time.Since(u.Since))
	}
	if !u.LastSuccess.IsZero() {
		s.LastAge = ptr(seconds(time.Since(u.LastSuccess)))
	}
	if !u.NextTry.IsZero() {
		s.NextTry = ptr(max(0, seconds(time.Until(u.NextTry))))
	}
	return s
}

// seconds has milliseconds: more is noise.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

func ptr[T any](v T) *T { return &v }

// number is absent for NaN, and has two decimals.
func number(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'f', 2, 64), 64)
	if err != nil { // what FormatFloat wrote always parses
		return nil
	}
	return &short
}
