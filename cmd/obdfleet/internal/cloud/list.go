package cloud

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A StreamLine is what a list tells of a stream.
type StreamLine struct {
	Name   string `json:"name"`
	Status string `json:"status"` // "-": these credentials may not look at it
	To     string `json:"to"`     // s3://BUCKET, or the kind of its destination
	ARN    string `json:"arn"`
}

// A BucketLine is what a list tells of a bucket.
type BucketLine struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	ARN     string    `json:"arn"`
}

// Listing is the streams of the region and the buckets of the account.
type Listing struct {
	Account string       `json:"account"`
	Region  string       `json:"region"`
	Streams []StreamLine `json:"streams"`
	Buckets []BucketLine `json:"buckets"`
}

// List lists the streams of the region and the buckets of the account.
func (a *Account) List(ctx context.Context) (Listing, error) {
	w, err := a.Identify(ctx)
	if err != nil {
		return Listing{}, err
	}
	l := Listing{Account: w.Account, Region: w.Region, Streams: []StreamLine{}, Buckets: []BucketLine{}}
	names, err := a.streamNames(ctx)
	if err != nil {
		return l, err
	}
	for _, name := range names {
		d, err := a.describe(ctx, name)
		if _, foreign := errors.AsType[denied](err); foreign { // the manager of one stream may list all and look at his own
			l.Streams = append(l.Streams, StreamLine{Name: name, Status: "-", To: "-", ARN: w.StreamARN(name)})
			continue
		}
		if err != nil {
			return l, err
		}
		if d == nil {
			continue // deleted since
		}
		to := destinationKind(d)
		if len(d.Destinations) > 0 && d.Destinations[0].ExtendedS3DestinationDescription != nil {
			bucket := aws.ToString(d.Destinations[0].ExtendedS3DestinationDescription.BucketARN)
			to = "s3://" + bucket[strings.LastIndexByte(bucket, ':')+1:]
		}
		l.Streams = append(l.Streams, StreamLine{Name: name, Status: string(d.DeliveryStreamStatus), To: to, ARN: aws.ToString(d.DeliveryStreamARN)})
	}
	for in := (&s3.ListBucketsInput{MaxBuckets: aws.Int32(1000)}); ; {
		page, err := call(ctx, a, a.S3.ListBuckets, in)
		if err != nil {
			return l, a.explain("list the buckets", err)
		}
		for _, b := range page.Buckets {
			l.Buckets = append(l.Buckets, BucketLine{Name: aws.ToString(b.Name), Created: aws.ToTime(b.CreationDate), ARN: w.BucketARN(aws.ToString(b.Name))})
		}
		if aws.ToString(page.ContinuationToken) == "" {
			return l, nil
		}
		in.ContinuationToken = page.ContinuationToken
	}
}

// streamNames lists the delivery streams of the region, page by page.
func (a *Account) streamNames(ctx context.Context) (names []string, err error) {
	in := &firehose.ListDeliveryStreamsInput{Limit: aws.Int32(50)}
	for {
		page, err := call(ctx, a, a.Firehose.ListDeliveryStreams, in)
		if err != nil {
			return nil, a.explain("list the streams", err)
		}
		names = append(names, page.DeliveryStreamNames...)
		if !aws.ToBool(page.HasMoreDeliveryStreams) || len(page.DeliveryStreamNames) == 0 {
			return names, nil
		}
		in.ExclusiveStartDeliveryStreamName = aws.String(names[len(names)-1])
	}
}

// Arrivals is what has arrived in a day's folder.
type Arrivals struct {
	Day     string    `json:"day"` // as in the objects' keys: 2026/11/23, UTC
	Objects int       `json:"objects"`
	Bytes   int64     `json:"bytes"`
	Newest  time.Time `json:"newest"`
	Errors  int       `json:"errors"` // objects under the error prefix, whatever their day
}

// maxLooked bounds how many objects are counted: a glance must not cost a listing of millions.
const maxLooked = 10_000

// Arrivals counts the objects of now's day.
func (a *Account) Arrivals(ctx context.Context, s Spec, now time.Time) (Arrivals, error) {
	got := Arrivals{Day: now.UTC().Format("2006/01/02")}
	err := a.eachObject(ctx, s.Bucket, got.Day+"/", func(size int64, modified time.Time) {
		got.Objects, got.Bytes = got.Objects+1, got.Bytes+size
		if modified.After(got.Newest) {
			got.Newest = modified
		}
	})
	if err == nil {
		err = a.eachObject(ctx, s.Bucket, ErrorFolder, func(int64, time.Time) { got.Errors++ })
	}
	return got, err
}

func (a *Account) eachObject(ctx context.Context, bucket, prefix string, do func(size int64, modified time.Time)) error {
	in := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix}
	for n := 0; n < maxLooked; {
		page, err := call(ctx, a, a.S3.ListObjectsV2, in)
		if err != nil {
			return a.explain(fmt.Sprintf("look into s3://%s/%s", bucket, prefix), err)
		}
		for _, o := range page.Contents {
			do(aws.ToInt64(o.Size), aws.ToTime(o.LastModified))
		}
		n += len(page.Contents)
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		in.ContinuationToken = page.NextContinuationToken
	}
	return nil
}
