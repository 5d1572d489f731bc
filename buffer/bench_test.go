package buffer_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"obdagent/buffer"
)

// benchRecord is a record of 150 bytes as the agent makes them.
func benchRecord(n int) []byte {
	return fmt.Appendf(nil, `{"record_id":"0198f3a2-7c11-8%03x-8000-%012x","vin":"WVWZZZ1JZXW000001","lat":52.%07d,"lon":13.%07d,"speed":%5.1f,"alt":34.5,"n":1}`,
		n%4096, n, n*13%10000000, n*17%10000000, float64(n%1300)/10)
}

func benchLog(b *testing.B, opts buffer.Options) *buffer.Log {
	b.Helper()
	opts.Dir = b.TempDir()
	l, err := buffer.Open(opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	return l
}

// BenchmarkDurable is how many records a second are on disk, acknowledged as they come: ns/op is for one record, its share of
// the commit included.
func BenchmarkDurable(b *testing.B) {
	for _, per := range []int{1, 10, 50, 500} {
		b.Run(fmt.Sprintf("commit-per=%d", per), func(b *testing.B) {
			l := benchLog(b, buffer.Options{})
			rec := benchRecord(1)
			b.SetBytes(int64(len(rec)))
			b.ReportAllocs()
			n := 0
			commit := func() {
				if err := l.Commit(); err != nil {
					b.Fatal(err)
				}
				l.Ack(1, l.Committed()-1)
			}
			for b.Loop() {
				if _, err := l.Append(rec); err != nil {
					b.Fatal(err)
				}
				if n++; n%per == 0 {
					commit()
				}
			}
			commit()
			if lost := l.Stats().LostRecords; len(lost) > 0 {
				b.Fatalf("lost %v: this is no durable rate", lost)
			}
		})
	}
}

// BenchmarkDurableRun is the same with Run committing each second, or when a frame is full. The producer waits for a commit
// when a megabyte waits for the disk, so that nothing is given up.
func BenchmarkDurableRun(b *testing.B) {
	l := benchLog(b, buffer.Options{Sync: time.Second})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	rec := benchRecord(1)
	b.SetBytes(int64(len(rec)))
	b.ReportAllocs()
	waiting := 0
	for b.Loop() {
		if _, err := l.Append(rec); err != nil {
			b.Fatal(err)
		}
		if waiting += len(rec); waiting >= 1<<20 {
			if err := l.Commit(); err != nil {
				b.Fatal(err)
			}
			l.Ack(1, l.Committed()-1)
			waiting = 0
		}
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if lost := l.Stats().LostRecords; len(lost) > 0 {
		b.Fatalf("lost %v: this is no durable rate", lost)
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, records := range []int{0, 100_000, 2_000_000} {
		b.Run(fmt.Sprintf("backlog=%d", records), func(b *testing.B) {
			opts := buffer.Options{Dir: b.TempDir()}
			l, err := buffer.Open(opts)
			if err != nil {
				b.Fatal(err)
			}
			for n := range records {
				if _, err = l.Append(benchRecord(n)); err == nil && n%500 == 0 {
					err = l.Commit()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if l, err = buffer.Open(opts); err != nil {
					b.Fatal(err)
				}
				_ = l.Close()
			}
		})
	}
}

func BenchmarkDrain(b *testing.B) {
	l := benchLog(b, buffer.Options{})
	const records = 50_000
	for n := range records {
		_, err := l.Append(benchRecord(n))
		if err == nil && n%500 == 0 {
			err = l.Commit()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Commit(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	r := l.Reader(0)
	for b.Loop() {
		_, ok, err := r.TryNext()
		if err != nil {
			b.Fatal(err)
		}
		if !ok {
			r.Close()
			r = l.Reader(0)
		}
	}
	r.Close()
}
