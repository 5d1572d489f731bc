package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"obdagent/agent"
	"obdagent/agent/config"
	"obdagent/cmd/internal/cli"
)

func runCommand() *cobra.Command {
	var path string
	var verbose bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `run is the daemon: it reads the adapter and the receiver, keeps the records on disk, and delivers them, until SIGTERM or SIGINT.

Everything a vehicle does to it is a state and no reason to end: cables pulled, ignition off, no sky, no coverage. It ends with
status 2 when its configuration is wrong, and with 1 when the board does not give what it needs (a buffer directory in use).`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			for _, w := range cfg.Warnings() {
				log.Warn(w)
			}
			build := cli.ReadBuild()
			a, err := agent.New(c.Context(), agent.Options{Config: cfg, Version: build.Version, Build: build.Date, Logger: log})
			if err != nil {
				return cli.Failure{Err: err}
			}
			if err := a.Run(c.Context()); err != nil {
				return cli.Failure{Err: err}
			}
			return nil
		},
	}
	addConfigFlag(c, &path)
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log details")
	return c
}

func addConfigFlag(c *cobra.Command, path *string) {
	c.Flags().StringVarP(path, "config", "c", "", "the configuration file (default $OBDAGENT_CONFIG, else "+config.DefaultPath+" if it is there)")
}

// loadConfig reads the configuration; its errors are one line each.
func loadConfig(named string) (*config.Config, error) {
	env := os.Environ()
	cfg, err := config.Load(config.Find(named, env), env)
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return cfg, nil
}
