package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"obdagent/agent/report"
	"obdagent/cmd/internal/cli"
	"obdagent/deploy/cloud/queries"
)

// The engines that a report can be reckoned by.
const (
	engineBuiltIn = "builtin"
	engineAthena  = "athena"
)

// athenaFlags say what to ask Athena, and where its answer goes.
type athenaFlags struct{ database, table, workgroup, output string }

func (f *athenaFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.database, "database", "obdagent", "Athena: the Glue database")
	c.Flags().StringVar(&f.table, "table", "delivered", "Athena: the Glue table of the stream's objects")
	c.Flags().StringVar(&f.workgroup, "workgroup", "obdagent", "Athena: the workgroup")
	c.Flags().StringVar(&f.output, "output", "", "Athena: s3://BUCKET/PREFIX for its answers (default: the workgroup's)")
}

var (
	// Amazon Athena User Guide, "Name databases, tables, and columns".
	glueName = regexp.MustCompile(`^[a-z0-9_]{1,255}$`)
	// Amazon Athena API Reference, StartQueryExecution.
	workgroupName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,128}$`)
)

func (f *athenaFlags) check() error {
	for _, name := range []struct{ flag, value string }{{"database", f.database}, {"table", f.table}} {
		if !glueName.MatchString(name.value) {
			return fmt.Errorf("--%s %q: Athena's names have a-z, 0-9 and underscores", name.flag, name.value)
		}
	}
	if !workgroupName.MatchString(f.workgroup) {
		return fmt.Errorf("--workgroup %q: its name has a-z, A-Z, 0-9, dot, hyphen and underscore", f.workgroup)
	}
	if f.output != "" && !strings.HasPrefix(f.output, "s3://") {
		return fmt.Errorf("--output %s: give s3://BUCKET/PREFIX", f.output)
	}
	return nil
}

// runAthena has Athena reckon the report.
func runAthena(c *cobra.Command, f reportFlags, o report.Options) error {
	if err := f.athena.check(); err != nil {
		return err
	}
	client, err := athenaClient(c.Context(), f.s3)
	if err != nil {
		return err
	}
	a := asker{client: client, flags: f.athena, poll: firstPoll}
	r, cost, err := a.report(c.Context(), o)
	if err != nil {
		return explain(c.Context(), err, "Athena's query")
	}
	if err := printReport(c.OutOrStdout(), r, f); err != nil {
		return err
	}
	if !f.json && !f.csv {
		if _, err := fmt.Fprintf(c.OutOrStdout(), "Athena read %d bytes in %s\n", cost.bytes, cost.took); err != nil {
			return cli.Failure{Err: err}
		}
	}
	return nil
}

func athenaClient(ctx context.Context, f s3Flags) (*athena.Client, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	set, err := config.LoadDefaultConfig(ctx, config.WithRegion(f.region), config.WithDefaultRegion(defaultRegion))
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w: check AWS_PROFILE and ~/.aws/config", err)
	}
	return athena.NewFromConfig(set, func(o *athena.Options) {
		if f.endpoint != "" {
			o.BaseEndpoint = aws.String(f.endpoint)
		}
	}), nil
}

// An asker asks Athena.
type asker struct {
	client *athena.Client
	flags  athenaFlags
	poll   time.Duration // before the first look at how far it is
}

const (
	firstPoll = 300 * time.Millisecond
	// Queries take seconds to minutes; GetQueryExecution is not billed, but has a quota.
	lastPoll = 5 * time.Second
	// How long a query that is not wanted any more is given to hear of it.
	stopTime = 10 * time.Second
)

// athenaCost is what Athena says a query took.
type athenaCost struct {
	bytes int64
	took  time.Duration
}

func (a asker) report(ctx context.Context, o report.Options) (*report.Report, athenaCost, error) {
	q := queries.Query{Name: "report", Engine: queries.Athena, Table: `"` + a.flags.database + `"."` + a.flags.table + `"`, Gap: o.Gap, From: o.From, To: o.To, Day: o.FirstFolder()}
	for _, vin := range o.VINs {
		if vin == report.UnknownVIN {
			vin = ""
		}
		q.VINs = append(q.VINs, vin)
	}
	sql, err := q.SQL()
	if err != nil {
		return nil, athenaCost{}, err
	}
	rows, cost, err := a.ask(ctx, sql)
	if err != nil {
		return nil, cost, err
	}
	vehicles := make([]report.Vehicle, 0, len(rows))
	for _, row := range rows {
		v, err := vehicleOf(row)
		if err != nil {
			return nil, cost, fmt.Errorf("athena: read the answer: %w", err)
		}
		vehicles = append(vehicles, v)
	}
	r := report.New(vehicles)
	r.Gap = o.Gap
	return r, cost, nil
}

// ask runs a query to its end and returns its rows by column; a null is absent.
func (a asker) ask(ctx context.Context, sql string) (rows []map[string]string, cost athenaCost, err error) {
	in := &athena.StartQueryExecutionInput{
		QueryString: aws.String(sql), WorkGroup: aws.String(a.flags.workgroup),
		QueryExecutionContext: &types.QueryExecutionContext{Database: aws.String(a.flags.database)},
	}
	if a.flags.output != "" {
		in.ResultConfiguration = &types.ResultConfiguration{OutputLocation: aws.String(a.flags.output)}
	}
	started, err := a.client.StartQueryExecution(ctx, in)
	if err != nil {
		return nil, cost, a.explain(err)
	}
	if cost, err = a.wait(ctx, started.QueryExecutionId); err != nil {
		return nil, cost, err
	}
	var header []string
	pages := athena.NewGetQueryResultsPaginator(a.client, &athena.GetQueryResultsInput{QueryExecutionId: started.QueryExecutionId})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cost, a.explain(err)
		}
		for _, r := range page.ResultSet.Rows {
			if header == nil { // the first row of the first page has the columns' names
				for _, d := range r.Data {
					header = append(header, aws.ToString(d.VarCharValue))
				}
				continue
			}
			row := map[string]string{}
			for i, d := range r.Data {
				if d.VarCharValue != nil && i < len(header) {
					row[header[i]] = *d.VarCharValue
				}
			}
			rows = append(rows, row)
		}
	}
	return rows, cost, nil
}

// wait looks at the query until it is over. A query that nobody waits for any more is stopped: it costs money.
func (a asker) wait(ctx context.Context, id *string) (cost athenaCost, err error) {
	for poll := a.poll; ; poll = min(2*poll, lastPoll) {
		timer := time.NewTimer(poll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return cost, errors.Join(ctx.Err(), a.stop(ctx, id))
		case <-timer.C:
		}
		answer, err := a.client.GetQueryExecution(ctx, &athena.GetQueryExecutionInput{QueryExecutionId: id})
		if err != nil {
			if ctx.Err() != nil {
				return cost, errors.Join(ctx.Err(), a.stop(ctx, id))
			}
			return cost, a.explain(err)
		}
		q := answer.QueryExecution
		if q == nil || q.Status == nil {
			return cost, fmt.Errorf("athena: no status of query %s in its answer", aws.ToString(id))
		}
		if s := q.Statistics; s != nil {
			cost = athenaCost{aws.ToInt64(s.DataScannedInBytes), time.Duration(aws.ToInt64(s.TotalExecutionTimeInMillis)) * time.Millisecond}
		}
		switch q.Status.State {
		case types.QueryExecutionStateSucceeded:
			return cost, nil
		case types.QueryExecutionStateFailed, types.QueryExecutionStateCancelled:
			return cost, fmt.Errorf("athena: query %s: %s: %s", aws.ToString(id), strings.ToLower(string(q.Status.State)), aws.ToString(q.Status.StateChangeReason))
		}
	}
}

func (a asker) stop(ctx context.Context, id *string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if _, err := a.client.StopQueryExecution(ctx, &athena.StopQueryExecutionInput{QueryExecutionId: id}); err != nil {
		return fmt.Errorf("athena: query %s goes on: %w", aws.ToString(id), err)
	}
	return nil
}

// explain puts what to do next to an error of Athena.
func (a asker) explain(err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		if strings.Contains(err.Error(), "get credentials") || strings.Contains(err.Error(), "retrieve credentials") {
			return usageError{fmt.Errorf("athena: no AWS credentials found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: %w", err)}
		}
		return fmt.Errorf("athena: no answer: check the network, --region and --endpoint: %w", err)
	}
	switch api.ErrorCode() {
	case "InvalidRequestException":
		return usageError{fmt.Errorf("athena: %s: check --database, --table, --workgroup and --output", api.ErrorMessage())}
	case "AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException":
		return usageError{fmt.Errorf("athena: these credentials may not ask it (%s): use others, or let them start queries, and read the table's bucket", api.ErrorCode())}
	}
	return fmt.Errorf("athena: %w", err)
}

// vehicleOf reads a row of the query named report.
func vehicleOf(row map[string]string) (report.Vehicle, error) {
	var problems []error
	number := func(column string) int64 {
		n, err := strconv.ParseInt(row[column], 10, 64)
		if err != nil {
			problems = append(problems, fmt.Errorf("column %s of %s: %w", column, row["vin"], err))
		}
		return n
	}
	ms := func(column string) time.Duration { return time.Duration(number(column)) * time.Millisecond }
	v := report.Vehicle{
		VIN: row["vin"], Records: int(number("records")), Duplicates: int(number("duplicates")), Undated: int(number("undated")),
		MaxSpeed: math.NaN(), Millimetres: number("distance_mm"), Jumps: int(number("jumps")), SpeedMillimetres: number("speed_mm"),
		Moving: ms("moving_ms"), Idle: ms("idle_ms"), Blind: ms("blind_ms"),
		Gaps: int(number("gaps")), GapTime: ms("gap_ms"), LongestGap: ms("longest_gap_ms"),
		CO2Micrograms: number("co2_ug"), CO2Time: ms("co2_ms"), FuelUnits: number("fuel_units"), FuelTime: ms("fuel_ms"),
	}
	if v.VIN == "" {
		v.VIN = report.UnknownVIN
	}
	if _, ok := row["max_speed"]; ok {
		v.MaxSpeed = float64(number("max_speed")) / 1000
	}
	if _, ok := row["first_ms"]; ok {
		v.First, v.Last = time.UnixMilli(number("first_ms")).UTC(), time.UnixMilli(number("last_ms")).UTC()
	}
	return v, errors.Join(problems...)
}

// check refuses what is no region or URL.
func (f s3Flags) check() error {
	if f.region != "" && !regionForm.MatchString(f.region) {
		return fmt.Errorf("--region %s: no region looks like that: give one as us-east-1 or eu-central-1", f.region)
	}
	if f.endpoint != "" {
		u, err := url.Parse(f.endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("--endpoint %s is not a URL: give one as http://127.0.0.1:5000", f.endpoint)
		}
	}
	return nil
}
