package deploy_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"obdagent/deploy"
)

// Processors, as ELF calls them.
const (
	amd64 = 62
	arm64 = 183
)

// elf is the head of a program for a 64-bit little-endian processor, and then text.
func elf(machine uint16, text string) string {
	head := make([]byte, 64)
	copy(head, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(head[18:], machine)
	return string(head) + text
}

// program writes a file that passes for the program, and returns its path.
func program(t *testing.T, machine uint16, version string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "obdagent")
	put(t, path, elf(machine, "path\tobdagent/cmd/obdagent\nversion "+version))
	return path
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// memoryDir is a directory for the test, in memory where that is possible: each change is synced, and there are many.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "obdagent-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// systemdRoot makes what matters of a Debian for arm64, with things in it that are nobody's business.
func systemdRoot(t *testing.T) string {
	t.Helper()
	root := memoryDir(t)
	for file, text := range map[string]string{
		"usr/lib/systemd/systemd": elf(arm64, ""), "usr/bin/env": elf(arm64, ""), "etc/machine-id": "",
		"usr/lib/systemd/system/ssh.service": "[Unit]\n", "usr/lib/udev/rules.d/60-serial.rules": "", "etc/hostname": "van\n",
	} {
		put(t, filepath.Join(root, file), text)
	}
	link(t, filepath.Join(root, "bin"), "usr/bin")
	link(t, filepath.Join(root, "lib"), "usr/lib")
	return root
}

// procdRoot makes what matters of an OpenWrt.
func procdRoot(t *testing.T) string {
	t.Helper()
	root := memoryDir(t)
	for file, text := range map[string]string{
		"sbin/procd": elf(arm64, ""), "bin/busybox": elf(arm64, ""), "usr/bin/env": "", "etc/init.d/boot": "", "etc/rc.d/S10boot": "", "usr/lib/libc.so": "", "lib/upgrade/keep.d/base": "",
	} {
		put(t, filepath.Join(root, file), text)
	}
	link(t, filepath.Join(root, "bin/sh"), "busybox")
	return root
}

func link(t *testing.T, path, target string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// tree describes all below a directory: kind, mode, and what is in it.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += " -> " + target
		case e.Type().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(text)
			what += " " + hex.EncodeToString(sum[:8])
		}
		all[strings.TrimPrefix(path, root)] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// differences are the paths at which two trees differ.
func differences(a, b map[string]string) (paths []string) {
	for _, path := range slices.Sorted(maps.Keys(a)) {
		if a[path] != b[path] {
			paths = append(paths, fmt.Sprintf("%s: %q, then %q", path, a[path], b[path]))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[path]; !ok {
			paths = append(paths, fmt.Sprintf("%s: nothing, then %q", path, b[path]))
		}
	}
	return paths
}

func same(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	for _, d := range differences(want, got) {
		t.Errorf("%s: %s", what, d)
	}
}

func install(t *testing.T, root, program string) map[string]string {
	t.Helper()
	changes, err := deploy.Install(deploy.InstallOptions{Root: root, Program: program})
	if err != nil {
		t.Fatal(err)
	}
	return done(changes)
}

func uninstall(t *testing.T, o deploy.UninstallOptions) map[string]string {
	t.Helper()
	changes, err := deploy.Uninstall(o)
	if err != nil {
		t.Fatal(err)
	}
	return done(changes)
}

// done is what was done with each path.
func done(changes []deploy.Change) map[string]string {
	all := map[string]string{}
	for _, c := range changes {
		all[c.Path] = c.What
	}
	return all
}

// atEachMoment calls try with a power cut before the first change, before the second, and so on until there is none any more.
// A power cut is what powerCut returns: it lets so many changes through and then ends the work.
func atEachMoment(t *testing.T, try func(t *testing.T, powerCut func() func(op, file string) error) error) {
	t.Helper()
	for n := range 1000 {
		var log []string
		err := try(t, func() func(op, file string) error {
			log = nil
			return func(op, file string) error {
				if len(log) == n {
					return deploy.ErrPowerCut
				}
				log = append(log, op+" "+file)
				return nil
			}
		})
		if t.Failed() {
			t.Fatalf("the power cut was after %d changes, the last time after %q", n, log)
		}
		if err == nil {
			if n < 3 {
				t.Fatalf("only %d changes: %q", n, log)
			}
			return
		}
		if !errors.Is(err, deploy.ErrPowerCut) {
			t.Fatal(err)
		}
	}
	t.Fatal("it does not end")
}
