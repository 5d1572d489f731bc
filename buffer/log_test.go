package buffer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"obdagent/buffer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// record is the content that every test gives the record with this number, unless it says otherwise.
func record(seq uint64) string {
	return fmt.Sprintf(`{"seq":%d,"lat":52.%07d,"pad":"%s"}`, seq, seq*7919%10000000, strings.Repeat("x", int(seq*31%90)))
}

func open(t testing.TB, dir buffer.FS, opts buffer.Options) *buffer.Log {
	t.Helper()
	opts.Dir = "test"
	l, err := buffer.OpenOn(dir, opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return l
}

func openDir(t testing.TB, path string) *buffer.Log {
	t.Helper()
	l, err := buffer.Open(buffer.Options{Dir: path, SegmentBytes: 64 << 10, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return l
}

// fill appends n records and commits them.
func fill(t testing.TB, l *buffer.Log, n int) {
	t.Helper()
	for range n {
		next := l.Stats().NextSeq
		seq, err := l.Append([]byte(record(next)))
		if err != nil || seq != next {
			t.Fatalf("append = %d, %v, want %d", seq, err, next)
		}
	}
	if err := l.Commit(); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

// drain reads all that there is, as "7" for a good record, "7 false" for a wrong one, "7-9 reason" for a loss.
func drain(t testing.TB, l *buffer.Log, from uint64) []string {
	t.Helper()
	var got []string
	r := l.Reader(from)
	defer r.Close()
	for {
		e, ok, err := r.TryNext()
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		if !ok {
			return got
		}
		got = append(got, entryText(e))
	}
}

func entryText(e buffer.Entry) string {
	switch {
	case e.Lost != nil:
		return fmt.Sprintf("%d-%d %s", e.Lost.From, e.Lost.To, e.Lost.Reason)
	case string(e.Data) != record(e.Seq):
		return fmt.Sprintf("%d false", e.Seq)
	}
	return fmt.Sprint(e.Seq)
}

func seqs(from, to uint64) []string {
	var s []string
	for ; from <= to; from++ {
		s = append(s, fmt.Sprint(from))
	}
	return s
}

func mustClose(t testing.TB, l *buffer.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func TestRecordsAreThereAfterReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openDir(t, dir)
	for range 30 {
		fill(t, l, 100)
	}
	if diff := cmp.Diff(seqs(1, 3000), drain(t, l, 0)); diff != "" {
		t.Errorf("before close: %s", diff)
	}
	l.Ack(1, 1000)
	mustClose(t, l)

	l = openDir(t, dir)
	fill(t, l, 10)
	if diff := cmp.Diff(seqs(1001, 3010), drain(t, l, 0)); diff != "" {
		t.Errorf("after reopen: %s", diff)
	}
	if first, last, ok := l.Unacked(0); first != 1001 || last != 3010 || !ok {
		t.Errorf("unacked = %d, %d, %v, want 1001, 3010", first, last, ok)
	}
	mustClose(t, l)
}

func TestADirectoryBelongsToOneProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	l := openDir(t, dir)
	if _, err := buffer.Open(buffer.Options{Dir: dir}); !errors.Is(err, buffer.ErrLocked) {
		t.Errorf("second open: %v, want ErrLocked", err)
	}
	fill(t, l, 1)
	for name, want := range map[string]os.FileMode{".": 0o700, "LOCK": 0o600, "0000000000000001-0000000000000002.seg": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %v", name, info, err, want)
		}
	}
	mustClose(t, l)
	l = openDir(t, dir)
	mustClose(t, l)
}

func TestRunCommitsWithinSync(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := open(t, newMemFS(), buffer.Options{Sync: time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		start := time.Now()
		if _, err := l.Append([]byte(record(1))); err != nil {
			t.Fatal(err)
		}
		e, err := l.Reader(0).Next(t.Context())
		if err != nil || entryText(e) != "1" || time.Since(start) != time.Second {
			t.Errorf("got %v, %v after %v, want record 1 after 1s", e, err, time.Since(start))
		}
		if _, err := l.Append([]byte(record(2))); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if got := l.Committed(); got != 3 {
			t.Errorf("committed after Run = %d, want 3", got)
		}
		mustClose(t, l)
	})
}

func TestNextEndsWithContextAndClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := open(t, newMemFS(), buffer.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := l.Reader(0).Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
		done := make(chan error)
		go func() {
			_, err := l.Reader(0).Next(t.Context())
			done <- err
		}()
		synctest.Wait()
		mustClose(t, l)
		if err := <-done; !errors.Is(err, buffer.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if _, err := l.Append(nil); !errors.Is(err, buffer.ErrClosed) {
			t.Errorf("append after Close: %v", err)
		}
		if err := l.Commit(); !errors.Is(err, buffer.ErrClosed) {
			t.Errorf("commit after Close: %v", err)
		}
		if err := l.Close(); !errors.Is(err, buffer.ErrClosed) {
			t.Errorf("second close: %v", err)
		}
	})
}
