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
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

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

// Main runs root as a program: the first SIGINT or SIGTERM ends its context, a second one ends the process at once. It
// returns the exit status.
func Main(root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		// First this: whoever sees that the first signal has arrived can rely on the second.
		signal.Stop(signals)
		cancel()
	})
	code := Run(ctx, root, args, stdout, stderr)
	cancel()
	watch.Wait()
	return code
}

// Run does what the arguments say and returns the exit status. An error that is neither BadNews, Failure nor Status is a
// mistake in usage or config.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	if args == nil {
		args = []string{} // cobra takes nil for the process's own
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitDone
	}
	for _, problem := range problems(err) {
		// There is nowhere left to tell that standard error does not take it.
		_, _ = fmt.Fprintf(stderr, "%s: %s\n", command.CommandPath(), oneLine(problem))
	}
	return exitStatus(err)
}

func exitStatus(err error) int {
	if status, ok := errors.AsType[Status](err); ok {
		return status.Code
	}
	if _, ok := errors.AsType[BadNews](err); ok {
		return ExitBadNews
	}
	if _, ok := errors.AsType[Failure](err); ok {
		return ExitBadNews
	}
	return ExitUsage
}
