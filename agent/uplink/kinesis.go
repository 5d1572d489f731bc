package uplink

import (
	"context"
	"errors"
	"fmt"
)

// What one PutRecords may hold (Amazon Kinesis Data Streams API reference, PutRecords): 500 records, 5 MiB in all, 1 MiB each, partition
// keys included. Calls and entries that are within Firehose's limits are within these too.
const (
	kinesisTarget   = "Kinesis_20131202.PutRecords"
	maxPartitionKey = 256 // characters
)

// KinesisOptions says which data stream a Kinesis sink writes to. PartitionKey is needed beside what StreamOptions needs.
type KinesisOptions struct {
	StreamOptions
	// PartitionKey returns the key of the entries of a call, 1 to 256 characters. It decides about the shard, within which the order is kept.
	PartitionKey func() string
}

// Kinesis is a Sink that sends entries to an Amazon Kinesis data stream with PutRecords. One Put is one upload.
type Kinesis struct {
	*service
	key func() string
}

// NewKinesis makes a Kinesis sink. It sends nothing. ctx bounds reading the credentials' configuration.
func NewKinesis(ctx context.Context, o KinesisOptions) (*Kinesis, error) {
	if err := CheckStream(o.Stream); err != nil {
		return nil, fmt.Errorf("Kinesis sink: %w", err)
	}
	if o.PartitionKey == nil {
		return nil, errors.New("Kinesis sink: PartitionKey is needed")
	}
	s, err := newService(ctx, "kinesis", "kinesis:PutRecords", o.StreamOptions)
	if err != nil {
		return nil, fmt.Errorf("Kinesis sink: %w", err)
	}
	return &Kinesis{service: s, key: o.PartitionKey}, nil
}

// Put sends the entries in one PutRecords.
func (k *Kinesis) Put(ctx context.Context, entries [][]byte) ([]Failure, error) {
	type record struct {
		Data         []byte
		PartitionKey string
	}
	in := struct {
		StreamName string
		Records    []record
	}{StreamName: k.o.Stream, Records: make([]record, len(entries))}
	key := k.key()
	if key == "" || len(key) > maxPartitionKey {
		return nil, &CallError{Kind: KindSetup, Advice: fmt.Sprintf("the partition key %.40q has %d bytes: set vehicle.device_id", key, len(key))}
	}
	size := 0
	for i, e := range entries {
		in.Records[i] = record{e, key}
		size += len(e)
	}
	ctx, cancel := context.WithTimeout(ctx, callDeadline(size))
	defer cancel()
	var out struct {
		Records []struct{ SequenceNumber, ErrorCode, ErrorMessage string }
	}
	if err := k.call(ctx, kinesisTarget, in, &out); err != nil {
		return nil, k.failed(err)
	}
	if len(out.Records) != len(entries) {
		return nil, &CallError{Kind: KindLink, Advice: fmt.Sprintf("the answer speaks of %d entries, %d were sent: all go again", len(out.Records), len(entries))}
	}
	var failed []Failure
	for i, r := range out.Records {
		if r.ErrorCode != "" || r.SequenceNumber == "" {
			failed = append(failed, Failure{Index: i, Code: r.ErrorCode, Message: r.ErrorMessage})
		}
	}
	return failed, nil
}

// String names the stream.
func (k *Kinesis) String() string {
	s := fmt.Sprintf("Kinesis stream %s in %s", k.o.Stream, k.o.Region)
	if k.o.Endpoint != "" {
		s += " at " + k.o.Endpoint
	}
	return s
}
