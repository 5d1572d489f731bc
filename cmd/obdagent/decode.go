package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"obdagent/cmd/internal/cli"
	"obdagent/gps"
	"obdagent/obd"
)

func decodeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "decode FILE",
		Short: "Print what a recording of a receiver or an adapter says, as JSON lines",
		Long: `decode reads raw NMEA, as a receiver sent it ("-" is standard input), and prints one JSON object per epoch to standard
output: time, mode (none 2d 3d dgps rtk dr sim), lat, lon, alt (m above sea level), speed (m/s), heading, sats, hdop, and,
where the epoch is no fix, the reason. What the receiver did not give is left out. Dates are as recorded.

A file that "obdagent run --capture FILE" wrote is recognised: of the adapter's port it prints one JSON object per exchange (command,
reply, latency_ms, reason, and of a signal its value and unit), and of the receiver's port the epochs.

What was met on the way goes to standard error. Exit status: 0 done, 1 not one epoch found or the file cannot be read, 2 usage.`,
		Example: `  obdagent decode drive.nmea | jq -r 'select(.lat) | [.time, .lat, .lon] | @csv'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("want one recording, not %d: obdagent decode drive.nmea", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			in := c.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("recording: %w", err)
				}
				defer f.Close()
				in = f
			}
			return decode(in, args[0], c.OutOrStdout(), c.ErrOrStderr())
		},
	}
}

// decode prints the epochs of a recording.
func decode(in io.Reader, name string, stdout, stderr io.Writer) error {
	ahead := bufio.NewReader(in)
	if first, err := ahead.Peek(len(captureBegins)); err == nil && string(first) == captureBegins {
		return decodeCapture(ahead, name, stdout, stderr)
	}
	in = ahead
	out := bufio.NewWriter(stdout)
	encoder := json.NewEncoder(out)
	var printing error
	counts, err := gps.Decode(in, func(f gps.Fix) {
		if printing == nil {
			printing = encoder.Encode(f)
		}
	})
	if printing == nil {
		printing = out.Flush()
	}
	if printing != nil {
		return cli.Failure{Err: fmt.Errorf("print the epochs: %w", printing)}
	}
	if err != nil {
		return cli.Failure{Err: fmt.Errorf("%s: %w", name, err)}
	}
	summary := fmt.Sprintf("%d sentences, %d epochs, %d of them with a position; skipped: %d lines with a wrong checksum, %d sentences with an impossible value, %d bytes of noise",
		counts.Sentences, counts.Epochs, counts.Fixes, counts.BadChecksum, counts.BadSentence, counts.NoiseBytes)
	if binary := counts.Binary.Name(); binary != "" {
		summary += ", among them " + binary
	}
	if counts.Epochs == 0 {
		return cli.BadNews{Lines: []string{name + ": no epoch in it (" + summary + "): check that it is what a receiver sent, as NMEA"}}
	}
	fmt.Fprintf(stderr, "%s: %s\n", name, summary)
	return nil
}

// captureBegins is how a capture begins, and NMEA never does.
const captureBegins = `{"mono_ns":`

// decodeCapture prints the exchanges of a capture, in the order in which they ended, and then the epochs.
func decodeCapture(in io.Reader, name string, stdout, stderr io.Writer) error {
	out := bufio.NewWriter(stdout)
	encoder := json.NewEncoder(out)
	var printing error
	exchanges, values := 0, 0
	var nmea bytes.Buffer
	lines, err := obd.DecodeCapture(in, []string{"obd"}, func(e obd.Exchange) {
		exchanges++
		if e.Value != nil || e.Values != nil {
			values++
		}
		if printing == nil {
			printing = encoder.Encode(e)
		}
	}, func(c obd.Captured) {
		if c.Port == "gps" {
			nmea.Write(c.Data)
		}
	})
	epochs := 0
	if err == nil {
		_, err = gps.Decode(&nmea, func(f gps.Fix) {
			epochs++
			if printing == nil {
				printing = encoder.Encode(f)
			}
		})
	}
	if printing == nil {
		printing = out.Flush()
	}
	if printing != nil {
		return cli.Failure{Err: fmt.Errorf("print the exchanges: %w", printing)}
	}
	if err != nil {
		return cli.Failure{Err: fmt.Errorf("%s: %w", name, err)}
	}
	fmt.Fprintf(stderr, "%s: %d pieces, %d exchanges with the adapter, %d of them with a value; %d epochs\n", name, lines, exchanges, values, epochs)
	return nil
}
