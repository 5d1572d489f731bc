package doctor_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"obdagent/agent/doctor"
)

// holderVariable makes the test binary a program that holds the port that it names until its input ends.
const holderVariable = "OBDAGENT_TEST_HOLDER"

func hold(port string) int {
	f, err := os.OpenFile(port, os.O_RDWR, 0)
	if err != nil {
		return 1
	}
	defer f.Close()
	if _, err := os.Stdout.WriteString("held\n"); err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// openPTY is a pseudo-terminal that this process has both ends of.
func openPTY(t *testing.T) (name string) {
	t.Helper()
	_, slave := bothEnds(t)
	return slave.Name()
}

// bothEnds are closed with the test.
func bothEnds(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no pty on this machine: %v", err)
	}
	t.Cleanup(func() { _, _ = slave.Close(), master.Close() })
	return master, slave
}

// TestARealHolderIsNamed: another process has the port open, under another name.
func TestARealHolderIsNamed(t *testing.T) {
	t.Parallel()
	port := openPTY(t)
	link := filepath.Join(t.TempDir(), "adapter")
	if err := os.Symlink(port, link); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), holderVariable+"="+link)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{port, link} {
		holders, _ := doctor.Holders("/proc", name)
		if len(holders) != 1 || holders[0].PID != child.Process.Pid || holders[0].Name == "" || holders[0].Free == "" {
			t.Errorf("%s is held by %+v, want process %d and not this one, which has it open, too", name, holders, child.Process.Pid)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if holders, _ := doctor.Holders("/proc", port); len(holders) != 0 {
		t.Errorf("afterwards: %+v", holders)
	}
}

// A process is what a test writes into a proc of its own.
type process struct {
	pid          int
	comm, cgroup string
	files        []string
}

// procOf makes a directory like /proc.
func procOf(t *testing.T, all ...process) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, p := range all {
		dir := filepath.Join(root, "proc", strconv.Itoa(p.pid))
		if err := os.MkdirAll(filepath.Join(dir, "fd"), 0o755); err != nil {
			t.Fatal(err)
		}
		for i, f := range p.files {
			if err := os.Symlink(f, filepath.Join(dir, "fd", strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range map[string]string{"comm": p.comm + "\n", "cgroup": p.cgroup} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// rivals have a port open as they do on a Debian system.
func rivals(port string) []process {
	return []process{
		{101, "gpsd", "0::/system.slice/gpsd.service\n", []string{"/dev/null", port}},
		{102, "ModemManager", "0::/system.slice/ModemManager.service\n", []string{port}},
		{103, "agetty", "12:pids:/system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyS0.service\n0::/\n", []string{port}},
		{104, "brltty", "0::/system.slice/brltty.service\n", []string{"/dev/bus/usb/001/004", port}},
		{105, "chat", "0::/user.slice/user-1000.slice/user@1000.service/app.slice\n", []string{port}},
		{106, "logger", "0::/system.slice/other.service\n", []string{port, "socket:[3]"}},
		{107, "sleep", "0::/\n", []string{"/dev/null", "pipe:[4]"}},
	}
}

func TestEachRivalIsFreedByOneCommand(t *testing.T) {
	t.Parallel()
	port := openPTY(t)
	root := procOf(t, rivals(port)...)
	holders, all := doctor.Holders(filepath.Join(root, "proc"), port)
	want := []doctor.Holder{
		{PID: 101, Name: "gpsd", Unit: "gpsd.service", Free: "systemctl disable --now gpsd.socket gpsd.service"},
		{PID: 102, Name: "ModemManager", Unit: "ModemManager.service", Free: "systemctl disable --now ModemManager.service"},
		{PID: 103, Name: "agetty", Unit: "serial-getty@ttyS0.service", Free: "systemctl mask --now serial-getty@ttyS0.service"},
		{PID: 104, Name: "brltty", Unit: "brltty.service", Free: "systemctl mask --now brltty.service brltty-udev.service"},
		{PID: 105, Name: "chat", Free: "kill 105"},
		{PID: 106, Name: "logger", Unit: "other.service", Free: "systemctl stop other.service"},
	}
	if d := cmp.Diff(want, holders); d != "" || !all {
		t.Errorf("all seen: %t (-want +got)\n%s", all, d)
	}
	if none, _ := doctor.Holders(filepath.Join(root, "proc"), filepath.Join(root, "none")); none != nil {
		t.Errorf("a port that there is not is held by %+v", none)
	}
}
