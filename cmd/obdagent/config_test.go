package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAWrongConfigurationIsOneLineAndStatus2 keeps what each mistake is told as in config.golden. The daemon refuses it with the
// same words as the check, and before it has touched anything.
func TestAWrongConfigurationIsOneLineAndStatus2(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var all strings.Builder
	for _, text := range []string{
		"vin = \"1FTBR1XG2MKA12345\"",
		"[vehicel]",
		"[vehicle]\nvni = \"1FTBR1XG2MKA12345\"",
		"[vehicle]\nvin = \"1FTBR1XG2MKA1234\"",
		"[vehicle]\nvin = \"1FTBR1XG2MKA1234O\"",
		"[vehicle]\nvin = 7",
		"[vehicle]\ndevice_id = \"van 212\"",
		"[obd]\nport = \"ttyUSB0\"",
		"[obd]\nport = \"COM3\"",
		"[obd]\nport = \"192.168.0.10:35000\"",
		"[obd]\nport = \"tcp://192.168.0.10\"",
		"[obd]\nport = \"bluetooth://adapter\"",
		"[obd]\nport = \"none\"\n[gps]\nsource = \"none\"",
		"[obd]\nport = \"/dev/ttyUSB0\"\n[gps]\nsource = \"/dev/ttyUSB0\"",
		"[obd]\nbaud = 38000",
		"[obd]\nmax_rate = 0",
		"[gps]\nsource = \"udp://\"",
		"[gps]\nsource = \"/\"",
		"[record]\nformat = \"csv\"",
		"[record]\nfields = [\"sped\"]",
		"[record]\ninterval = 1",
		"[buffer]\nmax_bytes = \"1KiB\"",
		"[buffer]\ndir = \"buffer\"",
		"[uplink]\nregion = \"us-east1\"",
		"[uplink]\nregion = \"us-east-1a\"",
		"[uplink]\nregion = \"Frankfurt\"",
		"[uplink]\nendpoint = \"127.0.0.1:4573\"",
		"[uplink]\nendpoint = \"https://\"",
		"[uplink]\nendpoint = \"https://user:secret@host\"",
		"[uplink]\nstream = \"gps delivery\"",
		"[uplink]\nstream = \"arn:aws:firehose:us-east-1:123456789012:deliverystream/gps\"",
		"[uplink]\nkind = \"directory\"",
		"[uplink]\nkind = \"folder\"",
		"[status]\nsocket = \"" + "/" + strings.Repeat("s", 107) + "\"",
		"[uplink\nkind = \"directory\"",
	} {
		refused(t, dir, text, &all)
	}
	golden(t, "config.golden", all.String())
	leftAlone(t, dir)
}

// refused checks one text that must be refused, by config check and by run, and notes what was said.
func refused(t *testing.T, dir, text string, all *strings.Builder) {
	t.Helper()
	path := filepath.Join(dir, "c.toml")
	writeFile(t, path, text+"\n")
	said := mistake(t, 2, "config", "check", "--config", path)
	if t.Failed() {
		t.FailNow() // the daemon might take it, and run
	}
	where := strings.TrimPrefix(said, "obdagent config check: "+path)
	if again := mistake(t, 2, "run", "--config", path); again != "obdagent run: "+path+where {
		t.Errorf("run says %q, config check %q", again, said)
	}
	all.WriteString(text + "\n" + strings.ReplaceAll(said, dir+"/", "") + "\n")
}

// leftAlone checks that nothing was made beside the configuration.
func leftAlone(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("refused configurations left %v (%v)", entries, err)
	}
}

func TestEachMistakeIsALineOfItsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "c.toml"), "[obd]\nbaud = 1\nmax_rate = -1\n[gps]\nsauce = \"\"\n")
	r := finish(t, dir, []string{"OBDAGENT_UPLINK_REGION=mars", "OBDAGENT_UPLINK_REGIO=us-east-1"}, "config", "check", "--config", "c.toml")
	lines := strings.Split(strings.TrimSuffix(r.stderr, "\n"), "\n")
	want := []string{"c.toml:2: obd.baud: ", "c.toml:3: obd.max_rate: ", "c.toml:5:", "OBDAGENT_UPLINK_REGIO: unknown variable; did you mean ", "OBDAGENT_UPLINK_REGION: "}
	if r.code != 2 || len(lines) != len(want) {
		t.Fatalf("exit status %d, said %q", r.code, lines)
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], "obdagent config check: "+w) {
			t.Errorf("line %d is %q, want it to begin with %q", i+1, lines[i], w)
		}
	}
}

func TestConfigInitWritesWhatCheckTakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if r := obdagent(t, dir, "config", "init", "c.toml"); r != (result{}) {
		t.Errorf("init: %+v", r)
	}
	printed := obdagent(t, dir, "config", "init")
	written, err := os.ReadFile(filepath.Join(dir, "c.toml"))
	if err != nil || printed.stdout != string(written) {
		t.Errorf("printed and written differ (%v)", err)
	}
	if r := obdagent(t, dir, "config", "check", "--config", "c.toml"); r != (result{stdout: "OK: c.toml\n"}) {
		t.Errorf("check: %+v", r)
	}
	// What show prints is a configuration too, and the same one.
	shown := obdagent(t, dir, "config", "show", "--config", "c.toml")
	writeFile(t, filepath.Join(dir, "shown.toml"), shown.stdout)
	if r := obdagent(t, dir, "config", "check", "--config", "shown.toml"); r.code != 0 {
		t.Errorf("check of what show printed: %+v", r)
	}
	if said := mistake(t, 2, "config", "init", filepath.Join(dir, "c.toml")); !strings.Contains(said, "c.toml is there already") {
		t.Errorf("a second init says %q", said)
	}
}

func TestConfigSaysWhereAValueComesFrom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "c.toml"), "[uplink]\nregion = \"eu-central-1\"\n")
	environ := []string{"OBDAGENT_CONFIG=c.toml", "OBDAGENT_GPS_SOURCE=none"}
	r := finish(t, dir, environ, "config", "show")
	for _, want := range []string{`region = "eu-central-1"`, "# c.toml:2", `source = "none"`, "# env OBDAGENT_GPS_SOURCE"} {
		if r.code != 0 || !strings.Contains(r.stdout, want) {
			t.Errorf("config show: exit status %d, lacks %q:\n%s%s", r.code, want, r.stdout, r.stderr)
		}
	}
	// The flag beats the variable.
	if r := finish(t, dir, environ, "config", "check", "--config", "other.toml"); r.code != 2 || !strings.Contains(r.stderr, "open other.toml") {
		t.Errorf("%+v", r)
	}
}

func TestConfigCheckWarnsAndIsContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "c.toml"), "[record]\nfields = [\"record_id\", \"speed\"]\n")
	r := obdagent(t, dir, "config", "check", "--config", "c.toml")
	if r.code != 0 || r.stderr != "" || !strings.HasPrefix(r.stdout, "warning: c.toml:2: record.fields: ") || !strings.HasSuffix(r.stdout, "\nOK: c.toml\n") {
		t.Errorf("%+v", r)
	}
}

func TestAnAnswerThatCannotBePrintedIsStatus1(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("the machine has no full disk to write to: %v", err)
	}
	defer full.Close()
	for _, line := range []string{"config check", "config show", "config init", "version"} {
		c := command(t.Context(), t.TempDir(), strings.Fields(line)...)
		var errs strings.Builder
		c.Stdout, c.Stderr = full, &errs
		if err := c.Run(); c.ProcessState.ExitCode() != 1 || !isOneLine(errs.String()) || !strings.Contains(errs.String(), "no space left on device") {
			t.Errorf("%s: %v, said %q", line, err, errs.String())
		}
	}
}
