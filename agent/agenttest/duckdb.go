package agenttest

import (
	_ "embed"
	"encoding/json"
	"os"
	"testing"
	"time"
)

const (
	// duckDBVariable is the directory in which npm has installed the package @duckdb/node-api.
	duckDBVariable = "OBDAGENT_TEST_DUCKDB"
	// duckDBTime is many times what a million records take on a slow machine, and enough for the benchmark on a busy one.
	duckDBTime = 20 * time.Minute
)

//go:embed testdata/duckdb.cjs
var duckDBScript string

// A DuckDB is an independent engine for SQL: DuckDB in a process of its own.
type DuckDB struct {
	// Setup are statements that are run before each query.
	Setup []string
	// Threads is how many it may use; 0: one for each processor.
	Threads int
}

// DuckDBCost is what a query cost.
type DuckDBCost struct {
	Seconds    float64 `json:"seconds"`     // of the query alone
	CPUSeconds float64 `json:"cpu_seconds"` // of the query alone, of all processors
	PeakKiB    int64   `json:"peak_kib"`    // of the process, Node.js included
}

// Query runs a query and returns its rows: JSON values by column, whole numbers of 64 bits as strings. It ends the test as
// [Require] does where there is no DuckDB.
func (d DuckDB) Query(t testing.TB, query string) ([]map[string]any, DuckDBCost) {
	t.Helper()
	Require(t, "duckdb")
	stdout, stderr := runNode(t, "run DuckDB", "duckdb.cjs", duckDBScript, os.Getenv(duckDBVariable), duckDBTime,
		map[string]any{"setup": d.Setup, "query": query, "threads": d.Threads})
	var rows []map[string]any
	if err := json.Unmarshal(stdout, &rows); err != nil {
		t.Fatalf("read DuckDB's answer: %v: %.200s", err, stdout)
	}
	var cost DuckDBCost
	if err := json.Unmarshal(stderr, &cost); err != nil {
		t.Fatalf("read what DuckDB's answer cost: %v: %.200s", err, stderr)
	}
	return rows, cost
}

// haveDuckDB says why DuckDB cannot be run, or nil.
func haveDuckDB() error { return haveNPM(duckDBVariable, "@duckdb/node-api") }
