package uplink

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// IoTOptions says how to get credentials from the AWS IoT credential provider (AWS IoT Core developer guide, "Authorizing
// direct calls to AWS services using AWS IoT Core credential provider"). All but Thing are needed.
type IoTOptions struct {
	Endpoint  string // host, or host:port, of the provider
	RoleAlias string
	Thing     string // sent as x-amzn-iot-thingname, which policies may ask for; empty: not sent
	Cert, Key string // PEM files of the device; read for each connection, so that a renewed certificate is used at once
}

// The refresh of credentials. They last 15 minutes to 12 hours (CreateRoleAlias, credentialDurationSeconds); asking again
// costs a handshake with certificates on both sides, about 7 KB.
const (
	iotTimeout = 45 * time.Second // for a connection and an answer on a weak link
	// They are renewed when between these shares of their life have passed: early enough for a coverage hole of hours, spread
	// so that vans that were switched on together do not ask together.
	iotRenewFrom, iotRenewTo = 0.65, 0.85
	// How long a renewal that failed is left alone while the old credentials still hold.
	iotRetryLeast, iotRetryMost = time.Minute, 5 * time.Minute
	// Credentials this near to their end would be refused by the time they arrive.
	iotMargin = 30 * time.Second
	// maxIoTAnswer is far more than an answer takes.
	maxIoTAnswer = 64 << 10
)

// iotCredentials is an aws.CredentialsProvider. The life of credentials is measured from the server's Date to their expiration
// and counted on the monotonic clock: a board whose clock is wrong neither keeps them too long nor asks again and again.
type iotCredentials struct {
	o         IoTOptions
	url       string
	client    *http.Client
	transport *http.Transport
	log       *slog.Logger

	mu    sync.Mutex
	keys  aws.Credentials
	renew time.Time // not before this
	until time.Time // they hold; zero: there are none
}

func newIoTCredentials(o IoTOptions, so StreamOptions, sessions *sessions, n *byteCount) (*iotCredentials, error) {
	for _, need := range []struct{ value, key string }{{o.Endpoint, "endpoint"}, {o.RoleAlias, "role_alias"}, {o.Cert, "cert"}, {o.Key, "key"}} {
		if need.value == "" {
			return nil, fmt.Errorf("credentials from AWS IoT: set uplink.iot.%s", need.key)
		}
	}
	p := &iotCredentials{o: o, log: so.Log}
	p.url = "https://" + o.Endpoint + "/role-aliases/" + o.RoleAlias + "/credentials"
	so.Linger = time.Hour // the next request is hours away: the connection is not kept
	p.transport = newTransport(so, sessions, n)
	p.transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil { // it names the files, it does not quote the key
			return nil, &CallError{Kind: KindSetup, Cause: CauseCredentials, Advice: fmt.Sprintf("the device's certificate %s and key %s are not usable: see that both are there and belong together (uplink.iot.cert, uplink.iot.key)", o.Cert, o.Key), Err: err}
		}
		return &c, nil
	}
	p.client = &http.Client{Transport: p.transport, Timeout: iotTimeout}
	return p, nil
}

// Retrieve implements aws.CredentialsProvider. It asks early for new credentials and gives out the old ones until they have
// truly expired.
func (p *iotCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.renew) && now.Before(p.until) {
		return p.keys, nil
	}
	keys, life, err := p.fetch(ctx)
	now = time.Now()
	if err != nil {
		if now.Before(p.until) {
			p.renew = now.Add(between(iotRetryLeast, iotRetryMost))
			p.log.Info("credentials from AWS IoT could not be renewed yet; the old ones still hold",
				slog.Duration("for", p.until.Sub(now).Round(time.Second)), slog.String("error", err.Error()))
			return p.keys, nil
		}
		return aws.Credentials{}, err
	}
	p.keys, p.until = keys, now.Add(life-iotMargin)
	p.renew = now.Add(between(time.Duration(iotRenewFrom*float64(life)), time.Duration(iotRenewTo*float64(life))))
	return keys, nil
}

// Invalidate makes the next Retrieve ask: AWS refuses those in use.
func (p *iotCredentials) Invalidate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = time.Time{}
}

// between returns a random duration.
func between(least, most time.Duration) time.Duration {
	return least + time.Duration(rand.Int64N(int64(most-least)+1))
}

// fetch asks once.
func (p *iotCredentials) fetch(ctx context.Context) (aws.Credentials, time.Duration, error) {
	fail := func(kind Kind, advice string, err error) (aws.Credentials, time.Duration, error) {
		e := &CallError{Kind: kind, Advice: advice, Err: err}
		switch {
		case isCertificate(err):
			e.Cause = CauseCertificate
		case kind == KindSetup:
			e.Cause = CauseCredentials
		}
		return aws.Credentials{}, 0, e
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return fail(KindSetup, fmt.Sprintf("uplink.iot.endpoint %q and uplink.iot.role_alias %q do not make a URL", p.o.Endpoint, p.o.RoleAlias), err)
	}
	if p.o.Thing != "" {
		r.Header.Set("x-amzn-iot-thingname", p.o.Thing)
	}
	answer, err := p.client.Do(r)
	if err != nil {
		var ce *CallError
		switch {
		case errors.As(err, &ce):
			return aws.Credentials{}, 0, ce
		case isClock(err):
			return fail(KindClock, fmt.Sprintf("the certificate of %s is not valid at this machine's time: a GPS fix sets it", p.o.Endpoint), err)
		case isCertificate(err):
			return fail(KindSetup, fmt.Sprintf("the certificate of %s is not trusted: check uplink.iot.endpoint and the system's CA certificates", p.o.Endpoint), err)
		case isAlert(err):
			return fail(KindSetup, fmt.Sprintf("%s does not take the device's certificate: see that it is active in AWS IoT (uplink.iot.cert)", p.o.Endpoint), err)
		}
		return fail(KindLink, fmt.Sprintf("no answer from %s, which gives the credentials: no coverage, or a wrong uplink.iot.endpoint", p.o.Endpoint), err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxIoTAnswer))
	if err != nil {
		return fail(KindLink, fmt.Sprintf("the answer of %s, which gives the credentials, was cut", p.o.Endpoint), err)
	}
	if answer.StatusCode != http.StatusOK {
		var said struct{ Message string }
		_ = json.Unmarshal(body, &said) // what is not JSON has no message
		return fail(iotRefusal(answer.StatusCode), fmt.Sprintf("AWS IoT gives no credentials (HTTP %d %s): see that the certificate is active, its policy allows iot:AssumeRoleWithCertificate on role alias %s, and the role trusts credentials.iot.amazonaws.com", answer.StatusCode, said.Message, p.o.RoleAlias), nil)
	}
	var in struct {
		Credentials struct {
			AccessKeyID     string `json:"accessKeyId"`
			SecretAccessKey string `json:"secretAccessKey"`
			SessionToken    string `json:"sessionToken"`
			Expiration      string `json:"expiration"`
		} `json:"credentials"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return fail(KindLink, fmt.Sprintf("what %s answers is not JSON: check uplink.iot.endpoint", p.o.Endpoint), nil) // err may quote the body
	}
	c := in.Credentials
	until, err := time.Parse(time.RFC3339, c.Expiration)
	if err != nil || c.AccessKeyID == "" || c.SecretAccessKey == "" || c.SessionToken == "" {
		return fail(KindSetup, fmt.Sprintf("what %s answers holds no credentials: check uplink.iot.endpoint", p.o.Endpoint), nil)
	}
	sent, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		sent = p.transport.TLSClientConfig.Time()
	}
	life := until.Sub(sent)
	if life <= iotMargin {
		return fail(KindSetup, fmt.Sprintf("%s gives credentials that have expired", p.o.Endpoint), nil)
	}
	return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Source: "AWS IoT"}, life, nil
}

// iotRefusal says what a status means: 4xx is for a person to mend, but for being asked too often.
func iotRefusal(status int) Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return KindThrottled
	case status >= 500:
		return KindLink
	}
	return KindSetup
}

// isAlert reports whether the other side has refused the handshake.
func isAlert(err error) bool {
	return strings.Contains(err.Error(), "remote error: tls:") // crypto/tls has no type for it
}
