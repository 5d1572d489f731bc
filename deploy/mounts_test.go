package deploy_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"obdagent/deploy"
)

// A seed is erased once it is installed: on a board that forgets what is installed, it has to stay.
func TestASeedStaysWhereTheBoardWouldForgetIt(t *testing.T) {
	t.Parallel()
	const proc = "21 1 0:20 / /proc rw,relatime - proc proc rw\n"
	for name, test := range map[string]struct{ mounts, want string }{
		"a disk":                        {proc + "26 1 179:2 / / rw,noatime - ext4 /dev/mmcblk0p2 rw\n27 26 0:24 / /run rw - tmpfs tmpfs rw,size=1k\n", ""},
		"Raspberry Pi OS, overlayroot":  {"30 1 0:27 / / rw,relatime shared:1 - overlay overlayroot rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/overlay,workdir=/media/root-rw/overlay-workdir/_\n31 30 0:26 / /media/root-rw rw shared:2 - tmpfs tmpfs-root rw\n", "an overlay on tmpfs"},
		"the same, below the seed unit": {"30 1 0:27 / / ro - overlay overlayroot rw,upperdir=/media/root-rw/overlay\n31 30 0:26 / /media/root-rw ro - tmpfs tmpfs-root rw\n40 30 0:27 /etc/obdagent /etc/obdagent rw - overlay overlayroot rw,upperdir=/media/root-rw/overlay\n", "an overlay on tmpfs"},
		"an overlay that lasts":         {"30 1 0:27 / / rw - overlay overlayroot rw,upperdir=/media/root-rw/overlay\n31 30 179:3 / /media/root-rw rw - ext4 /dev/mmcblk0p3 rw\n", ""},
		"OpenWrt": {"14 1 31:5 / /rom ro,relatime - squashfs /dev/root ro\n17 1 31:6 / /overlay rw,noatime - jffs2 /dev/mtdblock6 rw\n18 1 0:14 / / rw,noatime - overlay overlayfs:/overlay rw,lowerdir=/,upperdir=/overlay/upper,workdir=/overlay/work\n" +
			"19 18 0:15 / /tmp rw,nosuid - tmpfs tmpfs rw\n", ""},
		"OpenWrt before its flash is ready": {"18 1 0:14 / / rw,noatime - overlay overlayfs:/tmp/root rw,lowerdir=/,upperdir=/tmp/root/upper,workdir=/tmp/root/work\n19 18 0:15 / /tmp rw,nosuid - tmpfs tmpfs rw\n", "an overlay on tmpfs"},
		"the whole system in memory":        {"1 1 0:2 / / rw - ramfs none rw\n", "ramfs"},
		"/etc on an overlay, with a blank":  {"26 1 179:2 / / ro - ext4 /dev/mmcblk0p2 ro\n27 26 0:3 / /mnt/in\\040memory rw - tmpfs t rw\n28 26 0:4 / /etc rw - overlay o rw,upperdir=/mnt/in\\040memory/etc\n", "an overlay on tmpfs"},
		"a read-only overlay":               {"30 1 0:27 / / ro - overlay o ro,lowerdir=/a:/b\n", ""},
		"a container's":                     {"30 1 0:27 / / rw - overlay overlay rw,upperdir=/var/lib/docker/overlay2/6f/diff\n", ""},
		"overlay on overlay on memory":      {"30 1 0:1 / / rw - overlay o rw,upperdir=/a/u\n31 30 0:2 / /a rw - overlay o rw,upperdir=/b/u\n32 30 0:3 / /b rw - tmpfs t rw\n", "an overlay on tmpfs"},
		"overlays on one another":           {"30 1 0:1 / / rw - overlay o rw,upperdir=/a/u\n31 30 0:2 / /a rw - overlay o rw,upperdir=/u\n", ""},
		"of two at one point the last":      {"30 1 179:2 / / rw - ext4 e rw\n31 30 0:2 / /etc rw - tmpfs t rw\n32 31 179:3 / /etc rw - ext4 e rw\n", ""},
		"a neighbour's name":                {"30 1 179:2 / / rw - ext4 e rw\n31 30 0:2 / /etc/obd rw - tmpfs t rw\n", ""},
		"lines that are none":               {"\n- -\n30 1 0:1 / /\n30 1 0:1 / / rw - tmpfs\n30 1 0:1 / /etc\\9 rw - tmpfs t \\\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := systemdRoot(t)
			put(t, filepath.Join(root, "boot/obdagent.toml"), seedConfig)
			changes, err := deploy.TakeSeed(deploy.SeedOptions{Root: root, Config: checkConfig}.WithMounts(test.mounts))
			_, missing := os.Stat(filepath.Join(root, "boot/obdagent.toml"))
			if test.want == "" {
				if err != nil || !errors.Is(missing, os.ErrNotExist) {
					t.Errorf("not taken over: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "/etc/obdagent is in memory ("+test.want+")") || strings.Contains(err.Error(), "\n") || len(changes) > 0 {
				t.Errorf("done %v, said %v", changes, err)
			}
			if missing != nil || !strings.Contains(get(t, filepath.Join(root, "boot/obdagent-error.txt")), test.want) {
				t.Errorf("the seed: %v", missing)
			}
			if _, err := os.Stat(filepath.Join(root, "etc/obdagent")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("/etc/obdagent: %v", err)
			}
		})
	}
}

// What Place was stopped with lies below the overlay, where it is found at each start: it is taken over for each.
func TestAPlacedSeedIsTakenOverInMemoryToo(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	cert, key := certificate(t)
	for name, text := range map[string]string{"obdagent.toml": seedConfig, "obdagent-cert.pem": cert, "obdagent-key.pem": key} {
		put(t, filepath.Join(root, "etc/obdagent/seed", name), text)
	}
	put(t, filepath.Join(root, "etc/obdagent/config.toml"), seedConfig)
	put(t, filepath.Join(root, "etc/obdagent/cert.pem"), "another board's")
	o := deploy.SeedOptions{Root: root, Config: checkConfig}.WithMounts("30 1 0:27 / / rw - overlay o rw,upperdir=/media/root-rw/overlay\n31 30 0:26 / /media/root-rw rw - tmpfs t rw\n")
	if _, err := deploy.TakeSeed(o); err != nil {
		t.Fatal(err)
	}
	if get(t, filepath.Join(root, "etc/obdagent/cert.pem")) != cert || get(t, filepath.Join(root, "etc/obdagent/key.pem")) != key {
		t.Error("the board starts with another's certificate")
	}
	if _, err := os.Stat(filepath.Join(root, "etc/obdagent/seed")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the seed: %v", err)
	}
}

// conditions are the paths, as patterns, of which one has to be there for the seed's unit to be started.
func conditions(t *testing.T) (patterns []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^ConditionPathExists(?:Glob)?=\|(.*)$`).FindAllStringSubmatch(deploy.SeedUnit, -1) {
		patterns = append(patterns, m[1])
	}
	if len(patterns) < 4 {
		t.Fatalf("the seed's unit has the conditions %q", patterns)
	}
	return patterns
}

// Wherever Place is stopped, the board's next start begins the seed's unit if there is anything left of a key, and that takes it away.
func TestWhereverPlaceIsStoppedTheSeedsUnitIsStarted(t *testing.T) {
	t.Parallel()
	met := func(root string) bool {
		return slices.ContainsFunc(conditions(t), func(pattern string) bool {
			found, err := filepath.Glob(root + pattern)
			if err != nil {
				t.Fatal(err)
			}
			return len(found) > 0
		})
	}
	b := newBoard(t, "van-212")
	cuts := 0
	for cut := 1; ; cut++ {
		root := systemdRoot(t)
		put(t, filepath.Join(root, "usr/bin/obdagent"), "program")
		n := 0
		_, err := deploy.Place(b.onto(root).WithBefore(func(string, string) error {
			if n++; n == cut {
				return deploy.ErrPowerCut
			}
			return nil
		}))
		if err == nil {
			break
		}
		if !errors.Is(err, deploy.ErrPowerCut) {
			t.Fatal(err)
		}
		cuts++
		left := func() (files []string) {
			err := filepath.WalkDir(filepath.Join(root, "etc/obdagent"), func(path string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() && path != filepath.Join(root, "etc/obdagent/key.pem") && strings.Contains(get(t, path), "PRIVATE KEY") {
					files = append(files, path)
				}
				return err
			})
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			return files
		}
		if files := left(); len(files) > 0 && !met(root) {
			t.Errorf("stopped at step %d: %v lie there, and nothing is started", cut, files)
		}
		if _, err := takeSeed(root); err != nil {
			t.Fatal(err)
		}
		if files := left(); len(files) > 0 {
			t.Errorf("stopped at step %d, and then started: %v lie there", cut, files)
		}
	}
	if cuts < 10 {
		t.Errorf("%d steps only", cuts)
	}
}

// obdfleet enroll --boot writes KEY.new and renames it: stopped in between, it leaves a key.
func TestWhatEnrollLeftUnfinishedIsErased(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	left := filepath.Join(root, "boot/firmware/obdagent-key.pem.new")
	_, key := certificate(t)
	put(t, left, key)
	if changes, err := takeSeed(root); err != nil || len(changes) > 0 {
		t.Errorf("%v, %v", changes, err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", left, err)
	}
}
