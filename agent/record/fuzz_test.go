package record_test

import (
	"bytes"
	"math"
	"testing"

	"obdagent/agent/record"
)

// FuzzParse: what comes from a disk is a record or an error, and a record that was read is written so that it is read as the
// same again.
func FuzzParse(f *testing.F) {
	full := example()
	full.Lost = []record.Lost{{From: 3, To: 9, Reason: "overflow"}}
	full.Flags, full.DTCs, full.MIL = []string{record.FlagJump}, []string{"P0301"}, record.Some(true)
	full.Extra = record.Extra{"odometer": 123456.7}
	f.Add(full.AppendStored(nil))
	f.Add((&record.Record{ID: full.ID}).AppendStored(nil))
	f.Add([]byte(`{"record_id":"939ed1d1-1740-820c-8906-445200000001","timestamp":"2026-11-23T08:15:30.250Z","lat":-6.3385652,"lon":1e300,"speed":-0}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := record.Parse(line)
		if err != nil {
			return
		}
		if y := r.Time.Year(); y < 0 || y > 9999 || math.Abs(float64(r.Time.Nanosecond()%1e6)) > 0 {
			return // RFC 3339 has four digits, and the record milliseconds
		}
		once := r.AppendStored(nil)
		again, err := record.Parse(once)
		if err != nil {
			t.Fatalf("%v: written %q from %q", err, once, line)
		}
		if twice := again.AppendStored(nil); !bytes.Equal(once, twice) {
			t.Fatalf("%q is written as\n%s, and that as\n%s", line, once, twice)
		}
	})
}
