package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"obdagent/agent"
	"obdagent/agent/config"
	"obdagent/agent/doctor"
	"obdagent/agent/status"
	"obdagent/cmd/internal/cli"
)

func doctorCommand() *cobra.Command {
	var path string
	var asJSON bool
	var patience time.Duration
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Test the installation step by step",
		Long: `doctor is the acceptance test of an installation. It goes the way of a record: power, serial ports and who holds them, adapter, car bus
and VIN, GPS fix, clock, disk, credentials, and one record's round trip, acknowledged by the destination. Every check runs, also when one
before it has failed; each line says OK, WARN or FAIL, and what to do next.

Beside the running daemon it asks that one, and leaves the ports alone. Where the daemon does not run, it starts an agent of its own
for as long as the test takes, with a buffer in a temporary directory: its few records do go to the destination, under the device's
name with -doctor behind it. Run as root, it names the programs that hold a port, and the command that frees it.

Exit status: 0 every check is OK or WARN, 1 a check has failed, 2 usage or config.`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if patience <= 0 {
				return errors.New("--for: use a time above zero, such as 5m")
			}
			cfg, _, err := loadConfig(path)
			if err != nil {
				return err
			}
			return examine(c, cfg, asJSON, patience)
		},
	}
	addConfigFlag(c, &path)
	c.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON, at the end (docs/status.md)")
	c.Flags().DurationVar(&patience, "for", 5*time.Minute, "how long the whole test may take")
	return c
}

// examine runs the test and prints it.
func examine(c *cobra.Command, cfg *config.Config, asJSON bool, patience time.Duration) error {
	o := doctor.Options{Config: cfg, Superuser: os.Geteuid() == 0, Patience: patience, Wait: waiting(c.ErrOrStderr())}
	var printed error // the first one
	if !asJSON {
		o.Tell = func(check doctor.Check) {
			if _, err := io.WriteString(c.OutOrStdout(), check.Line()); err != nil {
				printed = err
			}
		}
	}
	stop, err := patient(c.Context(), cfg, &o)
	if err != nil {
		return cli.Failure{Err: err}
	}
	report, err := doctor.Run(c.Context(), o)
	if err = errors.Join(err, stop()); err != nil {
		return cli.Failure{Err: err}
	}
	if asJSON {
		out := json.NewEncoder(c.OutOrStdout())
		out.SetIndent("", "  ")
		printed = out.Encode(report)
	} else if printed == nil {
		_, printed = io.WriteString(c.OutOrStdout(), report.Verdict())
	}
	if printed != nil {
		return cli.Failure{Err: fmt.Errorf("print the report: %w", printed)}
	}
	if report.Level == doctor.Fail {
		return cli.Status{Code: cli.ExitBadNews}
	}
	return nil
}

// patient finds the agent that is examined: the running daemon, else one that ends with stop.
func patient(ctx context.Context, cfg *config.Config, o *doctor.Options) (stop func() error, err error) {
	if socket := cfg.Status.Socket; socket != "" {
		_, err := status.Fetch(ctx, socket)
		switch {
		case err == nil:
			o.Daemon = true
			o.Snapshot = func(ctx context.Context) (status.Snapshot, error) { return status.Fetch(ctx, socket) }
			return func() error { return nil }, nil
		case !errors.Is(err, status.ErrNotRunning):
			return nil, advised(err)
		}
	}
	build := cli.ReadBuild()
	own, err := doctor.Alone(ctx, agent.Options{Config: cfg, Version: build.Version, Build: build.Date, Installed: config.DeviceCredentials})
	if err != nil {
		return nil, err
	}
	o.Snapshot, o.Refused = own.Snapshot, own.Refused
	return own.Stop, nil
}

// waiting tells a person at a terminal what is being waited for.
func waiting(w io.Writer) func(string) {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return func(what string) {
		// There is nowhere left to tell that standard error does not take it.
		_, _ = fmt.Fprintf(w, "      waiting for %s ...\n", what)
	}
}
