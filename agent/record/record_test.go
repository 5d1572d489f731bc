package record_test

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"obdagent/agent/clock"
	"obdagent/agent/record"
)

func example() record.Record {
	return record.Record{
		ID:      uuid.MustParse("939ed1d1-1740-820c-8906-445200000001"),
		Time:    time.Date(2026, time.November, 23, 8, 15, 30, 250_400_000, time.UTC),
		TimeSrc: clock.GNSS,
		VIN:     "4FTEX4944AKL84429", VINSrc: "ecu",
		Lon: record.Number(106.9447146), Lat: record.Number(-6.3385652),
		Speed: record.Number(25), SpeedSrc: "obd",
	}
}

func TestTheTextFormatIsTheContractOfExistingReaders(t *testing.T) {
	t.Parallel()
	f, err := record.NewTextFormat(record.ContractFields())
	if err != nil {
		t.Fatal(err)
	}
	full := example()
	noFix := example()
	noFix.Lon, noFix.Lat, noFix.Speed = record.Float{}, record.Float{}, record.Number(24.96)
	nothing := record.Record{ID: full.ID}
	zero := example()
	zero.Lon, zero.Lat, zero.Speed = record.Number(0), record.Number(0), record.Number(0)
	for name, c := range map[string]struct {
		r    record.Record
		want string
	}{
		"everything known":           {full, "939ed1d1-1740-820c-8906-445200000001 2026-11-23T08:15:30.250Z 4FTEX4944AKL84429 106.9447146 -6.3385652 25\n"},
		"no fix, a fractional speed": {noFix, "939ed1d1-1740-820c-8906-445200000001 2026-11-23T08:15:30.250Z 4FTEX4944AKL84429 NaN NaN 25\n"},
		"nothing known":              {nothing, "939ed1d1-1740-820c-8906-445200000001 NaN NaN NaN NaN NaN\n"},
		"standing at 0 N 0 E":        {zero, "939ed1d1-1740-820c-8906-445200000001 2026-11-23T08:15:30.250Z 4FTEX4944AKL84429 0.0000000 0.0000000 0\n"},
	} {
		if got := string(f.Append(nil, &c.r)); got != c.want {
			t.Errorf("%s:\ngot  %swant %s", name, got, c.want)
		}
	}
}

func TestSpeedHasAtMostOneDecimalAndNoTrailingZero(t *testing.T) {
	t.Parallel()
	f, err := record.NewTextFormat([]string{"speed"})
	if err != nil {
		t.Fatal(err)
	}
	for v, want := range map[float64]string{0: "0", 25: "25", 25.04: "25", 25.06: "25.1", 24.95: "24.9", 100: "100", 130.5: "130.5", -0.01: "0"} {
		r := record.Record{Speed: record.Number(v)}
		if got := strings.TrimSpace(string(f.Append(nil, &r))); got != want {
			t.Errorf("speed %v is written %s, want %s", v, got, want)
		}
	}
}

func TestNoValueShiftsTheColumns(t *testing.T) {
	t.Parallel()
	f, err := record.NewTextFormat([]string{"device_id", "flags", "lost", "speed"})
	if err != nil {
		t.Fatal(err)
	}
	r := record.Record{DeviceID: "van 7\n\"blue\"", Flags: []string{"no_fix", "jump"}, Speed: record.Number(5),
		Lost: []record.Lost{{From: 3, To: 9, Reason: "overflow"}}}
	if got, want := string(f.Append(nil, &r)), "van_7__blue_ no_fix,jump 3-9:overflow 5\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUnknownColumnsAreRefused(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{nil, {"sped"}, {"speed", "speed"}, {"system_time"}} {
		if _, err := record.NewTextFormat(names); err == nil {
			t.Errorf("columns %q are accepted", names)
		}
	}
}

func TestJSONHasWhatIsPresentAndNullOnlyForTheContractsSix(t *testing.T) {
	t.Parallel()
	r := record.Record{ID: example().ID, MonoMS: 1500, Fix: "none", SpeedSrc: "none", TimeSrc: clock.None, System: time.Unix(12, 0)}
	want := `{"record_id":"939ed1d1-1740-820c-8906-445200000001","timestamp":null,"time_src":"none","vin":null,"lon":null,"lat":null,"speed":null,` +
		`"speed_src":"none","fix":"none","mono_ms":1500}` + "\n"
	if got := string(r.AppendJSON(nil)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	if got := string(r.AppendStored(nil)); !strings.Contains(got, `"system_time":"1970-01-01T00:00:12.000Z"`) {
		t.Errorf("on disk %s, want the system clock's time in it", got)
	}
}

// genRecord draws records as they may be made, with values that the format's decimals can carry.
func genRecord(t *rapid.T) record.Record {
	number := func(name string, decimals int, low, high float64) record.Float {
		if rapid.Bool().Draw(t, name+" absent") {
			return record.Float{}
		}
		v, err := strconv.ParseFloat(strconv.FormatFloat(rapid.Float64Range(low, high).Draw(t, name), 'f', decimals, 64), 64)
		if err != nil {
			t.Fatal(err)
		}
		return record.Number(v + 0) // no negative zero
	}
	text := func(name string) string { return rapid.StringN(0, 12, -1).Draw(t, name) }
	instant := func(name string) time.Time {
		if rapid.Bool().Draw(t, name+" absent") {
			return time.Time{}
		}
		return time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, name)).UTC()
	}
	r := record.Record{
		ID:   uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
		Time: instant("time"), TimeSrc: clock.Source(text("time_src")), VIN: text("vin"), VINSrc: text("vin_src"),
		Lon: number("lon", 7, -180, 180), Lat: number("lat", 7, -90, 90), Speed: number("speed", 1, 0, 255), SpeedSrc: text("src"),
		SpeedOBD: number("obd", 2, 0, 255), SpeedGPS: number("gps", 2, 0, 500), OBDAge: number("obd age", 0, 0, 1e4),
		Alt: number("alt", 1, -500, 9000), HDOP: number("hdop", 2, 0, 90), RPM: number("rpm", 2, 0, 16383),
		Lambda: number("lambda", 4, 0, 2), DeviceID: text("device"), Seq: rapid.Uint64().Draw(t, "seq"), BootID: text("boot"),
		MonoMS: rapid.Int64().Draw(t, "mono"), System: instant("system"),
		Flags: rapid.SliceOfN(rapid.StringN(0, 5, -1), 1, 3).Draw(t, "flags"),
		Lost:  []record.Lost{{From: rapid.Uint64().Draw(t, "from"), To: 9, Reason: text("reason")}},
	}
	if rapid.Bool().Draw(t, "mil known") {
		r.MIL = record.Some(rapid.Bool().Draw(t, "mil"))
	}
	if rapid.Bool().Draw(t, "extras") {
		r.Extra = record.Extra(rapid.MapOfN(rapid.StringMatching("[a-z][a-z0-9_]{0,8}"), rapid.Float64Range(-1e9, 1e9), 1, 3).Draw(t, "extra"))
	}
	if r.ID == uuid.Nil {
		r.ID[0] = 1
	}
	return r
}

func TestWhatIsStoredIsReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := genRecord(t)
		line := want.AppendStored(nil)
		if !json.Valid(line) || strings.Count(string(line), "\n") != 1 {
			t.Fatalf("not one line of JSON: %q", line)
		}
		got, err := record.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(record.Float{}, record.Opt[bool]{})); d != "" {
			t.Fatalf("(-want +got)\n%s\n%s", d, line)
		}
	})
}

func TestWhatHasNoFieldOfItsOwnIsInExtraByName(t *testing.T) {
	t.Parallel()
	r := example()
	r.Extra = record.Extra{"odometer": 123456.7, "ambient": -3, "broken": math.NaN()}
	if want, got := `"extra":{"ambient":-3,"odometer":123456.7}`, string(r.AppendJSON(nil)); !strings.Contains(got, want) {
		t.Errorf("%s has no %s", got, want)
	}
	f, err := record.NewTextFormat([]string{"extra", "speed"})
	if err != nil {
		t.Fatal(err)
	}
	delete(r.Extra, "broken")
	if want, got := "ambient=-3,odometer=123456.7 25\n", string(f.Append(nil, &r)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDamagedLinesAreNotRecords(t *testing.T) {
	t.Parallel()
	r := example()
	good := r.AppendStored(nil)
	for cut := range len(good) - 2 {
		if _, err := record.Parse(good[:cut]); err == nil {
			t.Errorf("cut at %d is accepted: %s", cut, good[:cut])
		}
	}
	for _, line := range []string{`{}`, `null`, `[]`, `{"record_id":"x"}`,
		`{"record_id":"939ed1d1-1740-820c-8906-445200000001","timestamp":"yesterday"}`} {
		if _, err := record.Parse([]byte(line)); err == nil {
			t.Errorf("%s is accepted", line)
		}
	}
}

func TestIDsAreUniqueOverStartsAndValid(t *testing.T) {
	t.Parallel()
	seen := map[uuid.UUID]bool{}
	for range 200 { // process starts
		ids, err := record.NewIDs()
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			id := ids.Next()
			if seen[id] {
				t.Fatalf("%v was minted twice", id)
			}
			seen[id] = true
			if id.Version() != 8 || id.Variant() != uuid.RFC4122 {
				t.Fatalf("%v has version %v, variant %v", id, id.Version(), id.Variant())
			}
		}
	}
}

func TestEveryNumericFieldCanBeSetByName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rpm", "load", "coolant", "maf", "map", "iat", "lambda", "throttle", "fuel_rate", "fuel_level", "voltage"} {
		r := record.Record{ID: example().ID}
		if !r.SetFloat(name, record.Number(1.5)) {
			t.Errorf("%s cannot be set", name)
			continue
		}
		if want := `"` + name + `":1.5`; !strings.Contains(string(r.AppendJSON(nil)), want) {
			t.Errorf("%s was set, but %s has no %s", name, r.AppendJSON(nil), want)
		}
	}
	var r record.Record
	if r.SetFloat("vin", record.Number(1)) || r.SetFloat("nonsense", record.Number(1)) {
		t.Error("a field that is no number was set")
	}
}

func BenchmarkAppendText(b *testing.B) {
	f, err := record.NewTextFormat(record.ContractFields())
	if err != nil {
		b.Fatal(err)
	}
	r := example()
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = f.Append(dst[:0], &r)
	}
}

func BenchmarkAppendStored(b *testing.B) {
	r := example()
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = r.AppendStored(dst[:0])
	}
}

func BenchmarkParse(b *testing.B) {
	r := example()
	line := r.AppendStored(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := record.Parse(line); err != nil {
			b.Fatal(err)
		}
	}
}
