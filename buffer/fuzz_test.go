package buffer_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"obdagent/buffer"
)

// goldenBytes are the segments that earlier versions wrote.
func goldenBytes(t testing.TB) (names []string, contents [][]byte) {
	t.Helper()
	files, err := os.ReadDir(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(goldenDir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		names, contents = append(names, file.Name()), append(contents, b)
	}
	if len(names) == 0 {
		t.Fatalf("%s is empty", goldenDir)
	}
	return names, contents
}

// thinDir has a thinned log: segments with sparse frames, and whole ones behind.
const thinDir = "testdata/v1-thin"

// thinFiles reads it once.
var thinFiles = sync.OnceValues(func() (map[string][]byte, error) {
	files, err := os.ReadDir(thinDir)
	content := map[string][]byte{}
	for _, file := range files {
		if err == nil {
			content[file.Name()], err = os.ReadFile(filepath.Join(thinDir, file.Name()))
		}
	}
	return content, err
})

// thinBytes are the golden segments of a thinned log: those with sparse frames, and the first whole one with its name.
func thinBytes(t testing.TB) (thin [][]byte, name string, whole []byte) {
	t.Helper()
	content, err := thinFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range slices.Sorted(maps.Keys(content)) {
		switch {
		case strings.HasSuffix(file, ".thin"):
			thin = append(thin, content[file])
		case strings.HasSuffix(file, ".seg") && name == "":
			name, whole = file, content[file]
		}
	}
	if len(thin) == 0 || name == "" {
		t.Fatalf("%s: no thinned segment, or no whole one", thinDir)
	}
	return thin, name, whole
}

// fuzzDir is a directory with one segment of these bytes, and its name. One whose header says that it is thinned has the name that the header
// asks for, so that its sparse frames count; with behind it has a whole one behind it, as it mostly has.
func fuzzDir(t testing.TB, name string, b []byte, behind bool) *memFS {
	t.Helper()
	m := newMemFS()
	if len(b) >= 64 && b[10]&1 != 0 {
		le := binary.LittleEndian
		name = fmt.Sprintf("%016x-%016x.thin", le.Uint64(b[40:]), le.Uint64(b[16:]))
		if behind {
			_, next, whole := thinBytes(t)
			m.names[next] = &inode{seen: slices.Clone(whole)}
		}
	}
	m.names[name] = &inode{seen: b}
	return m
}

// used is a segment without the zeros at its end, but for a few: a fuzzer is quick with short inputs only.
func used(b []byte) []byte {
	end := len(bytes.TrimRight(b, "\x00"))
	return b[:min(len(b), end+64)&^7]
}

// bend returns b with one byte changed. With repair the checksums of the segment's and of the first frame's header are put
// right again, so that what is behind them is reached.
func bend(b []byte, at uint16, flip uint8, repair bool) []byte {
	b = slices.Clone(b)
	if int(at) < len(b) {
		b[at] ^= flip
	}
	if repair && len(b) >= 64+48 {
		reseal(b[:64], 12)
		reseal(b[64:64+48], 4)
	}
	return b
}

// FuzzInspect looks into a directory with one segment of any bytes: Inspect returns, its records come in order, and their sums
// are those of what it handed out. A log that opens the same bytes hands out none that Inspect does not know.
func FuzzInspect(f *testing.F) {
	names, contents := goldenBytes(f)
	for _, b := range contents {
		b = used(b)
		f.Add(b, uint16(0), uint8(0), false)
		f.Add(b, uint16(64+40), uint8(3), true) // count
		f.Add(b, uint16(64+43), uint8(1), true) // codec
		f.Add(b[:len(b)/2], uint16(200), uint8(0xff), false)
	}
	thin, _, _ := thinBytes(f)
	for _, b := range thin {
		b = used(b)
		f.Add(b, uint16(0), uint8(0), false)
		f.Add(b, uint16(0), uint8(0), true)
		f.Add(b, uint16(64+24), uint8(7), true) // the end of the range
		f.Add(b, uint16(64+42), uint8(3), true) // the reason of the gap before it
		f.Add(b[:len(b)/2], uint16(200), uint8(0xff), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, flip uint8, repair bool) {
		b = bend(b, at, flip, repair)
		m := fuzzDir(t, names[0], b, repair)
		known := map[uint64]string{}
		waiting, payload, last := uint64(0), uint64(0), uint64(0)
		in, err := buffer.InspectOn(m, func(r buffer.ScannedRecord) error {
			if r.Seq <= last {
				t.Fatalf("record %d after %d", r.Seq, last)
			}
			last = r.Seq
			known[r.Seq] = string(r.Data)
			payload += uint64(len(r.Data))
			if !r.Acked {
				waiting++
			}
			return nil
		})
		if errors.Is(err, buffer.ErrFormat) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if in.Records != uint64(len(known)) || in.LastSeq != last || in.Payload != payload || in.Waiting != waiting {
			t.Fatalf("%+v, but %d records of %d bytes, %d waiting, were handed out, the last was %d", in, len(known), payload, waiting, last)
		}
		l, err := buffer.OpenOn(m, buffer.Options{Dir: "test", SegmentBytes: 4 << 10, MaxBytes: 1 << 20})
		if errors.Is(err, buffer.ErrFormat) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		r := l.Reader(0)
		for {
			e, ok, err := r.TryNext()
			if !ok || err != nil {
				break
			}
			if want, is := known[e.Seq]; e.Lost == nil && (!is || want != string(e.Data)) {
				t.Fatalf("the log has record %d, %q; the inspection %q", e.Seq, e.Data, want)
			}
		}
		r.Close()
		mustClose(t, l)
	})
}

// FuzzCarveRecords takes any bytes for the image of a card: CarveRecords returns, its records come in order, each once, and
// their sums are those of what it handed out. With the golden segments on the card, whole, none of their records is missing.
func FuzzCarveRecords(f *testing.F) {
	_, contents := goldenBytes(f)
	for _, b := range contents {
		b = used(b)
		f.Add(b, uint16(0), uint8(0), false)
		f.Add(b, uint16(64+32), uint8(0x80), true) // body bytes
		f.Add(bytes.Repeat(b[:512], 3), uint16(520), uint8(1), false)
		f.Add(append(make([]byte, 24), b...), uint16(0), uint8(0), false)
	}
	thin, _, _ := thinBytes(f)
	for _, b := range thin {
		b = used(b)
		f.Add(b, uint16(0), uint8(0), false)
		f.Add(b, uint16(64+40), uint8(1), true) // count
		f.Add(bytes.Repeat(b[:min(len(b), 512)], 3), uint16(520), uint8(1), false)
	}
	contents = append(contents, thin[:2]...)
	golden := map[uint64]string{}
	for _, b := range contents {
		carved(f, b, func(seq uint64, data string) { golden[seq] = data })
	}
	if len(golden) == 0 {
		f.Fatal("nothing can be carved out of the golden segments")
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, flip uint8, repair bool) {
		b = bend(b, at, flip, repair)
		carved(t, b, nil)
		image := append(b, make([]byte, -len(b)&7)...)
		frames := len(frameOffsets(image))
		for _, c := range contents {
			image = append(image, used(c)...)
		}
		if frames > 0 || bytes.Contains(b, []byte{0xf5, 'B', 'F'}) {
			carved(t, image, nil) // its frames may have numbers of the golden ones
			return
		}
		found := map[uint64]string{}
		carved(t, image, func(seq uint64, data string) { found[seq] = data })
		for seq, want := range golden {
			if found[seq] != want {
				t.Fatalf("record %d is %q behind the fuzz, %q without", seq, found[seq], want)
			}
		}
	})
}

// carved carves an image and checks that what it hands out fits together.
func carved(t testing.TB, image []byte, each func(seq uint64, data string)) {
	t.Helper()
	records, last, first := uint64(0), uint64(0), uint64(0)
	out, err := buffer.CarveRecords(bytes.NewReader(image), int64(len(image)), func(r buffer.ScannedRecord) error {
		if r.Seq <= last {
			t.Fatalf("record %d after %d", r.Seq, last)
		}
		if last = r.Seq; first == 0 {
			first = r.Seq
		}
		records++
		if each != nil {
			each(r.Seq, string(r.Data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.Records != records || out.FirstSeq != first || out.LastSeq != last {
		t.Fatalf("%+v, but %d records, %d to %d, were handed out", out, records, first, last)
	}
}

// FuzzRecords takes any bytes for the records of a frame whose checksums are right: what is not a row of records is damage, and
// costs that frame only.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{1, 'a', 2, 'b', 'c'}, uint8(2), uint8(0), uint16(0))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, uint8(1), uint8(0), uint16(0))
	f.Add([]byte{3, 0}, uint8(1), uint8(1), uint16(0))
	f.Add([]byte{0, 0, 0}, uint8(3), uint8(0), uint16(0))
	f.Add([]byte{9, 1, 'a', 9, 2, 'b', 'c'}, uint8(2), uint8(0), uint16(25)) // sparse: nine numbers passed over before each
	f.Add([]byte{9, 1, 'a', 9, 2, 'b', 'c'}, uint8(2), uint8(0), uint16(20))
	f.Add([]byte{9, 1, 'a', 9, 2, 'b', 'c'}, uint8(2), uint8(0), uint16(19)) // one number too many
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 'a'}, uint8(1), uint8(0), uint16(2))
	f.Add([]byte{}, uint8(0), uint8(0), uint16(1000)) // nothing was kept
	names, contents := goldenBytes(f)
	thin, _, _ := thinBytes(f)
	f.Fuzz(func(t *testing.T, body []byte, count, codec uint8, sparse uint16) {
		if len(body) > 2000 || codec > 1 {
			return
		}
		b := slices.Clone(contents[0][:64+48])
		if sparse > 0 {
			b = slices.Clone(thin[0][:64+48])
		}
		frame := b[64:]
		raw := len(body)
		if codec == 1 {
			raw = 3 * raw
		}
		le := binary.LittleEndian
		frame[3] = 0
		if sparse > 0 {
			frame[3] = 2
			le.PutUint64(frame[24:], le.Uint64(frame[16:])+uint64(sparse))
		}
		le.PutUint32(frame[32:], uint32(len(body)))
		le.PutUint32(frame[36:], uint32(raw))
		le.PutUint16(frame[40:], uint16(count))
		frame[42], frame[43] = 0, codec
		le.PutUint32(frame[44:], crc32c(body))
		reseal(frame, 4)
		b = append(append(b, body...), make([]byte, 4096)...)
		m := fuzzDir(t, names[0], b, false)
		l := open(t, m, buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20})
		fill(t, l, 1)
		next := l.Committed()
		got := drain(t, l, 0)
		if len(got) == 0 || got[len(got)-1] != seqs(next-1, next-1)[0] {
			t.Fatalf("the new record %d is not the last of %q", next-1, got)
		}
		mustClose(t, l)
	})
}

func crc32c(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
