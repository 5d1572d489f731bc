package buffer_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/buffer"
)

// changes says whether an operation writes to the disk.
func changes(op string) bool { return op != "open" && op != "read" && op != "readdir" && op != "stat" }

// failFrom lets operations n, n+1, ... of those that op selects fail, and tells which did.
func (m *memFS) failFrom(n, times int, errno error, selects func(op string) bool) (which *[]string) {
	which = new([]string)
	ops := 0
	m.fail = func(op, name string) error {
		if !selects(op) {
			return nil
		}
		if ops++; ops > n && ops <= n+times {
			*which = append(*which, op+" "+name)
			return errno
		}
		return nil
	}
	return which
}

// TestNoSpaceAtAnyOperationCostsTheOldestAtMost lets each operation that writes say that the disk is full, once, five times, or
// from then on until the disk has room again. Every record is then handed out or named as lost, also after a power cut.
func TestNoSpaceAtAnyOperationCostsTheOldestAtMost(t *testing.T) {
	t.Parallel()
	const most = 64
	step := 1
	if raceDetector || testing.Short() {
		step = 7 // every operation is for the run without
	}
	for _, policy := range []buffer.Overflow{buffer.DropOldest, buffer.DropNewest} {
		for _, times := range []int{1, 5, 1 << 20} {
			dropped, refused := 0, 0
			most, step := most, step
			if times > 5 {
				most, step = 4, 1 // files that can be made before the disk is full
			}
			for n := 0; n < most; n += step {
				errno := []error{syscall.ENOSPC, syscall.EDQUOT}[n%2]
				d, r := fullAt(t, policy, errno, n, times)
				dropped, refused = dropped+d, refused+r
			}
			switch {
			case policy == buffer.DropNewest && dropped > 0:
				t.Errorf("%s: %d records dropped", policy, dropped)
			case policy == buffer.DropOldest && times > 5 && dropped == 0, policy == buffer.DropNewest && times > 5 && refused == 0:
				t.Errorf("%s, %d operations: nothing was given up: the test does not do what it should", policy, times)
			}
		}
	}
}

// fullAt runs one log whose disk is full at operations n, n+1, ..., and returns how many records it dropped, and refused.
func fullAt(t *testing.T, policy buffer.Overflow, errno error, n, times int) (dropped, refused int) {
	t.Helper()
	m := newMemFS()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20, Overflow: policy}
	l := open(t, m, opts)
	selects := changes
	if times > 5 { // a neighbour's file: what is there can be written and renamed, nothing new can be made
		selects = func(op string) bool { return op == "create" }
	}
	which := m.failFrom(n, times, errno, selects)
	at := func() string { return fmt.Sprintf("%s, %v at %q", policy, errno, (*which)[:min(len(*which), 9)]) }
	for range 60 {
		for range 4 {
			_, err := l.Append([]byte(record(l.Stats().NextSeq)))
			if errors.Is(err, buffer.ErrFull) {
				refused++
			} else if err != nil {
				t.Fatalf("%s: append: %v", at(), err)
			}
		}
		before := l.Committed()
		err := l.Commit()
		s := l.Stats()
		switch {
		case err == nil && (s.State != "ok" || s.Unsynced > 0):
			t.Fatalf("%s: a commit is done, and %+v", at(), s)
		case err != nil && (s.State == "ok" || len(*which) == 0):
			t.Fatalf("%s: commit: %v, state %q", at(), err, s.State)
		case err != nil && l.Committed() < before:
			t.Fatalf("%s: committed %d, then %d", at(), before, l.Committed())
		}
	}
	m.fail = nil
	if err := l.Commit(); err != nil {
		t.Fatalf("%s: commit when there is room again: %v", at(), err)
	}
	fill(t, l, 1)
	s := l.Stats()
	for reason := range s.LostRecords {
		if reason != buffer.ReasonOverflow && reason != "refused" {
			t.Fatalf("%s: lost %v", at(), s.LostRecords)
		}
	}
	if s.State != "ok" || s.Unsynced > 0 || s.Bytes > s.MaxBytes || int(s.LostRecords["refused"]) != refused {
		t.Fatalf("%s: when there is room again: %+v, %d refused", at(), s, refused)
	}
	dropped = int(s.LostRecords[buffer.ReasonOverflow])
	var want []string
	if dropped > 0 { // the oldest, in one piece
		want = append(want, fmt.Sprintf("1-%d overflow", dropped))
	}
	want = append(want, seqs(uint64(dropped)+1, s.NextSeq-1)...)
	if diff := cmp.Diff(want, drain(t, l, 0)); diff != "" {
		t.Fatalf("%s: %s", at(), diff)
	}
	image := m.cutNow()
	mustClose(t, l)
	if diff := cmp.Diff(want, drainOn(t, image, opts)); diff != "" {
		t.Fatalf("%s: after a power cut: %s", at(), diff)
	}
	if diff := cmp.Diff(want, drainOn(t, m, opts)); diff != "" {
		t.Fatalf("%s: after Close: %s", at(), diff)
	}
	return dropped, refused
}

// TestAReadThatFailsIsTriedAgainAndLosesNothing lets every operation that reads fail, for a Reader and for Open.
func TestAReadThatFailsIsTriedAgainAndLosesNothing(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20}
	l := open(t, m, opts)
	commits(t, l, 40, 4)
	reads := func(op string) bool { return !changes(op) }
	failures := 0
	for n := range 40 {
		which := m.failFrom(n, 2, syscall.EIO, reads)
		var got []string
		r := l.Reader(0)
		for tries := 0; tries < 4; {
			e, ok, err := r.TryNext()
			switch {
			case err != nil && !errors.Is(err, syscall.EIO):
				t.Fatalf("EIO at %q: %v", *which, err)
			case err != nil:
				tries++
				failures++
				continue
			case !ok:
				tries = 4
				continue
			}
			got = append(got, entryText(e))
		}
		r.Close()
		if diff := cmp.Diff(seqs(1, 160), got); diff != "" {
			t.Fatalf("EIO at %q: %s", *which, diff)
		}
	}
	if lost := l.Stats().LostRecords; len(lost) > 0 || failures == 0 {
		t.Errorf("lost %v after %d failures", lost, failures)
	}
	m.fail = nil
	mustClose(t, l)

	for n := range 8 {
		image := m.copyAll()
		which := image.failFrom(n, 1, syscall.EIO, reads)
		again := open(t, image, opts)
		image.fail = nil
		if err := again.Commit(); err != nil {
			t.Fatalf("EIO at %q: commit: %v", *which, err)
		}
		got := drain(t, again, 0)
		if len(got) < 160 || !slices.Equal(got[:156], seqs(1, 156)) { // the last page may count as damaged at once
			t.Errorf("EIO at %q: %d entries, the last %q", *which, len(got), got[max(0, len(got)-3):])
		}
		mustClose(t, again)
	}
}

// TestAReadOnlyRemountLosesNothing takes all writing away for a while, as the kernel does after an error of the file system.
func TestAReadOnlyRemountLosesNothing(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20}
	l := open(t, m, opts)
	fill(t, l, 50)
	m.failFrom(0, 1<<30, syscall.EROFS, changes)
	for range 20 {
		if _, err := l.Append([]byte(record(l.Stats().NextSeq))); err != nil {
			t.Fatal(err)
		}
		if err := l.Commit(); !errors.Is(err, syscall.EROFS) {
			t.Fatalf("commit: %v", err)
		}
	}
	if s := l.Stats(); !strings.HasPrefix(s.State, "storage failed: ") || s.Unsynced != 20 || l.Committed() != 51 {
		t.Errorf("%d committed, stats %+v", l.Committed()-1, s)
	}
	if diff := cmp.Diff(seqs(1, 50), drain(t, l, 0)); diff != "" {
		t.Errorf("while it can not be written: %s", diff)
	}
	if diff := cmp.Diff(seqs(1, 50), drainOn(t, m.cutNow(), opts)); diff != "" {
		t.Errorf("after a power cut: %s", diff)
	}
	m.fail = nil
	fill(t, l, 1)
	if s := l.Stats(); s.State != "ok" || len(s.LostRecords) > 0 {
		t.Errorf("when it can be written again: %+v", s)
	}
	mustClose(t, l)
	if diff := cmp.Diff(seqs(1, 71), drainOn(t, m, opts)); diff != "" {
		t.Error(diff)
	}
}

// TestAFullFileSystemForReal fills a small file system of the operating system, with a neighbour's file too.
func TestAFullFileSystemForReal(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			at := mountSmall(t, kind)
			l := openDir(t, filepath.Join(at, "buffer"))
			big := strings.Repeat("0123456789abcdef", 64) // numbered below, so that segments fill
			rest := func() uint64 {
				for range 40 {
					b := fmt.Appendf(nil, "%d ", l.Stats().NextSeq)
					for i := range 4096 { // nothing that compresses away
						b = append(b, big[(i*i*31+int(l.Stats().NextSeq)*i*7)%len(big)], byte(i*i>>3))
					}
					if _, err := l.Append(b); err != nil {
						t.Fatal(err)
					}
					if err := l.Commit(); err != nil {
						t.Fatalf("commit on a full %s: %v", kind, err)
					}
				}
				return l.Stats().LostRecords[buffer.ReasonOverflow]
			}
			neighbour := filepath.Join(at, "neighbour")
			f, err := os.Create(neighbour)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, l, 3)
			for err == nil { // all that is left
				_, err = f.Write(make([]byte, 4096))
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("fill %s: %v", kind, err)
			}
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Truncate(info.Size() - 200<<10); err != nil { // room for three segments
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			var lost uint64
			for range 20 {
				if lost = rest(); lost > 0 {
					break
				}
			}
			s := l.Stats()
			if lost == 0 || s.State != "ok" || s.Bytes >= s.MaxBytes {
				t.Errorf("on a full disk: %+v", s)
			}
			r := l.Reader(0)
			next := uint64(1)
			for {
				e, ok, err := r.TryNext()
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				if e.Seq != next || e.Lost != nil && (e.Lost.To != lost || e.Lost.Reason != buffer.ReasonOverflow) {
					t.Fatalf("entry %d, %+v, want %d, and %d lost", e.Seq, e.Lost, next, lost)
				}
				if next = e.Seq + 1; e.Lost != nil {
					next = e.Lost.To + 1
				}
			}
			r.Close()
			if next != s.NextSeq {
				t.Errorf("entries up to %d, %d appended", next-1, s.NextSeq-1)
			}
			mustClose(t, l)
		})
	}
}

// mountSmall mounts a file system of 700 KiB or so until the test ends. It needs root, and a kernel that lets it.
func mountSmall(t *testing.T, kind string) (at string) {
	t.Helper()
	const need = "root-mount"
	lack := func(why string) {
		t.Helper()
		if slices.Contains(strings.Split(os.Getenv("OBDAGENT_TEST_REQUIRE"), ","), need) {
			t.Fatalf("%s: OBDAGENT_TEST_REQUIRE says that it must be there: %s", need, why)
		}
		t.Skipf("%s: %s", need, why)
	}
	if os.Geteuid() != 0 {
		lack("only root can mount")
	}
	at = t.TempDir()
	args := []string{"-t", "tmpfs", "-o", "size=700k", "none", at}
	if kind == "ext4" {
		image := filepath.Join(t.TempDir(), "image")
		if out, err := exec.Command("mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", "-b", "4096", image, "1200k").CombinedOutput(); err != nil {
			lack(fmt.Sprintf("mkfs.ext4: %v %s", err, out))
		}
		args = []string{"-t", "ext4", "-o", "loop", image, at}
	}
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		lack(fmt.Sprintf("mount: %v: %s", err, strings.TrimSpace(string(out))))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return at
}
