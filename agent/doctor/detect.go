package doctor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"obdagent/agent/status"
	"obdagent/gps"
	"obdagent/obd"
)

// Kind is what answers on a port.
type Kind string

// The kinds.
const (
	KindAdapter  Kind = "adapter"
	KindReceiver Kind = "receiver"
	KindUnknown  Kind = "unknown" // nothing that is understood
	KindHeld     Kind = "held"    // another program has it: it was left alone
	KindMissing  Kind = "missing" // it cannot be opened
)

// A Found is a port and what was found on it.
type Found struct {
	Port   string   `json:"port"`   // as it was named
	Device string   `json:"device"` // that the name leads to
	Kind   Kind     `json:"kind"`
	Text   string   `json:"text"`           // what answers, or why it is not known
	Baud   int      `json:"baud,omitempty"` // 0 where it means nothing
	Held   []Holder `json:"held_by,omitempty"`
	Serial string   `json:"serial,omitempty"`  // number of the device, as udev knows it; empty: it has none
	IDPath string   `json:"id_path,omitempty"` // udev's name of the socket that it is plugged into
	Stable string   `json:"stable,omitempty"`  // a name that stays with the device, or with its socket where it has no number of its own
}

// How long a port is listened to and asked.
const (
	// hearAll is a round through all line speeds, and the reports of a slow receiver.
	hearAll = 15 * time.Second
	// askAll is the identification of an adapter at all line speeds.
	askAll = 30 * time.Second
)

// DetectOptions says where to look.
type DetectOptions struct {
	Ports  []string          // those to look at; empty: all of the system
	InUse  map[string]Found  // by device: those that the running daemon uses, and as what
	Root   string            // where proc, run and dev lie; default /
	Looked func(port string) // if set, is told of each port before it is looked at
	now    func() time.Duration
}

// Detect looks at the ports, all at a time. The error is that of ctx, or of listing them.
func Detect(ctx context.Context, o DetectOptions) ([]Found, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	begin := time.Now()
	o.now = func() time.Duration { return time.Since(begin) }
	ports := o.Ports
	if len(ports) == 0 {
		var err error
		if ports, err = Ports(); err != nil {
			return nil, err
		}
	}
	found := make([]Found, len(ports)) // not nil, for JSON
	var wg sync.WaitGroup
	for i, port := range ports {
		if o.Looked != nil {
			o.Looked(port)
		}
		wg.Go(func() { found[i] = o.detect(ctx, port) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return found, nil
}

// detect looks at one port.
func (o *DetectOptions) detect(ctx context.Context, port string) Found {
	f := Found{Port: port, Device: realPath(port), Kind: KindUnknown}
	f.name(o.Root)
	if used, ok := o.InUse[f.Device]; ok {
		f.Kind, f.Text, f.Baud = used.Kind, used.Text, used.Baud
		return f
	}
	if f.Held, _ = Holders(filepath.Join(o.Root, "proc"), f.Device); len(f.Held) > 0 {
		f.Kind = KindHeld
		f.Text = fmt.Sprintf("held by %v; to free it: %s", f.Held[0], f.Held[0].Free)
		return f
	}
	// A receiver must not be written to, so it is listened for first.
	if o.hear(ctx, &f) || f.Kind != KindUnknown {
		return f
	}
	o.ask(ctx, &f)
	return f
}

// hear listens for a receiver. It reports whether there is one.
func (o *DetectOptions) hear(ctx context.Context, f *Found) bool {
	receiver, err := gps.New(gps.Options{Source: f.Port, Now: o.now})
	if err != nil {
		f.Text = err.Error()
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, hearAll)
	defer cancel()
	heard := false
	// Run's error is none: what fails is a state.
	_ = receiver.Run(ctx, gps.Handler{
		Fix: func(x gps.Fix) { heard = true; f.Text = "GPS, NMEA, " + fixText(x); cancel() },
		State: func(c gps.StateChange) {
			st := receiver.Status()
			switch c.To {
			case gps.StateSilent, gps.StateNoFix:
				f.Text, f.Baud = c.Reason, st.Baud
				heard = st.Sentences > 0
				if st.Cause == gps.CauseBinary {
					heard = true // it is one, and says what to do
				}
				cancel()
			case gps.StateAbsent:
				f.Text = c.Reason
				f.Kind = map[gps.Cause]Kind{gps.CauseBusy: KindHeld}[st.Cause]
				if f.Kind == "" {
					f.Kind = KindMissing
				}
				cancel()
			}
			if st.Baud > 0 {
				f.Baud = st.Baud
			}
		},
	})
	if heard {
		f.Kind = KindReceiver
	} else if f.Kind == KindUnknown {
		f.Baud = 0
	}
	return heard
}

func fixText(x gps.Fix) string {
	if x.Mode == gps.ModeNone {
		return "no fix yet: " + x.Reason
	}
	return "fix " + x.Mode.String()
}

// ask looks for an adapter. It is left before anything is put to the car's bus.
func (o *DetectOptions) ask(ctx context.Context, f *Found) {
	ctx, cancel := context.WithTimeout(ctx, askAll)
	defer cancel()
	var car *obd.Car
	car, err := obd.New(obd.Options{Port: f.Port, Now: o.now})
	if err != nil {
		f.Text = err.Error()
		return
	}
	done := false
	err = car.Run(ctx, obd.Handler{State: func(c obd.StateChange) {
		st := car.Status()
		switch {
		case done:
		case c.To == obd.StateSearch:
			f.Kind, f.Text, f.Baud = KindAdapter, st.Vehicle.Adapter, st.Baud
			done = true
			cancel()
		case c.To == obd.StateAbsent:
			if f.Text == "" || st.Cause != "not_elm327" {
				f.Text = c.Reason
			}
			done = true
			cancel()
		}
	}})
	if err != nil && !errors.Is(err, context.Canceled) {
		f.Text = err.Error()
	}
	if f.Kind == KindUnknown {
		f.Text = "neither a GPS nor an ELM327: " + f.Text
	}
}

// Line is a port for a person.
func (f Found) Line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-9s %s: %s", f.Kind, f.Port, f.Text)
	if f.Baud > 0 {
		fmt.Fprintf(&b, ", %d baud", f.Baud)
	}
	b.WriteByte('\n')
	if f.Stable != "" && f.Stable != f.Port {
		fmt.Fprintf(&b, "          stays as %s\n", f.Stable)
	}
	return b.String()
}

// InUse are the ports that a running daemon has, by device.
func InUse(s *status.Snapshot) map[string]Found {
	used := map[string]Found{}
	if c := &s.Car; c.Adapter != "" && strings.HasPrefix(c.Port, "/") {
		used[realPath(c.Port)] = Found{Kind: KindAdapter, Baud: c.Baud, Text: fmt.Sprintf("%s, used by the running daemon (process %d)", c.Adapter, s.PID)}
	}
	if g := &s.GPS; g.Epochs > 0 && strings.HasPrefix(g.Port, "/") {
		used[realPath(g.Port)] = Found{Kind: KindReceiver, Baud: g.Baud, Text: fmt.Sprintf("GPS, fix %s, used by the running daemon (process %d)", g.Fix, s.PID)}
	}
	return used
}

// Choose takes the one adapter and the one receiver of what was found; nil where there is none. The error is for a person: there
// is neither, or there are several of a kind.
func Choose(found []Found) (adapter, receiver *Found, err error) {
	var errs []error
	one := func(kind Kind, key string) *Found {
		var all []*Found
		var names []string
		for i := range found {
			if found[i].Kind == kind {
				all, names = append(all, &found[i]), append(names, found[i].Port)
			}
		}
		if len(all) > 1 {
			errs = append(errs, fmt.Errorf("there are %d of the kind %s (%s): set %s to the one to use", len(all), kind, strings.Join(names, ", "), key))
		}
		if len(all) != 1 {
			return nil
		}
		return all[0]
	}
	adapter, receiver = one(KindAdapter, "obd.port"), one(KindReceiver, "gps.source")
	if adapter == nil && receiver == nil && len(errs) == 0 {
		errs = append(errs, errors.New("neither an adapter nor a receiver was found: check plugs and power, and as root who holds the ports (obdagent doctor)"))
	}
	return adapter, receiver, errors.Join(errs...)
}
