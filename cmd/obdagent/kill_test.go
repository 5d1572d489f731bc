package main

import (
	gocmp "cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/clock"
	"obdagent/agent/record"
	"obdagent/agent/status"
)

// A life is one run of the daemon that ended by SIGKILL.
type life struct {
	device    string // the run's vehicle.device_id: which run made a record, the record itself tells
	ended     time.Duration
	committed uint64 // records that were on disk when the daemon was last asked
	records   []record.Record
}

// TestKilledAtAnyMomentTheAgentLosesNothingItHadOnDisk kills the daemon at random moments, and lets it deliver at the end.
//
// How the test knows what was on disk: the daemon's snapshot has M, the records that the buffer took in this run (record.made),
// and U, those of them that no commit covers yet (buffer.unsynced). M is read before U, and a record is counted in M after the
// buffer took it, so at the moment of U at least M records had been taken, and at least M-U of them were committed. They are the
// run's first ones: commits are in order. So of each run at least its first M-U records must arrive, for every snapshot that came
// back before the kill; the largest counts.
//
// What a run did not commit is lost, and nobody has seen it: its numbers may be used again. What was delivered, but not yet
// acknowledged on disk, may be delivered again, as the same record.
func TestKilledAtAnyMomentTheAgentLosesNothingItHadOnDisk(t *testing.T) {
	t.Parallel()
	kills := testKills(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, uint64(kills)))
	v := newVan(t)
	lives := make([]life, kills)
	for i := range lives {
		l := &lives[i]
		l.device = fmt.Sprintf("run-%d", i+1)
		v.device = l.device
		d := v.run()
		if i%2 == 0 { // half of the kills fall on a daemon that is at work, half anywhere, on its start too
			d.until("committed record", func(s status.Snapshot) bool { return l.see(s) > 0 })
		}
		l.watch(d, time.Duration(random.Int64N(int64(1500*time.Millisecond))))
		if code, _ := d.stop(syscall.SIGKILL); code != -1 {
			t.Fatalf("%s ended by itself with exit status %d", l.device, code)
		}
		l.ended = clock.Boottime()
	}
	v.drain()

	once, again := withoutDuplicates(t, v.delivered())
	total, last := 0, uint64(0)
	for i := range lives {
		l := &lives[i]
		for _, r := range once {
			if r.DeviceID == l.device {
				l.records = append(l.records, r)
			}
		}
		if uint64(len(l.records)) < l.committed {
			t.Errorf("%s had %d records on disk, and %d were delivered", l.device, l.committed, len(l.records))
		}
		total += len(l.records)
		last = l.account(t, last)
	}
	if total != len(once) || total == 0 {
		t.Errorf("%d records delivered, %d of them of a run", len(once), total)
	}
	t.Logf("%d records of %d runs, %d of them delivered again", total, kills, again)
}

// testKills is how many times the daemon is killed; OBDAGENT_TEST_KILLS sets it for longer runs, as make kills does.
func testKills(t *testing.T) int {
	t.Helper()
	s := os.Getenv("OBDAGENT_TEST_KILLS")
	if s == "" {
		return 8
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("OBDAGENT_TEST_KILLS is %q: want a number above zero", s)
	}
	return n
}

// withoutDuplicates sorts by number, and counts what was delivered again: the same record, and no other of the same number.
func withoutDuplicates(t *testing.T, all []record.Record) (once []record.Record, again int) {
	t.Helper()
	slices.SortStableFunc(all, func(a, b record.Record) int { return gocmp.Compare(a.Seq, b.Seq) })
	for _, r := range all {
		if n := len(once); n > 0 && once[n-1].Seq == r.Seq {
			again++
			r.Lost = once[n-1].Lost // a report of losses rides on the first delivery only
			if diff := cmp.Diff(string(once[n-1].AppendJSON(nil)), string(r.AppendJSON(nil))); diff != "" {
				t.Errorf("number %d is of two records:\n%s", r.Seq, diff)
			}
			continue
		}
		once = append(once, r)
	}
	return once, again
}

// see notes what a snapshot says is on disk.
func (l *life) see(s status.Snapshot) uint64 {
	if on := s.Record.Made - min(uint64(max(s.Buffer.Unsynced, 0)), s.Record.Made); on > l.committed {
		l.committed = on
	}
	return l.committed
}

// watch asks the daemon again and again for a while. That it does not answer is no news: it may not have begun.
func (l *life) watch(d *daemon, during time.Duration) {
	d.t.Helper()
	end := time.NewTimer(during)
	defer end.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-end.C:
			return
		case <-d.done:
			d.t.Fatal("the daemon ended before it was killed")
		case <-look.C:
			if s, err := d.snapshot(); err == nil && s.PID == d.child.Process.Pid {
				l.see(s)
			}
		}
	}
}

// account checks that the run's records are its first ones, in order and without a gap, and that there is none before them unless
// the first says what was given up. It returns the run's last number.
func (l *life) account(t *testing.T, before uint64) uint64 {
	t.Helper()
	if len(l.records) == 0 {
		return before
	}
	first, last := l.records[0], l.records[len(l.records)-1]
	for i, r := range l.records {
		// The last 32 bits of a record_id count the records of its run.
		if count := binary.BigEndian.Uint32(r.ID[12:]); count != uint32(i+1) || r.Seq != first.Seq+uint64(i) || !slices.Equal(r.ID[:12], first.ID[:12]) {
			t.Errorf("%s: record %d is number %d, %s; the first is number %d, %s", l.device, i+1, r.Seq, r.ID, first.Seq, first.ID)
		}
	}
	missing := first.Seq - before - 1
	for _, lost := range first.Lost {
		missing -= lost.To - lost.From + 1
	}
	if missing != 0 {
		t.Errorf("%s begins with number %d after number %d, and %d numbers between are not accounted for", l.device, first.Seq, before, missing)
	}
	// The newest record that survived is at most a commit older than the kill. A commit takes what the disk takes: beyond the
	// window there is room for one that is slow, and for the last question of the test.
	cost := l.ended - time.Duration(last.MonoMS)*time.Millisecond
	if cost > syncWindow+5*time.Second {
		t.Errorf("%s was killed %v after the last record that survived, want at most %v and a commit", l.device, cost, syncWindow)
	}
	t.Logf("%s: %d records, %d seen on disk, the kill cost %v", l.device, len(l.records), l.committed, cost.Round(time.Millisecond))
	return last.Seq
}
