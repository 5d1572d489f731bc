package report_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"obdagent/agent/agenttest"
	"obdagent/agent/record"
	"obdagent/agent/report"
)

// TestTheContractsReaderAndTheReportAgree: our text lines in a bucket, read by the code of existing readers, unchanged, and by
// the report. The maximum speed of each VIN is the one that was written.
func TestTheContractsReaderAndTheReportAgree(t *testing.T) {
	t.Parallel()
	agenttest.Python(t, "boto3", "pandas")
	endpoint := agenttest.Moto(t)
	format, err := record.NewTextFormat(record.ContractFields())
	if err != nil {
		t.Fatal(err)
	}
	dir, want := t.TempDir(), map[string]float64{}
	start := time.Date(2026, 11, 23, 23, 59, 50, 0, time.UTC)
	ids := 0
	for car, vin := range []string{"WVWZZZ1JZXW000001", "4FTEX4944AKL84429", "3VWFE21C04M000007", "WVWZZZ1JZXW000002", ""} {
		for object := range 2 {
			var lines []byte
			for i := range 20 {
				ids++
				r := record.Record{ID: uuid.MustParse(id(ids)), VIN: vin, Time: start.Add(time.Duration(20*object+i) * time.Second)}
				// The fourth car never tells its speed; every fifth record of the others has none either, or no position or time.
				if car != 3 && i%5 != 0 {
					speed := float64(car*10+(i*37+object*11)%90) + 0.5
					r.Speed = record.Some(speed)
					want[vin] = max(want[vin], speed)
				}
				if i%5 != 1 {
					r.Lon, r.Lat = record.Some(106.9447146), record.Some(-6.3385652)
				}
				if i%5 == 2 {
					r.Time = time.Time{}
				}
				lines = format.Append(lines, &r)
			}
			name := filepath.Join(dir, "2026", "11", fmt.Sprint(23+object), fmt.Sprintf("gps-delivery-stream-1-%d", car))
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, lines, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	delete(want, "") // a group without a name is no group to the readers
	want["WVWZZZ1JZXW000002"] = math.NaN()

	agenttest.PutObjects(t, endpoint, agenttest.Bucket, dir)
	readers := agenttest.ContractReader(t, endpoint)
	if diff := cmp.Diff(want, readers, cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("the readers' maximum speeds (-want +got):\n%s", diff)
	}
	r := read(t, report.Directory(dir), report.Options{})
	ours := map[string]float64{}
	for _, v := range r.Vehicles {
		ours[v.VIN] = v.MaxSpeed
	}
	maps.DeleteFunc(ours, func(vin string, _ float64) bool { return vin == report.UnknownVIN })
	if diff := cmp.Diff(want, ours, cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("the report's maximum speeds (-want +got):\n%s", diff)
	}
	if r.Total.Records != ids || len(r.Problems()) > 0 {
		t.Errorf("%d records, problems %q; want %d and none", r.Total.Records, r.Problems(), ids)
	}
}

// TestWhatTheAgentWritesIsRead: any record, in both wire formats, comes back with the values that the wire can carry.
func TestWhatTheAgentWritesIsRead(t *testing.T) {
	t.Parallel()
	format, err := record.NewTextFormat(record.ContractFields())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		maybe := func(name string, low, high float64) record.Float {
			if rapid.Bool().Draw(t, name+" is known") {
				return record.Some(rapid.Float64Range(low, high).Draw(t, name))
			}
			return record.Float{}
		}
		r := record.Record{
			ID:    uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
			VIN:   rapid.StringMatching(`([A-HJ-NPR-Z0-9]{17})?`).Draw(t, "vin"),
			Lon:   maybe("lon", -180, 180),
			Lat:   maybe("lat", -90, 90),
			Speed: maybe("speed", 0, 300),
			Flags: []string{"no_fix"},
		}
		if rapid.Bool().Draw(t, "dated") {
			r.Time = time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "ms")).UTC()
		}
		fromText, err := layout(t).ParseText(bytes.TrimSuffix(format.Append(nil, &r), []byte("\n")))
		if err != nil {
			t.Fatalf("text: %v", err)
		}
		fromJSON, err := report.ParseJSON(r.AppendJSON(nil))
		if err != nil {
			t.Fatalf("JSON: %v", err)
		}
		want := report.Line{ID: r.ID, Time: r.Time, VIN: r.VIN, Lon: math.NaN(), Lat: math.NaN(), Speed: math.NaN()}
		lon, hasLon := r.Lon.Get()
		if lat, hasLat := r.Lat.Get(); hasLon && hasLat {
			want.Lon, want.Lat = lon, lat
		}
		if speed, ok := r.Speed.Get(); ok {
			want.Speed = speed
		}
		for _, got := range []report.Line{fromText, fromJSON} {
			near := func(what string, got, want, step float64) {
				if math.IsNaN(got) != math.IsNaN(want) || math.Abs(got-want) > step {
					t.Errorf("%s %v, want %v", what, got, want)
				}
			}
			near("lon", got.Lon, want.Lon, 1e-7)
			near("lat", got.Lat, want.Lat, 1e-7)
			near("speed", got.Speed, want.Speed, 0.1)
			if got.ID != want.ID || !got.Time.Equal(want.Time) || got.VIN != want.VIN {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
	})
}

// TestTheReportDoesNotDependOnTheOrderOfDelivery, on repetition, or on how lines are cut into objects and packed.
func TestTheReportDoesNotDependOnTheOrderOfDelivery(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 20 {
		lines = append(lines, text(i, fmt.Sprintf("2026-11-23T08:00:%02d.000Z", i), []string{vinA, vinB}[i%2], "10", fmt.Sprintf("%.7f", 50+float64(i*i)*1e-6), fmt.Sprint(i%7)))
	}
	whole, zipped := "", map[string]string{}
	for _, l := range lines {
		whole += l
		zipped[l] = zip(l)
	}
	want := read(t, objects{"a", whole}, report.Options{})
	rapid.Check(t, func(rt *rapid.T) {
		order := rapid.Permutation(lines).Draw(rt, "order")
		again := rapid.SliceOf(rapid.SampledFrom(lines)).Draw(rt, "delivered again")
		var source objects
		for i, l := range append(order, again...) {
			switch rapid.IntRange(0, 2).Draw(rt, "how") {
			case 0:
				source = append(source, fmt.Sprint(i), l)
			case 1:
				source = append(source, fmt.Sprint(i), zipped[l])
			default:
				if len(source) == 0 {
					source = append(source, "0", "")
				}
				source[len(source)-1] += l
			}
		}
		got, err := report.Read(t.Context(), source, report.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		if got.Total.Duplicates != len(again) || got.Damaged+got.UnreadableCount > 0 {
			rt.Errorf("%d duplicates, want %d; problems %q", got.Total.Duplicates, len(again), got.Problems())
		}
		ignore := cmpopts.IgnoreFields(report.Vehicle{}, "Duplicates")
		if diff := cmp.Diff(want.Vehicles, got.Vehicles, ignore); diff != "" {
			rt.Errorf("vehicles (-want +got):\n%s", diff)
		}
	})
}
