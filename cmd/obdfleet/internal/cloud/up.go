package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"obdagent/cmd/internal/cli"
)

// Drift is something that is not as it should be.
type Drift struct {
	What     string `json:"what"`     // bucket sd-vehicle-data
	Property string `json:"property"` // encryption
	Is       string `json:"is"`       // empty: missing
	Want     string `json:"want"`
	Advice   string `json:"advice,omitempty"` // where --repair does not help
}

// String is the drift as a line.
func (d Drift) String() string {
	if d.Property == Existence {
		return fmt.Sprintf("%s is missing: obdfleet cloud up makes it", d.What)
	}
	is := d.Is
	if is == "" {
		is = "missing"
	}
	line := fmt.Sprintf("%s: %s is %s, should be %s", d.What, d.Property, is, d.Want)
	if d.Advice != "" {
		line += ": " + d.Advice
	}
	return line
}

// Result is what Up made, or Look found.
type Result struct {
	StreamARN string
	Status    string // the stream's; empty: there is none
	Drift     []Drift
}

// up is one run of Up or Look.
type up struct {
	*Account
	Spec
	Result
	w    Where
	look bool // nothing is made
	wait time.Duration
}

// Up makes what is missing of bucket, role and stream, and waits, at most for wait, until the stream is ACTIVE.
func (a *Account) Up(ctx context.Context, s Spec, wait time.Duration) (Result, error) {
	return a.run(ctx, &up{Account: a, Spec: s, wait: wait})
}

// Look compares the account with the Spec and changes nothing.
func (a *Account) Look(ctx context.Context, s Spec) (Result, error) {
	return a.run(ctx, &up{Account: a, Spec: s, look: true})
}

func (a *Account) run(ctx context.Context, u *up) (Result, error) {
	w, err := a.Identify(ctx)
	if err != nil {
		return Result{}, err
	}
	u.w = w
	u.StreamARN = w.StreamARN(u.Stream)
	a.say("account %s, region %s", w.Account, w.Region)
	// In the order in which one needs the other: AWS would take a stream whose bucket is not there, and fail each delivery.
	for _, step := range []func(context.Context) error{u.bucket, u.role, u.stream, u.manager} {
		if err := step(ctx); err != nil {
			return u.Result, err
		}
	}
	return u.Result, nil
}

// setting sees to one property of one thing.
type setting struct {
	what, property string
	want           string
	get            func() (is string, err error) // nil: what was just made has not got it; an error that isMissing is none
	same           func(is, want string) bool    // nil: equal texts
	put            func() error
	may            func() error // nil: what is there and differs may be repaired
}

func (u *up) see(s setting) error {
	if s.get != nil {
		is, err := s.get()
		switch {
		case err != nil && !isMissing(err):
			return u.explain("look at the "+s.property+" of "+s.what, err)
		case err == nil && (s.same == nil && is == s.want || s.same != nil && s.same(is, s.want)):
			return nil
		case u.look, err == nil && !u.Repair:
			u.Drift = append(u.Drift, Drift{What: s.what, Property: s.property, Is: is, Want: s.want})
			return nil
		case err == nil && s.may != nil:
			if err := s.may(); err != nil {
				return fmt.Errorf("repair the %s of %s: %w", s.property, s.what, err)
			}
		}
	}
	if err := s.put(); err != nil {
		return u.explain("set the "+s.property+" of "+s.what, err)
	}
	u.did("set the %s of %s", s.property, s.what)
	return nil
}

// did tells of a change.
func (u *up) did(format string, args ...any) {
	if u.DryRun {
		format = "would have " + format
	}
	u.say(format, args...)
}

// Existence is the property of what is not there at all.
const Existence = "it"

// lacks notes that a whole thing is missing.
func (u *up) lacks(what string) {
	u.Drift = append(u.Drift, Drift{What: what, Property: Existence, Want: "there"})
}

func (u *up) bucket(ctx context.Context) error {
	what := "bucket " + u.Bucket
	head, err := call(ctx, u.Account, u.S3.HeadBucket, &s3.HeadBucketInput{Bucket: &u.Bucket})
	fresh := false
	switch answer, _ := errors.AsType[*awshttp.ResponseError](err); {
	case isMissing(err):
		if u.look {
			u.lacks(what)
			return nil
		}
		if err := u.createBucket(ctx); err != nil {
			return err
		}
		fresh = true
	case answer != nil && answer.HTTPStatusCode() == http.StatusMovedPermanently:
		return fmt.Errorf("%s is in region %s, the stream in %s: Firehose delivers within its region: give --region, or another --bucket",
			what, answer.HTTPResponse().Header.Get("X-Amz-Bucket-Region"), u.w.Region)
	case answer != nil && answer.HTTPStatusCode() == http.StatusForbidden:
		return fmt.Errorf("%s is there, and these credentials may not look at it: bucket names are shared by the whole world: if it is not yours, give another --bucket", what)
	case err != nil:
		return u.explain("look for "+what, err)
	default:
		if region := aws.ToString(head.BucketRegion); region != "" && region != u.w.Region {
			return fmt.Errorf("%s is in region %s, the stream in %s: Firehose delivers within its region: give --region %s, or another --bucket", what, region, u.w.Region, region)
		}
		u.say("%s is there", what)
	}
	const blocked = "on"
	access := setting{what: what, property: "block of public access", want: blocked, put: func() error {
		_, err := call(ctx, u.Account, u.S3.PutPublicAccessBlock, &s3.PutPublicAccessBlockInput{Bucket: &u.Bucket, PublicAccessBlockConfiguration: &s3types.PublicAccessBlockConfiguration{
			BlockPublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(true), IgnorePublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(true)}})
		return err
	}}
	encryption := setting{what: what, property: "encryption", want: string(s3types.ServerSideEncryptionAes256), put: func() error {
		_, err := call(ctx, u.Account, u.S3.PutBucketEncryption, &s3.PutBucketEncryptionInput{Bucket: &u.Bucket, ServerSideEncryptionConfiguration: &s3types.ServerSideEncryptionConfiguration{
			Rules: []s3types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &s3types.ServerSideEncryptionByDefault{SSEAlgorithm: s3types.ServerSideEncryptionAes256}}}}})
		return err
	}}
	if !fresh {
		access.get = func() (string, error) {
			got, err := call(ctx, u.Account, u.S3.GetPublicAccessBlock, &s3.GetPublicAccessBlockInput{Bucket: &u.Bucket})
			if err != nil {
				return "", err
			}
			c := got.PublicAccessBlockConfiguration
			if c != nil && aws.ToBool(c.BlockPublicAcls) && aws.ToBool(c.BlockPublicPolicy) && aws.ToBool(c.IgnorePublicAcls) && aws.ToBool(c.RestrictPublicBuckets) {
				return blocked, nil
			}
			return "off or in part", nil
		}
		encryption.get = func() (string, error) {
			got, err := call(ctx, u.Account, u.S3.GetBucketEncryption, &s3.GetBucketEncryptionInput{Bucket: &u.Bucket})
			if err != nil {
				return "", err
			}
			if c := got.ServerSideEncryptionConfiguration; c != nil && len(c.Rules) > 0 && c.Rules[0].ApplyServerSideEncryptionByDefault != nil {
				return string(c.Rules[0].ApplyServerSideEncryptionByDefault.SSEAlgorithm), nil
			}
			return "none", nil
		}
		// A key of one's own is more than was asked for.
		encryption.same = func(is, want string) bool {
			return is == want || is == string(s3types.ServerSideEncryptionAwsKms) || is == string(s3types.ServerSideEncryptionAwsKmsDsse)
		}
	}
	return errors.Join(u.see(access), u.see(encryption))
}

func (u *up) createBucket(ctx context.Context) error {
	in := &s3.CreateBucketInput{Bucket: &u.Bucket}
	if u.w.Region != DefaultRegion { // which is S3's own default, and is refused as a constraint
		in.CreateBucketConfiguration = &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(u.w.Region)}
	}
	_, err := call(ctx, u.Account, u.S3.CreateBucket, in)
	switch code(err) {
	case "BucketAlreadyExists":
		return fmt.Errorf("bucket %s belongs to somebody else: bucket names are shared by the whole world: give another --bucket", u.Bucket)
	case "BucketAlreadyOwnedByYou", "OperationAborted":
		return cli.Failure{Err: fmt.Errorf("make bucket %s: somebody else is making it at this moment: run it again", u.Bucket)}
	}
	if err != nil {
		return u.explain("make bucket "+u.Bucket, err)
	}
	u.did("made bucket %s", u.w.BucketARN(u.Bucket))
	return nil
}

func (u *up) role(ctx context.Context) error {
	what := "role " + u.Role
	trust, delivery := TrustPolicy(u.w), DeliveryPolicy(u.w, u.Spec)
	got, err := call(ctx, u.Account, u.IAM.GetRole, &iam.GetRoleInput{RoleName: &u.Role})
	fresh := isMissing(err)
	switch {
	case fresh && u.look:
		u.lacks(what)
		return nil
	case fresh:
		_, err := call(ctx, u.Account, u.IAM.CreateRole, &iam.CreateRoleInput{RoleName: &u.Role, AssumeRolePolicyDocument: aws.String(trust.compact()),
			Description: aws.String("Amazon Data Firehose writes what the fleet sends to s3://" + u.Bucket)})
		if err != nil {
			return u.explain("make "+what, err)
		}
		u.did("made role %s", u.w.RoleARN(u.Role))
	case err != nil:
		return u.explain("look for "+what, err)
	default:
		u.say("%s is there", what)
		err := u.see(setting{what: what, property: "trust", want: trust.compact(), same: samePolicy,
			get: func() (string, error) { return decoded(aws.ToString(got.Role.AssumeRolePolicyDocument)), nil },
			put: func() error {
				_, err := call(ctx, u.Account, u.IAM.UpdateAssumeRolePolicy, &iam.UpdateAssumeRolePolicyInput{RoleName: &u.Role, PolicyDocument: aws.String(trust.compact())})
				return err
			}})
		if err != nil {
			return err
		}
	}
	policy := setting{what: what, property: "policy " + deliveryPolicy, want: delivery.compact(), same: samePolicy, put: func() error {
		_, err := call(ctx, u.Account, u.IAM.PutRolePolicy, &iam.PutRolePolicyInput{RoleName: &u.Role, PolicyName: aws.String(deliveryPolicy), PolicyDocument: aws.String(delivery.compact())})
		return err
	}}
	if !fresh {
		policy.get = func() (string, error) {
			got, err := call(ctx, u.Account, u.IAM.GetRolePolicy, &iam.GetRolePolicyInput{RoleName: &u.Role, PolicyName: aws.String(deliveryPolicy)})
			if err != nil {
				return "", err
			}
			return decoded(aws.ToString(got.PolicyDocument)), nil
		}
		policy.may = func() error { return u.mayRepairRole(ctx, roleARN(u.w, u.Spec, got.Role)) }
	}
	return u.see(policy)
}

// manager gives the managing user his policy. The user is a person's or a program's, and is not made here.
func (u *up) manager(ctx context.Context) error {
	if u.Manager == "" {
		return nil
	}
	policy := ManagerPolicy(u.w, u.Spec)
	err := u.see(setting{what: "user " + u.Manager, property: "policy " + managerPolicy, want: policy.compact(), same: samePolicy,
		get: func() (string, error) {
			got, err := call(ctx, u.Account, u.IAM.GetUserPolicy, &iam.GetUserPolicyInput{UserName: &u.Manager, PolicyName: aws.String(managerPolicy)})
			if err != nil {
				return "", err
			}
			return decoded(aws.ToString(got.PolicyDocument)), nil
		},
		put: func() error {
			_, err := call(ctx, u.Account, u.IAM.PutUserPolicy, &iam.PutUserPolicyInput{UserName: &u.Manager, PolicyName: aws.String(managerPolicy), PolicyDocument: aws.String(policy.compact())})
			if isMissing(err) {
				return &iamtypes.NoSuchEntityException{Message: aws.String("there is no such user: make it first")}
			}
			return err
		}})
	return err
}

// decoded is a policy as IAM gives it back, percent-encoded, in the form in which policies are compared.
func decoded(document string) string {
	if text, err := normalPolicy(document); err == nil {
		return text
	}
	return document
}
