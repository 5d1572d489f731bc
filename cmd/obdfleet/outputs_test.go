package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"

	"obdagent/agent/report"
	"obdagent/cmd/internal/cli"
)

func TestSeveralSourcesAreOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lines := strings.SplitAfter(drive, "\n")
	writeFile(t, filepath.Join(dir, "one", "2026/11/23/s"), lines[0]+lines[1]+"rubbish\n")
	writeFile(t, filepath.Join(dir, "two", "s"), lines[1])
	writeFile(t, filepath.Join(dir, "three"), lines[3]+"rubbish\n")
	endpoint := serve(t, &fakeS3{bucket: "sd-vehicle-data", objects: map[string]string{"2026/11/23/s": lines[2] + "rubbish\n"}})
	status, out, errs := obdfleet(t, "report", filepath.Join(dir, "one"), filepath.Join(dir, "two"), filepath.Join(dir, "three"), "s3://sd-vehicle-data/2026", "--endpoint", endpoint, "--json")
	var r struct {
		Objects int
		Total   struct{ Records, Duplicates int }
		Damaged struct{ First []struct{ Object string } }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if status != cli.ExitBadNews || r.Objects != 4 || r.Total.Records != 3 || r.Total.Duplicates != 2 {
		t.Errorf("status %d, %+v; want 4 objects, 3 records and 2 duplicates: said %s", status, r, errs)
	}
	got := fmt.Sprint(r.Damaged.First)
	if want := fmt.Sprintf("[{%s/one/2026/11/23/s} {%s/three} {s3://sd-vehicle-data/2026/11/23/s}]", dir, dir); got != want {
		t.Errorf("damaged in %s, want %s", got, want)
	}
}

func TestReportAsCSV(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "s"), drive+"939ed1d1-1740-420c-8906-000000000009 NaN =1+1,x NaN NaN NaN\n")
	status, out, errs := obdfleet(t, "report", dir, "--csv")
	if status != cli.ExitDone {
		t.Errorf("status %d, said %s", status, errs)
	}
	golden(t, "report.csv.golden", out)
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != 4 || rows[2][0] != "'=1+1,x" {
		t.Errorf("error %v, rows %q", err, rows)
	}
}

func TestReportOfADay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	line := func(n int, at string) string {
		return fmt.Sprintf("939ed1d1-1740-420c-8906-%012x %s WVWZZZ1JZXW000001 NaN NaN %d\n", n, at, n)
	}
	writeFile(t, filepath.Join(dir, "2026/11/20/s"), line(1, "2026-11-20T08:00:00.000Z"))
	writeFile(t, filepath.Join(dir, "2026/11/23/s"), line(2, "2026-11-23T08:00:00.000Z")+line(3, "NaN"))
	writeFile(t, filepath.Join(dir, "2027/01/01/s"), line(4, "2026-11-23T23:59:59.999Z")+line(5, "2026-11-24T00:00:00.000Z"))
	status, out, errs := obdfleet(t, "report", dir, "--from", "2026-11-23", "--to", "2026-11-23", "--vin", "WVWZZZ1JZXW000001")
	if status != cli.ExitDone || errs != "" {
		t.Errorf("status %d, said %s", status, errs)
	}
	golden(t, "day.golden", out)
	status, _, errs = obdfleet(t, "report", dir, "--vin", "WVWZZZ1JZXW000002")
	if status != cli.ExitBadNews {
		t.Errorf("status %d, want %d", status, cli.ExitBadNews)
	}
	expectLines(t, errs, []string{"no records that are asked for: 5 lines are left out"})
}

func TestReportIsDrawn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "objects", "s"), drive)
	name := func(s string) string { return filepath.Join(dir, s) }
	writeFile(t, name("a.html"), "an old one")
	status, _, errs := obdfleet(t, "report", name("objects"), "--html", name("a.html"), "--gpx", name("a.gpx"), "--geojson", name("a.geojson"))
	if status != cli.ExitDone || errs != "" {
		t.Fatalf("status %d, said %s", status, errs)
	}
	for file, want := range map[string]string{
		"a.html":    "<h2>4FTEX4944AKL84429</h2>",
		"a.gpx":     `<trkpt lat="50.0000899" lon="10.0000000"><time>2026-11-23T08:00:01.000Z</time>`,
		"a.geojson": `"coordinates":[[10.0000000,50.0000000],`,
	} {
		got, err := os.ReadFile(name(file))
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: error %v, want it to hold %s:\n%.500s", file, err, want, got)
		}
	}
	expectFiles(t, dir, "a.geojson", "a.gpx", "a.html", "objects")
}

func expectFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

// What is stopped, or fails, leaves an old file as it was and no half of a new one.
func TestADrawingThatIsNotFinishedLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "objects", "s"), drive)
	old := filepath.Join(dir, "a.html")
	writeFile(t, old, "an old one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if status := cli.Run(ctx, rootCommand(), []string{"report", filepath.Join(dir, "objects"), "--html", old, "--gpx", filepath.Join(dir, "a.gpx")}, &out, &errs); status != cli.ExitBadNews {
		t.Errorf("status %d, want %d", status, cli.ExitBadNews)
	}
	expectFiles(t, dir, "a.html", "objects")
	if got, err := os.ReadFile(old); err != nil || string(got) != "an old one" {
		t.Errorf("the old file is %q, %v", got, err)
	}
	status, _, said := obdfleet(t, "report", filepath.Join(dir, "objects"), "--html", old, "--gpx", filepath.Join(dir, "none", "a.gpx"))
	if status != cli.ExitUsage {
		t.Errorf("status %d, want %d", status, cli.ExitUsage)
	}
	expectLines(t, said, []string{"--gpx: open"})
	expectFiles(t, dir, "a.html", "objects")
}

func TestProgressIsForTerminals(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	p := newProgress(&file)
	p.tell(report.Progress{Bytes: 1, Listed: 2})
	p.end()
	if file.Len() > 0 {
		t.Errorf("a file was told %q", file.String())
	}

	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string)
	go func() {
		b, _ := io.ReadAll(master) // ends with an error when the other side closes
		seen <- string(b)
	}()
	p = newProgress(terminal)
	p.tell(report.Progress{Objects: 3, Bytes: 1 << 20, Listed: 4 << 20})
	p.tell(report.Progress{Objects: 12, Bytes: 4 << 20, Listed: 4 << 20, Sorting: true, Done: 0.5})
	p.end()
	if err := terminal.Close(); err != nil {
		t.Fatal(err)
	}
	got := <-seen
	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "reading  24%") || !strings.Contains(got, "sorting  50%") {
		t.Errorf("the terminal shows %q", got)
	}
}
