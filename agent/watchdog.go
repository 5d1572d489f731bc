package agent

import (
	"strings"
	"sync/atomic"
	"time"
)

// The watchdog is for what ought to be impossible: a task that is wedged, in a deadlock or in a call that does not end. systemd then ends the
// process with a dump of what each part was doing, and starts it anew. What a vehicle, a network or a disk does is a state, and never
// starves it:
//
//   - Fusion, receiver, car and uplink each say within what time they will be heard of again. That time holds every deadline of
//     their own: a silent adapter, a call over a weak link. The uplink waits for records without one.
//   - Disks have no deadline: a failing card answers after a minute, or not at all, and a restart does not mend it. So what waits for
//     the disk is not asked: the buffer's commits, the clock's file, the status log, a directory that objects go to. Around all that they
//     read and write themselves, the backlog and small files, uplink, receiver and car say that they have no time. The buffer's fault
//     says how long records have waited for the disk.
//   - One disk is asked, though by nobody here: what is logged is written to standard error at once. Where journald keeps its journal on
//     a card that hangs, it takes no more, and whoever tells something when its socket is full (some two hundred lines, soon reached at the
//     level debug) waits, fusion for no longer than fuseMost. docs/install.md says so.
//   - Every lock is proven by the supervisor itself, which takes a snapshot of all parts every five seconds, and feeds only then.
//   - Socket, page and the watch on the link only show and speed things up.

// fuseMost bounds a round of fusion beyond its wait: it touches neither disk nor network, and takes microseconds.
const fuseMost = 10 * time.Second

// mercy is what a task gets beyond the time that it gave itself. Pages of the program itself are read from a disk, too, and any
// step can meet one that is not in memory: it is longer than a failing card's driver tries before it gives up.
const mercy = 5 * time.Minute

// pulses are those of the tasks that can be wedged.
type pulses struct {
	fusion, gps, car, uplink pulse
}

// A pulse is when a task will have been heard of again. The zero value expects nothing. Time is the monotonic clock's, as that of the
// timers that tasks wait with: a board's suspend counts for neither.
type pulse struct{ due atomic.Int64 } // ns since begun; 0: it waits for what has no bound

// begun is a moment that pulses count from, more than 0 ns ago.
var begun = time.Now().Add(-time.Second)

// beat tells that a task goes on, and will again within that time; 0: it waits for what has no bound.
func (p *pulse) beat(within time.Duration) {
	if within <= 0 {
		p.due.Store(0)
		return
	}
	p.due.Store(int64(time.Since(begun) + within))
}

// patient is beat with mercy.
func (p *pulse) patient(within time.Duration) {
	if within > 0 {
		within += mercy
	}
	p.beat(within)
}

// overdue tells whether the task should have been heard of.
func (p *pulse) overdue() bool {
	due := p.due.Load()
	return due != 0 && int64(time.Since(begun)) > due
}

// wedged names the tasks that are; empty: none.
func (p *pulses) wedged() string {
	var names []string
	for _, t := range []struct {
		name  string
		pulse *pulse
	}{{"gps", &p.gps}, {"obd", &p.car}, {"fusion", &p.fusion}, {"uplink", &p.uplink}} {
		if t.pulse.overdue() {
			names = append(names, t.name)
		}
	}
	return strings.Join(names, ", ")
}
