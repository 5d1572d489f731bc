// Package cli is what the commands of both binaries have in common: how an error becomes an exit status and a line, and
// what a build says of itself.
//
// Exit status: 0 done, 1 the answer is bad news, 2 usage or config. Bad news and mistakes are one line each on standard
// error: what, where, and what to do.
package cli

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
	ExitDone    = 0
	ExitBadNews = 1
	ExitUsage   = 2
)

// BadNews is an answer that was found and is not good; each line is one thing that is wrong.
type BadNews struct{ Lines []string }

// Error joins the lines.
func (b BadNews) Error() string { return strings.Join(b.Lines, "\n") }

// Failure is work that could not be done, though it was asked for rightly: a network that is down, a disk that is full.
type Failure struct{ Err error }

// Error is the cause's.
func (f Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f Failure) Unwrap() error { return f.Err }

// Status is an exit status of its own, for a command that documents more than the common three.
type Status struct {
	Code int
	Err  error // printed; nil: nothing is
}

// Error is the cause's.
func (s Status) Error() string {
	if s.Err == nil {
		return fmt.Sprintf("exit status %d", s.Code)
	}
	return s.Err.Error()
}

// Unwrap returns the cause.
func (s Status) Unwrap() error { return s.Err }

// Root makes the command that the others hang under.
func Root(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command %q: see %s --help", args[0], use)
			}
			return nil
		},
		RunE:          func(*cobra.Command, []string) error { return fmt.Errorf("say which command: see %s --help", use) },
		SilenceUsage:  true, // a screen of usage would hide the one line that says what is wrong
		SilenceErrors: true, // Run prints them
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: see %s --help", err, c.CommandPath())
	})
	root.AddCommand(commands...)
	return root
}

// NoArguments refuses arguments.
func NoArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is too much: the command takes no arguments", args[0])
	}
	return nil
}

// Run does what the arguments say and returns the exit status. An error that is neither BadNews, Failure nor Status is a
// mistake in usage or config.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitDone
	}
	var (
		bad    BadNews
		failed Failure
		status Status
	)
	code, lines := ExitUsage, []string{err.Error()}
	switch {
	case errors.As(err, &status):
		code = status.Code
		if status.Err == nil {
			lines = nil
		}
	case errors.As(err, &bad):
		code, lines = ExitBadNews, bad.Lines
	case errors.As(err, &failed):
		code = ExitBadNews
	}
	for _, text := range lines {
		for line := range strings.Lines(text) {
			fmt.Fprintf(stderr, "%s: %s\n", command.CommandPath(), strings.Join(strings.Fields(line), " "))
		}
	}
	return code
}
