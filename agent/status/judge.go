package status

import (
	"fmt"
	"strings"
	"time"
)

// How long a state may last before it is a problem. Shorter than these is what a start, a tunnel or a hiccup of a bus takes.
const (
	graceCar    = 15.0  // s: opening, probing two line speeds
	graceSearch = 60.0  // s: an adapter may search the car's protocol for 30 s
	graceGPS    = 15.0  // s: probing two line speeds
	graceNoFix  = 180.0 // s: a cold start takes 30 to 60 s under open sky; the rest is a depot's roof
	graceClock  = 300.0 // s: nothing is sent undated before uplink.time_wait, whose default this is
	graceUplink = 60.0  // s beyond the linger: a coverage hole in a town
)

// Judge adds the problems of each stage and sets the verdict. linger is how long a record may wait for company.
func (s *Snapshot) Judge(linger time.Duration) {
	s.judgeCar()
	s.judgeGPS()
	if (s.TimeSrc == "none" || s.TimeSrc == "system") && s.Uptime > graceClock {
		s.problem("clock", "the time is not known: neither the GPS nor the network vouches for it",
			"see to the GPS; records wait for uplink.time_wait and then go with the system clock's time, or without")
	}
	if s.Buffer.State != OK {
		s.problem("buffer", s.Buffer.State, "see to the disk that holds buffer.dir; until then records are kept in memory only")
	}
	if d := s.Buffer.Device; d != nil && (d.LifeUsed > 100 || d.Reserve == "urgent") {
		s.problem("buffer", "the flash "+d.Name+" says that it is worn out", "replace the board or its card before it fails; what is sent is safe")
	}
	if s.Record.Refused > 0 {
		s.problem("buffer", fmt.Sprintf("%d records were refused", s.Record.Refused), "see why records do not go out, or give buffer.max_bytes more room")
	}
	s.judgeUplink(linger)
	s.State = OK
	if len(s.Problems) > 0 {
		s.State = Degraded
	}
}

func (s *Snapshot) problem(stage, text, action string) {
	s.Problems = append(s.Problems, Problem{Stage: stage, Text: text, Action: action})
}

func (s *Snapshot) judgeCar() {
	c := &s.Car
	switch {
	case c.State == "absent" && c.Since > graceCar:
		s.problem("car", orElse(c.Reason, "no adapter"), "plug the adapter into the board, or name its port in obd.port")
	case c.State == "probing" && c.Since > graceSearch:
		s.problem("car", orElse(c.Reason, "no ELM327 answers"), "check the adapter's cable and power, or set obd.port and obd.baud")
	case c.State == "search" && c.Since > graceSearch:
		s.problem("car", orElse(c.Reason, "the car does not answer"), "switch the ignition on and check the OBD plug")
	case c.State == "live" && c.Since > graceCar && c.Speed == nil:
		s.problem("car", "the car answers, but not with its speed", "look at the failures in status --json")
	}
}

func (s *Snapshot) judgeGPS() {
	g := &s.GPS
	switch {
	case g.State == "absent" && g.Since > graceGPS:
		s.problem("gps", orElse(g.Reason, "no receiver"), "plug the receiver in, or name it in gps.source")
	case (g.State == "silent" || g.State == "probing") && g.Since > graceGPS:
		s.problem("gps", orElse(g.Reason, "the receiver sends nothing that can be read"), "check the receiver's cable, or set gps.baud")
	case g.State == "no_fix" && g.Since > graceNoFix:
		s.problem("gps", orElse(g.Reason, "no position"), "give the antenna a free view of the sky")
	}
}

func (s *Snapshot) judgeUplink(linger time.Duration) {
	u := &s.Uplink
	grace := graceUplink + linger.Seconds()
	switch {
	case u.State == "refused":
		s.problem("uplink", orElse(u.Reason, "the destination refuses"), "see to the stream, the credentials and the permission")
	case (u.State == "down" || u.State == "throttled") && u.Since > grace:
		s.problem("uplink", orElse(u.Reason, "nothing gets through"), "check the modem and uplink.endpoint; records are kept until then")
	}
	if u.Aside > 0 {
		s.problem("uplink", fmt.Sprintf("%d records can never be sent and were set aside", u.Aside), "look at aside.jsonl in buffer.dir and report it")
	}
}

// Verdict is the state and what it is about, in one line.
func (s *Snapshot) Verdict() string {
	if len(s.Problems) == 0 {
		return "OK"
	}
	var texts []string
	for _, p := range s.Problems {
		texts = append(texts, p.Stage+": "+p.Text)
	}
	return "degraded: " + strings.Join(texts, "; ")
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}
