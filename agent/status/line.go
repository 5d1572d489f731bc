package status

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Line is the snapshot as one line of key=value, for the status log. docs/status.md says what each key means.
func (s *Snapshot) Line() string {
	var b line
	b.add("state", s.State)
	b.add("faults", codes(s.Faults))
	b.add("pending", codes(s.Pending))
	b.add("time_src", s.TimeSrc)
	s.carLine(&b)
	s.gpsLine(&b)
	b.uint("made", s.Record.Made)
	b.add("undated", count(s.Record.Undated))
	b.add("refused", count(s.Record.Refused))
	b.add("dropped", count(s.Record.Dropped))
	s.bufferLine(&b)
	b.add("uplink", s.Uplink.State)
	b.add("uplink_why", s.Uplink.Reason)
	b.uint("delivered", s.Uplink.Delivered)
	b.uint("failed_calls", s.Uplink.Failed)
	b.add("set_aside", count(s.Uplink.Aside))
	b.uint("bytes_up", s.Uplink.BytesUp)
	b.add("bytes_today", count(s.Uplink.DayBytes))
	b.add("billed_bytes", count(s.Uplink.BilledBytes))
	b.float("last_success_s", s.Uplink.LastAge, 0)
	b.add("up", strconv.FormatFloat(s.Uptime, 'f', 0, 64))
	return b.String()
}

func (s *Snapshot) carLine(b *line) {
	c := &s.Car
	b.add("car", c.State)
	if c.State == "live" {
		b.add("car_hz", strconv.FormatFloat(c.SpeedHz, 'f', 1, 64))
		b.add("car_why", c.SpeedCause)
	} else {
		b.add("car_why", c.Reason)
	}
	b.add("vin", c.VIN)
	b.float("car_kmh", c.Speed, 0)
	b.float("volt", c.Voltage, 1)
	for _, reason := range slices.Sorted(maps.Keys(c.Failures)) {
		b.add("fail_"+strings.ReplaceAll(reason, " ", "_"), count(c.Failures[reason]))
	}
}

func (s *Snapshot) gpsLine(b *line) {
	g := &s.GPS
	b.add("gps", g.State)
	b.add("gps_why", g.Reason)
	b.add("fix", g.Fix)
	if g.Sats != nil {
		b.add("sats", strconv.Itoa(*g.Sats))
	}
	b.float("hdop", g.HDOP, 1)
	b.float("gps_kmh", g.Speed, 1)
	b.float("gps_lag_s", g.Lag, 2)
	b.add("bad_sentences", count(g.BadSentence))
	b.add("noise_bytes", count(g.NoiseBytes))
}

func (s *Snapshot) bufferLine(b *line) {
	b.uint("buffered", s.Buffer.Records)
	b.add("buffer_bytes", strconv.FormatInt(s.Buffer.Bytes, 10))
	if s.Buffer.State != OK {
		b.add("buffer", s.Buffer.State)
	}
	b.float("oldest_s", s.Buffer.OldestAge, 0)
	if s.Buffer.Syncs != nil {
		b.add("sync_max_ms", strconv.FormatFloat(s.Buffer.Syncs.Max*1000, 'f', 0, 64))
	}
	if d := s.Buffer.Device; d != nil {
		b.float("device_per_payload", d.PerPayload, 1)
		b.add("flash_used_pct", count(uint64(d.LifeUsed)))
	}
	b.add("quarantined", count(uint64(s.Buffer.Quarantined)))
	for _, reason := range slices.Sorted(maps.Keys(s.Buffer.Lost)) {
		b.add("lost_"+reason, count(s.Buffer.Lost[reason]))
	}
}

// codes are those of faults, joined by commas.
func codes(active []Active) string {
	all := make([]string, len(active))
	for i, a := range active {
		all[i] = a.Code
	}
	return strings.Join(all, ",")
}

// line builds key=value pairs; an empty value leaves the key out.
type line struct{ strings.Builder }

func (b *line) add(key, value string) {
	if value == "" {
		return
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(key)
	b.WriteByte('=')
	b.WriteString(Quote(value))
}

// Pairs is a line of the status log, of keys and values in turn. An empty value leaves its key out.
func Pairs(pairs ...string) string {
	var b line
	for i := 0; i+1 < len(pairs); i += 2 {
		b.add(pairs[i], pairs[i+1])
	}
	return b.String()
}

func (b *line) uint(key string, v uint64) { b.add(key, strconv.FormatUint(v, 10)) }

func (b *line) float(key string, v *float64, decimals int) {
	if v != nil {
		b.add(key, strconv.FormatFloat(*v, 'f', decimals, 64))
	}
}

// Quote writes a value so that a line stays one line and splits at its spaces: plain where it can be, else in double quotes.
func Quote(value string) string {
	for _, r := range value {
		if r <= ' ' || r == '"' || r == '=' || r == 0x7f || !strconv.IsPrint(r) {
			return strconv.Quote(value)
		}
	}
	return value
}
