//go:build docs

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"obdagent/cmd/internal/cli"
	"obdagent/deploy"
)

// main, with the build tag docs, writes what a package holds beside the program and what is made of it: below share the man
// pages and the shells' completions, out of the program's own help, and the sample configuration for OpenWrt.
func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run -tags docs ./cmd/obdagent DIRECTORY")
		os.Exit(cli.ExitUsage)
	}
	if err := writeDocs(rootCommand(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(cli.ExitBadNews)
	}
}

func writeDocs(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "openwrt.toml"), []byte(deploy.OpenWrtConfig()), 0o644); err != nil {
		return err
	}
	dir = filepath.Join(dir, "share")
	root.DisableAutoGenTag = true // it holds the day
	root.InitDefaultHelpCmd()
	man := filepath.Join(dir, "man/man1")
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	// The same day in every build of the same commit (reproducible-builds.org/specs/source-date-epoch).
	date := time.Unix(0, 0).UTC()
	if s, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		date = time.Unix(s, 0).UTC()
	}
	header := doc.GenManHeader{Section: "1", Date: &date, Source: "obdagent", Manual: "obdagent"}
	if err := writeMan(root, header, man); err != nil {
		return err
	}
	for file, write := range map[string]func(*bytes.Buffer) error{
		"bash-completion/completions/obdagent":    func(w *bytes.Buffer) error { return root.GenBashCompletionV2(w, true) },
		"zsh/vendor-completions/_obdagent":        func(w *bytes.Buffer) error { return root.GenZshCompletion(w) },
		"fish/vendor_completions.d/obdagent.fish": func(w *bytes.Buffer) error { return root.GenFishCompletion(w, true) },
	} {
		var text bytes.Buffer
		if err := write(&text); err != nil {
			return err
		}
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeMan writes the page of a command and those of the commands below it.
func writeMan(c *cobra.Command, header doc.GenManHeader, dir string) error {
	for _, below := range c.Commands() {
		if !below.IsAvailableCommand() || below.IsAdditionalHelpTopicCommand() {
			continue
		}
		if err := writeMan(below, header, dir); err != nil {
			return err
		}
	}
	// cobra takes the help text for Markdown: what is indented twice stays as it is, and what looks like markup is text.
	c.Long = indent(c.Long)
	var page bytes.Buffer
	if err := doc.GenMan(c, &header, &page); err != nil {
		return err
	}
	name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
	return os.WriteFile(filepath.Join(dir, name), page.Bytes(), 0o644)
}

// indent makes Markdown's verbatim blocks of lines that are indented.
func indent(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "  ") {
			lines[i] = "  " + line
		}
	}
	return strings.Join(lines, "\n")
}
