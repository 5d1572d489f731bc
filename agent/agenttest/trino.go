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
	ctx, cancel := context.WithTimeout(t.Context(), trinoTime)
	defer cancel()
	script := filepath.Join(t.TempDir(), "trino.mjs")
	if err := os.WriteFile(script, []byte(trinoScript), 0o600); err != nil {
		t.Fatalf("judge SQL: %v", err)
	}
	input, err := json.Marshal(statements)
	if err != nil {
		t.Fatalf("judge SQL: %v", err)
	}
	cmd := exec.CommandContext(ctx, "node", script, os.Getenv(trinoVariable))
	cmd.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	if err := cmd.Run(); err != nil {
		t.Fatalf("judge SQL: %v\n%s", err, stderr.String())
	}
	var judged [][]SyntaxError
	if err := json.Unmarshal(stdout.Bytes(), &judged); err != nil {
		t.Fatalf("read what is said of SQL: %v: %.200s", err, stdout.String())
	}
	if len(judged) != len(statements) {
		t.Fatalf("%d of %d statements were judged", len(judged), len(statements))
	}
	return judged
}

// haveTrino says why SQL cannot be judged, or nil.
func haveTrino() error {
	dir := os.Getenv(trinoVariable)
	if dir == "" {
		return errors.New(trinoVariable + " does not name the directory in which npm has installed dt-sql-parser")
	}
	if err := exists(filepath.Join(dir, "node_modules", "dt-sql-parser", "package.json")); err != nil {
		return fmt.Errorf("%s: %w", trinoVariable, err)
	}
	return onPath("node")
}
