// Package queries holds the questions that are asked of a fleet's records where they are too many for one machine, as SQL that
// Athena (Trino) and DuckDB both take.
//
// The tables that a query reads are bound by views, each a file of its own:
//
//	lines_athena.sql, lines_duckdb.sql   the delivered lines, from the table or view named delivered: all that differs by engine
//	settings.sql                         how long a gap is
//	records.sql                          the lines that are whole, in whole units
//	copies.sql                           the records, their copies numbered
//	pieces.sql                           the time between a vehicle's records
//
// [Query.SQL] puts them before a query as its WITH, so that it stands alone. They can also be created as views under those names.
//
// # Promises
//
//   - Sums are in whole units, and copies and records are put in an order that leaves nothing open: every engine finds the same,
//     which is what obdfleet report finds. DuckDB is held to that in tests.
//
// # Limits
//
// No Trino has run these texts in our tests. A parser with Trino's grammar takes them, and each function is in its documentation. A line with too many columns is damaged to
// obdfleet report; a table cannot see them.
package queries

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

//go:embed *.sql
var files embed.FS

// The engines.
const (
	Athena = "athena"
	DuckDB = "duckdb"
)

// Names are the queries.
func Names() []string { return []string{"report", "max_speed", "gaps", "duplicates", "emission"} }

// A Query is a question, and of which records it is asked.
type Query struct {
	Name   string // one of Names
	Engine string // Athena or DuckDB
	// Table is what the lines are in. It is not checked here. Default: delivered.
	Table string
	// Gap is how long a gap is, in whole ms. Default: as settings.sql has it.
	Gap time.Duration
	// VINs, From and To choose records: From <= time < To. "" among the VINs are those without one.
	VINs     []string
	From, To time.Time
	// Day leaves the partitions of earlier days out, as 2006/01/02. Athena only.
	Day string
}

// SQL returns the whole text.
func (q Query) SQL() (string, error) {
	views, question, err := q.Parts()
	return views + question, err
}

// Parts returns the text in two: the views, which are the same for each question that is asked of the same records, and the question.
func (q Query) Parts() (views, question string, err error) {
	var b strings.Builder
	lines, err := text("lines_" + q.Engine)
	if err != nil {
		return "", "", err
	}
	if q.Table != "" {
		lines = strings.Replace(lines, "FROM delivered\n", "FROM "+q.Table+"\n", 1)
	}
	if q.Day != "" {
		lines += "WHERE day >= " + quote(q.Day) + "\n"
	}
	settings, err := text("settings")
	if err != nil {
		return "", "", err
	}
	if q.Gap > 0 {
		settings = fmt.Sprintf("SELECT CAST(%d AS bigint) AS gap_ms\n", q.Gap.Milliseconds())
	}
	records, err := text("records")
	if err != nil {
		return "", "", err
	}
	if where := q.where(); where != "" {
		records = "SELECT * FROM (\n" + records + ") AS whole\nWHERE " + where + "\n"
	}
	fmt.Fprintf(&b, "WITH lines AS (\n%s),\nsettings AS (\n%s),\nrecords AS (\n%s)", lines, settings, records)
	for _, view := range []string{"copies", "pieces"} {
		s, err := text(view)
		if err != nil {
			return "", "", err
		}
		fmt.Fprintf(&b, ",\n%s AS (\n%s)", view, s)
	}
	b.WriteString("\n")
	question, err = text(q.Name)
	return b.String(), question, err
}

func text(name string) (string, error) {
	s, err := fs.ReadFile(files, name+".sql")
	if err != nil {
		return "", fmt.Errorf("there is no query %s: %w", name, err)
	}
	return string(s), nil
}

func (q Query) where() string {
	var all []string
	if len(q.VINs) > 0 {
		var known, any []string
		for _, vin := range q.VINs {
			if vin == "" {
				any = append(any, "vin IS NULL")
			} else {
				known = append(known, quote(vin))
			}
		}
		if len(known) > 0 {
			any = append(any, "vin IN ("+strings.Join(known, ", ")+")")
		}
		all = append(all, "("+strings.Join(any, " OR ")+")")
	}
	ms := func(t time.Time) int64 { return t.Add(time.Millisecond - 1).UnixMilli() }
	if !q.From.IsZero() {
		all = append(all, fmt.Sprintf("time_ms >= %d", ms(q.From)))
	}
	if !q.To.IsZero() {
		all = append(all, fmt.Sprintf("time_ms < %d", ms(q.To)))
	}
	return strings.Join(all, " AND ")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
