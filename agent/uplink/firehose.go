package uplink

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
)

// The deadline of one call: what connecting and answering may take, and the body, base64 and all, at the slowest link
// that is worth waiting for (2G: 20 kbit/s). A signature is valid for five minutes (AWS Signature Version 4), so that a longer
// call would be refused at its end.
const (
	callBase     = 15 * time.Second
	slowestBytes = 20_000 / 8 // a second
	callMost     = 4*time.Minute + 30*time.Second
)

// Credentials are one fixed set of AWS keys. They are never printed.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // for temporary ones
}

// String hides the secret, so that no log line can carry it.
func (c Credentials) String() string { return "credentials of " + c.AccessKeyID }

// GoString is String, for %#v.
func (c Credentials) GoString() string { return c.String() }

// MarshalText is String, for encoders such as encoding/json and log/slog.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// FirehoseOptions says which stream a Firehose sink writes to. Stream and Region are needed.
type FirehoseOptions struct {
	Stream   string
	Region   string
	Endpoint string // http:// or https:// of a Firehose look-alike; empty: AWS, or what AWS_ENDPOINT_URL says

	Credentials *Credentials     // nil: the SDK's default chain, without asking a cloud machine's metadata service
	Now         func() time.Time // for signatures and certificates; default: time.Now
	RootCAs     *x509.CertPool   // who may vouch for the endpoint; nil: AWS_CA_BUNDLE's, else the system's
	Dial        Dial             // default: net.Dialer and the environment's proxy
}

// Firehose is a Sink that sends entries to an Amazon Data Firehose stream with PutRecordBatch. One Put is one upload: the
// SDK's retries are off.
type Firehose struct {
	o         FirehoseOptions
	client    *firehose.Client
	transport *http.Transport
	bytes     byteCount
	theirTime atomic.Bool // the endpoint has refused our time: from then on its own is used
}

// NewFirehose makes a Firehose sink. It sends nothing. ctx bounds reading the credentials' configuration.
func NewFirehose(ctx context.Context, o FirehoseOptions) (*Firehose, error) {
	if err := CheckStream(o.Stream); err != nil {
		return nil, fmt.Errorf("Firehose sink: %w", err)
	}
	if o.Region == "" {
		return nil, errors.New("Firehose sink: no region is given: set uplink.region")
	}
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("Firehose sink: endpoint %q: use http://host:port or https://host:port", o.Endpoint)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if bundle := os.Getenv("AWS_CA_BUNDLE"); bundle != "" && o.RootCAs == nil {
		// The SDK does this for its own HTTP client only.
		pem, err := os.ReadFile(bundle)
		if err != nil {
			return nil, fmt.Errorf("Firehose sink: reading AWS_CA_BUNDLE: %w", err)
		}
		o.RootCAs = x509.NewCertPool()
		if !o.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("Firehose sink: AWS_CA_BUNDLE %s holds no certificate", bundle)
		}
	}
	f := &Firehose{o: o}
	f.transport = newTransport(o.Dial, o.RootCAs, o.Now, &f.bytes)
	client := &http.Client{Transport: f.transport}

	tune := func(fo *firehose.Options) {
		fo.Region = o.Region
		fo.Retryer = aws.NopRetryer{}
		fo.HTTPClient = client
		fo.HTTPSignerV4 = &signer{f: f, v4: v4.NewSigner()}
		if o.Endpoint != "" {
			fo.BaseEndpoint = aws.String(o.Endpoint)
		}
	}
	if c := o.Credentials; c != nil {
		fo := firehose.Options{Credentials: aws.NewCredentialsCache(
			credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken))}
		tune(&fo)
		f.client = firehose.New(fo)
		return f, nil
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(o.Region),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		// A van is no cloud machine: asking 169.254.169.254 costs seconds of silence at every try.
		config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	if err != nil {
		return nil, fmt.Errorf("Firehose sink: reading the AWS configuration: %w", err)
	}
	f.client = firehose.NewFromConfig(cfg, tune)
	return f, nil
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
		ce := f.explain(err)
		if ce.Kind == KindClock && ce.Code != "" {
			// The endpoint itself said so. A certificate that is not valid yet tells only that nobody knows the time so far.
			f.theirTime.Store(true)
		}
		return nil, ce
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

// String names the stream.
func (f *Firehose) String() string {
	s := fmt.Sprintf("Firehose stream %s in %s", f.o.Stream, f.o.Region)
	if f.o.Endpoint != "" {
		s += " at " + f.o.Endpoint
	}
	return s
}

// Bytes returns what went through the sockets, TLS and HTTP heads included, TCP and IP heads not.
func (f *Firehose) Bytes() (up, down uint64) { return f.bytes.up.Load(), f.bytes.down.Load() }

// CloseIdle closes connections that no call is using: for a change of link, and at the end.
func (f *Firehose) CloseIdle() { f.transport.CloseIdleConnections() }

// callDeadline is how long a call with size decoded bytes may take.
func callDeadline(size int) time.Duration {
	return min(callBase+time.Duration(size*4/3/slowestBytes)*time.Second, callMost)
}

// A signer signs with the agent's time instead of the system's. Once the endpoint has refused that time, it signs with what
// the SDK passes: the system's time corrected by the Date of the endpoint's answers.
type signer struct {
	f  *Firehose
	v4 *v4.Signer
}

// SignHTTP implements firehose.HTTPSignerV4.
func (s *signer) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) error {
	if !s.f.theirTime.Load() {
		at = s.f.o.Now()
	}
	return s.v4.SignHTTP(ctx, c, r, hash, service, region, at, opts...)
}
