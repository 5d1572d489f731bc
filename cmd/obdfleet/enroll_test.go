package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"obdagent/agent/config"
	"obdagent/cmd/internal/cli"
	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/cmd/obdfleet/internal/enroll"
	"obdagent/cmd/obdfleet/internal/enroll/enrolltest"
	"obdagent/deploy"
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

// bareImage makes what matters of a root partition for another processor than this machine's, whichever that is.
func bareImage(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	program := filepath.Join(root, "usr/lib/systemd/systemd")
	writeFile(t, program, "\x7fELF\x02\x02\x01"+strings.Repeat("\x00", 11)+"\x00\x16path\tobdagent/cmd/obdagent\n") // S/390
	writeFile(t, filepath.Join(root, "etc/hostname"), "van\n")
	return root
}

// image is one in which obdagent has been installed.
func image(t *testing.T) string {
	t.Helper()
	root := bareImage(t)
	if _, err := deploy.Install(deploy.InstallOptions{Root: root, Program: filepath.Join(root, "usr/lib/systemd/systemd")}); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestEnrollOneOntoAnImage(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may write to an image")
	}
	w, dir, root := enrolltest.New(), filepath.Join(t.TempDir(), "boards"), image(t)
	args := []string{"van-212", "--dir", dir, "--root", root}
	for _, each := range []struct{ line, config, secret string }{{"\n", "installed, mode 0644", "installed, mode 0600"}, {", enrolled before\n", "unchanged", "unchanged"}} {
		status, out, errs := enrolling(t, w, args...)
		etc := root + "/etc/obdagent/"
		want := dir + "/van-212" + each.line + etc + "config.toml: " + each.config + "\n" + etc + "cert.pem: " + each.secret + "\n" + etc + "key.pem: " + each.secret + "\n"
		if status != cli.ExitDone || errs != "" || !strings.HasSuffix(out, want) {
			t.Errorf("status %d, printed %q, want an end of %q; said %s", status, out, want, errs)
		}
	}
	// What is there is what the configuration names and AWS has as ACTIVE.
	cfg, err := config.Load(filepath.Join(root, "etc/obdagent/config.toml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	iot := cfg.Uplink.IoT
	if _, err := tls.LoadX509KeyPair(filepath.Join(root, iot.Cert), filepath.Join(root, iot.Key)); err != nil || iot.Thing != "van-212" {
		t.Errorf("%+v: %v", iot, err)
	}
	// Another board is not put over it, and is not even made.
	status, out, errs := enrolling(t, w, "van-213", "--dir", dir, "--root", root)
	if status != cli.ExitBadNews || out != "" || !strings.Contains(errs, `cert.pem is another's ("van-212"): give --replace`) || len(w.Certs) != 1 {
		t.Errorf("status %d, printed %q, said %s; %d certificates", status, out, errs, len(w.Certs))
	}
	if status, _, errs := enrolling(t, w, "van-213", "--dir", dir, "--root", root, "--replace"); status != cli.ExitDone || errs != "" {
		t.Errorf("status %d, said %s", status, errs)
	}
	if cfg, err := config.Load(filepath.Join(root, "etc/obdagent/config.toml"), nil); err != nil || cfg.Uplink.IoT.Thing != "van-213" {
		t.Errorf("the image is %+v's: %v", cfg.Uplink.IoT, err)
	}
}

func TestAnImageThatCannotBeIsRefusedBeforeAnythingIsMade(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		status, _, errs := enrolling(t, enrolltest.New(), "van-1", "--dir", t.TempDir(), "--root", t.TempDir())
		if status != cli.ExitUsage || !strings.Contains(errs, "only root may write to an image") {
			t.Errorf("status %d, said %s", status, errs)
		}
		return
	}
	for _, test := range []struct {
		args   string
		status int
		want   string
	}{
		{"--root " + t.TempDir(), cli.ExitBadNews, "holds no Linux system"},
		{"--root " + filepath.Join(t.TempDir(), "none"), cli.ExitBadNews, "no such file or directory"},
		{"--root " + bareImage(t), cli.ExitBadNews, "obdagent install --root"},
		{"--root /", cli.ExitUsage, "--root / is the running system"},
		{"--root " + image(t) + " --boot " + t.TempDir(), cli.ExitUsage, "--boot and --root: choose one"},
	} {
		w := enrolltest.New()
		status, out, errs := enrolling(t, w, append([]string{"van-1", "--dir", t.TempDir()}, strings.Fields(test.args)...)...)
		if status != test.status || out != "" || !strings.Contains(errs, test.want) || len(w.Names) != 0 {
			t.Errorf("%s: status %d, printed %q, said %s; calls %q", test.args, status, out, errs, w.Names)
		}
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
