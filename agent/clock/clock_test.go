package clock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"obdagent/agent/clock"
)

var build = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// A board is a simulated board: its boottime runs with pass, its system clock is whatever the test says.
type board struct {
	t       *testing.T
	path    string
	bootID  string
	mono    time.Duration
	system  time.Time
	synced  bool
	clock   *clock.Clock
	changes []string
}

func newBoard(t *testing.T) *board {
	t.Helper()
	b := &board{t: t, path: filepath.Join(t.TempDir(), "clock.json")}
	b.boot("boot-1", time.Unix(12, 0))
	return b
}

// boot starts a boot in which the system clock begins at system.
func (b *board) boot(id string, system time.Time) {
	b.bootID, b.mono, b.system, b.synced = id, 20*time.Second, system, false
	b.start()
}

// start starts the process.
func (b *board) start() {
	b.t.Helper()
	c, err := clock.Open(clock.Options{
		BootID: b.bootID, Build: build, Path: b.path,
		Boottime: func() time.Duration { return b.mono },
		System:   func() time.Time { return b.system },
		Synced:   func() bool { return b.synced },
		OnChange: func(c clock.Change) { b.changes = append(b.changes, string(c.From)+">"+string(c.To)) },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.clock = c
}

func (b *board) pass(d time.Duration) {
	b.mono += d
	b.system = b.system.Add(d)
}

// epochs feeds n epochs, a second apart, the first at utc, each arriving delay after its time.
func (b *board) epochs(utc time.Time, n int, delay time.Duration) (trusted bool) {
	for i := range n {
		_, trusted = b.clock.Epoch(utc.Add(time.Duration(i)*time.Second), b.mono+delay)
		b.pass(time.Second)
	}
	return trusted
}

func (b *board) want(mono time.Duration, want time.Time, wantSrc clock.Source) {
	b.t.Helper()
	got, src := b.clock.At(mono)
	if src != wantSrc || (wantSrc != clock.None && got.Sub(want).Abs() > 500*time.Millisecond) {
		b.t.Errorf("At(%v) = %v, %s; want %v, %s", mono, got, src, want, wantSrc)
	}
}

var truth = time.Date(2026, time.November, 23, 8, 15, 30, 0, time.UTC)

func TestABoardThatWakesIn1970LearnsTheTimeFromThreeEpochs(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	start := b.mono
	if b.epochs(truth, 2, 150*time.Millisecond) {
		t.Error("trusted after two epochs")
	}
	b.want(start, time.Time{}, clock.None)
	if !b.epochs(truth.Add(2*time.Second), 1, 150*time.Millisecond) {
		t.Error("not trusted after three epochs")
	}
	b.want(start, truth, clock.GNSS)
	b.want(0, truth.Add(-start), clock.GNSS)
	now, src := b.clock.Now()
	if src != clock.GNSS || now.Sub(truth.Add(3*time.Second)).Abs() > 500*time.Millisecond {
		t.Errorf("Now() = %v, %s", now, src)
	}
	if got := strings.Join(b.changes, " "); got != "none>gnss" {
		t.Errorf("changes: %s", got)
	}
}

func TestTheOffsetFollowsTheLeastDelayedEpoch(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	start := b.mono
	for i, delay := range []time.Duration{400, 300, 80, 350, 400} {
		b.clock.Epoch(truth.Add(time.Duration(i)*time.Second), b.mono+delay*time.Millisecond)
		b.pass(time.Second)
	}
	got, _ := b.clock.At(start)
	if off := truth.Sub(got); off != 80*time.Millisecond {
		t.Errorf("the clock is %v late, want 80ms: the least delay seen", off)
	}
}

func TestADateOfAnotherWeekEraIsPutRight(t *testing.T) {
	t.Parallel()
	const era = 1024 * 7 * 24 * time.Hour
	for name, shift := range map[string]time.Duration{"1024 weeks back": -era, "2048 weeks back": -2 * era, "1024 weeks ahead": era} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBoard(t)
			start := b.mono
			if !b.epochs(truth.Add(shift), 3, 0) {
				t.Fatal("not trusted")
			}
			b.want(start, truth, clock.GNSS)
		})
	}
}

func TestWhatCannotBeTheTimeIsNotTrusted(t *testing.T) {
	t.Parallel()
	at := func(utc time.Time, mono time.Duration) [2]time.Duration {
		return [2]time.Duration{utc.Sub(truth), mono}
	}
	for name, epochs := range map[string][][2]time.Duration{
		"a date before the build": {at(build.Add(-48*time.Hour), 0), at(build.Add(-48*time.Hour+time.Second), time.Second),
			at(build.Add(-48*time.Hour+2*time.Second), 2*time.Second)},
		"time that stands still": {at(truth, 0), at(truth, time.Second), at(truth, 2*time.Second), at(truth, 3*time.Second)},
		"time that goes backward": {at(truth, 0), at(truth.Add(-time.Second), time.Second), at(truth.Add(-2*time.Second), 2*time.Second),
			at(truth.Add(-3*time.Second), 3*time.Second)},
		"steps that do not agree with boottime": {at(truth, 0), at(truth.Add(2*time.Second), time.Second),
			at(truth.Add(4*time.Second), 2*time.Second), at(truth.Add(6*time.Second), 3*time.Second)},
		"two epochs, a wrong one, two epochs": {at(truth, 0), at(truth.Add(time.Second), time.Second), at(truth.Add(time.Hour), 2*time.Second),
			at(truth.Add(3*time.Second), 3*time.Second), at(truth.Add(4*time.Second), 4*time.Second)},
		"epochs a minute apart": {at(truth, 0), at(truth.Add(time.Minute), time.Minute), at(truth.Add(2*time.Minute), 2*time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBoard(t)
			for _, e := range epochs {
				if _, trusted := b.clock.Epoch(truth.Add(e[0]), b.mono+e[1]); trusted {
					t.Errorf("trusted at %v", truth.Add(e[0]))
				}
			}
			b.want(b.mono, time.Time{}, clock.None)
		})
	}
}

func TestAReceiverThatStartsWithAWrongDateForTwoEpochs(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	start := b.mono
	b.epochs(truth.Add(48*time.Hour), 2, 0)
	b.want(start, time.Time{}, clock.None)
	b.epochs(truth.Add(2*time.Second), 3, 0)
	b.want(start, truth, clock.GNSS)
}

func TestAContradictionDropsTheTrustUntilTheReceiverHasMadeUpItsMind(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	start := b.mono
	b.epochs(truth, 5, 0)
	b.epochs(truth.Add(5*time.Second+18*time.Second), 1, 0) // leap seconds learned late
	b.want(start, time.Time{}, clock.None)
	if got := b.clock.Status().Dropped; got != 1 {
		t.Errorf("dropped %d times, want 1", got)
	}
	b.epochs(truth.Add(6*time.Second+18*time.Second), 2, 0)
	b.want(start, truth.Add(18*time.Second), clock.GNSS)
	if got := strings.Join(b.changes, " "); got != "none>gnss gnss>none none>gnss" {
		t.Errorf("changes: %s", got)
	}
}

func TestNTPIsSecondBest(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	b.want(b.mono, time.Time{}, clock.None)
	b.system, b.synced = truth, true
	b.want(b.mono, truth, clock.NTP)
	b.want(b.mono-5*time.Second, truth.Add(-5*time.Second), clock.NTP)
	// The receiver comes, and is believed more.
	b.epochs(truth.Add(10*time.Second), 3, 0)
	b.want(b.mono, truth.Add(13*time.Second), clock.GNSS)
}

func TestAKernelThatCallsA1970ClockSynchronisedIsNotBelieved(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	b.synced = true
	b.want(b.mono, time.Time{}, clock.None)
}

func TestAnUnverifiedSystemClockIsForTalkingOnly(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	if now, src := b.clock.Now(); src != clock.None || now.Year() != 1970 {
		t.Errorf("Now() = %v, %s; want 1970, none", now, src)
	}
	b.system = truth
	if now, src := b.clock.Now(); src != clock.System || !now.Equal(truth) {
		t.Errorf("Now() = %v, %s; want %v, system", now, src, truth)
	}
	b.want(b.mono, time.Time{}, clock.None)
}

func TestAStepOfTheSystemClockMovesNothing(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	start := b.mono
	b.epochs(truth, 3, 0)
	b.system = b.system.Add(-30 * 24 * time.Hour)
	b.want(start, truth, clock.GNSS)
	b.mono += 8 * time.Hour // suspended: boottime goes on, the system clock is set anew on waking
	b.want(b.mono, truth.Add(8*time.Hour+3*time.Second), clock.GNSS)
}

func TestRecordsOfFiveBootsAreDatedByTheirOwnBoot(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	day := 24 * time.Hour
	at := 25 * time.Second // boottime of a record in each boot
	for i, id := range []string{"boot-1", "boot-2", "boot-3", "boot-4", "boot-5"} {
		b.boot(id, time.Unix(12, 0))
		if id != "boot-3" { // this one had no sky
			b.epochs(truth.Add(time.Duration(i)*day), 3, 0)
		}
	}
	for i, id := range []string{"boot-1", "boot-2", "boot-4", "boot-5"} {
		days := []int{0, 1, 3, 4}[i]
		want := truth.Add(time.Duration(days)*day + 5*time.Second)
		got, src, final := b.clock.Date(id, at, time.Unix(17, 0))
		if !final || src != clock.GNSS || got.Sub(want).Abs() > 500*time.Millisecond {
			t.Errorf("record of %s: %v, %s, final %t; want %v, gnss", id, got, src, final, want)
		}
	}
	if got, src, final := b.clock.Date("boot-3", at, time.Unix(17, 0)); !got.IsZero() || src != clock.None || !final {
		t.Errorf("record of a boot that never learned: %v, %s, final %t; want none, final", got, src, final)
	}
	unverified := truth.Add(2 * day)
	if got, src, final := b.clock.Date("boot-3", at, unverified); !got.Equal(unverified) || src != clock.System || !final {
		t.Errorf("with a plausible system clock: %v, %s, final %t; want %v, system, final", got, src, final, unverified)
	}
}

func TestARecordOfTheRunningBootIsWorthWaitingFor(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	at := b.mono
	if got, src, final := b.clock.Date("boot-1", at, b.system); !got.IsZero() || src != clock.None || final {
		t.Errorf("before trust: %v, %s, final %t; want none, not final", got, src, final)
	}
	b.epochs(truth, 3, 0)
	if got, src, final := b.clock.Date("boot-1", at, b.system); got.Sub(truth).Abs() > 500*time.Millisecond || src != clock.GNSS || !final {
		t.Errorf("after trust: %v, %s, final %t; want %v, gnss, final", got, src, final, truth)
	}
}

func TestARestartWithinABootKnowsTheTimeAtOnce(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	start := b.mono
	b.epochs(truth, 3, 0)
	b.start()
	b.want(start, truth, clock.GNSS)
}

// TestADiskThatComesLate starts a clock whose file's directory is not there yet: a stick that is mounted late. What it holds dates
// its records then, and is kept.
func TestADiskThatComesLate(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	b.epochs(truth, 3, 0)
	dir, away := filepath.Dir(b.path), filepath.Dir(b.path)+".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	b.boot("boot-2", time.Unix(12, 0))
	later := truth.Add(24 * time.Hour)
	b.epochs(later, 5, 0)
	if err := b.clock.Status().SaveError; !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("while it is away: %v", err)
	}
	if _, src, _ := b.clock.Date("boot-1", 25*time.Second, time.Time{}); src != clock.None {
		t.Errorf("dated by %s, of a file that is not there", src)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	want := func() {
		t.Helper()
		for id, day := range map[string]time.Time{"boot-1": truth, "boot-2": later} {
			got, src, final := b.clock.Date(id, 25*time.Second, time.Time{})
			if src != clock.GNSS || !final || got.Sub(day.Add(5*time.Second)).Abs() > 500*time.Millisecond {
				t.Errorf("a record of %s: %v, %s, final %t", id, got, src, final)
			}
		}
	}
	want()
	b.pass(2 * time.Minute)
	b.epochs(later.Add(125*time.Second), 3, 0)
	if err := b.clock.Status().SaveError; err != nil {
		t.Errorf("when it is there: %v", err)
	}
	b.boot("boot-3", time.Unix(12, 0))
	want()
}

func TestTheFileIsBounded(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	for i := range 200 {
		b.boot("boot-"+string(rune('A'+i%26))+string(rune('a'+i/26)), time.Unix(12, 0))
		b.epochs(truth.Add(time.Duration(i)*time.Hour), 3, 0)
	}
	info, err := os.Stat(b.path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 16<<10 {
		t.Errorf("the file of 200 boots has %d bytes", info.Size())
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode().Perm())
	}
}

// summed is a file whose checksum is right.
func summed(boots string) string {
	return fmt.Sprintf(`{"boots":%s,"crc32c":%d}`, boots, crc32.Checksum([]byte(boots), crc32.MakeTable(crc32.Castagnoli)))
}

func TestADamagedFileIsSaidAndForgotten(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"cut":              `{"boots":[{"boot_id":"b","utc_minus_boo`,
		"NUL bytes":        strings.Repeat("\x00", 64),
		"another checksum": `{"boots":[{"boot_id":"b","source":"gnss","pairs":[{"boottime_ns":1,"utc_minus_boottime_ns":1}]}],"crc32c":7}`,
		"unknown source":   summed(`[{"boot_id":"b","source":"guess","pairs":[{"boottime_ns":1,"utc_minus_boottime_ns":1}]}]`),
		"no pairs":         summed(`[{"boot_id":"b","source":"gnss","pairs":[]}]`),
		"out of order": summed(`[{"boot_id":"b","source":"gnss","pairs":[{"boottime_ns":2,"utc_minus_boottime_ns":1},` +
			`{"boottime_ns":1,"utc_minus_boottime_ns":1}]}]`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "clock.json")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := clock.Open(clock.Options{BootID: "b", Build: build, Path: path,
				Boottime: func() time.Duration { return 0 }, System: func() time.Time { return truth }})
			if checksum := err != nil && strings.Contains(err.Error(), "checksum"); checksum != (name == "another checksum") {
				t.Errorf("error %v; the checksum is not what is wrong", err)
			}
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one that names the file", err)
			}
			if c == nil {
				t.Fatal("no clock")
			}
			if _, src := c.At(0); src != clock.None {
				t.Errorf("dated by %s out of a damaged file", src)
			}
		})
	}
}

func TestAFlippedBitDatesNothingWrongly(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	start := b.mono
	b.epochs(truth, 3, 0)
	good, err := os.ReadFile(b.path)
	if err != nil {
		t.Fatal(err)
	}
	noticed := 0
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if err := os.WriteFile(b.path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := clock.Open(clock.Options{BootID: b.bootID, Build: build, Path: b.path,
				Boottime: func() time.Duration { return b.mono }, System: func() time.Time { return b.system }})
			if err != nil {
				noticed++
			}
			if got, src := c.At(start); src != clock.None && !got.Equal(truth) {
				t.Fatalf("with bit %d of byte %d flipped: %v, %s; want %v or nothing\n%s", bit, i, got, src, truth, bad)
			}
		}
	}
	if noticed == 0 {
		t.Error("no flipped bit was noticed")
	}
}

func TestTheKernelsOwnClocks(t *testing.T) {
	t.Parallel()
	a := clock.Boottime()
	if b := clock.Boottime(); a <= 0 || b < a {
		t.Errorf("boottime %v, then %v", a, b)
	}
	id, err := clock.BootID()
	if err != nil || len(id) != 36 {
		t.Errorf("boot id %q, %v", id, err)
	}
}

// TestADiskThatHangsHoldsNobodyUp puts a pipe that nobody reads in the way of the clock's file: opening it lasts until somebody does.
func TestADiskThatHangsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	pipe := b.path + ".tmp"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no named pipes here: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.clock.Run(ctx) }()
	for !b.clock.Keeping() {
		runtime.Gosched()
	}
	start := b.mono
	b.epochs(truth, 3, 0) // would never return if it waited for the disk
	b.want(start, truth, clock.GNSS)
	if err := b.clock.Status().SaveError; err != nil {
		t.Errorf("while it hangs: %v", err)
	}
	r, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if err := b.clock.Status().SaveError; err == nil {
		t.Error("a pipe cannot be made durable, and is no error")
	}
	// Now the disk is well.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	go func() { ran <- b.clock.Run(ctx) }()
	for !b.clock.Keeping() {
		runtime.Gosched()
	}
	b.pass(2 * time.Minute)
	b.epochs(truth.Add(3*time.Second+2*time.Minute), 3, 0)
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if err := b.clock.Status().SaveError; err != nil {
		t.Error(err)
	}
	b.start()
	b.want(start, truth, clock.GNSS)
}
