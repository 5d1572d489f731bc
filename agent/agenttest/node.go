package agenttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// runNode runs a script in Node.js, in a process of its own for at most that long, with the JSON of input as its standard input and the directory in
// which npm has installed its packages as its argument and NODE_PATH. It ends the test, saying what was to be done, unless the script exits with 0.
func runNode(t testing.TB, what, name, script, dir string, most time.Duration, input any) (stdout, stderr []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	tmp := t.TempDir()
	path := filepath.Join(tmp, name)
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	cmd := exec.CommandContext(ctx, "node", path, dir)
	cmd.Stdin = bytes.NewReader(text)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tmp, "NODE_PATH=" + filepath.Join(dir, "node_modules")}
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", what, err, errs.String(), text)
	}
	return out.Bytes(), errs.Bytes()
}

// haveNPM says why a package that npm installs into the directory that a variable names cannot be used, or nil.
func haveNPM(variable, name string) error {
	dir := os.Getenv(variable)
	if dir == "" {
		return fmt.Errorf("%s does not name the directory in which npm has installed %s", variable, name)
	}
	if err := exists(filepath.Join(dir, "node_modules", filepath.FromSlash(name), "package.json")); err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	return onPath("node")
}
