package uplink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/smithy-go"
)

// What one PutRecords may hold (Amazon Kinesis Data Streams API reference, PutRecords): 500 records, 5 MiB in all, 1 MiB each, partition
// keys included. Calls and entries that are within Firehose's limits are within these too.
const (
	kinesisTarget   = "Kinesis_20131202.PutRecords"
	maxPartitionKey = 256 // characters
	// maxKinesisAnswer is more than 500 results take.
	maxKinesisAnswer = 1 << 20
)

// KinesisOptions says which data stream a Kinesis sink writes to. PartitionKey is needed beside what StreamOptions needs.
type KinesisOptions struct {
	StreamOptions
	// PartitionKey returns the key of the entries of a call, 1 to 256 characters. It decides about the shard, within which the order is kept.
	PartitionKey func() string
}

// Kinesis is a Sink that sends entries to an Amazon Kinesis data stream with PutRecords. One Put is one upload.
//
// It speaks the protocol (awsJson1.1) by itself, with the SDK's credentials and signature: the one call that is needed takes a
// hundred lines, the SDK's client takes megabytes of a device's disk for the forty others.
type Kinesis struct {
	*service
	key    func() string
	url    string
	signer signer
	skew   atomic.Int64 // of the endpoint's clock before the system's, in ns; known after a call was refused for it
}

// NewKinesis makes a Kinesis sink. It sends nothing. ctx bounds reading the credentials' configuration.
func NewKinesis(ctx context.Context, o KinesisOptions) (*Kinesis, error) {
	if err := CheckStream(o.Stream); err != nil {
		return nil, fmt.Errorf("Kinesis sink: %w", err)
	}
	if o.PartitionKey == nil {
		return nil, errors.New("Kinesis sink: PartitionKey is needed")
	}
	if o.Endpoint == "" { // as the SDK reads them (AWS SDKs and Tools reference guide, "Service-specific endpoints")
		if o.Endpoint = os.Getenv("AWS_ENDPOINT_URL_KINESIS"); o.Endpoint == "" {
			o.Endpoint = os.Getenv("AWS_ENDPOINT_URL")
		}
	}
	s, err := newService(ctx, "kinesis", "kinesis:PutRecords", o.StreamOptions)
	if err != nil {
		return nil, fmt.Errorf("Kinesis sink: %w", err)
	}
	k := &Kinesis{service: s, key: o.PartitionKey, url: o.Endpoint, signer: signer{s: s}}
	if k.url == "" {
		k.url = "https://" + s.host()
		if strings.HasPrefix(o.Region, "cn-") {
			k.url += ".cn"
		}
	}
	k.url = strings.TrimSuffix(k.url, "/") + "/"
	return k, nil
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
		FailedRecordCount int
		Records           []struct{ SequenceNumber, ErrorCode, ErrorMessage string }
	}
	if err := k.call(ctx, in, &out); err != nil {
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

// call makes the one request and reads its answer.
func (k *Kinesis) call(ctx context.Context, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("PutRecords: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("PutRecords: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", kinesisTarget)
	r.Header.Set("User-Agent", "obdagent")
	keys, err := k.credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("PutRecords: get identity: %w", err)
	}
	hash := sha256.Sum256(body)
	if err := k.signer.SignHTTP(ctx, keys, r, hex.EncodeToString(hash[:]), "kinesis", k.o.Region, time.Now().Add(time.Duration(k.skew.Load()))); err != nil {
		return fmt.Errorf("PutRecords: signing: %w", err)
	}
	answer, err := k.client.Do(r)
	if err != nil {
		return fmt.Errorf("PutRecords: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxKinesisAnswer))
	if err != nil {
		return fmt.Errorf("PutRecords: reading the answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
			k.skew.Store(int64(time.Until(date)))
		}
		return k.refusal(answer.StatusCode, answer.Header.Get("x-amzn-ErrorType"), text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("PutRecords: the answer is not JSON: %w", err)
	}
	return nil
}

// refusal makes an error of an answer that is none. The code is in the head or the body, with a prefix up to # and, in the
// head, a suffix from : (Smithy, "AWS JSON 1.1 protocol", operation error serialization).
func (k *Kinesis) refusal(status int, code string, body []byte) error {
	var said struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &said) // what is not JSON has neither
	if code == "" {
		code = said.Type
	}
	code, _, _ = strings.Cut(code[strings.LastIndexByte(code, '#')+1:], ":")
	if code == "" {
		code = fmt.Sprintf("HTTP %d", status)
		if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
			code = "ServiceUnavailable"
		}
	}
	return &smithy.GenericAPIError{Code: code, Message: said.Message}
}

// String names the stream.
func (k *Kinesis) String() string {
	s := fmt.Sprintf("Kinesis stream %s in %s", k.o.Stream, k.o.Region)
	if k.o.Endpoint != "" {
		s += " at " + k.o.Endpoint
	}
	return s
}
