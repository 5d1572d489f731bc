package buffer_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/buffer"
)

// asideNames lists the quarantine.
func (m *memFS) asideNames() []string {
	var names []string
	for name := range m.names {
		if strings.HasPrefix(name, "quarantine/") {
			names = append(names, strings.TrimPrefix(name, "quarantine/"))
		}
	}
	slices.Sort(names)
	return names
}

func TestADamagedSegmentIsSetAsideAsItIs(t *testing.T) {
	t.Parallel()
	for name, links := range map[string]bool{"second name": true, "no second names": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemFS()
			if !links {
				m.fail = func(op, _ string) error {
					if op == "link" {
						return syscall.EPERM
					}
					return nil
				}
			}
			opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 160 << 10}
			l := open(t, m, opts)
			commits(t, l, 60, 5)
			bad := m.segmentNames()[1]
			m.names[bad].seen[200] ^= 1
			evidence := slices.Clone(m.names[bad].seen)
			drain(t, l, 0)
			if lost := l.Stats().LostRecords[buffer.ReasonDamaged]; lost != 5 {
				t.Fatalf("%d records damaged, want 5", lost)
			}
			fill(t, l, 1)
			mustClose(t, l) // what is set aside is known after it too
			l = open(t, m, opts)
			l.Ack(1, l.Committed()-1)
			commits(t, l, 60, 5)
			if links && l.Stats().Quarantined != 1 || l.Stats().Quarantined > 1 {
				t.Errorf("stats %+v", l.Stats())
			}
			if links {
				if diff := cmp.Diff([]string{bad}, m.asideNames()); diff != "" {
					t.Fatal(diff)
				}
				if !slices.Equal(m.names["quarantine/"+bad].seen, evidence) {
					t.Error("it was used again")
				}
			}
			mustClose(t, l)
		})
	}
}

func TestTheQuarantineIsBoundedAndGivesWayToRecords(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 128 << 10} // 32 segments: 4 may be set aside
	l := open(t, m, opts)
	for range 10 {
		from := l.Committed()
		commits(t, l, 40, 5)
		names := m.segmentNames()
		bad := m.names[names[len(names)-2]].seen
		for i := 100; i < len(bad); i += 512 {
			bad[i] ^= 1
		}
		drain(t, l, from)
		fill(t, l, 1)
		if n := len(m.asideNames()); n > 4 {
			t.Fatalf("%d segments in quarantine", n)
		}
		l.Ack(1, l.Committed()-1)
		fill(t, l, 1)
	}
	if n := len(m.asideNames()); n != 4 {
		t.Errorf("%d segments in quarantine, want 4", n)
	}
	commits(t, l, 1500, 5) // fills the buffer
	if n := len(m.asideNames()); n != 0 {
		t.Errorf("%d segments in quarantine while records are given up", n)
	}
	var total int64
	for _, n := range m.names {
		total += int64(len(n.seen))
	}
	if s := l.Stats(); s.Bytes != total || total > s.MaxBytes {
		t.Errorf("%d bytes are said, %d of %d there", s.Bytes, total, s.MaxBytes)
	}
	mustClose(t, l)
}

func TestWhatCannotBeReadIsLostAfterAWhileIfTheRestOfTheDiskWorks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		l := open(t, m, buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20})
		commits(t, l, 60, 5)
		bad := m.segmentNames()[1]
		failing, all := true, true
		m.fail = func(op, name string) error {
			if failing && (all && op == "readdir" || op == "read" && (all || name == bad)) {
				return syscall.EIO
			}
			return nil
		}
		r := l.Reader(0)
		for range 30 { // the whole disk is away for a minute: nothing is lost
			if _, ok, err := r.TryNext(); ok || !errors.Is(err, syscall.EIO) {
				t.Fatalf("%v, %v, want EIO", ok, err)
			}
			time.Sleep(2 * time.Second)
		}
		all = false // now one segment only
		var got []string
		errs := 0
		for start := time.Now(); time.Since(start) < time.Hour; {
			e, ok, err := r.TryNext()
			if err != nil {
				errs++
				time.Sleep(2 * time.Second)
				continue
			}
			if !ok {
				break
			}
			got = append(got, entryText(e))
		}
		lost := slices.IndexFunc(got, func(s string) bool { return strings.HasSuffix(s, " damaged") })
		if lost < 0 || errs < 2 || errs > 10 || got[len(got)-1] != "300" {
			t.Errorf("%d errors, then %v", errs, got)
		}
		if l.Stats().LostRecords[buffer.ReasonDamaged] == 0 {
			t.Errorf("stats %+v", l.Stats())
		}
		failing = false
		r.Close()
		mustClose(t, l)
	})
}

func TestOpenSurvivesANewestSegmentThatCannotBeRead(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	opts := buffer.Options{SegmentBytes: 4 << 10, MaxBytes: 1 << 20}
	l := open(t, m, opts)
	commits(t, l, 40, 5)
	mustClose(t, l)
	names := m.segmentNames()
	m.fail = func(op, name string) error {
		if op == "read" && name == names[len(names)-1] {
			return syscall.EIO
		}
		return nil
	}
	l = open(t, m, opts)
	if next := l.Stats().NextSeq; next <= 200 {
		t.Errorf("next number is %d, 200 were used", next)
	}
	next := l.Stats().NextSeq
	fill(t, l, 3)
	if diff := cmp.Diff(seqs(next, next+2), drain(t, l, next)); diff != "" {
		t.Error(diff)
	}
	mustClose(t, l)
}

func TestADirectoryThatIsRemovedIsMadeAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "buffer")
	l := openDir(t, dir)
	fill(t, l, 10)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	seq, err := l.Append([]byte(record(11)))
	if err != nil {
		t.Fatal(err)
	}
	for range 4 { // the first one finds out
		if err = l.Commit(); err == nil {
			break
		}
	}
	if err != nil || l.Committed() != seq+1 {
		t.Fatalf("commit: %v", err)
	}
	if diff := cmp.Diff([]string{"1-10 damaged", "11"}, drain(t, l, 0)); diff != "" {
		t.Error(diff)
	}
	if _, err := buffer.Open(buffer.Options{Dir: dir}); !errors.Is(err, buffer.ErrLocked) {
		t.Errorf("second open: %v, want ErrLocked", err)
	}
	mustClose(t, l)
	l = openDir(t, dir)
	if diff := cmp.Diff([]string{"11"}, slices.DeleteFunc(drain(t, l, 0), func(s string) bool { return strings.Contains(s, " ") })); diff != "" {
		t.Errorf("after reopen: %s", diff)
	}
	mustClose(t, l)
}
