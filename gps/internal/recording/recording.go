// Package recording takes a recorded NMEA log apart into the bursts that a receiver sent, gives each its place in time by
// the times in the sentences, and can move all these times to another day with the checksums made right again.
//
// It changes nothing but times and dates: noise, binary islands and broken sentences stay where they are.
package recording

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	day = 24 * time.Hour
	// maxPause bounds the wait between two bursts: a longer gap in the times is a gap in the recording.
	maxPause = 10 * time.Second
	// defaultPause stands where the times do not tell: none given, or a step back.
	defaultPause = time.Second
)

// A Burst is what a receiver sent for one epoch.
type Burst struct {
	Offset time.Duration // since the first burst
	Data   []byte
}

// A Recording is a log in bursts.
type Recording struct {
	Bursts []Burst
	begin  anchor
}

// anchor is an epoch of which the instant is known.
type anchor struct {
	rank   int // 0 none, 1 time of day only, 2 dated, 3 dated and valid
	at     time.Time
	offset time.Duration
}

// Parse takes a log apart. The bursts share its memory.
func Parse(log []byte) *Recording {
	r := &Recording{}
	b := burst{tod: -1}
	var offset time.Duration
	period := defaultPause
	begin, end := 0, 0
	for line := range bytes.Lines(log) {
		s, ok := parse(line)
		if ok && b.ends(s) {
			r.Bursts = append(r.Bursts, Burst{offset, log[begin:end:end]})
			if s.tod >= 0 && b.tod >= 0 {
				period = pause(s.tod - b.tod)
			}
			offset += period
			b = burst{tod: -1}
			begin = end
		}
		end += len(line)
		if ok {
			b.add(s)
			r.anchor(s, offset)
		}
	}
	if end > begin {
		r.Bursts = append(r.Bursts, Burst{offset, log[begin:end:end]})
	}
	return r
}

// burst is one in the making.
type burst struct {
	tod  time.Duration // -1 before the first time
	seen []string
}

// ends reports whether s belongs to the next burst: its time is another, or there is no time and it came already.
func (b *burst) ends(s stamped) bool {
	if s.tod >= 0 && b.tod >= 0 {
		return (s.tod - b.tod).Abs() > 9*time.Millisecond
	}
	if s.typ == "GSA" || s.typ == "VTG" {
		return false
	}
	for _, n := range b.seen {
		if n == s.name {
			return true
		}
	}
	return false
}

func (b *burst) add(s stamped) {
	if b.tod < 0 {
		b.tod = s.tod
	}
	b.seen = append(b.seen, s.name)
}

func pause(step time.Duration) time.Duration {
	if step < -day/2 {
		step += day
	}
	if step <= 0 {
		return defaultPause
	}
	return min(step, maxPause)
}

// anchor keeps the best known instant: receivers begin with a made-up date and correct it with the first fix.
func (r *Recording) anchor(s stamped, offset time.Duration) {
	rank := 0
	switch {
	case s.tod < 0:
	case s.date.IsZero():
		rank = 1
	case s.typ == "RMC" && s.fields[2] == "A":
		rank = 3
	default:
		rank = 2
	}
	if rank > r.begin.rank {
		r.begin = anchor{rank, s.date.Add(s.tod), offset}
	}
}

// Duration returns the offset of the last burst.
func (r *Recording) Duration() time.Duration {
	if len(r.Bursts) == 0 {
		return 0
	}
	return r.Bursts[len(r.Bursts)-1].Offset
}

// MoveTo rewrites times, dates and checksums so that the first burst is of the given instant, cut to the second. A
// recording without dates gets the times of day only; one without times stays as it is.
func (r *Recording) MoveTo(start time.Time) {
	if r.begin.rank == 0 {
		return
	}
	want := start.UTC().Add(r.begin.offset)
	delta := want.Sub(r.begin.at)
	if r.begin.rank == 1 {
		tod := want.Sub(want.Truncate(day))
		delta = tod - r.begin.at.Sub(time.Time{})
	}
	for i := range r.Bursts {
		r.Bursts[i].Data = Shift(r.Bursts[i].Data, delta)
	}
}

// Shift returns data with the times and dates of its sentences moved by delta, cut to the second, and with their
// checksums made right.
func Shift(data []byte, delta time.Duration) []byte {
	delta = delta.Truncate(time.Second)
	out := make([]byte, 0, len(data)+16)
	for line := range bytes.Lines(data) {
		s, ok := parse(line)
		if !ok || !s.shift(delta) {
			out = append(out, line...)
			continue
		}
		out = append(out, line[:s.start]...)
		out = Append(out, strings.Join(s.fields, ","))
		out = append(out, line[s.end:]...)
	}
	return out
}

// Append appends a sentence: '$', the body, '*' and the checksum.
func Append(dst []byte, body string) []byte {
	var sum byte
	for i := range len(body) {
		sum ^= body[i]
	}
	dst = append(dst, '$')
	dst = append(dst, body...)
	return fmt.Appendf(dst, "*%02X", sum)
}

// stamped is a sentence that has, or could have, a time.
type stamped struct {
	start, end int // of '$' to checksum in the line
	name       string
	typ        string
	fields     []string // fields[0] is the name
	tod        time.Duration
	date       time.Time // midnight; zero if there is none
}

// timeField is the index of the time by sentence type, counted with the name as 0.
var timeField = map[string]int{"RMC": 1, "GGA": 1, "GNS": 1, "ZDA": 1, "GLL": 5, "GST": 1, "GBS": 1, "GRS": 1, "GSA": -1, "VTG": -1}

func parse(line []byte) (stamped, bool) {
	start := bytes.LastIndexByte(line, '$')
	star := bytes.LastIndexByte(line, '*')
	if start < 0 || star < start+6 || star+3 > len(line) {
		return stamped{}, false
	}
	body := string(line[start+1 : star])
	if again := Append(nil, body); !strings.EqualFold(string(again), string(line[start:star+3])) {
		return stamped{}, false
	}
	s := stamped{start: start, end: star + 3, fields: strings.Split(body, ","), tod: -1}
	s.name = s.fields[0]
	if len(s.name) != 5 || s.name[0] == 'P' {
		return stamped{}, false
	}
	s.typ = s.name[2:]
	at, ok := timeField[s.typ]
	if !ok || at >= len(s.fields) {
		return stamped{}, false
	}
	if at > 0 {
		s.tod = timeOfDay(s.fields[at])
	}
	switch {
	case s.typ == "RMC" && len(s.fields) > 9:
		if t, err := time.Parse("020106", s.fields[9]); err == nil {
			s.date = t
		}
	case s.typ == "ZDA" && len(s.fields) > 4:
		if t, err := time.Parse("02012006", s.fields[2]+s.fields[3]+s.fields[4]); err == nil {
			s.date = t
		}
	}
	return s, true
}

// shift moves the time and date of s and reports whether it had any.
func (s *stamped) shift(delta time.Duration) bool {
	if s.tod < 0 {
		return false
	}
	at := timeField[s.typ]
	t := s.date.Add(s.tod + delta)
	s.fields[at] = t.Format("150405") + s.fields[at][6:]
	if s.date.IsZero() {
		return true
	}
	switch s.typ {
	case "RMC":
		s.fields[9] = t.Format("020106")
	case "ZDA":
		s.fields[2], s.fields[3], s.fields[4] = t.Format("02"), t.Format("01"), t.Format("2006")
	}
	return true
}

// timeOfDay reads hhmmss.sss; -1 if it is none.
func timeOfDay(s string) time.Duration {
	if len(s) < 6 {
		return -1
	}
	h, err1 := strconv.ParseUint(s[:2], 10, 8)
	m, err2 := strconv.ParseUint(s[2:4], 10, 8)
	sec, err3 := strconv.ParseFloat(s[4:], 64)
	if err1 != nil || err2 != nil || err3 != nil || h > 23 || m > 59 || !(sec >= 0 && sec < 60) {
		return -1
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(sec*float64(time.Second))
}
