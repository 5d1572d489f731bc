package buffer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/buffer"
)

// TestADirectoryThatCanNotBeOpenedIsTriedAgain opens a log whose directory cannot be made, locked, listed or read. Its records
// wait in memory, and come behind those that are found when the directory is there.
func TestADirectoryThatCanNotBeOpenedIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, errno := range []error{syscall.EACCES, syscall.ENOENT, syscall.ENOSPC, syscall.EROFS, syscall.EIO} {
		for _, op := range []string{"lock", "readdir", "open"} {
			for _, before := range []int{0, 40} {
				t.Run(fmt.Sprintf("%v at %s, %d records there", errno, op, before), func(t *testing.T) {
					t.Parallel()
					if op == "open" && (before == 0 || errors.Is(errno, syscall.ENOENT)) {
						t.Skip("nothing to open, or a file that is gone: that is no failure")
					}
					synctest.Test(t, func(t *testing.T) {
						openLater(t, errno, op, before)
					})
				})
			}
		}
	}
}

func openLater(t *testing.T, errno error, op string, before int) {
	m := newMemFS()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20}
	if before > 0 {
		l := open(t, m, opts)
		fill(t, l, before)
		l.Ack(1, 2)
		mustClose(t, l)
	}
	var want []string
	if before > 0 {
		want = seqs(3, uint64(before))
	}
	m.failFrom(0, 1<<30, errno, func(o string) bool { return o == op })
	l := open(t, m, opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	r := l.Reader(0)
	for n := range 5 {
		if _, err := l.Append([]byte(record(uint64(before + n + 1)))); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(10 * time.Minute)
	s := l.Stats()
	if !strings.HasPrefix(s.State, "storage failed: ") || !strings.Contains(s.State, errno.Error()) || s.Unsynced != 5 || s.Records != 5 {
		t.Errorf("while it can not be opened: %+v", s)
	}
	if err := l.Commit(); !errors.Is(err, errno) {
		t.Errorf("commit: %v", err)
	}
	if e, ok, err := r.TryNext(); ok || err != nil {
		t.Errorf("handed out: %+v, %v", e, err)
	}
	if next, ok := l.Found(); ok {
		t.Errorf("found %d", next)
	}
	m.mu.Lock()
	m.fail = nil
	m.mu.Unlock()
	var got []string // a Reader that waits from before on gets all of it, without a Commit from outside
	for range len(want) + 5 {
		e, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entryText(e))
	}
	want = append(want, seqs(uint64(before+1), uint64(before+5))...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	synctest.Wait() // records are handed out a moment before the state is told
	if s := l.Stats(); s.State != "ok" || s.NextSeq != uint64(before+6) || len(s.LostRecords) > 0 {
		t.Errorf("when it could be opened: %+v", s)
	}
	if next, ok := l.Found(); !ok || next != uint64(before+1) {
		t.Errorf("found %d, %t, want %d", next, ok, before+1)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.Close()
	mustClose(t, l)
	if diff := cmp.Diff(want, drainOn(t, m, opts)); diff != "" {
		t.Errorf("after another open: %s", diff)
	}
}

// TestMemoryIsBoundedWhileTheDirectoryCanNotBeOpened appends more than there is room for. What is given up is the oldest, behind
// what is on disk.
func TestMemoryIsBoundedWhileTheDirectoryCanNotBeOpened(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	opts := buffer.Options{SegmentBytes: 1 << 20, MaxBytes: 64 << 20}
	l := open(t, m, opts)
	fill(t, l, 3)
	mustClose(t, l)
	m.failFrom(0, 1<<30, syscall.EIO, func(o string) bool { return o == "lock" })
	l = open(t, m, opts)
	big := strings.Repeat("0123456789", 1000)
	for range 600 { // 6 MB, and memory for 4 MiB
		if _, err := l.Append([]byte(big)); err != nil {
			t.Fatal(err)
		}
	}
	dropped := l.Stats().LostRecords[buffer.ReasonOverflow]
	if dropped == 0 || int(dropped)+l.Stats().Unsynced != 600 {
		t.Fatalf("%+v", l.Stats())
	}
	m.fail = nil
	if err := l.Commit(); err != nil {
		t.Fatal(err)
	}
	got := drain(t, l, 0)
	want := append(seqs(1, 3), fmt.Sprintf("4-%d overflow", 3+dropped))
	if diff := cmp.Diff(want, got[:4]); diff != "" || len(got) != 4+600-int(dropped) {
		t.Errorf("%d entries: %s", len(got), diff)
	}
	mustClose(t, l)
}

// TestADirectoryThatIsNotThereYet is the same on the operating system's own files: a file stands where the directory should.
func TestADirectoryThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	mount := filepath.Join(t.TempDir(), "mount")
	if err := os.WriteFile(mount, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := openDir(t, filepath.Join(mount, "buffer"))
	if _, err := l.Append([]byte(record(1))); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("commit: %v", err)
	}
	if s := l.Stats(); !strings.HasPrefix(s.State, "storage failed: ") {
		t.Errorf("%+v", s)
	}
	if err := os.Remove(mount); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1)
	if diff := cmp.Diff(seqs(1, 2), drain(t, l, 0)); diff != "" {
		t.Error(diff)
	}
	mustClose(t, l)
	// One that never was: what is lost is said.
	if err := os.WriteFile(mount+"2", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l = openDir(t, filepath.Join(mount+"2", "buffer"))
	if _, err := l.Append([]byte(record(1))); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "1 records are not on disk") {
		t.Errorf("close: %v", err)
	}
}

// TestADirectoryThatComesLateIsMeasured lets a directory come whose segments are of another size than new ones, with and without
// records of this run.
func TestADirectoryThatComesLateIsMeasured(t *testing.T) {
	t.Parallel()
	for _, records := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemFS()
			l := open(t, m, buffer.Options{SegmentBytes: 16 << 10, MaxBytes: 1 << 20})
			commits(t, l, 100, 50)
			mustClose(t, l)
			m.failFrom(0, 1<<30, syscall.EIO, func(op string) bool { return op == "lock" })
			l = open(t, m, buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- l.Run(ctx) }()
			for range records {
				if _, err := l.Append([]byte(record(5001))); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
			if s := l.Stats(); s.Bytes != 0 {
				t.Errorf("before it is there: %+v", s)
			}
			m.mu.Lock()
			m.fail = nil
			m.mu.Unlock()
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if s := l.Stats(); s.State != "ok" || s.Bytes != m.used() || s.Unsynced > 0 || s.NextSeq != uint64(5001+records) {
				t.Errorf("%d bytes in files, %+v", m.used(), s)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(seqs(1, uint64(5000+records)), drain(t, l, 0)); diff != "" {
				t.Error(diff)
			}
			mustClose(t, l)
		})
	}
}
