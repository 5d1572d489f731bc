package queries_test

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"obdagent/deploy/cloud/queries"
)

func TestEachQueryStandsAlone(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{queries.Athena, queries.DuckDB} {
		for _, name := range queries.Names() {
			sql, err := queries.Query{Name: name, Engine: engine}.SQL()
			if err != nil {
				t.Fatal(err)
			}
			bound := map[string]bool{"delivered": true}
			for _, m := range regexp.MustCompile(`(?m)^(?:WITH )?([a-z]+) AS \($`).FindAllStringSubmatch(sql, -1) {
				bound[m[1]] = true
			}
			comments := regexp.MustCompile(`(?m)--.*$`)
			for _, m := range regexp.MustCompile(`(?:FROM|JOIN) ([a-z_]+)`).FindAllStringSubmatch(comments.ReplaceAllString(sql, ""), -1) {
				if !bound[m[1]] {
					t.Errorf("%s for %s reads %s, which nothing binds", name, engine, m[1])
				}
			}
			if strings.Count(sql, "(") != strings.Count(sql, ")") || len(sql) > 262144 {
				t.Errorf("%s for %s: brackets do not match, or %d bytes are more than Athena takes", name, engine, len(sql))
			}
		}
	}
}

// What one engine knows and the other does not, or takes otherwise: how it was found is beside it.
var apart = map[string]string{
	`[a-z_]+_ms / [0-9]+\b[^e]`: "whole numbers: / cuts in Trino, and does not in DuckDB",
	`(?i)\bqualify\b`:           "Trino has none",
	`(?i)::`:                    "Trino has no such cast",
	`(?i)\bdate_diff\b`:         "the unit is a keyword to one and a string to the other",
	`(?i)\bdate_add\b`:          "likewise",
	`(?i)\bregexp_`:             "named differently",
	`(?i)\bWINDOW\b`:            "Athena's documentation does not have it",
}

func TestSharedTextsKeepToWhatBothEnginesTake(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(os.DirFS("."), "*.sql")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, error %v", len(files), err)
	}
	for _, file := range files {
		if strings.HasPrefix(file, "lines_") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for pattern, why := range apart {
			if found := regexp.MustCompile(pattern).Find(text); found != nil {
				t.Errorf("%s has %q: %s", file, found, why)
			}
		}
	}
}

// inTrino are the functions that the queries call, and the page of Trino's documentation that has each ("Functions and operators";
// Athena's user guide, "Athena engine version 3 functions", refers to it for all of them). What differs from DuckDB, or nearly does, is
// beside it; docs/analytics.md tells users.
var inTrino = map[string]string{
	"asin": "math", "cos": "math", "sin": "math", "sqrt": "math", "pi": "math", "power": "math", "floor": "math",
	"round": "math", // halves away from zero in both
	"count": "aggregate", "max": "aggregate", "min": "aggregate",
	"sum":        "aggregate", // of bigint bigint in Trino, hugeint in DuckDB: hence the casts
	"row_number": "window", "lead": "window",
	"least":    "comparison", // null if any is, but not in DuckDB: it is told none
	"coalesce": "conditional", "nullif": "conditional", "try": "conditional",
	"cast": "conversion", "try_cast": "conversion",
	"length": "string", "lower": "string",
	"from_iso8601_timestamp": "datetime", // timestamp(3) with time zone; one without a zone is taken as the session's, UTC in Athena
	"to_unixtime":            "datetime", // double, seconds
}

func TestEveryFunctionIsOneOfTrinos(t *testing.T) {
	t.Parallel()
	// What stands before a bracket and is no function: Trino's "SQL statement syntax", SELECT, and "Reserved keywords".
	words := []string{"AND", "AS", "BY", "FILTER", "FROM", "IN", "JOIN", "OR", "OVER", "WHERE"}
	used := map[string]bool{}
	for _, name := range queries.Names() {
		sql, err := queries.Query{Name: name, Engine: queries.Athena, VINs: []string{"x", ""}}.SQL()
		if err != nil {
			t.Fatal(err)
		}
		sql = regexp.MustCompile(`(?m)--.*$`).ReplaceAllString(sql, "")
		for _, m := range regexp.MustCompile(`([A-Za-z_0-9]+)\s*\(`).FindAllStringSubmatch(sql, -1) {
			if slices.Contains(words, m[1]) {
				continue
			}
			function := strings.ToLower(m[1])
			used[function] = true
			if inTrino[function] == "" {
				t.Errorf("%s calls %s: look it up in Trino's documentation, and note the page", name, function)
			}
		}
	}
	for function := range inTrino {
		if !used[function] {
			t.Errorf("%s is called nowhere", function)
		}
	}
}

func TestWhatIsAskedForIsInTheText(t *testing.T) {
	t.Parallel()
	sql, err := queries.Query{
		Name: "report", Engine: queries.Athena, Table: `"a"."b"`, Gap: time.Minute, VINs: []string{"X", "O'Hara", ""},
		From: time.UnixMilli(5), To: time.UnixMilli(7).Add(1), Day: "2026/11/22",
	}.SQL()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"FROM \"a\".\"b\"\nWHERE day >= '2026/11/22'\n", "SELECT CAST(60000 AS bigint) AS gap_ms",
		"WHERE (vin IS NULL OR vin IN ('X', 'O''Hara')) AND time_ms >= 5 AND time_ms < 8\n",
	} {
		if !strings.Contains(sql, want) {
			t.Errorf("the text has no %q:\n%s", want, sql)
		}
	}
}

func TestAnUnknownQueryOrEngineIsAnError(t *testing.T) {
	t.Parallel()
	for _, q := range []queries.Query{{Name: "none", Engine: queries.Athena}, {Name: "report", Engine: "spark"}} {
		if _, err := q.SQL(); err == nil {
			t.Errorf("%+v: no error", q)
		}
	}
}
