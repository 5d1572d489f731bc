package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"obdagent/agent/agenttest"
	"obdagent/agent/doctor"
	"obdagent/deploy"
)

// image makes what matters of a root file system with systemd, for this machine's processor.
func image(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"usr/lib/systemd/systemd", "usr/bin/env"} {
		writeFile(t, filepath.Join(dir, file), string(program[:64]))
	}
	writeFile(t, filepath.Join(dir, "etc/machine-id"), "0123456789abcdef0123456789abcdef\n")
	return dir
}

// asRoot skips a test of what only root may do.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may install")
	}
}

func TestInstallProvisionUninstall(t *testing.T) {
	t.Parallel()
	asRoot(t)
	root := image(t)
	r := inProcess(t, "install", "--root", root)
	if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, "/usr/bin/obdagent: written\n") ||
		!strings.Contains(r.stdout, root+": it starts with the next boot\n") || !strings.Contains(r.stdout, "truncate -s 0 "+root+"/etc/machine-id\n") {
		t.Fatalf("install: %+v", r)
	}
	// What it put there runs, and its configuration is one.
	installed := exec.CommandContext(t.Context(), filepath.Join(root, "usr/bin/obdagent"), "config", "check", "--config", filepath.Join(root, "etc/obdagent/config.toml"))
	installed.Env = surroundings(root)
	if out, err := installed.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "OK: ") {
		t.Errorf("%v: %s", err, out)
	}

	writeFile(t, filepath.Join(root, "boot/obdagent.toml"), "[obd]\nport = \"ttyUSB0\"\n")
	if r := inProcess(t, "provision", "--root", root); r.code != 1 || !isOneLine(r.stderr) || !strings.Contains(r.stderr, "obdagent.toml:2: obd.port:") {
		t.Errorf("a wrong seed: %+v", r)
	}
	writeFile(t, filepath.Join(root, "boot/obdagent.toml"), "[obd]\nport = \"/dev/ttyUSB0\"\n")
	if r := inProcess(t, "provision", "--root", root); r.code != 0 || r.stderr != "" || r.stdout != "/etc/obdagent/config.toml: installed, mode 0644\n/boot/obdagent.toml: erased\n" {
		t.Errorf("a seed: %+v", r)
	}
	if r := inProcess(t, "provision", "--root", root); r.code != 0 || r.stderr != "" || r.stdout != "" {
		t.Errorf("no seed: %+v", r)
	}

	if r := inProcess(t, "uninstall", "--root", root); r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, "/etc/obdagent/config.toml: kept, as it was changed since it was installed\n") {
		t.Errorf("uninstall: %+v", r)
	}
	if r := inProcess(t, "uninstall", "--root", root, "--purge"); r.code != 0 || r.stderr != "" || r.stdout != "/etc/obdagent: removed\n" {
		t.Errorf("uninstall --purge: %+v", r)
	}
	if r := inProcess(t, "uninstall", "--root", root); r.code != 0 || r.stderr != "" || r.stdout != root+": obdagent install has put nothing there\n" {
		t.Errorf("uninstall again: %+v", r)
	}
}

func TestInstallIsOneLineWhereItCannotBe(t *testing.T) {
	t.Parallel()
	asRoot(t)
	root := image(t)
	for line, want := range map[string]string{
		"install --root DIR/none":                "no such file or directory",
		"install --root DIR/usr":                 "holds no Linux system",
		"install --root DIR --binary DIR/none":   "no such file or directory",
		"install --root DIR --binary DIR/usr":    "is a directory",
		"uninstall --root DIR/usr":               "holds no Linux system",
		"provision --root DIR/none":              "no such file or directory",
		"install --root DIR --binary /dev/null":  "is not obdagent",
		"install --root DIR/etc/machine-id":      "not a directory",
		"uninstall --purge --root DIR/usr/lib/x": "no such file or directory",
	} {
		if said := mistake(t, 1, words(line, root)...); !strings.Contains(said, want) {
			t.Errorf("%s: %s", line, said)
		}
	}
}

// TestOnlyRootInstalls runs the program as nobody, unless this is not root anyway.
func TestOnlyRootInstalls(t *testing.T) {
	t.Parallel()
	program, root := os.Args[0], t.TempDir()
	if os.Geteuid() == 0 {
		// A place where nobody may run it: directories of tests are the tester's alone.
		dir, err := os.MkdirTemp("", "obdagent-test-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		text, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		program, root = filepath.Join(dir, "obdagent"), dir
		if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, text, 0o755), os.Chmod(program, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"install", "uninstall", "provision"} {
		c := exec.CommandContext(t.Context(), program, name, "--root", root)
		c.Dir, c.Env = "/", surroundings(root)
		if os.Geteuid() == 0 {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, err := c.CombinedOutput()
		if errors.Is(err, syscall.EPERM) && agenttest.Emulated() {
			t.Skip("the user namespace that the emulator is made known in has one user only")
		}
		var ended *exec.ExitError
		if !errors.As(err, &ended) || ended.ExitCode() != 1 || string(out) != "obdagent "+name+": only root may do this: try it with sudo\n" {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
}

// TestUninstallKnowsTheRulesThatDetectWrites: package deploy imports nothing of ours, and so has their name and beginning of its own.
func TestUninstallKnowsTheRulesThatDetectWrites(t *testing.T) {
	t.Parallel()
	text, _ := doctor.Rules("", &doctor.Found{Port: "/dev/ttyUSB0", Kind: doctor.KindAdapter, IDPath: "platform-xhci-usb-0:1.2:1.0"}, nil)
	if doctor.RulesFile != deploy.PortRules || !strings.HasPrefix(text, deploy.PortRulesMark) {
		t.Errorf("%s: %s", doctor.RulesFile, text)
	}
}
