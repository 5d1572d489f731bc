package buffer_test

import (
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/buffer"
)

var update = flag.Bool("update", false, "rewrite golden files")

const goldenDir = "testdata/v1"

// TestVersion1IsReadForEver reads a directory that version 1 of the format wrote. It is made anew only with -update, and
// that only as long as version 1 was never delivered.
func TestVersion1IsReadForEver(t *testing.T) {
	t.Parallel()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20}
	if *update {
		m := newMemFS()
		l := open(t, m, opts)
		commits(t, l, 20, 5)
		l.Ack(1, 3)
		l.Ack(10, 12)
		mustClose(t, l)
		for _, name := range m.segmentNames() {
			if err := os.WriteFile(filepath.Join(goldenDir, name), m.names[name].seen, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	m := newMemFS()
	files, err := os.ReadDir(goldenDir)
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(goldenDir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m.names[f.Name()] = &inode{seen: b}
	}
	want := slices.Concat(seqs(4, 9), seqs(13, 100))
	if diff := cmp.Diff(want, drainOn(t, m, opts)); diff != "" {
		t.Error(diff)
	}
}

// TestThinnedSegmentsAreReadForEver is the same for a directory with thinned segments in it. The file "want" is what is to be read.
func TestThinnedSegmentsAreReadForEver(t *testing.T) {
	t.Parallel()
	const dir = "testdata/v1-thin"
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 10 * 4 << 10, Overflow: buffer.Thin}
	if *update {
		m := newMemFS()
		l := open(t, m, opts)
		for l.Stats().LostRecords[buffer.ReasonOverflow] == 0 {
			commits(t, l, 10, 5)
		}
		last := l.Committed() - 1
		l.Ack(last-300, last-250)
		commits(t, l, 60, 5)
		mustClose(t, l)
		for _, name := range m.segmentNames() {
			if err := os.WriteFile(filepath.Join(dir, name), m.names[name].seen, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "want"), []byte(strings.Join(drainOn(t, m, opts), "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := newMemFS()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if f.Name() == "want" {
			want = strings.Split(string(b), "\n")
			continue
		}
		m.names[f.Name()] = &inode{seen: b}
	}
	for _, has := range []string{" thinned", " overflow"} {
		if !slices.ContainsFunc(want, func(s string) bool { return strings.HasSuffix(s, has) }) {
			t.Errorf("nothing is%s in it", has)
		}
	}
	if diff := cmp.Diff(want, drainOn(t, m, opts)); diff != "" || len(want) < 100 {
		t.Errorf("%d entries: %s", len(want), diff)
	}
	// Another policy reads it too, and a version that does not know a flag refuses it by name.
	opts.Overflow = buffer.DropOldest
	if diff := cmp.Diff(want, drainOn(t, m, opts)); diff != "" {
		t.Error(diff)
	}
	for name, n := range m.names {
		if strings.HasSuffix(name, ".thin") {
			n.seen[10] |= 0x80
			reseal(n.seen[:64], 12)
		}
	}
	l := open(t, m, opts)
	r := l.Reader(0)
	for err == nil {
		_, _, err = r.TryNext()
	}
	if !errors.Is(err, buffer.ErrFormat) || !strings.Contains(err.Error(), ".thin") {
		t.Errorf("an unknown flag: %v", err)
	}
	r.Close()
	mustClose(t, l)
}

// reseal puts the checksum of a header right after a change: it is 4 bytes at skip.
func reseal(b []byte, skip int) {
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(b[skip:], crc32.Update(crc32.Checksum(b[:skip], table), table, b[skip+4:]))
}

func TestNewerVersionsAreRefusedByName(t *testing.T) {
	t.Parallel()
	tests := map[string]func(b []byte){
		"a newer segment version": func(b []byte) { b[8] = 2; reseal(b[:64], 12) },
		"an unknown segment flag": func(b []byte) { b[11] = 1; reseal(b[:64], 12) },
		"an unknown frame flag":   func(b []byte) { b[64+3] = 0x80; reseal(b[64:64+48], 4) },
		"an unknown codec":        func(b []byte) { b[64+43] = 9; reseal(b[64:64+48], 4) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemFS()
			opts := buffer.Options{Dir: "test", SegmentBytes: 4 << 10, MaxBytes: 1 << 20}
			l := open(t, m, opts)
			fill(t, l, 5)
			mustClose(t, l)
			segment := m.segmentNames()[0]
			change(m.names[segment].seen)
			_, err := buffer.OpenOn(m, opts)
			if !errors.Is(err, buffer.ErrFormat) || !strings.Contains(err.Error(), segment) {
				t.Errorf("open: %v, want ErrFormat and the name of the file", err)
			}
			if m.locked {
				t.Error("the lock is still held")
			}
		})
	}
}

// FuzzOpen puts any bytes into the newest segment. Whatever they are, Open and a Reader return in the end, and the log
// takes new records.
func FuzzOpen(f *testing.F) {
	files, err := os.ReadDir(goldenDir)
	if err != nil {
		f.Fatal(err)
	}
	name := ""
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(goldenDir, file.Name()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint16(0), uint8(0), false)
		f.Add(b, uint16(80), uint8(1), true)
		f.Add(b[:len(b)/2], uint16(70), uint8(0xff), false)
		name = file.Name()
	}
	thin, _, _ := thinBytes(f)
	for _, b := range thin {
		f.Add(b, uint16(0), uint8(0), false)
		f.Add(b, uint16(0), uint8(0), true)
		f.Add(b, uint16(64+40), uint8(1), true) // count
		f.Add(b[:len(b)/2], uint16(70), uint8(0xff), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, flip uint8, repair bool) {
		b = slices.Clone(b)
		if int(at) < len(b) {
			b[at] ^= flip
		}
		if repair && len(b) >= 64+48 { // so that what is behind the checksums is reached
			reseal(b[:64], 12)
			reseal(b[64:64+48], 4)
		}
		m := fuzzDir(t, name, b, repair)
		l, err := buffer.OpenOn(m, buffer.Options{Dir: "test", SegmentBytes: 4 << 10, MaxBytes: 1 << 20})
		if errors.Is(err, buffer.ErrFormat) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		next := l.Stats().NextSeq
		if _, err := l.Append([]byte("new")); err != nil {
			t.Fatal(err)
		}
		if err := l.Commit(); err != nil {
			t.Fatal(err)
		}
		r := l.Reader(0)
		last := uint64(0)
		for {
			e, ok, err := r.TryNext()
			if errors.Is(err, buffer.ErrFormat) {
				break
			}
			if err != nil || !ok || e.Seq <= last {
				t.Fatalf("%d after %d, %v, %v", e.Seq, last, ok, err)
			}
			if last = e.Seq; last == next {
				if string(e.Data) != "new" {
					t.Fatalf("record %d is %q", e.Seq, e.Data)
				}
				break
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
