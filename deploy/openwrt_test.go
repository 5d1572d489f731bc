package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"obdagent/deploy"
)

// procdFunctions stand in for OpenWrt's: they write down what the init script tells them.
const procdFunctions = `
procd_open_instance() { echo open; }
procd_set_param() { echo "set $*"; }
procd_close_instance() { echo close; }
logger() { sed 's/^/log /'; }
restart() { echo restart; }
`

func TestTheInitScriptTellsProcdWhatToRun(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, filepath.Join(root, "provision"), "#!/bin/sh\necho told \"$@\"\n")
	// The paths of a board, below root.
	script := regexp.MustCompile(`(?m)(^|[ =>\t])(/etc|/var|/usr/bin/obdagent provision)`).ReplaceAllStringFunc(deploy.InitScript, func(path string) string {
		if strings.Contains(path, "provision") {
			return strings.Replace(path, "/usr/bin/obdagent provision", "sh "+root+"/provision", 1)
		}
		return strings.Replace(path, "/", root+"/", 1)
	})
	put(t, filepath.Join(root, "etc/obdagent/credentials"), "[default]\n")
	run := func(function string) string {
		out, err := exec.CommandContext(t.Context(), "sh", "-eu", "-c", procdFunctions+script+"\n"+function).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.ReplaceAll(string(out), root, "")
	}
	const want = `log told
open
set command /usr/bin/obdagent run
set env AWS_SHARED_CREDENTIALS_FILE=/etc/obdagent/credentials
set respawn 3600 1 0
set file /etc/obdagent/config.toml
set stdout 1
set stderr 1
set term_timeout 15
close
`
	if got := run("start_service"); got != want {
		t.Errorf("it says\n%s\nwant\n%s", got, want)
	}
	id := get(t, filepath.Join(root, "etc/machine-id"))
	if !regexp.MustCompile(`^[0-9a-f]{32}\n$`).MatchString(id) {
		t.Errorf("the machine id is %q", id)
	}
	run("start_service")
	if again := get(t, filepath.Join(root, "etc/machine-id")); again != id {
		t.Errorf("the machine id was %q, is %q", id, again)
	}
	if got := run("reload_service"); got != "restart\n" {
		t.Errorf("reload: %s", got)
	}
}

func TestShellcheckHasNothingToSay(t *testing.T) {
	t.Parallel()
	shellcheck := need(t, "shellcheck", "shellcheck")
	scripts, err := filepath.Glob("package/*.p*")
	if err != nil || len(scripts) < 9 {
		t.Fatalf("%d maintainer scripts, %v: %q", len(scripts), err, scripts)
	}
	scripts = append(scripts, "testdata/board.sh", "testdata/openwrt.sh", "testdata/rc.common", "obdagent.init")
	if out, err := exec.CommandContext(t.Context(), shellcheck, append([]string{"--shell=dash"}, scripts...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestTheYoctoRecipeInstallsWhatTheInstallerDoes compares the paths of both.
func TestTheYoctoRecipeInstallsWhatTheInstallerDoes(t *testing.T) {
	t.Parallel()
	recipe := get(t, "yocto/obdagent.bb")
	paths := strings.NewReplacer("${systemd_system_unitdir}", "/usr/lib/systemd/system", "${nonarch_base_libdir}", "/usr/lib", "${sysconfdir}", "/etc")
	installed := map[string]string{}
	for _, m := range regexp.MustCompile(`install -D -m (\d+) "\$from/(\S+)" \$\{D\}(\S+)`).FindAllStringSubmatch(recipe, -1) {
		if !strings.Contains(recipe, "file://"+m[2]) {
			t.Errorf("%s is installed, and is not in SRC_URI", m[2])
		}
		if m[2] != "obdagent" {
			get(t, m[2]) // it is in this directory
		}
		installed[paths.Replace(m[3])] = m[1]
	}
	root := systemdRoot(t)
	for path := range install(t, root, program(t, arm64, "1")) {
		if strings.Contains(path, ".wants/") {
			continue // SYSTEMD_AUTO_ENABLE
		}
		if installed[path] == "" {
			t.Errorf("the recipe does not install %s", path)
		}
		delete(installed, path)
	}
	if len(installed) > 0 {
		t.Errorf("the recipe installs more: %v", installed)
	}
}

// opkg says in PKG_UPGRADE whether it updates, and runs the old package's prerm, then the new one's postinst.
func TestAnUpdateOnOpenWrtKeepsADisabledDaemonOff(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	init := filepath.Join(root, "init")
	// It keeps what it is told, as /etc/rc.common does.
	put(t, init, `#!/bin/sh
case "$1" in
enable) : >"$0.on" ;;
disable) rm -f "$0.on" ;;
enabled) test -e "$0.on" ; exit ;;
esac
echo "$1" >>"$0.log"
`)
	if err := os.Chmod(init, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(upgrade string, scripts ...string) string {
		t.Helper()
		put(t, init+".log", "")
		for _, script := range scripts {
			c := exec.CommandContext(t.Context(), "sh", "-eu", "-c", strings.ReplaceAll(get(t, "package/ipk."+script), "/etc/init.d/obdagent", init))
			c.Env = []string{"PATH=" + os.Getenv("PATH"), "IPKG_INSTROOT=", "PKG_UPGRADE=" + upgrade}
			if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("%s: %v: %s", script, err, out)
			}
		}
		return strings.Join(strings.Fields(get(t, init+".log")), " ")
	}
	for _, step := range []struct{ what, got, want string }{
		{"the first installation", run("0", "postinst"), "enable restart"},
		{"an update", run("1", "prerm", "postinst"), "stop restart"},
		{"disabled by its owner", run("0", "prerm"), "stop disable"},
		{"an update of what is disabled", run("1", "prerm", "postinst"), "stop"},
	} {
		if step.got != step.want {
			t.Errorf("%s: %q, want %q", step.what, step.got, step.want)
		}
	}
}

// opkg writes over no file that no package owns, and looks after the preinst: TestTheLifeOfTheIPK tries it on a running system.
func TestTheIPKTakesOverFromTheInstaller(t *testing.T) {
	t.Parallel()
	root := procdRoot(t)
	install(t, root, program(t, arm64, "1"))
	put(t, filepath.Join(root, "etc/obdagent/config.toml"), seedConfig)
	for range 2 {
		c := exec.CommandContext(t.Context(), "sh", "-u", "package/ipk.preinst", "install")
		c.Env = []string{"PATH=" + os.Getenv("PATH"), "IPKG_INSTROOT=" + root}
		if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v: %s", err, out)
		}
		for _, gone := range []string{"usr/lib/obdagent", "usr/bin/obdagent", "etc/init.d/obdagent", "lib/upgrade/keep.d/obdagent"} {
			if _, err := os.Lstat(filepath.Join(root, gone)); !os.IsNotExist(err) {
				t.Errorf("%s: %v", gone, err)
			}
		}
		if text := get(t, filepath.Join(root, "etc/obdagent/config.toml")); text != seedConfig {
			t.Errorf("the configuration is %s", text)
		}
	}
}

// Without the installer's list nothing is its.
func TestTheIPKLeavesOthersFilesToOpkg(t *testing.T) {
	t.Parallel()
	root := procdRoot(t)
	put(t, filepath.Join(root, "usr/bin/obdagent"), "somebody's")
	before := tree(t, root)
	c := exec.CommandContext(t.Context(), "sh", "-u", "package/ipk.preinst", "install")
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "IPKG_INSTROOT=" + root}
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	same(t, "a system without the installer's list", before, tree(t, root))
}
