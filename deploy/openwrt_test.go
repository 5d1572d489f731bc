package deploy_test

import (
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
	scripts = append(scripts, "testdata/board.sh", "obdagent.init")
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
