package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"obdagent/agent/config"
	"obdagent/agent/status"
	"obdagent/cmd/internal/cli"
)

// The exit statuses of status.
const (
	statusDegraded   = 1
	statusNotRunning = 2
	statusUsage      = 3
)

func statusCommand() *cobra.Command {
	var path, socket string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say what the running agent is doing",
		Long: `status asks the running agent what it is doing, and prints it on one screen, the verdict first.

Exit status: 0 OK, 1 degraded, 2 not running, 3 usage or config.`,
		Args: func(_ *cobra.Command, args []string) error {
			if err := cli.NoArguments(nil, args); err != nil {
				return cli.Status{Code: statusUsage, Err: err}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			if socket == "" {
				cfg, _, err := loadConfig(path)
				if err != nil {
					return cli.Status{Code: statusUsage, Err: err}
				}
				if socket = cfg.Status.Socket; socket == "" {
					return cli.Status{Code: statusUsage, Err: errors.New("status.socket is empty in the configuration: the agent cannot be asked")}
				}
			}
			s, err := status.Fetch(c.Context(), socket)
			if err != nil {
				return notAsked(err)
			}
			if asJSON {
				out := json.NewEncoder(c.OutOrStdout())
				out.SetIndent("", "  ")
				err = out.Encode(&s)
			} else {
				err = s.Render(c.OutOrStdout())
			}
			if err != nil {
				return cli.Status{Code: statusUsage, Err: fmt.Errorf("print the status: %w", err)}
			}
			if s.State != status.OK {
				return cli.Status{Code: statusDegraded}
			}
			return nil
		},
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return cli.Status{Code: statusUsage, Err: cli.FlagError(c, err)}
	})
	addConfigFlag(c, &path)
	c.Flags().StringVar(&socket, "socket", "", "the agent's socket (default: status.socket of the configuration, "+config.Default().Status.Socket+")")
	c.Flags().BoolVar(&asJSON, "json", false, "print the whole snapshot as JSON")
	return c
}

// notAsked says why the agent has no answer for us, and what to do.
func notAsked(err error) error {
	switch {
	case errors.Is(err, status.ErrNotRunning):
		err = fmt.Errorf("%w: start it with systemctl start obdagent, or, if it runs with another configuration, name that with --config", err)
	case errors.Is(err, fs.ErrPermission):
		return cli.Status{Code: statusUsage, Err: fmt.Errorf("%w: ask as the user that it runs as, or as root", err)}
	}
	return cli.Status{Code: statusNotRunning, Err: err}
}
