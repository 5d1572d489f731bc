package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"obdagent/deploy/cloud/queries"
)

// benchVariable is a directory with objects of text lines, made there if it is empty, that the report is measured on.
const benchVariable = "OBDAGENT_TEST_BENCH_REPORT"

// benchBytes is how much is made.
const benchBytes = 1 << 30

// mostMemory is what a report of a gibibyte may have resident.
const mostMemory = 64 << 20

// TestAGibibyte measures the report beside DuckDB on the same objects, each in a process of its own, and holds its memory to its
// bound. It takes a gibibyte of disk and minutes: it runs only where benchVariable says so. make bench-report.
func TestAGibibyte(t *testing.T) {
	dir := os.Getenv(benchVariable)
	if dir == "" {
		t.Skip(benchVariable + " names no directory")
	}
	program := filepath.Join(t.TempDir(), "obdfleet")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	bytes := makeGibibyte(t, filepath.Join(dir, "objects"))
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes of text; load %s", bytes, strings.TrimSpace(string(load)))

	for range 2 { // the second finds the files in the cache, as DuckDB does
		cmd := exec.CommandContext(t.Context(), program, "report", filepath.Join(dir, "objects"), "--tmp", dir, "--json")
		begin := time.Now()
		out, err := cmd.Output()
		took := time.Since(begin).Seconds()
		if err != nil {
			t.Fatalf("report: %v", err)
		}
		var r struct {
			Lines int
			Total struct{ Records, Duplicates int }
		}
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatal(err)
		}
		usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			t.Fatal("no usage")
		}
		t.Logf("obdfleet: %d records and %d duplicates in %.1f s, %.0f MB/s; CPU %.1f s; peak %.1f MiB resident", r.Total.Records, r.Total.Duplicates,
			took, float64(bytes)/1e6/took, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(), float64(usage.Maxrss)/1024)
		if usage.Maxrss<<10 > mostMemory {
			t.Errorf("%d KiB were resident, at most %d may be", usage.Maxrss, mostMemory>>10)
		}
	}
	for _, ask := range []struct{ name, sql string }{
		{"the whole report", whole(t)},
		{"maximum speed alone, duplicates and all", "SELECT vin, max(TRY_CAST(speed AS DOUBLE)) AS top FROM delivered GROUP BY vin ORDER BY vin"},
	} {
		db := duckDB(filepath.Join(dir, "objects"), "record_id,timestamp,vin,lon,lat,speed")
		db.Setup[0] = strings.Replace(db.Setup[0], "SELECT *", "SELECT *, NULL AS co2, NULL AS fuel_rate", 1)
		db.Setup = append(db.Setup, fmt.Sprintf("SET temp_directory='%s'", filepath.Join(dir, "duckdb.tmp")))
		rows, cost := db.Query(t, ask.sql)
		t.Logf("DuckDB, %s: %d rows in %.1f s, %.0f MB/s; CPU %.1f s; peak %.1f MiB resident", ask.name, len(rows), cost.Seconds, float64(bytes)/1e6/cost.Seconds, cost.CPUSeconds, float64(cost.PeakKiB)/1024)
	}
}

func whole(t *testing.T) string {
	t.Helper()
	sql, err := queries.Query{Name: "report", Engine: queries.DuckDB}.SQL()
	if err != nil {
		t.Fatal(err)
	}
	return sql
}

// makeGibibyte writes objects of 5 MiB, Firehose's default size, unless they are there, and returns their size.
func makeGibibyte(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	made, err := filepath.Glob(filepath.Join(dir, "*/*/*/gps-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range made {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
	}
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC)
	const cars = 100
	var counters [cars]int
	for object := 0; bytes < benchBytes; object++ {
		var b strings.Builder
		for b.Len() < 5<<20 {
			car := random.IntN(cars)
			for range 60 { // a packed minute of one car
				n := counters[car]
				counters[car]++
				fmt.Fprintf(&b, "%08x-1740-820c-8906-%012x %s WVWZZZ1JZXW%06d %.7f %.7f %.1f\n", uint32(car+1)*0x9E3779B1, n,
					start.Add(time.Duration(n)*time.Second).Format("2006-01-02T15:04:05.000Z"), car,
					10+float64(n)*1e-5+random.Float64()*1e-6, 50+float64(car)*0.01+random.Float64()*1e-6, 60+random.Float64()*10)
			}
			if random.IntN(100) == 0 && counters[car] > 60 {
				counters[car] -= 60 // delivered again, as other copies
			}
		}
		name := fmt.Sprintf("2026/11/%02d/gps-delivery-stream-1-%05d", 1+object/10%28, object)
		writeFile(t, filepath.Join(dir, name), b.String())
		bytes += int64(b.Len())
	}
	return bytes
}
