package report_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/report"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got, -update writes it):\n%s", file, diff)
	}
}

func TestReportAsPrinted(t *testing.T) {
	t.Parallel()
	lines := strings.SplitAfter(drive, "\n")
	var all strings.Builder // a fleet's morning: 1,001 records, 36 km
	for i := range 1000 {
		all.WriteString(text(1000+i, fmt.Sprintf("2026-11-23T08:%02d:%02d.250Z", i/60, i%60), vinB, "106.9447146", fmt.Sprintf("%.7f", -6.3+float64(i)*3.2376e-4), "129.6"))
	}
	for _, test := range []struct {
		name    string
		source  objects
		options report.Options
	}{
		{"good", objects{"2026/11/23/s-1", drive + all.String()}, report.Options{}},
		{"bad", objects{
			"2026/11/23/s-1", all.String() + drive + lines[0] + text(4, "NaN", "NaN", "NaN", "NaN", "NaN") + text(5, "2026-11-23T08:00:03.000Z", vinA, "10.1", "50", "36"),
			"2026/11/23/s-2", strings.Repeat("rubbish\n", report.KeepDamaged+3),
			"2026/11/23/s-\x1b[31m3", zip(drive)[:60],
			"2026/11/24/s-4", "PAR1\x15\x04",
			"errors/processing-failed/s-5", "rubbish\n",
			"2026/11/24/.s-6", "rubbish\n",
		}, report.Options{}},
		{"none", objects{}, report.Options{}},
		{"no-ids", objects{"a", "2026-11-23T08:00:00.000Z 12.5\n"}, report.Options{Fields: []string{"timestamp", "speed"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := read(t, test.source, test.options)
			var b bytes.Buffer
			if err := r.Table(&b); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "\nproblems: %q\n", r.Problems())
			golden(t, test.name+".table.golden", b.Bytes())
			b.Reset()
			if err := r.JSON(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, test.name+".json.golden", b.Bytes())
		})
	}
}
