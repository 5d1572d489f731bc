package config_test

import (
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"obdagent/agent/config"
	"obdagent/agent/record"
	"obdagent/gps"
	"obdagent/obd"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// values compares what a Config says, not where it comes from.
var values = cmpopts.IgnoreUnexported(config.Config{}, config.PID{})

func parse(t *testing.T, text string, environ ...string) *config.Config {
	t.Helper()
	c, err := config.Parse("c.toml", []byte(text), environ)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return c
}

func TestAnEmptyFileIsTheDefault(t *testing.T) {
	t.Parallel()
	want := config.Default()
	for _, text := range []string{"", "\n", "# nothing\n", "\xef\xbb\xbf", "[obd]\r\n[uplink.iot]\r\n"} {
		c := parse(t, text)
		if diff := cmp.Diff(&want, c, values, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q (-default +got)\n%s", text, diff)
		}
		if w := c.Warnings(); len(w) > 0 {
			t.Errorf("%q warns: %q", text, w)
		}
	}
}

func TestReadsEveryKindOfValue(t *testing.T) {
	t.Parallel()
	want := config.Default()
	want.Vehicle.VIN = "1HGCM82633A004352"
	want.Vehicle.DeviceID = "van-212"
	want.OBD.Port = "tcp://[fd00::1]:35000"
	want.OBD.MaxRate = 7
	want.OBD.Period["rpm"] = 250 * time.Millisecond
	delete(want.OBD.Period, "lambda")
	delete(want.OBD.Period, "maf")
	want.GPS.Source = "/dev/serial/by-id/usb-u-blox_AG"
	want.GPS.Baud = 9600
	want.GPS.Init = []string{"$PMTK220,1000*1F", "log bestpos"}
	want.Record.Interval = 100 * time.Millisecond
	want.Record.Format = config.FormatJSON
	want.Buffer.MaxBytes = 1536 << 20
	want.Buffer.Overflow = config.OverflowDropNewest
	want.Uplink.Endpoint = "http://127.0.0.1:4573"
	want.Uplink.Linger = 0
	want.Uplink.Order = config.OrderFIFO
	want.Uplink.Pack = false
	want.Status.Socket = ""
	got := parse(t, `
status.socket = ""

[vehicle]
vin = "1hgcm82633a004352"   # off the paper
device_id = 'van-212'

[obd]
port = "tcp://[fd00::1]:35000"
max_rate = 7
period = { rpm = "250ms", lambda = "0s", maf = 0 }

[gps]
source = "/dev/serial/by-id/usb-u-blox_AG"
baud = 9_600
init = [
  "$PMTK220,1000*1F", # once a second
  "log bestpos",
]

[record]
interval = "100ms"
format = """json"""

[buffer]
max_bytes = "1.5 GiB"
overflow = "drop-newest"

[uplink]
order = "fifo"
endpoint = "http://127.0.0.1:4573"
linger = "0s"
pack = false
`)
	if diff := cmp.Diff(&want, got, values); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSizesAreBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"536870912": 512 << 20, `"512MiB"`: 512 << 20, `"2GiB"`: 2 << 30, `"8192KiB"`: 8 << 20,
		`"512 MB"`: 512e6, `"1TB"`: 1e12, `"5000kB"`: 5e6, `"1TiB"`: 1 << 40, `"8388608B"`: 8 << 20, "0x1000000": 16 << 20,
	} {
		if got := parse(t, "[buffer]\nmax_bytes = "+text).Buffer.MaxBytes; got != want {
			t.Errorf("%s is %d, want %d", text, got, want)
		}
	}
}

func TestAVariableBeatsTheFileAndTheFileTheDefault(t *testing.T) {
	t.Parallel()
	c := parse(t, "[obd]\nport = \"/dev/ttyUSB0\"\nbaud = 38400\n[obd.period]\nrpm = \"5s\"\n",
		"PATH=/bin",
		"OBDAGENT_CONFIG=/somewhere/else.toml",
		"OBDAGENT_TEST_REQUIRE=nmea,moto",
		"OBDAGENT_OBD_PORT=/dev/ttyUSB1", "OBDAGENT_OBD_PORT=/dev/ttyUSB2", // the last one counts
		"OBDAGENT_OBD_PERIOD_RPM=0",
		"OBDAGENT_OBD_PERIOD_FUEL_LEVEL=2m",
		"OBDAGENT_UPLINK_PACK=false",
		"OBDAGENT_BUFFER_MAX_BYTES=8388608",
		"OBDAGENT_STATUS_LOG=",
		"OBDAGENT_RECORD_FIELDS=vin, speed",
	)
	want := config.Default()
	want.OBD.Port = "/dev/ttyUSB2"
	want.OBD.Baud = 38400
	delete(want.OBD.Period, "rpm")
	want.OBD.Period["fuel_level"] = 2 * time.Minute
	want.Uplink.Pack = false
	want.Buffer.MaxBytes = 8 << 20
	want.Status.Log = ""
	want.Record.Fields = []string{"vin", "speed"}
	if diff := cmp.Diff(&want, c, values); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for key, origin := range map[string]string{
		"obd.port":           "env OBDAGENT_OBD_PORT",
		"obd.baud":           "c.toml:3",
		"obd.period.rpm":     "env OBDAGENT_OBD_PERIOD_RPM",
		"obd.period.coolant": "default",
		"status.log":         "env OBDAGENT_STATUS_LOG",
	} {
		if got := c.Origin(key).String(); got != origin {
			t.Errorf("%s comes from %q, want %q", key, got, origin)
		}
	}
}

func TestListsInVariables(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][]string{
		"":                              {},
		"log bestpos":                   {"log bestpos"},
		"$PMTK220,1000*1F":              {"$PMTK220,1000*1F"}, // the comma belongs to the sentence
		"$PMTK220,1000*1F,$PMTK101*32":  {"$PMTK220,1000*1F", "$PMTK101*32"},
		`["$PMTK220,1000*1F", "log a"]`: {"$PMTK220,1000*1F", "log a"},
	} {
		got := parse(t, "", "OBDAGENT_GPS_INIT="+value).GPS.Init
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got)\n%s", value, diff)
		}
	}
}

func TestEveryKeyHasAVariableThatSetsIt(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, k := range config.Keys() {
		if seen[k.Env] {
			t.Errorf("%s: %s sets another key too", k.Name, k.Env)
		}
		seen[k.Env] = true
		if k.Meaning == "" || strings.ContainsRune(k.Meaning, '\n') {
			t.Errorf("%s: meaning %q is not one line", k.Name, k.Meaning)
		}
		if k.Default == "" {
			continue // [record.curve]
		}
		value := strings.Trim(k.Default, `"`)
		c, err := config.Parse("", nil, []string{k.Env + "=" + value})
		if err != nil {
			t.Errorf("the default of %s in %s: %v", k.Name, k.Env, err)
			continue
		}
		if got := c.Origin(k.Name).Env; got != k.Env {
			t.Errorf("%s set by %s says it comes from %q", k.Name, k.Env, got)
		}
		want := config.Default()
		if diff := cmp.Diff(&want, c, values, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s=%s changes the default (-want +got)\n%s", k.Env, value, diff)
		}
	}
}

func TestEverySignalHasAPeriod(t *testing.T) {
	t.Parallel()
	periods := maps.Collect(func(yield func(string, bool) bool) {
		for _, k := range config.Keys() {
			if signal, ok := strings.CutPrefix(k.Name, "obd.period."); ok && !yield(signal, true) {
				return
			}
		}
	})
	for _, s := range obd.Signals() {
		if s.Name == obd.SignalSpeed {
			continue
		}
		if !periods[s.Name] {
			t.Errorf("signal %s has no key in obd.period", s.Name)
		}
	}
}

func TestWhatIsAcceptedTheOtherRoomsAcceptToo(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"",
		"obd.port = \"/dev/ttyUSB0\"\nobd.baud = 38400\nobd.max_rate = 0.2\n",
		"obd.port = \"tcp://192.168.0.10:35000\"\nobd.max_rate = 100\nobd.period.rpm = \"24h\"\n",
		"obd.port = \"tcp://wifi-obd.local:35000\"\n",
		"obd.port = \"tcp://[fd00::1]:35000\"\n",
		"gps.source = \"/dev/serial/by-id/usb-u-blox\"\ngps.baud = 4800\n",
		"gps.source = \"tcp://[fd00::1]:10110\"\n",
		"gps.source = \"udp://:10110\"\n", "gps.source = \"udp://127.0.0.1:10110\"\n",
		"gps.source = \"file:drive.nmea\"\n", "gps.source = \"file:///tmp/drive.nmea\"\n",
	} {
		c := parse(t, text)
		if _, err := obd.New(obd.Options{Port: c.OBD.Port, Baud: c.OBD.Baud, MaxRate: c.OBD.MaxRate, Period: c.OBD.Period}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := gps.New(gps.Options{Source: c.GPS.Source, Baud: c.GPS.Baud, Init: c.GPS.Init}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	all := parse(t, "record.fields = [\""+strings.Join(record.FieldNames(), "\", \"")+"\"]\n")
	if _, err := record.NewTextFormat(all.Record.Fields); err != nil {
		t.Errorf("all fields: %v", err)
	}
}

func TestDefaultPeriodsLeaveTheBusTimeForSpeed(t *testing.T) {
	t.Parallel()
	rate := 0.0
	for name, d := range config.Default().OBD.Period {
		if d < time.Second {
			t.Errorf("%s every %v", name, d)
		}
		// These came into J1979 with cars that have CAN: a slow bus is not asked for them.
		if name == "fuel_rate" || name == obd.SignalFuelRateGPS || name == obd.SignalMAF66 {
			continue
		}
		rate += 1 / d.Seconds()
	}
	if rate > 5 {
		t.Errorf("the further signals ask for %.2f requests a second, want 5 at most", rate)
	}
}

func TestWarnsOfWhatIsProbablyNotMeant(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"other columns than the six", "[record]\nfields = [\"vin\", \"speed\"]",
			`c.toml:2: record.fields: readers that expect the six columns record_id timestamp vin lon lat speed will misread these; use format = "json" for more fields`},
		{"columns for json", "[record]\nformat = \"json\"\nfields = [\"vin\"]",
			`c.toml:3: record.fields: has no effect with record.format = "json", which has all fields`},
		{"a line speed of an address", "[obd]\nport = \"tcp://10.0.0.1:35000\"\nbaud = 38400",
			`c.toml:3: obd.baud: has no effect with obd.port = "tcp://10.0.0.1:35000", which has no line speed`},
		{"a line speed of a socket", "[gps]\nsource = \"udp://:10110\"\nbaud = 9600",
			`c.toml:3: gps.baud: has no effect with gps.source = "udp://:10110", which has no line speed`},
		{"a directory for Firehose", "[uplink]\npath = \"/srv/out\"",
			`c.toml:2: uplink.path: has no effect with uplink.kind = "firehose"; write kind = "directory" to use it`},
		{"an open endpoint on the network", "[uplink]\nendpoint = \"http://10.0.0.1\"",
			`c.toml:2: uplink.endpoint: "http://10.0.0.1" is not encrypted: whoever carries the data can read where the vehicle is; use https`},
		{"no company for records", "[uplink]\nlinger = 0",
			`c.toml:2: uplink.linger: every record is sent alone, which costs some twenty times the data of 60s`},
		{"a page for the whole network", "[status]\nlisten = \"192.168.8.1:8327\"",
			`c.toml:2: status.listen: whoever is in the same network can read the page, and the VIN; with page_position also where the vehicle is`},
		{"a position without a page", "[status]\npage_position = true",
			`c.toml:2: status.page_position: has no effect without status.listen`},
		{"no way to look in", "[status]\nlog = \"\"\nsocket = \"\"",
			`c.toml:2: status.log: neither log nor socket: nobody can see what the agent does`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff([]string{tt.want}, parse(t, tt.text).Warnings()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestLoadsTheNamedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "van.toml")
	if err := os.WriteFile(path, []byte("[obd]\nbaud = 9600\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, load := range map[string]func() (*config.Config, error){
		"by argument": func() (*config.Config, error) { return config.Load(path, nil) },
		"by variable": func() (*config.Config, error) { return config.Load("", []string{"OBDAGENT_CONFIG=" + path}) },
		"by both":     func() (*config.Config, error) { return config.Load(path, []string{"OBDAGENT_CONFIG=/not/there"}) },
	} {
		c, err := load()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := c.Origin("obd.baud").String(); c.OBD.Baud != 9600 || got != path+":2" {
			t.Errorf("%s: baud %d from %s", name, c.OBD.Baud, got)
		}
	}
	if _, err := config.Load("", []string{"OBDAGENT_OBD_BAUD=9600"}); err != nil {
		t.Errorf("no file: %v", err)
	}
}

func TestAFileThatWasNamedMustBeThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "van.toml")
	for name, environ := range map[string][]string{path: nil, "": {"OBDAGENT_CONFIG=" + path}} {
		_, err := config.Load(name, environ)
		if !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), "write one with: obdagent config init") {
			t.Errorf("Load(%q, %q): %v", name, environ, err)
		}
	}
	if _, err := config.Load(filepath.Dir(path), nil); err == nil || !strings.HasPrefix(err.Error(), "read config: ") {
		t.Errorf("a directory: %v", err)
	}
}

func TestFindPrefersTheFlagThenTheVariable(t *testing.T) {
	t.Parallel()
	environ := []string{"OBDAGENT_CONFIG=/b.toml"}
	if got := config.Find("/a.toml", environ); got != "/a.toml" {
		t.Errorf("flag and variable: %q", got)
	}
	if got := config.Find("", environ); got != "/b.toml" {
		t.Errorf("variable: %q", got)
	}
	if got := config.Find("", nil); got != "" && got != config.DefaultPath {
		t.Errorf("neither: %q", got)
	}
}

func TestTwoConfigsShareNothing(t *testing.T) {
	t.Parallel()
	a, b := parse(t, ""), parse(t, "")
	a.OBD.Period["rpm"] = 7
	a.Record.Fields[0] = "x"
	if b.OBD.Period["rpm"] == 7 || b.Record.Fields[0] == "x" {
		t.Error("a change of one Config is seen in another")
	}
}
