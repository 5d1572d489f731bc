package uplink

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// The deadline of one call: what connecting and answering may take, and the body, base64 and all, at the slowest link
// that is worth waiting for: 5 kbit/s, a bad day of 2G, is three times what a van needs at 1 Hz. A link that carries nothing at all is found
// out earlier, see unackedMost. A signature is valid for five minutes (AWS Signature Version 4), so that a longer
// call would be refused at its end.
const (
	callBase     = 15 * time.Second
	slowestBytes = 5_000 / 8 // a second
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

// StreamOptions says which stream a sink writes to, with whose credentials and how. Stream and Region are needed. Of
// Credentials, CredentialsFile and IoT at most one is set; with none it is the SDK's default chain, without asking a cloud
// machine's metadata service.
type StreamOptions struct {
	Stream   string
	Region   string
	Endpoint string // http:// or https:// of a look-alike; empty: AWS, or what AWS_ENDPOINT_URL says

	Credentials     *Credentials
	CredentialsFile string      // read again when it changes, see [CredentialsFileName]
	IoT             *IoTOptions // AWS IoT credential provider
	// SharedCredentials is the default chain's file in place of ~/.aws/credentials and of what AWS_SHARED_CREDENTIALS_FILE names; empty: those.
	SharedCredentials string

	Now         func() time.Time // for signatures and certificates; default: time.Now
	RootCAs     *x509.CertPool   // who may vouch for the endpoint; nil: AWS_CA_BUNDLE's, else the system's
	Dial        Dial             // default: net.Dialer and the environment's proxy
	Linger      time.Duration    // how often a call is to be expected: says how long a connection is worth keeping; default 1 min
	SessionFile string           // keeps TLS sessions over restarts, readable by the owner alone; empty: they are not kept
	Log         *slog.Logger     // details; default: discarded
}

// A service is what the sinks for AWS have in common: one transport, one source of credentials, one clock.
type service struct {
	o           StreamOptions
	name        string // as in its host names and signatures
	action      string // that the credentials must allow
	url         string
	client      *http.Client
	transports  []*http.Transport
	bytes       byteCount
	theirTime   atomic.Bool  // the endpoint has refused our time: from then on its own is used
	skew        atomic.Int64 // of the endpoint's clock before the system's, in ns, as its last refusal told
	credentials aws.CredentialsProvider

	mu     sync.Mutex
	signer *v4.Signer // keeps what it derives from a secret by the key's id, for a day
	secret string     // that signer was made for: a secret that was mistyped and then mended has the same id
}

// newService checks the options and makes the parts. It sends nothing.
func newService(ctx context.Context, name, action string, o StreamOptions) (*service, error) {
	if o.Region == "" {
		return nil, errors.New("no region is given: set uplink.region")
	}
	for _, v := range []string{"AWS_ENDPOINT_URL_" + strings.ToUpper(name), "AWS_ENDPOINT_URL"} { // AWS SDKs and Tools reference guide, "Service-specific endpoints"
		if o.Endpoint == "" {
			o.Endpoint = os.Getenv(v)
		}
	}
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("endpoint %q: use http://host:port or https://host:port", o.Endpoint)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Linger <= 0 {
		o.Linger = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if bundle := os.Getenv("AWS_CA_BUNDLE"); bundle != "" && o.RootCAs == nil {
		// The SDK does this for its own HTTP client only.
		pem, err := os.ReadFile(bundle)
		if err != nil {
			return nil, fmt.Errorf("reading AWS_CA_BUNDLE: %w", err)
		}
		o.RootCAs = x509.NewCertPool()
		if !o.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("AWS_CA_BUNDLE %s holds no certificate", bundle)
		}
	}
	s := &service{o: o, name: name, action: action}
	s.url = s.host()
	if o.Endpoint == "" {
		s.url = "https://" + s.url
	}
	s.url = strings.TrimSuffix(s.url, "/") + "/"
	sessions := newSessions(o.SessionFile, o.Log)
	transport := newTransport(o, sessions, &s.bytes)
	s.transports = append(s.transports, transport)
	s.client = &http.Client{Transport: transport}
	if err := s.chooseCredentials(ctx, sessions); err != nil {
		return nil, err
	}
	return s, nil
}

// chooseCredentials sets where the keys come from.
func (s *service) chooseCredentials(ctx context.Context, sessions *sessions) error {
	o := &s.o
	switch {
	case o.Credentials != nil:
		c := o.Credentials
		s.credentials = aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken))
	case o.CredentialsFile != "":
		s.credentials = &fileCredentials{path: o.CredentialsFile}
	case o.IoT != nil:
		p, err := newIoTCredentials(*o.IoT, *o, sessions, &s.bytes)
		if err != nil {
			return err
		}
		s.transports = append(s.transports, p.transport)
		s.credentials = p
	default:
		var files []string // nil: as the environment says
		if o.SharedCredentials != "" {
			files = []string{o.SharedCredentials}
		}
		cfg, err := config.LoadDefaultConfig(ctx,
			config.WithRegion(o.Region),
			config.WithSharedCredentialsFiles(files),
			config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
			// A van is no cloud machine: asking 169.254.169.254 costs seconds of silence at every try.
			config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
		if err != nil {
			return fmt.Errorf("reading the AWS configuration: %w", err)
		}
		s.credentials = cfg.Credentials
	}
	return nil
}

// forget makes the next call ask for credentials anew: those in use were refused.
func (s *service) forget() {
	if p, ok := s.credentials.(interface{ Invalidate() }); ok {
		p.Invalidate()
	}
}

// Bytes returns what went through the sockets, TLS and HTTP heads included, TCP and IP heads not.
func (s *service) Bytes() (up, down uint64) { return s.bytes.up.Load(), s.bytes.down.Load() }

// CloseIdle closes connections that no call is using: for a change of link, and at the end.
func (s *service) CloseIdle() {
	for _, t := range s.transports {
		t.CloseIdleConnections()
	}
}

// failed explains why a call failed, and learns from it.
func (s *service) failed(err error) *CallError {
	ce := s.explain(err)
	switch {
	case ce.Kind == KindClock && ce.Code != "":
		// The endpoint itself said so. A certificate that is not valid yet tells only that nobody knows the time so far.
		s.theirTime.Store(true)
	case refusedKeys[ce.Code]:
		s.forget()
	}
	return ce
}

// bound implements bounded.
func (s *service) bound(size int) time.Duration { return callDeadline(size) }

// callDeadline is how long a call with size decoded bytes may take.
func callDeadline(size int) time.Duration {
	return min(callBase+time.Duration(size*4/3/slowestBytes)*time.Second, callMost)
}
