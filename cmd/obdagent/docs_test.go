package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"obdagent/agent/agenttest"
)

// TestEachCommandHasAManPageAndCompletionsAreGood makes what a package holds beside the program, as make packages does.
func TestEachCommandHasAManPageAndCompletionsAreGood(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "bash")
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "run", "-tags", "docs", "obdagent/cmd/obdagent", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var commands func(c *cobra.Command)
	commands = func(c *cobra.Command) {
		page, err := os.ReadFile(filepath.Join(dir, "share/man/man1", strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		if err != nil {
			t.Error(err)
			return
		}
		for _, part := range []string{".SH NAME", ".SH SYNOPSIS", c.Short} {
			if !strings.Contains(strings.ReplaceAll(string(page), `\-`, "-"), part) {
				t.Errorf("the page of %s has no %q", c.CommandPath(), part)
			}
		}
		for _, below := range c.Commands() {
			if below.IsAvailableCommand() && !below.IsAdditionalHelpTopicCommand() {
				commands(below)
			}
		}
	}
	commands(rootCommand())
	completion := filepath.Join(dir, "share/bash-completion/completions/obdagent")
	if out, err := exec.CommandContext(t.Context(), "bash", "-n", completion).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, file := range []string{"zsh/vendor-completions/_obdagent", "fish/vendor_completions.d/obdagent.fish"} {
		if text, err := os.ReadFile(filepath.Join(dir, "share", file)); err != nil || !strings.Contains(string(text), "obdagent") {
			t.Errorf("%s: %v", file, err)
		}
	}
	// What the completions ask the program.
	if r := obdagent(t, dir, "__complete", "status", "--wa"); !strings.Contains(r.stdout, "--wait") || !strings.Contains(r.stdout, "--watch") {
		t.Errorf("completing --wa: %+v", r)
	}
}
