package uplink

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
)

// Firehose is a Sink that sends entries to an Amazon Data Firehose stream with PutRecordBatch. One Put is one upload: the
// SDK's retries are off.
type Firehose struct {
	*service
	client *firehose.Client
}

// NewFirehose makes a Firehose sink. It sends nothing. ctx bounds reading the credentials' configuration.
func NewFirehose(ctx context.Context, o StreamOptions) (*Firehose, error) {
	if err := CheckStream(o.Stream); err != nil {
		return nil, fmt.Errorf("Firehose sink: %w", err)
	}
	s, err := newService(ctx, "firehose", "firehose:PutRecordBatch", o)
	if err != nil {
		return nil, fmt.Errorf("Firehose sink: %w", err)
	}
	return &Firehose{service: s, client: firehose.NewFromConfig(s.cfg, func(fo *firehose.Options) {
		fo.Retryer = aws.NopRetryer{}
		fo.HTTPClient = s.client
		fo.HTTPSignerV4 = &signer{s: s}
		if o.Endpoint != "" {
			fo.BaseEndpoint = aws.String(o.Endpoint)
		}
	})}, nil
}

// Put sends the entries in one PutRecordBatch.
func (f *Firehose) Put(ctx context.Context, entries [][]byte) ([]Failure, error) {
	size := 0
	records := make([]types.Record, len(entries))
	for i, e := range entries {
		records[i].Data = e
		size += len(e)
	}
	ctx, cancel := context.WithTimeout(ctx, callDeadline(size))
	defer cancel()
	out, err := f.client.PutRecordBatch(ctx, &firehose.PutRecordBatchInput{
		DeliveryStreamName: aws.String(f.o.Stream),
		Records:            records,
	})
	if err != nil {
		return nil, f.failed(err)
	}
	if aws.ToInt32(out.FailedPutCount) == 0 {
		return nil, nil
	}
	if len(out.RequestResponses) != len(entries) {
		return nil, &CallError{Kind: KindLink, Advice: fmt.Sprintf("the answer speaks of %d entries, %d were sent: all go again", len(out.RequestResponses), len(entries))}
	}
	var failed []Failure
	for i, r := range out.RequestResponses {
		if r.ErrorCode != nil || aws.ToString(r.RecordId) == "" {
			failed = append(failed, Failure{Index: i, Code: aws.ToString(r.ErrorCode), Message: aws.ToString(r.ErrorMessage)})
		}
	}
	return failed, nil
}

// Billed returns what Firehose charges for a record of n bytes.
func (f *Firehose) Billed(n int) uint64 {
	return uint64((n + BillingStep - 1) / BillingStep * BillingStep)
}

// String names the stream.
func (f *Firehose) String() string {
	s := fmt.Sprintf("Firehose stream %s in %s", f.o.Stream, f.o.Region)
	if f.o.Endpoint != "" {
		s += " at " + f.o.Endpoint
	}
	return s
}
