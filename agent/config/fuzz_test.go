package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"obdagent/agent/config"
)

// FuzzParse: whatever is in the file, Parse returns a Config that Show can write and Parse reads as the same, or Errors of
// one line each that lie in the file.
func FuzzParse(f *testing.F) {
	for _, r := range refusals {
		f.Add([]byte(r.text))
	}
	f.Add(config.Sample())
	f.Add([]byte(setting.ReplaceAllString(string(config.Sample()), "$1")))
	f.Add([]byte("\xef\xbb\xbf[obd]\r\nport=\"none\"\r\n"))
	f.Add([]byte("obd = {port = '/dev/ttyUSB0', period = {rpm = 0}}\n[gps]\nsource = \"none\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := config.Parse("f", text, nil)
		if err != nil {
			var list config.Errors
			if !errors.As(err, &list) || len(list) == 0 || c != nil {
				t.Fatalf("error of type %T with config %v: %v", err, c, err)
			}
			lines := strings.Count(string(text), "\n") + 1
			for _, e := range list {
				if e.File != "f" || e.Line < 0 || e.Line > lines || e.Column < 0 {
					t.Errorf("%+v does not lie in the file of %d lines", e, lines)
				}
				if s := e.Error(); strings.ContainsAny(s, "\n\r") || e.Message == "" {
					t.Errorf("%q is not one line", s)
				}
			}
			return
		}
		again, err := config.Parse("again", show(t, c), nil)
		if err != nil {
			t.Fatalf("what Show wrote is refused: %v\n%s", err, show(t, c))
		}
		if diff := cmp.Diff(c, again, values, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("read again (-first +second)\n%s", diff)
		}
	})
}

// FuzzEnviron: whatever a variable holds, Parse takes it and says so in Origin, or refuses it in one line that names it.
func FuzzEnviron(f *testing.F) {
	for _, k := range config.Keys() {
		f.Add(strings.TrimPrefix(k.Env, "OBDAGENT_"), strings.Trim(k.Default, `"`))
	}
	f.Add("GPS_INIT", "$PMTK220,1000*1F,$PMTK101*32")
	f.Add("RECORD_FIELDS", `["vin", 3]`)
	f.Add("OBD_PROT", "auto")
	f.Fuzz(func(t *testing.T, name, value string) {
		if strings.ContainsAny(name, "=\n\r\x00") {
			return // no name of a variable
		}
		name = "OBDAGENT_" + name
		c, err := config.Parse("", nil, []string{name + "=" + value})
		if err == nil {
			if name == "OBDAGENT_CONFIG" || strings.HasPrefix(name, "OBDAGENT_TEST_") {
				return
			}
			for _, k := range config.Keys() {
				if k.Env == name && c.Origin(k.Name).Env == name {
					return
				}
			}
			t.Fatalf("%s=%q was ignored", name, value)
		}
		if s := err.Error(); !strings.HasPrefix(s, name+": ") || strings.ContainsAny(s, "\n\r") {
			t.Errorf("%s=%q: %q is not one line that names it", name, value, s)
		}
	})
}

func BenchmarkParseSample(b *testing.B) {
	text := []byte(setting.ReplaceAllString(string(config.Sample()), "$1"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := config.Parse("c.toml", text, nil); err != nil {
			b.Fatal(err)
		}
	}
}
