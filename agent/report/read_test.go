package report_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"obdagent/agent/report"
)

const (
	vinA = "WVWZZZ1JZXW000001"
	vinB = "4FTEX4944AKL84429"
)

// id returns a valid record_id, different for each n.
func id(n int) string { return fmt.Sprintf("939ed1d1-1740-420c-8906-%012x", n) }

// text returns a text line, with its newline.
func text(n int, time, vin, lon, lat, speed string) string {
	return strings.Join([]string{id(n), time, vin, lon, lat, speed}, " ") + "\n"
}

func zip(s string) string { return zipAt(gzip.BestSpeed, s) } // -race makes more than that slow

func zipAt(level int, s string) string {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		panic(err)
	}
	if _, err := io.WriteString(w, s); err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

// objects is a source in memory: keys and contents in turn.
type objects []string

func (o objects) Objects(context.Context) iter.Seq2[report.Object, error] {
	return func(yield func(report.Object, error) bool) {
		for i := 0; i < len(o); i += 2 {
			if !yield(report.Object{Key: o[i], Size: int64(len(o[i+1])), Open: func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(o[i+1])), nil
			}}, nil) {
				return
			}
		}
	}
}

func read(t *testing.T, source report.Source, o report.Options) *report.Report {
	t.Helper()
	r, err := report.Read(t.Context(), source, o)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	if got := r.Total.Records + r.Total.Duplicates + r.Damaged + r.Filtered; got != r.Lines {
		t.Errorf("records + duplicates + damaged + filtered = %d, but there are %d lines", got, r.Lines)
	}
	return r
}

// Two seconds of one drive, north along the meridian at 36 km/h: 10 m a second are 10/111.195 millidegrees.
var drive = text(1, "2026-11-23T08:00:00.000Z", vinA, "10.0000000", "50.0000000", "36") +
	text(2, "2026-11-23T08:00:01.000Z", vinA, "10.0000000", "50.0000899", "36.4") +
	text(3, "2026-11-23T08:00:02.000Z", vinA, "10.0000000", "50.0001799", "36")

func TestRead(t *testing.T) {
	t.Parallel()
	jsonDrive := `{"record_id":"` + id(2) + `","timestamp":"2026-11-23T08:00:01.000Z","time_src":"gnss","vin":"` + vinA + `","lon":10,"lat":50.0000899,"speed":36.4,"flags":[],"rpm":2000}` + "\n"
	lines := strings.SplitAfter(drive, "\n")
	tests := []struct {
		name       string
		source     objects
		options    report.Options
		records    int
		duplicates int
		undated    int
		damaged    []string // reasons, as parts
		unreadable []string
		maxSpeed   float64
		metres     float64
		jumps      int
	}{
		{name: "text is read", source: objects{"a", drive}, records: 3, maxSpeed: 36.4, metres: 20},
		{name: "gzip is known by its first bytes", source: objects{"a", zip(drive)}, records: 3, maxSpeed: 36.4, metres: 20},
		{name: "gzip members follow one another", source: objects{"a", zip(lines[0]) + zip(lines[1]) + zip(lines[2])}, records: 3, maxSpeed: 36.4, metres: 20},
		{name: "gzip members and plain lines share an object", source: objects{"a", lines[0] + zip(lines[1]) + lines[2]}, records: 3, maxSpeed: 36.4, metres: 20},
		{name: "the stream packs what devices have packed", source: objects{"a", zip(lines[0] + zip(lines[1]) + lines[2])}, records: 3, maxSpeed: 36.4, metres: 20},
		{name: "JSON and text lines share an object", source: objects{"a", lines[0] + jsonDrive + lines[2]}, records: 3, maxSpeed: 36.4, metres: 20},
		{name: "a JSON line shows by itself that it is whole", source: objects{"a", strings.TrimSpace(jsonDrive)}, records: 1, maxSpeed: 36.4},
		{name: "the order of delivery does not matter", source: objects{"a", lines[2] + lines[0], "b", lines[1]}, records: 3, maxSpeed: 36.4, metres: 20},
		{name: "a record counts once", source: objects{"a", drive, "b", drive + lines[1]}, records: 3, duplicates: 4, maxSpeed: 36.4, metres: 20},
		{name: "carriage returns and empty lines are passed over", source: objects{"a", strings.ReplaceAll(drive, "\n", "\r\n") + "\n\n"}, records: 3, maxSpeed: 36.4, metres: 20},
		{name: "a record without a time counts and is not in the track", source: objects{"a", drive + text(4, "NaN", vinA, "11", "50", "50")}, records: 4, undated: 1, maxSpeed: 50, metres: 20},
		{name: "a time of day is no time", source: objects{"a", text(1, "4:25:06.00", "4ftex4944akl844294", "106.9447146", "-6.3385652", "25")}, records: 1, undated: 1, maxSpeed: 25},
		{name: "a record without a position breaks the chain", source: objects{"a", lines[0] + text(2, "2026-11-23T08:00:01.000Z", vinA, "NaN", "NaN", "36") + lines[2]}, records: 3, maxSpeed: 36},
		{name: "a step faster than any vehicle is no distance", source: objects{"a", drive + text(4, "2026-11-23T08:00:03.000Z", vinA, "10.1", "50", "36")}, records: 4, maxSpeed: 36.4, metres: 20, jumps: 1},
		{name: "a position elsewhere at the same time is no distance", source: objects{"a", drive + text(4, "2026-11-23T08:00:02.000Z", vinA, "10.0000000", "50.0002", "36")}, records: 4, maxSpeed: 36.4, metres: 20, jumps: 1},
		{name: "nothing is known but the id", source: objects{"a", text(1, "NaN", "NaN", "NaN", "NaN", "NaN")}, records: 1, undated: 1, maxSpeed: math.NaN()},
		{name: "a torn last line is not read as a smaller number", source: objects{"a", strings.TrimSuffix(drive, "6\n")}, records: 2, damaged: []string{"a:3 the object ends within it"}, maxSpeed: 36.4, metres: 10},
		{name: "a damaged line costs that line only", source: objects{"a", lines[0] + "rubbish\n" + lines[2]}, records: 2, damaged: []string{"a:2 column count 1 instead of 6"}, maxSpeed: 36, metres: 20},
		{name: "an endless line is one damaged line", source: objects{"a", lines[0] + strings.Repeat("x ", 200_000) + "\n" + lines[2]}, records: 2, damaged: []string{"a:2 longer than"}, maxSpeed: 36, metres: 20},
		{name: "the lines of a gzip member with a wrong checksum do not count", source: objects{"a", zip(lines[0]) + flip(zip(lines[1]), -6) + zip(lines[2])},
			records: 2, unreadable: []string{"a gzip member at byte"}, maxSpeed: 36, metres: 20},
		{name: "a gzip member that is cut off does not count", source: objects{"a", zip(lines[0]) + zip(lines[1])[:40], "b", lines[2]},
			records: 2, unreadable: []string{"a gzip member at byte"}, maxSpeed: 36, metres: 20},
		{name: "a newline between members costs nothing", source: objects{"a", zip(lines[0]) + "\n" + zip(lines[1]) + "\n" + zip(lines[2])}, records: 3, maxSpeed: 36.4, metres: 20},
		{name: "a Parquet file is one unreadable object", source: objects{"a", "PAR1\x15\x04" + strings.Repeat("\n", 50), "b", drive},
			records: 3, unreadable: []string{"a is Parquet"}, maxSpeed: 36.4, metres: 20},
		{name: "a VIN that begins as Parquet does is a VIN", options: report.Options{Fields: []string{"vin", "record_id"}},
			source: objects{"a", "PAR1ZZ1JZXW000001 " + id(1) + "\n"}, records: 1, undated: 1, maxSpeed: math.NaN()},
		{name: "a zstd file is one unreadable object", source: objects{"a", "\x28\xb5\x2f\xfd\n\n"}, unreadable: []string{"a is zstd"}, maxSpeed: math.NaN()},
		{name: "an empty object holds nothing", source: objects{"a", "", "b", drive}, records: 3, maxSpeed: 36.4, metres: 20},
		{name: "other columns are known by their names", options: report.Options{Fields: []string{"timestamp", "speed", "rpm", "record_id"}},
			source: objects{"a", "2026-11-23T08:00:00.000Z 12.5 900 " + id(1) + "\n"}, records: 1, maxSpeed: 12.5},
		{name: "without a record_id nothing is a duplicate", options: report.Options{Fields: []string{"timestamp", "speed"}},
			source: objects{"a", "2026-11-23T08:00:00.000Z 12.5\n2026-11-23T08:00:00.000Z 12.5\n"}, records: 2, maxSpeed: 12.5},
		{name: "as text a JSON line is damaged", options: report.Options{Format: report.FormatText}, source: objects{"a", drive + jsonDrive},
			records: 3, damaged: []string{"a:4 column count 1"}, maxSpeed: 36.4, metres: 20},
		{name: "as JSON a text line is damaged", options: report.Options{Format: report.FormatJSON}, source: objects{"a", jsonDrive + lines[0]},
			records: 1, damaged: []string{"a:2 not a JSON object"}, maxSpeed: 36.4},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := read(t, test.source, test.options)
			if r.Total.Records != test.records || r.Total.Duplicates != test.duplicates || r.Total.Undated != test.undated || r.Total.Jumps != test.jumps {
				t.Errorf("records %d duplicates %d undated %d jumps %d, want %d %d %d %d", r.Total.Records, r.Total.Duplicates, r.Total.Undated, r.Total.Jumps,
					test.records, test.duplicates, test.undated, test.jumps)
			}
			if !cmp.Equal(r.Total.MaxSpeed, test.maxSpeed, cmpopts.EquateNaNs()) {
				t.Errorf("maximum speed %v, want %v", r.Total.MaxSpeed, test.maxSpeed)
			}
			if got := r.Total.Distance() * 1000; math.Abs(got-test.metres) > 0.05 {
				t.Errorf("distance %.3f m, want %v", got, test.metres)
			}
			var damaged, unreadable []string
			for _, d := range r.FirstDamaged {
				damaged = append(damaged, fmt.Sprintf("%s:%d %s", d.Object, d.Line, d.Reason))
			}
			for _, u := range r.Unreadable {
				unreadable = append(unreadable, u.Object+" "+u.Reason)
			}
			expectParts(t, "damaged", damaged, test.damaged)
			expectParts(t, "unreadable", unreadable, test.unreadable)
			if bad := len(test.damaged)+len(test.unreadable) > 0; bad != (len(r.Problems()) > 0) {
				t.Errorf("problems %q, want some: %v", r.Problems(), bad)
			}
		})
	}
}

// flip changes one bit of the byte at i, counted from the end if negative.
func flip(s string, i int) string {
	b := []byte(s)
	if i < 0 {
		i += len(b)
	}
	b[i] ^= 0x10
	return string(b)
}

func expectParts(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %q, want %q", what, got, want)
		return
	}
	for i := range got {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s: %q, want it to contain %q", what, got[i], want[i])
		}
	}
}

func TestVehiclesAreSummedApart(t *testing.T) {
	t.Parallel()
	r := read(t, objects{"a", drive +
		text(10, "2026-11-23T09:00:00.000Z", vinB, "106.9447146", "-6.3385652", "25") +
		text(11, "2026-11-23T07:00:00.000Z", "NaN", "NaN", "NaN", "99.5") + text(11, "2026-11-23T07:00:00.000Z", "NaN", "NaN", "NaN", "99.5")}, report.Options{})
	var got []string
	for _, v := range r.Vehicles {
		got = append(got, fmt.Sprintf("%s %d %v %d %s", v.VIN, v.Records, v.MaxSpeed, v.Duplicates, v.First.Format("15:04")))
	}
	want := []string{vinB + " 1 25 0 09:00", vinA + " 3 36.4 0 08:00", "unknown 1 99.5 1 07:00"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("vehicles (-want +got):\n%s", diff)
	}
	if f, l := r.Total.First.Format("15:04"), r.Total.Last.Format("15:04"); f != "07:00" || l != "09:00" {
		t.Errorf("total from %s to %s, want 07:00 to 09:00", f, l)
	}
}

func TestEachSeesEveryGoodLineInOrder(t *testing.T) {
	t.Parallel()
	lines := strings.SplitAfter(drive, "\n")
	var got []string
	read(t, objects{"a", lines[0] + "rubbish\n" + lines[1], "b", lines[0]}, report.Options{Each: func(l report.Line) {
		got = append(got, fmt.Sprintf("%s:%d %s %s", l.Object, l.Number, l.ID, l.Raw[len(l.Raw)-4:]))
	}})
	want := []string{"a:1 " + id(1) + " 0 36", "a:3 " + id(2) + " 36.4", "b:1 " + id(1) + " 0 36"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestOnlyTheFirstDamagedLinesAreDescribed(t *testing.T) {
	t.Parallel()
	r := read(t, objects{"a", strings.Repeat("rubbish\n", 3*report.KeepDamaged)}, report.Options{})
	if r.Damaged != 3*report.KeepDamaged || len(r.FirstDamaged) != report.KeepDamaged {
		t.Errorf("%d damaged, %d described; want %d and %d", r.Damaged, len(r.FirstDamaged), 3*report.KeepDamaged, report.KeepDamaged)
	}
}

func TestDirectoryListsInOrderAndSkips(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(key, content string) {
		t.Helper()
		name := filepath.Join(dir, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, key := range []string{"2026/11/23/s-1-x", "2026/11/23/s-1-x.gz", "2026/11/23-late/s", "2026/11/24/s", "a"} {
		n++
		line := text(n, "NaN", "NaN", "NaN", "NaN", "1")
		if strings.HasSuffix(key, ".gz") {
			line = zip(line)
		}
		write(key, line)
	}
	write("errors/processing-failed/2026/11/23/s", "rubbish\n")
	write("2026/11/24/.s.swp", "rubbish\n")
	write("2026/11/24/s.tmp", "rubbish\n")
	write(".hidden/s", "rubbish\n")
	var keys []string
	r := read(t, report.Directory(dir), report.Options{Each: func(l report.Line) { keys = append(keys, l.Object) }})
	want := []string{"2026/11/23-late/s", "2026/11/23/s-1-x", "2026/11/23/s-1-x.gz", "2026/11/24/s", "a"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if want := (report.Skipped{ErrorPrefix: 1, Temporary: 3}); r.Skipped != want || r.Objects != 5 {
		t.Errorf("skipped %+v of %d objects, want %+v of 5", r.Skipped, r.Objects, want)
	}
}

func TestASingleFileIsASource(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "one")
	if err := os.WriteFile(name, []byte(drive), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := read(t, report.Directory(name), report.Options{}); r.Total.Records != 3 {
		t.Errorf("%d records, want 3", r.Total.Records)
	}
}

func TestADirectoryThatIsNotThereIsAnError(t *testing.T) {
	t.Parallel()
	_, err := report.Read(t.Context(), report.Directory(filepath.Join(t.TempDir(), "none")), report.Options{})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want one that is os.ErrNotExist", err)
	}
}

// failing is a source whose objects fail in different ways.
type failing struct{ list error }

var errBroken = errors.New("wire\n\x1b[31mcut")

func (f failing) Objects(context.Context) iter.Seq2[report.Object, error] {
	return func(yield func(report.Object, error) bool) {
		open := func(content string, err error) func(context.Context) (io.ReadCloser, error) {
			return func(context.Context) (io.ReadCloser, error) {
				if content == "" {
					return nil, err
				}
				return io.NopCloser(io.MultiReader(strings.NewReader(content), brokenReader{err})), nil
			}
		}
		cut := strings.TrimSuffix(drive, "6\n")
		_ = yield(report.Object{Key: "closed", Open: open("", errBroken)}, nil) &&
			yield(report.Object{Key: "cut", Open: open(cut, errBroken)}, nil) &&
			yield(report.Object{Key: "cut.gz", Open: open(zip(drive)[:50], errBroken)}, nil) &&
			f.list != nil && yield(report.Object{}, f.list)
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func TestAnObjectThatBreaksOffIsNamedAndTheRestIsRead(t *testing.T) {
	t.Parallel()
	_, err := report.Read(t.Context(), failing{list: errBroken}, report.Options{})
	if !errors.Is(err, errBroken) {
		t.Errorf("error of a listing that broke off: %v, want %v", err, errBroken)
	}
	r := read(t, failing{}, report.Options{})
	var got []string
	for _, u := range r.Unreadable {
		got = append(got, u.Object+": "+u.Reason)
	}
	expectParts(t, "unreadable", got, []string{"closed: wire ?[31mcut", "cut: after line 2: wire ?[31mcut", "cut.gz: after line 0: wire ?[31mcut"})
	if r.Total.Records != 2 {
		t.Errorf("%d records, want the 2 whole lines before the cut", r.Total.Records)
	}
}

func TestAContextThatEndsEndsTheReading(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := report.Read(ctx, objects{"a", strings.Repeat(drive, 100_000)}, report.Options{Each: func(report.Line) {
		if n++; n == 10 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || n > 10_000 {
		t.Errorf("error %v after %d lines, want context.Canceled within 10000", err, n)
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		options report.Options
		want    string
	}{
		{report.Options{Fields: []string{"record_id", "Speed"}}, `column 2 is named "Speed"`},
		{report.Options{Fields: []string{"speed", "speed"}}, `"speed" is named twice`},
		{report.Options{Fields: []string{"speed", ""}}, `column 2 is named ""`},
		{report.Options{Format: "xml"}, `format "xml" is unknown: use auto, text or json`},
	} {
		_, err := report.Read(t.Context(), objects{}, test.options)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: error %v, want one with %q", test.options, err, test.want)
		}
	}
}

// Whatever one byte becomes, a gzip member with a wrong checksum yields no record, and the members around it all of theirs
// that a reader can find again.
func TestNoDamagedByteOfAGzipMemberBecomesARecord(t *testing.T) {
	t.Parallel()
	lines := strings.SplitAfter(drive, "\n")
	first, second, third := zip(lines[0]), zip(lines[1]), zip(lines[2])
	good := map[string]bool{}
	for _, l := range lines {
		good[strings.TrimSuffix(l, "\n")] = true
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range second {
		damaged := []byte(second)
		damaged[i] ^= byte(1 + random.IntN(255))
		seen := map[string]bool{}
		read(t, objects{"a", first + string(damaged) + third}, report.Options{Each: func(l report.Line) {
			if !good[string(l.Raw)] {
				t.Errorf("byte %d: got the line %q, which nobody sent", i, l.Raw)
			}
			seen[string(l.Raw)] = true
		}})
		if !seen[strings.TrimSuffix(lines[0], "\n")] {
			t.Errorf("byte %d: the member before the damaged one is missing", i)
		}
	}
}

func TestAMemberTooLongToHoldIsReadAsItComes(t *testing.T) {
	t.Parallel()
	line := id(1) + " 36 " + strings.Repeat("x", 4000) + "\n"
	options := report.Options{Fields: []string{"record_id", "speed", "note"}}
	n := 3<<20/len(line) + 1 // 2 MiB are held
	packed := zipAt(gzip.NoCompression, strings.Repeat(line, n))
	r := read(t, objects{"a", packed + zip(id(2)+" 1 y\n")}, options)
	if r.Lines != n+1 || r.Total.Records != 2 || len(r.Problems()) > 0 {
		t.Errorf("%d lines, %d records, problems %q; want %d, 2 and none", r.Lines, r.Total.Records, r.Problems(), n+1)
	}
	r = read(t, objects{"a", flip(packed, -6)}, options)
	if want := fmt.Sprintf("%d of its lines were counted before", n); r.Lines != n || r.UnreadableCount != 1 || !strings.Contains(r.Unreadable[0].Reason, want) {
		t.Errorf("%d lines, unreadable %+v; want %d and the report to say that they were counted", r.Lines, r.Unreadable, n)
	}
}
