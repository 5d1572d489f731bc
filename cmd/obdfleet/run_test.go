package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"obdagent/agent/agenttest"
	"obdagent/cmd/internal/cli"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	agenttest.PlainAWS()
	goleak.VerifyTestMain(m)
}

// obdfleet runs the program in this process.
func obdfleet(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = cli.Run(t.Context(), rootCommand(), args, &out, &errs)
	return status, out.String(), errs.String()
}

// drive is two records of one vehicle, the second delivered twice, and one of another.
const drive = `939ed1d1-1740-420c-8906-000000000001 2026-11-23T08:00:00.000Z WVWZZZ1JZXW000001 10.0000000 50.0000000 36
939ed1d1-1740-420c-8906-000000000002 2026-11-23T08:00:01.000Z WVWZZZ1JZXW000001 10.0000000 50.0000899 36.4
939ed1d1-1740-420c-8906-000000000002 2026-11-23T08:00:01.000Z WVWZZZ1JZXW000001 10.0000000 50.0000899 36.4
939ed1d1-1740-420c-8906-000000000003 2026-11-23T08:00:01.000Z 4FTEX4944AKL84429 106.9447146 -6.3385652 25
`

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		writeFile(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got, -update writes it):\n%s", file, diff)
	}
}

func TestHelpIsAsDocumented(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, args := range [][]string{{"--help"}, {"cloud", "--help"}, {"cloud", "up", "--help"}, {"cloud", "status", "--help"}, {"cloud", "list", "--help"}, {"cloud", "down", "--help"}, {"cloud", "policy", "--help"}, {"cloud", "template", "--help"}, {"enroll", "--help"}, {"report", "--help"}, {"version", "--help"}} {
		status, out, errs := obdfleet(t, args...)
		if status != cli.ExitDone || errs != "" {
			t.Errorf("%q: status %d, said %s", args, status, errs)
		}
		all.WriteString("$ obdfleet " + strings.Join(args, " ") + "\n" + out + "\n")
	}
	golden(t, "help.golden", all.String())
}

func TestReportOfADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "2026/11/23/gps-delivery-stream-1-x"), drive)
	for _, test := range []struct {
		golden string
		args   []string
	}{
		{"report.golden", []string{"report", dir}},
		{"report.json.golden", []string{"report", dir, "--json"}},
	} {
		status, out, errs := obdfleet(t, test.args...)
		if status != cli.ExitDone || errs != "" {
			t.Errorf("%q: status %d, said %s", test.args, status, errs)
		}
		golden(t, test.golden, out)
	}
}

func TestBadNewsIsStatus1AndOneLineEach(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "damaged", "a"), drive+"rubbish\n")
	writeFile(t, filepath.Join(dir, "cut", "a.gz"), drive)
	writeFile(t, filepath.Join(dir, "cut", "b.gz"), "\x1f\x8b\x08 cut off")
	writeFile(t, filepath.Join(dir, "empty", "errors", "a"), "rubbish\n")
	for _, test := range []struct {
		dir  string
		want []string
	}{
		{"damaged", []string{"1 damaged line left out: a line 5: column count 1 instead of 6"}},
		{"cut", []string{"1 object or part of one could not be read: b.gz: gzip member at byte 0"}},
		{"empty", []string{"no records in 0 objects, 1 skipped under an error prefix"}},
	} {
		status, out, errs := obdfleet(t, "report", filepath.Join(dir, test.dir))
		if status != cli.ExitBadNews || !strings.Contains(out, "total") {
			t.Errorf("%s: status %d, want %d and the table: %s", test.dir, status, cli.ExitBadNews, out)
		}
		expectLines(t, errs, test.want)
	}
}

// expectLines checks that what was said is one line for each part, with it.
func expectLines(t *testing.T, said string, parts []string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(said, "\n"), "\n")
	if len(lines) != len(parts) {
		t.Errorf("said %q, want %d lines", said, len(parts))
		return
	}
	for i, line := range lines {
		if !strings.Contains(line, parts[i]) || !strings.HasPrefix(line, "obdfleet") {
			t.Errorf("said %q, want it to begin with obdfleet and hold %q", line, parts[i])
		}
	}
}

func TestMistakesAreStatus2AndOneLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct {
		args string
		want string
	}{
		{"", "say which command"},
		{"rapport", `there is no command "rapport"`},
		{"version now", `"now" is too much`},
		{"report", "give a source"},
		{"report --jason " + dir, "unknown flag: --jason"},
		{"report " + dir + "/none", "no such file or directory: give a directory that is there, or s3://"},
		{"report ftp://host/dir", "cannot read ftp://"},
		{"report s3://", `"" cannot be a bucket's name`},
		{"report s3:///2026", `"" cannot be a bucket's name`},
		{"report s3://SD-Vehicle-Data/2026", `"SD-Vehicle-Data" cannot be a bucket's name`},
		{"report s3://sd-vehicle-data --region frankfurt", "--region frankfurt: no region looks like that"},
		{"report s3://sd-vehicle-data --endpoint 127.0.0.1:5000", "--endpoint 127.0.0.1:5000 is not a URL"},
		{"report s3://sd-vehicle-data --endpoint http://", "--endpoint http:// is not a URL"},
		{"report " + dir + " --region us-east-1", "is a directory: --endpoint and --region are for s3://"},
		{"report " + dir + " --fields record_id,sped", `there is no field "sped": the fields are record_id`},
		{"report " + dir + " --fields speed,speed", `"speed" is named twice`},
		{"report " + dir + " --fields ,", "--fields is empty"},
		{"report " + dir + " --json --csv", "--json and --csv: choose one"},
		{"report " + dir + " --from yesterday", `--from: "yesterday" is neither a day such as`},
		{"report " + dir + " --to 23.11.2026", `--to: "23.11.2026" is neither a day such as`},
		{"report " + dir + " --from 2026-11-24 --to 2026-11-23", "--from 2026-11-24 is not before --to 2026-11-23"},
		{"report " + dir + " --gap 1ms", "--gap 1ms: give at least 1s"},
		{"report " + dir + " --tmp " + dir + "/none", "/none is not a directory that is there"},
		{"report " + dir + " --html " + dir, "is not a file"},
		{"report " + dir + " --engine spark", "--engine spark: choose builtin or athena"},
		{"report " + dir + " --workgroup x", "--workgroup is for --engine athena"},
		{"report " + dir + " --engine athena", "Athena reads its table: say --table instead of a source"},
		{"report --engine athena --html a.html", "--html is for --engine builtin"},
		{"report --engine athena --table x;y", `--table "x;y": Athena's names have a-z`},
		{"report --engine athena --workgroup a/b", `--workgroup "a/b"`},
		{"report --engine athena --output /tmp", "--output /tmp: give s3://"},
		{"report " + dir + " --stream-format xml", `--stream-format: format "xml" is unknown`},
	} {
		status, out, errs := obdfleet(t, strings.Fields(test.args)...)
		if status != cli.ExitUsage || out != "" {
			t.Errorf("%q: status %d, want %d; printed %q, want nothing", test.args, status, cli.ExitUsage, out)
		}
		expectLines(t, errs, []string{test.want})
	}
}

// full is a disk without space.
type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestAReportThatCannotBePrintedIsStatus1(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a"), drive)
	for _, args := range [][]string{{"report", dir}, {"report", dir, "--json"}, {"version"}} {
		var errs bytes.Buffer
		status := cli.Run(t.Context(), rootCommand(), args, full{}, &errs)
		if status != cli.ExitBadNews {
			t.Errorf("%q: status %d, want %d", args, status, cli.ExitBadNews)
		}
		expectLines(t, errs.String(), []string{errFull.Error()})
	}
}

func TestAReportThatIsStoppedIsStatus1(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	dir := t.TempDir()
	if status := cli.Run(ctx, rootCommand(), []string{"report", dir}, &out, &errs); status != cli.ExitBadNews || out.Len() > 0 {
		t.Errorf("status %d, want %d; printed %q, want nothing", status, cli.ExitBadNews, out.String())
	}
	expectLines(t, errs.String(), []string{"stopped before the end of " + dir + ": no report"})
}

func TestVersionNamesTheProgram(t *testing.T) {
	t.Parallel()
	if status, out, _ := obdfleet(t, "version"); status != cli.ExitDone || !strings.HasPrefix(out, "obdfleet ") {
		t.Errorf("status %d, printed %q", status, out)
	}
}
