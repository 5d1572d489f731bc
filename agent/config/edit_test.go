package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/config"
)

func TestEditSetsKeysAndLeavesTheRest(t *testing.T) {
	t.Parallel()
	ports := map[string]string{"obd.port": "/dev/obd", "gps.source": "/dev/gps"}
	for name, c := range map[string]struct{ text, want string }{
		"an empty file": {"", "\n[obd]\nport = \"/dev/obd\"\n\n[gps]\nsource = \"/dev/gps\"\n"},
		"keys that are set": {"[obd]\n  port=\"auto\"   # was found\nbaud = 38400\n[gps]\nsource = '/dev/x' # mine\n",
			"[obd]\n  port = \"/dev/obd\"   # was found\nbaud = 38400\n[gps]\nsource = \"/dev/gps\" # mine\n"},
		"keys that are commented out": {"# all\n[obd]\n# where\n#port = \"auto\"\nbaud = 9600\n\n[gps] # here\n#source = \"auto\"\n",
			"# all\n[obd]\n# where\nport = \"/dev/obd\"\nbaud = 9600\n\n[gps] # here\nsource = \"/dev/gps\"\n"},
		"sections without the keys": {"[gps]\nbaud = 9600\n[obd]\nbaud = 9600\n[obd.period]\nrpm = \"2s\"",
			"[gps]\nsource = \"/dev/gps\"\nbaud = 9600\n[obd]\nport = \"/dev/obd\"\nbaud = 9600\n[obd.period]\nrpm = \"2s\"\n"},
		"dotted keys":                {"obd.port = \"auto\"\ngps.source = \"none\"\n", "obd.port = \"/dev/obd\"\ngps.source = \"/dev/gps\"\n"},
		"a quoted hash":              {"[obd]\nport = \"/dev/a#b\" # c\n[gps]\n", "[obd]\nport = \"/dev/obd\" # c\n[gps]\nsource = \"/dev/gps\"\n"},
		"lines as Windows ends them": {"[obd]\r\nport = \"auto\"\r\n[gps]\r\n", "[obd]\r\nport = \"/dev/obd\"\n[gps]\r\nsource = \"/dev/gps\"\n"},
	} {
		got, err := config.Edit("c.toml", []byte(c.text), ports)
		if diff := cmp.Diff(c.want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
	}
	// The sample, which a device begins with.
	got, err := config.Edit("c.toml", config.Sample(), ports)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("c.toml", got, nil)
	if err != nil || c.OBD.Port != "/dev/obd" || c.GPS.Source != "/dev/gps" || strings.Count(string(got), "\n") != strings.Count(string(config.Sample()), "\n") {
		t.Errorf("the sample became (%v)\n%s", err, got)
	}
}

func TestEditRefusesWhatItWouldSpoil(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct {
		set  map[string]string
		want string
	}{
		"obd = { port = \"auto\", baud = 9600 }\n":           {map[string]string{"obd.port": "/dev/obd"}, `set obd.port = "/dev/obd" by hand`},
		"[obd]\nport = \"\"\"\nauto\"\"\"\n":                 {map[string]string{"obd.port": "/dev/obd"}, "by hand"},
		"[obd]\n":                                            {map[string]string{"obd.port": "ttyUSB0"}, "obd.port: "},
		"[obd]\nprot = \"auto\"\n":                           {map[string]string{"obd.port": "/dev/obd"}, "prot"},
		"[gps]\nsource = \"/dev/obd\"\n[obd]\nport='auto'\n": {map[string]string{"obd.port": "/dev/obd"}, "by hand"},
	} {
		got, err := config.Edit("c.toml", []byte(text), c.set)
		if err == nil || got != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %q, %v; want an error with %q", text, got, err, c.want)
		}
	}
}
