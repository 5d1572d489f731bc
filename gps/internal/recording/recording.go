// Package recording takes a recorded NMEA log apart into the bursts that a receiver sent, gives each its place in time by
// the times in the sentences, and can move all these times to another day with the checksums made right again.
//
// It changes nothing but times and dates: noise, binary islands and broken sentences stay where they are.
package recording

import (
	"bytes"
	"fmt"
	"slices"
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

	tod  time.Duration // -1 if no sentence has a time
	date time.Time     // midnight; zero if no sentence has a date
	cut  time.Duration // how much longer, in the recording's own times, the way from the first burst is than Offset
}

// A Recording is a log in bursts.
type Recording struct {
	Bursts []Burst
	begin  anchor
}

// anchor is an epoch of which the instant is known.
type anchor struct {
	rank  int // 0 none, 1 time of day only, 2 dated, 3 dated and valid
	at    time.Time
	burst int
}

// Parse takes a log apart. The bursts share its memory.
func Parse(log []byte) *Recording {
	r := &Recording{}
	b := Burst{tod: -1}
	var seen []string
	begin, end := 0, 0
	for line := range bytes.Lines(log) {
		s, ok := parse(line)
		if ok && b.ends(s, seen) {
			b.Data = log[begin:end:end]
			r.Bursts = append(r.Bursts, b)
			b, seen, begin = Burst{tod: -1}, seen[:0], end
		}
		end += len(line)
		if ok {
			if b.tod < 0 {
				b.tod = s.tod
			}
			if b.date.IsZero() {
				b.date = s.date
			}
			seen = append(seen, s.name)
			r.anchor(s)
		}
	}
	if end > begin {
		b.Data = log[begin:end:end]
		r.Bursts = append(r.Bursts, b)
	}
	r.pace()
	return r
}

// ends reports whether s belongs to the next burst: its time is another, or there is no time and it came already.
func (b *Burst) ends(s stamped, seen []string) bool {
	if s.tod >= 0 && b.tod >= 0 {
		return (s.tod - b.tod).Abs() > 9*time.Millisecond
	}
	return s.typ != "GSA" && s.typ != "VTG" && slices.Contains(seen, s.name)
}

// anchor keeps the best known instant: receivers begin with a made-up date and correct it with the first fix.
func (r *Recording) anchor(s stamped) {
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
		r.begin = anchor{rank, s.date.Add(s.tod), len(r.Bursts)}
	}
}

// pace gives the bursts their offsets. Long gaps are cut, and big steps back become an ordinary pause: there the
// recording was interrupted, or put together of pieces. A small step back is the receiver's own and stays.
func (r *Recording) pace() {
	period := defaultPause
	for i := 1; i < len(r.Bursts); i++ {
		last, b := &r.Bursts[i-1], &r.Bursts[i]
		wait, cut := period, time.Duration(0)
		if step, ok := b.since(last); ok {
			switch {
			case step > maxPause:
				wait, cut = maxPause, step-maxPause
			case step < -maxPause:
				wait, cut = defaultPause, step-defaultPause
			case step <= 0:
				wait = defaultPause
			default:
				wait, period = step, step
			}
		}
		b.Offset, b.cut = last.Offset+wait, last.cut+cut.Truncate(time.Second)
	}
}

// since returns the time between two bursts by their own times; ok is false where these do not tell.
func (b *Burst) since(last *Burst) (step time.Duration, ok bool) {
	if b.tod < 0 || last.tod < 0 {
		return 0, false
	}
	step = b.tod - last.tod
	if !b.date.IsZero() && !last.date.IsZero() {
		return step + b.date.Sub(last.date), true
	}
	if step < -day/2 {
		step += day
	}
	return step, true
}

// Duration returns the offset of the last burst.
func (r *Recording) Duration() time.Duration {
	if len(r.Bursts) == 0 {
		return 0
	}
	return r.Bursts[len(r.Bursts)-1].Offset
}

// MoveTo rewrites times, dates and checksums so that the first burst is of the given instant, cut to the second, and the
// others follow by their offsets. A recording without dates gets the times of day only; one without times stays as it is.
func (r *Recording) MoveTo(start time.Time) {
	if r.begin.rank == 0 {
		return
	}
	first := r.Bursts[r.begin.burst]
	want := start.UTC().Add(first.Offset)
	delta := want.Sub(r.begin.at)
	if r.begin.rank == 1 {
		delta = want.Sub(want.Truncate(day)) - first.tod
	}
	for i := range r.Bursts {
		b := &r.Bursts[i]
		b.Data = Shift(b.Data, delta-(b.cut-first.cut))
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
