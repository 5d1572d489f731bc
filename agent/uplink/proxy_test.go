package uplink_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

// proxyVariable makes TestProxyHelper the sender of one record; net/http reads the proxy's variables once in a process.
const proxyVariable = "OBDAGENT_TEST_PROXY_HELPER"

func TestProxyHelper(t *testing.T) {
	t.Parallel()
	if os.Getenv(proxyVariable) == "" {
		t.Skip("runs as the child of TestTheProxyOfTheEnvironmentIsUsed")
	}
	f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "s", Region: "us-east-1", Endpoint: "https://firehose.invalid"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.CloseIdle()
	if _, err := f.Put(t.Context(), [][]byte{[]byte("line\n")}); err != nil {
		t.Fatal(err)
	}
	up, down := f.Bytes()
	fmt.Printf("up %d down %d\n", up, down)
}

// proxy is an HTTP proxy that leads every name to one address.
type proxy struct {
	to string

	mu    sync.Mutex
	asked []string
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization"))
	p.mu.Unlock()
	there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		_ = there.Close()
		return
	}
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(there, here)
		_ = there.Close()
	}()
	_, _ = io.Copy(here, there)
	_ = here.Close()
	<-done
}

// The daemon behind a van's proxy: it is asked for a tunnel, with its password, the bytes through it are counted, and keys and authorities come from the
// SDK's variables.
func TestTheProxyOfTheEnvironmentIsUsed(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	_, key, der := a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"firehose.invalid"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := firehosetest.New(firehosetest.Options{Streams: []firehosetest.Stream{{Name: "s"}}, Credentials: []firehosetest.Credentials{{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(server)
	ts.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	ts.StartTLS()
	defer ts.Close()
	p := &proxy{to: ts.Listener.Addr().String()}
	ps := httptest.NewServer(p)
	defer ps.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestProxyHelper$", "-test.v")
	child.Env = append(os.Environ(), proxyVariable+"=1", "HTTPS_PROXY=http://van:gateway@"+strings.TrimPrefix(ps.URL, "http://"), "NO_PROXY=", "no_proxy=",
		"AWS_CA_BUNDLE="+bundle, "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY="+secret, "AWS_SESSION_TOKEN=", "AWS_PROFILE=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if c := server.Counters(); c.Taken != 1 {
		t.Errorf("%+v", c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if want := "CONNECT firehose.invalid:443 Basic dmFuOmdhdGV3YXk="; len(p.asked) != 1 || p.asked[0] != want { // van:gateway
		t.Errorf("the proxy was asked %q, want %q", p.asked, want)
	}
	var up, down int64
	i := strings.Index(string(out), "up ")
	if _, err := fmt.Sscanf(string(out)[max(i, 0):], "up %d down %d", &up, &down); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if up < 900 || down < 900 { // a handshake, the request's head with its signature, and the answer
		t.Errorf("%d bytes up and %d down were counted", up, down)
	}
}
