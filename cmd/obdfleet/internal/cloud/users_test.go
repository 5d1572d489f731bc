package cloud_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	fhtypes "github.com/aws/aws-sdk-go-v2/service/firehose/types"

	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/cmd/obdfleet/internal/cloud/cloudtest"
)

// roleFields calls do for each RoleARN that a description has, with all that leads to it made.
func roleFields(path string, make func() reflect.Value, do func(path string, field reflect.Value)) {
	typ := make().Type()
	for i := range typ.NumField() {
		f := typ.Field(i)
		name := path + f.Name
		switch {
		case f.Name == "RoleARN":
			do(name, make().Field(i))
		case f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct && f.IsExported():
			roleFields(name+".", func() reflect.Value {
				field := make().Field(i)
				if field.IsNil() {
					field.Set(reflect.New(f.Type.Elem()))
				}
				return field.Elem()
			}, do)
		}
	}
}

// userOfEachKind returns a stream for each place of the API where a stream names a role.
func userOfEachKind(roleARN string) map[string]fhtypes.DeliveryStreamDescription {
	all := map[string]fhtypes.DeliveryStreamDescription{}
	var destination *fhtypes.DestinationDescription
	fresh := func() { destination = &fhtypes.DestinationDescription{} }
	fresh()
	roleFields("", func() reflect.Value { return reflect.ValueOf(destination).Elem() }, func(path string, field reflect.Value) {
		field.Set(reflect.ValueOf(&roleARN))
		all[path] = fhtypes.DeliveryStreamDescription{Destinations: []fhtypes.DestinationDescription{*destination}}
		fresh()
	})
	var source *fhtypes.SourceDescription
	fresh = func() { source = &fhtypes.SourceDescription{} }
	fresh()
	roleFields("", func() reflect.Value { return reflect.ValueOf(source).Elem() }, func(path string, field reflect.Value) {
		field.Set(reflect.ValueOf(&roleARN))
		all[path] = fhtypes.DeliveryStreamDescription{Source: source}
		fresh()
	})
	return all
}

func TestARoleThatAStreamOfAnyKindUsesIsKept(t *testing.T) {
	t.Parallel()
	roleARN := "arn:aws:iam::" + cloudtest.Number + ":role/" + cloud.DefaultRole
	all := userOfEachKind(roleARN)
	for _, path := range []string{
		"ExtendedS3DestinationDescription.RoleARN", "ExtendedS3DestinationDescription.S3BackupDescription.RoleARN",
		"ExtendedS3DestinationDescription.DataFormatConversionConfiguration.SchemaConfiguration.RoleARN",
		"S3DestinationDescription.RoleARN", "RedshiftDestinationDescription.RoleARN", "RedshiftDestinationDescription.S3DestinationDescription.RoleARN",
		"AmazonopensearchserviceDestinationDescription.RoleARN", "AmazonopensearchserviceDestinationDescription.VpcConfigurationDescription.RoleARN",
		"AmazonOpenSearchServerlessDestinationDescription.RoleARN", "ElasticsearchDestinationDescription.RoleARN",
		"SplunkDestinationDescription.S3DestinationDescription.RoleARN", "SplunkDestinationDescription.SecretsManagerConfiguration.RoleARN",
		"HttpEndpointDestinationDescription.RoleARN", "IcebergDestinationDescription.RoleARN", "SnowflakeDestinationDescription.RoleARN",
		"KinesisStreamSourceDescription.RoleARN", "MSKSourceDescription.AuthenticationConfiguration.RoleARN",
	} {
		if _, ok := all[path]; !ok {
			t.Errorf("%s is not tried", path)
		}
	}
	for path, d := range all {
		w := cloudtest.New("us-east-1")
		made(t, w, spec())
		w.AddStream("theirs", d)
		left, err := w.Account().Down(t.Context(), spec(), cloud.DownOptions{Wait: time.Minute, Confirm: yes})
		if err != nil || len(left) != 1 || !strings.HasSuffix(left[0], "more to it than obdfleet has made: stream theirs") {
			t.Errorf("%s: left %q, %v", path, left, err)
		}
	}
	// One whose role has a longer name is none of them.
	w := cloudtest.New("us-east-1")
	made(t, w, spec())
	w.AddStream("theirs", fhtypes.DeliveryStreamDescription{Source: &fhtypes.SourceDescription{KinesisStreamSourceDescription: &fhtypes.KinesisStreamSourceDescription{RoleARN: aws.String(roleARN + "2")}}})
	if left, err := w.Account().Down(t.Context(), spec(), cloud.DownOptions{Wait: time.Minute, Confirm: yes}); err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

// A role is the whole account's: where no stream of ours uses it, it may be the next region's.
func TestARoleOfAnotherRegionIsKept(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	made(t, w, spec())
	other := w.Elsewhere("eu-central-1")
	refuse := func(plan []string, _ string) error { t.Errorf("asked for %q", plan); return nil }
	left, err := other.Account().Down(t.Context(), spec(), cloud.DownOptions{Confirm: refuse})
	if err != nil || len(left) != 1 || !strings.Contains(left[0], "is kept: stream gps-delivery-stream of region eu-central-1 does not use it, and one of another region may") {
		t.Errorf("left %q, %v", left, err)
	}
	// Where something else is to go, the plan says it.
	mine := spec()
	mine.Role, mine.Bucket = "another", "another-bucket"
	made(t, other, mine)
	n := len(other.Changes())
	var shown []string
	show := func(plan []string, _ string) error { shown = plan; return nil }
	if _, err := other.Account().Down(t.Context(), spec(), cloud.DownOptions{Confirm: show}); err != nil {
		t.Fatal(err)
	}
	if last := shown[len(shown)-1]; !strings.HasPrefix(last, "but role firehoseDeliveryRole is kept: ") {
		t.Errorf("the plan is %q", shown)
	}
	if got := strings.Join(since(other, n), " "); got != "DeleteDeliveryStream" {
		t.Errorf("changed %s", got)
	}
}

func TestARepairLeavesOtherStreamsTheirBucket(t *testing.T) {
	t.Parallel()
	for want, prepare := range map[string]func(*cloudtest.World, *cloud.Spec) *cloudtest.World{
		"is used by stream gps-delivery-stream too": func(w *cloudtest.World, s *cloud.Spec) *cloudtest.World {
			s.Stream = "second"
			return w
		},
		"is not used by stream gps-delivery-stream of region eu-central-1": func(w *cloudtest.World, _ *cloud.Spec) *cloudtest.World {
			return w.Elsewhere("eu-central-1")
		},
	} {
		w := cloudtest.New("us-east-1")
		made(t, w, spec())
		s := spec()
		s.Bucket, s.Repair = "another-bucket", true
		at := prepare(w, &s)
		_, err := at.Account().Up(t.Context(), s, time.Minute)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "name another role with --role") {
			t.Errorf("said %v, want %s", err, want)
		}
		if r, err := w.Account().Look(t.Context(), spec()); err != nil || len(r.Drift) > 0 {
			t.Errorf("the first stream has %q, %v", drifts(r), err)
		}
	}
	// The only user's bucket may change.
	w := cloudtest.New("us-east-1")
	made(t, w, spec())
	s := spec()
	s.Bucket, s.Repair = "another-bucket", true
	if r := made(t, w, s); len(r.Drift) > 0 {
		t.Errorf("a repair leaves %q", drifts(r))
	}
}
