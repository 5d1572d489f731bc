package uplink_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/uplink"
)

func TestTheDirectoryIsLaidOutAsFirehoseLaysOutABucket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".partial"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".partial", "object-1"), []byte("half of"), 0o600); err != nil {
		t.Fatal(err)
	}
	east := time.FixedZone("", 3600)
	now := time.Date(2026, 11, 24, 0, 15, 30, 0, east) // still the 23rd in UTC
	d, err := uplink.NewDirectory(uplink.DirectoryOptions{Path: dir, Stream: "gps-delivery-stream", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	failed, err := d.Put(t.Context(), [][]byte{[]byte("a\nb\n"), []byte("c\n")})
	if err != nil || failed != nil {
		t.Fatalf("Put: %v, %v", failed, err)
	}
	name := regexp.MustCompile(`^2026/11/23/gps-delivery-stream-1-2026-11-23-23-15-30-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	var files []string
	if err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || !name.MatchString(files[0]) {
		t.Fatalf("files %q", files)
	}
	text, err := os.ReadFile(filepath.Join(dir, files[0]))
	if diff := cmp.Diff("a\nb\nc\n", string(text)); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestADirectoryThatCannotBeWrittenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "objects")
	d, err := uplink.NewDirectory(uplink.DirectoryOptions{Path: dir, Stream: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = d.Put(t.Context(), [][]byte{[]byte("a\n")})
	ce, ok := errors.AsType[*uplink.CallError](err)
	if !ok || ce.Kind != uplink.KindLink || !strings.Contains(ce.Advice, "mounted, writable and not full") {
		t.Errorf("Put: %v", err)
	}
	// The disk is plugged in.
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err = d.Put(t.Context(), [][]byte{[]byte("a\n")}); err != nil {
		t.Errorf("once it can be written: %v", err)
	}
	if _, err := uplink.NewDirectory(uplink.DirectoryOptions{Stream: "s"}); err == nil || !strings.Contains(err.Error(), "set uplink.path") {
		t.Errorf("without a path: %v", err)
	}
}

func TestADirectoryLeavesRoomOnItsDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := uplink.NewDirectory(uplink.DirectoryOptions{Path: dir, Stream: "s", MinFree: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Put(t.Context(), [][]byte{[]byte("line\n")})
	ce, ok := errors.AsType[*uplink.CallError](err)
	if !ok || ce.Kind != uplink.KindSetup || !strings.Contains(ce.Advice, "records wait in the buffer") {
		t.Errorf("on a disk with less than is to be kept free: %v", err)
	}
	if objects, err := filepath.Glob(filepath.Join(dir, "2*")); err != nil || len(objects) != 0 {
		t.Errorf("written all the same: %v, %v", objects, err)
	}
}
