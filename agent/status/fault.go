package status

import (
	"slices"
	"strings"
	"time"
)

// Severity says how bad a fault is.
type Severity string

// The severities, the worst first. Critical and Error make the agent degraded.
const (
	Critical Severity = "critical" // records are being lost, or soon will be
	Error    Severity = "error"    // a stage does not do its part; what is recorded is kept
	Warning  Severity = "warning"  // everything is done, and somebody should look
)

// severities are those, the worst first.
var severities = []Severity{Critical, Error, Warning}

// A Stage is a part of the way of a record.
type Stage string

// The stages, in the order in which a technician accepts an installation.
const (
	StagePower  Stage = "power"
	StageCar    Stage = "car"
	StageGPS    Stage = "gps"
	StageClock  Stage = "clock"
	StageBuffer Stage = "buffer"
	StageUplink Stage = "uplink"
	StageConfig Stage = "config" // no part of the way: what all of them go by
)

// Stages lists them in that order.
func Stages() []Stage {
	return []Stage{StagePower, StageCar, StageGPS, StageClock, StageBuffer, StageUplink, StageConfig}
}

// A Fault is one thing that can go wrong. Code, Stage and Severity are a contract: scripts and alarms are made of them.
type Fault struct {
	Code     string
	Stage    Stage
	Severity Severity
	Title    string // what is wrong, in general
	Action   string // the one next thing to do
	// DependsOn are the codes of faults that explain this one: while one of them holds, this one is not shown.
	DependsOn []string
	// After is how long it must last before it shows. Shorter than that is what a start, a tunnel or a hiccup of a bus takes.
	After time.Duration

	// holds looks whether a snapshot has it.
	holds func(*Snapshot, *History) sign
}

// A sign is what a snapshot tells of one fault.
type sign struct {
	on    bool
	held  float64 // s, that it has held for, as far as the snapshot itself tells; History may know of more
	grace float64 // s, that it may last beyond Fault.After, in this configuration
	text  string  // what is wrong here and now; empty: the title
}

// Active is a fault that holds.
type Active struct {
	Code     string   `json:"code"` // docs/faults.md
	Stage    Stage    `json:"stage"`
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`    // what is wrong, where
	Action   string   `json:"action"`  // the next thing to do
	Since    float64  `json:"since_s"` // how long it has held
}

// Lookup is the fault with a code of the catalogue; the zero Fault for another.
func Lookup(code string) Fault {
	if i := slices.IndexFunc(faults, func(f Fault) bool { return f.Code == code }); i >= 0 {
		return faults[i]
	}
	return Fault{}
}

// Faults returns every fault that there is, in the order of the stages.
func Faults() []Fault { return slices.Clone(faults) }

// hiccup is what does not show at all: an answer of the car that is late, an epoch that is missing.
const hiccup = 2 * time.Second

// A History remembers since when each fault holds, so that only what lasts is shown. It is pure: it learns of time and state
// from Judge alone. Its zero value is ready to use.
type History struct {
	now    time.Duration
	wasOK  bool                     // the state was OK once
	since  map[string]time.Duration // by code; absent: does not hold
	counts map[string]risen
	share  share
}

// Judge takes the next snapshot and the moment at which it was made, on any clock that does not jump, and fills in its State,
// Verdict, Faults and Pending. Snapshots must come in order, and the more often the better: a fault that comes and goes between
// two of them is not seen.
func (h *History) Judge(now time.Duration, s *Snapshot) {
	if h.since == nil {
		h.since, h.counts = map[string]time.Duration{}, map[string]risen{}
	}
	h.now = now
	h.share.add(now, s)
	signs := map[string]sign{}
	for _, f := range faults {
		sign := f.holds(s, h)
		if !sign.on {
			delete(h.since, f.Code)
			continue
		}
		began := now - time.Duration(sign.held*float64(time.Second))
		if known, ok := h.since[f.Code]; !ok || began < known {
			h.since[f.Code] = began
		}
		signs[f.Code] = sign
	}
	s.Faults, s.Pending = nil, nil
	for _, f := range faults {
		sign := signs[f.Code]
		if !sign.on || slices.ContainsFunc(f.DependsOn, func(code string) bool { return signs[code].on }) {
			continue
		}
		held := now - h.since[f.Code]
		a := Active{Code: f.Code, Stage: f.Stage, Severity: f.Severity, Text: orElse(sign.text, f.Title), Action: f.Action, Since: float64(held.Milliseconds()) / 1000}
		switch {
		case held >= f.After+time.Duration(sign.grace*float64(time.Second)):
			s.Faults = append(s.Faults, a)
		case held >= hiccup || !h.wasOK: // at the start all must be seen to work
			s.Pending = append(s.Pending, a)
		}
	}
	s.Faults, s.Pending = worstFirst(s.Faults), worstFirst(s.Pending)
	s.State = state(s.Faults, s.Pending)
	h.wasOK = h.wasOK || s.State == OK
	s.Verdict = verdict(s)
}

// worstFirst orders faults, which come in the order of the stages, by their severity. (A sort would take 7 KB of the binary.)
func worstFirst(in []Active) []Active {
	out := make([]Active, 0, len(in)) // not nil, for JSON
	for _, severity := range severities {
		for _, a := range in {
			if a.Severity == severity {
				out = append(out, a)
			}
		}
	}
	return out
}

func state(shown, pending []Active) string {
	bad := func(a Active) bool { return a.Severity != Warning }
	switch {
	case slices.ContainsFunc(shown, bad):
		return Degraded
	case slices.ContainsFunc(pending, bad):
		return Waiting
	}
	return OK
}

// verdict is the state and what it is about, in one line.
func verdict(s *Snapshot) string {
	about := s.Faults
	if s.State == Waiting {
		about = slices.DeleteFunc(slices.Clone(s.Pending), func(a Active) bool { return a.Severity == Warning })
	}
	word := strings.ToUpper(s.State)
	if len(about) == 0 {
		return word
	}
	line := word + " " + about[0].Code + ": " + about[0].Text
	if !strings.Contains(about[0].Text, about[0].Action) {
		line += " -> " + about[0].Action
	}
	if len(about) > 1 {
		line += "; also " + codes(about[1:])
	}
	return line
}

// risen is a counter that was seen to rise.
type risen struct {
	value uint64
	at    time.Duration
}

// rose tells whether a counter, which counts since the start, has risen within the window.
func (h *History) rose(name string, value uint64, window time.Duration) bool {
	last := h.counts[name]
	if value > last.value {
		last.at = h.now
	}
	last.value = value
	h.counts[name] = last
	return value > 0 && h.now-last.at < window
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}
