package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// boardVariable asks for the test that boots a board: a minute on a busy machine, and only root can.
const boardVariable = "OBDAGENT_TEST_BOARD"

// patience is how long a test waits for what happens in a second.
const patience = 2 * time.Minute

// commandPatience is how long one command on a board may take: dpkg needs seconds, and on a busy machine minutes.
const commandPatience = 10 * time.Minute

// goBuild builds a package of this module as a release is built, for a board of this machine's kind.
func goBuild(t *testing.T, pkg string) string {
	t.Helper()
	// agent/deps_test.go reads the same line.
	flags := regexp.MustCompile(`(?m)^RELEASE_FLAGS = (.*)$`).FindStringSubmatch(get(t, "../Makefile"))
	if flags == nil {
		t.Fatal("the Makefile has no line RELEASE_FLAGS")
	}
	file := filepath.Join(t.TempDir(), filepath.Base(pkg))
	c := exec.CommandContext(t.Context(), "go", slices.Concat([]string{"build"}, strings.Fields(flags[1]), []string{"-o", file, pkg})...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return file
}

// A board is a container in which this machine's Debian has been booted by systemd.
type board struct {
	t      *testing.T
	first  int             // the process number of the first process, with which all others end
	leader string          // the process number of its systemd
	said   string          // the file with what the container said
	ended  <-chan struct{} // closed when all its processes have ended
	log    func() string   // what the daemon said; nil: the journal
}

// boot boots a board with the daemon installed (from a file; empty: without). It ends with the test, whatever becomes of that.
func boot(t *testing.T, obdagent string) *board {
	t.Helper()
	canBoot(t)
	b := launch(t, boardScript, boardName(), obdagent, goBuild(t, "./testdata/probe"))
	b.await("boot", func() bool {
		if b.leader == "" {
			b.leader = b.findLeader()
			return false
		}
		out, _ := b.try("systemctl", "is-system-running")
		return out == "running" || out == "degraded"
	})
	return b
}

// boards counts the boards of this process.
var boards atomic.Int64

// boardName is a name that no other board has.
func boardName() string { return fmt.Sprintf("obdagent-test-%d-%d", os.Getpid(), boards.Add(1)) }

// boardScript boots a board.
const boardScript = "testdata/board.sh"

// canBoot ends the test, as without does, where no container can be booted.
func canBoot(t *testing.T) {
	t.Helper()
	need(t, "nspawn", "systemd-nspawn")
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", boardScript).CombinedOutput(); err != nil {
		without(t, "nspawn", fmt.Errorf("not root, or no overlays, or no control groups of our own: %w: %s", err, out))
	}
}

// launch starts a board with a script, to which it hands the board's name and what else it wants. Its first process is the first of a PID namespace: the kernel ends all others with it, and it with the
// thread that started it. (Without that systemd-nspawn is survived by the system that it has booted.)
func launch(t *testing.T, script, name string, args ...string) *board {
	t.Helper()
	// A file, not a pipe: nothing on the board can keep the test waiting.
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close() //nolint:errcheck // it is read by its name
	c := exec.Command("sh", slices.Concat([]string{script, name}, args)...)
	c.Stdout, c.Stderr = said, said
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // Pdeathsig is sent when the thread ends that started the process
		defer close(ended)
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait() // it is ended by a signal
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	b := &board{t: t, first: c.Process.Pid, said: said.Name(), ended: ended}
	t.Cleanup(func() {
		_ = syscall.Kill(b.first, syscall.SIGKILL)
		select {
		case <-ended:
		case <-time.After(patience):
			t.Errorf("the board's processes have not ended %v after SIGKILL", patience)
		}
		for _, group := range controlGroups(t, name) {
			if err := removeGroups(group); err != nil {
				t.Errorf("something of the board is left: %v", err)
			}
		}
		if t.Failed() {
			t.Logf("the container said\n%s", get(t, b.said))
		}
	})
	return b
}

// findLeader returns the process number of the board's systemd, once there is one: a child of systemd-nspawn, which is one of the
// first process.
func (b *board) findLeader() string {
	b.t.Helper()
	select {
	case <-b.ended:
		b.t.Fatalf("the container ended\n%s", get(b.t, b.said))
	default:
	}
	for _, nspawn := range children(strconv.Itoa(b.first)) {
		for _, pid := range children(nspawn) {
			if name, _ := os.ReadFile("/proc/" + pid + "/comm"); strings.TrimSpace(string(name)) == "systemd" {
				return pid
			}
		}
	}
	return ""
}

// children are the process numbers of a process's children; none, if it has ended.
func children(pid string) []string {
	text, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	return strings.Fields(string(text))
}

// controlGroups are the control groups of that name, in each hierarchy.
func controlGroups(t *testing.T, name string) (groups []string) {
	t.Helper()
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && e.Name() == name {
			groups = append(groups, path)
			return filepath.SkipDir
		}
		return nil //nolint:nilerr // others' groups come and go
	})
	if err != nil {
		t.Errorf("look for control groups: %v", err)
	}
	return groups
}

// removeGroups removes a control group with all below it. It fails while a process is in one of them.
func removeGroups(group string) error {
	entries, err := os.ReadDir(group)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroups(filepath.Join(group, e.Name())); err != nil {
				return err
			}
		}
	}
	return syscall.Rmdir(group) // the files in it cannot be removed, and need not
}

// on is a command on the board, with an end.
func (b *board) on(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandPatience)
	defer cancel()
	c := exec.CommandContext(ctx, "nsenter", append([]string{"--target", b.leader, "--all", "--"}, args...)...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"} // of this machine's environment the board knows nothing
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}                   // a test in the background would be stopped by the terminal that a command looks for
	if stdin != "" {
		c.Stdin = strings.NewReader(stdin)
	}
	// nsenter has a child on the board. It takes its end from there: were it ended itself, the child would be the machine's first
	// process's to bury, and until that has been done the board does not end.
	c.Cancel = func() error {
		for _, child := range children(strconv.Itoa(c.Process.Pid)) {
			if pid, err := strconv.Atoi(child); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		return nil
	}
	c.WaitDelay = 5 * time.Second // and what the child has started may keep the output open
	out, err := c.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done within %v: %w", commandPatience, err)
	}
	return strings.TrimSpace(string(out)), err
}

// try runs a command on the board.
func (b *board) try(args ...string) (string, error) { return b.on("", args...) }

// run runs a command on the board that must succeed.
func (b *board) run(args ...string) string {
	b.t.Helper()
	out, err := b.try(args...)
	if err != nil {
		b.t.Fatalf("%q: %v\n%s\n%s", args, err, out, b.journal())
	}
	return out
}

// write writes a file on the board.
func (b *board) write(path, text string) {
	b.t.Helper()
	if out, err := b.on(text, "sh", "-c", `mkdir -p "$(dirname "$1")" && cat >"$1"`, "sh", path); err != nil {
		b.t.Fatalf("write %s: %v\n%s", path, err, out)
	}
}

// journal is what the daemon said last.
func (b *board) journal() string {
	if b.log != nil {
		return b.log()
	}
	out, _ := b.try("journalctl", "--no-pager", "--lines=60", "--unit=obdagent*")
	return out
}

// property is what systemd knows of a unit.
func (b *board) property(unit, name string) string {
	b.t.Helper()
	return b.run("systemctl", "show", "--value", "--property="+name, unit)
}

func (b *board) await(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("no %s within %v\n%s", what, patience, b.journal())
		}
	}
}

// status is what the running daemon says of itself.
func (b *board) status() (s struct {
	BootID   string `json:"boot_id"`
	DeviceID string `json:"device_id"`
	Record   struct {
		Made uint64 `json:"made"`
	} `json:"record"`
	Buffer struct {
		State string `json:"state"`
	} `json:"buffer"`
}) {
	out, _ := b.try("obdagent", "status", "--json")
	_ = json.Unmarshal([]byte(out), &s) // the caller awaits what it needs
	return s
}

// TestOnABoard boots this machine's Debian in a container with the daemon installed, without network, credentials or devices.
func TestOnABoard(t *testing.T) {
	if os.Getenv(boardVariable) == "" {
		t.Skipf("needs %s=1: make board", boardVariable)
	}
	b := boot(t, goBuild(t, "../cmd/obdagent"))

	t.Run("it starts without network, credentials and devices", func(t *testing.T) {
		b.t = t
		if state := b.property("obdagent.service", "ActiveState"); state != "active" {
			t.Fatalf("it is %s\n%s", state, b.journal())
		}
		if n := b.property("obdagent.service", "NRestarts"); n != "0" {
			t.Errorf("%s restarts\n%s", n, b.journal())
		}
		b.await("status", func() bool { return b.status().BootID != "" })
		if s := b.status(); s.Buffer.State != "ok" || !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(s.BootID) {
			t.Errorf("the buffer is %q, the boot %q", s.Buffer.State, s.BootID)
		}
		if result := b.property("obdagent-seed.service", "ConditionResult"); result != "no" {
			t.Errorf("the seed's unit was started without a seed")
		}
	})

	t.Run("udev takes its rules", func(t *testing.T) {
		b.t = t
		if _, err := b.try("which", "udevadm"); err != nil {
			t.Skip("this system has no udevadm")
		}
		const rules = "/usr/lib/udev/rules.d/70-obdagent.rules"
		// Of a line that it does not understand it says file and number.
		said := b.run("udevadm", "test", "/sys/class/mem/null")
		if !strings.Contains(said, "Reading rules file: "+rules) || strings.Contains(said, rules+":") {
			t.Errorf("udevadm says\n%s", said)
		}
	})

	t.Run("its sandbox", func(t *testing.T) {
		b.t = t
		b.run("systemctl", "stop", "obdagent.service")
		b.write("/etc/obdagent/key.pem", "secret")
		b.run("chmod", "600", "/etc/obdagent/key.pem")
		const dropIn = "/run/systemd/system/obdagent.service.d/probe.conf"
		b.write(dropIn, "[Service]\nType=oneshot\nWatchdogSec=0\nRestart=no\nExecStart=\nExecStart=/usr/bin/obdagent-probe look /var/lib/obdagent/found.json\n")
		b.run("systemctl", "daemon-reload")
		b.run("systemctl", "start", "obdagent.service")
		found := map[string]string{}
		if err := json.Unmarshal([]byte(b.run("cat", "/var/lib/private/obdagent/found.json")), &found); err != nil {
			t.Fatal(err)
		}
		may := []string{"read the boot id", "read the machine id", "ask for the clock's state", "count a device's bytes", "write records", "write the log", "make a socket", "read the key", "listen"}
		for what, said := range found {
			if slices.Contains(may, what) != (said == "") {
				t.Errorf("%s: %q", what, said)
			}
		}
		if len(found) < len(may)+7 {
			t.Errorf("it looked at %v only", found)
		}
		b.run("rm", dropIn)
		b.run("systemctl", "daemon-reload")
	})

	t.Run("SIGTERM in the middle of a flood", func(t *testing.T) {
		b.t = t
		b.write("/etc/obdagent/config.toml", floodedConfig)
		b.run("systemctl", "start", "obdagent.service")
		defer b.flood()()
		var made uint64
		b.await("records", func() bool { made = b.status().Record.Made; return made >= 50 })
		b.run("systemctl", "stop", "obdagent.service")
		if result := b.property("obdagent.service", "Result"); result != "success" {
			t.Errorf("it ended with %s\n%s", result, b.journal())
		}
		took := stopped(t, b.run("journalctl", "--output=short-monotonic", "--no-pager", "--lines=200", "--unit=obdagent.service"))
		t.Logf("%d records at the last look; from SIGTERM to gone in %.3f s", made, took)
		if took >= 2 { // what a board's supply has to hold up for
			t.Errorf("from SIGTERM to gone in %.3f s, want less than 2 s", took)
		}
		if n := b.waiting(); n < made {
			t.Errorf("%d records are on disk, and %d were made", n, made)
		}
	})

	t.Run("a seed on the boot partition", func(t *testing.T) {
		b.t = t
		// In a mount namespace of systemd's it is seen as well as by the daemon of the board itself.
		b.run("mount", "-t", "tmpfs", "obdagent-test", "/etc/obdagent")
		b.write("/boot/obdagent.toml", "[vehicle]\ndevice_id = \"van-212\"\n")
		if _, err := b.try("systemctl", "start", "obdagent-seed.service"); err == nil {
			t.Error("a seed was taken into memory")
		}
		if note := b.run("cat", "/boot/obdagent-error.txt"); !strings.Contains(note, "/etc/obdagent is in memory (tmpfs)") {
			t.Errorf("the note says %s", note)
		}
		b.run("umount", "/etc/obdagent")

		b.write("/boot/obdagent.toml", "[vehicle]\ndevice = 1\n")
		if _, err := b.try("systemctl", "start", "obdagent-seed.service"); err == nil {
			t.Error("a wrong seed was taken")
		}
		if note := b.run("cat", "/boot/obdagent-error.txt"); !strings.Contains(note, "vehicle.device: unknown key") {
			t.Errorf("the note says %s", note)
		}
		b.write("/boot/obdagent.toml", "[vehicle]\ndevice_id = \"van-212\"\n")
		b.write("/boot/obdagent-credentials", seedCredentials)
		b.run("systemctl", "start", "obdagent-seed.service")
		if left := b.run("sh", "-c", "ls /boot | grep obdagent || true"); left != "" {
			t.Errorf("left on the boot partition: %s", left)
		}
		if mode := b.run("stat", "--format=%a %U", "/etc/obdagent/credentials"); mode != "600 root" {
			t.Errorf("the credentials are %s", mode)
		}
		b.run("systemctl", "restart", "obdagent.service")
		b.await("the seed's device id", func() bool { return b.status().DeviceID == "van-212" })
	})

	t.Run("a seed that placing onto an image was stopped with", func(t *testing.T) {
		b.t = t
		b.write("/etc/obdagent/seed/obdagent.toml", "[vehicle]\ndevice_id = \"van-213\"\n")
		b.run("systemctl", "start", "obdagent-seed.service")
		if met := b.property("obdagent-seed.service", "ConditionResult"); met != "yes" {
			t.Errorf("its condition is met: %s", met)
		}
		if _, err := b.try("test", "-e", "/etc/obdagent/seed"); err == nil {
			t.Errorf("left is %s", b.run("find", "/etc/obdagent"))
		}
		b.run("systemctl", "restart", "obdagent.service")
		b.await("the seed's device id", func() bool { return b.status().DeviceID == "van-213" })
	})

	t.Run("uninstall and install while it runs", func(t *testing.T) {
		b.t = t
		b.run("cp", "/usr/bin/obdagent", "/obdagent")
		b.run("/obdagent", "uninstall", "--purge")
		if state := b.property("obdagent.service", "LoadState"); state != "not-found" {
			t.Errorf("the unit is %s", state)
		}
		if left := b.files(); strings.TrimSpace(left) != "" {
			t.Errorf("left:\n%s", left)
		}
		if said := b.run("/obdagent", "install"); !strings.HasSuffix(said, "started: obdagent status says how it is") {
			t.Errorf("install says\n%s", said)
		}
		b.await("status", func() bool { return b.status().BootID != "" })
		pid := b.property("obdagent.service", "MainPID")
		b.run("systemctl", "disable", "--now", "obdagent.service")
		if said := b.run("/obdagent", "install"); !strings.HasSuffix(said, "it is disabled: systemctl enable --now obdagent starts it") {
			t.Errorf("install says\n%s", said)
		}
		if now := b.property("obdagent.service", "MainPID"); now == pid || now != "0" {
			t.Errorf("the process is %s, was %s", now, pid)
		}
	})
}

// abandonVariable lets TestABoardEndsWithItsTest be killed with a board up; it names the board.
const abandonVariable = "OBDAGENT_TEST_ABANDON"

// A test that is killed, as go test does at its timeout, leaves no container behind.
func TestABoardEndsWithItsTest(t *testing.T) {
	if os.Getenv(boardVariable) == "" {
		t.Skipf("needs %s=1: make board", boardVariable)
	}
	if name := os.Getenv(abandonVariable); name != "" {
		b := launch(t, boardScript, name, "", "/bin/true")
		b.await("systemd", func() bool { b.leader = b.findLeader(); return b.leader != "" })
		fmt.Println("leader", b.leader)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	canBoot(t)
	name := boardName()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestABoardEndsWithItsTest$", "-test.v")
	c.Env = append(os.Environ(), abandonVariable+"="+name, "TMPDIR="+t.TempDir()) // it does not live to remove its own
	out, err := c.CombinedOutput()
	leader := regexp.MustCompile(`leader (\d+)`).FindSubmatch(out)
	if leader == nil || c.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("it was to be killed, with a leader: %v\n%s", err, out)
	}
	groups := controlGroups(t, name)
	if len(groups) == 0 {
		t.Fatalf("the board had no control group of its own\n%s", out)
	}
	for _, group := range groups {
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			err := removeGroups(group)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the board outlives the test, its systemd being process %s: %v", leader[1], err)
			}
		}
	}
}

// stopped is how many seconds passed between systemd's "Stopping" and its "Stopped", by the journal's monotonic clock.
func stopped(t *testing.T, journal string) float64 {
	t.Helper()
	at := func(what string) float64 {
		all := regexp.MustCompile(`(?m)^\[ *([0-9.]+)\] .*: `+what+` obdagent\.service`).FindAllStringSubmatch(journal, -1)
		if all == nil {
			t.Fatalf("no %s in the journal:\n%s", what, journal)
		}
		s, err := strconv.ParseFloat(all[len(all)-1][1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return at("Stopped") - at("Stopping")
}
