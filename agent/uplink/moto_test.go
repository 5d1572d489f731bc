package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"obdagent/agent/agenttest"
	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

// A side is one of the two endpoints that are compared.
type side struct {
	url     string
	objects func() []byte // everything delivered, joined in order
}

// What moto and the strict endpoint both do, they do alike: they make a stream, take records, join them with nothing between
// and lay them out by day; they refuse an unknown stream and a taken name with the same errors.
func TestTheStrictEndpointAgreesWithMoto(t *testing.T) {
	t.Parallel()
	motoURL := agenttest.Moto(t)

	keys := credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", secret, "")
	bucket := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: aws.String(motoURL), UsePathStyle: true, Credentials: keys})
	if _, err := bucket.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("sd-vehicle-data")}); err != nil {
		t.Fatal(err)
	}

	var mu sync.Mutex
	delivered := map[string][]byte{}
	strict, err := firehosetest.New(firehosetest.Options{Addr: "127.0.0.1:0", Region: "us-east-1",
		Credentials: []firehosetest.Credentials{{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}},
		Deliver: func(b, key string, object []byte) error {
			mu.Lock()
			defer mu.Unlock()
			delivered[b+"/"+key] = object
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- strict.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	sides := map[string]side{
		"moto": {motoURL, func() (all []byte) {
			pages := s3.NewListObjectsV2Paginator(bucket, &s3.ListObjectsV2Input{Bucket: aws.String("sd-vehicle-data")})
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range page.Contents {
					get, err := bucket.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("sd-vehicle-data"), Key: o.Key})
					if err != nil {
						t.Fatal(err)
					}
					text, err := io.ReadAll(get.Body)
					if err != nil {
						t.Fatal(err)
					}
					_ = get.Body.Close()
					all = append(all, text...)
				}
			}
			return all
		}},
		"strict": {strict.URL(), func() (all []byte) {
			if err := strict.Flush(); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, o := range delivered {
				all = append(all, o...)
			}
			return all
		}},
	}
	answers := map[string][]string{}
	for name, s := range sides {
		var said []string
		client := firehose.New(firehose.Options{Region: "us-east-1", BaseEndpoint: aws.String(s.url), Retryer: aws.NopRetryer{}, Credentials: keys})
		create := &firehose.CreateDeliveryStreamInput{DeliveryStreamName: aws.String("gps-delivery-stream"), DeliveryStreamType: types.DeliveryStreamTypeDirectPut,
			ExtendedS3DestinationConfiguration: &types.ExtendedS3DestinationConfiguration{
				RoleARN: aws.String("arn:aws:iam::123456789012:role/firehoseDeliveryRole"), BucketARN: aws.String("arn:aws:s3:::sd-vehicle-data"),
				BufferingHints: &types.BufferingHints{SizeInMBs: aws.Int32(1), IntervalInSeconds: aws.Int32(60)}}}
		created, err := client.CreateDeliveryStream(t.Context(), create)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		said = append(said, aws.ToString(created.DeliveryStreamARN))
		_, err = client.CreateDeliveryStream(t.Context(), create)
		_, inUse := errors.AsType[*types.ResourceInUseException](err)
		said = append(said, fmt.Sprint("a taken name is refused as such: ", inUse))

		described, err := client.DescribeDeliveryStream(t.Context(), &firehose.DescribeDeliveryStreamInput{DeliveryStreamName: aws.String("gps-delivery-stream")})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		d := described.DeliveryStreamDescription
		e := d.Destinations[0].ExtendedS3DestinationDescription
		said = append(said, fmt.Sprint(d.DeliveryStreamStatus, d.DeliveryStreamType, aws.ToString(e.BucketARN), aws.ToString(e.RoleARN), aws.ToInt32(e.BufferingHints.SizeInMBs), aws.ToInt32(e.BufferingHints.IntervalInSeconds)))

		listed, err := client.ListDeliveryStreams(t.Context(), &firehose.ListDeliveryStreamsInput{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		said = append(said, fmt.Sprint(listed.DeliveryStreamNames, aws.ToBool(listed.HasMoreDeliveryStreams)))

		f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "other", Region: "us-east-1", Endpoint: s.url, Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Put(t.Context(), [][]byte{[]byte("x\n")})
		ce, _ := errors.AsType[*uplink.CallError](err)
		if ce == nil {
			t.Fatalf("%s: an unknown stream: %v", name, err)
		}
		said = append(said, fmt.Sprint(ce.Kind, ce.Code, strings.ReplaceAll(ce.Advice, s.url, "")))

		// The whole way: 1,203 records through the uplink.
		f, err = uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "gps-delivery-stream", Region: "us-east-1", Endpoint: s.url, Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}})
		if err != nil {
			t.Fatal(err)
		}
		log := newFakeLog()
		log.appendN(1203)
		_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: f, Pack: true})
		deadline := time.NewTimer(3 * time.Minute)
		poll := time.NewTicker(10 * time.Millisecond)
		for late := false; !late && len(log.open()) > 0; {
			select {
			case <-poll.C:
			case <-deadline.C:
				late = true
			}
		}
		poll.Stop()
		deadline.Stop()
		stop()
		f.CloseIdle()
		got := lines(string(s.objects()))
		slices.Sort(got)
		want := records(1, 1203)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s delivered: %s", name, diff)
		}
		answers[name] = said
	}
	if diff := cmp.Diff(answers["moto"], answers["strict"]); diff != "" {
		t.Errorf("moto and the strict endpoint differ: %s", diff)
	}
}
