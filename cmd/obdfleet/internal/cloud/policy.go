package cloud

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
)

// Names of the inline policies that Up writes.
const (
	deliveryPolicy = "obdfleet-delivery"
	managerPolicy  = "obdfleet-manager"
)

// A Policy is an IAM policy document (IAM user guide, "Grammar of the IAM JSON policy language").
type Policy struct {
	Version   string
	Statement []Statement
}

// Statement is one of a Policy's.
type Statement struct {
	Sid       string `json:",omitempty"`
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    []string
	Resource  []string                     `json:",omitempty"`
	Condition map[string]map[string]string `json:",omitempty"`
}

func policyOf(statements ...Statement) Policy {
	return Policy{Version: "2012-10-17", Statement: statements}
}

func allow(sid string, actions []string, resources ...string) Statement {
	return Statement{Sid: sid, Effect: "Allow", Action: actions, Resource: resources}
}

// String is the document as JSON, indented, for people and for files.
func (p Policy) String() string {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err.Error() // it has strings only, which always marshal
	}
	return string(text)
}

// compact is the document as it is sent: an inline policy's size is bounded.
func (p Policy) compact() string {
	text, err := json.Marshal(p)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Where is an account and region that ARNs are made for.
type Where struct {
	Partition string // aws, aws-us-gov, aws-cn
	Account   string // 12 digits
	Region    string
}

// StreamARN names a delivery stream.
func (w Where) StreamARN(name string) string {
	return fmt.Sprintf("arn:%s:firehose:%s:%s:deliverystream/%s", w.Partition, w.Region, w.Account, name)
}

// BucketARN names a bucket.
func (w Where) BucketARN(name string) string { return fmt.Sprintf("arn:%s:s3:::%s", w.Partition, name) }

// RoleARN names a role.
func (w Where) RoleARN(name string) string {
	return fmt.Sprintf("arn:%s:iam::%s:role/%s", w.Partition, w.Account, name)
}

// UserARN names a user.
func (w Where) UserARN(name string) string {
	return fmt.Sprintf("arn:%s:iam::%s:user/%s", w.Partition, w.Account, name)
}

// TrustPolicy lets Firehose assume the role, and only for streams of this account: Firehose gives the account's number as the
// external id, so that nobody else's stream can be pointed at this role.
func TrustPolicy(w Where) Policy {
	return policyOf(Statement{
		Sid: "FirehoseOfThisAccount", Effect: "Allow", Principal: map[string]string{"Service": "firehose.amazonaws.com"},
		Action: []string{"sts:AssumeRole"}, Condition: map[string]map[string]string{"StringEquals": {"sts:ExternalId": w.Account}},
	})
}

// DeliveryPolicy is what Firehose may do as that role: write to the bucket (Firehose developer guide, "Grant Firehose access to
// an Amazon S3 destination").
func DeliveryPolicy(w Where, s Spec) Policy {
	bucket := w.BucketARN(s.Bucket)
	return policyOf(
		allow("FindTheBucket", []string{"s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"}, bucket),
		allow("WriteObjects", []string{"s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"}, bucket+"/*"),
	)
}

// passRole lets the stream be given the role, and nothing else.
func passRole(w Where, s Spec) Statement {
	pass := allow("GiveTheStreamItsRole", []string{"iam:PassRole"}, w.RoleARN(s.Role))
	pass.Condition = map[string]map[string]string{"StringEquals": {"iam:PassedToService": "firehose.amazonaws.com"}}
	return pass
}

// ManagerPolicy is for the user who manages the stream, writes to it, and reads back what it delivered. It needs the role to be
// there: who may write a role's policies can give himself any right, so that making the role is for [SetupPolicy].
func ManagerPolicy(w Where, s Spec) Policy {
	bucket := w.BucketARN(s.Bucket)
	return policyOf(
		allow("ManageTheStream", []string{"firehose:CreateDeliveryStream", "firehose:DeleteDeliveryStream", "firehose:DescribeDeliveryStream", "firehose:UpdateDestination"}, w.StreamARN(s.Stream)),
		allow("WriteToTheStream", []string{"firehose:PutRecord", "firehose:PutRecordBatch"}, w.StreamARN(s.Stream)),
		allow("List", []string{"firehose:ListDeliveryStreams", "s3:ListAllMyBuckets"}, "*"),
		allow("LookAtTheRole", []string{"iam:GetRole", "iam:GetRolePolicy"}, w.RoleARN(s.Role)),
		passRole(w, s),
		allow("LookAtTheBucket", []string{"s3:GetBucketPublicAccessBlock", "s3:GetEncryptionConfiguration", "s3:ListBucket"}, bucket),
		allow("ReadObjects", []string{"s3:GetObject"}, bucket+"/*"),
	)
}

// SetupPolicy is for whoever runs up and down: the manager's, and what makes and takes away bucket and role. Its holder can give
// the role any right.
func SetupPolicy(w Where, s Spec) Policy {
	bucket := w.BucketARN(s.Bucket)
	p := ManagerPolicy(w, s)
	p.Statement = append(p.Statement,
		allow("MakeTheBucket", []string{"s3:CreateBucket", "s3:DeleteBucket", "s3:ListBucketVersions", "s3:PutBucketPublicAccessBlock", "s3:PutEncryptionConfiguration"}, bucket),
		allow("DeleteObjects", []string{"s3:DeleteObject", "s3:DeleteObjectVersion"}, bucket+"/*"),
		allow("MakeTheRole", []string{"iam:CreateRole", "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy"}, w.RoleARN(s.Role)),
		allow("SeeWhoElseUsesTheRole", []string{"firehose:DescribeDeliveryStream"}, w.StreamARN("*")),
	)
	if s.Manager != "" {
		p.Statement = append(p.Statement, allow("GiveTheManagerHisPolicy", []string{"iam:GetUserPolicy", "iam:PutUserPolicy"}, w.UserARN(s.Manager)))
	}
	return p
}

// DevicePolicy is all that a device may do: send batches to the one stream.
func DevicePolicy(w Where, s Spec) Policy {
	return policyOf(allow("SendRecords", []string{"firehose:PutRecordBatch"}, w.StreamARN(s.Stream)))
}

// samePolicy reports whether two documents say the same: IAM gives them back percent-encoded, and keeps neither white space nor
// lists of one.
func samePolicy(one, other string) bool {
	a, errA := normalPolicy(one)
	b, errB := normalPolicy(other)
	return errA == nil && errB == nil && a == b
}

// normalPolicy is a document in a form in which equal ones are equal texts.
func normalPolicy(text string) (string, error) {
	if decoded, err := url.PathUnescape(text); err == nil {
		text = decoded
	}
	var doc any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return "", fmt.Errorf("it is no JSON: %w", err)
	}
	out, err := json.Marshal(normalValue(doc))
	return string(out), err
}

// normalValue sorts lists of strings, and makes a list of one its element.
func normalValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = normalValue(v[k])
		}
	case []any:
		for i := range v {
			v[i] = normalValue(v[i])
		}
		if len(v) == 1 {
			return v[0]
		}
		slices.SortFunc(v, func(a, b any) int {
			x, _ := a.(string)
			y, _ := b.(string)
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		})
	}
	return v
}
