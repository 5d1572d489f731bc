package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"obdagent/agent/status"
	"obdagent/cmd/internal/cli"
)

// A local is the running agent, as the flags name it.
type local struct{ path, socket string }

func (l *local) addFlags(c *cobra.Command) {
	addConfigFlag(c, &l.path)
	addSocketFlag(c, &l.socket)
}

// said makes what the agent's answer was a failure with what to do.
func said(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, status.ErrNotAllowed):
		err = fmt.Errorf("%w: try with sudo", err)
	default:
		if s, ok := errors.AsType[cli.Status](notAsked(err)); ok {
			err = s.Err
		}
	}
	return cli.Failure{Err: err}
}

func tailCommand() *cobra.Command {
	var at local
	var asJSON bool
	chosen := make([]bool, len(status.Kinds))
	c := &cobra.Command{
		Use:   "tail",
		Short: "Show records, NMEA sentences and adapter traffic as they pass",
		Long: `tail shows what passes through the running agent, which it does not disturb: records as JSON, each line of the receiver, and each
command to the adapter (>) with its reply (<, its lines joined with " | ", "no prompt" where it did not end). Without a choice it
shows all three. Who reads too slowly misses events, and is told how many.

It shows where the vehicle is: only root and the user that the agent runs as may.

--json prints one JSON object a line: time, kind (record nmea obd dropped), dir (rx tx), text, no_prompt, record, dropped.

Exit status: 0 interrupted, 1 the agent does not run, refuses, or has ended, 2 usage or config.`,
		Example: "  sudo obdagent tail --obd\n  sudo obdagent tail --records --json | jq .record.speed",
		Args:    cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			socket, err := socketOf(c, at.socket, at.path)
			if err != nil {
				return err
			}
			var kinds []string
			for i, k := range status.Kinds {
				if chosen[i] {
					kinds = append(kinds, k)
				}
			}
			return tail(c.Context(), c.OutOrStdout(), socket, kinds, asJSON)
		},
	}
	at.addFlags(c)
	for i, f := range []struct{ name, usage string }{
		{"records", "the records"}, {"nmea", "the receiver's lines"}, {"obd", "the adapter's commands and replies"},
	} {
		c.Flags().BoolVar(&chosen[i], f.name, false, "show "+f.usage)
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON lines")
	return c
}

func tail(ctx context.Context, out io.Writer, socket string, kinds []string, asJSON bool) error {
	encoder := json.NewEncoder(out)
	err := status.Tail(ctx, socket, kinds, nil, func(e status.Event) error {
		var err error
		if asJSON {
			err = encoder.Encode(e)
		} else {
			_, err = fmt.Fprintln(out, eventLine(e))
		}
		return failure("print", err)
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil:
		return cli.Failure{Err: errors.New("the agent has ended")}
	}
	return said(err)
}

// eventLine is an event for a person.
func eventLine(e status.Event) string {
	at := e.Time.Local().Format("15:04:05.000 ")
	switch {
	case e.Dropped > 0:
		return fmt.Sprintf("%s... %d events were missed: this reader is too slow", at, e.Dropped)
	case e.Record != nil:
		return at + "record " + string(e.Record)
	case e.Kind == status.KindOBD:
		line := at + "obd  " + map[string]string{"tx": "> ", "rx": "< "}[e.Dir] + e.Text
		if e.NoPrompt {
			line += " (no prompt)"
		}
		return line
	}
	return at + fmt.Sprintf("%-4s ", e.Kind) + e.Text
}

func logLevelCommand() *cobra.Command {
	var at local
	c := &cobra.Command{
		Use:   "log-level [LEVEL]",
		Short: "Say or change how much the running agent logs",
		Long: `log-level says how much the running agent tells its log (the journal): debug, info, warn or error. With LEVEL it changes that, until
the agent is started again. The status log is not touched. Only root and the user that the agent runs as may change it.

Exit status: 0 done, 1 the agent does not run or refuses, 2 usage or config.`,
		Example: "  sudo obdagent log-level debug",
		Args:    cli.AtMostOne("level"),
		RunE: func(c *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
				if _, err := status.ParseLevel(name); err != nil {
					return err
				}
			}
			socket, err := socketOf(c, at.socket, at.path)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
			defer cancel()
			change, err := status.SetLogLevel(ctx, socket, name)
			if err != nil {
				return said(err)
			}
			switch {
			case name == "":
				_, err = fmt.Fprintln(c.OutOrStdout(), change.Now)
			case change.Was == change.Now:
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s, as before\n", change.Now)
			default:
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s now, was %s\n", change.Now, change.Was)
			}
			return failure("print", err)
		},
	}
	at.addFlags(c)
	return c
}
