package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"obdagent/agent/demo"
)

// object is the documented name of an object, with its folders.
var object = regexp.MustCompile(`^(\d{4}/\d{2}/\d{2})/gps-delivery-stream-1-(\d{4}-\d{2}-\d{2})-\d{2}-\d{2}-\d{2}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// objects are the lines of the objects of a demo, by line; their names must be as documented.
func objects(t *testing.T, dir string) (lines []string) {
	t.Helper()
	root := filepath.Join(dir, "sd-vehicle-data")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if m := object.FindStringSubmatch(name); m == nil || strings.ReplaceAll(m[1], "/", "-") != m[2] {
			t.Errorf("an object is called %s", name)
		}
		text, err := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			lines = append(lines, line)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestTheDemoEndsWithATableAndObjects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := obdagent(t, dir, "demo", "--for", "3s", "--rate", "5hz", "--dir", "out")
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%+v", r)
	}
	lines := objects(t, filepath.Join(dir, "out"))
	rows := map[string]int{"total": len(lines)} // of the table: by VIN, as many records as the objects hold
	for _, line := range lines {
		columns := strings.Split(line, " ")
		if len(columns) != 6 {
			t.Errorf("%d columns: %q", len(columns), line)
		} else if columns[2] == "NaN" { // before the car has told it, which takes a busy machine longer
			rows["unknown"]++
		} else {
			rows[columns[2]]++
		}
	}
	for vin, n := range rows {
		if vin != "total" && vin != "unknown" && vin != demo.VIN {
			t.Errorf("a record is of the van %s", vin)
		}
		if row := regexp.MustCompile(fmt.Sprintf(`\n%s +%d `, vin, n)); !row.MatchString(r.stdout) {
			t.Errorf("the table has no row %q of %d records:\n%s", vin, n, r.stdout)
		}
	}
	said := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
	if want := fmt.Sprintf("every one of the %d records made was delivered", len(lines)); said[len(said)-1] != want {
		t.Errorf("the last line is %q, want %q", said[len(said)-1], want)
	}
	for _, want := range []string{
		"obdagent demo: trip 1 for 3s, everything in " + dir + "/out\n",
		"obdfleet report " + dir + "/out/sd-vehicle-data",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the demo does not say %q:\n%s", want, r.stdout)
		}
	}
	// A second run would count the first one's objects.
	if said := mistake(t, 2, "demo", "--dir", filepath.Join(dir, "out")); !strings.Contains(said, "name another directory") {
		t.Errorf("a second run says %q", said)
	}
}

func TestTheDemoWithFaultsLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := obdagent(t, dir, "demo", "--for", "6s", "--rate", "5hz", "--faults", "--dir", "out")
	if r.code != 0 || r.stderr != "" || !regexp.MustCompile(`every one of the \d+ records made was delivered\n$`).MatchString(r.stdout) {
		t.Errorf("exit status %d, said %s, printed\n%s", r.code, r.stderr, r.stdout)
	}
	if regexp.MustCompile(`; 0 entries failed, 0 calls refused\n`).MatchString(r.stdout) {
		t.Errorf("nothing failed:\n%s", r.stdout)
	}
}

// background starts a command, and ends it at the end of the test if it still runs.
func background(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, done: make(chan struct{})}
	d.child = command(t.Context(), dir, args...)
	d.child.Stdout, d.child.Stderr = &d.stdout, &d.stderr
	d.begin()
	return d
}

func TestTheDemoThatIsInterruptedAccountsForWhatItMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := background(t, dir, "demo", "--for", "1h", "--dir", "out")
	await(t, "sign of life", func() bool { return strings.Contains(d.stdout.String(), "of 3600s  car") }, d.stdout.String)
	await(t, "record in the buffer", func() bool {
		r := obdagent(t, dir, "status", "--socket", "out/status.sock", "--json")
		return r.code == 0 && !strings.Contains(r.stdout, `"made": 0,`)
	}, d.stdout.String)
	if code, _ := d.stop(syscall.SIGINT); code != 0 || !strings.HasSuffix(d.stdout.String(), " was delivered\n") {
		t.Errorf("exit status %d, printed\n%s%s", code, d.stdout.String(), d.stderr.String())
	}
}

// TestSimulateGivesPortsAndAConfigurationThatRuns does what simulate's output says: run, status, report.
func TestSimulateGivesPortsAndAConfigurationThatRuns(t *testing.T) {
	t.Parallel()
	recording := filepath.Join(t.TempDir(), "drive.nmea")
	writeFile(t, recording, drive(60))
	for name, args := range map[string][]string{
		"two pseudo-terminals":               nil,
		"adapter on TCP, recorded positions": {"--obd", "tcp://127.0.0.1:0", "--nmea", recording},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := shortDir(t)
			sim := background(t, dir, append([]string{"simulate", "--dir", dir}, args...)...)
			await(t, "word of simulate", func() bool { return strings.Contains(sim.stdout.String(), "read ") }, sim.stdout.String)
			config := filepath.Join(dir, "config.toml")
			if r := obdagent(t, dir, "config", "check", "--config", config); r != (result{stdout: "OK: " + config + "\n"}) {
				t.Errorf("config check: %+v", r)
			}
			for _, want := range []string{"adapter  ", "receiver ", "try      obdagent run --config " + config + "\n", "look     obdagent status --config " + config + "\n",
				"read     obdfleet report " + dir + "/delivered\n"} {
				if !strings.Contains(sim.stdout.String(), want) {
					t.Errorf("simulate does not say %q:\n%s", want, sim.stdout.String())
				}
			}
			run := background(t, dir, "run", "--config", config)
			await(t, "both sources", func() bool {
				r := obdagent(t, dir, "status", "--config", config)
				return r.code == 0 && strings.Contains(r.stdout, demo.VIN) && regexp.MustCompile(`(?m)^gps +fix`).MatchString(r.stdout)
			}, func() string { return run.stderr.String() + obdagent(t, dir, "status", "--config", config).stdout })
			for _, d := range []*daemon{run, sim} {
				if code, _ := d.stop(syscall.SIGTERM); code != 0 {
					t.Errorf("%q: exit status %d: %s", d.child.Args[1:], code, d.stderr.String())
				}
			}
			// Again with the same directory: it is simulate's own.
			again := background(t, dir, append([]string{"simulate", "--dir", dir}, args...)...)
			await(t, "second simulation", func() bool { return strings.Contains(again.stdout.String(), "read ") }, again.stderr.String)
			if code, _ := again.stop(syscall.SIGINT); code != 0 {
				t.Errorf("the second simulation: exit status %d: %s", code, again.stderr.String())
			}
		})
	}
}

// drive is a recording of n epochs at 1 Hz, on a road to the north.
func drive(n int) string {
	var b strings.Builder
	for i := range n {
		at := time.Date(2026, time.March, 1, 12, 0, i, 0, time.UTC)
		minutes := 30 + float64(i)*0.006
		for _, body := range []string{
			fmt.Sprintf("GPGGA,%s.00,53%07.4f,N,00812.0000,E,1,09,0.9,12.0,M,45.0,M,,", at.Format("150405"), minutes),
			fmt.Sprintf("GPRMC,%s.00,A,53%07.4f,N,00812.0000,E,21.6,0.0,%s,,,A", at.Format("150405"), minutes, at.Format("020106")),
		} {
			sum := byte(0)
			for i := range len(body) {
				sum ^= body[i]
			}
			fmt.Fprintf(&b, "$%s*%02X\r\n", body, sum)
		}
	}
	return b.String()
}

func TestSimulateOnAPortInUseIsAFailureAndNoMistake(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	if said := mistake(t, 1, "simulate", "--dir", t.TempDir(), "--obd", "tcp://"+address); !strings.Contains(said, address) || !strings.Contains(said, "address already in use: name another port") {
		t.Errorf("said %q", said)
	}
}
