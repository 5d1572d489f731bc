package agent_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdagent/agent/clock"
	"obdagent/agent/config"
	"obdagent/agent/record"
	"obdagent/agent/status"
	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
	"obdagent/gps/nmeasim"
)

// certificateOf makes a certificate for 127.0.0.1 that is valid from an hour before a moment to an hour after it, and writes it
// to a file of authorities.
func certificateOf(t *testing.T, moment time.Time) (_ tls.Certificate, bundle string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: moment.Add(-time.Hour), NotAfter: moment.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	bundle = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, bundle
}

// The board believes that it is 1970, this machine that it is today, and the world, as the receiver tells it, is in the year
// 2031: only who takes the receiver's time finds the certificate valid, and signs so that the endpoint takes it.
func TestABoardThatWakesIn1970UploadsOverTLSOnceItHasAFix(t *testing.T) {
	t.Run("records wait for the time", func(t *testing.T) { uploadFrom1970(t, 5*time.Minute) })
	t.Run("calls failed before", func(t *testing.T) { uploadFrom1970(t, 0) })
}

func uploadFrom1970(t *testing.T, timeWait time.Duration) {
	begin := time.Now()
	shift := time.Date(2031, time.March, 1, 8, 0, 0, 0, time.UTC).Sub(begin)
	world := func() time.Time { return time.Now().Add(shift).UTC() }
	cert, bundle := certificateOf(t, world())
	t.Setenv("AWS_CA_BUNDLE", bundle)

	var objects bytes.Buffer
	server, err := firehosetest.New(firehosetest.Options{
		Now: world, Region: config.Default().Uplink.Region, Streams: []firehosetest.Stream{{Name: config.Default().Uplink.Stream}},
		Credentials: []firehosetest.Credentials{{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI"}},
		Deliver:     func(_, _ string, object []byte) error { _, err := objects.Write(object); return err },
	})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(server)
	ts.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	ts.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.StartTLS()
	defer ts.Close()

	r := newRig(t)
	r.cfg.Uplink.Kind, r.cfg.Uplink.Endpoint, r.cfg.Uplink.TimeWait = config.KindFirehose, ts.URL, timeWait
	r.cfg.Record.Interval, r.cfg.Record.ParkedInterval = 200*time.Millisecond, 200*time.Millisecond
	r.opts.Credentials = &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI"}
	r.opts.SetBoard("boot-1", func() time.Time { return time.Unix(12, 0).Add(time.Since(begin)) }, false)
	sky := r.plug()
	r.start()

	made := func() string { return fmt.Sprint(r.records()) }
	await(t, "two records before the fix", func() bool { return len(r.records()) >= 2 }, made)
	if timeWait == 0 {
		r.until("a call that fails", func(s status.Snapshot) bool { return s.Uplink.Failed > 0 })
	}
	if s := r.agent.Snapshot(); s.TimeSrc != "none" || s.Uplink.Delivered != 0 {
		t.Errorf("before the fix the time is %s, %d records are delivered", s.TimeSrc, s.Uplink.Delivered)
	}
	epoch := world().Truncate(200 * time.Millisecond).Add(400 * time.Millisecond)
	await(t, "delivery", func() bool {
		if now := world(); !now.Before(epoch) {
			burst := nmeasim.AppendEpoch(nil, epoch, nmeasim.State{Fix: true, Lat: 48, Lon: 11, Alt: 500, Speed: 10, Sats: 9})
			if _, err := sky.Write(burst); err != nil {
				t.Fatal(err)
			}
			epoch = epoch.Add(200 * time.Millisecond)
		}
		return r.agent.Snapshot().Uplink.Delivered >= 10
	}, func() string { s := r.agent.Snapshot(); return s.Line() })
	r.until("the receiver's time", func(s status.Snapshot) bool { return s.TimeSrc == "gnss" })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := server.Flush(); err != nil {
		t.Fatal(err)
	}
	c := server.Counters()
	if len(c.Refused) > 0 {
		t.Errorf("calls were refused: %v", c.Refused)
	}
	lines := strings.Split(strings.TrimSuffix(objects.String(), "\n"), "\n")
	if len(lines) != len(r.records()) {
		t.Errorf("%d records made, %d delivered", len(r.records()), len(lines))
	}
	for i, line := range lines {
		x, err := record.Parse([]byte(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if x.TimeSrc == clock.None && x.Time.IsZero() && timeWait == 0 {
			continue // on its way before the fix
		}
		if x.TimeSrc != clock.GNSS || x.Time.Before(begin.Add(shift-time.Second)) || x.Time.After(world().Add(time.Second)) {
			t.Errorf("record %d is of %v, %s; want the time the receiver tells", i, x.Time, x.TimeSrc)
		}
	}
}
