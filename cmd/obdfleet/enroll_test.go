package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"obdagent/cmd/internal/cli"
	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/cmd/obdfleet/internal/enroll"
	"obdagent/cmd/obdfleet/internal/enroll/enrolltest"
)

// enrolling runs obdfleet enroll against an AWS IoT in memory.
func enrolling(t *testing.T, w *enrolltest.World, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	root := cli.Root("obdfleet", "", "", enrollCommand(func(context.Context, cloud.Options) (enroll.IoT, string, error) { return w, cloud.DefaultRegion, nil }))
	var out, errs bytes.Buffer
	status = cli.Run(t.Context(), root, append([]string{"enroll"}, args...), &out, &errs)
	return status, out.String(), errs.String()
}

func TestEnrollOneOntoABootPartition(t *testing.T) {
	t.Parallel()
	w, dir, boot := enrolltest.New(), filepath.Join(t.TempDir(), "boards"), t.TempDir()
	args := []string{"van-212", "--vin=1FTBR1XG2MKA12345", "--dir", dir, "--boot", boot}
	for _, end := range []string{", copied to " + boot + "\n", ", enrolled before, copied to " + boot + "\n"} {
		status, out, errs := enrolling(t, w, args...)
		if status != cli.ExitDone || errs != "" || !strings.HasPrefix(out, "van-212 0000") || !strings.HasSuffix(out, dir+"/van-212"+end) {
			t.Errorf("status %d, printed %q, said %s", status, out, errs)
		}
	}
	key, err := os.ReadFile(filepath.Join(boot, enroll.SeedKey))
	if err != nil || !bytes.Contains(key, []byte("PRIVATE KEY")) {
		t.Error(err)
	}
	text, err := os.ReadFile(filepath.Join(boot, enroll.SeedConfig))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "enroll.toml.golden", string(text))
	status, _, errs := enrolling(t, w, "van-212", "--dir", t.TempDir())
	if status != cli.ExitBadNews || !strings.Contains(errs, "van-212 has a certificate already") {
		t.Errorf("status %d, said %s", status, errs)
	}
}

// TestAListGoesOnWhereItStopped: a list goes on where it stopped, and no key is ever printed.
func TestAListGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	w, dir := enrolltest.New(), t.TempDir()
	list := filepath.Join(dir, "fleet.csv")
	writeFile(t, list, "thing,vin\nvan-1,1FTBR1XG2MKA12345\nvan-2,\nvan-3,WVWZZZ1JZXW000001\n")
	args := []string{"--csv", list, "--dir", filepath.Join(dir, "boards")}
	w.Fail = 3 + 6 + 3 // within the second board
	status, out, errs := enrolling(t, w, args...)
	if status != cli.ExitBadNews || strings.Count(out, "\n") != 1 || !strings.Contains(errs, "van-2: make the certificate: no answer of AWS") || !strings.Contains(errs, "1 of 3 boards are enrolled, the list's first 1: run it again to go on") {
		t.Errorf("status %d, printed %s, said %s", status, out, errs)
	}
	status, again, errs := enrolling(t, w, args...)
	if status != cli.ExitDone || strings.Count(again, "\n") != 3 || !strings.Contains(again, "van-1, enrolled before") || len(w.Certs) != 3 {
		t.Errorf("status %d, printed %s, said %s; %d certificates", status, again, errs, len(w.Certs))
	}
	if strings.Contains(out+again+errs, "PRIVATE") {
		t.Error("a key was printed")
	}
	// One that another desk has enrolled is named, and the rest is done.
	writeFile(t, list, "thing\nvan-3\nvan-4\n")
	status, out, errs = enrolling(t, w, "--csv", list, "--dir", filepath.Join(dir, "others"))
	if status != cli.ExitBadNews || !strings.HasPrefix(out, "van-4 ") || !strings.Contains(errs, "van-3 has a certificate already") {
		t.Errorf("status %d, printed %s, said %s", status, out, errs)
	}
}

func TestEnrollMistakesAreStatus2(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "bad.csv"), "thing,vin\nvan 1,x\n")
	for args, want := range map[string]string{
		"":                              "name the thing, such as van-212, or give --csv FILE",
		"van-1 van-2":                   `"van-2" is too much`,
		"van-1 --csv x":                 "which of them is meant?",
		"--csv " + dir + "/none":        "no such file or directory: give a list of boards that is there",
		"--csv " + dir + "/bad.csv":     `line 2: "van 1" cannot be a thing's name`,
		"--csv x --boot y":              "are for one board",
		"van.1":                         `"van.1" cannot be a thing's name`,
		"van-1 --vin 123":               "a VIN has 17",
		"van-1 --format xml":            `--format "xml": say text or json`,
		"van-1 --kind directory":        `--kind "directory": say firehose or kinesis`,
		"van-1 --dir=":                  "--dir is empty",
		"van-1 --role-alias nobody":     "there is no AWS IoT role alias nobody in us-east-1",
		"van-1 --boot " + dir + "/none": "is no directory: mount the board's boot partition",
		"van-1 --stream a/b":            "is not a stream name",
	} {
		args := strings.Fields(args)
		if len(args) > 0 && !strings.Contains(strings.Join(args, " "), "--dir") {
			args = append(args, "--dir", filepath.Join(dir, "boards"))
		}
		status, out, errs := enrolling(t, enrolltest.New(), args...)
		if status != cli.ExitUsage || out != "" {
			t.Errorf("%q: status %d, want %d; printed %q", args, status, cli.ExitUsage, out)
		}
		expectLines(t, errs, []string{want})
	}
}

func TestADirectoryThatCannotBeWrittenIsStatus1(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "")
	status, out, errs := enrolling(t, enrolltest.New(), "van-1", "--dir", file)
	if status != cli.ExitBadNews || out != "" || !strings.Contains(errs, "not a directory") {
		t.Errorf("status %d, printed %q, said %s", status, out, errs)
	}
}
