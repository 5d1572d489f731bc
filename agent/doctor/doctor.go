package doctor

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"obdagent/agent/config"
	"obdagent/agent/status"
)

// Level is how a check came out.
type Level string

// The levels.
const (
	OK   Level = "OK"
	Warn Level = "WARN" // it works, and somebody should look
	Fail Level = "FAIL"
)

// A Check is one line of the acceptance test.
type Check struct {
	Name   string   `json:"check"` // power ports adapter car gps clock disk credentials roundtrip
	Level  Level    `json:"level"`
	Text   string   `json:"text"`              // what was found
	Action string   `json:"action,omitempty"`  // the next thing to do; absent with OK
	Code   string   `json:"code,omitempty"`    // of the fault behind it (docs/faults.md)
	Held   []Holder `json:"held_by,omitempty"` // of ports: the programs in the way
}

// A Report is the whole test.
type Report struct {
	Level  Level   `json:"level"` // the worst of the checks
	Daemon int     `json:"daemon_pid,omitempty"`
	Device string  `json:"device_id"`
	Agent  string  `json:"version"`
	Checks []Check `json:"checks"`
}

// Options says what is examined. Config and Snapshot are needed.
type Options struct {
	Config *config.Config
	// Snapshot asks the agent that is examined.
	Snapshot func(context.Context) (status.Snapshot, error)
	// Daemon is set where that agent is the running daemon.
	Daemon bool
	// Superuser is set where this user may read what is root's: then an agent of the doctor's own has had the credentials that there are.
	Superuser bool
	// Refused is why the agent that is examined could not be given the configured uplink; nil: it was.
	Refused error
	// Patience bounds the whole test; default 5 minutes. Each check has a bound of its own below it.
	Patience time.Duration
	// Tell, if set, gets each check as soon as it is done, and Wait what is being waited for.
	Tell func(Check)
	Wait func(what string)
	// Root is where proc, sys and dev lie; default /.
	Root string
	// Ports lists the serial ports that auto may take; default: the system's.
	Ports func() ([]string, error)
}

// How long each check waits for what it wants to see. A fault that shows by then ends the wait.
const (
	patience     = 5 * time.Minute
	waitAdapter  = time.Minute      // seven line speeds
	waitCar      = 45 * time.Second // the search through all protocols
	waitSpeed    = 30 * time.Second
	waitFix      = 3 * time.Minute // a cold start
	waitClock    = 30 * time.Second
	lookInterval = 500 * time.Millisecond
)

// Run makes all checks. The error is that of ctx, or of an agent that gave no answer at all: then there is no report.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Patience == 0 {
		o.Patience = patience
	}
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Ports == nil {
		o.Ports = Ports
	}
	r := &run{o: o, end: time.Now().Add(o.Patience)}
	if err := r.look(ctx); err != nil {
		return nil, err
	}
	report := &Report{Level: OK, Device: r.last.DeviceID, Agent: r.last.Version}
	if o.Daemon {
		report.Daemon = r.last.PID
	}
	for _, step := range []struct {
		name string
		make func(context.Context) Check
	}{
		{"power", r.power}, {"ports", r.ports}, {"adapter", r.adapter}, {"car", r.car}, {"gps", r.gps}, {"clock", r.clock},
		{"disk", r.disk}, {"credentials", r.credentials}, {"roundtrip", r.roundTrip},
	} {
		c := step.make(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		c.Name = step.name
		report.Checks = append(report.Checks, c)
		if c.Level == Fail || c.Level == Warn && report.Level == OK {
			report.Level = c.Level
		}
		if o.Tell != nil {
			o.Tell(c)
		}
	}
	return report, nil
}

// run is a test under way.
type run struct {
	o    Options
	end  time.Time
	last status.Snapshot // as of the last look that was answered
	lost error           // why the last look was not
}

// look asks the agent. A daemon that is restarted meanwhile is asked again.
func (r *run) look(ctx context.Context) error {
	s, err := r.o.Snapshot(ctx)
	if r.lost = err; err == nil {
		r.last = s
	}
	return err
}

// await looks until the agent is as it should be. It gives up when hopeless says so, and when the time is over.
func (r *run) await(ctx context.Context, what string, most time.Duration, good, hopeless func(*status.Snapshot) bool) bool {
	end := time.Now().Add(most)
	if r.end.Before(end) {
		end = r.end
	}
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	told := false
	for {
		err := r.look(ctx)
		switch {
		case err == nil && good(&r.last):
			return true
		case err == nil && hopeless(&r.last), ctx.Err() != nil, !time.Now().Before(end):
			return false
		}
		if !told && r.o.Wait != nil {
			told = true
			r.o.Wait(fmt.Sprintf("%s, for up to %v", what, time.Until(end).Round(time.Second)))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// fault is the worst fault of a stage that holds, shown or not yet.
func (r *run) fault(stage status.Stage) (status.Active, bool) {
	for _, list := range [][]status.Active{r.last.Faults, r.last.Pending} {
		for _, a := range list {
			if a.Stage == stage {
				return a, true
			}
		}
	}
	return status.Active{}, false
}

// shown tells whether a stage has a fault that has lasted: waiting longer is of no use.
func shown(stage status.Stage) func(*status.Snapshot) bool {
	return func(s *status.Snapshot) bool {
		for _, a := range s.Faults {
			if a.Stage == stage && a.Severity != status.Warning {
				return true
			}
		}
		return false
	}
}

// ofFault is a check that has found a fault of the catalogue. text is what is wrong here; empty: the fault's title.
func ofFault(level Level, code, text string) Check {
	f := status.Lookup(code)
	if text == "" {
		text = f.Title
	}
	return Check{Level: level, Code: code, Text: text, Action: f.Action}
}

// bad is a check of a stage that does not do its part: for the fault that the agent tells, else for another.
func (r *run) bad(stage status.Stage, other Check) Check {
	if r.lost != nil {
		return Check{Level: Fail, Text: r.lost.Error(), Action: "see why the daemon has stopped: journalctl -u obdagent"}
	}
	if a, ok := r.fault(stage); ok {
		if a.Code == noCredentials {
			a.Action = r.forCredentials(a.Action)
		}
		return Check{Level: Fail, Code: a.Code, Text: a.Text, Action: a.Action}
	}
	return other
}

const (
	noCredentials = "UPL-NO-CREDENTIALS" // the fault of the cause "credentials"
	// besideDaemon is what helps an agent of the doctor's own, whose user may not read what obdagent.service hands the daemon.
	besideDaemon = "run this as root, which may read the credentials of /etc/obdagent, or beside the daemon, whose unit hands them over (systemctl start obdagent)"
)

// forCredentials is what to do about missing ones.
func (r *run) forCredentials(action string) string {
	if r.o.Daemon || r.o.Superuser {
		return action
	}
	return besideDaemon + "; else " + action
}

// Line is a check for a person.
func (c Check) Line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-4s  %-12s %s", c.Level, c.Name, c.Text)
	if c.Code != "" {
		fmt.Fprintf(&b, " [%s]", c.Code)
	}
	b.WriteByte('\n')
	if c.Action != "" {
		fmt.Fprintf(&b, "      %-12s -> %s\n", "", c.Action)
	}
	return b.String()
}

// Verdict is the report's last line.
func (r *Report) Verdict() string {
	var bad []string
	for _, c := range r.Checks {
		if c.Level != OK {
			bad = append(bad, c.Name)
		}
	}
	how := "with an agent of its own, as the daemon does not run"
	if r.Daemon != 0 {
		how = fmt.Sprintf("beside the running daemon (process %d)", r.Daemon)
	}
	text := string(r.Level)
	if len(bad) > 0 {
		text += ": see " + strings.Join(bad, ", ")
	}
	return fmt.Sprintf("%s. obdagent %s, device %s, examined %s.\n", text, r.Agent, r.Device, how)
}

// Render writes the whole report for a person.
func (r *Report) Render(w io.Writer) error {
	var b strings.Builder
	for _, c := range r.Checks {
		b.WriteString(c.Line())
	}
	b.WriteString(r.Verdict())
	_, err := io.WriteString(w, b.String())
	return err
}
