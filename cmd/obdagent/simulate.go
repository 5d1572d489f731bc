package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/cmd/internal/cli"
)

func simulateCommand() *cobra.Command {
	var o demo.SimOptions
	var rate string
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Put a simulated adapter and receiver on ports, for trying a configuration",
		Long: `simulate puts a simulated ELM327 adapter and GPS receiver on pseudo-terminals, on one trip, until it is interrupted, and
writes a configuration beside them that uses both. What it prints says how to go on, from another terminal.`,
		Example: `  obdagent simulate --dir /tmp/van
  obdagent simulate --obd tcp://127.0.0.1:35000 --nmea drive.nmea`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Rate, err = parseRate(rate); err != nil {
				return err
			}
			if o.NMEA != "" {
				if err := checkRecording(o.NMEA); err != nil {
					return err
				}
			}
			if o.Dir == "" {
				if o.Dir, err = os.MkdirTemp("", "obdagent-simulate-"); err != nil {
					return cli.Failure{Err: err}
				}
			}
			if o.Dir, err = filepath.Abs(o.Dir); err != nil {
				return cli.Failure{Err: err}
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

// simulatedHeader begins each configuration that simulate writes: a file that begins otherwise is somebody's own.
const simulatedHeader = "# A configuration for the simulated adapter and receiver: what is delivered goes to a directory.\n"

func simulate(c *cobra.Command, o demo.SimOptions) error {
	s, err := demo.NewSimulation(o)
	if err != nil {
		return notSimulated(err)
	}
	path := filepath.Join(o.Dir, "config.toml")
	text := simulatedHeader + fmt.Sprintf(`[vehicle]
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
	if err := writeSimulated(path, []byte(text)); err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), `adapter  %s
receiver %s
try      obdagent run --config %s
look     obdagent status --config %s
read     obdfleet report %s
`, s.CarPort(), s.GPSPort(), path, path, filepath.Join(o.Dir, "delivered"))
	if err := s.Run(c.Context()); err != nil && !errors.Is(err, context.Canceled) {
		return cli.Failure{Err: err}
	}
	return nil
}

// notSimulated tells an address that cannot be one from an address that is somebody else's.
func notSimulated(err error) error {
	if _, wrong := errors.AsType[*net.AddrError](err); wrong {
		return fmt.Errorf("%w: use tcp://host:port, such as tcp://127.0.0.1:35000", err)
	}
	if _, refused := errors.AsType[*net.OpError](err); refused {
		return cli.Failure{Err: fmt.Errorf("%w: name another port with --obd", err)}
	}
	return err
}

// writeSimulated writes the configuration, but over nothing else than an earlier one of its kind.
func writeSimulated(path string, text []byte) error {
	old, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return cli.Failure{Err: err}
	case !bytes.HasPrefix(old, []byte(simulatedHeader)):
		return fmt.Errorf("%s is a configuration of somebody's own: give --dir another directory", path)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return cli.Failure{Err: err}
	}
	return nil
}

// checkRecording refuses what cannot be a recording before anything is made for it.
func checkRecording(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("--nmea: %w: name a file of NMEA sentences", err)
	case !info.Mode().IsRegular() || info.Size() == 0:
		return fmt.Errorf("--nmea: %s is not a file with something in it: name a file of NMEA sentences", path)
	}
	return nil
}
