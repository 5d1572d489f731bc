package record_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"obdagent/agent/clock"
	"obdagent/agent/record"
)

var schemaFile = filepath.Join("..", "..", "docs", "record.schema.json")

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(s *jsonschema.Schema, line []byte) error {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(line)))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// genReal draws records as the agent makes them: the words are real, and what belongs together is there together.
func genReal(t *rapid.T) record.Record {
	number := func(name string, low, high float64) record.Float {
		if rapid.Bool().Draw(t, name+" absent") {
			return record.Float{}
		}
		return record.Number(rapid.Float64Range(low, high).Draw(t, name))
	}
	word := func(name string, words ...string) string { return rapid.SampledFrom(words).Draw(t, name) }
	r := record.Record{
		ID:     uuid.UUID(append([]byte{1}, rapid.SliceOfN(rapid.Byte(), 15, 15).Draw(t, "id")...)),
		VINSrc: word("vin_src", "", "ecu", "config"), SpeedSrc: "none", Fix: word("fix", "none", "2d", "3d", "dgps", "rtk", "dr", "sim"),
		SpeedOBD: number("obd", 0, 255), SpeedGPS: number("gps", 0, 300), OBDAge: number("obd age", 0, 1500), FixAge: number("fix age", 0, 1e7),
		Alt: number("alt", -500, 9000), Heading: number("heading", 0, 360), Sats: number("sats", 0, 40), HDOP: number("hdop", 0.3, 50),
		RPM: number("rpm", 0, 16383.75), Load: number("load", 0, 100), Coolant: number("coolant", -40, 215), MAF: number("maf", 0, 655.35),
		MAP: number("map", 0, 255), IAT: number("iat", -40, 215), Lambda: number("lambda", 0, 2), Throttle: number("throttle", 0, 100),
		FuelRate: number("rate", 0, 3212), FuelLvl: number("level", 0, 100), Voltage: number("voltage", 0, 65), CO2: number("co2", 0, 50),
		CO2From: word("co2 from", "", "maf", "fuel_rate"), CO2Lacks: word("co2 lacks", "", "no_input"), DTCCount: number("dtcs", 0, 127),
		DeviceID: word("device", "", "van-212", "Lieferwagen ä \"7\""), Seq: rapid.Uint64Range(0, 1<<40).Draw(t, "seq"),
		BootID: uuid.NewString(), MonoMS: rapid.Int64Range(0, 1<<40).Draw(t, "mono"),
	}
	if r.VINSrc != "" {
		r.VIN = "4FTEX4944AKL84429"
	}
	if rapid.Bool().Draw(t, "fix") {
		r.Lat, r.Lon = record.Number(rapid.Float64Range(-90, 90).Draw(t, "lat")), record.Number(rapid.Float64Range(-180, 180).Draw(t, "lon"))
	}
	switch {
	case r.SpeedOBD.IsSet():
		r.Speed, r.SpeedSrc = r.SpeedOBD, "obd"
	case r.SpeedGPS.IsSet():
		r.Speed, r.SpeedSrc = r.SpeedGPS, "gps"
	}
	r.TimeSrc = clock.Source(word("time_src", "none", "gnss", "ntp", "system"))
	if r.TimeSrc != clock.None {
		r.Time = time.UnixMilli(rapid.Int64Range(1.7e12, 4e12).Draw(t, "time")).UTC()
	}
	if rapid.Bool().Draw(t, "car's health") {
		r.MIL, r.DTCs = record.Some(true), []string{"P0301", "U3FFF"}
		r.Extra = record.Extra{"odometer": rapid.Float64Range(0, 1e6).Draw(t, "odometer")}
	}
	if rapid.Bool().Draw(t, "trouble") {
		r.Lost = []record.Lost{{From: 3, To: 9, Reason: "overflow"}}
		r.Flags = []string{record.FlagNoFix, record.FlagStaleOBD, record.FlagJump, record.FlagSpeedMismatch, record.FlagClockStep}
	}
	return r
}

func TestEveryJSONLineIsAsTheSchemaSays(t *testing.T) {
	t.Parallel()
	s := schema(t)
	rapid.Check(t, func(t *rapid.T) {
		r := genReal(t)
		line := r.AppendJSON(nil)
		if err := valid(s, line); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
	})
}

func TestTheSchemaRefusesWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	s := schema(t)
	good := `{"record_id":"939ed1d1-1740-820c-8906-445200000001","timestamp":"2026-11-23T08:15:30.250Z","time_src":"gnss",` +
		`"vin":"4FTEX4944AKL84429","lon":106.9447146,"lat":-6.3385652,"speed":25,"speed_src":"obd","mono_ms":1}`
	if err := valid(s, []byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"no record_id":                   {`"record_id":"939ed1d1-1740-820c-8906-445200000001",`, ``},
		"no speed":                       {`"speed":25,`, ``},
		"a field that is none":           {`"speed":25`, `"speed":25,"sped":25`},
		"a speed as text":                {`"speed":25`, `"speed":"25"`},
		"a time without a zone":          {`30.250Z`, `30.250`},
		"a time without a date":          {`2026-11-23T08:15:30.250Z`, `4:25:06.00`},
		"a time in month 13":             {`2026-11`, `2026-13`},
		"a latitude beyond the pole":     {`-6.3385652`, `-96.3385652`},
		"a longitude without a latitude": {`-6.3385652`, `null`},
		"a VIN with an O":                {`4FTEX`, `4FTOX`},
		"an unknown source of time":      {`gnss`, `gps`},
		"a time that nobody vouches for": {`gnss`, `none`},
		"a speed that nobody tells":      {`"obd"`, `"none"`},
		"an unknown flag":                {`"mono_ms":1`, `"mono_ms":1,"flags":["odd"]`},
	} {
		line := strings.Replace(good, change[0], change[1], 1)
		if line == good {
			t.Fatalf("%s: nothing changed", name)
		}
		if err := valid(s, []byte(line)); err == nil {
			t.Errorf("%s is accepted: %s", name, line)
		}
	}
}

func TestSchemaAndDocumentNameEveryField(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Properties map[string]json.RawMessage
		Required   []string
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Required, record.ContractFields()) {
		t.Errorf("the schema requires %q, want the columns of the contract %q", s.Required, record.ContractFields())
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "record.md"))
	if err != nil {
		t.Fatal(err)
	}
	// A row of the table names one field, or several: | `lon`, `lat` | number | ...
	documented := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) == 6 {
			for i, name := range strings.Split(cells[1], "`") {
				if i%2 == 1 {
					documented[name] = true
				}
			}
		}
	}
	for _, name := range record.FieldNames() {
		if !documented[name] {
			t.Errorf("docs/record.md has no row for %s", name)
		}
		if s.Properties[name] == nil {
			t.Errorf("docs/record.schema.json has no property %s", name)
		}
		delete(documented, name)
		delete(s.Properties, name)
	}
	for name := range documented {
		t.Errorf("docs/record.md has a row for %s, which is no field", name)
	}
	for name := range s.Properties {
		t.Errorf("docs/record.schema.json has a property %s, which is no field", name)
	}
}
