package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"obdagent/cmd/internal/cli"
	"obdagent/cmd/obdfleet/internal/cloud"
)

// An accountOpener finds the account that a command works on.
type accountOpener func(context.Context, cloud.Options) (*cloud.Account, error)

// cloudFlags are the flags of obdfleet cloud as given.
type cloudFlags struct {
	at   cloud.Options
	spec cloud.Spec

	size     uint64
	interval time.Duration
}

// complete checks the flags and puts them into the spec.
func (f *cloudFlags) complete() error {
	if f.interval%time.Second != 0 || f.interval < 0 || f.interval > time.Hour {
		return fmt.Errorf("--buffer-interval %s: Firehose takes whole seconds, 0s to 900s", f.interval)
	}
	f.spec.IntervalS, f.spec.SizeMB = int32(f.interval/time.Second), int32(min(f.size, 1<<20))
	return f.spec.Check()
}

func cloudCommand(open accountOpener) *cobra.Command {
	f := &cloudFlags{}
	c := cli.Group("cloud", "Make, look at or take away the stream, its bucket and its role",
		cloudUpCommand(open, f), cloudStatusCommand(open, f), cloudListCommand(open, f), cloudDownCommand(open, f), cloudPolicyCommand(open, f), cloudTemplateCommand())
	p := c.PersistentFlags()
	p.StringVar(&f.spec.Stream, "stream", cloud.DefaultStream, "the stream's name, as the devices' uplink.stream")
	p.StringVar(&f.spec.Bucket, "bucket", cloud.DefaultBucket, "the bucket's name; bucket names are shared by the whole world")
	p.StringVar(&f.spec.Role, "role", cloud.DefaultRole, "the role that Firehose assumes to write to the bucket")
	p.StringVar(&f.at.Region, "region", "", "the region (default: the AWS configuration's, else "+cloud.DefaultRegion+")")
	p.StringVar(&f.at.Endpoint, "endpoint", "", "URL of an AWS look-alike instead of Amazon's")
	return c
}

// shapeFlags are those that say how the stream should be.
func shapeFlags(c *cobra.Command, f *cloudFlags) {
	c.Flags().StringVar(&f.spec.Compression, "compression", cloud.CompressionNone, "what the devices send, as their uplink.compression: none or gzip; gzip gives objects the extension .gz")
	c.Flags().Uint64Var(&f.size, "buffer-size", cloud.DefaultSizeMB, "MB that Firehose collects before it writes an object, 1 to 128")
	c.Flags().DurationVar(&f.interval, "buffer-interval", cloud.DefaultIntervalS*time.Second, "how long it collects at most, up to 900s")
	c.Flags().StringVar(&f.spec.Manager, "manager", "", "an IAM user who gets the policy for managing the stream (see obdfleet cloud policy)")
}

// account opens the account and shows its steps.
func account(c *cobra.Command, open accountOpener, f *cloudFlags, dryRun bool) (*cloud.Account, error) {
	a, err := open(c.Context(), f.at)
	if err != nil {
		return nil, err
	}
	a.DryRun = dryRun
	a.Say = func(line string) { _, _ = fmt.Fprintln(c.ErrOrStderr(), line) }
	if dryRun {
		a.Calls = func(call cloud.Call) {
			did := "look  "
			if call.Changes {
				did = "change"
			}
			_, _ = fmt.Fprintf(c.OutOrStdout(), "%s %s\n", did, call)
		}
	}
	return a, nil
}

// printed makes an error of printing a failure.
func printed(_ int, err error) error {
	if err != nil {
		return cli.Failure{Err: fmt.Errorf("print the answer: %w", err)}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return cli.Failure{Err: fmt.Errorf("print the answer: %w", err)}
	}
	return printed(fmt.Fprintf(w, "%s\n", text))
}

// badNews tells of what is not as it should be.
func badNews(drift []cloud.Drift, remedy string) error {
	if len(drift) == 0 {
		return nil
	}
	var news cli.BadNews
	for _, d := range drift {
		news.Lines = append(news.Lines, d.String())
	}
	if remedy != "" {
		news.Lines = append(news.Lines, remedy)
	}
	return news
}

func cloudUpCommand(open accountOpener, f *cloudFlags) *cobra.Command {
	var dryRun bool
	var wait time.Duration
	c := &cobra.Command{
		Use:   "up",
		Short: "Make what is missing of bucket, role and stream, and print the stream's ARN",
		Long: `up makes what is missing of the bucket, the role that Firehose assumes to write to it, and the stream that the devices send
to, and waits until the stream is ACTIVE. It prints the stream's ARN; what it does goes to standard error.

Run again, it changes nothing. What is there and is not as it should be is named and left alone; --repair sets it right. Objects
get keys by the day of their arrival in UTC (2026/11/23/...); what cannot be delivered goes below errors/, which obdfleet report skips.

For an account of a whole fleet see obdfleet cloud template, which has alarms, the devices' role and tables besides.

Credentials come from where the AWS tools look for them: environment, ~/.aws, the machine's role. They need what obdfleet cloud
policy setup prints.

Exit status: 0 all is as it should be, 1 something differs or could not be made, 2 usage, credentials or permissions.`,
		Example: `  obdfleet cloud up --dry-run
  obdfleet cloud up --bucket example-fleet-data --compression gzip`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.complete(); err != nil {
				return err
			}
			a, err := account(c, open, f, dryRun)
			if err != nil {
				return err
			}
			r, err := a.Up(c.Context(), f.spec, wait)
			if err != nil {
				return err
			}
			if !dryRun {
				if err := printed(fmt.Fprintln(c.OutOrStdout(), r.StreamARN)); err != nil {
					return err
				}
			}
			return badNews(r.Drift, "left as it is: --repair sets right what can be")
		},
	}
	shapeFlags(c, f)
	c.Flags().BoolVar(&f.spec.Repair, "repair", false, "set right what is there and differs")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing; print every call: those that look are made, those that change something are not")
	c.Flags().DurationVar(&wait, "wait", cloud.DefaultWait, "how long to wait until the stream is ACTIVE")
	return c
}

func cloudStatusCommand(open accountOpener, f *cloudFlags) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say whether the stream is ACTIVE, all is as up makes it, and what arrived today",
		Long: `status compares bucket, role and stream with what up would make, with the same flags, and counts the objects that have arrived
since midnight UTC and those below errors/ (10,000 of each at most). It changes nothing.

Exit status: 0 all is as it should be, 1 something is missing or differs or lies below errors/, 2 usage, credentials or permissions.`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.complete(); err != nil {
				return err
			}
			a, err := account(c, open, f, false)
			if err != nil {
				return err
			}
			a.Say = nil
			return runCloudStatus(c, a, f.spec, asJSON)
		},
	}
	shapeFlags(c, f)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON instead of lines")
	return c
}

// cloudStatus is the answer of obdfleet cloud status as JSON.
type cloudStatus struct {
	Stream string          `json:"stream"`
	Status string          `json:"status"` // empty: there is none
	Bucket string          `json:"bucket"`
	Today  *cloud.Arrivals `json:"today,omitempty"` // absent without a bucket
	Drift  []cloud.Drift   `json:"drift"`
}

func runCloudStatus(c *cobra.Command, a *cloud.Account, spec cloud.Spec, asJSON bool) error {
	r, err := a.Look(c.Context(), spec)
	if err != nil {
		return err
	}
	s := cloudStatus{Stream: r.StreamARN, Status: r.Status, Bucket: "s3://" + spec.Bucket, Drift: r.Drift}
	if s.Drift == nil {
		s.Drift = []cloud.Drift{}
	}
	now := time.Now()
	bucketThere := true
	for _, d := range r.Drift {
		bucketThere = bucketThere && (d.What != "bucket "+spec.Bucket || d.Property != cloud.Existence)
	}
	if bucketThere {
		today, err := a.Arrivals(c.Context(), spec, now)
		if err != nil {
			return err
		}
		s.Today = &today
		if today.Errors > 0 {
			s.Drift = append(s.Drift, cloud.Drift{What: s.Bucket, Property: "what could not be delivered, below " + cloud.ErrorFolder, Is: fmt.Sprintf("%d objects", today.Errors), Want: "nothing"})
		}
	}
	if asJSON {
		err = printJSON(c.OutOrStdout(), s)
	} else {
		err = s.print(c.OutOrStdout(), now)
	}
	return errors.Join(err, badNews(s.Drift, ""))
}

func (s cloudStatus) print(w io.Writer, now time.Time) error {
	status := s.Status
	if status == "" {
		status = "missing"
	}
	text := fmt.Sprintf("stream  %s %s\nbucket  %s\n", status, s.Stream, s.Bucket)
	if t := s.Today; t != nil {
		text += fmt.Sprintf("today   %d objects, %d bytes below %s/", t.Objects, t.Bytes, t.Day)
		if !t.Newest.IsZero() {
			text += fmt.Sprintf(", the newest %s ago", now.Sub(t.Newest).Round(time.Second))
		}
		text += "\n"
	}
	return printed(io.WriteString(w, text))
}

func cloudListCommand(open accountOpener, f *cloudFlags) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the region's streams and the account's buckets, with their ARNs",
		Args:  cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := account(c, open, f, false)
			if err != nil {
				return err
			}
			l, err := a.List(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), l)
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintf(t, "KIND\tNAME\tSTATUS\tTO\tARN\n") // Flush tells whether it could be written
			for _, s := range l.Streams {
				_, _ = fmt.Fprintf(t, "stream\t%s\t%s\t%s\t%s\n", s.Name, s.Status, s.To, s.ARN)
			}
			for _, b := range l.Buckets {
				_, _ = fmt.Fprintf(t, "bucket\t%s\t-\t-\t%s\n", b.Name, b.ARN)
			}
			return printed(0, t.Flush())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON instead of a table")
	return c
}

func cloudPolicyCommand(open accountOpener, f *cloudFlags) *cobra.Command {
	policies := map[string]func(cloud.Where, cloud.Spec) cloud.Policy{"manager": cloud.ManagerPolicy, "setup": cloud.SetupPolicy, "device": cloud.DevicePolicy}
	var number string
	c := &cobra.Command{
		Use:   "policy manager|setup|device",
		Short: "Print a least-privilege policy for who manages the stream, for up and down, or for devices",
		Long: `policy prints an IAM policy:

  manager  may manage the stream, write to it, look at bucket and role, and read what was delivered: for the user who runs
           obdfleet from day to day. The role must be there: he may give it to the stream, not change it.
  setup    may do all that obdfleet cloud up and down do, with the role and the bucket too. Its holder can give the role any right.
  device   may send records to the stream, and nothing else: for devices with keys (uplink.credentials = "file").

The account's number is asked of AWS, unless --account gives it.`,
		Example: `  aws iam put-user-policy --user-name dcUser --policy-name stream --policy-document "$(obdfleet cloud policy manager)"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || policies[args[0]] == nil {
				return errors.New("say for whom: manager, setup or device")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			f.spec.Compression, f.spec.SizeMB = cloud.CompressionNone, cloud.DefaultSizeMB // of no meaning here
			if err := f.spec.Check(); err != nil {
				return err
			}
			a, err := account(c, open, f, false)
			if err != nil {
				return err
			}
			w, err := a.As(c.Context(), number)
			if err != nil {
				return err
			}
			return printed(fmt.Fprintln(c.OutOrStdout(), policies[args[0]](w, f.spec)))
		},
	}
	c.Flags().StringVar(&number, "account", "", "the account's number, 12 digits: nothing is asked of AWS then")
	c.Flags().StringVar(&f.spec.Manager, "manager", "", "for setup: the IAM user who is to get the manager's policy")
	return c
}
