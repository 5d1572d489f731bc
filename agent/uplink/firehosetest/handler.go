package firehosetest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"obdagent/agent/uplink"
)

// maxBody bounds what is read of a request: base64 of the largest call, and room for its JSON.
const maxBody = uplink.MaxCallBytes*4/3 + uplink.MaxEntries*64 + 1<<20

// target is how requests name their operation: awsJson1.1, service name and API version.
const target = "Firehose_20150804."

// An apiError is a refusal in the words of AWS.
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func refuse(code, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

// errCut asks for the connection to be cut without an answer.
var errCut = errors.New("cut")

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	faults := s.faults
	s.counters.Calls++
	s.mu.Unlock()
	// The body is read first: only then does net/http notice that a client has gone.
	body, bodyErr := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if faults.Delay > 0 {
		timer := time.NewTimer(faults.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	if faults.Down || bodyErr != nil {
		panic(http.ErrAbortHandler) // net/http cuts the connection and logs nothing
	}
	id := uuid.NewString()
	answer, err := s.handle(r, body)
	if errors.Is(err, errCut) {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	h.Set("Date", s.o.Now().UTC().Format(http.TimeFormat))
	h.Set("x-amzn-RequestId", id)
	h.Set("Content-Type", "application/x-amz-json-1.1")
	status := http.StatusOK
	if err != nil {
		var api *apiError
		if !errors.As(err, &api) {
			api = &apiError{http.StatusInternalServerError, "InternalFailure", err.Error()}
		}
		s.mu.Lock()
		s.counters.Refused[api.code]++
		s.mu.Unlock()
		h.Set("x-amzn-ErrorType", api.code)
		status = api.status
		answer = map[string]string{"__type": api.code, "message": api.message}
		s.o.Log.Info("local Firehose refuses", slog.String("operation", r.Header.Get("X-Amz-Target")), slog.String("error", api.Error()))
	}
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err) // only our own types get here
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that has gone is its own trouble
}

// handle checks a request and does it.
func (s *Server) handle(r *http.Request, body []byte) (any, error) {
	if r.Method != http.MethodPost || r.URL.Path != "/" {
		return nil, &apiError{http.StatusNotFound, "UnknownOperationException", "only POST / is served"}
	}
	if len(body) > maxBody {
		return nil, &apiError{http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "the request is too large"}
	}
	if ct := r.Header.Get("Content-Type"); ct != "application/x-amz-json-1.1" {
		return nil, refuse("UnknownOperationException", "content type %q is not application/x-amz-json-1.1", ct)
	}
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), target)
	if !ok {
		return nil, refuse("UnknownOperationException", "X-Amz-Target %q", r.Header.Get("X-Amz-Target"))
	}
	if err := s.checkSignature(r, body); err != nil {
		return nil, err
	}
	switch operation {
	case "PutRecordBatch":
		return s.putRecordBatch(body)
	case "PutRecord":
		return s.putRecord(body)
	case "DescribeDeliveryStream":
		return s.describe(body)
	case "CreateDeliveryStream":
		return s.create(body)
	case "DeleteDeliveryStream":
		return s.remove(body)
	case "ListDeliveryStreams":
		return s.list(body)
	}
	return nil, refuse("UnknownOperationException", "operation %q", operation)
}

type record struct{ Data *string }

// decode checks one record's data. path is where it stands in the request, as AWS names it.
func (r record) decode(path string) ([]byte, error) {
	if r.Data == nil {
		return nil, refuse("ValidationException", "1 validation error detected: Value null at '%s.data' failed to satisfy constraint: Member must not be null", path)
	}
	data, err := base64.StdEncoding.Strict().DecodeString(*r.Data)
	if err != nil {
		return nil, refuse("SerializationException", "%s.data is not base64: %v", path, err)
	}
	if len(data) > uplink.MaxEntryBytes {
		return nil, refuse("ValidationException", "1 validation error detected: Value at '%s.data' failed to satisfy constraint: Member must have length less than or equal to %d", path, uplink.MaxEntryBytes)
	}
	return data, nil
}

func parse(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return refuse("SerializationException", "%v", err)
	}
	return nil
}

// find checks a stream's name and looks it up. The lock is held.
func (s *Server) find(name string) (*stream, error) {
	if uplink.CheckStream(name) != nil {
		return nil, refuse("ValidationException", "1 validation error detected: Value '%s' at 'deliveryStreamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+ and have length between 1 and 64", name)
	}
	st := s.streams[name]
	if st == nil {
		return nil, refuse("ResourceNotFoundException", "Firehose %s under account 123456789012 not found.", name)
	}
	return st, nil
}

type putResult struct {
	RecordID     string `json:"RecordId,omitempty"`
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

func (s *Server) putRecordBatch(body []byte) (any, error) {
	var in struct {
		DeliveryStreamName string
		Records            []record
	}
	if err := parse(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.Batches++
	st, err := s.find(in.DeliveryStreamName)
	if err != nil {
		return nil, err
	}
	if n := len(in.Records); n < 1 || n > uplink.MaxEntries {
		return nil, refuse("ValidationException", "1 validation error detected: Value at 'records' failed to satisfy constraint: Member must have length between 1 and %d, it has %d", uplink.MaxEntries, n)
	}
	entries := make([][]byte, len(in.Records))
	size := 0
	for i, r := range in.Records {
		if entries[i], err = r.decode(fmt.Sprintf("records.%d.member", i+1)); err != nil {
			return nil, err
		}
		size += len(entries[i])
	}
	if size > uplink.MaxCallBytes {
		return nil, refuse("InvalidArgumentException", "Records size exceeds 4 MB limit")
	}

	if len(st.pending)+size > maxPending+st.Size {
		return nil, &apiError{http.StatusInternalServerError, "ServiceUnavailableException", "objects cannot be delivered: " + s.counters.LastError}
	}
	v := s.verdict(entries)
	if v.CutBefore {
		return nil, errCut
	}
	if v.Code != "" {
		e := &apiError{v.Status, v.Code, v.Message}
		if e.status == 0 {
			e.status = http.StatusBadRequest
		}
		return nil, e
	}
	out := struct {
		Encrypted        bool
		FailedPutCount   int
		RequestResponses []putResult
	}{RequestResponses: make([]putResult, len(entries))}
	for i, data := range entries {
		if code := v.Fail[i]; code != "" {
			out.RequestResponses[i] = putResult{ErrorCode: code, ErrorMessage: failMessages[code]}
			out.FailedPutCount++
			s.counters.Failed++
			continue
		}
		s.take(st, data)
		out.RequestResponses[i].RecordID = s.recordID()
	}
	s.o.Log.Debug("local Firehose takes", slog.Int("records", len(entries)-out.FailedPutCount), slog.Int("failed", out.FailedPutCount), slog.Int("bytes", size))
	if v.CutAfter {
		return nil, errCut
	}
	return out, nil
}

func (s *Server) putRecord(body []byte) (any, error) {
	var in struct {
		DeliveryStreamName string
		Record             record
	}
	if err := parse(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.find(in.DeliveryStreamName)
	if err != nil {
		return nil, err
	}
	data, err := in.Record.decode("record")
	if err != nil {
		return nil, err
	}
	s.take(st, data)
	return struct {
		Encrypted bool
		RecordID  string `json:"RecordId"`
	}{RecordID: s.recordID()}, nil
}

// recordID returns an id as long as those in the examples of the API reference. The lock is held.
func (s *Server) recordID() string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	id := make([]byte, 224)
	for i := 0; i < len(id); {
		for x, n := s.rng.Uint64(), 0; n < 10 && i < len(id); n++ {
			id[i] = letters[x&63]
			x >>= 6
			i++
		}
	}
	return string(id)
}

func (s *Server) describe(body []byte) (any, error) {
	var in struct{ DeliveryStreamName string }
	if err := parse(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.find(in.DeliveryStreamName)
	if err != nil {
		return nil, err
	}
	destination := map[string]any{
		"BucketARN":         "arn:aws:s3:::" + st.Bucket,
		"RoleARN":           "arn:aws:iam::123456789012:role/firehoseDeliveryRole",
		"BufferingHints":    map[string]int{"SizeInMBs": max(1, st.Size>>20), "IntervalInSeconds": int(st.Interval / time.Second)},
		"CompressionFormat": "UNCOMPRESSED",
	}
	return map[string]any{"DeliveryStreamDescription": map[string]any{
		"DeliveryStreamName":   st.Name,
		"DeliveryStreamARN":    s.arn(st.Name),
		"DeliveryStreamStatus": "ACTIVE",
		"DeliveryStreamType":   "DirectPut",
		"VersionId":            "1",
		"CreateTimestamp":      float64(st.created.UnixMilli()) / 1000,
		"HasMoreDestinations":  false,
		"Destinations":         []any{map[string]any{"DestinationId": "destinationId-000000000001", "ExtendedS3DestinationDescription": destination, "S3DestinationDescription": destination}},
	}}, nil
}

func (s *Server) arn(name string) string {
	region := s.o.Region
	if region == "" {
		region = "us-east-1"
	}
	return "arn:aws:firehose:" + region + ":123456789012:deliverystream/" + name
}

func (s *Server) create(body []byte) (any, error) {
	type destination struct {
		BucketARN, RoleARN string
		BufferingHints     struct{ SizeInMBs, IntervalInSeconds *int }
	}
	var in struct {
		DeliveryStreamName                 string
		DeliveryStreamType                 string
		S3DestinationConfiguration         *destination
		ExtendedS3DestinationConfiguration *destination
	}
	if err := parse(body, &in); err != nil {
		return nil, err
	}
	d := in.ExtendedS3DestinationConfiguration
	if d == nil {
		d = in.S3DestinationConfiguration
	}
	if d == nil {
		return nil, refuse("InvalidArgumentException", "Exactly one destination configuration is supported for a Firehose")
	}
	bucket, ok := strings.CutPrefix(d.BucketARN, "arn:aws:s3:::")
	if !ok || bucket == "" || strings.ContainsAny(bucket, "/\\") || strings.HasPrefix(bucket, ".") {
		return nil, refuse("InvalidArgumentException", "BucketARN %q", d.BucketARN)
	}
	if !strings.HasPrefix(d.RoleARN, "arn:aws:iam::") {
		return nil, refuse("ValidationException", "RoleARN %q", d.RoleARN)
	}
	st := Stream{Name: in.DeliveryStreamName, Bucket: bucket}
	if mb := d.BufferingHints.SizeInMBs; mb != nil {
		if *mb < 1 || *mb > 128 {
			return nil, refuse("ValidationException", "SizeInMBs %d is not 1 to 128", *mb)
		}
		st.Size = *mb << 20
	}
	if sec := d.BufferingHints.IntervalInSeconds; sec != nil {
		if *sec < 0 || *sec > 900 {
			return nil, refuse("ValidationException", "IntervalInSeconds %d is not 0 to 900", *sec)
		}
		st.Interval = max(time.Duration(*sec)*time.Second, time.Millisecond)
	}
	if uplink.CheckStream(st.Name) != nil {
		return nil, refuse("ValidationException", "deliveryStreamName %q", st.Name)
	}
	if err := s.CreateStream(st); err != nil {
		return nil, refuse("ResourceInUseException", "Firehose %s under accountId 123456789012 already exists", st.Name)
	}
	return map[string]string{"DeliveryStreamARN": s.arn(st.Name)}, nil
}

func (s *Server) remove(body []byte) (any, error) {
	var in struct{ DeliveryStreamName string }
	if err := parse(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.find(in.DeliveryStreamName)
	if err != nil {
		return nil, err
	}
	delete(s.streams, st.Name)
	return struct{}{}, nil
}

func (s *Server) list(body []byte) (any, error) {
	var in struct {
		Limit                            *int
		ExclusiveStartDeliveryStreamName string
	}
	if err := parse(body, &in); err != nil {
		return nil, err
	}
	limit := 10
	if in.Limit != nil {
		limit = *in.Limit
	}
	if limit < 1 || limit > 10000 {
		return nil, refuse("ValidationException", "limit %d is not 1 to 10000", limit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names := []string{}
	for name := range s.streams {
		if name > in.ExclusiveStartDeliveryStreamName {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	more := len(names) > limit
	return map[string]any{"DeliveryStreamNames": names[:min(limit, len(names))], "HasMoreDeliveryStreams": more}, nil
}
