package cloud

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"

	"obdagent/cmd/internal/cli"
)

// How long things take in AWS: IAM tells all its regions of a new role within seconds, now and then within a minute; a stream is
// ACTIVE within one or two.
const (
	roleWait            = 2 * time.Minute
	pollFirst, pollMost = time.Second, 10 * time.Second
)

// DefaultWait is how long Up waits for a stream to be ACTIVE, and Down for one to be gone.
const DefaultWait = 10 * time.Minute

// patience spaces the calls of a wait, and ends it.
type patience struct {
	*Account
	left, next time.Duration
}

func (a *Account) patience(limit time.Duration) *patience {
	return &patience{a, limit, pollFirst}
}

// again waits before the next try, and reports whether there is one.
func (p *patience) again(ctx context.Context) (bool, error) {
	if p.left <= 0 {
		return false, nil
	}
	d := min(p.next, p.left)
	p.left, p.next = p.left-d, min(2*p.next, pollMost)
	return true, p.sleep(ctx, d)
}

// describe returns a stream; nil if there is none.
func (a *Account) describe(ctx context.Context, name string) (*types.DeliveryStreamDescription, error) {
	got, err := call(ctx, a, a.Firehose.DescribeDeliveryStream, &firehose.DescribeDeliveryStreamInput{DeliveryStreamName: &name})
	switch {
	case isMissing(err):
		return nil, nil
	case err != nil:
		return nil, a.explain("look at stream "+name, err)
	case got.DeliveryStreamDescription == nil:
		return nil, cli.Failure{Err: fmt.Errorf("look at stream %s: the answer describes none: check --endpoint", name)}
	}
	return got.DeliveryStreamDescription, nil
}

func (u *up) stream(ctx context.Context) error {
	what := "stream " + u.Stream
	d, err := u.describe(ctx, u.Stream)
	if err != nil {
		return err
	}
	if d != nil && d.DeliveryStreamStatus == types.DeliveryStreamStatusDeleting && !u.look && !u.DryRun {
		u.say("%s is being deleted: waiting until it is gone", what)
		if err := u.awaitGone(ctx, u.Stream, u.wait); err != nil {
			return err
		}
		d = nil
	}
	if d == nil {
		if u.look {
			u.lacks(what)
			return nil
		}
		if err := u.createStream(ctx); err != nil || u.DryRun {
			return err
		}
		return u.awaitActive(ctx)
	}
	u.StreamARN, u.Status = aws.ToString(d.DeliveryStreamARN), string(d.DeliveryStreamStatus)
	if u.look {
		if u.Status != string(types.DeliveryStreamStatusActive) {
			u.Drift = append(u.Drift, Drift{What: what, Property: "status", Is: u.Status + failure(d), Want: string(types.DeliveryStreamStatusActive)})
		}
		return u.compareStream(ctx, d)
	}
	u.say("%s is there", what)
	if err := u.compareStream(ctx, d); err != nil || u.DryRun {
		return err
	}
	return u.awaitActive(ctx)
}

func (u *up) hints() *types.BufferingHints {
	return &types.BufferingHints{SizeInMBs: aws.Int32(u.SizeMB), IntervalInSeconds: aws.Int32(u.IntervalS)}
}

func (u *up) createStream(ctx context.Context) error {
	in := &firehose.CreateDeliveryStreamInput{
		DeliveryStreamName: &u.Stream, DeliveryStreamType: types.DeliveryStreamTypeDirectPut,
		ExtendedS3DestinationConfiguration: &types.ExtendedS3DestinationConfiguration{
			BucketARN: aws.String(u.w.BucketARN(u.Bucket)), RoleARN: aws.String(u.w.RoleARN(u.Role)),
			Prefix: aws.String(Prefix), ErrorOutputPrefix: aws.String(ErrorPrefix),
			BufferingHints: u.hints(), CompressionFormat: types.CompressionFormatUncompressed, FileExtension: extensionOf(u.Spec),
		},
	}
	ours := true
	err := u.onceRoleIsKnown(ctx, "make stream "+u.Stream, func() error {
		_, err := call(ctx, u.Account, u.Firehose.CreateDeliveryStream, in)
		if code(err) == "ResourceInUseException" {
			ours = false // made by somebody else since we looked: it is waited for as ours would be
			return nil
		}
		return err
	})
	if err == nil && ours {
		u.did("made stream %s", u.StreamARN)
	}
	return err
}

// onceRoleIsKnown makes a call that gives the stream its role, again and again as long as it is refused for a role that may only be too
// new.
func (u *up) onceRoleIsKnown(ctx context.Context, doing string, try func() error) error {
	told := false
	for p := u.patience(roleWait); ; {
		err := try()
		switch {
		case err == nil:
			return nil
		case !roleUnknown(err):
			return u.explain(doing, err)
		}
		if !told {
			u.say("Firehose does not know role %s yet (%s): IAM takes up to a minute to tell it: trying again", u.Role, message(err))
			told = true
		}
		more, waited := p.again(ctx)
		if waited != nil {
			return u.explain(doing, waited)
		}
		if !more {
			return cli.Failure{Err: fmt.Errorf("%s: after %s Firehose still cannot assume role %s: %s: see that its trust names firehose.amazonaws.com (obdfleet cloud status), then run it again", doing, roleWait, u.Role, message(err))}
		}
	}
}

// roleUnknown reports whether a stream was refused for a role that may only be too new: Firehose has an InvalidArgumentException
// for many things, and tells this one in words (hashicorp/terraform pull request 4407, terraform-provider-aws pull request 5541).
func roleUnknown(err error) bool {
	if code(err) != "InvalidArgumentException" {
		return false
	}
	said := strings.ToLower(message(err))
	return strings.Contains(said, "unable to assume role") || strings.Contains(said, "verify that the iam role has access")
}

func (u *up) awaitActive(ctx context.Context) error {
	told := false
	for p := u.patience(u.wait); ; {
		d, err := u.describe(ctx, u.Stream)
		if err != nil {
			return err
		}
		if d != nil {
			u.StreamARN, u.Status = aws.ToString(d.DeliveryStreamARN), string(d.DeliveryStreamStatus)
			switch d.DeliveryStreamStatus {
			case types.DeliveryStreamStatusActive:
				u.say("stream %s is ACTIVE", u.Stream)
				return nil
			case types.DeliveryStreamStatusCreatingFailed:
				return cli.Failure{Err: fmt.Errorf("stream %s could not be made%s: put that right, delete it with obdfleet cloud down, and run this again", u.Stream, failure(d))}
			case types.DeliveryStreamStatusDeleting, types.DeliveryStreamStatusDeletingFailed:
				return cli.Failure{Err: fmt.Errorf("stream %s is %s: somebody deletes it%s", u.Stream, u.Status, failure(d))}
			}
		}
		if !told {
			u.say("waiting until stream %s is ACTIVE", u.Stream)
			told = true
		}
		more, waited := p.again(ctx)
		if waited != nil {
			return u.explain("wait for stream "+u.Stream, waited)
		}
		if !more {
			return cli.Failure{Err: fmt.Errorf("stream %s is not ACTIVE after %s: run it again to go on waiting, or see obdfleet cloud status", u.Stream, u.wait)}
		}
	}
}

// failure is why AWS could not make or delete a stream, where it tells.
func failure(d *types.DeliveryStreamDescription) string {
	if d.FailureDescription == nil {
		return ""
	}
	return fmt.Sprintf(" (%s: %s)", d.FailureDescription.Type, aws.ToString(d.FailureDescription.Details))
}

// compareStream names what of a stream is not as it should be, and in a repair sets right what can be.
func (u *up) compareStream(ctx context.Context, d *types.DeliveryStreamDescription) error {
	what := "stream " + u.Stream
	fixed := func(property, is, want string) {
		if is != want {
			u.Drift = append(u.Drift, Drift{What: what, Property: property, Is: is, Want: want, Advice: "only a new stream can have it: obdfleet cloud down, then up"})
		}
	}
	fixed("type", string(d.DeliveryStreamType), string(types.DeliveryStreamTypeDirectPut))
	if len(d.Destinations) != 1 || d.Destinations[0].ExtendedS3DestinationDescription == nil {
		fixed("destination", destinationKind(d), "S3")
		return nil
	}
	e := d.Destinations[0].ExtendedS3DestinationDescription
	hints := "not known"
	if e.BufferingHints != nil {
		hints = buffering(aws.ToInt32(e.BufferingHints.SizeInMBs), aws.ToInt32(e.BufferingHints.IntervalInSeconds))
	}
	compression := string(e.CompressionFormat)
	if compression == "" {
		compression = string(types.CompressionFormatUncompressed)
	}
	var drift []Drift
	for _, p := range []struct{ property, is, want string }{
		{"bucket", aws.ToString(e.BucketARN), u.w.BucketARN(u.Bucket)},
		{"role", aws.ToString(e.RoleARN), u.w.RoleARN(u.Role)},
		{"prefix", aws.ToString(e.Prefix), Prefix},
		{"error prefix", aws.ToString(e.ErrorOutputPrefix), ErrorPrefix},
		{"buffering", hints, buffering(u.SizeMB, u.IntervalS)},
		{"compression", compression, string(types.CompressionFormatUncompressed)},
		{"file extension", strconv.Quote(aws.ToString(e.FileExtension)), strconv.Quote(u.extension())},
	} {
		if p.is != p.want {
			drift = append(drift, Drift{What: what, Property: p.property, Is: p.is, Want: p.want})
		}
	}
	if len(drift) == 0 || u.look || !u.Repair {
		u.Drift = append(u.Drift, drift...)
		return nil
	}
	in := &firehose.UpdateDestinationInput{
		DeliveryStreamName: &u.Stream, CurrentDeliveryStreamVersionId: d.VersionId, DestinationId: d.Destinations[0].DestinationId,
		ExtendedS3DestinationUpdate: &types.ExtendedS3DestinationUpdate{
			BucketARN: aws.String(u.w.BucketARN(u.Bucket)), RoleARN: aws.String(u.w.RoleARN(u.Role)),
			Prefix: aws.String(Prefix), ErrorOutputPrefix: aws.String(ErrorPrefix),
			BufferingHints: u.hints(), CompressionFormat: types.CompressionFormatUncompressed, FileExtension: aws.String(u.extension()),
		},
	}
	// The role may have been made a moment ago.
	err := u.onceRoleIsKnown(ctx, "change "+what, func() error {
		_, err := call(ctx, u.Account, u.Firehose.UpdateDestination, in)
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range drift {
		u.did("set the %s of %s: it was %s", p.Property, what, p.Is)
	}
	return nil
}

// extensionOf is what a new stream is given: none is left out. An update needs the empty text to take one away.
func extensionOf(s Spec) *string {
	if s.extension() == "" {
		return nil
	}
	return aws.String(s.extension())
}

func buffering(mb, seconds int32) string { return fmt.Sprintf("%d MB or %d s", mb, seconds) }

// destinationKind is where a stream delivers to.
func destinationKind(d *types.DeliveryStreamDescription) string {
	if len(d.Destinations) == 0 {
		return "none"
	}
	switch e := d.Destinations[0]; {
	case e.RedshiftDestinationDescription != nil:
		return "Redshift"
	case e.AmazonopensearchserviceDestinationDescription != nil, e.AmazonOpenSearchServerlessDestinationDescription != nil, e.ElasticsearchDestinationDescription != nil:
		return "OpenSearch"
	case e.ExtendedS3DestinationDescription != nil:
		return "S3"
	}
	return "another service"
}
