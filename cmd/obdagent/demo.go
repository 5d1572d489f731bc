package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/cmd/internal/cli"
)

func demoCommand() *cobra.Command {
	var o demo.Options
	var rate string
	var verbose bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job with nothing attached",
		Long: `demo drives a simulated van: an ELM327 adapter and a GPS receiver on pseudo-terminals, which agree about one trip. The real
agent reads them, keeps the records on disk and delivers them, through the AWS SDK, to a Firehose endpoint of its own on this
machine, which is as strict as AWS documents and delivers into a directory. At the end the delivered objects are read back.

Exit status: 0 if every record that was made was delivered, 1 if not, 2 usage.`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Rate, err = parseRate(rate); err != nil {
				return err
			}
			if o.For < time.Second || o.For > 24*time.Hour {
				return fmt.Errorf("--for %v: use 1s to 24h", o.For)
			}
			if o.Dir == "" {
				if o.Dir, err = os.MkdirTemp("", "obdagent-demo-"); err != nil {
					return cli.Failure{Err: err}
				}
			}
			if o.Dir, err = filepath.Abs(o.Dir); err != nil {
				return err
			}
			o.Version, o.Out, o.Live = cli.ReadBuild().Version, c.OutOrStdout(), isTerminal(c.OutOrStdout())
			if verbose {
				o.Logger = slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelDebug}))
			}
			return runDemo(c, o)
		},
	}
	f := c.Flags()
	f.DurationVar(&o.For, "for", 30*time.Second, "how long the van drives")
	f.StringVar(&o.Dir, "dir", "", "where everything goes (default: a new temporary directory)")
	f.Uint64Var(&o.Seed, "seed", 1, "of the trip and of the faults")
	f.StringVar(&rate, "rate", "1hz", "epochs of the receiver a second, 1hz to 10hz; each makes a record")
	f.BoolVar(&o.Faults, "faults", false, "pull cables, break replies and sentences, throttle and fail the endpoint")
	f.BoolVarP(&verbose, "verbose", "v", false, "log the agent's details")
	return c
}

func runDemo(c *cobra.Command, o demo.Options) error {
	fmt.Fprintf(o.Out, "obdagent demo: trip %d for %v, everything in %s\n", o.Seed, o.For, o.Dir)
	r, err := demo.Run(c.Context(), o)
	if err != nil {
		return cli.Failure{Err: err}
	}
	if err := r.Report.Table(o.Out); err != nil {
		return cli.Failure{Err: err}
	}
	fmt.Fprintf(o.Out, "\nendpoint: %d calls, %d records taken in %d Firehose records of %d B, %d objects; %d entries failed, %s refused\n",
		r.Deliver.Batches, r.Report.Lines, r.Deliver.Taken, r.Deliver.Bytes, r.Deliver.Objects, r.Deliver.Failed, refusals(r.Deliver.Refused))
	problem, ok := r.OK(o.Faults)
	if !ok {
		return cli.BadNews{Lines: []string{problem}}
	}
	fmt.Fprintf(o.Out, "every one of the %d records made was delivered\n", r.Made)
	return nil
}

func refusals(by map[string]int) string {
	n := 0
	for _, count := range by {
		n += count
	}
	if n == 0 {
		return "no calls"
	}
	return strconv.Itoa(n) + " calls"
}

// parseRate reads 1hz to 10hz.
func parseRate(s string) (int, error) {
	digits := strings.TrimSuffix(strings.ToLower(s), "hz")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n > 10 {
		return 0, fmt.Errorf("--rate %s: use 1hz to 10hz", s)
	}
	return n, nil
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func simulateCommand() *cobra.Command {
	var o demo.SimOptions
	var rate string
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Put a simulated adapter and receiver on ports, for trying a configuration",
		Long: `simulate puts a simulated ELM327 adapter and GPS receiver on pseudo-terminals, on one trip, until it is interrupted, and
writes a configuration beside them that uses both.`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Rate, err = parseRate(rate); err != nil {
				return err
			}
			if o.NMEA != "" {
				if _, err := os.Stat(o.NMEA); err != nil {
					return fmt.Errorf("--nmea: %w", err)
				}
			}
			if o.Dir == "" {
				if o.Dir, err = os.MkdirTemp("", "obdagent-simulate-"); err != nil {
					return cli.Failure{Err: err}
				}
			}
			if o.Dir, err = filepath.Abs(o.Dir); err != nil {
				return err
			}
			if err := os.MkdirAll(o.Dir, 0o755); err != nil {
				return cli.Failure{Err: err}
			}
			return simulate(c, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Dir, "dir", "", "where the ports appear, as car and gps (default: a new temporary directory)")
	f.StringVar(&o.OBD, "obd", "", "tcp://host:port to listen on in place of the adapter's port")
	f.StringVar(&o.NMEA, "nmea", "", "a recording of NMEA sentences to replay in place of the trip's positions")
	f.Uint64Var(&o.Seed, "seed", 1, "of the trip")
	f.StringVar(&rate, "rate", "1hz", "epochs of the receiver a second, 1hz to 10hz")
	return c
}

func simulate(c *cobra.Command, o demo.SimOptions) error {
	s, err := demo.NewSimulation(o)
	if err != nil {
		return err
	}
	path := filepath.Join(o.Dir, "config.toml")
	text := fmt.Sprintf(`# A configuration for the simulated adapter and receiver: what is delivered goes to a directory.
[vehicle]
device_id = "simulated"
[obd]
port = %q
[gps]
source = %q
[buffer]
dir = %q
[uplink]
kind = "directory"
path = %q
linger = "5s"
[status]
log = %q
socket = %q
`, s.CarPort(), s.GPSPort(), filepath.Join(o.Dir, "buffer"), filepath.Join(o.Dir, "delivered"), filepath.Join(o.Dir, "status.log"),
		filepath.Join(o.Dir, "status.sock"))
	if _, err := config.Parse(path, []byte(text), nil); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return cli.Failure{Err: err}
	}
	fmt.Fprintf(c.OutOrStdout(), "adapter  %s\nreceiver %s\ntry      obdagent run --config %s\n", s.CarPort(), s.GPSPort(), path)
	if err := s.Run(c.Context()); err != nil && !errors.Is(err, c.Context().Err()) {
		return cli.Failure{Err: err}
	}
	return nil
}
