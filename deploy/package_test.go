package deploy_test

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// debsVariable names two .deb files of this machine's kind, an older and a newer version: make lifecycle builds them.
const debsVariable = "OBDAGENT_TEST_DEBS"

// waiting is how many records are on the board's disk.
func (b *board) waiting() uint64 {
	b.t.Helper()
	stat := b.run("obdagent", "buffer", "stat", "/var/lib/private/obdagent/buffer")
	m := regexp.MustCompile(`(?m)^waiting +(\d+) records`).FindStringSubmatch(stat)
	if m == nil {
		b.t.Fatalf("buffer stat says\n%s", stat)
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// flood lets a receiver's epochs flow to the daemon until stop is called.
func (b *board) flood() (stop func()) {
	b.t.Helper()
	c := exec.Command("nsenter", "--target", b.leader, "--all", "--", "obdagent-probe", "flood", "127.0.0.1:10110")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	return func() {
		// nsenter has a child in the board's process namespace.
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
	}
}

// floodedConfig takes what flood sends, and delivers to nobody.
const floodedConfig = "[obd]\nport = \"none\"\n[gps]\nsource = \"udp://127.0.0.1:10110\"\n[record]\ninterval = \"40ms\"\n"

func TestTheLifeOfThePackage(t *testing.T) {
	debs := os.Getenv(debsVariable)
	if debs == "" {
		t.Skipf("needs %s: make lifecycle", debsVariable)
	}
	older, newer, _ := strings.Cut(debs, ",")
	b := boot(t, "")
	b.write("/older.deb", get(t, older))
	b.write("/newer.deb", get(t, newer))
	before := b.files()
	is := func(what, want string) {
		t.Helper()
		if got, _ := b.try("systemctl", what, "obdagent.service"); got != want {
			t.Errorf("%s: %s, want %s\n%s", what, got, want, b.journal())
		}
	}
	pid := func() string { return b.property("obdagent.service", "MainPID") }

	t.Log("install:", b.run("dpkg", "--install", "/older.deb"))
	is("is-enabled", "enabled")
	is("is-active", "active")
	b.await("status", func() bool { return b.status().BootID != "" })
	if man := b.run("sh", "-c", "zcat /usr/share/man/man1/obdagent.1.gz"); !strings.Contains(man, "obdagent-status(1)") {
		t.Errorf("the man page is %s", man)
	}

	b.write("/etc/obdagent/config.toml", floodedConfig)
	b.write("/etc/obdagent/key.pem", "secret")
	b.run("systemctl", "restart", "obdagent.service")
	stop := b.flood()
	b.await("records", func() bool { return b.status().Record.Made >= 50 })
	stop()
	made, first := b.status().Record.Made, pid()

	t.Log("update:", b.run("dpkg", "--install", "/newer.deb"))
	is("is-enabled", "enabled")
	is("is-active", "active")
	if second := pid(); second == first || second == "0" {
		t.Errorf("the process is %s, was %s", second, first)
	}
	if text := b.run("cat", "/etc/obdagent/config.toml"); text != strings.TrimSpace(floodedConfig) {
		t.Errorf("the configuration is %s", text)
	}
	b.run("systemctl", "stop", "obdagent.service")
	if n := b.waiting(); n < made {
		t.Errorf("%d records after the update, %d were made", n, made)
	}

	t.Log("what was disabled stays off:", b.run("systemctl", "disable", "obdagent.service"), b.run("dpkg", "--install", "/older.deb"))
	is("is-enabled", "disabled")
	is("is-active", "inactive")
	b.run("systemctl", "enable", "--now", "obdagent.service")

	t.Log("remove:", b.run("dpkg", "--remove", "obdagent"))
	is("is-active", "inactive")
	for _, kept := range []string{"/etc/obdagent/config.toml", "/etc/obdagent/key.pem", "/var/lib/private/obdagent/buffer", "/var/log/private/obdagent/status.log"} {
		b.run("test", "-e", kept)
	}
	if out, err := b.try("test", "-e", "/usr/bin/obdagent"); err == nil {
		t.Errorf("the program is still there %s", out)
	}

	t.Log("and back:", b.run("dpkg", "--install", "/newer.deb"))
	is("is-enabled", "enabled")
	is("is-active", "active")
	if text := b.run("cat", "/etc/obdagent/config.toml"); text != strings.TrimSpace(floodedConfig) {
		t.Errorf("the configuration is %s", text)
	}

	t.Log("purge:", b.run("dpkg", "--purge", "obdagent"))
	is("is-active", "inactive")
	after := b.files()
	for _, file := range strings.Split(after, "\n") {
		if !strings.Contains(before, file+"\n") {
			t.Errorf("left: %s", file)
		}
	}
}

// files are all files with obdagent in their path, where anything of ours could be.
func (b *board) files() string {
	b.t.Helper()
	return b.run("sh", "-c", `find /boot /etc /srv /usr/bin /usr/lib/obdagent /usr/lib/systemd /usr/lib/udev /usr/share /var -xdev -path '*obdagent*' ! -name obdagent-probe 2>/dev/null | sort`) + "\n"
}
