package cloud_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/cmd/obdfleet/internal/cloud/cloudtest"
)

// TestPoliciesAllowWhatIsCalledAndNoMore: every call of a life in the account, beside what the policies allow.
func TestPoliciesAllowWhatIsCalledAndNoMore(t *testing.T) {
	t.Parallel()
	// What a call is named in policies, where it is not named as the call (S3 user guide and service authorization reference).
	actions := map[string]string{
		"s3:HeadBucket": "s3:ListBucket", "s3:ListObjectsV2": "s3:ListBucket", "s3:ListBuckets": "s3:ListAllMyBuckets", "s3:ListObjectVersions": "s3:ListBucketVersions",
		"s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock", "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
		"s3:GetBucketEncryption": "s3:GetEncryptionConfiguration", "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration", "s3:DeleteObjects": "s3:DeleteObject",
	}
	// What is allowed besides: a device's and a reader's own calls, and what AWS checks within a call.
	besides := []string{"firehose:PutRecord", "firehose:PutRecordBatch", "s3:GetObject", "iam:PassRole", "s3:DeleteObjectVersion"}

	w := cloudtest.New("us-east-1")
	w.AddUser("dcUser")
	s := spec()
	s.Manager = "dcUser"
	called := map[string]bool{}
	life := func(do func(a *cloud.Account) error) {
		t.Helper()
		a := w.Account()
		a.Calls = func(c cloud.Call) {
			name := c.Service + ":" + c.Operation
			if action := actions[name]; action != "" {
				name = action
			}
			called[name] = true
		}
		if err := do(a); err != nil {
			t.Fatal(err)
		}
	}
	up := func(a *cloud.Account) error { _, err := a.Up(t.Context(), s, time.Minute); return err }
	life(up)
	life(up)
	w.SetTrust(cloud.DefaultRole, `{"Statement":{"Principal":{"Service":"firehose.amazonaws.com"}}}`)
	s.Repair, s.SizeMB = true, 1
	life(up)
	life(func(a *cloud.Account) error { _, err := a.List(t.Context()); return err })
	life(func(a *cloud.Account) error { _, err := a.Arrivals(t.Context(), s, time.Now()); return err })
	w.PutObject(s.Bucket, "2026/11/23/x", 1)
	life(func(a *cloud.Account) error {
		_, err := a.Down(t.Context(), s, cloud.DownOptions{Wait: time.Minute, DeleteBucket: true, DeleteObjects: true, Confirm: yes})
		return err
	})
	delete(called, "sts:GetCallerIdentity") // which needs no permission (STS API reference)

	allowed := map[string]bool{}
	where := cloud.Where{Partition: "aws", Account: cloudtest.Number, Region: "us-east-1"}
	for _, statement := range cloud.SetupPolicy(where, s).Statement {
		for _, action := range statement.Action {
			allowed[action] = true
		}
		for _, resource := range statement.Resource {
			if resource == "*" && !slices.Equal(statement.Action, []string{"firehose:ListDeliveryStreams", "s3:ListAllMyBuckets"}) {
				t.Errorf("%s is allowed on everything", statement.Action)
			}
		}
	}
	for _, action := range besides {
		called[action] = true
	}
	if diff := cmp.Diff(called, allowed); diff != "" {
		t.Errorf("(-called +allowed):\n%s", diff)
	}
	for _, statement := range cloud.ManagerPolicy(where, s).Statement {
		for _, action := range statement.Action {
			for _, never := range []string{"iam:Put", "iam:Create", "iam:Update", "iam:Attach", "iam:Delete", "s3:Delete", "s3:Put", "*"} {
				if strings.HasPrefix(action, never) {
					t.Errorf("the manager may %s, which lets him take more", action)
				}
			}
		}
	}
	if diff := cmp.Diff([]string{"firehose:PutRecordBatch"}, cloud.DevicePolicy(where, s).Statement[0].Action); diff != "" {
		t.Errorf("a device's (-want +got):\n%s", diff)
	}
	var doc map[string]any
	if err := json.Unmarshal([]byte(cloud.SetupPolicy(where, s).String()), &doc); err != nil || doc["Version"] != "2012-10-17" {
		t.Errorf("%v: %v", err, doc)
	}
}
