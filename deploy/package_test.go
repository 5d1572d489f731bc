package deploy_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Each names two packages for this machine, an older and a newer one with a configuration of its own: make lifecycle builds them.
const (
	debsVariable = "OBDAGENT_TEST_DEBS"
	rpmsVariable = "OBDAGENT_TEST_RPMS"
	ipksVariable = "OBDAGENT_TEST_IPKS"
)

// packages returns what a variable names, or skips the test.
func packages(t *testing.T, variable string) (older, newer string) {
	t.Helper()
	both := os.Getenv(variable)
	if both == "" {
		t.Skipf("needs %s: make lifecycle", variable)
	}
	older, newer, _ = strings.Cut(both, ",")
	return older, newer
}

// waiting is how many records are on the board's disk.
func (b *board) waiting() uint64 {
	b.t.Helper()
	return b.waitingIn("/var/lib/private/obdagent/buffer")
}

func (b *board) waitingIn(dir string) uint64 {
	b.t.Helper()
	stat := b.run("obdagent", "buffer", "stat", dir)
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
	older, newer := packages(t, debsVariable)
	b := boot(t, "")
	b.write("/older.deb", get(t, older))
	b.write("/newer.deb", get(t, newer))
	before := b.files()
	b.write(installersList, "{}")
	pid := func() string { return b.property("obdagent.service", "MainPID") }

	t.Log("install:", b.run("dpkg", "--install", "/older.deb"))
	b.is("is-enabled", "enabled")
	b.is("is-active", "active")
	b.await("status", func() bool { return b.status().BootID != "" })
	if out, err := b.try("test", "-e", installersList); err == nil {
		t.Errorf("the installer's list is still there %s", out)
	}
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
	b.is("is-enabled", "enabled")
	b.is("is-active", "active")
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
	b.is("is-enabled", "disabled")
	b.is("is-active", "inactive")
	b.run("systemctl", "enable", "--now", "obdagent.service")

	t.Log("remove:", b.run("dpkg", "--remove", "obdagent"))
	b.is("is-active", "inactive")
	for _, kept := range []string{"/etc/obdagent/config.toml", "/etc/obdagent/key.pem", "/var/lib/private/obdagent/buffer", "/var/log/private/obdagent/status.log"} {
		b.run("test", "-e", kept)
	}
	if out, err := b.try("test", "-e", "/usr/bin/obdagent"); err == nil {
		t.Errorf("the program is still there %s", out)
	}

	t.Log("and back:", b.run("dpkg", "--install", "/newer.deb"))
	b.is("is-enabled", "enabled")
	b.is("is-active", "active")
	if text := b.run("cat", "/etc/obdagent/config.toml"); text != strings.TrimSpace(floodedConfig) {
		t.Errorf("the configuration is %s", text)
	}

	t.Log("purge:", b.run("dpkg", "--purge", "obdagent"))
	b.is("is-active", "inactive")
	b.leaves(before)
}

// TestTheLifeOfTheRPM is the same with rpm and its habits: a configuration that its owner has changed is kept, and the newer version's
// laid beside it as .rpmnew; when the package is erased it is renamed to .rpmsave. Debian's rpm wants to be told that
// this is meant: --force-debian.
func TestTheLifeOfTheRPM(t *testing.T) {
	older, newer := packages(t, rpmsVariable)
	need(t, "rpm", "rpm")
	b := boot(t, "")
	b.write("/older.rpm", get(t, older))
	b.write("/newer.rpm", get(t, newer))
	before := b.files()
	b.write(installersList, "{}")
	rpm := func(args ...string) string {
		t.Helper()
		return b.run(slices.Concat([]string{"rpm"}, args)...)
	}
	pid := func() string { return b.property("obdagent.service", "MainPID") }
	config := func() string { return b.run("cat", "/etc/obdagent/config.toml") }
	const edited = floodedConfig + "# its owner's\n"

	t.Log("what it is:", rpm("--checksig", "/older.rpm"))
	if needs := rpm("--query", "--package", "--requires", "/older.rpm"); needs != "" {
		t.Errorf("it requires %s", needs)
	}
	if config := rpm("--query", "--package", "--configfiles", "/older.rpm"); config != "/etc/obdagent/config.toml" {
		t.Errorf("configuration files: %s", config)
	}
	t.Log("install:", rpm("--install", "--force-debian", "--verbose", "/older.rpm"))
	b.is("is-enabled", "enabled")
	b.is("is-active", "active")
	if seed, _ := b.try("systemctl", "is-enabled", "obdagent-seed.service"); seed != "enabled" {
		t.Errorf("the seed's unit is %s", seed)
	}
	b.await("status", func() bool { return b.status().BootID != "" })
	if out, err := b.try("test", "-e", installersList); err == nil {
		t.Errorf("the installer's list is still there %s", out)
	}
	if said := rpm("--verify", "obdagent"); said != "" {
		t.Errorf("rpm --verify says %s", said)
	}
	if man := b.run("sh", "-c", "zcat /usr/share/man/man1/obdagent.1.gz"); !strings.Contains(man, "obdagent-status(1)") {
		t.Errorf("the man page is %s", man)
	}

	b.write("/etc/obdagent/config.toml", edited)
	b.write("/etc/obdagent/key.pem", "secret")
	b.run("systemctl", "restart", "obdagent.service")
	stop := b.flood()
	b.await("records", func() bool { return b.status().Record.Made >= 50 })
	stop()
	made, first := b.status().Record.Made, pid()

	t.Log("update:", rpm("--upgrade", "--force-debian", "--verbose", "/newer.rpm"))
	b.is("is-enabled", "enabled")
	b.is("is-active", "active")
	if second := pid(); second == first || second == "0" {
		t.Errorf("the process is %s, was %s", second, first)
	}
	if text := config(); text != strings.TrimSpace(edited) {
		t.Errorf("the configuration is %s", text)
	}
	if text := b.run("cat", "/etc/obdagent/config.toml.rpmnew"); !strings.HasSuffix(text, newerLine) {
		t.Errorf("the newer version's configuration is %s", text)
	}
	b.run("rm", "/etc/obdagent/config.toml.rpmnew")
	b.run("systemctl", "stop", "obdagent.service")
	if n := b.waiting(); n < made {
		t.Errorf("%d records after the update, %d were made", n, made)
	}

	b.run("systemctl", "disable", "obdagent.service")
	t.Log("what was disabled stays off:", rpm("--upgrade", "--force-debian", "--oldpackage", "--verbose", "/older.rpm"))
	b.is("is-enabled", "disabled")
	b.is("is-active", "inactive")
	b.run("systemctl", "enable", "--now", "obdagent.service")

	t.Log("erase:", rpm("--erase", "--force-debian", "--verbose", "obdagent"))
	b.is("is-active", "inactive")
	if left := b.run("sh", "-c", "find /etc/systemd /usr/lib/systemd -name 'obdagent*'"); left != "" {
		t.Errorf("left of the units: %s", left)
	}
	if text := b.run("cat", "/etc/obdagent/config.toml.rpmsave"); text != strings.TrimSpace(edited) {
		t.Errorf("the configuration that was kept is %s", text)
	}
	for _, kept := range []string{"/etc/obdagent/key.pem", "/var/lib/private/obdagent/buffer", "/var/log/private/obdagent/status.log"} {
		b.run("test", "-e", kept)
	}
	if out, err := b.try("test", "-e", "/usr/bin/obdagent"); err == nil {
		t.Errorf("the program is still there %s", out)
	}

	t.Log("and back:", rpm("--install", "--force-debian", "--verbose", "/newer.rpm"))
	b.is("is-enabled", "enabled")
	b.is("is-active", "active")
	if text := config(); !strings.HasSuffix(text, newerLine) {
		t.Errorf("the configuration is %s", text)
	}
	b.await("status", func() bool { return b.status().BootID != "" })

	t.Log("erase, and what docs/packages.md says:", rpm("--erase", "--force-debian", "--verbose", "obdagent"), b.run("sh", "-c", removeCommand(t, "../docs/packages.md")))
	b.leaves(before)
}

// installersList tells obdagent uninstall what obdagent install has put there.
const installersList = "/usr/lib/obdagent/installed.json"

// newerLine ends the configuration of the newer packages.
const newerLine = "# The newer version's."

// removeCommand is what a page tells to do where the package manager knows no purge.
func removeCommand(t *testing.T, page string) string {
	t.Helper()
	command := regexp.MustCompile("`(rm -rf /etc/obdagent [^`]*)`").FindStringSubmatch(get(t, page))
	if command == nil {
		t.Fatalf("%s has no command that does what purge does", page)
	}
	return command[1]
}

// is looks what systemctl says of the daemon.
func (b *board) is(what, want string) {
	b.t.Helper()
	if got, _ := b.try("systemctl", what, "obdagent.service"); got != want {
		b.t.Errorf("%s: %s, want %s\n%s", what, got, want, b.journal())
	}
}

// leaves looks that there is no file that was not there before.
func (b *board) leaves(before string) {
	b.t.Helper()
	for _, file := range strings.Split(b.files(), "\n") {
		if !strings.Contains(before, file+"\n") {
			b.t.Errorf("left: %s", file)
		}
	}
}

// files are all files with obdagent in their path, where anything of ours could be.
func (b *board) files() string {
	b.t.Helper()
	return b.run("sh", "-c", `find /boot /etc /srv /usr/bin /usr/lib/obdagent /usr/lib/systemd /usr/lib/udev /usr/share /var -xdev -path '*obdagent*' ! -name obdagent-probe 2>/dev/null | sort`) + "\n"
}

// TestThePageRemovesWhatThePurgeRemoves: where there is no purge, a page has its command.
func TestThePageRemovesWhatThePurgeRemoves(t *testing.T) {
	t.Parallel()
	script := get(t, "package/deb.postrm")
	var purged []string
	for _, rm := range regexp.MustCompile(`(?m)rm -rf ((?:.*\\\n)*.*)$`).FindAllStringSubmatch(script, -1) {
		purged = append(purged, strings.Fields(strings.ReplaceAll(rm[1], "\\\n", " "))...)
	}
	for _, file := range regexp.MustCompile(`(?m)^\s*rules=(.*)$`).FindAllStringSubmatch(script, -1) {
		purged = append(purged, file[1])
	}
	told := strings.Fields(removeCommand(t, "../docs/packages.md"))[2:]
	slices.Sort(purged)
	slices.Sort(told)
	if len(purged) < 7 || !slices.Equal(purged, told) {
		t.Errorf("the purge removes %q, the page %q", purged, told)
	}
}
