package agenttest

import (
	_ "embed"
	"encoding/json"
	"os"
	"testing"
	"time"
)

const (
	// trinoVariable is the directory in which npm has installed the package dt-sql-parser.
	trinoVariable = "OBDAGENT_TEST_TRINO"
	// trinoTime is many times what it takes on a slow machine.
	trinoTime = 5 * time.Minute
)

//go:embed testdata/trino.mjs
var trinoScript string

// A SyntaxError is where SQL is none.
type SyntaxError struct {
	Line    int    `json:"line"`   // from 1
	Column  int    `json:"column"` // from 1
	Message string `json:"message"`
}

// TrinoSyntax has SQL judged by a grammar of Trino's, the engine that Athena is made of, and returns what is wrong with each
// statement. Names, types and functions are not looked at. It ends the test as [Require] does where there is no such parser.
func TrinoSyntax(t testing.TB, statements []string) [][]SyntaxError {
	t.Helper()
	Require(t, "trino")
	stdout, _ := runNode(t, "judge SQL", "trino.mjs", trinoScript, os.Getenv(trinoVariable), trinoTime, statements)
	var judged [][]SyntaxError
	if err := json.Unmarshal(stdout, &judged); err != nil {
		t.Fatalf("read what is said of SQL: %v: %.200s", err, stdout)
	}
	if len(judged) != len(statements) {
		t.Fatalf("%d of %d statements were judged", len(judged), len(statements))
	}
	return judged
}

// haveTrino says why SQL cannot be judged, or nil.
func haveTrino() error { return haveNPM(trinoVariable, "dt-sql-parser") }
