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
	c := &cobra.Command{
		Use:   "config",
		Short: "Check, show or make the configuration",
		Args:  cli.NoArguments,
		RunE:  func(*cobra.Command, []string) error { return errors.New("say which: check, show or init") },
	}
	c.AddCommand(configCheckCommand(), configShowCommand(), configInitCommand())
	return c
}

func configCheckCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the configuration, line by line",
		Args:  cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings() {
				fmt.Fprintln(c.OutOrStdout(), "warning:", w)
			}
			fmt.Fprintln(c.OutOrStdout(), "OK")
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
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			return cfg.Show(c.OutOrStdout())
		},
	}
	addConfigFlag(c, &path)
	return c
}

func configInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a configuration file with every key, its default and its meaning (to standard output without FILE)",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := c.OutOrStdout().Write(config.Sample())
				return err
			}
			f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s is there already: name another file, or edit it and try config check", args[0])
			}
			if err != nil {
				return err
			}
			_, err = f.Write(config.Sample())
			if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
				return cli.Failure{Err: fmt.Errorf("write %s: %w", args[0], err)}
			}
			return nil
		},
	}
}
