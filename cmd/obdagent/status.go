package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

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

// statusFlags are what the command was told.
type statusFlags struct {
	config, socket string
	json, watch    bool
	wait           time.Duration
}

func statusCommand() *cobra.Command {
	var f statusFlags
	c := &cobra.Command{
		Use:   "status",
		Short: "Say what the running agent is doing",
		Long: `status asks the running agent what it is doing, and prints it on one screen: the verdict, each fault with its code and the next thing
to do, and a line for each part, the worst first.

The verdict is OK; WAITING while something is not right yet and may pass; or DEGRADED. With --wait it is waited for until it is
OK: the gate of an update is obdagent status --wait 60s.

Exit status: 0 OK (without --wait also WAITING), 1 degraded (with --wait: not OK in time), 2 not running, 3 usage or config.`,
		Example: "  obdagent status --watch\n  obdagent status --json\n  obdagent status --wait 60s && rauc status mark-good",
		Args: func(_ *cobra.Command, args []string) error {
			if err := cli.NoArguments(nil, args); err != nil {
				return cli.Status{Code: statusUsage, Err: err}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return cli.Status{Code: statusUsage, Err: cli.FlagError(c, err)}
	})
	addConfigFlag(c, &f.config)
	addSocketFlag(c, &f.socket)
	c.Flags().BoolVar(&f.json, "json", false, "print the whole snapshot as JSON (docs/status.md)")
	c.Flags().BoolVarP(&f.watch, "watch", "w", false, "print it each second until interrupted; with --json one object a line")
	c.Flags().DurationVar(&f.wait, "wait", 0, "wait until it is OK, at most this long, such as 60s")
	return c
}

func addSocketFlag(c *cobra.Command, socket *string) {
	c.Flags().StringVar(socket, "socket", "", "the agent's socket (default: status.socket of the configuration, "+config.Default().Status.Socket+")")
}

// socketOf is the socket that was named, else that of the configuration. A configuration with a mistake does not keep anybody from asking an
// agent that runs with the one before: where one answers at the usual socket, the mistake is told beside its answer.
func socketOf(c *cobra.Command, named, configPath string) (string, error) {
	if named != "" {
		return named, nil
	}
	cfg, _, err := loadConfig(configPath)
	if err != nil {
		usual := usualSocket()
		if _, unanswered := status.Fetch(c.Context(), usual); unanswered != nil {
			return "", err
		}
		_, told := fmt.Fprintf(c.ErrOrStderr(), "warning: %v\nwarning: the configuration is wrong; this is the agent that answers at %s all the same\n", err, usual)
		return usual, failure("print", told)
	}
	if cfg.Status.Socket == "" {
		return "", errors.New("status.socket is empty in the configuration: the agent cannot be asked")
	}
	return cfg.Status.Socket, nil
}

// usualSocket is where an agent is asked whose configuration nobody can read.
func usualSocket() string {
	if named := os.Getenv("OBDAGENT_STATUS_SOCKET"); named != "" {
		return named
	}
	return config.Default().Status.Socket
}

func (f *statusFlags) run(c *cobra.Command) error {
	if f.wait != 0 && (f.watch || f.wait < 0) {
		return cli.Status{Code: statusUsage, Err: errors.New("--wait takes a time above zero, such as 60s, and does not go with --watch")}
	}
	socket, err := socketOf(c, f.socket, f.config)
	if err != nil {
		return cli.Status{Code: statusUsage, Err: err}
	}
	if f.watch {
		return f.follow(c, socket)
	}
	s, err := f.ask(c.Context(), socket)
	if err != nil {
		return notAsked(err)
	}
	format := (*status.Snapshot).Render
	if f.json {
		format = (*status.Snapshot).JSON
	}
	if err := format(&s, c.OutOrStdout()); err != nil {
		return cli.Status{Code: statusUsage, Err: fmt.Errorf("print the status: %w", err)}
	}
	if s.State == status.Degraded || f.wait > 0 && s.State != status.OK {
		return cli.Status{Code: statusDegraded}
	}
	return nil
}

func (f *statusFlags) ask(ctx context.Context, socket string) (status.Snapshot, error) {
	if f.wait > 0 {
		return status.Wait(ctx, socket, f.wait)
	}
	return status.Fetch(ctx, socket)
}

// follow prints the status until it is interrupted.
func (f *statusFlags) follow(c *cobra.Command, socket string) error {
	out := c.OutOrStdout()
	file, isFile := out.(*os.File)
	screen := isFile && !f.json && term.IsTerminal(int(file.Fd()))
	format := (*status.Snapshot).Render
	if f.json {
		format = (*status.Snapshot).JSONLine
	}
	err := status.Watch(c.Context(), out, socket, screen, format, func(w io.Writer, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return notAsked(err)
		}
		if f.json {
			_, err = fmt.Fprintln(w, `{"state":"not running"}`)
		} else {
			_, err = fmt.Fprintf(w, "NOT RUNNING  %v\n", notAsked(err))
		}
		return err
	})
	if _, is := errors.AsType[cli.Status](err); err != nil && !is {
		err = cli.Status{Code: statusUsage, Err: err}
	}
	return err
}

// notAsked is the error of a question that the agent has no answer for, with status's own exit status.
func notAsked(err error) error {
	code := statusNotRunning
	if errors.Is(err, fs.ErrPermission) {
		code = statusUsage
	}
	return cli.Status{Code: code, Err: advised(err)}
}

// advised says what to do about an agent that does not answer.
func advised(err error) error {
	switch {
	case errors.Is(err, status.ErrNotRunning):
		return fmt.Errorf("%w: start it with systemctl start obdagent, or, if it runs with another configuration, name that with --config", err)
	case errors.Is(err, status.ErrNoAnswer):
		return fmt.Errorf("%w: it is stuck, or just ending: see journalctl -u obdagent, and restart it with systemctl restart obdagent", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: ask as the user that it runs as, or as root", err)
	}
	return err
}
