package uplink_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

func TestACredentialsFileIsReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	server, err := firehosetest.New(firehosetest.Options{Streams: []firehosetest.Stream{{Name: "s"}},
		Credentials: []firehosetest.Credentials{{AccessKeyID: "AKIDONE", SecretAccessKey: "one"}, {AccessKeyID: "AKIDTWO", SecretAccessKey: "two", SessionToken: "t"}}})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(server)
	defer ts.Close()
	path := filepath.Join(t.TempDir(), uplink.CredentialsFileName)
	f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "s", Region: "us-east-1", Endpoint: ts.URL, CredentialsFile: path})
	if err != nil {
		t.Fatal(err)
	}
	defer f.CloseIdle()
	at := time.Now().Add(-time.Hour)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Minute)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	put := func() error {
		_, err := f.Put(t.Context(), [][]byte{[]byte("line\n")})
		return err
	}
	ce, ok := errors.AsType[*uplink.CallError](put())
	if !ok || ce.Kind != uplink.KindSetup || !strings.Contains(ce.Advice, path) {
		t.Errorf("without the file: %v", ce)
	}
	write("# the van's\n[default]\naws_access_key_id = AKIDONE\naws_secret_access_key=one\n[other]\naws_access_key_id = NOTOURS\n")
	for range 2 {
		if err := put(); err != nil {
			t.Errorf("with the first keys: %v", err)
		}
	}
	write("AWS_ACCESS_KEY_ID=AKIDTWO\r\nAWS_SECRET_ACCESS_KEY=two\r\nAWS_SESSION_TOKEN=t\r\n")
	if err := put(); err != nil {
		t.Errorf("with the second keys: %v", err)
	}
	for name, text := range map[string]string{
		"is missing":             "aws_access_key_id = AKIDONE\n",
		"holds neither":          "[van]\naws_access_key_id = AKIDONE\naws_secret_access_key = one\n",
		"line 1 has no =":        "wJalrXUtnFEMI\n",
		"aws_access_key_id is m": "aws_secret_access_key = wJalrXUtnFEMI\n",
	} {
		write(text)
		ce, ok := errors.AsType[*uplink.CallError](put())
		if !ok || ce.Kind != uplink.KindSetup || !strings.Contains(ce.Advice, name) || strings.Contains(ce.Error(), "wJalrXUtnFEMI") {
			t.Errorf("%q: %v", text, ce)
		}
	}
	write("aws_access_key_id = AKIDONE\naws_secret_access_key=one\n")
	if err := put(); err != nil {
		t.Errorf("after the file was mended: %v", err)
	}
}

// authority signs certificates of servers and devices.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.cert, a.key, _ = a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.pool.AddCert(a.cert)
	return a
}

// issue makes a key and its certificate, signed by a, or by itself if a has none yet.
func (a *authority) issue(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return leaf, key, der
}

func (a *authority) server() tls.Certificate {
	_, key, der := a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// device writes a device's certificate and key and returns their paths.
func (a *authority) device() (cert, key string) {
	a.t.Helper()
	_, k, der := a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "van"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

// provider is an AWS IoT credential provider: it demands the device's certificate and answers as AWS documents.
type provider struct {
	mu      sync.Mutex
	asked   int
	thing   string
	refuse  int           // HTTP status; 0: it answers
	life    time.Duration // of what it gives
	keys    firehosetest.Credentials
	garbage string // is answered instead
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	p.thing = r.Header.Get("x-amzn-iot-thingname")
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.TLS == nil || len(r.TLS.PeerCertificates) != 1 || r.TLS.ServerName != "localhost":
		w.WriteHeader(http.StatusForbidden)
	case r.URL.Path != "/role-aliases/fleet/credentials":
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"message":"Role alias not found"}`)
	case p.refuse != 0:
		w.WriteHeader(p.refuse)
		fmt.Fprint(w, `{"message":"Access Denied"}`)
	case p.garbage != "":
		fmt.Fprint(w, p.garbage)
	default:
		fmt.Fprintf(w, `{"credentials":{"accessKeyId":%q,"secretAccessKey":%q,"sessionToken":%q,"expiration":%q}}`,
			p.keys.AccessKeyID, p.keys.SecretAccessKey, p.keys.SessionToken, time.Now().Add(p.life).UTC().Format("2006-01-02T15:04:05Z"))
	}
}

func (p *provider) set(f func(*provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// iotRig is a stream that knows only the provider's keys, the provider, and a device.
func iotRig(t *testing.T, change func(*uplink.StreamOptions)) (*provider, *uplink.Firehose, *bytes.Buffer) {
	t.Helper()
	a := newAuthority(t)
	p := &provider{life: time.Hour, keys: firehosetest.Credentials{AccessKeyID: "ASIAVAN", SecretAccessKey: secret, SessionToken: "session"}}
	ps := httptest.NewUnstartedServer(p)
	ps.TLS = &tls.Config{Certificates: []tls.Certificate{a.server()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool}
	ps.Config.ErrorLog = log.New(io.Discard, "", 0)
	ps.StartTLS()
	t.Cleanup(ps.Close)
	server, err := firehosetest.New(firehosetest.Options{Streams: []firehosetest.Stream{{Name: "s"}}, Credentials: []firehosetest.Credentials{p.keys}})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(server)
	t.Cleanup(ts.Close)
	cert, key := a.device()
	_, port, _ := strings.Cut(strings.TrimPrefix(ps.URL, "https://"), ":")
	logged := &bytes.Buffer{}
	o := uplink.StreamOptions{Stream: "s", Region: "us-east-1", Endpoint: ts.URL, RootCAs: a.pool, Log: slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		IoT: &uplink.IoTOptions{Endpoint: "localhost:" + port, RoleAlias: "fleet", Thing: "van-212", Cert: cert, Key: key}}
	if change != nil {
		change(&o)
	}
	f, err := uplink.NewFirehose(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.CloseIdle)
	return p, f, logged
}

func putOne(t *testing.T, f *uplink.Firehose) *uplink.CallError {
	t.Helper()
	_, err := f.Put(t.Context(), [][]byte{[]byte("line\n")})
	if err == nil {
		return nil
	}
	ce, ok := errors.AsType[*uplink.CallError](err)
	if !ok {
		t.Fatalf("an error of type %T: %v", err, err)
	}
	if text := fmt.Sprintf("%v %+v", ce, err); strings.Contains(text, secret) {
		t.Errorf("the secret is in %s", text)
	}
	return ce
}

func TestCredentialsFromAWSIoTAreAskedForOnceAndKept(t *testing.T) {
	t.Parallel()
	p, f, logged := iotRig(t, nil)
	for range 5 {
		if ce := putOne(t, f); ce != nil {
			t.Fatal(ce)
		}
	}
	if n := p.count(); n != 1 || p.thing != "van-212" {
		t.Errorf("asked %d times, for thing %q", n, p.thing)
	}
	if strings.Contains(logged.String(), secret) {
		t.Errorf("the secret is in the log: %s", logged)
	}
	up, down := f.Bytes()
	t.Logf("%d bytes up, %d down with the provider's handshake", up, down)
}

// A clock that is years off, either way, neither keeps expired credentials nor asks at each call.
func TestTheLifeOfCredentialsDoesNotDependOnTheClock(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-time.Minute * 30, 30 * time.Minute} { // as far as the test's certificates allow
		p, f, _ := iotRig(t, func(o *uplink.StreamOptions) {
			o.Now = func() time.Time { return time.Now().Add(off) }
		})
		p.set(func(p *provider) { p.life = 15 * time.Minute })
		_ = putOne(t, f) // the stream refuses the time once
		for range 3 {
			if ce := putOne(t, f); ce != nil {
				t.Fatal(ce)
			}
		}
		if n := p.count(); n != 1 {
			t.Errorf("asked %d times with a clock %v off", n, off)
		}
	}
}

func TestEachRefusalOfTheProviderSaysWhatToDo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*uplink.StreamOptions)
		set    func(*provider)
		kind   uplink.Kind
		want   string
	}{
		{"no policy", nil, func(p *provider) { p.refuse = 403 }, uplink.KindSetup, "iot:AssumeRoleWithCertificate on role alias fleet"},
		{"another alias", func(o *uplink.StreamOptions) { o.IoT.RoleAlias = "other" }, nil, uplink.KindSetup, "Role alias not found"},
		{"an error there", nil, func(p *provider) { p.refuse = 500 }, uplink.KindLink, "HTTP 500"},
		{"asked too often", nil, func(p *provider) { p.refuse = 429 }, uplink.KindThrottled, "HTTP 429"},
		{"a page instead", nil, func(p *provider) { p.garbage = "<html>" + secret }, uplink.KindLink, "is not JSON"},
		{"an empty answer", nil, func(p *provider) { p.garbage = "{}" }, uplink.KindSetup, "holds no credentials"},
		{"expired ones", nil, func(p *provider) { p.life = -time.Hour }, uplink.KindSetup, "have expired"},
		{"no key", func(o *uplink.StreamOptions) { o.IoT.Key = "/nonexistent/key.pem" }, nil, uplink.KindSetup, "/nonexistent/key.pem"},
		{"nobody there", func(o *uplink.StreamOptions) { o.IoT.Endpoint = "localhost:1" }, nil, uplink.KindLink, "no answer from localhost:1"},
		{"a certificate of another authority", func(o *uplink.StreamOptions) { o.IoT.Cert, o.IoT.Key = newAuthority(t).device() }, nil, uplink.KindSetup, "does not take the device's certificate"},
		{"an endpoint that nobody vouches for", func(o *uplink.StreamOptions) { o.RootCAs = x509.NewCertPool() }, nil, uplink.KindSetup, "is not trusted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, f, _ := iotRig(t, tt.change)
			if tt.set != nil {
				p.set(tt.set)
			}
			ce := putOne(t, f)
			if ce == nil || ce.Kind != tt.kind || !strings.Contains(ce.Error(), tt.want) {
				t.Errorf("%v, want %v with %q", ce, tt.kind, tt.want)
			}
		})
	}
}

// Credentials that AWS refuses before their time (a role that was changed, a clock that slept) are asked for anew at the next call.
func TestCredentialsThatAreRefusedAreAskedForAnew(t *testing.T) {
	t.Parallel()
	p, f, _ := iotRig(t, nil)
	p.set(func(p *provider) { p.keys.SessionToken = "of yesterday" })
	if ce := putOne(t, f); ce == nil || ce.Kind != uplink.KindSetup {
		t.Fatalf("keys that the stream does not know: %v", ce)
	}
	p.set(func(p *provider) { p.keys.SessionToken = "session" })
	if ce := putOne(t, f); ce != nil {
		t.Error(ce)
	}
	if n := p.count(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestCredentialsFromAWSIoTNeedTheirOptions(t *testing.T) {
	t.Parallel()
	_, err := uplink.NewFirehose(context.WithoutCancel(t.Context()), uplink.StreamOptions{Stream: "s", Region: "us-east-1", IoT: &uplink.IoTOptions{Endpoint: "localhost"}})
	if err == nil || !strings.Contains(err.Error(), "set uplink.iot.role_alias") {
		t.Error(err)
	}
}
