package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// boardVariable asks for the test that boots a board: a minute on a busy machine, and only root can.
const boardVariable = "OBDAGENT_TEST_BOARD"

// patience is how long a test waits for what happens in a second.
const patience = 2 * time.Minute

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
	leader string // the process number of its systemd
}

// boot boots a board with the daemon installed (from a file; empty: without).
func boot(t *testing.T, obdagent string) *board {
	t.Helper()
	need(t, "nspawn", "systemd-nspawn")
	const mounts = "mount -t tmpfs t /mnt && cd /mnt && mkdir u w m && mount -t overlay -o lowerdir=/,upperdir=u,workdir=w o m"
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation=private", "sh", "-c", mounts).CombinedOutput(); err != nil {
		without(t, "nspawn", fmt.Errorf("not root, or no overlays here: %w: %s", err, out))
	}
	probe := goBuild(t, "./testdata/probe")
	// A file, not a pipe: what is left of the container must not keep the test waiting.
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close() //nolint:errcheck // it is read by its name
	// Mounts and processes end with the first of them, and that with the test.
	c := exec.Command("unshare", "--mount", "--propagation=private", "sh", "testdata/board.sh", t.TempDir(), obdagent, probe)
	c.Stdout, c.Stderr = said, said
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
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
	b := &board{t: t}
	t.Cleanup(func() {
		// Without its first process a container is no more, and the rest goes by itself.
		if pid, err := strconv.Atoi(b.leader); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-ended:
		case <-time.After(patience):
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			<-ended
		}
		if t.Failed() {
			t.Logf("the container said\n%s", get(t, said.Name()))
		}
	})
	children := fmt.Sprintf("/proc/%d/task/%d/children", c.Process.Pid, c.Process.Pid)
	b.await("boot", func() bool {
		select {
		case <-ended:
			t.Fatalf("the container ended\n%s", get(t, said.Name()))
		default:
		}
		text, _ := os.ReadFile(children)
		for _, pid := range strings.Fields(string(text)) {
			if name, _ := os.ReadFile("/proc/" + pid + "/comm"); strings.TrimSpace(string(name)) == "systemd" {
				b.leader = pid
			}
		}
		if b.leader == "" {
			return false
		}
		out, _ := b.try("systemctl", "is-system-running")
		return out == "running" || out == "degraded"
	})
	return b
}

// try runs a command on the board.
func (b *board) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, "nsenter", append([]string{"--target", b.leader, "--all", "--"}, args...)...)
	c.WaitDelay = time.Second // nsenter has a child on the board, which may keep the output open
	out, err := c.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

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
	c := exec.CommandContext(b.t.Context(), "nsenter", "--target", b.leader, "--all", "--", "sh", "-c", `mkdir -p "$(dirname "$1")" && cat >"$1"`, "sh", path)
	c.Stdin, c.WaitDelay = strings.NewReader(text), time.Second
	if out, err := c.CombinedOutput(); err != nil {
		b.t.Fatalf("write %s: %v\n%s", path, err, out)
	}
}

func (b *board) journal() string {
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
		// Longer than TimeoutStopSec= would have been a failure of the unit; the figure itself is for docs/packages.md.
		t.Logf("%d records at the last look; from SIGTERM to gone in %.3f s", made, took)
		if n := b.waiting(); n < made {
			t.Errorf("%d records are on disk, and %d were made", n, made)
		}
	})

	t.Run("a seed on the boot partition", func(t *testing.T) {
		b.t = t
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
