package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"obdagent/cmd/internal/cli"
	"obdagent/cmd/obdfleet/internal/cloud"
)

func cloudDownCommand(open accountOpener, f *cloudFlags) *cobra.Command {
	var o cloud.DownOptions
	var yes, dryRun bool
	var drain time.Duration
	c := &cobra.Command{
		Use:   "down",
		Short: "Delete the stream and the role, and the bucket only if told",
		Long: `down deletes the stream and the role. It shows what will be gone and asks first; --yes answers for you. The bucket stays, unless
--delete-bucket; with objects in it, unless --delete-objects too. The role, which is the whole account's, stays where the stream does not
use it or another stream of the region does.

A stream that is deleted takes with it what it still buffers. down waits for its buffering interval and a minute before it deletes;
that saves everything only if nothing sends any more: stop the devices first, or let them send to another stream. A device whose
stream is gone keeps its records on disk.

--all-streams deletes every stream of the region, whoever made it, and nothing else.

Exit status: 0 gone, 1 something was left or could not be deleted, 2 usage, credentials or permissions, or the answer was no.`,
		Example: `  obdfleet cloud down --dry-run
  obdfleet cloud down --all-streams --region eu-central-1`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Drain = cloud.DrainByInterval
			if c.Flags().Changed("drain") {
				o.Drain = drain
			}
			switch {
			case o.Drain < 0 && c.Flags().Changed("drain"):
				return fmt.Errorf("--drain %s: give 0s or more", drain)
			case o.AllStreams && (o.DeleteBucket || o.DeleteObjects):
				return errors.New("--all-streams deletes streams only: leave --delete-bucket and --delete-objects away")
			case o.AllStreams && c.Flags().Changed("stream"):
				return errors.New("--all-streams and --stream: which of them is meant?")
			case o.DeleteObjects && !o.DeleteBucket:
				return errors.New("--delete-objects goes with --delete-bucket")
			}
			f.spec.Compression, f.spec.SizeMB = cloud.CompressionNone, cloud.DefaultSizeMB // of no meaning here
			if err := f.spec.Check(); err != nil {
				return err
			}
			a, err := account(c, open, f, dryRun)
			if err != nil {
				return err
			}
			o.Confirm = func(plan []string, word string) error { return confirm(c, yes, plan, word) }
			left, err := a.Down(c.Context(), f.spec, o)
			if err == nil && len(left) > 0 {
				err = cli.BadNews{Lines: left}
			}
			return err
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "delete nothing; print every call: those that look are made, those that delete are not")
	c.Flags().BoolVar(&o.AllStreams, "all-streams", false, "delete every stream of the region, and nothing else")
	c.Flags().BoolVar(&o.DeleteBucket, "delete-bucket", false, "delete the bucket too, if it is empty")
	c.Flags().BoolVar(&o.DeleteObjects, "delete-objects", false, "with --delete-bucket: delete all that the fleet has delivered, too")
	c.Flags().DurationVar(&drain, "drain", 0, "how long to wait for what is buffered (default: the stream's buffering interval and a minute)")
	c.Flags().DurationVar(&o.Wait, "wait", cloud.DefaultWait, "how long to wait until the stream is gone")
	return c
}

// confirm shows a plan and wants word as the answer.
func confirm(c *cobra.Command, yes bool, plan []string, word string) error {
	if _, err := fmt.Fprintln(c.ErrOrStderr(), strings.Join(plan, "\n  ")); err != nil {
		return cli.Failure{Err: fmt.Errorf("show what will be deleted: %w", err)}
	}
	if yes {
		return nil
	}
	if _, err := fmt.Fprintf(c.ErrOrStderr(), "Type %s to go on: ", word); err != nil {
		return cli.Failure{Err: fmt.Errorf("ask: %w", err)}
	}
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if c.Context().Err() != nil {
		return cli.Failure{Err: errors.New("stopped: nothing was deleted")}
	}
	switch {
	case strings.TrimSpace(answer) == word:
		return nil
	case err != nil && strings.TrimSpace(answer) == "":
		return errors.New("nobody answered: nothing was deleted: where nobody can be asked, give --yes")
	}
	return fmt.Errorf("the answer was not %s: nothing was deleted", word)
}
