package uplink_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"golang.org/x/sys/unix"

	"obdagent/agent/record"
	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
	"obdagent/buffer"
)

// drive returns n text lines, less their newlines, as a van makes them at 1 Hz: about 106 bytes with it.
func drive(n int) []string {
	r := rand.New(rand.NewPCG(1, 1))
	ids, err := record.NewIDs()
	if err != nil {
		panic(err)
	}
	at := today
	lon, lat, speed := 11.5754200, 48.1371500, 50.0
	out := make([]string, n)
	for i := range out {
		at = at.Add(time.Second)
		speed = min(max(speed+r.NormFloat64()*2, 0), 130)
		lon += speed/3.6*1.3e-5 + r.NormFloat64()*1e-6
		lat += r.NormFloat64() * 5e-6
		out[i] = fmt.Sprintf("%s %s WVWZZZ1KZAW000001 %.7f %.7f %.1f", ids.Next(), at.Format("2006-01-02T15:04:05.000Z"), lon, lat, speed)
	}
	return out
}

// local runs a strict endpoint on loopback and a sink that writes to it. The delay keeps answers from overtaking the end of
// the request, upon which net/http drops the connection.
func local(b *testing.B, delay time.Duration, token string) (*firehosetest.Server, *uplink.Firehose) {
	b.Helper()
	s, err := firehosetest.New(firehosetest.Options{Addr: "127.0.0.1:0", Streams: []firehosetest.Stream{{Name: "gps-delivery-stream"}}})
	if err != nil {
		b.Fatal(err)
	}
	s.SetFaults(firehosetest.Faults{Delay: delay})
	f, err := uplink.NewFirehose(b.Context(), uplink.StreamOptions{Stream: "gps-delivery-stream", Region: "us-east-1", Endpoint: s.URL(),
		Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLEEXAMPLE00", SecretAccessKey: secret, SessionToken: token}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.Cleanup(func() {
		f.CloseIdle()
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return s, f
}

// BenchmarkDrain is the rate at which a backlog goes to the local endpoint, base64, signature and its check of form included.
func BenchmarkDrain(b *testing.B) {
	s, f := local(b, 0, "")
	lines := drive(10_000)
	log := newFakeLog()
	for n := b.N; n > 0; n -= len(lines) {
		log.append(lines[:min(n, len(lines))]...)
	}
	u, err := uplink.New(log, uplink.Options{Encoder: &plain{}, Sink: f, Pack: true, LiveFirst: true})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	started := make(chan struct{})
	done := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	go func() { close(started); done <- u.Run(ctx) }()
	<-started
	for u.Status().State == uplink.StateStopped {
		time.Sleep(time.Millisecond)
	}
	if err := u.Drain(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	st := u.Status()
	if int(st.Delivered) != b.N || s.Counters().Bytes != int64(st.PayloadBytes) {
		b.Fatalf("delivered %d of %d", st.Delivered, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(st.BilledBytes)/float64(b.N), "billed-B/record")
}

// token is as long as those of temporary credentials.
func token() string {
	b := make([]byte, 800)
	for i := range b {
		b[i] = 'A' + byte(i%26)
	}
	return string(b)
}

// dollarsPerGB is the price of the first tier, before any discount (Amazon Data Firehose pricing, us-east-1: $0.029 a GB).
const dollarsPerGB = 0.029

// report prints what a record costs.
func report(b *testing.B, wire, billed uint64, records int) {
	b.ReportMetric(float64(wire)/float64(records), "wire-B/record")
	b.ReportMetric(float64(billed)/float64(records), "billed-B/record")
	b.ReportMetric(float64(billed)/float64(records)*1e6/1e9*dollarsPerGB, "$/million")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBytesPerRecord is what a record costs at the socket, both directions, with an 800-character session token and a
// kept connection: ours at 60 (the default linger) and 300 records a flush, and what others do.
func BenchmarkBytesPerRecord(b *testing.B) {
	for _, bb := range []struct {
		name       string
		flush      int
		pack, gzip bool
	}{
		{"ours, none, 60 a flush", 60, true, false},
		{"ours, none, 300 a flush", 300, true, false},
		{"ours, gzip, 60 a flush", 60, true, true},
		{"ours, gzip, 300 a flush", 300, true, true},
		{"a batch of 500, a line an entry", 500, false, false},
	} {
		b.Run(bb.name, func(b *testing.B) {
			_, f := local(b, 3*time.Millisecond, token())
			log := newFakeLog()
			u, err := uplink.New(log, uplink.Options{Encoder: &plain{}, Sink: f, Pack: bb.pack, Gzip: bb.gzip, Linger: time.Hour, LiveFirst: true})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- u.Run(ctx) }()
			for u.Status().State == uplink.StateStopped {
				time.Sleep(time.Millisecond)
			}
			for b.Loop() {
				log.append(drive(bb.flush)...)
				if err := u.Drain(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			st := u.Status()
			report(b, st.BytesUp+st.BytesDown, st.BilledBytes, int(st.Delivered))
		})
	}
	b.Run("PutRecord, a line a call", func(b *testing.B) {
		s, _ := local(b, 3*time.Millisecond, token())
		var wire atomic.Int64
		transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &countedConn{c, &wire}, err
		}}
		defer transport.CloseIdleConnections()
		client := firehose.New(firehose.Options{Region: "us-east-1", BaseEndpoint: aws.String(s.URL()), HTTPClient: &http.Client{Transport: transport},
			Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLEEXAMPLE00", secret, token())})
		n := 0
		lines := drive(100)
		for b.Loop() {
			if _, err := client.PutRecord(b.Context(), &firehose.PutRecordInput{DeliveryStreamName: aws.String("gps-delivery-stream"),
				Record: &types.Record{Data: []byte(lines[n%100] + "\n")}}); err != nil {
				b.Fatal(err)
			}
			n++
		}
		report(b, uint64(wire.Load()), uint64(s.Counters().Billed), n)
	})
}

// countedConn counts both ways.
type countedConn struct {
	net.Conn
	n *atomic.Int64
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// endpointVariable makes the test binary an endpoint: it prints its URL and serves until its standard input ends.
const endpointVariable = "OBDAGENT_TEST_ENDPOINT"

func TestMain(m *testing.M) {
	if os.Getenv(endpointVariable) == "" {
		os.Exit(m.Run())
	}
	s, err := firehosetest.New(firehosetest.Options{Addr: "127.0.0.1:0", Streams: []firehosetest.Stream{{Name: "gps-delivery-stream"}}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := s.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// elsewhere runs a strict endpoint in a process of its own and returns a sink that writes to it.
func elsewhere(b *testing.B) *uplink.Firehose {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), endpointVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	f, err := uplink.NewFirehose(b.Context(), uplink.StreamOptions{Stream: "gps-delivery-stream", Region: "us-east-1", Endpoint: strings.TrimSpace(line),
		Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLEEXAMPLE00", SecretAccessKey: secret}})
	if err != nil {
		b.Fatal(err)
	}
	return f
}

// BenchmarkDrainAMillion delivers a backlog of a million records that lies on disk to an endpoint in a process of its own. CPU
// and peak are of this process: buffer, uplink and the test binary. Run it with -benchtime=1x.
func BenchmarkDrainAMillion(b *testing.B) {
	for _, gzip := range []bool{false, true} {
		b.Run(fmt.Sprintf("gzip=%v", gzip), func(b *testing.B) {
			const records = 1_000_000
			dir := b.TempDir()
			log, err := buffer.Open(buffer.Options{Dir: dir, MaxBytes: 512 << 20})
			if err != nil {
				b.Fatal(err)
			}
			for range 100 {
				for _, l := range drive(records / 100) {
					if _, err := log.Append([]byte(l)); err != nil {
						b.Fatal(err)
					}
				}
				if err := log.Commit(); err != nil {
					b.Fatal(err)
				}
			}
			f := elsewhere(b)
			u, err := uplink.New(log, uplink.Options{Encoder: &plain{}, Sink: f, Pack: true, Gzip: gzip, LiveFirst: true})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			debug.FreeOSMemory()
			resetPeak(b)
			before := cpu(b)
			b.ResetTimer()
			go func() { done <- u.Run(ctx) }()
			for u.Status().State == uplink.StateStopped {
				time.Sleep(time.Millisecond)
			}
			if err := u.Drain(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			used := cpu(b) - before
			cancel()
			if err := errors.Join(<-done, log.Close()); err != nil {
				b.Fatal(err)
			}
			if st := u.Status(); st.Delivered != records {
				b.Fatalf("%d delivered", st.Delivered)
			}
			b.ReportMetric(records/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(used.Seconds(), "cpu-s")
			b.ReportMetric(peak(b), "peak-MiB")
		})
	}
}

// cpu is what the process has used.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resetPeak makes the kernel forget the highest resident size (proc(5), /proc/PID/clear_refs).
func resetPeak(b *testing.B) {
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Skip("the peak cannot be measured: ", err)
	}
}

// peak is the highest resident size since, in MiB.
func peak(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kb); err == nil {
			return kb / 1024
		}
	}
	b.Fatal("no VmHWM")
	return 0
}
