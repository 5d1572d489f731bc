package uplink_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

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

// A reader of the year/month/day folders sees whole objects only, while they are written and when their place cannot be made; what could not be
// placed leaves nothing behind.
func TestAnObjectIsThereWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	day := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	now := day
	d, err := uplink.NewDirectory(uplink.DirectoryOptions{Path: dir, Stream: "s", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	entry := []byte(strings.Repeat(strings.Repeat("x", 106)+"\n", 1_000))
	done := make(chan struct{})
	seen := make(chan int, 1)
	go func() {
		n := 0
		defer func() { seen <- n }()
		for {
			last := false
			select {
			case <-done:
				last = true
			default:
			}
			objects, err := filepath.Glob(filepath.Join(dir, "2026", "11", "23", "*"))
			if err != nil {
				t.Error(err)
				return
			}
			for _, o := range objects {
				text, err := os.ReadFile(o)
				if err != nil || len(text) != 2*len(entry) {
					t.Errorf("%s: %d of %d bytes, %v", o, len(text), 2*len(entry), err)
				}
			}
			n = len(objects)
			if last {
				return
			}
		}
	}()
	for range 20 {
		if _, err := d.Put(t.Context(), [][]byte{entry, entry}); err != nil {
			t.Error(err)
		}
	}
	close(done)
	if n := <-seen; n != 20 {
		t.Errorf("%d objects", n)
	}
	now = day.AddDate(0, 0, 1)
	if err := os.WriteFile(filepath.Join(dir, "2026", "11", "24"), nil, 0o600); err != nil { // where the day's folder belongs
		t.Fatal(err)
	}
	ce, ok := errors.AsType[*uplink.CallError](func() error { _, err := d.Put(t.Context(), [][]byte{entry}); return err }())
	if !ok || ce.Kind != uplink.KindLink {
		t.Errorf("in the place of the folder is a file: %v", ce)
	}
	if left, err := os.ReadDir(filepath.Join(dir, ".partial")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What was delivered is not the sink's to remove: a directory with too little room refuses, and what was refused arrives once there is room.
func TestADirectoryThatIsFullKeepsWhatItHasAndGoesOnWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	log := newFakeLog()
	log.appendN(100)
	free := int64(fs.Bavail) * int64(fs.Bsize)
	options := uplink.DirectoryOptions{Path: dir, Stream: "s"}
	deliver := func(minFree int64) (uplink.Status, int) {
		options.MinFree = minFree
		d, err := uplink.NewDirectory(options)
		if err != nil {
			t.Fatal(err)
		}
		running := make(chan struct{})
		var once, told sync.Once
		refused := make(chan struct{})
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: d, Pack: true, OnState: func(c uplink.StateChange) {
			once.Do(func() { close(running) })
			if c.To == uplink.StateRefused {
				told.Do(func() { close(refused) })
			}
		}})
		<-running
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			select {
			case <-refused:
			case <-ctx.Done():
			}
			cancel()
		}()
		drained := u.Drain(ctx)
		cancel()
		st := u.Status()
		stop()
		if (drained == nil) != (st.State == uplink.StateOK) {
			t.Errorf("drained: %v, state %s", drained, st.State)
		}
		objects, err := filepath.Glob(filepath.Join(dir, "2*", "*", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return st, len(objects)
	}
	if st, n := deliver(1); st.State != uplink.StateOK || n != 1 {
		t.Errorf("with room: %+v, %d objects", st, n)
	}
	log.appendN(50)
	if st, n := deliver(2 * free); st.State != uplink.StateRefused || !strings.Contains(st.Reason, "take objects away") || n != 1 || len(log.open()) != 50 {
		t.Errorf("without room: %+v, %d objects, %d records wait", st, n, len(log.open()))
	}
	if st, n := deliver(1); st.State != uplink.StateOK || n != 2 || log.open() != nil {
		t.Errorf("with room again: %+v, %d objects", st, n)
	}
}
