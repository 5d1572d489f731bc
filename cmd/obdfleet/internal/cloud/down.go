package cloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"obdagent/cmd/internal/cli"
)

// drainMargin is added to a stream's own interval: delivery takes a moment.
const drainMargin = time.Minute

// DrainByInterval is for DownOptions.Drain: it waits for the streams' own buffering interval.
const DrainByInterval time.Duration = -1

// DownOptions say what Down takes away besides the stream and the role.
type DownOptions struct {
	AllStreams    bool // every stream of the region, and nothing else
	DeleteBucket  bool // the bucket too, if it is empty
	DeleteObjects bool // and what is in it

	Drain time.Duration // how long to wait for what is buffered
	Wait  time.Duration // how long for a stream to be gone

	// Confirm is shown what will be gone and what that costs, and says whether to go on.
	Confirm func(plan []string, word string) error
}

// A doomed stream is one that is about to be deleted.
type doomed struct {
	name, arn string
	status    types.DeliveryStreamStatus
	interval  time.Duration
}

// Down takes away the stream and the role, and only where it is told to the bucket. It returns what it left though it was asked
// to take it away, a line each.
func (a *Account) Down(ctx context.Context, s Spec, o DownOptions) (left []string, err error) {
	w, err := a.Identify(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{s.Stream}
	if o.AllStreams {
		if names, err = a.streamNames(ctx); err != nil {
			return nil, err
		}
	}
	var streams []doomed
	for _, name := range names {
		d, err := a.describe(ctx, name)
		if err != nil {
			return nil, err
		}
		if d != nil {
			streams = append(streams, doomed{name, aws.ToString(d.DeliveryStreamARN), d.DeliveryStreamStatus, intervalOf(d)})
		}
	}
	var plan []string
	for _, st := range streams {
		plan = append(plan, fmt.Sprintf("stream %s (%s)", st.arn, st.status))
	}
	keep, bucket := "", false
	role := false
	if !o.AllStreams {
		if role, keep, err = a.roleToGo(ctx, w, s); err != nil {
			return nil, err
		}
		if role {
			plan = append(plan, "role "+w.RoleARN(s.Role)+", which is the whole account's: see that no stream of another region uses it")
		}
		if o.DeleteBucket {
			line, err := a.bucketToGo(ctx, w, s, o.DeleteObjects)
			if err != nil {
				return nil, err
			}
			if bucket = line != ""; bucket {
				plan = append(plan, line)
			}
		}
	}
	if keep != "" {
		left = append(left, keep)
	}
	if len(plan) == 0 {
		a.say("nothing is there to delete in account %s, region %s", w.Account, w.Region)
		return left, nil
	}
	word := "yes"
	if bucket && o.DeleteObjects {
		word = s.Bucket
	}
	drain := drainOf(streams, o.Drain)
	if len(streams) > 0 {
		plan = append(plan, fmt.Sprintf("and with a stream what it still buffers: stop what sends to it first; it is given %s to deliver the rest, what comes later is lost", drain))
	}
	if keep != "" {
		plan = append(plan, "but "+keep)
	}
	if !a.DryRun {
		if err := o.Confirm(append([]string{fmt.Sprintf("account %s, region %s: this will be deleted:", w.Account, w.Region)}, plan...), word); err != nil {
			return nil, err
		}
	}
	if err := a.deleteStreams(ctx, streams, drain, o.Wait); err != nil {
		return nil, err
	}
	if role {
		if err := a.deleteRole(ctx, s); err != nil {
			return nil, err
		}
	}
	if bucket {
		if err := a.deleteBucket(ctx, s, o.DeleteObjects); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// drainOf is how long the streams are waited for.
func drainOf(streams []doomed, asked time.Duration) time.Duration {
	if asked >= 0 {
		return asked
	}
	var longest time.Duration
	for _, st := range streams {
		longest = max(longest, st.interval+drainMargin)
	}
	return longest
}

// intervalOf is how long a stream buffers, at most. Destinations that are not asked for theirs buffer 300 s unless told otherwise,
// 900 s at most (API reference, BufferingHints).
func intervalOf(d *types.DeliveryStreamDescription) time.Duration {
	if len(d.Destinations) == 1 {
		if e := d.Destinations[0].ExtendedS3DestinationDescription; e != nil && e.BufferingHints != nil && e.BufferingHints.IntervalInSeconds != nil {
			return time.Duration(*e.BufferingHints.IntervalInSeconds) * time.Second
		}
	}
	return maxIntervalS * time.Second
}

func (a *Account) deleteStreams(ctx context.Context, streams []doomed, drain, wait time.Duration) error {
	alive := slices.ContainsFunc(streams, func(st doomed) bool { return st.status == types.DeliveryStreamStatusActive })
	if drain > 0 && alive && !a.DryRun {
		a.say("waiting %s for what is buffered", drain)
		if err := a.sleep(ctx, drain); err != nil {
			return cli.Failure{Err: errors.New("stopped while waiting for what is buffered: nothing was deleted")}
		}
	}
	for _, st := range streams {
		if st.status != types.DeliveryStreamStatusDeleting {
			_, err := call(ctx, a, a.Firehose.DeleteDeliveryStream, &firehose.DeleteDeliveryStreamInput{DeliveryStreamName: &st.name})
			if err != nil && !isMissing(err) {
				return a.explain("delete stream "+st.name, err)
			}
		}
		if a.DryRun {
			a.say("would have deleted stream %s", st.arn)
		}
	}
	if a.DryRun {
		return nil
	}
	for _, st := range streams {
		if err := a.awaitGone(ctx, st.name, wait); err != nil {
			return err
		}
		a.say("deleted stream %s", st.arn)
	}
	return nil
}

func (a *Account) awaitGone(ctx context.Context, name string, limit time.Duration) error {
	for p := a.patience(limit); ; {
		d, err := a.describe(ctx, name)
		if err != nil || d == nil {
			return err
		}
		if d.DeliveryStreamStatus == types.DeliveryStreamStatusDeletingFailed {
			return cli.Failure{Err: fmt.Errorf("stream %s could not be deleted%s: if its key is gone: aws firehose delete-delivery-stream --allow-force-delete --delivery-stream-name %s", name, failure(d), name)}
		}
		more, waited := p.again(ctx)
		if waited != nil {
			return a.explain("wait until stream "+name+" is gone", waited)
		}
		if !more {
			return cli.Failure{Err: fmt.Errorf("stream %s is still %s after %s: run it again to go on waiting", name, d.DeliveryStreamStatus, limit)}
		}
	}
}

// roleToGo reports whether the role is there, the stream uses it and nothing else that can be seen does; keep says why it is left.
func (a *Account) roleToGo(ctx context.Context, w Where, s Spec) (there bool, keep string, err error) {
	got, err := call(ctx, a, a.IAM.GetRole, &iam.GetRoleInput{RoleName: &s.Role})
	if isMissing(err) {
		return false, "", nil
	}
	if err != nil {
		return false, "", a.explain("look for role "+s.Role, err)
	}
	var others []string
	inline, err := call(ctx, a, a.IAM.ListRolePolicies, &iam.ListRolePoliciesInput{RoleName: &s.Role})
	if err != nil {
		return false, "", a.explain("look at the policies of role "+s.Role, err)
	}
	for _, name := range inline.PolicyNames {
		if name != deliveryPolicy {
			others = append(others, "policy "+name)
		}
	}
	attached, err := call(ctx, a, a.IAM.ListAttachedRolePolicies, &iam.ListAttachedRolePoliciesInput{RoleName: &s.Role})
	if err != nil {
		return false, "", a.explain("look at the policies of role "+s.Role, err)
	}
	for _, p := range attached.AttachedPolicies {
		others = append(others, "policy "+aws.ToString(p.PolicyName))
	}
	own, streams, err := a.roleUsers(ctx, s, roleARN(w, s, got.Role))
	if err != nil {
		return false, "", err
	}
	if others = append(others, streams...); len(others) > 0 {
		return false, fmt.Sprintf("role %s is kept: there is more to it than obdfleet has made: %s", s.Role, strings.Join(others, ", ")), nil
	}
	if !own {
		return false, fmt.Sprintf("role %s is kept: stream %s of region %s does not use it, and one of another region may: give --region, or, if none does: "+
			"aws iam delete-role-policy --role-name %[1]s --policy-name %[4]s; aws iam delete-role --role-name %[1]s", s.Role, s.Stream, w.Region, deliveryPolicy), nil
	}
	return true, "", nil
}

func (a *Account) deleteRole(ctx context.Context, s Spec) error {
	_, err := call(ctx, a, a.IAM.DeleteRolePolicy, &iam.DeleteRolePolicyInput{RoleName: &s.Role, PolicyName: aws.String(deliveryPolicy)})
	if err == nil || isMissing(err) {
		_, err = call(ctx, a, a.IAM.DeleteRole, &iam.DeleteRoleInput{RoleName: &s.Role})
	}
	if err != nil && !isMissing(err) {
		return a.explain("delete role "+s.Role, err)
	}
	a.deleted("role " + s.Role)
	return nil
}

func (a *Account) deleted(what string) {
	if a.DryRun {
		a.say("would have deleted %s", what)
		return
	}
	a.say("deleted %s", what)
}

// bucketToGo looks into the bucket; the answer is how it stands in the plan, or empty if there is none.
func (a *Account) bucketToGo(ctx context.Context, w Where, s Spec, objects bool) (string, error) {
	page, err := call(ctx, a, a.S3.ListObjectVersions, &s3.ListObjectVersionsInput{Bucket: &s.Bucket})
	switch {
	case isMissing(err):
		return "", nil
	case err != nil:
		return "", a.explain("look into bucket "+s.Bucket, err)
	}
	n := len(page.Versions) + len(page.DeleteMarkers)
	line := "bucket " + w.BucketARN(s.Bucket)
	switch {
	case n == 0:
		return line + ", which is empty", nil
	case !objects:
		return "", fmt.Errorf("bucket %s is not empty: add --delete-objects to delete all that the fleet has delivered, or leave --delete-bucket away", s.Bucket)
	case aws.ToBool(page.IsTruncated):
		return fmt.Sprintf("%s with all that the fleet has delivered: more than %d objects", line, n), nil
	}
	return fmt.Sprintf("%s with all that the fleet has delivered: %d objects", line, n), nil
}

// deleteBucket empties and deletes it, page by page: the first page is a new one each time.
func (a *Account) deleteBucket(ctx context.Context, s Spec, objects bool) error {
	for gone := 0; objects; {
		page, err := call(ctx, a, a.S3.ListObjectVersions, &s3.ListObjectVersionsInput{Bucket: &s.Bucket})
		if err != nil {
			return a.explain("look into bucket "+s.Bucket, err)
		}
		var ids []s3types.ObjectIdentifier
		for _, v := range page.Versions {
			ids = append(ids, s3types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		for _, m := range page.DeleteMarkers {
			ids = append(ids, s3types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
		}
		if len(ids) == 0 {
			break
		}
		answer, err := call(ctx, a, a.S3.DeleteObjects, &s3.DeleteObjectsInput{Bucket: &s.Bucket, Delete: &s3types.Delete{Objects: ids, Quiet: aws.Bool(true)}})
		if err != nil {
			return a.explain("delete the objects of bucket "+s.Bucket, err)
		}
		if len(answer.Errors) > 0 {
			e := answer.Errors[0]
			return cli.Failure{Err: fmt.Errorf("delete the objects of bucket %s: %d could not be: %s: %s: %s", s.Bucket, len(answer.Errors), aws.ToString(e.Key), aws.ToString(e.Code), aws.ToString(e.Message))}
		}
		if a.DryRun {
			break // they are still there
		}
		gone += len(ids)
		a.say("deleted %d objects", gone)
	}
	_, err := call(ctx, a, a.S3.DeleteBucket, &s3.DeleteBucketInput{Bucket: &s.Bucket})
	if code(err) == "BucketNotEmpty" {
		return cli.Failure{Err: fmt.Errorf("bucket %s is not empty: something was put into it meanwhile: run it again", s.Bucket)}
	}
	if err != nil && !isMissing(err) {
		return a.explain("delete bucket "+s.Bucket, err)
	}
	a.deleted("bucket " + s.Bucket)
	return nil
}
