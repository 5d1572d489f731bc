package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/awslabs/goformation/v7/cloudformation/athena"
	"github.com/awslabs/goformation/v7/cloudformation/cloudwatch"
	"github.com/awslabs/goformation/v7/cloudformation/glue"
	"github.com/awslabs/goformation/v7/cloudformation/iam"
	"github.com/awslabs/goformation/v7/cloudformation/iot"
	"github.com/awslabs/goformation/v7/cloudformation/kinesis"
	"github.com/awslabs/goformation/v7/cloudformation/kinesisfirehose"
	"github.com/awslabs/goformation/v7/cloudformation/lambda"
	"github.com/awslabs/goformation/v7/cloudformation/logs"
	"github.com/awslabs/goformation/v7/cloudformation/s3"
	"github.com/awslabs/goformation/v7/cloudformation/sns"
	"github.com/awslabs/goformation/v7/intrinsics"
	"github.com/google/go-cmp/cmp"

	"obdagent/agent/agenttest"
	"obdagent/agent/record"
	"obdagent/cmd/internal/cli"
	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/deploy/cloud/queries"
)

// resourceTypes are the typed structs that a resource of the template must fit into: goformation refuses what has no field.
var resourceTypes = map[string]func() json.Unmarshaler{
	"AWS::Athena::NamedQuery":              func() json.Unmarshaler { return &athena.NamedQuery{} },
	"AWS::Athena::WorkGroup":               func() json.Unmarshaler { return &athena.WorkGroup{} },
	"AWS::CloudWatch::Alarm":               func() json.Unmarshaler { return &cloudwatch.Alarm{} },
	"AWS::Glue::Database":                  func() json.Unmarshaler { return &glue.Database{} },
	"AWS::Glue::Table":                     func() json.Unmarshaler { return &glue.Table{} },
	"AWS::IAM::ManagedPolicy":              func() json.Unmarshaler { return &iam.ManagedPolicy{} },
	"AWS::IAM::Role":                       func() json.Unmarshaler { return &iam.Role{} },
	"AWS::IoT::Policy":                     func() json.Unmarshaler { return &iot.Policy{} },
	"AWS::IoT::RoleAlias":                  func() json.Unmarshaler { return &iot.RoleAlias{} },
	"AWS::Kinesis::Stream":                 func() json.Unmarshaler { return &kinesis.Stream{} },
	"AWS::KinesisFirehose::DeliveryStream": func() json.Unmarshaler { return &kinesisfirehose.DeliveryStream{} },
	"AWS::Lambda::Function":                func() json.Unmarshaler { return &lambda.Function{} },
	"AWS::Logs::LogGroup":                  func() json.Unmarshaler { return &logs.LogGroup{} },
	"AWS::Logs::LogStream":                 func() json.Unmarshaler { return &logs.LogStream{} },
	"AWS::S3::Bucket":                      func() json.Unmarshaler { return &s3.Bucket{} },
	"AWS::S3::BucketPolicy":                func() json.Unmarshaler { return &s3.BucketPolicy{} },
	"AWS::SNS::Subscription":               func() json.Unmarshaler { return &sns.Subscription{} },
	"AWS::SNS::Topic":                      func() json.Unmarshaler { return &sns.Topic{} },
}

// A stack is the template as CloudFormation would take it with some parameters: conditions are decided, references resolved.
type stack struct {
	values    map[string]any // of all parameters
	resources map[string]json.Unmarshaler
	types     map[string]string
}

// processing guards goformation's parser, which registers what it knows in a global.
var processing sync.Mutex

// deploy resolves the printed template with parameters.
func deploy(t *testing.T, parameters map[string]any) stack {
	t.Helper()
	status, text, errs := obdfleet(t, "cloud", "template")
	if status != cli.ExitDone {
		t.Fatal(errs)
	}
	attribute := func(_ string, input, _ any) any {
		if list, ok := input.([]any); ok { // GetAtt
			input = fmt.Sprintf("%v.%v", list[0], list[1])
		}
		return fmt.Sprintf("arn:aws:x:us-east-1:123456789012:%v", input)
	}
	// A resource is its name; goformation leaves it empty.
	reference := func(name string, input, template any) any {
		if got := intrinsics.Ref(name, input, template); got != nil || input == "AWS::NoValue" || input == "AWS::Partition" {
			if input == "AWS::Partition" {
				return "aws"
			}
			return got
		}
		return input
	}
	substitute := func(_ string, input, template any) any {
		local := map[string]any{}
		if list, ok := input.([]any); ok {
			input, local = list[0], list[1].(map[string]any)
		}
		return regexp.MustCompile(`\$\{([^}]+)\}`).ReplaceAllStringFunc(input.(string), func(name string) string {
			name = name[2 : len(name)-1]
			switch {
			case local[name] != nil:
				return fmt.Sprint(local[name])
			case name[0] == '!':
				return "${" + name[1:] + "}"
			case strings.Contains(name, "."):
				return fmt.Sprint(attribute("", name, nil))
			}
			return fmt.Sprint(reference("Ref", name, template))
		})
	}
	processing.Lock()
	// goformation takes a resource's Condition for the function of that name, and puts its value in the resource's place.
	text = strings.ReplaceAll(text, "\n    Condition: ", "\n    When: ")
	processed, err := intrinsics.ProcessYAML([]byte(text), &intrinsics.ProcessorOptions{
		ParameterOverrides: parameters, EvaluateConditions: true,
		IntrinsicHandlerOverrides: map[string]intrinsics.IntrinsicHandler{"Fn::GetAtt": attribute, "Fn::Sub": substitute, "Ref": reference},
	})
	processing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Parameters map[string]struct{ Default any }
		Conditions map[string]any
		Resources  map[string]struct {
			Type, When string
		}
	}
	var raw struct{ Resources map[string]json.RawMessage }
	for _, into := range []any{&doc, &raw} {
		if err := json.Unmarshal(processed, into); err != nil {
			t.Fatal(err)
		}
	}
	s := stack{values: map[string]any{}, resources: map[string]json.Unmarshaler{}, types: map[string]string{}}
	for name, p := range doc.Parameters {
		s.values[name] = p.Default
	}
	for name, r := range doc.Resources {
		if r.When != "" && doc.Conditions[r.When] != true {
			continue
		}
		make := resourceTypes[r.Type]
		if make == nil {
			t.Errorf("%s is an %s, which no test knows", name, r.Type)
			continue
		}
		resource := make()
		if err := resource.UnmarshalJSON(withoutNull(t, raw.Resources[name])); err != nil {
			t.Errorf("%s with %v: %v", name, parameters, err)
		}
		s.resources[name], s.types[name] = resource, r.Type
	}
	return s
}

// withoutNull takes out what AWS::NoValue has left, as CloudFormation does.
func withoutNull(t *testing.T, raw json.RawMessage) []byte {
	t.Helper()
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	if resource, ok := tree.(map[string]any); ok {
		delete(resource, "When")
	}
	var prune func(any) any
	prune = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			maps.DeleteFunc(v, func(_ string, e any) bool { return e == nil })
			for k := range v {
				v[k] = prune(v[k])
			}
		case []any:
			v = slices.DeleteFunc(v, func(e any) bool { return e == nil })
			for i := range v {
				v[i] = prune(v[i])
			}
			return v
		}
		return v
	}
	text, err := json.Marshal(prune(tree))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// variants are stacks that a user may want, by name.
var variants = map[string]map[string]any{
	"defaults":             {},
	"gzip":                 {"Compression": "gzip"},
	"json by Kinesis":      {"Format": "json", "Source": "kinesis", "Shards": 4},
	"re-dated":             {"Redate": "yes", "Compression": "gzip"},
	"filtered":             {"KeepVIN": "^WVW", "ExpireDays": 400},
	"parquet":              {"Format": "json", "Destination": "parquet"},
	"parquet and filtered": {"Format": "json", "Destination": "parquet", "KeepVIN": "^WVW"},
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
			s := deploy(t, parameters)
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
		s := deploy(t, map[string]any{"Compression": compression})
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
	s := deploy(t, nil)
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

func TestEveryAlarmIsHeard(t *testing.T) {
	t.Parallel()
	s := deploy(t, nil)
	var metrics []string
	for name, r := range s.resources {
		a, ok := r.(*cloudwatch.Alarm)
		if !ok {
			continue
		}
		if !slices.Equal(a.AlarmActions, []string{"Topic"}) {
			t.Errorf("%s tells %q", name, a.AlarmActions)
		}
		metrics = append(metrics, text(a.MetricName))
		if text(a.MetricName) == "DeliveryToS3.DataFreshness" && *a.Threshold < 900+15*60 {
			t.Errorf("%s would go off while the buffer fills: %v s", name, *a.Threshold)
		}
		for _, m := range a.Metrics {
			if m.MetricStat != nil {
				metrics = append(metrics, text(m.MetricStat.Metric.MetricName))
			}
		}
	}
	for _, want := range []string{"DeliveryToS3.DataFreshness", "DeliveryToS3.Success", "ThrottledRecords", "IncomingBytes", "BytesPerSecondLimit"} {
		if !slices.Contains(metrics, want) {
			t.Errorf("no alarm looks at %s", want)
		}
	}
}

func TestTheTemplateIsWhatCloudFormationReads(t *testing.T) {
	t.Parallel()
	_, text, _ := obdfleet(t, "cloud", "template")
	// CloudFormation user guide, "Template formats": no aliases. The size is that of a template in a bucket.
	for i, line := range strings.Split(text, "\n") {
		if regexp.MustCompile(`^\s*[\w-]+: [&*]\w|^\s*- [&*]\w|<<:`).MatchString(line) {
			t.Errorf("line %d has an anchor or an alias: %s", i+1, line)
		}
	}
	if len(text) > 1_000_000 {
		t.Errorf("%d bytes", len(text))
	}
	bucket := one[s3.Bucket](t, deploy(t, nil), "Bucket")
	if bucket.AWSCloudFormationDeletionPolicy != "Retain" || bucket.AWSCloudFormationUpdateReplacePolicy != "Retain" {
		t.Error("the bucket goes with the stack")
	}
	if p := bucket.PublicAccessBlockConfiguration; p == nil || !*p.BlockPublicAcls || !*p.BlockPublicPolicy || !*p.IgnorePublicAcls || !*p.RestrictPublicBuckets {
		t.Error("the bucket may be made public")
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

// lambdaPrelude hands an event to the function as Lambda would, and prints what it answers.
const lambdaPrelude = "import json, os, sys\nos.environ.update(json.loads(sys.argv[1]))\n"
const lambdaEnd = "\nprint(json.dumps(handler(json.loads(sys.argv[2]), None)))\n"

func TestTheFunctionDropsAndDatesLines(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "python3")
	code := one[lambda.Function](t, deploy(t, map[string]any{"Redate": "yes"}), "Function").Code.ZipFile
	if n := len(text(code)); n == 0 || n > 4096 {
		t.Fatalf("the function has %d characters; CloudFormation takes 4096 inline", n)
	}
	const old = "939ed1d1-1740-420c-8906-000000000001 2026-11-20T23:59:59.000Z WVWZZZ1JZXW000001 10.0000000 50.0000000 36\n"
	const other = "939ed1d1-1740-420c-8906-000000000003 2026-11-21T00:00:01.000Z 4FTEX4944AKL84429 106.9447146 -6.3385652 25\n"
	const object = `{"record_id":"939ed1d1-1740-420c-8906-000000000004","timestamp":"2026-11-22T08:00:01.000Z","vin":"WVWZZZ1JZXW000001"}` + "\n"
	const undated = `{"record_id":"939ed1d1-1740-420c-8906-000000000005","timestamp":null,"vin":null}` + "\n"
	const damaged = "rubbish\n\xff\n"
	run := func(keep, redate string, data ...string) (answers []lambdaAnswer) {
		t.Helper()
		environment, err := json.Marshal(map[string]string{"KEEP_VIN": keep, "REDATE": redate})
		if err != nil {
			t.Fatal(err)
		}
		var event struct {
			Records []map[string]any `json:"records"`
		}
		for i, d := range data {
			event.Records = append(event.Records, map[string]any{"recordId": fmt.Sprint(i), "approximateArrivalTimestamp": 1764000000000, "data": base64.StdEncoding.EncodeToString([]byte(d))})
		}
		text1, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "python3", "-c", lambdaPrelude+text(code)+lambdaEnd, string(environment), string(text1))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ Records []lambdaAnswer }
		if err := json.Unmarshal(out, &answer); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if len(answer.Records) != len(data) {
			t.Fatalf("%d answers to %d records", len(answer.Records), len(data))
		}
		return answer.Records
	}
	for i, got := range run("", "yes", old+other, object, undated, damaged+object, gzipped(t, other+old)) {
		want := []struct{ data, day string }{{old + other, "2026/11/20"}, {object, "2026/11/22"}, {undated, "2025/11/24"}, {damaged + object, "2026/11/22"}, {other + old, "2026/11/21"}}[i]
		if got.RecordID != fmt.Sprint(i) || got.Result != "Ok" || got.Metadata.PartitionKeys["day"] != want.day || got.lines(t) != want.data {
			t.Errorf("%d: %+v, want %+v", i, got, want)
		}
	}
	for i, got := range run("^WVW", "no", old+other+damaged, other, gzipped(t, other+old), undated) {
		want := []struct{ result, data string }{{"Ok", old + damaged}, {"Dropped", other}, {"Ok", old}, {"Dropped", undated}}[i]
		if got.Result != want.result || got.lines(t) != want.data || got.Metadata.PartitionKeys != nil {
			t.Errorf("%d: %+v, want %+v", i, got, want)
		}
	}
}

// A lambdaAnswer is what the function answers for one record.
type lambdaAnswer struct {
	RecordID string `json:"recordId"`
	Result   string
	Data     []byte
	Metadata struct {
		PartitionKeys map[string]string `json:"partitionKeys"`
	}
}

// lines are the record's, unpacked.
func (a lambdaAnswer) lines(t *testing.T) string {
	t.Helper()
	if len(a.Data) < 2 || a.Data[0] != 0x1f {
		return string(a.Data)
	}
	r, err := gzip.NewReader(bytes.NewReader(a.Data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func gzipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(s))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
