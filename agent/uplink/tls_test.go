package uplink_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

// certificate returns one for 127.0.0.1 that is valid in the year 2040 only, and a pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2041, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestCertificatesAreCheckedAtTheTimeThatIsGiven(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	in2040 := func() time.Time { return time.Date(2040, 7, 1, 0, 0, 0, 0, time.UTC) }
	server, err := firehosetest.New(firehosetest.Options{Now: in2040, Streams: []firehosetest.Stream{{Name: "s"}}})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(server)
	ts.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	ts.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	ts.StartTLS()
	defer ts.Close()

	put := func(now func() time.Time, roots *x509.CertPool) error {
		f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "s", Region: "us-east-1", Endpoint: ts.URL, Now: now, RootCAs: roots,
			Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.CloseIdle()
		_, err = f.Put(t.Context(), [][]byte{[]byte("line\n")})
		return err
	}
	if err := put(in2040, pool); err != nil {
		t.Errorf("in 2040: %v", err)
	}
	ce, ok := errors.AsType[*uplink.CallError](put(time.Now, pool))
	if !ok || ce.Kind != uplink.KindClock || !strings.Contains(ce.Advice, "check this machine's time") {
		t.Errorf("today: %+v", ce)
	}
	ce, ok = errors.AsType[*uplink.CallError](put(in2040, x509.NewCertPool()))
	if !ok || ce.Kind != uplink.KindSetup || !strings.Contains(ce.Advice, "not trusted") {
		t.Errorf("with another authority: %+v", ce)
	}
}

func TestANameThatIsNotResolvedAndAPortThatIsClosedAreTheLinks(t *testing.T) {
	t.Parallel()
	for want, dial := range map[string]uplink.Dial{
		"is not resolved": func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "firehose.us-east-1.amazonaws.com", IsNotFound: true}}
		},
		"no answer from": func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:1")
		},
	} {
		f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "s", Region: "us-east-1", Dial: dial,
			Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Put(t.Context(), [][]byte{[]byte("line\n")})
		ce, ok := errors.AsType[*uplink.CallError](err)
		if !ok || ce.Kind != uplink.KindLink || !strings.Contains(ce.Advice, want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

var _ http.Handler = (*firehosetest.Server)(nil)
