package agenttest

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	ctx, cancel := context.WithTimeout(t.Context(), duckDBTime)
	defer cancel()
	script := filepath.Join(t.TempDir(), "duckdb.cjs")
	if err := os.WriteFile(script, []byte(duckDBScript), 0o600); err != nil {
		t.Fatalf("run DuckDB: %v", err)
	}
	input, err := json.Marshal(map[string]any{"setup": d.Setup, "query": query, "threads": d.Threads})
	if err != nil {
		t.Fatalf("run DuckDB: %v", err)
	}
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "NODE_PATH=" + filepath.Join(os.Getenv(duckDBVariable), "node_modules")}
	if err := cmd.Run(); err != nil {
		t.Fatalf("run DuckDB: %v\n%s\n%s", err, stderr.String(), query)
	}
	var rows []map[string]any
	if err := json.Unmarshal(stdout.Bytes(), &rows); err != nil {
		t.Fatalf("read DuckDB's answer: %v: %.200s", err, stdout.String())
	}
	var cost DuckDBCost
	if err := json.Unmarshal(stderr.Bytes(), &cost); err != nil {
		t.Fatalf("read what DuckDB's answer cost: %v: %.200s", err, stderr.String())
	}
	return rows, cost
}

// haveDuckDB says why DuckDB cannot be run, or nil.
func haveDuckDB() error {
	dir := os.Getenv(duckDBVariable)
	if dir == "" {
		return errors.New(duckDBVariable + " does not name the directory in which npm has installed @duckdb/node-api")
	}
	if err := exists(filepath.Join(dir, "node_modules", "@duckdb", "node-api", "package.json")); err != nil {
		return fmt.Errorf("%s: %w", duckDBVariable, err)
	}
	return onPath("node")
}
