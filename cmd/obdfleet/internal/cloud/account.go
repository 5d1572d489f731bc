package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Firehose is what is asked of Amazon Data Firehose; *firehose.Client has it.
type Firehose interface {
	CreateDeliveryStream(context.Context, *firehose.CreateDeliveryStreamInput, ...func(*firehose.Options)) (*firehose.CreateDeliveryStreamOutput, error)
	DescribeDeliveryStream(context.Context, *firehose.DescribeDeliveryStreamInput, ...func(*firehose.Options)) (*firehose.DescribeDeliveryStreamOutput, error)
	UpdateDestination(context.Context, *firehose.UpdateDestinationInput, ...func(*firehose.Options)) (*firehose.UpdateDestinationOutput, error)
	DeleteDeliveryStream(context.Context, *firehose.DeleteDeliveryStreamInput, ...func(*firehose.Options)) (*firehose.DeleteDeliveryStreamOutput, error)
	ListDeliveryStreams(context.Context, *firehose.ListDeliveryStreamsInput, ...func(*firehose.Options)) (*firehose.ListDeliveryStreamsOutput, error)
}

// S3 is what is asked of Amazon S3; *s3.Client has it.
type S3 interface {
	HeadBucket(context.Context, *s3.HeadBucketInput, ...func(*s3.Options)) (*s3.HeadBucketOutput, error)
	CreateBucket(context.Context, *s3.CreateBucketInput, ...func(*s3.Options)) (*s3.CreateBucketOutput, error)
	GetPublicAccessBlock(context.Context, *s3.GetPublicAccessBlockInput, ...func(*s3.Options)) (*s3.GetPublicAccessBlockOutput, error)
	PutPublicAccessBlock(context.Context, *s3.PutPublicAccessBlockInput, ...func(*s3.Options)) (*s3.PutPublicAccessBlockOutput, error)
	GetBucketEncryption(context.Context, *s3.GetBucketEncryptionInput, ...func(*s3.Options)) (*s3.GetBucketEncryptionOutput, error)
	PutBucketEncryption(context.Context, *s3.PutBucketEncryptionInput, ...func(*s3.Options)) (*s3.PutBucketEncryptionOutput, error)
	ListBuckets(context.Context, *s3.ListBucketsInput, ...func(*s3.Options)) (*s3.ListBucketsOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	ListObjectVersions(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error)
	DeleteObjects(context.Context, *s3.DeleteObjectsInput, ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error)
	DeleteBucket(context.Context, *s3.DeleteBucketInput, ...func(*s3.Options)) (*s3.DeleteBucketOutput, error)
}

// IAM is what is asked of AWS IAM; *iam.Client has it.
type IAM interface {
	GetRole(context.Context, *iam.GetRoleInput, ...func(*iam.Options)) (*iam.GetRoleOutput, error)
	CreateRole(context.Context, *iam.CreateRoleInput, ...func(*iam.Options)) (*iam.CreateRoleOutput, error)
	UpdateAssumeRolePolicy(context.Context, *iam.UpdateAssumeRolePolicyInput, ...func(*iam.Options)) (*iam.UpdateAssumeRolePolicyOutput, error)
	GetRolePolicy(context.Context, *iam.GetRolePolicyInput, ...func(*iam.Options)) (*iam.GetRolePolicyOutput, error)
	PutRolePolicy(context.Context, *iam.PutRolePolicyInput, ...func(*iam.Options)) (*iam.PutRolePolicyOutput, error)
	ListRolePolicies(context.Context, *iam.ListRolePoliciesInput, ...func(*iam.Options)) (*iam.ListRolePoliciesOutput, error)
	ListAttachedRolePolicies(context.Context, *iam.ListAttachedRolePoliciesInput, ...func(*iam.Options)) (*iam.ListAttachedRolePoliciesOutput, error)
	DeleteRolePolicy(context.Context, *iam.DeleteRolePolicyInput, ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error)
	DeleteRole(context.Context, *iam.DeleteRoleInput, ...func(*iam.Options)) (*iam.DeleteRoleOutput, error)
	GetUserPolicy(context.Context, *iam.GetUserPolicyInput, ...func(*iam.Options)) (*iam.GetUserPolicyOutput, error)
	PutUserPolicy(context.Context, *iam.PutUserPolicyInput, ...func(*iam.Options)) (*iam.PutUserPolicyOutput, error)
}

// STS is what is asked of AWS STS; *sts.Client has it.
type STS interface {
	GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error)
}

// Account is an AWS account, in one region, as the credentials at hand reach it.
type Account struct {
	Firehose Firehose
	S3       S3
	IAM      IAM
	STS      STS

	Region   string
	Endpoint string // of a look-alike, for what is said to people; empty: AWS

	DryRun bool                                             // nothing is changed
	Calls  func(Call)                                       // told of each call before it is made; nil: nobody is
	Say    func(string)                                     // told of each step, a line each; nil: nobody is
	Sleep  func(ctx context.Context, d time.Duration) error // how to wait; nil: by the clock

	where Where
}

// A Call is one call to AWS.
type Call struct {
	Service, Operation string
	Changes            bool   // it is more than a look
	Input              string // as JSON, without what is not set
}

// String is the call on one line, in the form of the actions in policies.
func (c Call) String() string { return c.Service + ":" + c.Operation + " " + c.Input }

// Options say which AWS: an empty region is the AWS configuration's, else DefaultRegion.
type Options struct {
	Region   string
	Endpoint string // URL of a look-alike instead of Amazon's, for all services
}

// Load reads the AWS configuration of this machine as the AWS tools do: environment, ~/.aws, the machine's role. Nothing is asked
// of the network yet.
func Load(ctx context.Context, o Options) (aws.Config, error) {
	if o.Region != "" && !regionForm.MatchString(o.Region) {
		return aws.Config{}, fmt.Errorf("--region %s: no region looks like that: give one as us-east-1 or eu-central-1", o.Region)
	}
	if o.Endpoint != "" {
		if u, err := url.Parse(o.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return aws.Config{}, fmt.Errorf("--endpoint %s is not a URL: give one as http://127.0.0.1:5000", o.Endpoint)
		}
	}
	set, err := config.LoadDefaultConfig(ctx, config.WithRegion(o.Region), config.WithDefaultRegion(DefaultRegion))
	if err != nil {
		return aws.Config{}, fmt.Errorf("load the AWS configuration: %w: check AWS_PROFILE and ~/.aws/config", err)
	}
	if o.Endpoint != "" {
		set.BaseEndpoint = aws.String(o.Endpoint)
	}
	return set, nil
}

// Open returns the account of this machine's AWS configuration. Nothing is asked of the network yet.
func Open(ctx context.Context, o Options) (*Account, error) {
	set, err := Load(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Account{
		Firehose: firehose.NewFromConfig(set),
		S3:       s3.NewFromConfig(set, func(p *s3.Options) { p.UsePathStyle = o.Endpoint != "" }), // look-alikes have one host name
		IAM:      iam.NewFromConfig(set),
		STS:      sts.NewFromConfig(set),
		Region:   set.Region, Endpoint: o.Endpoint,
	}, nil
}

// Identify asks whose account this is, once.
func (a *Account) Identify(ctx context.Context) (Where, error) {
	if a.where.Account != "" {
		return a.where, nil
	}
	me, err := call(ctx, a, a.STS.GetCallerIdentity, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Where{}, a.explain("ask whose account this is", err)
	}
	partition := "aws"
	if parsed, err := arn.Parse(aws.ToString(me.Arn)); err == nil && parsed.Partition != "" {
		partition = parsed.Partition
	}
	a.where = Where{Partition: partition, Account: aws.ToString(me.Account), Region: a.Region}
	return a.where, nil
}

// accountForm is how AWS numbers accounts.
var accountForm = regexp.MustCompile(`^[0-9]{12}$`)

// As is Identify without a question where the account's number is given.
func (a *Account) As(ctx context.Context, number string) (Where, error) {
	if number == "" {
		return a.Identify(ctx)
	}
	if !accountForm.MatchString(number) {
		return Where{}, fmt.Errorf("--account %q: an account's number is 12 digits", number)
	}
	partition := "aws"
	switch {
	case strings.HasPrefix(a.Region, "cn-"):
		partition = "aws-cn"
	case strings.HasPrefix(a.Region, "us-gov-"):
		partition = "aws-us-gov"
	}
	return Where{Partition: partition, Account: number, Region: a.Region}, nil
}

// call makes a call, or, in a dry run, only tells of it if it would change something: the answer is empty then. Every call goes
// through here.
func call[I, O, Option any](ctx context.Context, a *Account, do func(context.Context, *I, ...func(*Option)) (*O, error), in *I) (*O, error) {
	c := describeCall(in)
	if a.Calls != nil {
		a.Calls(c)
	}
	if a.DryRun && c.Changes {
		return new(O), nil
	}
	return do(ctx, in)
}

// describeCall tells of a call by its input, which the SDK names after the operation, in a package named after the service.
func describeCall(in any) Call {
	service, operation, _ := strings.Cut(reflect.TypeOf(in).Elem().String(), ".")
	operation = strings.TrimSuffix(operation, "Input")
	changes := true
	for _, look := range []string{"Get", "Head", "List", "Describe"} {
		changes = changes && !strings.HasPrefix(operation, look)
	}
	text, err := json.Marshal(in)
	var tree any
	if err == nil {
		err = json.Unmarshal(text, &tree)
	}
	if err == nil {
		text, err = json.Marshal(pruned(tree))
	}
	if err != nil {
		text = []byte(err.Error()) // the inputs are plain structs, which marshal
	}
	return Call{Service: service, Operation: operation, Changes: changes, Input: string(text)}
}

// pruned is a JSON value without what is not set, and with policies, which travel as text, as what they are.
func pruned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if e = pruned(e); e != nil && e != "" {
				out[k] = e
			}
		}
		return out
	case []any:
		for i := range v {
			v[i] = pruned(v[i])
		}
	case string:
		var doc map[string]any
		if strings.HasPrefix(v, "{") && json.Unmarshal([]byte(v), &doc) == nil {
			return doc
		}
	}
	return v
}

func (a *Account) say(format string, args ...any) {
	if a.Say != nil {
		a.Say(fmt.Sprintf(format, args...))
	}
}

func (a *Account) sleep(ctx context.Context, d time.Duration) error {
	if a.Sleep != nil {
		return a.Sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
