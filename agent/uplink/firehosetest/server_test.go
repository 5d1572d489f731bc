package firehosetest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/smithy-go"

	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

var today = time.Date(2026, 11, 23, 8, 15, 30, 0, time.UTC)

func atToday() time.Time { return today }

// auth is of the right form; without Options.Credentials nobody checks more.
const auth = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/us-east-1/firehose/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=0000000000000000000000000000000000000000000000000000000000000000"

// request makes one that is right but for what change does to it.
func request(operation, body string, change func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Firehose_20150804."+operation)
	r.Header.Set("X-Amz-Date", "20261123T081530Z")
	r.Header.Set("Authorization", auth)
	if change != nil {
		change(r)
	}
	return r
}

func newServer(t testing.TB, o firehosetest.Options) *firehosetest.Server {
	t.Helper()
	o.Now = atToday
	if o.Streams == nil {
		o.Streams = []firehosetest.Stream{{Name: "gps-delivery-stream", Bucket: "sd-vehicle-data"}}
	}
	s, err := firehosetest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// batch is a PutRecordBatch of records with the given sizes.
func batch(sizes ...int) string {
	var records []string
	for _, n := range sizes {
		records = append(records, `{"Data":"`+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), n))+`"}`)
	}
	return `{"DeliveryStreamName":"gps-delivery-stream","Records":[` + strings.Join(records, ",") + `]}`
}

func many(n, size int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = size
	}
	return out
}

func TestEachRequestThatAWSRefusesIsRefusedInItsWords(t *testing.T) {
	t.Parallel()
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, tc := range []struct {
		name, operation, body string
		change                func(*http.Request)
		code                  string // empty: accepted
	}{
		{"500 records", "PutRecordBatch", batch(many(500, 100)...), nil, ""},
		{"501 records", "PutRecordBatch", batch(many(501, 100)...), nil, "ValidationException"},
		{"no record", "PutRecordBatch", batch(), nil, "ValidationException"},
		{"a record of 1,000 KiB", "PutRecordBatch", batch(1_024_000), nil, ""},
		{"a record of 1,000 KiB and a byte", "PutRecordBatch", batch(1_024_001), nil, "ValidationException"},
		{"4 MiB", "PutRecordBatch", batch(1_000_000, 1_000_000, 1_000_000, 1_000_000, 194_304), nil, ""},
		{"4 MiB and a byte", "PutRecordBatch", batch(1_000_000, 1_000_000, 1_000_000, 1_000_000, 194_305), nil, "InvalidArgumentException"},
		{"four records of exactly 1,000 KiB", "PutRecordBatch", batch(many(4, 1_024_000)...), nil, ""},
		{"data that is not base64", "PutRecordBatch", `{"DeliveryStreamName":"gps-delivery-stream","Records":[{"Data":"a*b="}]}`, nil, "SerializationException"},
		{"data without padding", "PutRecordBatch", `{"DeliveryStreamName":"gps-delivery-stream","Records":[{"Data":"YQ"}]}`, nil, "SerializationException"},
		{"a record without data", "PutRecordBatch", `{"DeliveryStreamName":"gps-delivery-stream","Records":[{}]}`, nil, "ValidationException"},
		{"a body that is not JSON", "PutRecordBatch", `{`, nil, "SerializationException"},
		{"a stream that is not there", "PutRecordBatch", strings.Replace(batch(1), "gps-", "gpx-", 1), nil, "ResourceNotFoundException"},
		{"a stream name with a space", "PutRecordBatch", strings.Replace(batch(1), "gps-", "gps ", 1), nil, "ValidationException"},
		{"a stream name of 65 characters", "PutRecordBatch", strings.Replace(batch(1), "gps-delivery-stream", strings.Repeat("s", 65), 1), nil, "ValidationException"},
		{"no stream name", "PutRecordBatch", `{"Records":[{"Data":"YQ=="}]}`, nil, "ValidationException"},
		{"one record", "PutRecord", `{"DeliveryStreamName":"gps-delivery-stream","Record":{"Data":"YQ=="}}`, nil, ""},
		{"one record without data", "PutRecord", `{"DeliveryStreamName":"gps-delivery-stream","Record":{}}`, nil, "ValidationException"},
		{"an operation that Firehose has not", "PutRecords", batch(1), nil, "UnknownOperationException"},
		{"another service's target", "PutRecordBatch", batch(1), header("X-Amz-Target", "Kinesis_20131202.PutRecords"), "UnknownOperationException"},
		{"another content type", "PutRecordBatch", batch(1), header("Content-Type", "application/json"), "UnknownOperationException"},
		{"another path", "PutRecordBatch", batch(1), func(r *http.Request) { r.URL.Path = "/x" }, "UnknownOperationException"},
		{"another method", "PutRecordBatch", batch(1), func(r *http.Request) { r.Method = http.MethodPut }, "UnknownOperationException"},
		{"no signature", "PutRecordBatch", batch(1), func(r *http.Request) { r.Header.Del("Authorization") }, "MissingAuthenticationTokenException"},
		{"a broken signature", "PutRecordBatch", batch(1), header("Authorization", "Bearer x"), "IncompleteSignatureException"},
		{"a signature for S3", "PutRecordBatch", batch(1), header("Authorization", strings.Replace(auth, "/firehose/", "/s3/", 1)), "InvalidSignatureException"},
		{"a scope of another day", "PutRecordBatch", batch(1), header("Authorization", strings.Replace(auth, "/20261123/", "/20261122/", 1)), "InvalidSignatureException"},
		{"a signature that leaves the host out", "PutRecordBatch", batch(1), header("Authorization", strings.Replace(auth, "host;", "", 1)), "InvalidSignatureException"},
		{"no date", "PutRecordBatch", batch(1), header("X-Amz-Date", ""), "IncompleteSignatureException"},
		{"a date five minutes old", "PutRecordBatch", batch(1), header("X-Amz-Date", "20261123T081030Z"), ""},
		{"a date one second older", "PutRecordBatch", batch(1), header("X-Amz-Date", "20261123T081029Z"), "InvalidSignatureException"},
		{"a date five minutes ahead", "PutRecordBatch", batch(1), header("X-Amz-Date", "20261123T082030Z"), ""},
		{"a date one second further", "PutRecordBatch", batch(1), header("X-Amz-Date", "20261123T082031Z"), "InvalidSignatureException"},
		{"a description", "DescribeDeliveryStream", `{"DeliveryStreamName":"gps-delivery-stream"}`, nil, ""},
		{"a description of nothing", "DescribeDeliveryStream", `{"DeliveryStreamName":"other"}`, nil, "ResourceNotFoundException"},
		{"a name that is taken", "CreateDeliveryStream", `{"DeliveryStreamName":"gps-delivery-stream","S3DestinationConfiguration":{"RoleARN":"arn:aws:iam::123456789012:role/r","BucketARN":"arn:aws:s3:::b"}}`, nil, "ResourceInUseException"},
		{"a stream to nowhere", "CreateDeliveryStream", `{"DeliveryStreamName":"new"}`, nil, "InvalidArgumentException"},
		{"a bucket that climbs", "CreateDeliveryStream", `{"DeliveryStreamName":"new","S3DestinationConfiguration":{"RoleARN":"arn:aws:iam::123456789012:role/r","BucketARN":"arn:aws:s3:::../b"}}`, nil, "InvalidArgumentException"},
		{"a buffer of 129 MB", "CreateDeliveryStream", `{"DeliveryStreamName":"new","S3DestinationConfiguration":{"RoleARN":"arn:aws:iam::123456789012:role/r","BucketARN":"arn:aws:s3:::b","BufferingHints":{"SizeInMBs":129}}}`, nil, "ValidationException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			s := newServer(t, firehosetest.Options{Region: "us-east-1"})
			s.ServeHTTP(w, request(tc.operation, tc.body, tc.change))
			if got := w.Header().Get("x-amzn-ErrorType"); got != tc.code {
				t.Fatalf("error %q, want %q: %.300s", got, tc.code, w.Body)
			}
			if w.Header().Get("x-amzn-RequestId") == "" || w.Header().Get("Date") != "Mon, 23 Nov 2026 08:15:30 GMT" || w.Header().Get("Content-Type") != "application/x-amz-json-1.1" {
				t.Errorf("header %v", w.Header())
			}
			if tc.code == "" {
				if w.Code != http.StatusOK {
					t.Errorf("status %d", w.Code)
				}
				return
			}
			var e struct {
				Type    string `json:"__type"`
				Message string `json:"message"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Type != tc.code || e.Message == "" || w.Code/100 != 4 {
				t.Errorf("status %d, body %s", w.Code, w.Body)
			}
			if c := s.Counters(); c.Taken != 0 || c.Refused[tc.code] != 1 {
				t.Errorf("counters %+v", c)
			}
		})
	}
}

// sdk is the real client against the server, in memory.
func sdk(t *testing.T, s *firehosetest.Server, secret string, region string) (*firehose.Client, func()) {
	t.Helper()
	transport := &http.Transport{DialContext: s.Dial}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	client := firehose.New(firehose.Options{
		Region: region, BaseEndpoint: aws.String(s.URL()), Retryer: aws.NopRetryer{}, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", secret, ""),
	})
	return client, func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestTheSDKSeesWhatAWSWouldAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := firehosetest.New(firehosetest.Options{Region: "eu-central-1", Credentials: []firehosetest.Credentials{{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "right"}}})
		if err != nil {
			t.Fatal(err)
		}
		c, stop := sdk(t, s, "right", "eu-central-1")
		defer stop()
		ctx := t.Context()
		if _, err := c.CreateDeliveryStream(ctx, &firehose.CreateDeliveryStreamInput{
			DeliveryStreamName: aws.String("new"), DeliveryStreamType: types.DeliveryStreamTypeDirectPut,
			ExtendedS3DestinationConfiguration: &types.ExtendedS3DestinationConfiguration{
				RoleARN: aws.String("arn:aws:iam::123456789012:role/firehoseDeliveryRole"), BucketARN: aws.String("arn:aws:s3:::bucket"),
				BufferingHints: &types.BufferingHints{SizeInMBs: aws.Int32(1), IntervalInSeconds: aws.Int32(60)},
			},
		}); err != nil {
			t.Fatal(err)
		}
		d, err := c.DescribeDeliveryStream(ctx, &firehose.DescribeDeliveryStreamInput{DeliveryStreamName: aws.String("new")})
		if err != nil || d.DeliveryStreamDescription.DeliveryStreamStatus != types.DeliveryStreamStatusActive ||
			aws.ToString(d.DeliveryStreamDescription.Destinations[0].ExtendedS3DestinationDescription.BucketARN) != "arn:aws:s3:::bucket" {
			t.Errorf("DescribeDeliveryStream: %v", err)
		}
		l, err := c.ListDeliveryStreams(ctx, &firehose.ListDeliveryStreamsInput{})
		if err != nil || len(l.DeliveryStreamNames) != 1 || aws.ToBool(l.HasMoreDeliveryStreams) {
			t.Errorf("ListDeliveryStreams: %v, %v", l, err)
		}
		s.SetFaults(firehosetest.Faults{Call: func(int, [][]byte) firehosetest.Verdict {
			return firehosetest.Verdict{Fail: map[int]string{1: "ServiceUnavailableException"}}
		}})
		out, err := c.PutRecordBatch(ctx, &firehose.PutRecordBatchInput{DeliveryStreamName: aws.String("new"), Records: []types.Record{{Data: []byte("a")}, {Data: []byte("b")}, {Data: []byte("c")}}})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToInt32(out.FailedPutCount) != 1 || len(out.RequestResponses) != 3 {
			t.Errorf("answer %+v", out)
		}
		for i, r := range out.RequestResponses {
			failed := i == 1
			if failed != (aws.ToString(r.ErrorCode) == "ServiceUnavailableException") || failed != (aws.ToString(r.ErrorMessage) == "Slow down.") || failed == (len(aws.ToString(r.RecordId)) == 224) {
				t.Errorf("record %d: %+v", i, r)
			}
		}
		if _, err := c.DeleteDeliveryStream(ctx, &firehose.DeleteDeliveryStreamInput{DeliveryStreamName: aws.String("new")}); err != nil {
			t.Error(err)
		}
		_, err = c.PutRecord(ctx, &firehose.PutRecordInput{DeliveryStreamName: aws.String("new"), Record: &types.Record{Data: []byte("a")}})
		if _, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok {
			t.Errorf("a deleted stream: %v", err)
		}
	})
}

func TestSignaturesAreReallyChecked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, secret, region string
		known                firehosetest.Credentials
		code                 string
	}{
		{"the right key", "right", "eu-central-1", firehosetest.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "right"}, ""},
		{"the wrong secret", "wrong", "eu-central-1", firehosetest.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "right"}, "InvalidSignatureException"},
		{"another region", "right", "us-east-1", firehosetest.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "right"}, "InvalidSignatureException"},
		{"an unknown key", "right", "eu-central-1", firehosetest.Credentials{AccessKeyID: "AKIDOTHER", SecretAccessKey: "right"}, "UnrecognizedClientException"},
		{"a missing token", "right", "eu-central-1", firehosetest.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "right", SessionToken: "t"}, "UnrecognizedClientException"},
		{"an expired key", "right", "eu-central-1", firehosetest.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "right", Expires: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)}, "ExpiredTokenException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, err := firehosetest.New(firehosetest.Options{Region: "eu-central-1", Streams: []firehosetest.Stream{{Name: "s"}}, Credentials: []firehosetest.Credentials{tc.known}})
				if err != nil {
					t.Fatal(err)
				}
				c, stop := sdk(t, s, tc.secret, tc.region)
				defer stop()
				_, err = c.PutRecord(t.Context(), &firehose.PutRecordInput{DeliveryStreamName: aws.String("s"), Record: &types.Record{Data: []byte("a")}})
				code := ""
				if api, ok := errors.AsType[smithy.APIError](err); ok {
					code = api.ErrorCode()
				} else if err != nil {
					t.Fatal(err)
				}
				if code != tc.code {
					t.Errorf("error %q, want %q: %v", code, tc.code, err)
				}
			})
		})
	}
}

func TestObjectsAreCutBySizeAndByAgeAndJoinedWithNothingBetween(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var objects []string
		s, err := firehosetest.New(firehosetest.Options{
			Streams: []firehosetest.Stream{{Name: "s", Bucket: "b", Size: 10, Interval: time.Minute}},
			Deliver: func(bucket, key string, object []byte) error {
				objects = append(objects, bucket+" "+key[:len("2000/01/01/s-1-2000-01-01-00-00-00")]+" "+string(object))
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		c, stop := sdk(t, s, "x", "us-east-1")
		put := func(text string) {
			if _, err := c.PutRecord(t.Context(), &firehose.PutRecordInput{DeliveryStreamName: aws.String("s"), Record: &types.Record{Data: []byte(text)}}); err != nil {
				t.Fatal(err)
			}
		}
		put("abc")
		put("abc")
		put("abc")
		put("def")
		time.Sleep(2 * time.Minute)
		put("end")
		stop()
		want := []string{
			"b 2000/01/01/s-1-2000-01-01-00-00-00 abcabcabc",
			"b 2000/01/01/s-1-2000-01-01-00-00-00 def",
			"b 2000/01/01/s-1-2000-01-01-00-02-00 end",
		}
		if fmt.Sprint(objects) != fmt.Sprint(want) {
			t.Errorf("objects %q, want %q", objects, want)
		}
	})
}

func TestObjectsInADirectoryStandUnderTheirBucket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newServer(t, firehosetest.Options{Dir: dir})
	s.ServeHTTP(httptest.NewRecorder(), request("PutRecordBatch", batch(3, 2), nil))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(os.DirFS(dir), "sd-vehicle-data/2026/11/23/gps-delivery-stream-1-2026-11-23-08-15-30-*")
	if err != nil || len(names) != 1 {
		t.Fatalf("objects %q, %v", names, err)
	}
	text, err := os.ReadFile(dir + "/" + names[0])
	if err != nil || string(text) != "xxxxx" {
		t.Errorf("object %q, %v", text, err)
	}
	if c := s.Counters(); c.Objects != 1 || c.Taken != 2 || c.Bytes != 5 || c.Billed != 2*5120 {
		t.Errorf("counters %+v", c)
	}
}

func TestAnObjectThatCannotBeWrittenIsKeptAndToldOf(t *testing.T) {
	t.Parallel()
	broken := true
	var got []byte
	s := newServer(t, firehosetest.Options{Deliver: func(_, _ string, object []byte) error {
		if broken {
			return errors.New("no bucket")
		}
		got = object
		return nil
	}})
	s.ServeHTTP(httptest.NewRecorder(), request("PutRecordBatch", batch(3), nil))
	if err := s.Flush(); err == nil || !strings.Contains(s.Counters().LastError, "no bucket") {
		t.Errorf("Flush: %v, counters %+v", err, s.Counters())
	}
	broken = false
	if err := s.Flush(); err != nil || string(got) != "xxx" {
		t.Errorf("Flush: %v, object %q", err, got)
	}
}

func TestRandomFaultsRepeatWithTheirSeed(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) (out []string) {
		s := newServer(t, firehosetest.Options{Seed: seed})
		s.SetFaults(firehosetest.Faults{Throttle: 0.3, ThrottleStatus: http.StatusServiceUnavailable, FailEntry: 0.5})
		for range 20 {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, request("PutRecordBatch", batch(many(8, 1)...), nil))
			out = append(out, fmt.Sprint(w.Code, regexp.MustCompile(`"FailedPutCount":\d+`).FindString(w.Body.String())))
		}
		return out
	}
	first, again, other := fmt.Sprint(run(1)), fmt.Sprint(run(1)), fmt.Sprint(run(2))
	if first != again {
		t.Errorf("seed 1 gave\n%s\nand\n%s", first, again)
	}
	if first == other || !strings.Contains(first, "503") || !strings.Contains(first, "FailedPutCount") {
		t.Errorf("seed 1 gave\n%s\nseed 2\n%s", first, other)
	}
}

// Whatever comes in, the server answers, and takes nothing beyond the limits.
func FuzzRequest(f *testing.F) {
	f.Add("PutRecordBatch", batch(3, 2), auth, "20261123T081530Z")
	f.Add("PutRecord", `{"DeliveryStreamName":"gps-delivery-stream","Record":{"Data":"YQ=="}}`, auth, "20261123T081530Z")
	f.Add("CreateDeliveryStream", `{"DeliveryStreamName":"x","S3DestinationConfiguration":{"RoleARN":"arn:aws:iam::1:role/r","BucketARN":"arn:aws:s3:::b","BufferingHints":{"IntervalInSeconds":0}}}`, auth, "20261123T081530Z")
	f.Add("ListDeliveryStreams", `{"Limit":-1}`, auth, "x")
	f.Add("DescribeDeliveryStream", `null`, strings.Replace(auth, "host", "host;authorization", 1), "20261123T081530Z")
	f.Fuzz(func(t *testing.T, operation, body, authorization, date string) {
		s := newServer(t, firehosetest.Options{Credentials: []firehosetest.Credentials{{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "x"}}, Dir: t.TempDir()})
		open := newServer(t, firehosetest.Options{Deliver: func(string, string, []byte) error { return nil }})
		for _, server := range []*firehosetest.Server{s, open} {
			w := httptest.NewRecorder()
			server.ServeHTTP(w, request(operation, body, func(r *http.Request) {
				r.Header.Set("Authorization", authorization)
				r.Header.Set("X-Amz-Date", date)
			}))
			if !json.Valid(w.Body.Bytes()) || w.Code >= 500 || (w.Code == 200) != (w.Header().Get("x-amzn-ErrorType") == "") {
				t.Errorf("status %d, body %q", w.Code, w.Body)
			}
			if c := server.Counters(); c.Bytes > uplink.MaxCallBytes || c.Taken > uplink.MaxEntries {
				t.Errorf("counters %+v", c)
			}
		}
		if s.Counters().Taken != 0 {
			t.Error("a request with a made-up signature was taken")
		}
	})
}
