package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"obdagent/buffer"
)

// bufferOf makes a buffer of ten records in two commits, three of them acknowledged, and returns the directory and its segment.
func bufferOf(t *testing.T) (dir, segment string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "buffer")
	l, err := buffer.Open(buffer.Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		if _, err := l.Append(fmt.Appendf(nil, `{"n":%d}`, n+1)); err != nil {
			t.Fatal(err)
		}
		if n%5 == 4 {
			if err := l.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.Ack(1, 3)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(found) != 1 {
		t.Fatalf("segments %v, %v", found, err)
	}
	return dir, found[0]
}

func TestBufferCommandsShowWhatWaits(t *testing.T) {
	t.Parallel()
	dir, segment := bufferOf(t)
	r := inProcess(t, "buffer", "stat", dir)
	if r.code != 0 || !strings.Contains(r.stdout, "waiting    7 records\n") {
		t.Errorf("stat: %+v", r)
	}
	var in buffer.Inspection
	if r = inProcess(t, "buffer", "stat", "--json", dir); json.Unmarshal([]byte(r.stdout), &in) != nil || in.Records != 10 || len(in.Segments) != 1 {
		t.Errorf("stat --json: %+v", r)
	}
	if r = inProcess(t, "buffer", "verify", dir); r.code != 0 || r.stdout != "OK: 10 records in 1 segments\n" {
		t.Errorf("verify: %+v", r)
	}
	var want strings.Builder
	for n := range 10 {
		fmt.Fprintf(&want, "{\"n\":%d}\n", n+1)
	}
	waiting := strings.SplitAfterN(want.String(), "\n", 4)[3]
	if r = inProcess(t, "buffer", "export", dir); r.code != 0 || r.stdout != waiting {
		t.Errorf("export: %+v", r)
	}
	if r = inProcess(t, "buffer", "export", "--all", dir); r.code != 0 || r.stdout != want.String() {
		t.Errorf("export --all: %+v", r)
	}
	if r = inProcess(t, "buffer", "export", "--json", dir); !strings.HasPrefix(r.stdout, `{"seq":4,"acked":false,"data":"{\"n\":4}"}`+"\n") {
		t.Errorf("export --json: %+v", r)
	}
	if r = inProcess(t, "buffer", "salvage", "--all", segment); r.code != 0 || r.stdout != want.String() {
		t.Errorf("salvage: %+v", r)
	}
}

func TestBufferVerifyNamesSegmentAndOffsetAndExitsWith1(t *testing.T) {
	t.Parallel()
	dir, segment := bufferOf(t)
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	b[64+50] ^= 1 // within the first frame, which is behind the header of 64 bytes
	if err := os.WriteFile(segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r := inProcess(t, "buffer", "verify", dir)
	if want := filepath.Base(segment) + ": offset 64: damaged: records 1 to 5 are lost"; r.code != 1 || !strings.Contains(r.stderr, want) {
		t.Errorf("%+v, want exit status 1 and %s", r, want)
	}
}

func TestBufferCommandsSayWhatIsNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "image")
	writeFile(t, empty, strings.Repeat("x", 5000))
	for _, args := range [][]string{{"stat", filepath.Join(dir, "none")}, {"verify", filepath.Join(dir, "none")}, {"salvage", filepath.Join(dir, "none")}, {"salvage", empty}} {
		r := inProcess(t, append([]string{"buffer"}, args...)...)
		if r.code != 1 || strings.Count(r.stderr, "\n") > 2 || !strings.Contains(r.stderr, dir) {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if r := inProcess(t, "buffer"); r.code != 2 {
		t.Errorf("buffer alone: %+v", r)
	}
}
