package report_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"obdagent/agent/report"
)

// BenchmarkRead is over the bytes of unpacked lines, 10 vehicles at 1 Hz; lines/s is beside MB/s because forms differ in length.
func BenchmarkRead(b *testing.B) {
	const n = 50_000
	var plain, jsons strings.Builder
	for i := range n {
		at := fmt.Sprintf("2026-11-23T%02d:%02d:%02d.114Z", i/36000, i/600%60, i/10%60)
		vin := fmt.Sprintf("WVWZZZ1JZXW%06d", i%10)
		lon, lat := 10+0.3*math.Sin(float64(i)/9000), 50+0.3*math.Cos(float64(i)/9000)
		speed := fmt.Sprintf("%.1f", 60+40*math.Sin(float64(i)/500))
		plain.WriteString(text(i, at, vin, fmt.Sprintf("%.7f", lon), fmt.Sprintf("%.7f", lat), speed))
		fmt.Fprintf(&jsons, `{"record_id":%q,"timestamp":%q,"time_src":"gnss","vin":%q,"vin_src":"ecu","lon":%.7f,"lat":%.7f,"speed":%s,"speed_src":"obd"}`+"\n", id(i), at, vin, lon, lat, speed)
	}
	for _, test := range []struct {
		name, lines, stored string
	}{
		{"text", plain.String(), plain.String()},
		{"gzip", plain.String(), zip(plain.String())},
		{"json", jsons.String(), jsons.String()},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.SetBytes(int64(len(test.lines)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := report.Read(b.Context(), objects{"a", test.stored}, report.Options{})
				if err != nil || r.Total.Records != n {
					b.Fatalf("%d records, error %v; want %d", r.Total.Records, err, n)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

// BenchmarkParse is one line, without what is counted of it.
func BenchmarkParse(b *testing.B) {
	line := []byte(id(1) + " 2026-11-23T08:00:00.000Z " + vinA + " 106.9447146 -6.3385652 36.4")
	columns := layout(b)
	b.SetBytes(int64(len(line)) + 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := columns.ParseText(line); err != nil {
			b.Fatal(err)
		}
	}
}
