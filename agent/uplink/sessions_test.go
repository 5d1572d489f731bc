package uplink_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

// chain returns a server's certificate with two authorities above it, RSA 2048 as AWS's are: about 3 KB on the wire.
func chain(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	var out tls.Certificate
	pool := x509.NewCertPool()
	var parent *x509.Certificate
	var by *rsa.PrivateKey
	for i, name := range []string{"A Root Certification Authority of Some Length 1", "An Intermediate Certification Authority M02", "localhost"} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name, Organization: []string{"Amazon or so"}, Country: []string{"US"}},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true, IsCA: i < 2,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
		if i == 2 {
			c.DNSNames = []string{"localhost", "firehose.eu-central-1.amazonaws.com", "*.firehose.eu-central-1.vpce.amazonaws.com"}
		}
		if parent == nil {
			parent, by = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		if parent, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		by = key
		out.Certificate = append([][]byte{der}, out.Certificate...)
		out.PrivateKey = key
		if i == 0 {
			pool.AddCert(parent)
		}
	}
	return out, pool
}

// tlsRig is a strict endpoint behind TLS that notes each handshake.
type tlsRig struct {
	url  string
	pool *x509.CertPool

	mu     sync.Mutex
	states []tls.ConnectionState // of each request
	groups []tls.CurveID         // that the last client offered
}

func newTLSRig(t testing.TB) *tlsRig {
	t.Helper()
	cert, pool := chain(t)
	rig := &tlsRig{pool: pool}
	server, err := firehosetest.New(firehosetest.Options{Streams: []firehosetest.Stream{{Name: "s"}}})
	if err != nil {
		t.Fatal(err)
	}
	// An answer within microseconds overtakes the end of the request, upon which net/http drops the connection.
	server.SetFaults(firehosetest.Faults{Delay: 5 * time.Millisecond})
	ts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rig.mu.Lock()
		rig.states = append(rig.states, *r.TLS)
		rig.mu.Unlock()
		server.ServeHTTP(w, r)
	}))
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		rig.mu.Lock()
		rig.groups = slices.Clone(h.SupportedCurves)
		rig.mu.Unlock()
		return nil, nil
	}
	ts.TLS = config
	ts.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.StartTLS()
	t.Cleanup(ts.Close)
	rig.url = ts.URL
	return rig
}

func (rig *tlsRig) sink(t testing.TB, file string) *uplink.Firehose {
	t.Helper()
	f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "s", Region: "us-east-1", Endpoint: "https://localhost" + rig.url[len("https://127.0.0.1"):], RootCAs: rig.pool, SessionFile: file,
		Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// put makes one call and returns the bytes that it took, both ways, and whether the connection was resumed.
func (rig *tlsRig) put(t testing.TB, f *uplink.Firehose) (n uint64, resumed bool) {
	t.Helper()
	up, down := f.Bytes()
	if _, err := f.Put(t.Context(), [][]byte{[]byte("line\n")}); err != nil {
		t.Fatal(err)
	}
	up2, down2 := f.Bytes()
	rig.mu.Lock()
	defer rig.mu.Unlock()
	return up2 + down2 - up - down, rig.states[len(rig.states)-1].DidResume
}

func TestAReconnectIsResumedAndCostsAtMost900Bytes(t *testing.T) {
	t.Parallel()
	rig := newTLSRig(t)
	f := rig.sink(t, "")
	defer f.CloseIdle()
	first, resumed := rig.put(t, f)
	if resumed {
		t.Error("the first connection was resumed")
	}
	kept, _ := rig.put(t, f)
	f.CloseIdle()
	again, resumed := rig.put(t, f)
	if !resumed {
		t.Error("the second connection was not resumed")
	}
	if first-kept < 3000 || again-kept > 900 {
		t.Errorf("a new connection adds %d bytes, a resumed one %d", first-kept, again-kept)
	}
	t.Logf("a call on a kept connection %d bytes, a new connection adds %d, a resumed one %d", kept, first-kept, again-kept)
	rig.mu.Lock()
	defer rig.mu.Unlock()
	if want := []tls.CurveID{tls.X25519, tls.CurveP256}; !slices.Equal(rig.groups, want) {
		t.Errorf("the client offers the groups %v, want %v", rig.groups, want)
	}
}

func TestSessionsAreResumedAfterARestartFromAFileOfTheOwnersOnly(t *testing.T) {
	t.Parallel()
	rig := newTLSRig(t)
	file := filepath.Join(t.TempDir(), "tls-sessions")
	one := rig.sink(t, file)
	rig.put(t, one)
	one.CloseIdle()
	one.SessionsKept()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the file's mode is %v", mode)
	}
	two := rig.sink(t, file)
	if _, resumed := rig.put(t, two); !resumed {
		t.Error("the first connection of the second process was not resumed")
	}
	two.CloseIdle()
	two.SessionsKept()
	// What a power cut or a person makes of the file costs a handshake and nothing else.
	for name, text := range map[string]string{"empty": "", "not JSON": "x", "not a session": `[{"Key":"localhost","Ticket":"AAAA","State":"AAAA"}]`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		three := rig.sink(t, file)
		if _, resumed := rig.put(t, three); resumed {
			t.Errorf("%s: resumed", name)
		}
		three.CloseIdle()
		three.SessionsKept()
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
