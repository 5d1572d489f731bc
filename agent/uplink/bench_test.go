package uplink_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"obdagent/agent/record"
	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
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
// the request, upon which the SDK's HTTP layer drops the connection.
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

// BenchmarkDrain is the rate at which a backlog goes to the local endpoint, SDK, base64, signature and its check of form included.
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

// BenchmarkBytesPerRecord is what a flush of 300 records costs at the socket, both directions, with an 800-character session
// token and a kept connection.
func BenchmarkBytesPerRecord(b *testing.B) {
	token := make([]byte, 800)
	for i := range token {
		token[i] = 'A' + byte(i%26)
	}
	for _, pack := range []bool{true, false} {
		b.Run(fmt.Sprintf("pack=%v", pack), func(b *testing.B) {
			_, f := local(b, 3*time.Millisecond, string(token))
			lines := drive(300)
			log := newFakeLog()
			u, err := uplink.New(log, uplink.Options{Encoder: &plain{}, Sink: f, Pack: pack, Linger: time.Hour, LiveFirst: true})
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
				log.append(lines...)
				if err := u.Drain(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			st := u.Status()
			b.ReportMetric(float64(st.BytesUp)/float64(st.Delivered), "up-B/record")
			b.ReportMetric(float64(st.BytesDown)/float64(st.Delivered), "down-B/record")
			b.ReportMetric(float64(st.BytesUp+st.BytesDown)/float64(st.Delivered), "B/record")
			b.ReportMetric(float64(st.BilledBytes)/float64(st.Delivered), "billed-B/record")
			b.ReportMetric(0, "ns/op")
		})
	}
}
