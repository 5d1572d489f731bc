// Package cloudtest is a small AWS account in memory, for tests of what is made in one: Firehose, S3, IAM and STS as package cloud
// asks them.
//
// # Promises
//
//   - It refuses what AWS documents as refused, with AWS's error names: a stream that is there already, one without a known role
//     or whose prefix has an expression and whose error prefix is missing, names and numbers out of bounds, a bucket of somebody else, a
//     location constraint of us-east-1, a role that still has policies, a bucket that still has objects.
//   - It takes its time as AWS does, in calls instead of seconds: a role is known to Firehose a few calls after it was made, a
//     stream is CREATING for a few looks and DELETING for a few more.
//   - It counts every call that changes something.
//
// # Limits
//
// What package cloud does not ask is not there. The same tests run against moto_server, where that is installed.
package cloudtest

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	fhtypes "github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"obdagent/cmd/obdfleet/internal/cloud"
)

// Number is the account's.
const Number = "123456789012"

// World is an account in one region.
type World struct {
	Region string

	RoleDelay   int                         // calls of CreateDeliveryStream or UpdateDestination that a new role stays unknown for
	StreamDelay int                         // looks for which a stream is CREATING, and DELETING
	FailCreate  *fhtypes.FailureDescription // a stream ends as CREATING_FAILED, for this reason
	FailDelete  *fhtypes.FailureDescription // as DELETING_FAILED
	Refuse      map[string]error            // operation -> what every call of it is answered

	mu      sync.Mutex
	changes []string
	streams map[string]*stream
	roles   map[string]*role
	users   map[string]map[string]string
	buckets map[string]*bucket
}

type stream struct {
	fhtypes.DeliveryStreamDescription
	looks int // until its state is the next one
}

type role struct {
	trust    string
	policies map[string]string
	attached []string
	unknown  int
}

type bucket struct {
	foreign   bool
	region    string
	public    bool // no block
	encrypted string
	objects   map[string]int64
}

// New returns an empty account.
func New(region string) *World {
	return &World{Region: region, streams: map[string]*stream{}, roles: map[string]*role{}, users: map[string]map[string]string{}, buckets: map[string]*bucket{}}
}

// Elsewhere is the same account in another region: roles, users and buckets are the whole account's, streams a region's. It shares
// them with w without a lock: use one at a time.
func (w *World) Elsewhere(region string) *World {
	other := New(region)
	other.roles, other.users, other.buckets = w.roles, w.users, w.buckets
	return other
}

// Account is the world as package cloud reaches it. It waits without waiting.
func (w *World) Account() *cloud.Account {
	return &cloud.Account{Firehose: w, S3: s3API{w}, IAM: iamAPI{w}, STS: w, Region: w.Region,
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
}

// Changes are the operations so far that changed something.
func (w *World) Changes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.changes)
}

// begin locks the world for a call; a call that changes something is noted.
func (w *World) begin(operation string, changes bool) (end func(), err error) {
	w.mu.Lock()
	if err := w.Refuse[operation]; err != nil {
		return w.mu.Unlock, err
	}
	if changes {
		w.changes = append(w.changes, operation)
	}
	return w.mu.Unlock, nil
}

// Error is an error as AWS sends it.
func Error(name, message string) error {
	return &smithy.GenericAPIError{Code: name, Message: message}
}

// statusError is an answer without a body, as HEAD has it.
func statusError(status int, name string, header http.Header) error {
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: header}}, Err: Error(name, http.StatusText(status))}}
}

// GetCallerIdentity implements cloud.STS.
func (w *World) GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error) {
	end, err := w.begin("GetCallerIdentity", false)
	defer end()
	if err != nil {
		return nil, err
	}
	return &sts.GetCallerIdentityOutput{Account: aws.String(Number), Arn: aws.String("arn:aws:iam::" + Number + ":user/admin")}, nil
}

var streamForm = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

// CreateDeliveryStream implements cloud.Firehose.
func (w *World) CreateDeliveryStream(_ context.Context, in *firehose.CreateDeliveryStreamInput, _ ...func(*firehose.Options)) (*firehose.CreateDeliveryStreamOutput, error) {
	end, err := w.begin("CreateDeliveryStream", true)
	defer end()
	if err != nil {
		return nil, err
	}
	name := aws.ToString(in.DeliveryStreamName)
	d := in.ExtendedS3DestinationConfiguration
	switch {
	case !streamForm.MatchString(name):
		return nil, Error("ValidationException", "deliveryStreamName")
	case w.streams[name] != nil:
		return nil, Error("ResourceInUseException", "Firehose "+name+" under accountId "+Number+" already exists")
	case in.DeliveryStreamType != fhtypes.DeliveryStreamTypeDirectPut || d == nil:
		return nil, Error("InvalidArgumentException", "Exactly one destination configuration is supported for a Firehose")
	}
	if err := w.checkDestination(aws.ToString(d.RoleARN), aws.ToString(d.BucketARN), aws.ToString(d.Prefix), aws.ToString(d.ErrorOutputPrefix), d.BufferingHints); err != nil {
		return nil, err
	}
	arn := cloud.Where{Partition: "aws", Account: Number, Region: w.Region}.StreamARN(name)
	w.streams[name] = &stream{looks: w.StreamDelay, DeliveryStreamDescription: fhtypes.DeliveryStreamDescription{
		DeliveryStreamName: in.DeliveryStreamName, DeliveryStreamARN: &arn, DeliveryStreamStatus: fhtypes.DeliveryStreamStatusCreating,
		DeliveryStreamType: in.DeliveryStreamType, VersionId: aws.String("1"), HasMoreDestinations: aws.Bool(false),
		Destinations: []fhtypes.DestinationDescription{{DestinationId: aws.String("destinationId-000000000001"), ExtendedS3DestinationDescription: &fhtypes.ExtendedS3DestinationDescription{
			BucketARN: d.BucketARN, RoleARN: d.RoleARN, Prefix: d.Prefix, ErrorOutputPrefix: d.ErrorOutputPrefix, BufferingHints: d.BufferingHints,
			CompressionFormat: d.CompressionFormat, FileExtension: d.FileExtension}}}}}
	return &firehose.CreateDeliveryStreamOutput{DeliveryStreamARN: &arn}, nil
}

// checkDestination applies Firehose's rules for a destination in S3.
func (w *World) checkDestination(roleARN, bucketARN, prefix, errorPrefix string, hints *fhtypes.BufferingHints) error {
	switch {
	case strings.Contains(prefix, "!{") && errorPrefix == "":
		return Error("InvalidArgumentException", "ErrorOutputPrefix cannot be null or empty when Prefix contains expressions")
	case strings.Contains(errorPrefix, "!{") && !strings.Contains(errorPrefix, "!{firehose:error-output-type}"):
		return Error("InvalidArgumentException", "ErrorOutputPrefix must have at least one instance of !{firehose:error-output-type}")
	case hints == nil || aws.ToInt32(hints.SizeInMBs) < 1 || aws.ToInt32(hints.SizeInMBs) > 128 || aws.ToInt32(hints.IntervalInSeconds) < 0 || aws.ToInt32(hints.IntervalInSeconds) > 900:
		return Error("ValidationException", "bufferingHints")
	case w.buckets[bucketARN[strings.LastIndexByte(bucketARN, ':')+1:]] == nil:
		return Error("InvalidArgumentException", "The specified bucket does not exist")
	}
	r := w.roles[roleARN[strings.LastIndexByte(roleARN, '/')+1:]]
	if r == nil || r.unknown > 0 || !strings.Contains(r.trust, "firehose.amazonaws.com") {
		if r != nil {
			r.unknown--
		}
		return Error("InvalidArgumentException", "Firehose is unable to assume role "+roleARN+". Please check the role provided.")
	}
	return nil
}

// AddStream adds a stream that somebody else has made, of any kind.
func (w *World) AddStream(name string, d fhtypes.DeliveryStreamDescription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d.DeliveryStreamName, d.DeliveryStreamStatus = &name, fhtypes.DeliveryStreamStatusActive
	w.streams[name] = &stream{DeliveryStreamDescription: d}
}

func (w *World) find(name *string) (*stream, error) {
	if st := w.streams[aws.ToString(name)]; st != nil {
		return st, nil
	}
	return nil, Error("ResourceNotFoundException", "Firehose "+aws.ToString(name)+" under account "+Number+" not found.")
}

// DescribeDeliveryStream implements cloud.Firehose.
func (w *World) DescribeDeliveryStream(_ context.Context, in *firehose.DescribeDeliveryStreamInput, _ ...func(*firehose.Options)) (*firehose.DescribeDeliveryStreamOutput, error) {
	end, err := w.begin("DescribeDeliveryStream", false)
	defer end()
	if err != nil {
		return nil, err
	}
	st, err := w.find(in.DeliveryStreamName)
	if err != nil {
		return nil, err
	}
	if st.looks--; st.looks < 0 {
		switch st.DeliveryStreamStatus {
		case fhtypes.DeliveryStreamStatusCreating:
			st.DeliveryStreamStatus = fhtypes.DeliveryStreamStatusActive
			if w.FailCreate != nil {
				st.DeliveryStreamStatus, st.FailureDescription = fhtypes.DeliveryStreamStatusCreatingFailed, w.FailCreate
			}
		case fhtypes.DeliveryStreamStatusDeleting:
			if w.FailDelete == nil {
				delete(w.streams, aws.ToString(in.DeliveryStreamName))
				return nil, Error("ResourceNotFoundException", "gone")
			}
			st.DeliveryStreamStatus, st.FailureDescription = fhtypes.DeliveryStreamStatusDeletingFailed, w.FailDelete
		}
	}
	answer := st.DeliveryStreamDescription
	return &firehose.DescribeDeliveryStreamOutput{DeliveryStreamDescription: &answer}, nil
}

// UpdateDestination implements cloud.Firehose.
func (w *World) UpdateDestination(_ context.Context, in *firehose.UpdateDestinationInput, _ ...func(*firehose.Options)) (*firehose.UpdateDestinationOutput, error) {
	end, err := w.begin("UpdateDestination", true)
	defer end()
	if err != nil {
		return nil, err
	}
	st, err := w.find(in.DeliveryStreamName)
	if err != nil {
		return nil, err
	}
	u := in.ExtendedS3DestinationUpdate
	switch {
	case aws.ToString(in.CurrentDeliveryStreamVersionId) != aws.ToString(st.VersionId):
		return nil, Error("ConcurrentModificationException", "the version is another")
	case aws.ToString(in.DestinationId) != aws.ToString(st.Destinations[0].DestinationId) || u == nil:
		return nil, Error("InvalidArgumentException", "destinationId")
	}
	if err := w.checkDestination(aws.ToString(u.RoleARN), aws.ToString(u.BucketARN), aws.ToString(u.Prefix), aws.ToString(u.ErrorOutputPrefix), u.BufferingHints); err != nil {
		return nil, err
	}
	st.VersionId = aws.String(aws.ToString(st.VersionId) + "1")
	st.Destinations[0].ExtendedS3DestinationDescription = &fhtypes.ExtendedS3DestinationDescription{
		BucketARN: u.BucketARN, RoleARN: u.RoleARN, Prefix: u.Prefix, ErrorOutputPrefix: u.ErrorOutputPrefix, BufferingHints: u.BufferingHints,
		CompressionFormat: u.CompressionFormat, FileExtension: u.FileExtension}
	return &firehose.UpdateDestinationOutput{}, nil
}

// DeleteDeliveryStream implements cloud.Firehose.
func (w *World) DeleteDeliveryStream(_ context.Context, in *firehose.DeleteDeliveryStreamInput, _ ...func(*firehose.Options)) (*firehose.DeleteDeliveryStreamOutput, error) {
	end, err := w.begin("DeleteDeliveryStream", true)
	defer end()
	if err != nil {
		return nil, err
	}
	st, err := w.find(in.DeliveryStreamName)
	if err != nil {
		return nil, err
	}
	if st.DeliveryStreamStatus == fhtypes.DeliveryStreamStatusDeleting || st.DeliveryStreamStatus == fhtypes.DeliveryStreamStatusCreating {
		return nil, Error("ResourceInUseException", "Firehose "+aws.ToString(in.DeliveryStreamName)+" is "+string(st.DeliveryStreamStatus))
	}
	st.DeliveryStreamStatus, st.looks = fhtypes.DeliveryStreamStatusDeleting, w.StreamDelay
	return &firehose.DeleteDeliveryStreamOutput{}, nil
}

// ListDeliveryStreams implements cloud.Firehose, two a page whatever is asked for: the service may return fewer.
func (w *World) ListDeliveryStreams(_ context.Context, in *firehose.ListDeliveryStreamsInput, _ ...func(*firehose.Options)) (*firehose.ListDeliveryStreamsOutput, error) {
	end, err := w.begin("ListDeliveryStreams", false)
	defer end()
	if err != nil {
		return nil, err
	}
	names := []string{}
	for name := range w.streams {
		if name > aws.ToString(in.ExclusiveStartDeliveryStreamName) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	const page = 2
	return &firehose.ListDeliveryStreamsOutput{DeliveryStreamNames: names[:min(page, len(names))], HasMoreDeliveryStreams: aws.Bool(len(names) > page)}, nil
}

// encoded is a policy as IAM gives it back.
func encoded(document string) *string { return aws.String(url.PathEscape(document)) }
