package agent_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"obdagent/agent/agenttest"
	"obdagent/agent/config"
	"obdagent/agent/status"
)

// flashVariable is how long TestFlash looks at the daemon, such as 1h.
const flashVariable = "OBDAGENT_TEST_FLASH"

// TestFlash is what the daemon writes in an hour, to its file system and to the device below: one that drives and one that is parked,
// side by side, buffer and status log each on an ext4 of its own on a loop device. It needs root.
func TestFlash(t *testing.T) {
	text := os.Getenv(flashVariable)
	if text == "" {
		t.Skip("an hour, as root: make bench-flash")
	}
	watch, err := time.ParseDuration(text)
	if err != nil || watch < 2*time.Minute {
		t.Fatalf("%s is %q: a time of two minutes and more, such as 1h", flashVariable, text)
	}
	agenttest.Require(t, "losetup")
	agenttest.Require(t, "mkfs.ext4")
	t.Run("hour", func(t *testing.T) {
		for _, c := range []struct {
			name   string
			parked bool
			from   daemonOptions
		}{
			{"driving", false, daemonOptions{}},
			{"parked", true, daemonOptions{parkedInterval: config.Default().Record.ParkedInterval}},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				d := newFlash(t)
				c.from.dir = d.dir
				p := startDaemon(t, c.from)
				p.untilLive(t)
				if c.parked {
					p.park(t)
				}
				d.look(t, p, watch)
				if s := p.status(t); c.parked && s.Car.State != "parked" {
					t.Errorf("the car is %s at the end: %s", s.Car.State, s.Car.Reason)
				}
			})
		}
	})
}

// freezeVariable has TestAFrozenDiskIsAState run.
const freezeVariable = "OBDAGENT_TEST_FREEZE"

// TestAFrozenDiskIsAState: no write to the disk ends for two minutes, as on a card that hangs. The watchdog is fed all the same, the fault is told,
// and no record is lost. It needs root.
func TestAFrozenDiskIsAState(t *testing.T) {
	if os.Getenv(freezeVariable) == "" {
		t.Skip("three minutes, as root: make freeze")
	}
	for _, program := range []string{"losetup", "mkfs.ext4", "fsfreeze"} {
		agenttest.Require(t, program)
	}
	d := newFlash(t)
	notify := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	var fed atomic.Int64
	go func() {
		var message [4096]byte
		for {
			n, err := systemd.Read(message[:])
			if err != nil {
				return // the end of the test
			}
			if string(message[:n]) == "WATCHDOG=1" {
				fed.Add(1)
			}
		}
	}()
	p := startDaemon(t, daemonOptions{dir: d.dir, env: []string{"NOTIFY_SOCKET=" + notify, "WATCHDOG_USEC=10000000"}})
	p.untilLive(t)
	command(t, "fsfreeze", "--freeze", d.dir)
	frozen := true
	thaw := func() {
		if frozen {
			frozen = false
			command(t, "fsfreeze", "--unfreeze", d.dir)
		}
	}
	defer thaw()
	before, began := fed.Load(), time.Now()
	shows := func(s *status.Snapshot) bool {
		return slices.ContainsFunc(s.Faults, func(f status.Active) bool { return f.Code == "BUF-DISK-STALLED" })
	}
	p.until(t, time.Second, "fault", shows)
	p.wait(t, 30*time.Second)
	want := int64(time.Since(began).Seconds()/5) - 2 // half of the watchdog's time
	if n := fed.Load() - before; n < want {
		t.Errorf("fed %d times in %v, want %d", n, time.Since(began), want)
	}
	made := p.status(t).Record.Made
	thaw()
	p.until(t, time.Second, "disk that works again", func(s *status.Snapshot) bool {
		return !shows(s) && s.Record.Made > made+5 && s.Buffer.UnsyncedAge < 5
	})
	if s := p.status(t); len(s.Buffer.Lost) > 0 || s.Record.Refused > 0 || s.Record.Made < uint64(time.Since(began).Seconds()*0.9) {
		t.Errorf("%d records in %v, lost %v, refused %d", s.Record.Made, time.Since(began), s.Buffer.Lost, s.Record.Refused)
	}
}

// look watches the daemon write, and says what it wrote by the hour.
func (d *flash) look(t *testing.T, p *daemon, watch time.Duration) {
	t.Helper()
	io := filepath.Join("/proc", strconv.Itoa(p.pid), "io")
	began, log := time.Now(), d.logBytes(t)
	before, device, snapshot := procNumbers(t, io), d.counts(t), p.status(t)
	p.wait(t, watch)
	after, deviceNow, snapshotNow := procNumbers(t, io), d.counts(t), p.status(t)
	hours := time.Since(began).Hours()
	perHour := func(n int64) string { return strconv.FormatFloat(float64(n)/hours, 'f', 0, 64) }
	count := func(counts []uint64) (n int64) {
		for _, c := range counts {
			n += int64(c)
		}
		return n
	}
	for _, figure := range []struct {
		what string
		n    int64
	}{
		{"records", int64(snapshotNow.Record.Made - snapshot.Record.Made)},
		{"payload of the records, bytes", snapshotNow.Buffer.PayloadBytes - snapshot.Buffer.PayloadBytes},
		{"lines of the status log, bytes", d.logBytes(t) - log},
		{"given to the file system by the process (write_bytes of /proc/PID/io)", after["write_bytes"] - before["write_bytes"]},
		{"written to the device (/sys/block/" + d.loop + "/stat)", deviceNow.bytes - device.bytes},
		{"flushes of the device", deviceNow.flushes - device.flushes},
		{"syncs of the buffer", count(snapshotNow.Buffer.Syncs.Count) - count(snapshot.Buffer.Syncs.Count)},
	} {
		t.Logf("an hour: %s %s", perHour(figure.n), figure.what)
		if figure.n <= 0 {
			t.Errorf("%d: %s", figure.n, figure.what)
		}
	}
}

// A flash is an ext4 on a loop device.
type flash struct{ dir, loop string }

// newFlash makes and mounts one until the end of the test.
func newFlash(t *testing.T) *flash {
	t.Helper()
	if os.Geteuid() != 0 {
		agenttest.Missing(t, "losetup", "only root may mount")
	}
	in := t.TempDir()
	image, dir := filepath.Join(in, "disk.img"), filepath.Join(in, "disk")
	f, err := os.Create(image)
	if err == nil {
		err = errors.Join(f.Truncate(1<<30), f.Close(), os.Mkdir(dir, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	// Nothing is left to be initialised later: it would be counted.
	command(t, "mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", image)
	loop := strings.TrimSpace(command(t, "losetup", "--find", "--show", image))
	t.Cleanup(func() { command(t, "losetup", "--detach", loop) })
	command(t, "mount", "-o", "noatime", loop, dir)
	t.Cleanup(func() { command(t, "umount", dir) })
	return &flash{dir: dir, loop: filepath.Base(loop)}
}

// deviceCounts is what the block layer has seen of a device.
type deviceCounts struct{ bytes, flushes int64 }

// counts writes out what is dirty and reads the counters (Documentation/block/stat.rst: sectors written is the 7th figure, flushes
// the 16th).
func (d *flash) counts(t *testing.T) deviceCounts {
	t.Helper()
	f, err := os.Open(d.dir)
	if err == nil {
		err = errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/sys/block/" + d.loop + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	if len(fields) < 16 {
		t.Fatalf("%s: %d figures in its stat file: a kernel since 5.5 counts flushes", d.loop, len(fields))
	}
	sectors, err1 := strconv.ParseInt(fields[6], 10, 64)
	flushes, err2 := strconv.ParseInt(fields[15], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return deviceCounts{sectors * 512, flushes}
}

func (d *flash) logBytes(t *testing.T) (n int64) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(d.dir, "status.log*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range logs {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		if failed, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		t.Errorf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return string(out)
}
