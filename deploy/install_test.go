package deploy_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdagent/deploy"
)

// roots are the systems that can be installed onto, with the paths that must be there then.
var roots = map[string]struct {
	make func(*testing.T) string
	want []string
}{
	"systemd": {systemdRoot, []string{"/usr/bin/obdagent", "/etc/obdagent/config.toml", "/usr/lib/systemd/system/obdagent.service",
		"/usr/lib/systemd/system/obdagent-seed.service", "/usr/lib/udev/rules.d/70-obdagent.rules",
		"/etc/systemd/system/multi-user.target.wants/obdagent.service", "/etc/systemd/system/multi-user.target.wants/obdagent-seed.service"}},
	"procd": {procdRoot, []string{"/usr/bin/obdagent", "/etc/obdagent/config.toml", "/etc/init.d/obdagent", "/lib/upgrade/keep.d/obdagent",
		"/etc/rc.d/S95obdagent", "/etc/rc.d/K10obdagent"}},
}

func forEachRoot(t *testing.T, test func(t *testing.T, root string, want []string)) {
	t.Helper()
	for name, r := range roots {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, r.make(t), r.want)
		})
	}
}

func TestInstallPutsAllThereAndUninstallExactlyThatAway(t *testing.T) {
	t.Parallel()
	forEachRoot(t, func(t *testing.T, root string, want []string) {
		before := tree(t, root)
		binary := program(t, arm64, "1")
		changes := install(t, root, binary)
		after := tree(t, root)
		for _, path := range want {
			if after[path] == "" || changes[path] == "" {
				t.Errorf("%s is not there, or not told of: %q, %q", path, after[path], changes[path])
			}
			// Links must lead to what is within the root.
			if target, err := os.Readlink(filepath.Join(root, path)); err == nil {
				if !filepath.IsAbs(target) {
					target = filepath.Join(filepath.Dir(path), target)
				}
				if after[target] == "" {
					t.Errorf("%s leads to %s, which is not there", path, target)
				}
			}
		}
		if get(t, filepath.Join(root, "usr/bin/obdagent")) != get(t, binary) || !strings.HasPrefix(after["/usr/bin/obdagent"], "-rwxr-xr-x") {
			t.Errorf("the program is %s", after["/usr/bin/obdagent"])
		}
		if len(changes) != len(want) {
			t.Errorf("%d changes, want %d: %v", len(changes), len(want), changes)
		}
		uninstall(t, deploy.UninstallOptions{Root: root})
		same(t, "after uninstall", before, tree(t, root))
		if again := uninstall(t, deploy.UninstallOptions{Root: root}); len(again) != 0 {
			t.Errorf("a second uninstall did something: %v", again)
		}
	})
}

func TestInstallTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	forEachRoot(t, func(t *testing.T, root string, _ []string) {
		binary := program(t, arm64, "1")
		install(t, root, binary)
		after := tree(t, root)
		past := time.Unix(1e9, 0)
		for path := range after {
			if info, err := os.Lstat(root + path); err == nil && info.Mode().IsRegular() {
				if err := os.Chtimes(root+path, past, past); err != nil {
					t.Fatal(err)
				}
			}
		}
		for path, what := range install(t, root, binary) {
			if what != "unchanged" {
				t.Errorf("%s: %s", path, what)
			}
		}
		same(t, "after the second time", after, tree(t, root))
		for path := range after {
			if info, err := os.Lstat(root + path); err == nil && info.Mode().IsRegular() && !info.ModTime().Equal(past) {
				t.Errorf("%s was written again", path)
			}
		}
	})
}

func TestANewerVersionKeepsWhatIsTheUsers(t *testing.T) {
	t.Parallel()
	forEachRoot(t, func(t *testing.T, root string, want []string) {
		before := tree(t, root)
		install(t, root, program(t, arm64, "1"))
		const own = "[vehicle]\ndevice_id = \"van-212\"\n"
		put(t, filepath.Join(root, "etc/obdagent/config.toml"), own)
		put(t, filepath.Join(root, "etc/obdagent/key.pem"), "secret")
		put(t, filepath.Join(root, "var/lib/private/obdagent/buffer/1.seg"), "records")
		disabled := want[len(want)-1]
		if err := os.Remove(root + disabled); err != nil {
			t.Fatal(err)
		}
		newer := program(t, arm64, "2")
		changes := install(t, root, newer)
		if get(t, filepath.Join(root, "usr/bin/obdagent")) != get(t, newer) {
			t.Error("the program is the old one")
		}
		if changes["/etc/obdagent/config.toml"] != "kept as it is" || get(t, filepath.Join(root, "etc/obdagent/config.toml")) != own {
			t.Errorf("the user's configuration: %s", changes["/etc/obdagent/config.toml"])
		}
		if _, err := os.Lstat(root + disabled); err == nil || !strings.Contains(changes[disabled], "disabled") {
			t.Errorf("what was disabled is enabled again: %s", changes[disabled])
		}
		uninstall(t, deploy.UninstallOptions{Root: root})
		left := differences(before, tree(t, root))
		wantLeft := []string{"/etc/obdagent:", "/etc/obdagent/config.toml:", "/etc/obdagent/key.pem:", "/var:", "/var/lib:", "/var/lib/private:",
			"/var/lib/private/obdagent:", "/var/lib/private/obdagent/buffer:", "/var/lib/private/obdagent/buffer/1.seg:"}
		if len(left) != len(wantLeft) {
			t.Fatalf("left is %q", left)
		}
		for i := range left {
			if !strings.HasPrefix(left[i], wantLeft[i]) {
				t.Errorf("left is %q, want %s", left[i], wantLeft[i])
			}
		}
		link(t, filepath.Join(root, "var/lib/obdagent"), "private/obdagent")
		uninstall(t, deploy.UninstallOptions{Root: root, Purge: true})
		for _, path := range differences(before, tree(t, root)) {
			if strings.Contains(path, "obdagent") {
				t.Errorf("left after --purge: %s", path)
			}
		}
	})
}

func TestWhatChangedSinceStaysOnUninstall(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	install(t, root, program(t, arm64, "1"))
	unit := "/usr/lib/systemd/system/obdagent.service"
	put(t, root+unit, "[Service]\n")
	changes := uninstall(t, deploy.UninstallOptions{Root: root})
	if !strings.HasPrefix(changes[unit], "kept") || get(t, root+unit) != "[Service]\n" {
		t.Errorf("%s: %s", unit, changes[unit])
	}
}

func TestAnEditedConfigurationThatWasDeletedStaysDeleted(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	binary := program(t, arm64, "1")
	install(t, root, binary)
	config := filepath.Join(root, "etc/obdagent/config.toml")
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	install(t, root, binary)
	if _, err := os.Stat(config); err == nil {
		t.Error("it is there again")
	}
}

func TestInstallRefusesAndChangesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(t *testing.T, root string)
		program func(t *testing.T) string
		want    string
	}{
		"a directory that is no root": {func(t *testing.T, root string) {
			if err := os.Rename(filepath.Join(root, "etc"), filepath.Join(root, "cte")); err != nil {
				t.Fatal(err)
			}
		}, nil, "holds no Linux system"},
		"an unknown init": {func(t *testing.T, root string) {
			if err := os.Remove(filepath.Join(root, "usr/lib/systemd/systemd")); err != nil {
				t.Fatal(err)
			}
		}, nil, "has neither systemd nor OpenWrt's procd"},
		"another processor's program": {nil, func(t *testing.T) string { return program(t, amd64, "1") },
			"is for amd64, and the programs in ROOT are for arm64: name the right one with --binary"},
		"another program": {nil, func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "obdfleet")
			put(t, path, elf(arm64, "path\tobdagent/cmd/obdfleet\n"))
			return path
		}, "is not obdagent"},
		"no program": {nil, func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, "no such file"},
		"a script": {nil, func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "obdagent")
			put(t, path, "#!/bin/sh\npath\tobdagent/cmd/obdagent\n")
			return path
		}, "is not obdagent"},
		"somebody's own unit": {func(t *testing.T, root string) {
			put(t, filepath.Join(root, "usr/lib/systemd/system/obdagent.service"), "[Service]\n")
		}, nil, "usr/lib/systemd/system/obdagent.service is there already, and is not from here: move it away first"},
		"a directory in the program's place": {func(t *testing.T, root string) {
			put(t, filepath.Join(root, "usr/bin/obdagent/x"), "")
		}, nil, "usr/bin/obdagent is there and is no regular file"},
		"a package's files": {func(t *testing.T, root string) {
			put(t, filepath.Join(root, "usr/share/obdagent/config.toml"), "")
		}, nil, "the package obdagent is installed in ROOT: update it with apt-get install"},
		"a unit that is masked": {func(t *testing.T, root string) {
			link(t, filepath.Join(root, "etc/systemd/system/obdagent.service"), "/dev/null")
		}, nil, "ROOT/etc/systemd/system/obdagent.service masks the unit, as apt-get remove does: systemctl unmask obdagent.service first"},
		"a seed unit that is masked": {func(t *testing.T, root string) {
			link(t, filepath.Join(root, "etc/systemd/system/obdagent-seed.service"), "/dev/null")
		}, nil, "systemctl unmask obdagent-seed.service first"},
		"a link out of the root": {func(t *testing.T, root string) {
			outside := filepath.Join(t.TempDir(), "outside")
			put(t, filepath.Join(outside, "multi-user.target.wants/x"), "")
			link(t, filepath.Join(root, "etc/systemd/system"), outside)
		}, nil, "escapes"},
		"a manifest that is none": {func(t *testing.T, root string) {
			put(t, filepath.Join(root, "usr/lib/obdagent/installed.json"), "{")
		}, nil, "read what an earlier installation left"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := systemdRoot(t)
			if test.prepare != nil {
				test.prepare(t, root)
			}
			binary := ""
			if test.program != nil {
				binary = test.program(t)
			} else {
				binary = program(t, arm64, "1")
			}
			before := tree(t, root)
			_, err := deploy.Install(deploy.InstallOptions{Root: root, Program: binary})
			if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), root, "ROOT"), test.want) {
				t.Errorf("said %v, want %s", err, test.want)
			}
			same(t, "refused", before, tree(t, root))
		})
	}
}

func TestAPackagesFilesAreLeftToItsManager(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	install(t, root, program(t, arm64, "1"))
	put(t, filepath.Join(root, "usr/share/licenses/obdagent/LICENSE"), "")
	before := tree(t, root)
	stopped := false
	stop := func() error { stopped = true; return nil }
	_, err := deploy.Uninstall(deploy.UninstallOptions{Root: root, Purge: true, Stop: stop})
	if err == nil || !strings.Contains(err.Error(), "dnf remove obdagent") {
		t.Errorf("said %v", err)
	}
	if stopped {
		t.Error("the package's daemon was stopped")
	}
	same(t, "refused", before, tree(t, root))
}

func TestTheDaemonIsStoppedBeforeItIsTakenAway(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	bare := tree(t, root)
	install(t, root, program(t, arm64, "1"))
	before := tree(t, root)
	refusal := errors.New("it does not stop")
	if _, err := deploy.Uninstall(deploy.UninstallOptions{Root: root, Stop: func() error { return refusal }}); !errors.Is(err, refusal) {
		t.Errorf("said %v", err)
	}
	same(t, "not stopped", before, tree(t, root))
	stops := 0
	stop := func() error {
		stops++
		same(t, "when it is stopped", before, tree(t, root))
		return nil
	}
	for range 2 { // the second time nothing is there to be stopped
		if _, err := deploy.Uninstall(deploy.UninstallOptions{Root: root, Stop: stop}); err != nil {
			t.Fatal(err)
		}
	}
	if stops != 1 {
		t.Errorf("stopped %d times", stops)
	}
	same(t, "uninstalled", bare, tree(t, root))
}

func TestTheProgramCopiedByHandIsNotTakenAway(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	binary := program(t, arm64, "1")
	put(t, filepath.Join(root, "usr/bin/obdagent"), get(t, binary))
	before := tree(t, root)
	install(t, root, filepath.Join(root, "usr/bin/obdagent"))
	uninstall(t, deploy.UninstallOptions{Root: root})
	same(t, "after uninstall", before, tree(t, root))
}

func TestInstallCarriesOnAfterAPowerCut(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	before := tree(t, root)
	first, second := program(t, arm64, "1"), program(t, arm64, "2")
	install(t, root, first)
	uncut := tree(t, root)
	install(t, root, second)
	uncutUpdate := tree(t, root)
	uninstall(t, deploy.UninstallOptions{Root: root})
	interrupted := func(program string, powerCut func(op, file string) error) error {
		_, err := deploy.Install(deploy.InstallOptions{Root: root, Program: program}.WithBefore(powerCut))
		return err
	}
	// The same power cut may come several times: each time it leaves the work a little further on.
	atEachMoment(t, func(t *testing.T, powerCut func() func(op, file string) error) error {
		err := interrupted(first, powerCut())
		uninstall(t, deploy.UninstallOptions{Root: root})
		same(t, "taken back", before, tree(t, root))
		_ = interrupted(first, powerCut())
		install(t, root, first)
		same(t, "carried on", uncut, tree(t, root))
		_ = interrupted(second, powerCut())
		if got := get(t, filepath.Join(root, "usr/bin/obdagent")); got != get(t, first) && got != get(t, second) {
			t.Error("the program is neither the old one nor the new one")
		}
		install(t, root, second)
		same(t, "updated", uncutUpdate, tree(t, root))
		_ = interrupted(first, powerCut())
		uninstall(t, deploy.UninstallOptions{Root: root})
		same(t, "an update taken back", before, tree(t, root))
		return err
	})
}

func TestUninstallCarriesOnAfterAPowerCut(t *testing.T) {
	t.Parallel()
	forEachRoot(t, func(t *testing.T, root string, _ []string) {
		before := tree(t, root)
		binary := program(t, arm64, "1")
		atEachMoment(t, func(t *testing.T, powerCut func() func(op, file string) error) error {
			install(t, root, binary)
			_, err := deploy.Uninstall(deploy.UninstallOptions{Root: root}.WithBefore(powerCut()))
			uninstall(t, deploy.UninstallOptions{Root: root})
			same(t, "carried on", before, tree(t, root))
			return err
		})
	})
}

func TestAnImageWithAnIdentityIsTold(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": false, "\n": false, "uninitialized\n": false, "0123456789abcdef0123456789abcdef\n": true} {
		root := systemdRoot(t)
		put(t, filepath.Join(root, "etc/machine-id"), text)
		if got := deploy.MachineIDSet(root); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
	if deploy.MachineIDSet(t.TempDir()) {
		t.Error("an identity where there is none")
	}
}

func TestOpenWrtKeepsRecordsOnFlash(t *testing.T) {
	t.Parallel()
	config := deploy.OpenWrtConfig()
	for _, line := range []string{`dir = "/srv/obdagent/buffer"`, `max_bytes = "8MiB"`, `log = "/srv/obdagent/status.log"`, `socket = "/var/run/obdagent/status.sock"`} {
		if !strings.Contains(config, "\n"+line+"\n") {
			t.Errorf("the configuration lacks %s", line)
		}
	}
}

// TestTheRulesThatDetectWroteGoWithTheConfiguration, whose names of ports they make: they stay without --purge, and go with it. What somebody
// else has put there stays.
func TestTheRulesThatDetectWroteGoWithTheConfiguration(t *testing.T) {
	t.Parallel()
	for text, wantGone := range map[string]bool{
		deploy.PortRulesMark + " Who plugs them into other sockets runs it again.\n# adapter: no serial number, so it is known by its socket\n": true,
		"# mine\n" + deploy.PortRulesMark + "\n": false,
	} {
		root := systemdRoot(t)
		install(t, root, program(t, arm64, "1"))
		rules := filepath.Join(root, deploy.PortRules)
		put(t, rules, text)
		uninstall(t, deploy.UninstallOptions{Root: root})
		if get(t, rules) != text {
			t.Fatal("uninstall has changed them")
		}
		changes := uninstall(t, deploy.UninstallOptions{Root: root, Purge: true})
		_, err := os.Stat(rules)
		if gone := errors.Is(err, os.ErrNotExist); gone != wantGone || strings.HasPrefix(changes[deploy.PortRules], "kept") == wantGone {
			t.Errorf("%q: gone %t, %s", text, gone, changes[deploy.PortRules])
		}
	}
}
