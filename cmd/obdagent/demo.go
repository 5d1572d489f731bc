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
machine, which is as strict as AWS documents and delivers into DIR/sd-vehicle-data. At the end the objects are read back.

Ctrl-C ends the drive early, and the records that were made until then are accounted for; a second one ends it at once.

Exit status: 0 every record that was made was delivered, and nothing else, 1 not so, 2 usage or config.`,
		Example: `  obdagent demo
  obdagent demo --for 2m --rate 10hz --faults --dir /tmp/drive`,
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
				return cli.Failure{Err: err}
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
	r, err := demo.Run(c.Context(), o)
	if errors.Is(err, demo.ErrEarlierRun) {
		return fmt.Errorf("--dir: %w", err)
	}
	if err != nil {
		return cli.Failure{Err: err}
	}
	if err := r.Report.Table(o.Out); err != nil {
		return cli.Failure{Err: fmt.Errorf("print the result: %w", err)}
	}
	fmt.Fprintf(o.Out, "\nendpoint: %s, %s taken in %s of %d B, %s; %s failed, %s refused\n",
		count(r.Deliver.Batches, "call"), count(r.Report.Lines, "record"), count(r.Deliver.Taken, "Firehose record"), r.Deliver.Bytes,
		count(r.Deliver.Objects, "object"), count(r.Deliver.Failed, "entry"), count(refusals(r.Deliver.Refused), "call"))
	objects := filepath.Join(o.Dir, demo.Bucket)
	fmt.Fprintf(o.Out, "objects:  %s (read them again with: obdfleet report %s)\n", objects, objects)
	problem, ok := r.OK(o.Faults)
	if !ok {
		return cli.BadNews{Lines: []string{problem + ": look at " + filepath.Join(o.Dir, "status.log")}}
	}
	fmt.Fprintf(o.Out, "every one of the %d records made was delivered\n", r.Made)
	return nil
}

func refusals(by map[string]int) int {
	n := 0
	for _, count := range by {
		n += count
	}
	return n
}

// count is a number and its noun.
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	}
	return fmt.Sprintf("%d %ss", n, noun)
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
