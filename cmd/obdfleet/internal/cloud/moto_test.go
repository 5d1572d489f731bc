package cloud_test

import (
	"context"
	_ "embed"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/agenttest"
	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/cmd/obdfleet/internal/cloud/cloudtest"
)

//go:embed testdata/look.py
var look string

const lookWants = `stream arn:aws:firehose:eu-central-1:123456789012:deliverystream/gps-delivery-stream ACTIVE DirectPut
BucketARN arn:aws:s3:::sd-vehicle-data
RoleARN arn:aws:iam::123456789012:role/firehoseDeliveryRole
Prefix !{timestamp:yyyy/MM/dd}/
ErrorOutputPrefix errors/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd}/
CompressionFormat UNCOMPRESSED
FileExtension .gz
buffering 64 300
location eu-central-1
public access blocked True
encryption AES256
trust firehose.amazonaws.com sts:AssumeRole 123456789012
policy obdfleet-delivery s3:GetBucketLocation s3:ListBucket s3:ListBucketMultipartUploads on arn:aws:s3:::sd-vehicle-data
policy obdfleet-delivery s3:AbortMultipartUpload s3:GetObject s3:PutObject on arn:aws:s3:::sd-vehicle-data/*
`

// TestALifeInAnAccount is the same on the fake and, through the SDK's own clients, on moto, where boto3 reads what was made.
func TestALifeInAnAccount(t *testing.T) {
	t.Parallel()
	const region = "eu-central-1"
	t.Run("fake", func(t *testing.T) {
		t.Parallel()
		w := cloudtest.New(region)
		w.RoleDelay, w.StreamDelay = 2, 2
		live(t, w.Account, func() {})
	})
	t.Run("moto", func(t *testing.T) {
		t.Parallel()
		endpoint := agenttest.Moto(t)
		live(t, func() *cloud.Account {
			a, err := cloud.Open(t.Context(), cloud.Options{Region: region, Endpoint: endpoint})
			if err != nil {
				t.Fatal(err)
			}
			a.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
			return a
		}, func() {
			agenttest.Python(t, "boto3")
			if diff := cmp.Diff(lookWants, agenttest.RunPython(t, endpoint, look, region, cloud.DefaultStream, cloud.DefaultBucket, cloud.DefaultRole)); diff != "" {
				t.Errorf("boto3 finds (-want +got):\n%s", diff)
			}
		})
	})
}

func live(t *testing.T, open func() *cloud.Account, look func()) {
	s := spec()
	changes := func(do func(*cloud.Account) error) (names []string) {
		t.Helper()
		a := open()
		a.Calls = func(c cloud.Call) {
			if c.Changes {
				names = append(names, c.Operation)
			}
		}
		if err := do(a); err != nil {
			t.Fatal(err)
		}
		return names
	}
	expect := func(step string, want []string, do func(*cloud.Account) error) {
		t.Helper()
		got := changes(do)
		for i := 1; i < len(got); { // a role is waited for in as many calls as it takes
			if got[i] == got[i-1] && got[i] == "CreateDeliveryStream" {
				got = append(got[:i], got[i+1:]...)
				continue
			}
			i++
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	up := func(drift int) func(*cloud.Account) error {
		return func(a *cloud.Account) error {
			r, err := a.Up(t.Context(), s, time.Minute)
			if err == nil && (len(r.Drift) != drift || r.Status != "ACTIVE") {
				t.Errorf("%s, drift %q, want %d", r.Status, drifts(r), drift)
			}
			return err
		}
	}
	expect("up", allMade, up(0))
	expect("up again", nil, up(0))
	s.Compression = cloud.CompressionGzip
	expect("another compression", nil, up(1))
	s.Repair = true
	expect("repair", []string{"UpdateDestination"}, up(0))
	look()
	expect("list", nil, func(a *cloud.Account) error {
		l, err := a.List(t.Context())
		if err == nil && (len(l.Streams) != 1 || l.Streams[0].To != "s3://sd-vehicle-data" || len(l.Buckets) != 1 || l.Account != cloudtest.Number) {
			t.Errorf("%+v", l)
		}
		return err
	})
	expect("status", nil, func(a *cloud.Account) error {
		r, err := a.Look(t.Context(), s)
		if err == nil && len(r.Drift) > 0 {
			t.Errorf("drift %q", drifts(r))
		}
		return err
	})
	expect("arrivals", nil, func(a *cloud.Account) error {
		_, err := a.Arrivals(t.Context(), s, time.Now())
		return err
	})
	down := func(o cloud.DownOptions) func(*cloud.Account) error {
		o.Confirm, o.Wait = yes, time.Minute
		return func(a *cloud.Account) error {
			left, err := a.Down(t.Context(), s, o)
			if len(left) > 0 {
				t.Errorf("left %q", left)
			}
			return err
		}
	}
	expect("down", []string{"DeleteDeliveryStream", "DeleteRolePolicy", "DeleteRole"}, down(cloud.DownOptions{Drain: cloud.DrainByInterval}))
	expect("down with the bucket", []string{"DeleteBucket"}, down(cloud.DownOptions{DeleteBucket: true}))
	expect("down of nothing", nil, down(cloud.DownOptions{DeleteBucket: true}))
}
