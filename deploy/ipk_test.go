package deploy_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An ipk is a package as opkg reads it.
type ipk struct {
	t       *testing.T
	control map[string]tarFile // by their names: control, conffiles, postinst ...
	fields  map[string]string  // of the control file
	data    map[string]tarFile // by absolute path; directories, too
	archive []byte             // data.tar, as it is unpacked
}

type tarFile struct {
	kind byte // tar's type flag
	mode int64
	text string
}

// readIPK reads a file as opkg does (opkg-lede, libbb/unarchive.c): a compressed tar archive of two others. Of tar it knows plain files,
// directories and links; a header of another kind, as newer tar writes before a file for what does not fit, it takes for a file.
func readIPK(t *testing.T, file string) *ipk {
	t.Helper()
	p := &ipk{t: t, control: map[string]tarFile{}, fields: map[string]string{}, data: map[string]tarFile{}}
	outer := p.untar(p.gunzip(get(t, file)))
	if got := outer["debian-binary"].text; got != "2.0\n" {
		t.Errorf("debian-binary is %q", got)
	}
	p.control = p.untar(p.gunzip(outer["control.tar.gz"].text))
	p.archive = p.gunzip(outer["data.tar.gz"].text)
	for name, f := range p.untar(p.archive) {
		p.data["/"+strings.TrimSuffix(name, "/")] = f
	}
	for line := range strings.Lines(p.control["control"].text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok && !strings.HasPrefix(line, " ") {
			p.fields[name] = value
		}
	}
	return p
}

func (p *ipk) gunzip(text string) []byte {
	p.t.Helper()
	z, err := gzip.NewReader(strings.NewReader(text))
	if err != nil {
		p.t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		p.t.Fatal(err)
	}
	return plain
}

func (p *ipk) untar(archive []byte) map[string]tarFile {
	p.t.Helper()
	// archive/tar hides the headers that opkg would stumble over.
	for at := 0; at+512 <= len(archive) && archive[at] != 0; {
		header := archive[at : at+512]
		if kind := header[156]; !bytes.Contains([]byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink}, []byte{kind}) || string(header[257:262]) != "ustar" {
			p.t.Fatalf("opkg does not read the header %q of kind %q", bytes.TrimRight(header[:100], "\x00"), kind)
		}
		size, err := strconv.ParseInt(strings.Trim(string(header[124:136]), " \x00"), 8, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		at += 512 + int(size+511)/512*512
	}
	files := map[string]tarFile{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			p.t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			p.t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			p.t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		files[strings.TrimPrefix(h.Name, "./")] = tarFile{h.Typeflag, h.Mode & 0o7777, string(text)}
	}
}

// conffiles are the files that are their owner's, once there.
func (p *ipk) conffiles() []string { return strings.Fields(p.control["conffiles"].text) }

// An opkg does on a board what opkg does, in its order (opkg-lede, libopkg/opkg_install.c and opkg_remove.c), with one package.
type opkg struct {
	b         *board
	installed *ipk
}

// script runs a maintainer script, if the package has it, and returns what it says.
func (o *opkg) script(p *ipk, name, arguments string, upgrade bool) string {
	o.b.t.Helper()
	script, ok := p.control[name]
	if !ok {
		return ""
	}
	if script.mode&0o111 == 0 {
		o.b.t.Fatalf("%s cannot be run: its mode is %o", name, script.mode)
	}
	file := "/usr/lib/opkg/info/obdagent." + name
	o.b.write(file, script.text)
	o.b.run("chmod", fmt.Sprintf("%o", script.mode), file)
	up := "0"
	if upgrade {
		up = "1"
	}
	return o.b.run("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PKG_ROOT=/", "PKG_UPGRADE="+up, "sh", "-c", file+" "+arguments)
}

// install installs a package, or updates to it, and returns what its scripts say.
func (o *opkg) install(p *ipk) (said string) {
	o.b.t.Helper()
	old := o.installed
	if old != nil {
		said += o.script(old, "prerm", "upgrade "+p.fields["Version"], true)
		said += o.script(p, "preinst", "upgrade "+old.fields["Version"], true)
	} else {
		said += o.script(p, "preinst", "install", false)
	}
	kept := map[string]string{}
	for _, path := range slices.Sorted(maps.Keys(p.data)) {
		text, there := o.text(path)
		switch {
		case !there:
		case slices.Contains(p.conffiles(), path):
			if old == nil || text != strings.TrimSpace(old.data[path].text) {
				kept[path] = text
			}
		case old == nil || old.data[path].kind == 0:
			o.b.t.Fatalf("opkg refuses: %s is there, and no package's", path)
		}
	}
	if old != nil {
		o.removeFiles(old)
	}
	if out, err := o.b.on(string(p.archive), "tar", "-x", "-f", "-", "-C", "/"); err != nil {
		o.b.t.Fatalf("unpack: %v\n%s", err, out)
	}
	for path, text := range kept {
		if text != strings.TrimSpace(p.data[path].text) {
			o.b.run("mv", path, path+"-opkg")
			o.b.write(path, text+"\n")
		}
	}
	o.installed = p
	return said + o.script(p, "postinst", "configure", old != nil)
}

// remove removes the package, and returns what its scripts say.
func (o *opkg) remove() (said string) {
	o.b.t.Helper()
	p := o.installed
	said = o.script(p, "prerm", "remove", false)
	o.removeFiles(p)
	said += o.script(p, "postrm", "remove", false)
	o.b.run("sh", "-c", "rm -f /usr/lib/opkg/info/obdagent.*")
	o.installed = nil
	return said
}

// removeFiles removes a package's files but for the conffiles that were changed, and the directories that are empty then.
func (o *opkg) removeFiles(p *ipk) {
	o.b.t.Helper()
	var files, dirs []string
	for path, f := range p.data {
		text, there := o.text(path)
		changed := slices.Contains(p.conffiles(), path) && text != strings.TrimSpace(f.text)
		switch {
		case f.kind == tar.TypeDir:
			dirs = append(dirs, path)
		case there && !changed:
			files = append(files, path)
		}
	}
	o.b.run(slices.Concat([]string{"rm", "-f"}, files)...)
	slices.Sort(dirs)
	slices.Reverse(dirs)
	_, _ = o.b.try(slices.Concat([]string{"rmdir"}, dirs)...) // those of the system are not empty
}

// text is what is in a file of the board, and whether there is one. The program's is not read.
func (o *opkg) text(path string) (text string, there bool) {
	if _, err := o.b.try("test", "-f", path); err != nil {
		return "", false
	}
	if strings.HasSuffix(path, "bin/obdagent") {
		return "", true
	}
	return o.b.run("cat", path), true
}

// TestTheLifeOfTheIPK takes the package through its life on a system with OpenWrt's layout and busybox, where the program runs. opkg's
// work is done by the test, as opkg's source has it, and procd's by testdata/rc.common: neither is in Debian.
func TestTheLifeOfTheIPK(t *testing.T) {
	olderFile, newerFile := packages(t, ipksVariable)
	need(t, "busybox", "busybox")
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "--pid", "--fork", "true").CombinedOutput(); err != nil {
		without(t, "nspawn", fmt.Errorf("not root: %w: %s", err, out))
	}
	older, newer := readIPK(t, olderFile), readIPK(t, newerFile)
	for name, want := range map[string]string{"Package": "obdagent", "Version": "0.0.1-1", "Architecture": "x86_64", "Depends": "ca-bundle", "Section": "net"} {
		if got := older.fields[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := older.conffiles(); !slices.Equal(got, []string{"/etc/obdagent/config.toml"}) {
		t.Errorf("conffiles are %q", got)
	}
	if got := slices.Sorted(maps.Keys(older.control)); !slices.Equal(got, []string{"conffiles", "control", "postinst", "preinst", "prerm"}) {
		t.Errorf("the package's own files are %q", got)
	}
	want := map[string]int64{"/usr/bin/obdagent": 0o755, "/etc/init.d/obdagent": 0o755, "/etc/obdagent/config.toml": 0o644, "/lib/upgrade/keep.d/obdagent": 0o644}
	for path, f := range older.data {
		if f.kind != tar.TypeDir && want[path] != f.mode {
			t.Errorf("%s has mode %o, want %o", path, f.mode, want[path])
		}
		delete(want, path)
	}
	if len(want) > 0 {
		t.Errorf("not in the package: %v", want)
	}

	b := launch(t, "testdata/openwrt.sh", boardName(), "testdata/rc.common")
	b.leader, b.log = strconv.Itoa(b.first), b.openwrtLog
	b.await("system", func() bool {
		select {
		case <-b.ended:
			t.Fatalf("the container ended\n%s", get(t, b.said))
		default:
		}
		// Until it has its root, a command for it would be done to this machine.
		comm, _ := os.ReadFile("/proc/" + b.leader + "/comm")
		_, err := os.Stat("/proc/" + b.leader + "/root/etc/rc.common")
		return strings.TrimSpace(string(comm)) == "busybox" && err == nil
	})
	probe, err := os.ReadFile(goBuild(t, "./testdata/probe"))
	if err != nil {
		t.Fatal(err)
	}
	b.write("/usr/bin/obdagent-probe", string(probe))
	b.run("chmod", "0755", "/usr/bin/obdagent-probe")
	o := &opkg{b: b}
	files := func() string {
		return b.run("sh", "-c", "find /bin /etc /lib /sbin /srv /usr -path '*obdagent*' ! -name obdagent-probe 2>/dev/null | sort")
	}
	runs := func(want bool) string {
		t.Helper()
		if want {
			b.await("status", func() bool { return b.status().BootID != "" })
		}
		pid, err := b.try("pidof", "obdagent")
		if (err == nil) != want {
			t.Errorf("running: %q, %v; want %t\n%s", pid, err, want, b.journal())
		}
		return pid
	}
	enabled := func(want bool) {
		t.Helper()
		if out, err := b.try("/etc/init.d/obdagent", "enabled"); (err == nil) != want {
			t.Errorf("enabled: %v, want %t: %s", err, want, out)
		}
	}

	t.Log("into an image")
	b.run("sh", "-c", "mkdir -p /image/etc/rc.d /image/usr")
	if out, err := b.on(string(older.archive), "tar", "-x", "-f", "-", "-C", "/image"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, script := range []string{"preinst", "postinst"} {
		b.write("/tmp/"+script, older.control[script].text)
		if said := b.run("env", "IPKG_INSTROOT=/image", "sh", "-u", "/tmp/"+script, "install"); said != "" {
			t.Errorf("%s says %s", script, said)
		}
	}
	if got := b.run("sh", "-c", "ls /image/etc/rc.d; cmp /image/etc/rc.d/S95obdagent /image/etc/init.d/obdagent; ls /etc/rc.d"); got != "K10obdagent\nS95obdagent" {
		t.Errorf("links in the image, and then outside of it:\n%s", got)
	}
	runs(false)
	b.run("rm", "-r", "/image")

	t.Log("over the installer's:")
	b.write("/obdagent", older.data["/usr/bin/obdagent"].text)
	b.run("chmod", "0755", "/obdagent")
	t.Log(b.run("/obdagent", "install"))
	runs(true)
	if said := o.install(older); said != "" {
		t.Errorf("the scripts say %s", said)
	}
	enabled(true)
	runs(true)
	if left, err := b.try("test", "-e", "/usr/lib/obdagent"); err == nil {
		t.Errorf("the installer's list is still there: %s", left)
	}
	o.remove()
	b.run("rm", "-rf", "/etc/obdagent", "/srv/obdagent")
	if left := files(); left != "" {
		t.Errorf("left:\n%s", left)
	}
	runs(false)

	t.Log("install")
	if said := o.install(older); said != "" {
		t.Errorf("the scripts say %s", said)
	}
	enabled(true)
	runs(true)
	id := b.run("cat", "/etc/machine-id")
	config := floodedConfig + "[buffer]\ndir = \"/srv/obdagent/buffer\"\n[status]\nlog = \"/srv/obdagent/status.log\"\nsocket = \"/var/run/obdagent/status.sock\"\n"
	b.write("/etc/obdagent/config.toml", config)
	b.write("/etc/obdagent/key.pem", "secret")
	b.run("/etc/init.d/obdagent", "restart")
	runs(true)
	stop := b.flood()
	b.await("records", func() bool { return b.status().Record.Made >= 50 })
	stop()
	made, first := b.status().Record.Made, runs(true)

	t.Log("update")
	if said := o.install(newer); said != "" {
		t.Errorf("the scripts say %s", said)
	}
	enabled(true)
	if second := runs(true); second == first {
		t.Errorf("the process is %s, as before", second)
	}
	if text := b.run("cat", "/etc/obdagent/config.toml"); text != strings.TrimSpace(config) {
		t.Errorf("the configuration is %s", text)
	}
	if text := b.run("cat", "/etc/obdagent/config.toml-opkg"); !strings.HasSuffix(text, newerLine) {
		t.Errorf("the newer version's configuration is %s", text)
	}
	b.run("rm", "/etc/obdagent/config.toml-opkg")
	b.run("/etc/init.d/obdagent", "stop")
	runs(false)
	if n := b.waitingIn("/srv/obdagent/buffer"); n < made {
		t.Errorf("%d records after the update, %d were made", n, made)
	}
	if log := b.openwrtLog(); strings.Contains(log, "killed") {
		t.Errorf("it did not end by itself:\n%s", log)
	}

	t.Log("what was disabled stays off")
	b.run("/etc/init.d/obdagent", "disable")
	o.install(older)
	b.run("rm", "/etc/obdagent/config.toml-opkg")
	enabled(false)
	runs(false)
	b.run("/etc/init.d/obdagent", "enable")
	b.run("/etc/init.d/obdagent", "start")
	runs(true)

	t.Log("remove")
	if said := o.remove(); said != "" {
		t.Errorf("the scripts say %s", said)
	}
	runs(false)
	b.run("sh", "-c", "test -n \"$(ls /srv/obdagent/buffer)\"")
	if left := b.run("sh", "-c", "ls /usr/bin/obdagent /etc/init.d/obdagent /etc/rc.d/* /lib/upgrade/keep.d/* 2>/dev/null; ls /etc/obdagent"); left != "config.toml\nkey.pem" {
		t.Errorf("left:\n%s", left)
	}

	t.Log("and back")
	o.install(newer)
	enabled(true)
	runs(true)
	if text := b.run("cat", "/etc/obdagent/config.toml"); text != strings.TrimSpace(config) {
		t.Errorf("the configuration is %s", text)
	}
	if again := b.run("cat", "/etc/machine-id"); again != id {
		t.Errorf("the machine id was %s, is %s", id, again)
	}

	t.Log("remove, and what docs/openwrt.md says")
	o.remove()
	b.run("sh", "-c", removeCommand(t, "../docs/openwrt.md"))
	if left := files(); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

// openwrtLog is what the daemon said on a system with testdata/rc.common.
func (b *board) openwrtLog() string {
	out, _ := b.try("tail", "-n", "40", "/tmp/log/obdagent.out")
	return out
}
