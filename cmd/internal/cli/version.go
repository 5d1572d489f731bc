package cli

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// Build is what a binary knows of how it was made; "unknown" stands for what the build did not record, as in go run.
type Build struct {
	Version, Commit, Go string
	Date                time.Time // of the commit; zero: unknown
}

// ReadBuild reads that of the running binary.
func ReadBuild() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return BuildOf(info)
}

// BuildOf picks what matters out of what the Go toolchain recorded.
func BuildOf(info *debug.BuildInfo) Build {
	setting := map[string]string{}
	for _, s := range info.Settings {
		setting[s.Key] = s.Value
	}
	b := Build{Version: known(info.Main.Version), Commit: known(setting["vcs.revision"]), Go: known(info.GoVersion)}
	if setting["vcs.modified"] == "true" {
		b.Commit += " with changes"
	}
	if t, err := time.Parse(time.RFC3339, setting["vcs.time"]); err == nil {
		b.Date = t
	}
	return b
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// Line says which build of the program called name this is.
func (b Build) Line(name string) string {
	date := "unknown"
	if !b.Date.IsZero() {
		date = b.Date.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s %s, commit %s of %s, %s", name, b.Version, b.Commit, date, b.Go)
}

// VersionCommand prints what the binary called name knows of its build.
func VersionCommand(name string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit, its time, and the Go version",
		Args:  NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := fmt.Fprintln(c.OutOrStdout(), ReadBuild().Line(name)); err != nil {
				return Failure{fmt.Errorf("print version: %w", err)}
			}
			return nil
		},
	}
}
