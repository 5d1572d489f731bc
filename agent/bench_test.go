package agent_test

import (
	"bytes"
	"context"
	"math"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"obdagent/agent"
	"obdagent/agent/clock"
	"obdagent/agent/config"
	"obdagent/agent/fusion"
	"obdagent/agent/record"
	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
	"obdagent/buffer"
	"obdagent/gps"
	"obdagent/obd"
)

const (
	benchVIN = "1FTBR1XG2MKA12345"
	// benchAnswers is how often the car answers a second: obd.max_rate by default.
	benchAnswers = 20
	// benchCommit is after how many records a benchmark waits for the disk. They are 1.2 MB: less than the buffer gives up
	// before it gives up records.
	benchCommit = 2048
)

// A drive makes records of simulated samples and epochs as fast as it can, in simulated time, the way the daemon does: car at
// 20 answers a second, receiver at its rate, every record dated by the receiver.
type drive struct {
	epoch  time.Duration // between two
	now    time.Duration // CLOCK_BOOTTIME
	began  time.Time     // UTC at boot
	clock  *clock.Clock
	fuser  *fusion.Fuser
	buffer *buffer.Log
	slow   int // which of the other signals is due
	line   []byte
	made   int
}

func newDrive(b *testing.B, l *buffer.Log, epoch time.Duration) *drive {
	b.Helper()
	d := &drive{epoch: epoch, buffer: l, began: time.Date(2026, time.November, 23, 8, 0, 0, 0, time.UTC)}
	var err error
	if d.clock, err = clock.Open(clock.Options{
		BootID: "8f6c2a54-3f0e-4f43-9f3e-0d4f3f6f7a10", Build: agent.Floor,
		Boottime: func() time.Duration { return d.now },
		System:   func() time.Time { return d.began.Add(d.now) },
	}); err != nil {
		b.Fatal(err)
	}
	ids, err := record.NewIDs()
	if err != nil {
		b.Fatal(err)
	}
	d.fuser = fusion.New(fusion.Options{Car: true, Interval: epoch, ParkedInterval: epoch, DeviceID: "van-212",
		BootID: "8f6c2a54-3f0e-4f43-9f3e-0d4f3f6f7a10", NewID: ids.Next, Clock: d.clock, GPS: true})
	d.fuser.Car(obd.StateChange{To: obd.StateLive}, 0)
	d.fuser.Vehicle(obd.Vehicle{VIN: benchVIN})
	// The first epochs make the clock trust the receiver; their records are not of interest.
	for range 5 {
		d.step(func(record.Record) {})
	}
	return d
}

// step is one epoch with the answers of the car before it.
func (d *drive) step(keep func(record.Record)) {
	answers := max(int(d.epoch*benchAnswers/time.Second), 1)
	gap := d.epoch / time.Duration(answers)
	slow := [...]obd.Sample{{Signal: "rpm", Value: 2113.25}, {Signal: "load", Value: 41.2}, {Signal: "maf", Value: 18.71},
		{Signal: "throttle", Value: 17.3}, {Signal: "coolant", Value: 88}, {Signal: "voltage", Value: 14.1}}
	t := d.now.Seconds()
	kmh := math.Round(60 + 40*math.Sin(t/40))
	take := func(r record.Record, ok bool) {
		if ok {
			keep(r)
		}
	}
	for i := range answers {
		d.now += gap
		s := obd.Sample{Signal: obd.SignalSpeed, Value: kmh, Mono: d.now - gap/2, ECU: "7E8"}
		if i%5 == 4 || answers < 5 && i == answers-1 { // as the schedule does: every fifth answer is another signal's
			s.Signal, s.Value = slow[d.slow].Signal, slow[d.slow].Value
			d.slow = (d.slow + 1) % len(slow)
		}
		take(d.fuser.Sample(s))
	}
	x := gps.Fix{Mono: d.now + 60*time.Millisecond, Time: d.began.Add(d.now), Mode: gps.Mode3D,
		Lat: 48.1371500 + 0.01*math.Sin(t/300), Lon: 11.5754200 + 0.01*math.Cos(t/300),
		Alt: 519.3, Speed: kmh / 3.6, Course: 181.4, HDOP: 0.8, Sats: 11}
	utc, trusted := d.clock.Epoch(x.Time, x.Mono)
	if !trusted {
		utc = time.Time{}
	}
	take(d.fuser.Fix(x, utc))
}

// append does what the daemon does with a record.
func (d *drive) append(b *testing.B, r record.Record) {
	r.Seq = d.buffer.Stats().NextSeq
	d.line = r.AppendStored(d.line[:0])
	if _, err := d.buffer.Append(d.line); err != nil {
		b.Fatal(err)
	}
	d.made++
	if d.made%benchCommit == 0 {
		d.commit(b)
	}
}

// commit waits for the disk.
func (d *drive) commit(b *testing.B) {
	if err := d.buffer.Commit(); err != nil {
		b.Fatal(err)
	}
}

func openBuffer(b *testing.B, dir string) *buffer.Log {
	b.Helper()
	l, err := buffer.Open(buffer.Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// BenchmarkFusionAndBuffer is what becomes of samples and epochs until their record is on disk: dated, fused, written as JSON,
// appended, and committed by the buffer's own rule (each second and each full frame). It waits for the disk every 2,048 records, so that none is given up, and
// acknowledges what is there, as an uplink that keeps up does. One op is one record.
func BenchmarkFusionAndBuffer(b *testing.B) {
	for _, test := range []struct {
		name  string
		epoch time.Duration
	}{
		{"receiver=1Hz", time.Second},
		{"receiver=10Hz", time.Second / 10},
	} {
		b.Run(test.name, func(b *testing.B) {
			l := openBuffer(b, b.TempDir())
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- l.Run(ctx) }()
			d := newDrive(b, l, test.epoch)
			bytes := 0
			b.ReportAllocs()
			for b.Loop() {
				d.step(func(r record.Record) {
					d.append(b, r)
					bytes += len(d.line)
					if d.made%benchCommit == 0 {
						l.Ack(1, l.Committed()-1)
					}
				})
			}
			d.commit(b)
			b.StopTimer()
			if s := l.Stats(); d.made != b.N || s.NextSeq != uint64(d.made)+1 || s.Unsynced != 0 || len(s.LostRecords) != 0 {
				b.Fatalf("%d records of %d epochs, the buffer has %+v", d.made, b.N, s)
			}
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(bytes)/float64(b.N), "B/record")
		})
	}
}

// BenchmarkDrain is a daemon that finds a backlog of 50,000 records on disk when it starts, from its start until the local
// endpoint has taken the last: buffer, encoder, packing, signature, loopback, and the endpoint's own checks, which run on
// the same machine. One op is one backlog.
func BenchmarkDrain(b *testing.B) {
	for _, format := range []string{config.FormatText, config.FormatJSON} {
		b.Run("format="+format, func(b *testing.B) { benchmarkDrain(b, format) })
	}
}

func benchmarkDrain(b *testing.B, format string) {
	const backlog = 50_000
	var lines, payload atomic.Int64
	server, err := firehosetest.New(firehosetest.Options{
		Addr:    "127.0.0.1:0",
		Streams: []firehosetest.Stream{{Name: config.Default().Uplink.Stream}},
		Deliver: func(_, _ string, object []byte) error {
			lines.Add(int64(bytes.Count(object, []byte("\n"))))
			payload.Add(int64(len(object)))
			return nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()

	b.ReportAllocs()
	b.StopTimer()
	for range b.N {
		dir := filepath.Join(b.TempDir(), "buffer")
		fillBuffer(b, dir, backlog)
		a := newDrainer(b, dir, format, server.URL())
		b.StartTimer()
		ctx, stop := context.WithCancel(b.Context())
		ran := make(chan error, 1)
		go func() { ran <- a.Run(ctx) }()
		untilDelivered(b, a, backlog)
		b.StopTimer()
		stop()
		if err := <-ran; err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	if err := <-served; err != nil {
		b.Fatal(err)
	}
	// The daemon adds a record of its own where the time it runs for asks for one.
	if n := lines.Load(); n < int64(b.N)*backlog {
		b.Fatalf("%d lines delivered of %d records", n, b.N*backlog)
	}
	b.ReportMetric(float64(b.N)*backlog/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(payload.Load())/float64(lines.Load()), "B/record")
}

// fillBuffer leaves a backlog of dated records in a closed buffer.
func fillBuffer(b *testing.B, dir string, records int) {
	l := openBuffer(b, dir)
	d := newDrive(b, l, time.Second)
	for d.made < records {
		d.step(func(r record.Record) { d.append(b, r) })
	}
	d.commit(b)
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

// newDrainer is a daemon without sources.
func newDrainer(b *testing.B, dir, format, endpoint string) *agent.Agent {
	c := config.Default()
	c.Vehicle.DeviceID = "bench"
	c.OBD.Port, c.GPS.Source = config.None, config.None
	c.Record.Format = format
	c.Buffer.Dir = dir
	c.Uplink.Endpoint = endpoint
	// A backlog waits at the start, so that vans which get power together do not send together: at most a linger.
	c.Uplink.Linger = 10 * time.Millisecond
	c.Status.Log, c.Status.Socket = "", ""
	a, err := agent.New(b.Context(), agent.Options{Config: &c, Version: "bench",
		Credentials: &uplink.Credentials{AccessKeyID: "AKIDBENCH00000000000", SecretAccessKey: "secret of a local endpoint"}})
	if err != nil {
		b.Fatal(err)
	}
	return a
}

func untilDelivered(b *testing.B, a *agent.Agent, records uint64) {
	b.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		s := a.Snapshot().Uplink
		if s.Delivered >= records {
			return
		}
		select {
		case <-look.C:
		case <-deadline.C:
			b.Fatalf("%d of %d records delivered in a minute: %+v", s.Delivered, records, s)
		}
	}
}
