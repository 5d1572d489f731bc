package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit, build time and Go version",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return failure{fmt.Errorf("this binary was built without build information: build it with go build in the module")}
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), versionLine(info))
			if err != nil {
				return failure{fmt.Errorf("print version: %w", err)}
			}
			return nil
		},
	}
}

// versionLine says which build this is; "unknown" for what the build did not record, as in go run.
func versionLine(info *debug.BuildInfo) string {
	setting := map[string]string{}
	for _, s := range info.Settings {
		setting[s.Key] = s.Value
	}
	or := func(s string) string {
		if s == "" {
			return "unknown"
		}
		return s
	}
	commit := or(setting["vcs.revision"])
	if setting["vcs.modified"] == "true" {
		commit += " with changes"
	}
	return fmt.Sprintf("obdfleet %s, commit %s of %s, %s", or(info.Main.Version), commit, or(setting["vcs.time"]), or(info.GoVersion))
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is too much: the command takes no arguments", args[0])
	}
	return nil
}
