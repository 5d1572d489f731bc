package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"obdagent/cmd/internal/cli"
)

// waiterVariable turns the test binary into a program that waits for signals.
const waiterVariable = "OBDAGENT_TEST_WAITER"

func TestMain(m *testing.M) {
	if os.Getenv(waiterVariable) != "" {
		os.Exit(cli.Main(program(waits), nil, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// waits tells when it has begun, and that it was asked to end; then it does not, but for the end of its input.
func waits(c *cobra.Command) error {
	fmt.Fprintln(c.OutOrStdout(), "begun")
	<-c.Context().Done()
	fmt.Fprintln(c.OutOrStdout(), "asked")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// program is a root command that does run.
func program(run func(*cobra.Command) error) *cobra.Command {
	do := &cobra.Command{Use: "do", Short: "Do it", Args: cli.NoArguments, RunE: func(c *cobra.Command, _ []string) error { return run(c) }}
	do.Flags().Duration("for", 0, "how long")
	do.Flags().Uint64P("seed", "s", 0, "where from")
	do.Flags().Bool("well", false, "how")
	root := cli.Root("prog", "Tries the frame", "prog tries the frame.",
		do,
		&cobra.Command{Use: "one [FILE]", Short: "Take one", Args: cli.AtMostOne("file"), RunE: func(*cobra.Command, []string) error { return nil }},
		cli.Group("many", "Hold others", &cobra.Command{Use: "first", Short: "Be first", Args: cli.NoArguments, RunE: func(*cobra.Command, []string) error { return nil }}),
		cli.VersionCommand("prog"))
	if os.Getenv(waiterVariable) != "" {
		root.RunE = func(c *cobra.Command, _ []string) error { return run(c) }
	}
	return root
}

func TestAnErrorBecomesAnExitStatusAndALineForEachProblem(t *testing.T) {
	t.Parallel()
	first, second := errors.New("first"), errors.New("second")
	for name, test := range map[string]struct {
		err  error
		code int
		want string
	}{
		"done":                               {nil, cli.ExitDone, ""},
		"a mistake":                          {first, cli.ExitUsage, "prog do: first\n"},
		"two mistakes":                       {errors.Join(first, second), cli.ExitUsage, "prog do: first\nprog do: second\n"},
		"mistakes within mistakes":           {errors.Join(first, errors.Join(second, first)), cli.ExitUsage, "prog do: first\nprog do: second\nprog do: first\n"},
		"two errors in one sentence":         {fmt.Errorf("both %w and %w", first, second), cli.ExitUsage, "prog do: both first and second\n"},
		"a list in a sentence":               {fmt.Errorf("stop: %w", errors.Join(first, second)), cli.ExitUsage, "prog do: stop: first second\n"},
		"a failure":                          {cli.Failure{Err: first}, cli.ExitBadNews, "prog do: first\n"},
		"a failure of two parts":             {cli.Failure{Err: errors.Join(first, second)}, cli.ExitBadNews, "prog do: first\nprog do: second\n"},
		"a failure in a sentence":            {fmt.Errorf("while: %w", cli.Failure{Err: first}), cli.ExitBadNews, "prog do: while: first\n"},
		"bad news":                           {cli.BadNews{Lines: []string{"one", "two"}}, cli.ExitBadNews, "prog do: one\nprog do: two\n"},
		"a status without a word":            {cli.Status{Code: 7}, 7, ""},
		"a status with a reason":             {cli.Status{Code: 3, Err: first}, 3, "prog do: first\n"},
		"a status goes before what it wraps": {cli.Status{Code: 3, Err: cli.Failure{Err: first}}, 3, "prog do: first\n"},
		"an SDK's text of several lines":     {errors.New("one\n\ttwo  spaces\r\n three\n"), cli.ExitUsage, "prog do: one two  spaces three\n"},
		"a text that steers the terminal":    {errors.New("\x1b[2Jgone \u202e\x00 é"), cli.ExitUsage, `prog do: \x1b[2Jgone \u202e\x00 é` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			code := cli.Run(t.Context(), program(func(*cobra.Command) error { return test.err }), []string{"do"}, &out, &errs)
			if code != test.code || out.Len() > 0 {
				t.Errorf("exit status %d, want %d; printed %q, want nothing", code, test.code, out.String())
			}
			if diff := cmp.Diff(test.want, errs.String()); diff != "" {
				t.Errorf("said (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorsTellTheirCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, err := range []error{cli.Failure{Err: cause}, cli.Status{Code: 3, Err: cause}} {
		if !errors.Is(err, cause) || err.Error() != "cause" {
			t.Errorf("%T: %v", err, err)
		}
	}
	if got := (cli.Status{Code: 7}).Error(); got != "exit status 7" {
		t.Errorf("a status without a word is %q", got)
	}
	if got := (cli.BadNews{Lines: []string{"a", "b"}}).Error(); got != "a\nb" {
		t.Errorf("bad news are %q", got)
	}
}

func TestMistakesSayWhatToDo(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"":                   "prog: say which command: see prog --help\n",
		"dance":              "prog: there is no command \"dance\": see prog --help\n",
		"vresion":            "prog: there is no command \"vresion\": did you mean prog version?\n",
		"do it":              "prog do: \"it\" is too much: the command takes no arguments\n",
		"do --now":           "prog do: unknown flag: --now: see prog do --help\n",
		"do -x":              "prog do: unknown shorthand flag: 'x' in -x: see prog do --help\n",
		"do --for a":         "prog do: invalid argument \"a\" for \"--for\": use a duration such as 30s, 5m or 1h: see prog do --help\n",
		"do -s -1":           "prog do: invalid argument \"-1\" for \"-s, --seed\": use a whole number from 0: see prog do --help\n",
		"do --well=so":       "prog do: invalid argument \"so\" for \"--well\": use true or false: see prog do --help\n",
		"do --for":           "prog do: flag needs an argument: --for: see prog do --help\n",
		"one a b":            "prog one: \"b\" is too much: the command takes one file\n",
		"many":               "prog many: say which command: see prog many --help\n",
		"many frist":         "prog many: there is no command \"frist\": did you mean prog many first?\n",
		"many dance --later": "prog many: unknown flag: --later: see prog many --help\n",
		"help dance":         "prog help: there is no command \"dance\": see prog --help\n",
		"help many frist":    "prog help: there is no command \"frist\": did you mean prog many first?\n",
	} {
		var out, errs bytes.Buffer
		code := cli.Run(t.Context(), program(func(*cobra.Command) error { return nil }), strings.Fields(args), &out, &errs)
		if code != cli.ExitUsage || out.Len() > 0 || errs.String() != want {
			t.Errorf("%q: exit status %d, printed %q, said %q, want %q", args, code, out.String(), errs.String(), want)
		}
	}
}

func TestHelpIsTheSameOnBothWays(t *testing.T) {
	t.Parallel()
	for _, topic := range []string{"", "do", "many", "many first", "help"} {
		var said [2]string
		for i, args := range []string{"help " + topic, topic + " --help"} {
			var out, errs bytes.Buffer
			if code := cli.Run(t.Context(), program(func(*cobra.Command) error { return nil }), strings.Fields(args), &out, &errs); code != cli.ExitDone || errs.Len() > 0 {
				t.Errorf("%q: exit status %d, said %q", args, code, errs.String())
			}
			said[i] = out.String()
		}
		if diff := cmp.Diff(said[1], said[0]); diff != "" || !strings.Contains(said[0], "Usage:") {
			t.Errorf("%q (-flag +command):\n%s", topic, diff)
		}
	}
}

// full is a disk without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestVersionThatCannotBePrintedIsAFailure(t *testing.T) {
	t.Parallel()
	var errs bytes.Buffer
	code := cli.Run(t.Context(), program(nil), []string{"version"}, full{}, &errs)
	if want := "prog version: print version: no space left\n"; code != cli.ExitBadNews || errs.String() != want {
		t.Errorf("exit status %d, said %q, want %q", code, errs.String(), want)
	}
}

func TestVersionSaysWhatTheBuildRecorded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		info *debug.BuildInfo
		want string
	}{
		{&debug.BuildInfo{}, "prog unknown, commit unknown of unknown, unknown"},
		{&debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.time", Value: "yesterday"}}}, "prog unknown, commit unknown of unknown, unknown"},
		{&debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.time", Value: "2026-11-23T08:00:00Z"}, {Key: "vcs.modified", Value: "true"},
		}}, "prog v1.2.3, commit 0123abc with changes of 2026-11-23T08:00:00Z, go1.26.0"},
	} {
		if got := cli.BuildOf(test.info).Line("prog"); got != test.want {
			t.Errorf("version %q, want %q", got, test.want)
		}
	}
	var out bytes.Buffer
	if code := cli.Run(t.Context(), program(nil), []string{"version"}, &out, io.Discard); code != cli.ExitDone || out.String() != cli.ReadBuild().Line("prog")+"\n" {
		t.Errorf("exit status %d, printed %q", code, out.String())
	}
}

// TestTheFirstSignalAsksAndTheSecondEnds: also where the first one's end takes for ever.
func TestTheFirstSignalAsksAndTheSecondEnds(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), waiterVariable+"=1")
		out, in := pipes(t, child)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		expect(t, out, "begun\n")
		send(t, child, signal)
		expect(t, out, "asked\n")
		send(t, child, signal)
		err := child.Wait()
		var ended *exec.ExitError
		if !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != signal {
			t.Errorf("%v twice: %v", signal, err)
		}
		_ = in.Close() // the child is gone
	}
}

func pipes(t *testing.T, c *exec.Cmd) (io.Reader, io.WriteCloser) {
	t.Helper()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return out, in
}

func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("the program said %q (%v), want %q", got, err, want)
	}
}

func send(t *testing.T, c *exec.Cmd, signal os.Signal) {
	t.Helper()
	if err := c.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

func TestAStoppedContextReachesTheCommand(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs bytes.Buffer
	code := cli.Run(ctx, program(func(c *cobra.Command) error { return c.Context().Err() }), []string{"do"}, io.Discard, &errs)
	if code != cli.ExitUsage || errs.String() != "prog do: context canceled\n" {
		t.Errorf("exit status %d, said %q", code, errs.String())
	}
}
