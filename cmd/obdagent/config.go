package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"obdagent/agent/config"
	"obdagent/cmd/internal/cli"
)

func configCommand() *cobra.Command {
	return cli.Group("config", "Check, show or make the configuration",
		configCheckCommand(), configShowCommand(), configInitCommand())
}

func configCheckCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the configuration, line by line",
		Long: `check reads the configuration as the daemon would: the file, then the OBDAGENT_* variables of this shell. It says what is
wrong with which key, in which line or variable, and what to write instead; warnings are of what is valid and probably not meant.

Exit status: 0 the daemon would start with it, 2 it would not.`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, from, err := loadConfig(path)
			if err != nil {
				return err
			}
			text := ""
			for _, w := range cfg.Warnings() {
				text += "warning: " + w + "\n"
			}
			if _, err := fmt.Fprintf(c.OutOrStdout(), "%sOK: %s\n", text, from); err != nil {
				return cli.Failure{Err: fmt.Errorf("print the answer: %w", err)}
			}
			return nil
		},
	}
	addConfigFlag(c, &path)
	return c
}

func configShowCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "show",
		Short: "Print every value in force, and where it comes from",
		Args:  cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := loadConfig(path)
			if err != nil {
				return err
			}
			if err := cfg.Show(c.OutOrStdout()); err != nil {
				return cli.Failure{Err: fmt.Errorf("print the configuration: %w", err)}
			}
			return nil
		},
	}
	addConfigFlag(c, &path)
	return c
}

func configInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a configuration with every key, its default and its meaning",
		Long: `init writes a configuration with every key, its default and its meaning, to FILE, or to standard output without one. It does
not write over a file.`,
		Example: "  obdagent config init " + config.DefaultPath,
		Args:    cli.AtMostOne("file"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				if _, err := c.OutOrStdout().Write(config.Sample()); err != nil {
					return cli.Failure{Err: fmt.Errorf("print the configuration: %w", err)}
				}
				return nil
			}
			return writeNew(args[0], config.Sample())
		},
	}
}

// writeNew writes a file that was not there.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s is there already: name another file, or edit it and try obdagent config check --config %s", path, path)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: make its directory first", err)
	case err != nil:
		return cli.Failure{Err: err}
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return cli.Failure{Err: fmt.Errorf("write %s: %w", path, err)}
	}
	return nil
}
