package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/config"
)

// other is a valid value of each key that is not its default.
var other = map[string]string{
	"vehicle.vin": `"1FTBR1XG2MKA12345"`, "vehicle.device_id": `"van-7"`, "vehicle.fuel": `"diesel"`, "vehicle.displacement_l": "2.0",
	"obd.port": `"/dev/obd"`, "obd.baud": "38400", "obd.max_rate": "10.0",
	"gps.source": `"/dev/gps"`, "gps.baud": "9600", "gps.init": `["$PMTK220,200*2C"]`,
	"record.interval": `"2s"`, "record.parked_interval": `"5m"`, "record.format": `"json"`, "record.fields": `["vin"]`,
	"record.curve.position_m": "4.0", "record.curve.speed_kmh": "2.0",
	"buffer.dir": `"/x"`, "buffer.max_bytes": `"8MiB"`, "buffer.sync": `"2s"`, "buffer.overflow": `"drop-newest"`,
	"uplink.kind": `"kinesis"`, "uplink.stream": `"s"`, "uplink.region": `"eu-west-1"`, "uplink.endpoint": `"https://example.org"`, "uplink.linger": `"10s"`,
	"uplink.order": `"fifo"`, "uplink.time_wait": `"1m"`, "uplink.daily_bytes": `"5MB"`, "uplink.pack": "false", "uplink.compression": `"gzip"`,
	"uplink.credentials": `"file"`, "uplink.credentials_file": `"/c"`, "uplink.path": `"/out"`,
	"uplink.iot.endpoint": `"a.example.org"`, "uplink.iot.role_alias": `"r"`, "uplink.iot.thing": `"t"`, "uplink.iot.cert": `"/cert"`, "uplink.iot.key": `"/key"`,
	"status.log": `"/log"`, "status.socket": `"/s"`, "status.listen": `"127.0.0.1:8327"`, "status.page_position": "true",
}

// TestEachKeyIsAdoptedOrNeedsARestartAsDocumented changes one key at a time.
func TestEachKeyIsAdoptedOrNeedsARestartAsDocumented(t *testing.T) {
	t.Parallel()
	for _, k := range config.Keys() {
		value := other[k.Name]
		if strings.HasPrefix(k.Name, "obd.period.") {
			value = `"7s"`
		}
		if value == "" {
			t.Errorf("give %s a value here", k.Name)
			continue
		}
		dot := strings.LastIndexByte(k.Name, '.')
		next := parse(t, "["+k.Name[:dot]+"]\n"+k.Name[dot+1:]+" = "+value)
		was := config.Default()
		adopted, changed, restart := was.Adopt(next)
		if strings.HasPrefix(k.Name, "record.curve.") { // one of them brings the other
			changed, restart = slices.DeleteFunc(changed, otherCurve(k.Name)), slices.DeleteFunc(restart, otherCurve(k.Name))
		}
		want, none := changed, restart
		if !k.Live {
			want, none = restart, changed
		}
		if !slices.Equal(want, []string{k.Name}) || len(none) != 0 {
			t.Errorf("%s: changed %q, restart %q, documented live: %t", k.Name, changed, restart, k.Live)
		}
		if _, changed, _ := adopted.Adopt(next); len(changed) != 0 {
			t.Errorf("%s: adopted twice", k.Name)
		}
		if d := config.Default(); k.Live && len(second(d.Adopt(&was))) != 0 {
			t.Errorf("%s: the configuration that was in force has changed", k.Name)
		}
	}
}

func otherCurve(name string) func(string) bool {
	return func(n string) bool { return strings.HasPrefix(n, "record.curve.") && n != name }
}

func second(_ *config.Config, changed, restart []string) []string { return append(changed, restart...) }

func TestWhatChangedBackNeedsNoRestart(t *testing.T) {
	t.Parallel()
	start := parse(t, "[uplink]\nstream = \"a\"\nlinger = \"10s\"\n[[obd.pid]]\nname = \"x\"\nrequest = \"01A6\"\nbytes = 1\nformula = \"A\"\nmax = 255")
	force, changed, restart := start.Adopt(parse(t, "[uplink]\nstream = \"b\"\nlinger = \"20s\""))
	if d := cmp.Diff([]string{"uplink.linger", "obd.pid"}, changed); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"uplink.stream"}, restart); d != "" {
		t.Error(d)
	}
	// The same file with a line more: where a PID stands is no change of it.
	if _, changed, restart = force.Adopt(start); !slices.Equal(changed, []string{"uplink.linger", "obd.pid"}) || len(restart) != 0 {
		t.Errorf("back: changed %q, restart %q", changed, restart)
	}
	moved := parse(t, "\n[uplink]\nstream = \"a\"\nlinger = \"10s\"\n[[obd.pid]]\nname = \"x\"\nrequest = \"01A6\"\nbytes = 1\nformula = \"A\"\nmax = 255")
	if _, changed, restart = start.Adopt(moved); len(changed)+len(restart) != 0 {
		t.Errorf("moved: changed %q, restart %q", changed, restart)
	}
}
