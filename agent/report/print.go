package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// TimeLayout is how times are printed: that of the records, UTC.
const TimeLayout = "2006-01-02T15:04:05.000Z"

// Problems returns what is bad news in the report, a line for a person each: no records, damaged lines, objects that could
// not be read. None means that all is well.
func (r *Report) Problems() []string {
	var p []string
	if r.UnreadableCount > 0 {
		p = append(p, fmt.Sprintf("%s could not be read: %s: %s", count(r.UnreadableCount, "object or part of one", "objects or parts of them"),
			printable(r.Unreadable[0].Object), r.Unreadable[0].Reason))
	}
	if r.Damaged > 0 {
		d := r.FirstDamaged[0]
		p = append(p, fmt.Sprintf("%s left out: %s line %d: %s", count(r.Damaged, "damaged line", "damaged lines"), printable(d.Object), d.Line, d.Reason))
	}
	switch {
	case r.Total.Records > 0:
	case r.Elsewhere:
		p = append(p, "no records: check that this is the table of what the stream delivers, and what is asked for")
	case r.Filtered > 0:
		p = append(p, fmt.Sprintf("no records that are asked for: %s left out", count(r.Filtered, "line is", "lines are")))
	default:
		p = append(p, fmt.Sprintf("no records in %s%s: check that this is where the stream delivers to", count(r.Objects, "object", "objects"), r.Skipped.suffix()))
	}
	return p
}

// Table prints the report for a person: a row for each vehicle, the total, and what was left out. CO2 and fuel have columns only
// where somebody knows them.
func (r *Report) Table(w io.Writer) error {
	rows := [][]string{{"VIN", "RECORDS", "MAX KM/H", "MEAN", "KM", "MOVING", "IDLE", "GAPS"}}
	co2, fuel := r.Total.CO2Time > 0, r.Total.FuelTime > 0
	if co2 {
		rows[0] = append(rows[0], "CO2 KG")
	}
	if fuel {
		rows[0] = append(rows[0], "FUEL L")
	}
	rows[0] = append(rows[0], "FIRST", "LAST", "DUPLICATES")
	for _, v := range r.Vehicles {
		rows = append(rows, v.row(v.VIN, r.NoIDs, co2, fuel))
	}
	rows = append(rows, r.Total.row("total", r.NoIDs, co2, fuel))

	var b strings.Builder
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			space := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			switch {
			case i == 0:
				b.WriteString(cell + space)
			default: // numbers and times stand right
				b.WriteString("  " + space + cell)
			}
		}
		b.WriteByte('\n')
	}

	b.WriteByte('\n')
	if !r.Elsewhere {
		fmt.Fprintf(&b, "%s, %s, %s%s\n", count(r.Objects, "object", "objects"), count(int(r.Bytes), "byte", "bytes"),
			count(r.Lines, "line", "lines"), r.Skipped.suffix())
	}
	if r.Filtered > 0 {
		fmt.Fprintf(&b, "%s not asked for", count(r.Filtered, "line", "lines"))
		if r.FilteredUndated > 0 {
			fmt.Fprintf(&b, ", %d of them without a time", r.FilteredUndated)
		}
		b.WriteByte('\n')
	}
	if r.Total.Gaps > 0 {
		fmt.Fprintf(&b, "%s of more than %s between records, %s in all, the longest %s\n", count(r.Total.Gaps, "gap", "gaps"),
			r.Gap, Clock(r.Total.GapTime), Clock(r.Total.LongestGap))
	}
	if r.Total.Blind > 0 {
		fmt.Fprintf(&b, "%s without a speed: neither moving nor idle\n", Clock(r.Total.Blind))
	}
	if t := r.Total.Moving + r.Total.Idle + r.Total.Blind; co2 && r.Total.CO2Time < t {
		fmt.Fprintf(&b, "CO2 is known for %s of %s\n", Clock(r.Total.CO2Time), Clock(t))
	}
	if t := r.Total.Moving + r.Total.Idle + r.Total.Blind; fuel && r.Total.FuelTime < t {
		fmt.Fprintf(&b, "fuel is known for %s of %s\n", Clock(r.Total.FuelTime), Clock(t))
	}
	if r.Total.Undated > 0 {
		fmt.Fprintf(&b, "%s without a time: counted, but part of no other figure than the maximum speed\n", count(r.Total.Undated, "record", "records"))
	}
	if r.Total.Jumps > 0 {
		fmt.Fprintf(&b, "%s over %d km/h between positions: not part of km\n", count(r.Total.Jumps, "jump", "jumps"), maxPlausible)
	}
	if r.NoIDs {
		b.WriteString("no record_id column: duplicates cannot be told from records\n")
	}
	if r.Damaged > 0 {
		fmt.Fprintf(&b, "%s left out\n", count(r.Damaged, "damaged line", "damaged lines"))
		for _, d := range r.FirstDamaged {
			fmt.Fprintf(&b, "  %s line %d: %s\n", printable(d.Object), d.Line, d.Reason)
		}
		more(&b, r.Damaged-len(r.FirstDamaged))
	}
	if r.UnreadableCount > 0 {
		fmt.Fprintf(&b, "%s could not be read\n", count(r.UnreadableCount, "object or part of one", "objects or parts of them"))
		for _, u := range r.Unreadable {
			fmt.Fprintf(&b, "  %s: %s\n", printable(u.Object), u.Reason)
		}
		more(&b, r.UnreadableCount-len(r.Unreadable))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}

func more(b *strings.Builder, n int) {
	if n > 0 {
		fmt.Fprintf(b, "  and %d more\n", n)
	}
}

// suffix says what was skipped, to be put behind a count of objects.
func (s Skipped) suffix() string {
	var t string
	if s.ErrorPrefix > 0 {
		t += fmt.Sprintf(", %d skipped under an error prefix", s.ErrorPrefix)
	}
	if s.Temporary > 0 {
		t += fmt.Sprintf(", %d skipped as hidden or temporary", s.Temporary)
	}
	if s.Before > 0 {
		t += fmt.Sprintf(", %d skipped in the folders of earlier days", s.Before)
	}
	return t
}

func (v Vehicle) row(name string, noIDs, co2, fuel bool) []string {
	duplicates := strconv.Itoa(v.Duplicates)
	if noIDs {
		duplicates = "-"
	}
	row := []string{name, strconv.Itoa(v.Records), known(v.MaxSpeed, 1), known(v.MeanSpeed(), 1), known(v.Distance(), 3),
		Clock(v.Moving), Clock(v.Idle), strconv.Itoa(v.Gaps)}
	if co2 {
		row = append(row, known(v.CO2(), 3))
	}
	if fuel {
		row = append(row, known(v.Fuel(), 3))
	}
	return append(row, second(v.First), second(v.Last), duplicates)
}

// known prints a number, or a dash for NaN.
func known(x float64, decimals int) string {
	if math.IsNaN(x) {
		return "-"
	}
	return strconv.FormatFloat(x, 'f', decimals, 64)
}

// Clock prints a duration as hours, minutes and seconds, as in 100:05:09.
func Clock(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

func second(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(TimeLayout)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// printable keeps a key that somebody chose from steering the terminal.
func printable(key string) string {
	if strings.ContainsFunc(key, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(key)
	}
	return key
}
