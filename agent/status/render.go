package status

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Render writes the snapshot as one screen: the verdict, what is wrong and what to do about it, and a row for each stage, the worst
// first.
func (s *Snapshot) Render(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s obdagent %s, device %s, up %s\n", strings.ToUpper(s.State), s.Version, s.DeviceID, span(s.Uptime))
	for _, a := range s.Faults {
		mark := "!"
		if a.Severity == Warning {
			mark = "-"
		}
		about(&b, mark, a)
	}
	for _, a := range s.Pending {
		about(&b, "?", a)
	}
	for _, r := range s.rows() {
		details := slices.DeleteFunc(r.details, func(d string) bool { return d == "" })
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-8s %-8s %s", r.name, r.state, strings.Join(details, ", ")), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// about writes a fault and what to do about it.
func about(b *strings.Builder, mark string, a Active) {
	fmt.Fprintf(b, "  %s %s: %s (for %s)\n", mark, a.Code, a.Text, span(a.Since))
	if !strings.Contains(a.Text, a.Action) {
		fmt.Fprintf(b, "      -> %s\n", a.Action)
	}
}

// A row is a part's line on the screen.
type row struct {
	stage   Stage
	name    string
	state   string
	details []string
}

// rows are those of all parts, that of the worst stage first, and else in the order of acceptance.
func (s *Snapshot) rows() []row {
	last := ""
	if s.Uplink.LastAge != nil {
		last = "last success " + span(*s.Uplink.LastAge) + " ago"
	}
	target := s.Uplink.Target
	if strings.Contains(s.Uplink.Reason, target) {
		target = "" // the reason says where, too
	}
	rows := []row{
		{StageCar, "car", s.Car.State, []string{kmh(s.Car.Speed), vin(s.Car), rate(s.Car), volt(s.Car.Voltage), at(s.Car.Port, s.Car.Baud), behind(s.Car)}},
		{StageGPS, "gps", s.GPS.State, []string{s.GPS.Fix, sats(s.GPS), kmh(s.GPS.Speed), lag(s.GPS), at(s.GPS.Port, s.GPS.Baud),
			text("%s bad sentences", count(s.GPS.BadSentence)), noise(s.GPS), s.GPS.Reason}},
		{StageClock, "clock", s.TimeSrc, []string{s.Time.Format(time.RFC3339), s.ClockError}},
		{StageBuffer, "records", strconv.FormatUint(s.Record.Made, 10), []string{text("%s undated", count(s.Record.Undated)),
			text("%s left out", count(s.Record.LeftOut)), text("%s refused", count(s.Record.Refused))}},
		{StageBuffer, "buffer", s.Buffer.State, []string{fmt.Sprintf("%d records waiting", s.Buffer.Records),
			fmt.Sprintf("%s of %s", size(s.Buffer.Bytes), size(s.Buffer.MaxBytes)),
			oldest(s.Buffer), text("%s damaged segments in quarantine", count(uint64(s.Buffer.Quarantined))), flash(s.Buffer.Device), lost(s.Buffer.Lost)}},
		{StageUplink, "uplink", s.Uplink.State, []string{fmt.Sprintf("%d delivered", s.Uplink.Delivered), last, size(int64(s.Uplink.BytesUp)) + " up", today(s.Uplink),
			text("%s failed calls", count(s.Uplink.Failed)), text("%s set aside", count(s.Uplink.Aside)), target, s.Uplink.Reason}},
	}
	switch {
	case s.Config.Refused != "":
		rows = append(rows, row{StageConfig, "config", "refused", []string{"the one before is in force"}})
	case len(s.Config.RestartNeeded) > 0:
		rows = append(rows, row{StageConfig, "config", "changed", []string{"with the next start: " + strings.Join(s.Config.RestartNeeded, " ")}})
	}
	ordered := make([]row, 0, len(rows))
	for health := range sound + 1 {
		for _, r := range rows {
			if s.health(r.stage) == health {
				ordered = append(ordered, r)
			}
		}
	}
	return ordered
}

// sound is the health of a stage without a fault; below it stand those with faults that are pending, and by severity.
var sound = len(severities) + 1

// health orders the stages, the worst first.
func (s *Snapshot) health(stage Stage) int {
	of := func(a Active) bool { return a.Stage == stage || a.Stage == StagePower && stage == StageCar }
	if i := slices.IndexFunc(s.Faults, of); i >= 0 { // the worst comes first
		return slices.Index(severities, s.Faults[i].Severity)
	}
	if slices.ContainsFunc(s.Pending, of) {
		return sound - 1
	}
	return sound
}

// today says what the day has cost, and how much of its budget that is.
func today(u Uplink) string {
	switch {
	case u.DayBytes == 0:
		return ""
	case u.BudgetBytes > 0:
		return size(int64(u.DayBytes)) + " of " + size(u.BudgetBytes) + " today"
	case u.DayRecords > 0:
		return fmt.Sprintf("%s today, %d B a record", size(int64(u.DayBytes)), u.DayBytes/u.DayRecords)
	}
	return size(int64(u.DayBytes)) + " today"
}

func text(format, s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf(format, s)
}

func count(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

func vin(c Car) string {
	if c.VINSrc == "config" {
		return "VIN " + c.VIN + " (vehicle.vin)"
	}
	return text("VIN %s", c.VIN)
}

func kmh(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'f', 1, 64) + " km/h"
}

func volt(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'f', 1, 64) + " V"
}

// behind is what is behind the adapter, or why it is not known.
func behind(c Car) string {
	if c.State == "live" {
		return strings.TrimSuffix(c.Protocol+", "+text("ECU %s", c.ECU), ", ")
	}
	return c.Reason
}

func rate(c Car) string {
	if c.State != "live" {
		return ""
	}
	return strconv.FormatFloat(c.SpeedHz, 'f', 1, 64) + " speeds/s"
}

func sats(g GPS) string {
	if g.Sats == nil {
		return ""
	}
	return strconv.Itoa(*g.Sats) + " satellites"
}

// lag says how the receiver's speed trails the car's, or, below zero, leads it.
func lag(g GPS) string {
	say := func(how string, seconds float64) string {
		if seconds < 0 {
			return how + "lead the car by " + strconv.FormatFloat(-seconds, 'f', 2, 64) + " s"
		}
		return how + "trail the car by " + strconv.FormatFloat(seconds, 'f', 2, 64) + " s"
	}
	switch {
	case g.LagApplied != nil:
		return say("found to ", *g.LagApplied)
	case g.Lag != nil:
		return say("may ", *g.Lag)
	}
	return ""
}

// noise says what came besides sentences.
func noise(g GPS) string {
	switch {
	case g.NoiseBytes == 0:
		return ""
	case g.Binary != "":
		return size(int64(g.NoiseBytes)) + " of noise with " + g.Binary
	}
	return size(int64(g.NoiseBytes)) + " of noise"
}

func at(port string, baud int) string {
	if port == "" || baud == 0 {
		return port
	}
	return port + " at " + strconv.Itoa(baud)
}

func lost(by map[string]uint64) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(by)) {
		if by[reason] > 0 {
			parts = append(parts, fmt.Sprintf("%d lost (%s)", by[reason], reason))
		}
	}
	return strings.Join(parts, ", ")
}

// oldest is shown from a minute on: before, it is what linger makes of it.
func oldest(b Buffer) string {
	switch {
	case b.OldestAge == nil || *b.OldestAge < 60:
		return ""
	case b.OldestBeforeStart:
		return "the oldest from before the start"
	}
	return "the oldest for " + span(*b.OldestAge)
}

// flash says what an eMMC says of its age; nothing while there is no reason to care.
func flash(d *Device) string {
	switch {
	case d == nil || d.LifeUsed < 50 && d.Reserve != "warning" && d.Reserve != "urgent":
		return ""
	case d.LifeUsed > 100:
		return "flash " + d.Name + " has used up its life"
	case d.LifeUsed >= 50:
		return fmt.Sprintf("flash %s has used %d %% of its life", d.Name, d.LifeUsed)
	}
	return "flash " + d.Name + " runs out of spare blocks"
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
	case n >= 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	case n >= 1<<10:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	}
	return strconv.FormatInt(n, 10) + " B"
}

func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	if d >= 48*time.Hour {
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
	return d.String()
}
