package record_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"obdagent/agent/clock"
	"obdagent/agent/record"
)

// drive makes records of a synthetic drive at 1 Hz, with the noise of a receiver in its positions and times.
func drive(n int, id func(time.Time) uuid.UUID) []record.Record {
	rng := rand.New(rand.NewPCG(7, 7))
	records := make([]record.Record, n)
	lat, lon, course, kmh, target := -6.3385652, 106.9447146, 1.0, 0.0, 50.0
	at := time.Date(2026, time.November, 23, 8, 15, 30, 0, time.UTC)
	for i := range records {
		if rng.Float64() < 0.05 {
			target = float64(rng.IntN(9)) * 10
		}
		kmh += max(-8, min(5, target-kmh))
		course += 0.1 * rng.NormFloat64()
		const metresPerDegree = 111195.08
		lat += kmh / 3.6 * math.Cos(course) / metresPerDegree
		lon += kmh / 3.6 * math.Sin(course) / metresPerDegree
		noise := func() float64 { return 0.3 * rng.NormFloat64() / metresPerDegree }
		records[i] = record.Record{
			ID: id(at), Time: at, TimeSrc: clock.GNSS, VIN: "4FTEX4944AKL84429", VINSrc: "ecu",
			Lat: record.Number(lat + noise()), Lon: record.Number(lon + noise()),
			Speed: record.Number(math.Round((kmh+0.3*rng.NormFloat64())*10) / 10), SpeedSrc: "obd",
		}
		at = at.Add(time.Second)
	}
	return records
}

// idSchemes are the ways to make a record id that were weighed, see docs/decisions/0003-record-ids.md.
var idSchemes = []struct {
	name string
	make func(testing.TB) func(time.Time) uuid.UUID
}{
	{"v8-counter", func(tb testing.TB) func(time.Time) uuid.UUID {
		ids, err := record.NewIDs()
		if err != nil {
			tb.Fatal(err)
		}
		return func(time.Time) uuid.UUID { return ids.Next() }
	}},
	{"v7-of-the-record", func(testing.TB) func(time.Time) uuid.UUID {
		return func(at time.Time) uuid.UUID { // RFC 9562, section 5.7: 48 bits of Unix time in ms, 74 random bits
			id := uuid.New()
			ms := at.UnixMilli()
			for i := range 6 {
				id[i] = byte(ms >> (8 * (5 - i)))
			}
			id[6] = id[6]&0x0f | 0x70
			return id
		}
	}},
	{"v4-random", func(testing.TB) func(time.Time) uuid.UUID { return func(time.Time) uuid.UUID { return uuid.New() } }},
}

// compressed is what a record costs in bytes: 500 lines of the contract's fields as one gzip member of level 9, and that in
// the base64 of a request's JSON.
func compressed(tb testing.TB, id func(time.Time) uuid.UUID) (member, inBase64 float64) {
	tb.Helper()
	const n = 500
	f, err := record.NewTextFormat(record.ContractFields())
	if err != nil {
		tb.Fatal(err)
	}
	var lines []byte
	for _, r := range drive(n, id) {
		lines = f.Append(lines, &r)
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := z.Write(lines); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return float64(out.Len()) / n, float64(base64.StdEncoding.EncodedLen(out.Len())) / n
}

func TestARecordsIDCostsAlmostNothingOnceCompressed(t *testing.T) {
	t.Parallel()
	none, _ := compressed(t, func(time.Time) uuid.UUID { return uuid.UUID{15: 1} })
	for _, s := range idSchemes {
		got, _ := compressed(t, s.make(t))
		t.Logf("%-16s %.1f B a record, of which the id %.1f", s.name, got, got-none)
		if s.name == "v8-counter" && got-none > 4 {
			t.Errorf("the id costs %.1f B a record, want at most 4", got-none)
		}
		if s.name == "v4-random" && got-none < 15 {
			t.Errorf("a random id costs %.1f B a record: less than its 122 random bits", got-none)
		}
	}
}

// BenchmarkIDs is what records cost in bytes by how their ids are made.
func BenchmarkIDs(b *testing.B) {
	for _, s := range idSchemes {
		b.Run(s.name, func(b *testing.B) {
			var member, inBase64 float64
			for b.Loop() {
				member, inBase64 = compressed(b, s.make(b))
			}
			b.ReportMetric(member, "B/record")
			b.ReportMetric(inBase64, "B/record-base64")
		})
	}
}
