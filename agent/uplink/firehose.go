package uplink

import (
	"context"
	"fmt"
)

// firehoseTarget is the API version and the one operation that is needed.
const firehoseTarget = "Firehose_20150804.PutRecordBatch"

// Firehose is a Sink that sends entries to an Amazon Data Firehose stream with PutRecordBatch. One Put is one upload.
type Firehose struct {
	*service
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
	return &Firehose{service: s}, nil
}

// Put sends the entries in one PutRecordBatch.
func (f *Firehose) Put(ctx context.Context, entries [][]byte) ([]Failure, error) {
	type record struct{ Data []byte }
	in := struct {
		DeliveryStreamName string
		Records            []record
	}{f.o.Stream, make([]record, len(entries))}
	size := 0
	for i, e := range entries {
		in.Records[i].Data = e
		size += len(e)
	}
	ctx, cancel := context.WithTimeout(ctx, callDeadline(size))
	defer cancel()
	var out struct {
		RequestResponses []struct {
			ID           string `json:"RecordId"`
			ErrorCode    string
			ErrorMessage string
		}
	}
	if err := f.call(ctx, firehoseTarget, in, &out); err != nil {
		return nil, f.failed(err)
	}
	if len(out.RequestResponses) != len(entries) {
		return nil, &CallError{Kind: KindLink, Advice: fmt.Sprintf("the answer speaks of %d entries, %d were sent: all go again", len(out.RequestResponses), len(entries))}
	}
	var failed []Failure
	for i, r := range out.RequestResponses {
		if r.ErrorCode != "" || r.ID == "" {
			failed = append(failed, Failure{Index: i, Code: r.ErrorCode, Message: r.ErrorMessage})
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
