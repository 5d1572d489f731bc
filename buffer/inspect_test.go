package buffer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/buffer"
)

// looked lists what Inspect hands out, acknowledged records in brackets.
func looked(t *testing.T, dir string) (*buffer.Inspection, []string) {
	t.Helper()
	var got []string
	in, err := buffer.Inspect(dir, func(r buffer.ScannedRecord) error {
		s := entryText(buffer.Entry{Seq: r.Seq, Data: r.Data})
		if r.Acked {
			s = "(" + s + ")"
		}
		got = append(got, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return in, got
}

// segmentsOf makes a directory with some segments of 64 KiB, and returns it with the number of records.
func segmentsOf(t *testing.T) (dir string, files []string, records uint64) {
	t.Helper()
	dir = t.TempDir()
	l := openDir(t, dir)
	for files = nil; len(files) < 3; files, _ = filepath.Glob(filepath.Join(dir, "*.seg")) {
		commits(t, l, 20, 10)
	}
	commits(t, l, 20, 10)
	l.Ack(1, 3)
	l.Ack(6, 7)
	mustClose(t, l)
	return dir, files, l.Committed() - 1
}

func TestInspectTellsWhatIsThereAndChangesNothing(t *testing.T) {
	t.Parallel()
	dir, _, records := segmentsOf(t)
	l := openDir(t, dir) // a running owner is no hindrance
	before := tree(t, dir)
	in, got := looked(t, dir)
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("changed: %s", diff)
	}
	want := seqs(1, records)
	for _, n := range []int{0, 1, 2, 5, 6} {
		want[n] = "(" + want[n] + ")"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(in.Segments) < 3 || in.Records != records || in.Waiting != records-5 || in.FirstSeq != 1 || in.LastSeq != records ||
		in.AckedBelow != 4 || in.AckedRanges != 1 || len(in.Damage) != 0 || in.Bytes != int64(len(in.Segments)+in.Spares)*64<<10 {
		t.Errorf("%+v", in)
	}
	mustClose(t, l)
}

// tree is the content of all files.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		m[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestASegmentUsedAgainIsNoDamage acknowledges a segment that has others before it, as live-first does, and looks when it is gone.
func TestASegmentUsedAgainIsNoDamage(t *testing.T) {
	t.Parallel()
	dir, files, _ := segmentsOf(t)
	firsts := make([]uint64, len(files))
	for i, f := range files {
		if _, err := fmt.Sscanf(filepath.Base(f), "%016x-", &firsts[i]); err != nil {
			t.Fatal(err)
		}
	}
	l := openDir(t, dir)
	l.Ack(firsts[1], firsts[2]-1)
	commits(t, l, 2, 1)
	if _, err := os.Stat(files[1]); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("it is there still: %v", err)
	}
	mustClose(t, l)
	in, got := looked(t, dir)
	if len(in.Damage) > 0 {
		t.Errorf("%+v", in.Damage)
	}
	if slices.Contains(got, seqs(firsts[1], firsts[1])[0]) || !slices.Contains(got, seqs(firsts[2], firsts[2])[0]) {
		t.Errorf("%d records: %q", len(got), got)
	}
}

// TestInspectTellsATornCommitFromDamage tears the first frame of the last commit, of which later frames came to disk: a Reader says
// that it was torn, and so does Inspect. With a commit behind it, it was synced: that is damage.
func TestInspectTellsATornCommitFromDamage(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{buffer.ReasonTorn, buffer.ReasonDamaged} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			m := newMemFS()
			opts := buffer.Options{SegmentBytes: 16 << 10, MaxBytes: 1 << 20}
			l := open(t, m, opts)
			fill(t, l, 1)
			overfill(t, l, 2)
			for range 40 {
				if _, err := l.Append([]byte(dense(l.Stats().NextSeq))); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Commit(); err != nil {
				t.Fatal(err)
			}
			if reason == buffer.ReasonDamaged {
				fill(t, l, 1)
			}
			mustClose(t, l)
			b := m.names[m.segmentNames()[0]].seen
			at := frameOffsets(b)
			if len(m.segmentNames()) != 1 || len(at) < 4 || b[at[2]+3] != 0 || b[at[3]+3] != 1 {
				t.Fatalf("%d segments, frames at %v: not what is to be torn", len(m.segmentNames()), at)
			}
			b[at[2]+100] ^= 1
			in, err := buffer.InspectOn(m, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(in.Damage) != 1 || in.Damage[0].Reason != reason || in.Damage[0].Offset != int64(at[2]) {
				t.Fatalf("%+v", in.Damage)
			}
			want := fmt.Sprintf("%d-%d %s", in.Damage[0].From, in.Damage[0].To, reason)
			if diff := cmp.Diff([]string{want}, lostEntries(t, m, opts)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// lostEntries is what a log hands out that is no record.
func lostEntries(t *testing.T, m *memFS, opts buffer.Options) (list []string) {
	t.Helper()
	l := open(t, m, opts)
	r := l.Reader(0)
	for {
		e, ok, err := r.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if e.Lost != nil {
			list = append(list, entryText(e))
		}
	}
	r.Close()
	mustClose(t, l)
	return list
}

func TestInspectNamesSegmentAndOffsetOfDamage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		segment int
		do      func(b []byte, at []int) []byte
		frames  []int // lost, from and to (inclusive)
		reason  string
	}{
		"a bit in the middle of a sealed segment":  {1, func(b []byte, at []int) []byte { b[at[5]+100] ^= 1; return b }, []int{5, 5}, "damaged"},
		"a frame header of the newest segment":     {-1, func(b []byte, at []int) []byte { b[at[3]+9] ^= 1; return b }, []int{3, 3}, "damaged"},
		"the last frame of the newest segment":     {-1, func(b []byte, at []int) []byte { b[at[len(at)-1]+9] ^= 1; return b }, []int{}, "torn"},
		"the last two frames of a sealed segment":  {0, func(b []byte, at []int) []byte { clear(b[at[len(at)-2]:]); return b }, []int{-2, -1}, "damaged"},
		"a sealed segment that was cut to nothing": {1, func([]byte, []int) []byte { return nil }, []int{0, -1}, "damaged"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, files, records := segmentsOf(t)
			path := files[(test.segment+len(files))%len(files)]
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := frameOffsets(b)
			var first uint64
			if _, err := fmt.Sscanf(filepath.Base(path), "%016x-", &first); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, test.do(b, at), 0o600); err != nil {
				t.Fatal(err)
			}
			in, got := looked(t, dir)
			if len(in.Damage) != 1 {
				t.Fatalf("damage %+v, want one", in.Damage)
			}
			d := in.Damage[0]
			if d.Segment != filepath.Base(path) || d.Reason != test.reason {
				t.Errorf("damage %+v", d)
			}
			if len(test.frames) == 2 {
				from, to := (test.frames[0]+len(at))%len(at), (test.frames[1]+len(at))%len(at)
				want := buffer.Damage{Segment: d.Segment, Offset: int64(at[from]), From: first + uint64(from*10), To: first + uint64(to*10) + 9, Reason: test.reason}
				if len(b) == 0 || name == "a sealed segment that was cut to nothing" {
					want.Offset = 0
				}
				if d != want {
					t.Errorf("damage %+v, want %+v", d, want)
				}
				if uint64(len(got)) != records-(want.To-want.From+1) {
					t.Errorf("%d records, want %d less %d", len(got), records, want.To-want.From+1)
				}
			}
			if slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "false") }) {
				t.Errorf("false records: %v", got)
			}
		})
	}
}

func TestInspectEndsWithItsCallersErrorAndSaysWhatItCannotList(t *testing.T) {
	t.Parallel()
	dir, _, _ := segmentsOf(t)
	stop := errors.New("enough")
	if _, err := buffer.Inspect(dir, func(buffer.ScannedRecord) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, want the caller's", err)
	}
	missing := filepath.Join(dir, "none")
	if _, err := buffer.Inspect(missing, nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("%v, want not exist and the name", err)
	}
}

// A raw card: segments at any sector, noise between, one of them twice, one with its end elsewhere.
func TestRecordsAreCarvedOutOfAnImage(t *testing.T) {
	t.Parallel()
	_, files, records := segmentsOf(t)
	var image []byte
	noise := func(n int) {
		for i := range n {
			image = append(image, byte(i*i*31+i>>3))
		}
	}
	for _, path := range append([]string{files[2], files[0]}, files...) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		noise(5 * 512)
		image = append(image, b...)
	}
	noise(700)
	var got []string
	s, err := buffer.CarveRecords(bytes.NewReader(image), int64(len(image)), func(r buffer.ScannedRecord) error {
		got = append(got, entryText(buffer.Entry{Seq: r.Seq, Data: r.Data}))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(seqs(1, records), got); diff != "" {
		t.Error(diff)
	}
	if s.Records != records || s.FirstSeq != 1 || s.LastSeq != records || s.Broken != 0 || s.AckedBelow == 0 {
		t.Errorf("%+v", s)
	}
}
