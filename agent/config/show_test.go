package config_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"obdagent/agent/config"
)

// golden compares got with a file, or rewrites the file with -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./agent/config -update", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not current; rewrite it with: go test ./agent/config -update (-file +got)\n%s", path, diff)
	}
}

func show(t *testing.T, c *config.Config) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := c.Show(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestShowWritesValuesAndTheirOrigin(t *testing.T) {
	t.Parallel()
	c := parse(t, "[vehicle]\nvin = \"1hgcm82633a004352\"\n\n[obd]\nport = \"/dev/ttyUSB0\"\nmax_rate = 12.5\nperiod.lambda = \"0s\"\n\n[uplink]\nlinger = \"90s\"\n",
		"OBDAGENT_UPLINK_STREAM=fleet", "OBDAGENT_BUFFER_MAX_BYTES=100MB", "OBDAGENT_GPS_INIT=$PMTK220,1000*1F")
	golden(t, filepath.Join("testdata", "show.toml"), show(t, c))
}

func TestWhatShowWritesIsReadAgain(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"",
		"[gps]\ninit = [\"say \\\"hi\\\" \\\\ there\"]\nsource = '/dev/a \"b\"'\n",
		"[obd]\nmax_rate = 0.125\nperiod = {rpm = \"1h30m\", map = \"1m30.5s\"}\n[buffer]\nmax_bytes = 4194305\nsync = \"62ms\"\n",
	} {
		first := parse(t, text)
		second := parse(t, string(show(t, first)))
		if diff := cmp.Diff(first, second, values, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-first +second)\n%s", text, diff)
		}
	}
}

func TestShowWritesWhatLaterVersionsTake(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Record.Curve = &config.Curve{PositionM: 2.5, SpeedKmh: 1}
	c.OBD.PID = []config.PID{{Name: "odometer", Request: "01A6", Bytes: 4, Formula: "A*256+B", Unit: "km", Max: 4e6, Period: time.Minute}}
	got := string(show(t, &c))
	for _, want := range []string{
		"\n[record.curve]\nposition_m = 2.5 ", "\nspeed_kmh = 1.0 ",
		"\n[[obd.pid]] ", "\nname = \"odometer\"\nrequest = \"01A6\"\nbytes = 4\nformula = \"A*256+B\"\nunit = \"km\"\nmin = 0.0\nmax = 4000000.0\nperiod = \"60s\"\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q in\n%s", want, got)
		}
	}
}

type brokenPipe struct{}

var errBrokenPipe = errors.New("broken pipe")

func (brokenPipe) Write([]byte) (int, error) { return 0, errBrokenPipe }

func TestShowReportsAFailedWrite(t *testing.T) {
	t.Parallel()
	if err := parse(t, "").Show(brokenPipe{}); !errors.Is(err, errBrokenPipe) {
		t.Errorf("got %v", err)
	}
}

// setting is a line of the sample that a user would take the # away from.
var setting = regexp.MustCompile(`(?m)^#([a-z_0-9]+ = )`)

func TestSampleNamesEveryKeyWithItsDefault(t *testing.T) {
	t.Parallel()
	sample := string(config.Sample())
	want := config.Default()
	if diff := cmp.Diff(&want, parse(t, sample), values, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the sample as it stands (-default +sample)\n%s", diff)
	}
	c := parse(t, setting.ReplaceAllString(sample, "$1"))
	if diff := cmp.Diff(&want, c, values, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the sample with all its settings (-default +sample)\n%s", diff)
	}
	for _, k := range config.Keys() {
		if k.Default != "" && c.Origin(k.Name).Line == 0 {
			t.Errorf("the sample does not have %s = %s", k.Name, k.Default)
		}
	}
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("the sample warns: %q", w)
	}
}

func TestExamplesInTheSampleAreValid(t *testing.T) {
	t.Parallel()
	// The indented examples are whole sections; what stands before them must not matter.
	var examples strings.Builder
	for line := range strings.Lines(string(config.Sample())) {
		if example, ok := strings.CutPrefix(line, "#   "); ok {
			examples.WriteString(example)
		}
	}
	if _, err := config.Parse("sample", []byte(examples.String()), nil); err != nil {
		t.Errorf("%s\n got  %v", examples.String(), err)
	}
}
