package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A mutant is the buffer with one mistake in it.
type mutant struct {
	name     string
	file     string
	old, new string // what stands there once, and what instead
	from     uint64 // the run with which the rig begins: the third one is the first that thins
}

// mutants are those that a power cut shows on ext4. Each is a line that somebody could leave out. Others ext4 hides, whose journal keeps
// the order of names: those are for the states in memory.
var mutants = []mutant{
	{
		"frames are not synced", "fsys_os.go",
		"err := ignoringEINTR(func() error { return unix.Fdatasync(int(f.Fd())) })", "var err error", 0,
	},
	{
		"the directory is not synced", "fsys_os.go",
		"	err = f.Sync()\n	if cerr := f.Close()", "	if cerr := f.Close()", 0,
	},
	{
		"a thinned segment is not synced", "thin.go",
		"if err := t.f.Sync(); err != nil {", "if err := error(nil); err != nil {", 2,
	},
	{
		"frames of a file's earlier life count", "scan.go",
		"if h, ok = parseFrameHeader(b); ok && h.id == s.id {", "if h, ok = parseFrameHeader(b); ok {", 0,
	},
}

// runMutants builds each mutant, and is an error if one of them passes.
func runMutants(ctx context.Context, in, only string, seed uint64, states int) error {
	dir, err := run(ctx, "go", "list", "-f", "{{.Dir}}", "obdagent/buffer")
	if err != nil {
		return fmt.Errorf("find the buffer's source; run it in its directory: %w", err)
	}
	dir = strings.TrimSpace(dir)
	var passed []string
	tried := 0
	for _, m := range mutants {
		if !strings.Contains(m.name, only) {
			continue
		}
		tried++
		told, err := m.run(ctx, in, dir, seed, states)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("mutant %q: %w", m.name, err)
		case told == "":
			passed = append(passed, m.name)
			fmt.Printf("NOT FOUND  %s: in %d states\n", m.name, states)
		default:
			fmt.Printf("found      %s: %s\n", m.name, told)
		}
	}
	if len(passed) > 0 {
		return fmt.Errorf("%d of %d mutants were not found", len(passed), tried)
	}
	fmt.Printf("%d of %d mutants were found\n", tried, tried)
	return nil
}

// run returns what the rig says of the mutant; nothing if it says nothing.
func (m *mutant) run(ctx context.Context, in, source string, seed uint64, states int) (told string, err error) {
	path := filepath.Join(source, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return "", fmt.Errorf("%q stands in %s %d times, not once: the mutant has to follow the code", m.old, m.file, n)
	}
	dir, err := os.MkdirTemp(in, "mutant-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	changed, overlay, binary := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "crash")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err == nil {
		err = errors.Join(os.WriteFile(changed, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600), os.WriteFile(overlay, list, 0o600))
	}
	if err != nil {
		return "", err
	}
	if _, err := run(ctx, "go", "build", "-overlay", overlay, "-o", binary, "."); err != nil {
		return "", err
	}
	images := filepath.Join(dir, "images") // of its failures: nobody needs them
	if err := os.Mkdir(images, 0o700); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, binary, "-states", fmt.Sprint(states), "-seed", fmt.Sprint(seed), "-run", fmt.Sprint(m.from), "-keep", images)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "", nil
	}
	for line := range strings.Lines(string(out)) {
		if what, ok := strings.CutPrefix(line, "crash: after "); ok {
			what, _, _ = strings.Cut(strings.TrimSpace(what), "; the disk is kept")
			return "after " + what, nil
		}
	}
	return "", fmt.Errorf("%w: %s", err, out)
}
