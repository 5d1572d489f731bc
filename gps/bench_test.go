package gps_test

import (
	"path/filepath"
	"testing"

	"obdagent/gps"
)

// benchmark feeds the same bytes over and over and reports what one sentence costs.
func benchmark(b *testing.B, log []byte) {
	a := gps.NewAssembler(func(gps.Fix) {})
	a.Feed(log, 0)
	sentences := a.Counts().Sentences
	if sentences == 0 {
		b.Fatal("no sentence")
	}
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		a.Feed(log, 0)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(sentences), "ns/sentence")
	b.ReportMetric(float64(b.N)*float64(sentences)/b.Elapsed().Seconds(), "sentences/s")
}

func BenchmarkRMC(b *testing.B) {
	benchmark(b, []byte(sum("GNRMC,102014.00,A,5550.6082,N,03732.2488,E,000.00000,092.9,300518,,,A,V")))
}

func BenchmarkGGA(b *testing.B) {
	benchmark(b, []byte(sum("GNGGA,203415.000,6325.6138,N,01021.4290,E,1,8,2.42,72.5,M,41.5,M,,")))
}

func BenchmarkGSV(b *testing.B) {
	benchmark(b, []byte(sum("GPGSV,3,1,12,07,06,336,17,08,05,281,25,10,51,291,39,16,70,279,37,0")))
}

func BenchmarkLog(b *testing.B) {
	dir := recordings(b)
	for _, name := range []string{"ublox-zed-f9p-nmea.log", "quectel-l76k-nmea.log", "mixed/ublox-8.log"} {
		b.Run(filepath.Base(name), func(b *testing.B) { benchmark(b, loadRecording(b, dir, name)) })
	}
}

func BenchmarkGpsd(b *testing.B) {
	g := gps.NewGpsdReader(func(gps.Fix) {})
	reports := make([][]byte, 100)
	for i := range reports {
		reports[i] = []byte(tpv(i) + "\r\n")
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		g.Feed(reports[i%len(reports)], 0)
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
}
