package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"obdagent/agent"
	"obdagent/agent/config"
	"obdagent/cmd/internal/cli"
)

func runCommand() *cobra.Command {
	var path, capture string
	var verbose bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `run is the daemon: it reads the adapter and the receiver, keeps the records on disk, and delivers them, until SIGTERM or SIGINT.

SIGHUP has it read the configuration again: what can change while it runs does, what needs a restart is named in the log and in
obdagent status, and a configuration with a mistake is refused, with the one before staying in force.

Everything a vehicle does to it is a state and no reason to end: cables pulled, ignition off, no sky, no coverage. It ends with
status 2 when its configuration is wrong, and with 1 when the board does not give what it needs (a buffer directory in use).`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, from, err := loadConfig(path)
			if err != nil {
				return err
			}
			var level slog.LevelVar // info
			if verbose {
				level.Set(slog.LevelDebug)
			}
			// Also a debugger who starts it by hand may lose his connection; the records must not care.
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			defer signal.Stop(hangups)
			log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: &level}))
			log.Info("configuration", "from", from)
			for _, w := range cfg.Warnings() {
				log.Warn(w)
			}
			build := cli.ReadBuild()
			o := agent.Options{Config: cfg, Version: build.Version, Build: build.Date, Logger: log, LogLevel: &level}
			reload := reloader{hangups, func() (*config.Config, error) { cfg, _, err := loadConfig(path); return cfg, err }}
			if capture == "" {
				return run(c, o, reload)
			}
			f, err := os.OpenFile(capture, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return fmt.Errorf("--capture: %w", err)
			}
			o.Capture = f
			err = run(c, o, reload)
			if closed := f.Close(); closed != nil {
				err = errors.Join(err, cli.Failure{Err: fmt.Errorf("--capture: %w", closed)})
			}
			return err
		},
	}
	addConfigFlag(c, &path)
	c.Flags().StringVar(&capture, "capture", "", "a new file for all that passes through both ports, for obdagent decode; it says where the vehicle was")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log details")
	return c
}

// A reloader reads the configuration again on a signal.
type reloader struct {
	signals <-chan os.Signal
	load    func() (*config.Config, error)
}

func run(c *cobra.Command, o agent.Options, reload reloader) error {
	a, err := agent.New(c.Context(), o)
	if err != nil {
		return cli.Failure{Err: err}
	}
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-reload.signals:
				a.Reload(reload.load)
			case <-ended:
				return
			}
		}
	})
	err = a.Run(c.Context())
	close(ended)
	watch.Wait()
	if err != nil {
		return cli.Failure{Err: err}
	}
	return nil
}

func addConfigFlag(c *cobra.Command, path *string) {
	c.Flags().StringVarP(path, "config", "c", "", "the configuration file (default $OBDAGENT_CONFIG, else "+config.DefaultPath+" if it is there)")
}

// loadConfig reads the configuration, and says what it read. Its errors are one line for each problem.
func loadConfig(named string) (cfg *config.Config, from string, err error) {
	env := os.Environ()
	path := config.Find(named, env)
	if cfg, err = config.Load(path, env); err != nil {
		return nil, "", err
	}
	if path == "" {
		return cfg, "no configuration file, " + config.DefaultPath + " is not there: all defaults, but for OBDAGENT_* variables", nil
	}
	return cfg, path, nil
}
