package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/agenttest"
	"obdagent/agent/report"
	"obdagent/cmd/internal/cli"
	"obdagent/deploy/cloud/queries"
)

// recordsVariable is how many records the engines are compared on. The default is a tenth of what .ci/run sets: with the race
// detector a million take minutes.
const recordsVariable = "OBDAGENT_TEST_RECORDS"

func recordsToCompare(t *testing.T) int {
	t.Helper()
	s := os.Getenv(recordsVariable)
	if s == "" {
		return 100_000
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s is no number of records", recordsVariable, s)
	}
	return n
}

// duckDB has the objects below dir as the view that lines_duckdb.sql reads.
func duckDB(dir, fields string) agenttest.DuckDB {
	var columns []string
	for _, name := range strings.Split(fields, ",") {
		columns = append(columns, fmt.Sprintf("'%s': 'VARCHAR'", name))
	}
	return agenttest.DuckDB{Setup: []string{fmt.Sprintf(
		"CREATE VIEW delivered AS SELECT * FROM read_csv('%s/**/gps-*', delim=' ', header=false, quote='', escape='', "+
			"auto_detect=false, null_padding=true, ignore_errors=true, columns={%s})", dir, strings.Join(columns, ", "))}}
}

// texts turns an answer of DuckDB into what Athena would answer.
func texts(rows []map[string]any) (all []map[string]string) {
	for _, row := range rows {
		text := map[string]string{}
		for column, value := range row {
			if value != nil {
				text[column] = fmt.Sprint(value)
			}
		}
		all = append(all, text)
	}
	return all
}

// TestDuckDBAndTheReportAgree: the same objects, summed up by the report as printed and by DuckDB with the queries that are for
// Athena, whole and with each filter.
func TestDuckDBAndTheReportAgree(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "duckdb")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dir := t.TempDir()
	generate(t, dir, rand.New(rand.NewPCG(seed, 0)), recordsToCompare(t))
	day := func(d int) time.Time { return time.Date(2026, 11, d, 0, 0, 0, 0, time.UTC) }
	for _, test := range []struct {
		name  string
		args  []string
		query queries.Query
	}{
		{"all", nil, queries.Query{}},
		{"two VINs on two days with another gap",
			[]string{"--vin", "WVWZZZ1JZXW000001,unknown", "--from", "2026-11-21", "--to", "2026-11-22T12:00:00Z", "--gap", "61s"},
			queries.Query{VINs: []string{"WVWZZZ1JZXW000001", ""}, From: day(21), To: day(22).Add(12 * time.Hour), Gap: 61 * time.Second}},
	} {
		status, got, errs := obdfleet(t, append([]string{"report", dir, "--csv", "--fields", generatedFields}, test.args...)...)
		if status != cli.ExitBadNews || !strings.Contains(errs, "damaged") {
			t.Fatalf("%s: status %d, want %d for the rubbish; said %s", test.name, status, cli.ExitBadNews, errs)
		}
		test.query.Name, test.query.Engine = "report", queries.DuckDB
		sql, err := test.query.SQL()
		if err != nil {
			t.Fatal(err)
		}
		rows, _ := duckDB(dir, generatedFields).Query(t, sql)
		var vehicles []report.Vehicle
		for _, row := range texts(rows) {
			v, err := vehicleOf(row)
			if err != nil {
				t.Fatal(err)
			}
			vehicles = append(vehicles, v)
		}
		var want bytes.Buffer
		if err := report.New(vehicles).CSV(&want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), got); diff != "" {
			t.Errorf("%s: DuckDB and the report differ (-DuckDB +report):\n%s", test.name, diff)
		}
		if n := strings.Count(got, "\n"); n < 3 {
			t.Errorf("%s: only %d rows were compared", test.name, n)
		}
	}
}

// TestEachQueryAnswers: the other queries, over objects few enough to know the answers.
func TestEachQueryAnswers(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "duckdb")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "2026/11/23/gps-delivery-stream-1-x"), drive+
		"939ed1d1-1740-420c-8906-000000000004 2026-11-23T09:00:01.000Z WVWZZZ1JZXW000001 10.0000000 50.0010899 NaN\n"+
		"939ed1d1-1740-420c-8906-000000000005 4:25:06.00 4ftex4944akl844294 106.9447146 -6.3385652 25\nrubbish\n")
	kilo := filepath.Join(dir, "emission")
	writeFile(t, filepath.Join(kilo, "gps-1"), strings.Join([]string{
		"939ed1d1-1740-420c-8906-000000000001 2026-11-23T23:58:00.000Z A NaN NaN 0 2 7.2",
		"939ed1d1-1740-420c-8906-000000000002 2026-11-24T00:00:00.000Z A NaN NaN 0 1 NaN",
		"939ed1d1-1740-420c-8906-000000000003 2026-11-24T00:01:00.000Z A NaN NaN 0 1 7.2", ""}, "\n"))
	const a, b, old = "WVWZZZ1JZXW000001", "4FTEX4944AKL84429", "4ftex4944akl844294"
	for _, test := range []struct {
		query, dir, fields string
		want               []string
	}{
		{"max_speed", dir, "record_id,timestamp,vin,lon,lat,speed", []string{b + " 25", old + " 25", a + " 36.4"}},
		{"gaps", dir, "record_id,timestamp,vin,lon,lat,speed", []string{a + " 1795420801000 1795424401000 3600 0.111195"}},
		{"duplicates", dir, "record_id,timestamp,vin,lon,lat,speed", []string{"939ed1d1-1740-420c-8906-000000000002 2 1 1 1795420801000"}},
		{"emission", kilo, "record_id,timestamp,vin,lon,lat,speed,co2,fuel_rate",
			[]string{"A 2026-11-23 0.24 0.0333333 0.24 0.0333333", "A 2026-11-24 0.06 0.0166667 null null"}},
	} {
		columns := map[string][]string{
			"max_speed": {"vin", "max_kmh"}, "gaps": {"vin", "from_ms", "to_ms", "seconds", "km"},
			"duplicates": {"record_id", "times_delivered", "vins", "times", "first_ms"},
			"emission":   {"vin", "day", "co2_kg", "co2_hours", "fuel_l", "fuel_hours"},
		}[test.query]
		sql, err := queries.Query{Name: test.query, Engine: queries.DuckDB}.SQL()
		if err != nil {
			t.Fatal(err)
		}
		db := duckDB(test.dir, test.fields)
		if !strings.Contains(test.fields, "co2") {
			db.Setup[0] = strings.Replace(db.Setup[0], "SELECT *", "SELECT *, NULL AS co2, NULL AS fuel_rate", 1)
		}
		rows, _ := db.Query(t, sql)
		var got []string
		for _, row := range rows {
			var cells []string
			for _, c := range columns {
				switch x := row[c].(type) {
				case nil:
					cells = append(cells, "null")
				case float64:
					cells = append(cells, strconv.FormatFloat(x, 'g', 6, 64))
				default:
					cells = append(cells, fmt.Sprint(x))
				}
			}
			got = append(got, strings.Join(cells, " "))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.query, got, test.want)
		}
	}
}
