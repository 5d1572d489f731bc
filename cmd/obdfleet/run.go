package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// The exit statuses.
const (
	exitDone    = 0
	exitBadNews = 1
	exitUsage   = 2
)

// badNews is an answer that was found and is not good; each line is one thing that is wrong.
type badNews struct{ lines []string }

func (b badNews) Error() string { return strings.Join(b.lines, "\n") }

// failure is work that could not be done, though it was asked for rightly: a network that is down, a disk that is full.
type failure struct{ err error }

func (f failure) Error() string { return f.err.Error() }
func (f failure) Unwrap() error { return f.err }

// run does what the arguments say and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var bad badNews
	var failed failure
	status, lines := exitUsage, []string{err.Error()}
	switch {
	case errors.As(err, &bad):
		status, lines = exitBadNews, bad.lines
	case errors.As(err, &failed):
		status = exitBadNews
	}
	for _, line := range lines {
		// One line each: an SDK's error may have several.
		fmt.Fprintf(stderr, "%s: %s\n", command.CommandPath(), strings.Join(strings.Fields(line), " "))
	}
	return status
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "obdfleet",
		Short: "Reads back what a fleet of obdagents has delivered",
		Long: `obdfleet is the desk's side of obdagent: it reads back what a fleet has delivered, and reports on it.

Exit status: 0 done, 1 the answer is bad news, 2 usage or config.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command %q: see obdfleet --help", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			return errors.New("say which command: see obdfleet --help")
		},
		SilenceUsage:  true, // a screen of usage would hide the one line that says what is wrong
		SilenceErrors: true, // run prints them
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: see %s --help", err, c.CommandPath())
	})
	root.AddCommand(reportCommand(), versionCommand())
	return root
}
