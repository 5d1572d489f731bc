package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"obdagent/agent/record"
	"obdagent/agent/report"
	"obdagent/cmd/internal/cli"
)

// reportFlags are the flags of obdfleet report as given.
type reportFlags struct {
	s3     s3Flags
	json   bool
	fields string
	format string
}

func reportCommand() *cobra.Command {
	var f reportFlags
	c := &cobra.Command{
		Use:   "report URL",
		Short: "Read delivered records back and sum them up by vehicle",
		Long: `Read delivered records back and sum them up by vehicle: records, maximum speed, distance, first and last time, duplicates.

URL is a directory, a file or s3://BUCKET/PREFIX. Objects hold text or JSON lines, plain or gzip; which, is found out line by
line. Duplicates are recognised by their record_id. Damaged lines, and objects that cannot be read, are named and left out.

Credentials for S3 come from where the AWS tools look for them: environment, ~/.aws, the machine's role.

Exit status: 0 all is well, 1 no records, or lines or objects had to be left out, 2 usage or config.`,
		Example: `  obdfleet report s3://sd-vehicle-data/2026/11/
  obdfleet report /srv/delivered --json
  obdfleet report s3://sd-vehicle-data --endpoint http://127.0.0.1:5000`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("give one URL, not %d: a directory or s3://BUCKET/PREFIX", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return runReport(c, args[0], f) },
	}
	c.Flags().StringVar(&f.s3.endpoint, "endpoint", "", "URL of an S3 look-alike instead of Amazon's")
	c.Flags().StringVar(&f.s3.region, "region", "", "the bucket's region (default: the AWS configuration's, else "+defaultRegion+")")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON instead of a table")
	c.Flags().StringVar(&f.fields, "fields", strings.Join(report.DefaultFields(), ","), "columns of text lines, as record.fields has them")
	c.Flags().StringVar(&f.format, "stream-format", string(report.FormatAuto), "what lines are: auto, text or json")
	return c
}

func runReport(c *cobra.Command, location string, f reportFlags) error {
	options, err := readOptions(f)
	if err != nil {
		return err
	}
	source, err := openSource(c.Context(), location, f.s3)
	if err != nil {
		return err
	}
	r, err := report.Read(c.Context(), source, options)
	if err != nil {
		var usage usageError
		if errors.As(err, &usage) {
			return usage // what reading was about to do helps nobody to spell a bucket
		}
		if c.Context().Err() != nil {
			return cli.Failure{Err: fmt.Errorf("stopped before the end of %s: no report", location)}
		}
		return cli.Failure{Err: err}
	}
	write := r.Table
	if f.json {
		write = r.JSON
	}
	if err := write(c.OutOrStdout()); err != nil {
		return cli.Failure{Err: err}
	}
	if problems := r.Problems(); len(problems) > 0 {
		return cli.BadNews{Lines: problems}
	}
	return nil
}

// readOptions turns flags into options, and refuses what cannot be meant.
func readOptions(f reportFlags) (report.Options, error) {
	fields := strings.FieldsFunc(f.fields, func(r rune) bool { return r == ',' || r == ' ' })
	if len(fields) == 0 {
		return report.Options{}, errors.New("--fields is empty: name the columns, such as " + strings.Join(report.DefaultFields(), ","))
	}
	for _, name := range fields {
		if known := record.FieldNames(); !slices.Contains(known, name) {
			return report.Options{}, fmt.Errorf("--fields: there is no field %q: the fields are %s", name, strings.Join(known, " "))
		}
	}
	if _, err := report.NewLayout(fields...); err != nil {
		return report.Options{}, fmt.Errorf("--fields: %w", err)
	}
	format, err := report.ParseFormat(f.format)
	if err != nil {
		return report.Options{}, fmt.Errorf("--stream-format: %w", err)
	}
	return report.Options{Fields: fields, Format: format}, nil
}

// directorySource refuses what is not there at once, with what else could have been meant.
func directorySource(path string) (report.Source, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w: give a directory that is there, or s3://BUCKET/PREFIX", err)
	}
	return report.Directory(path), nil
}
