package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/awslabs/goformation/v7/cloudformation/athena"
	"github.com/awslabs/goformation/v7/cloudformation/cloudwatch"
	"github.com/awslabs/goformation/v7/cloudformation/glue"
	"github.com/awslabs/goformation/v7/cloudformation/iam"
	"github.com/awslabs/goformation/v7/cloudformation/iot"
	"github.com/awslabs/goformation/v7/cloudformation/kinesisfirehose"
	"github.com/awslabs/goformation/v7/cloudformation/s3"
	"github.com/google/go-cmp/cmp"

	"obdagent/agent/agenttest"
	"obdagent/agent/record"
	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/deploy/cloud/queries"
)

// variants are stacks that a user may want, by name.
var variants = map[string]map[string]any{
	"defaults":             {},
	"gzip":                 {"Compression": "gzip"},
	"json by Kinesis":      {"Format": "json", "Source": "kinesis", "Shards": 4},
	"re-dated":             {"Redate": "yes", "Compression": "gzip"},
	"filtered":             {"KeepVIN": "^WVW", "ExpireDays": 400},
	"parquet":              {"Format": "json", "Destination": "parquet"},
	"parquet and filtered": {"Format": "json", "Destination": "parquet", "KeepVIN": "^WVW"},
	"silence":              {"SilenceHours": 16},
	"Kinesis' silence":     {"SilenceHours": 16, "Source": "kinesis"},
	"opensearch":           {"Format": "json", "Destination": "opensearch", "OpenSearchDomainArn": "arn:aws:es:us-east-1:123456789012:domain/fleet"},
	"redshift":             {"Destination": "redshift", "RedshiftJDBCURL": "jdbc:redshift://h:5439/d", "RedshiftSecret": "r", "ManagerUser": "dcUser", "AlarmEmail": "fleet@example.com"},
}

// one returns the resource of a name, as the type that it must have.
func one[T any](t *testing.T, s stack, name string) *T {
	t.Helper()
	r, ok := s.resources[name].(any).(*T)
	if !ok {
		t.Fatalf("%s is %T", name, s.resources[name])
	}
	return r
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func number(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

func TestEveryVariantOfTheTemplateFitsTheTypes(t *testing.T) {
	t.Parallel()
	for name, parameters := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := deployed(t, parameters)
			checkStream(t, s)
			checkPolicies(t, s)
			_, lambda := s.resources["Function"]
			if want := parameters["Redate"] == "yes" || parameters["KeepVIN"] != nil; lambda != want {
				t.Errorf("there is a function: %v, want %v", lambda, want)
			}
		})
	}
}

// checkStream applies Firehose's rules that neither types nor cfn-lint know.
func checkStream(t *testing.T, s stack) {
	t.Helper()
	st := one[kinesisfirehose.DeliveryStream](t, s, "Stream")
	destinations := 0
	if d := st.ExtendedS3DestinationConfiguration; d != nil {
		destinations++
		checkPrefix(t, text(d.Prefix), text(d.ErrorOutputPrefix))
		partitioned := d.DynamicPartitioningConfiguration != nil
		if partitioned != strings.Contains(text(d.Prefix), "!{partitionKeyFrom") {
			t.Errorf("prefix %q, and dynamic partitioning: %v", text(d.Prefix), partitioned)
		}
		if (partitioned || d.DataFormatConversionConfiguration != nil) && number(d.BufferingHints.SizeInMBs) < 64 {
			t.Errorf("a buffer of %d MB: conversion and partitioning need 64", number(d.BufferingHints.SizeInMBs))
		}
		if text(d.CompressionFormat) != "UNCOMPRESSED" || (text(d.FileExtension) == ".gz") != (s.values["Compression"] == "gzip") {
			t.Errorf("compression %q, extension %q of devices that send %v", text(d.CompressionFormat), text(d.FileExtension), s.values["Compression"])
		}
		if b := d.S3BackupConfiguration; b != nil {
			checkPrefix(t, text(b.Prefix), text(b.ErrorOutputPrefix))
		}
		if conversion := d.DataFormatConversionConfiguration != nil; conversion != (text(d.S3BackupMode) == "Enabled" && d.S3BackupConfiguration != nil) {
			t.Errorf("conversion %v: its lines must be kept too", conversion)
		}
		if d.ProcessingConfiguration != nil {
			checkProcessors(t, text(d.Prefix), d.ProcessingConfiguration.Processors)
		}
	}
	if d := st.AmazonopensearchserviceDestinationConfiguration; d != nil {
		destinations++
		checkPrefix(t, text(d.S3Configuration.Prefix), text(d.S3Configuration.ErrorOutputPrefix))
		if text(d.S3BackupMode) != "AllDocuments" {
			t.Error("an index is no archive: the bucket gets only failures")
		}
	}
	if d := st.RedshiftDestinationConfiguration; d != nil {
		destinations++
		checkPrefix(t, text(d.S3Configuration.Prefix), text(d.S3Configuration.ErrorOutputPrefix))
	}
	if destinations != 1 {
		t.Errorf("%d destinations", destinations)
	}
	kinesis := s.values["Source"] == "kinesis"
	if (text(st.DeliveryStreamType) == "KinesisStreamAsSource") != kinesis || (st.KinesisStreamSourceConfiguration != nil) != kinesis || (st.DeliveryStreamEncryptionConfigurationInput != nil) == kinesis {
		t.Errorf("type %s of a stream whose source is %v", text(st.DeliveryStreamType), s.values["Source"])
	}
}

// checkPrefix: with an expression in the prefix Firehose refuses a stream without an error prefix, and the error prefix must name the
// kind of error; readers skip what lies below errors/.
func checkPrefix(t *testing.T, prefix, errorPrefix string) {
	t.Helper()
	if strings.Contains(prefix, "!{") && errorPrefix == "" {
		t.Errorf("prefix %q without an error prefix: Firehose refuses that", prefix)
	}
	if !strings.Contains(errorPrefix, "!{firehose:error-output-type}") || !strings.HasPrefix(errorPrefix, cloud.ErrorFolder) {
		t.Errorf("error prefix %q", errorPrefix)
	}
	if !strings.HasSuffix(prefix, "/") {
		t.Errorf("prefix %q does not end a folder", prefix)
	}
}

// checkProcessors: every key of a prefix must be made by a processor.
func checkProcessors(t *testing.T, prefix string, processors []kinesisfirehose.DeliveryStream_Processor) {
	t.Helper()
	var kinds []string
	query := ""
	for _, p := range processors {
		kinds = append(kinds, p.Type)
		for _, parameter := range p.Parameters {
			if parameter.ParameterName == "MetadataExtractionQuery" {
				query = parameter.ParameterValue
			}
		}
	}
	for _, m := range regexp.MustCompile(`!\{partitionKeyFrom(Query|Lambda):(\w+)\}`).FindAllStringSubmatch(prefix, -1) {
		switch {
		case m[1] == "Query" && (!slices.Contains(kinds, "MetadataExtraction") || !slices.Contains(kinds, "RecordDeAggregation") || !strings.Contains(query, m[2]+": ")):
			t.Errorf("%s is made by none of %q", m[0], kinds)
		case m[1] == "Lambda" && !slices.Contains(kinds, "Lambda"):
			t.Errorf("%s is made by none of %q", m[0], kinds)
		}
	}
}

// checkPolicies: nothing is allowed on everything, and a device may only send.
func checkPolicies(t *testing.T, s stack) {
	t.Helper()
	list := func(v any) (all []string) {
		if many, ok := v.([]any); ok {
			for _, e := range many {
				all = append(all, fmt.Sprint(e))
			}
			return all
		}
		return []string{fmt.Sprint(v)}
	}
	statements := func(document any) (all []map[string]any) {
		for _, st := range document.(map[string]any)["Statement"].([]any) {
			all = append(all, st.(map[string]any))
		}
		return all
	}
	check := func(name string, document any) {
		for _, st := range statements(document) {
			actions, resources := list(st["Action"]), list(st["Resource"])
			listing := slices.Equal(actions, []string{"firehose:ListDeliveryStreams", "s3:ListAllMyBuckets"})
			for _, action := range actions {
				if strings.Contains(action, "*") {
					t.Errorf("%s allows %s", name, action)
				}
			}
			if slices.Contains(resources, "*") && !listing {
				t.Errorf("%s allows %q on everything", name, actions)
			}
		}
	}
	for name, r := range s.resources {
		switch r := r.(type) {
		case *iam.Role:
			for _, p := range r.Policies {
				check(name, p.PolicyDocument)
			}
		case *iam.ManagedPolicy:
			check(name, r.PolicyDocument)
		}
	}
	device := one[iam.Role](t, s, "DeviceRole")
	sending := statements(device.Policies[0].PolicyDocument)
	action, resource := "firehose:PutRecordBatch", "arn:aws:firehose:us-east-1:123456789012:deliverystream/gps-delivery-stream"
	if s.values["Source"] == "kinesis" {
		action, resource = "kinesis:PutRecords", "arn:aws:kinesis:us-east-1:123456789012:stream/gps-delivery-stream"
	}
	if len(device.Policies) != 1 || len(sending) != 1 || sending[0]["Action"] != action || sending[0]["Resource"] != resource {
		t.Errorf("a device may %v", sending)
	}
	alias := one[iot.RoleAlias](t, s, "RoleAlias")
	if number(alias.CredentialDurationSeconds) > number(device.MaxSessionDuration) {
		t.Errorf("credentials of %d s of a role whose sessions last %d", number(alias.CredentialDurationSeconds), number(device.MaxSessionDuration))
	}
}

// TestTheTemplateMakesWhatUpMakes: who goes from one to the other finds the same bucket, role and stream.
func TestTheTemplateMakesWhatUpMakes(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{"none", "gzip"} {
		s := deployed(t, map[string]any{"Compression": compression})
		st := one[kinesisfirehose.DeliveryStream](t, s, "Stream")
		d := st.ExtendedS3DestinationConfiguration
		w := cloud.Where{Partition: "aws", Account: "123456789012", Region: "us-east-1"}
		spec := cloud.Spec{Stream: text(st.DeliveryStreamName), Bucket: text(one[s3.Bucket](t, s, "Bucket").BucketName), Role: text(one[iam.Role](t, s, "DeliveryRole").RoleName)}
		got := []string{spec.Stream, spec.Bucket, spec.Role, text(d.Prefix), text(d.ErrorOutputPrefix), text(d.FileExtension),
			fmt.Sprint(number(d.BufferingHints.SizeInMBs), number(d.BufferingHints.IntervalInSeconds))}
		extension := map[string]string{"none": "", "gzip": ".gz"}[compression]
		want := []string{cloud.DefaultStream, cloud.DefaultBucket, cloud.DefaultRole, cloud.Prefix, cloud.ErrorPrefix, extension, fmt.Sprint(cloud.DefaultSizeMB, cloud.DefaultIntervalS)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-up +template):\n%s", compression, diff)
		}
		up := map[string]bool{}
		for _, statement := range cloud.DeliveryPolicy(w, spec).Statement {
			for _, action := range statement.Action {
				up[action] = true
			}
		}
		up["logs:PutLogEvents"] = true // the template has a log besides
		template := map[string]bool{}
		for _, statement := range one[iam.Role](t, s, "DeliveryRole").Policies[0].PolicyDocument.(map[string]any)["Statement"].([]any) {
			switch actions := statement.(map[string]any)["Action"].(type) {
			case string:
				template[actions] = true
			case []any:
				for _, action := range actions {
					template[action.(string)] = true
				}
			}
		}
		if diff := cmp.Diff(up, template); diff != "" {
			t.Errorf("the role (-up +template):\n%s", diff)
		}
	}
}

func TestTheTableAndItsQueriesFitTheRecords(t *testing.T) {
	t.Parallel()
	s := deployed(t, nil)
	table := one[glue.Table](t, s, "Table")
	var columns []string
	for _, c := range table.TableInput.StorageDescriptor.Columns {
		columns = append(columns, c.Name)
		if text(c.Type) != "string" || !slices.Contains(record.FieldNames(), c.Name) {
			t.Errorf("column %s %s is no field of a record as text", c.Name, text(c.Type))
		}
	}
	if diff := cmp.Diff([]string{"record_id", "timestamp", "vin", "lon", "lat", "speed"}, columns[:6]); diff != "" {
		t.Errorf("the columns of text (-want +got):\n%s", diff)
	}
	projection := table.TableInput.Parameters.(map[string]any)
	if projection["storage.location.template"] != "s3://Bucket/${day}/" || projection["projection.day.format"] != "yyyy/MM/dd" || projection["projection.enabled"] != "true" {
		t.Errorf("the projection is %v", projection)
	}
	saved := map[string]string{}
	for _, r := range s.resources {
		if q, ok := r.(*athena.NamedQuery); ok {
			saved[text(q.Name)] = q.QueryString
		}
	}
	want := map[string]string{}
	for _, name := range queries.Names() {
		sql, err := queries.Query{Name: name, Engine: queries.Athena}.SQL()
		if err != nil {
			t.Fatal(err)
		}
		want[name] = sql
	}
	for _, asked := range []string{"max_speed", "gaps", "duplicates", "emission"} {
		if want[asked] == "" {
			t.Errorf("%s is not asked", asked)
		}
	}
	if diff := cmp.Diff(want, saved); diff != "" {
		t.Errorf("the saved queries (-files +template):\n%s", diff)
	}
}

// dated are the dates in a query that extracts partition keys.
var dated = regexp.MustCompile(`"(\d{4}-\d\d-\d\d)"`)

// TestLinesWithoutATimeAreInTheTable: the day that Parquet has for them must be one that the table has.
func TestLinesWithoutATimeAreInTheTable(t *testing.T) {
	t.Parallel()
	s := deployed(t, variants["parquet"])
	first, _, _ := strings.Cut(one[glue.Table](t, s, "Table").TableInput.Parameters.(map[string]any)["projection.day.range"].(string), ",")
	days := 0
	for _, p := range one[kinesisfirehose.DeliveryStream](t, s, "Stream").ExtendedS3DestinationConfiguration.ProcessingConfiguration.Processors {
		for _, parameter := range p.Parameters {
			if parameter.ParameterName != "MetadataExtractionQuery" {
				continue
			}
			for _, m := range dated.FindAllStringSubmatch(parameter.ParameterValue, -1) {
				if days++; strings.ReplaceAll(m[1], "-", "/") != first {
					t.Errorf("a line without a time goes to %s, the table begins at %s", m[1], first)
				}
			}
		}
	}
	if days != 3 { // year, month, day
		t.Errorf("%d dates", days)
	}
}

func TestTwoStacksOfARegionCanBeTold(t *testing.T) {
	t.Parallel()
	for want, parameters := range map[string]map[string]any{"obdagent obdagent": nil, "second_1 second.1": {"DatabaseName": "second_1", "WorkGroupName": "second.1"}} {
		s := deployed(t, parameters)
		database := one[glue.Database](t, s, "Database").DatabaseInput
		group := one[athena.WorkGroup](t, s, "WorkGroup")
		if got := text(database.Name) + " " + group.Name; got != want {
			t.Errorf("database and workgroup are %s, want %s", got, want)
		}
		if group.RecursiveDeleteOption == nil || !*group.RecursiveDeleteOption {
			t.Error("a workgroup with queries in it cannot be deleted with the stack")
		}
		// Athena user guide, "Override client-side settings": it refuses the external_location of the compaction in docs/scale.md.
		if c := group.WorkGroupConfiguration; c.EnforceWorkGroupConfiguration == nil || *c.EnforceWorkGroupConfiguration {
			t.Error("the workgroup refuses a CREATE TABLE AS with an external_location")
		}
	}
}

func TestEveryAlarmIsHeard(t *testing.T) {
	t.Parallel()
	direct := []string{"BytesPerSecondLimit", "IncomingBytes", "IncomingPutRequests", "IncomingRecords", "PutRequestsPerSecondLimit", "RecordsPerSecondLimit", "ThrottledRecords"}
	for name, want := range map[string][]string{
		"defaults":         append([]string{"DeliveryToS3.DataFreshness", "DeliveryToS3.Success"}, direct...),
		"opensearch":       append([]string{"DeliveryToAmazonOpenSearchService.DataFreshness", "DeliveryToAmazonOpenSearchService.Success"}, direct...),
		"json by Kinesis":  {"DeliveryToS3.DataFreshness", "DeliveryToS3.Success"},
		"silence":          append([]string{"DeliveryToS3.DataFreshness", "DeliveryToS3.Success", "IncomingRecords"}, direct...),
		"Kinesis' silence": {"DataReadFromKinesisStream.Records", "DeliveryToS3.DataFreshness", "DeliveryToS3.Success"},
	} {
		s := deployed(t, variants[name])
		var metrics []string
		note := func(metric *string) {
			if metric != nil {
				metrics = append(metrics, *metric)
			}
		}
		for alarm, r := range s.resources {
			a, ok := r.(*cloudwatch.Alarm)
			if !ok {
				continue
			}
			if !slices.Equal(a.AlarmActions, []string{"Topic"}) {
				t.Errorf("%s: %s tells %q", name, alarm, a.AlarmActions)
			}
			note(a.MetricName)
			if strings.HasSuffix(text(a.MetricName), ".DataFreshness") && *a.Threshold < 900+15*60 {
				t.Errorf("%s: %s would go off while the buffer fills: %v s", name, alarm, *a.Threshold)
			}
			var reckoned []string
			for _, m := range a.Metrics {
				reckoned = append(reckoned, text(m.Expression))
			}
			for i, m := range a.Metrics {
				if m.MetricStat != nil {
					note(m.MetricStat.Metric.MetricName)
				}
				if used := regexp.MustCompile(`\b` + m.Id + `\b`).MatchString(strings.Join(reckoned, "; ")); used != (i > 0) || (m.ReturnData == nil) != (i == 0) {
					t.Errorf("%s: %s reckons %q, of which %s is part: %v", name, alarm, reckoned, m.Id, used)
				}
			}
			// CloudWatch PutMetricAlarm: period times periods is a day at most. No data is what silence is known by; for the others it is none
			// of their business.
			if silence := alarm == "SilenceAlarm"; (text(a.TreatMissingData) == "breaching") != silence || number(a.Period)*a.EvaluationPeriods > 86400 || silence && (a.EvaluationPeriods != 16 || *a.Threshold != 1) {
				t.Errorf("%s: %s takes missing data as %s, over %d times %d s", name, alarm, text(a.TreatMissingData), a.EvaluationPeriods, number(a.Period))
			}
		}
		slices.Sort(metrics)
		slices.Sort(want)
		if diff := cmp.Diff(want, metrics); diff != "" {
			t.Errorf("%s: the alarms look at (-want +got):\n%s", name, diff)
		}
	}
}

func TestTheTemplateIsWhatCloudFormationReads(t *testing.T) {
	t.Parallel()
	_, text, _ := obdfleet(t, "cloud", "template")
	// CloudFormation user guide, "Template formats": no aliases.
	for i, line := range strings.Split(text, "\n") {
		if regexp.MustCompile(`^\s*[\w-]+: [&*]\w|^\s*- [&*]\w|<<:`).MatchString(line) {
			t.Errorf("line %d has an anchor or an alias: %s", i+1, line)
		}
	}
	// CloudFormation user guide, "CloudFormation quotas": a template body in a request.
	if len(text) > 51_200 {
		t.Errorf("%d bytes: aws cloudformation deploy takes 51200 without --s3-bucket", len(text))
	}
	if strings.Contains(text, "\n# views\n") || strings.Contains(text, "\n# queries\n") {
		t.Error("the queries are not in it")
	}
	for _, name := range []string{"Bucket", "AnswersBucket"} {
		bucket := one[s3.Bucket](t, deployed(t, nil), name)
		// CloudFormation user guide, "DeletionPolicy attribute": Retain would leave the bucket of a first deployment that failed in the way of
		// the next one. UpdateReplacePolicy knows Retain only.
		if bucket.AWSCloudFormationDeletionPolicy != "RetainExceptOnCreate" || bucket.AWSCloudFormationUpdateReplacePolicy != "Retain" {
			t.Errorf("%s goes with the stack, or stays after a first deployment that failed", name)
		}
		if p := bucket.PublicAccessBlockConfiguration; p == nil || !*p.BlockPublicAcls || !*p.BlockPublicPolicy || !*p.IgnorePublicAcls || !*p.RestrictPublicBuckets {
			t.Errorf("%s may be made public", name)
		}
	}
}

func TestCfnLintFindsNothing(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "cfn-lint")
	_, text, _ := obdfleet(t, "cloud", "template")
	file := filepath.Join(t.TempDir(), "template.yaml")
	writeFile(t, file, text)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "cfn-lint", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
