package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"obdagent/agent/record"
	"obdagent/agent/report"
	"obdagent/cmd/internal/cli"
)

// reportFlags are the flags of obdfleet report as given.
type reportFlags struct {
	s3        s3Flags
	json, csv bool
	fields    string
	format    string
	vins      []string
	from, to  string
	gap       time.Duration
	tmp       string
	draw      drawFlags
	engine    string
	athena    athenaFlags
}

func reportCommand() *cobra.Command {
	var f reportFlags
	c := &cobra.Command{
		Use:   "report SOURCE...",
		Short: "Read delivered records back and sum them up by vehicle",
		Long: `Read delivered records back and sum them up by vehicle: records, maximum and mean speed, distance, time in motion and standing
still, gaps, CO2 and fuel where they are known, first and last time, duplicates.

SOURCE is a directory, a file or s3://BUCKET/PREFIX; give as many as you like. Objects hold text or JSON lines, plain or gzip;
which, is found out line by line. Duplicates are recognised by their record_id. Damaged lines, and objects that cannot be read,
are named and left out, as is what Firehose keeps under its error prefixes.

--from and --to are about the records' own times. What was delivered late is in the folders of later days, which are read for that.

Memory does not grow with the number of records: they are sorted through temporary files, which take about as much room as text
lines do.

Credentials for S3 come from where the AWS tools look for them: environment, ~/.aws, the machine's role.

Exit status: 0 all is well, 1 no records, or lines or objects had to be left out, 2 usage or config.`,
		Example: `  obdfleet report s3://sd-vehicle-data/
  obdfleet report s3://sd-vehicle-data/ --vin WVWZZZ1JZXW000001 --from 2026-11-23 --to 2026-11-23 --html monday.html
  obdfleet report /srv/delivered --csv > fleet.csv
  obdfleet report s3://sd-vehicle-data --endpoint http://127.0.0.1:5000`,
		Args: func(*cobra.Command, []string) error { return nil }, // which depends on the engine
		RunE: func(c *cobra.Command, args []string) error { return runReport(c, args, f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.s3.endpoint, "endpoint", "", "URL of an S3 look-alike instead of Amazon's")
	flags.StringVar(&f.s3.region, "region", "", "the bucket's region (default: the AWS configuration's, else "+defaultRegion+")")
	flags.BoolVar(&f.json, "json", false, "print JSON instead of a table")
	flags.BoolVar(&f.csv, "csv", false, "print CSV instead of a table")
	flags.StringVar(&f.fields, "fields", strings.Join(report.DefaultFields(), ","), "columns of text lines, as record.fields has them")
	flags.StringVar(&f.format, "stream-format", string(report.FormatAuto), "what lines are: auto, text or json")
	flags.StringSliceVar(&f.vins, "vin", nil, "only these vehicles; "+report.UnknownVIN+" for records without a VIN")
	flags.StringVar(&f.from, "from", "", "only records of this time or later: a day such as 2026-11-23 (UTC), or 2026-11-23T08:00:00Z")
	flags.StringVar(&f.to, "to", "", "only records before this time; a day is meant with all its hours")
	flags.DurationVar(&f.gap, "gap", report.DefaultGap, "time between two records above which some are missing")
	flags.StringVar(&f.tmp, "tmp", "", "directory for temporary files (default: the system's, "+os.TempDir()+" here)")
	f.draw.add(c)
	flags.StringVar(&f.engine, "engine", engineBuiltIn, "what reckons: builtin reads the objects here, athena asks Athena over their Glue table")
	f.athena.add(c)
	return c
}

// garbagePercent is how much the heap may grow before garbage is collected. Most of it are buffers that stay: with Go's 100 % the
// memory would be twice what is needed.
const garbagePercent = 20

func runReport(c *cobra.Command, locations []string, f reportFlags) error {
	options, err := readOptions(f)
	if err != nil {
		return err
	}
	switch f.engine {
	case engineAthena:
		if err := onlyFor(c, engineBuiltIn, "fields", "stream-format", "tmp", "html", "gpx", "geojson"); err != nil {
			return err
		}
		if len(locations) > 0 {
			return fmt.Errorf("%s: Athena reads its table: say --table instead of a source", locations[0])
		}
		return runAthena(c, f, options)
	case engineBuiltIn:
		if err := onlyFor(c, engineAthena, "database", "table", "workgroup", "output"); err != nil {
			return err
		}
	default:
		return fmt.Errorf("--engine %s: choose %s or %s", f.engine, engineBuiltIn, engineAthena)
	}
	if len(locations) == 0 {
		return errors.New("give a source: a directory, a file or s3://BUCKET/PREFIX")
	}
	source, err := openSources(c.Context(), locations, f.s3)
	if err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
	drawing, err := f.draw.open()
	if err != nil {
		return err
	}
	defer drawing.discard()
	options.Track = drawing.track()
	bar := newProgress(c.ErrOrStderr())
	options.Progress = bar.tell
	r, err := report.Read(c.Context(), source, options)
	bar.end()
	if err != nil {
		return explain(c.Context(), err, strings.Join(locations, " "))
	}
	if err := drawing.finish(r); err != nil {
		return cli.Failure{Err: err}
	}
	return printReport(c.OutOrStdout(), r, f)
}

// onlyFor refuses flags that are given and mean nothing to the engine chosen.
func onlyFor(c *cobra.Command, engine string, flags ...string) error {
	for _, name := range flags {
		if c.Flags().Changed(name) {
			return fmt.Errorf("--%s is for --engine %s", name, engine)
		}
	}
	return nil
}

// explain says what a report that did not come about was stopped by.
func explain(ctx context.Context, err error, what string) error {
	if usage, ok := errors.AsType[usageError](err); ok {
		return usage // what reading was about to do helps nobody to spell a bucket
	}
	if ctx.Err() != nil {
		return cli.Failure{Err: fmt.Errorf("stopped before the end of %s: no report", what)}
	}
	if temp, ok := errors.AsType[report.TempError](err); ok {
		return cli.Failure{Err: fmt.Errorf("%w: give another directory with --tmp, with as much room as the objects have text", temp)}
	}
	return cli.Failure{Err: err}
}

func printReport(w io.Writer, r *report.Report, f reportFlags) error {
	write := r.Table
	switch {
	case f.json:
		write = r.JSON
	case f.csv:
		write = r.CSV
	}
	if err := write(w); err != nil {
		return cli.Failure{Err: err}
	}
	if problems := r.Problems(); len(problems) > 0 {
		return cli.BadNews{Lines: problems}
	}
	return nil
}

// readOptions turns flags into options, and refuses what cannot be meant.
func readOptions(f reportFlags) (o report.Options, err error) {
	if f.json && f.csv {
		return o, errors.New("--json and --csv: choose one")
	}
	o = report.Options{VINs: f.vins, Gap: f.gap, Tmp: f.tmp}
	o.Fields = strings.FieldsFunc(f.fields, func(r rune) bool { return r == ',' || r == ' ' })
	if len(o.Fields) == 0 {
		return o, errors.New("--fields is empty: name the columns, such as " + strings.Join(report.DefaultFields(), ","))
	}
	for _, name := range o.Fields {
		if known := record.FieldNames(); !slices.Contains(known, name) {
			return o, fmt.Errorf("--fields: there is no field %q: the fields are %s", name, strings.Join(known, " "))
		}
	}
	if _, err := report.NewLayout(o.Fields...); err != nil {
		return o, fmt.Errorf("--fields: %w", err)
	}
	if o.Format, err = report.ParseFormat(f.format); err != nil {
		return o, fmt.Errorf("--stream-format: %w", err)
	}
	if o.From, err = parseMoment(f.from, 0); err != nil {
		return o, fmt.Errorf("--from: %w", err)
	}
	if o.To, err = parseMoment(f.to, 1); err != nil {
		return o, fmt.Errorf("--to: %w", err)
	}
	if !o.From.IsZero() && !o.To.IsZero() && !o.From.Before(o.To) {
		return o, fmt.Errorf("--from %s is not before --to %s: no record can be in between", f.from, f.to)
	}
	if f.gap < time.Second {
		return o, fmt.Errorf("--gap %s: give at least 1s; records of a moving vehicle are 1s apart", f.gap)
	}
	if f.tmp != "" {
		if info, err := os.Stat(f.tmp); err != nil || !info.IsDir() {
			return o, fmt.Errorf("--tmp %s is not a directory that is there", f.tmp)
		}
	}
	return o, nil
}

// parseMoment reads a day, of which the begin is meant or that of a day some days later, or a time. "" is the zero time.
func parseMoment(s string, days int) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, days), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is neither a day such as 2026-11-23 nor a time such as 2026-11-23T08:00:00Z", s)
	}
	return t.UTC(), nil
}

// directorySource refuses what is not there at once, with what else could have been meant.
func directorySource(path string) (report.Source, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w: give a directory that is there, or s3://BUCKET/PREFIX", err)
	}
	return report.Directory(path), nil
}
