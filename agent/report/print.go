package report

import (
	"encoding/json"
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
	if r.Total.Records == 0 {
		p = append(p, fmt.Sprintf("no records in %s%s: check that this is where the stream delivers to", count(r.Objects, "object", "objects"), r.Skipped.suffix()))
	}
	return p
}

// Table prints the report for a person: a row for each vehicle, the total, and what was left out.
func (r *Report) Table(w io.Writer) error {
	rows := [][]string{{"VIN", "RECORDS", "MAX KM/H", "KM", "FIRST", "LAST", "DUPLICATES"}}
	for _, v := range r.Vehicles {
		rows = append(rows, v.row(v.VIN, r.NoIDs))
	}
	rows = append(rows, r.Total.row("total", r.NoIDs))

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

	fmt.Fprintf(&b, "\n%s, %s, %s%s\n", count(r.Objects, "object", "objects"), count(int(r.Bytes), "byte", "bytes"),
		count(r.Lines, "line", "lines"), r.Skipped.suffix())
	if r.Total.Undated > 0 {
		fmt.Fprintf(&b, "%s without a time: counted, but not part of first, last and km\n", count(r.Total.Undated, "record", "records"))
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
	return t
}

func (v Vehicle) row(name string, noIDs bool) []string {
	top, duplicates := "-", strconv.Itoa(v.Duplicates)
	if !math.IsNaN(v.MaxSpeed) {
		top = strconv.FormatFloat(v.MaxSpeed, 'f', 1, 64)
	}
	if noIDs {
		duplicates = "-"
	}
	return []string{name, strconv.Itoa(v.Records), top, strconv.FormatFloat(v.Distance, 'f', 3, 64), moment(v.First), moment(v.Last), duplicates}
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
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

// The JSON form. Units are in the names; a value that is not known is null.
type (
	reportJSON struct {
		Vehicles   []vehicleJSON  `json:"vehicles"`
		Total      vehicleJSON    `json:"total"`
		Objects    int            `json:"objects"`
		Bytes      int64          `json:"bytes"`
		Lines      int            `json:"lines"`
		Skipped    skippedJSON    `json:"skipped"`
		Damaged    damagedJSON    `json:"damaged"`
		Unreadable unreadableJSON `json:"unreadable"`
	}
	vehicleJSON struct {
		VIN        string   `json:"vin,omitempty"`
		Records    int      `json:"records"`
		MaxKmh     *float64 `json:"max_kmh"`
		DistanceKm float64  `json:"distance_km"`
		Jumps      int      `json:"jumps"`
		First      *string  `json:"first"`
		Last       *string  `json:"last"`
		Duplicates *int     `json:"duplicates"`
		Undated    int      `json:"undated"`
	}
	skippedJSON struct {
		ErrorPrefix int `json:"error_prefix"`
		Temporary   int `json:"temporary"`
	}
	damagedJSON struct {
		Count int          `json:"count"`
		First []damageJSON `json:"first"`
	}
	unreadableJSON struct {
		Count int          `json:"count"`
		First []damageJSON `json:"first"`
	}
	damageJSON struct {
		Object string `json:"object"`
		Line   int    `json:"line,omitempty"`
		Reason string `json:"reason"`
	}
)

// JSON prints the report for a program: one indented object. Distances are rounded to 1 mm, the noise of the sum.
func (r *Report) JSON(w io.Writer) error {
	out := reportJSON{
		Vehicles:   []vehicleJSON{},
		Total:      r.Total.json(r.NoIDs),
		Objects:    r.Objects,
		Bytes:      r.Bytes,
		Lines:      r.Lines,
		Skipped:    skippedJSON(r.Skipped),
		Damaged:    damagedJSON{Count: r.Damaged, First: []damageJSON{}},
		Unreadable: unreadableJSON{Count: r.UnreadableCount, First: []damageJSON{}},
	}
	for _, v := range r.Vehicles {
		out.Vehicles = append(out.Vehicles, v.json(r.NoIDs))
	}
	for _, d := range r.FirstDamaged {
		out.Damaged.First = append(out.Damaged.First, damageJSON(d))
	}
	for _, u := range r.Unreadable {
		out.Unreadable.First = append(out.Unreadable.First, damageJSON{Object: u.Object, Reason: u.Reason})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(out); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}

func (v Vehicle) json(noIDs bool) vehicleJSON {
	j := vehicleJSON{
		VIN: v.VIN, Records: v.Records, DistanceKm: math.Round(v.Distance*1e6) / 1e6, Jumps: v.Jumps, Undated: v.Undated,
	}
	if !math.IsNaN(v.MaxSpeed) {
		j.MaxKmh = &v.MaxSpeed
	}
	if !v.First.IsZero() {
		first, last := moment(v.First), moment(v.Last)
		j.First, j.Last = &first, &last
	}
	if !noIDs {
		j.Duplicates = &v.Duplicates
	}
	return j
}
