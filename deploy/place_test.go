package deploy_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"obdagent/deploy"
)

// An enrolled board is what enrolling has made for one: its seed, in a directory of its own.
type enrolled struct{ dir, config, cert, key string }

func newBoard(t *testing.T, name string) enrolled {
	t.Helper()
	cert, key := certificate(t)
	b := enrolled{memoryDir(t), "[vehicle]\ndevice_id = \"" + name + "\"\n", cert, key}
	for file, text := range map[string]string{deploy.SeedConfig: b.config, deploy.SeedCert: cert, deploy.SeedKey: key, "enrolled.json": "{}"} {
		put(t, filepath.Join(b.dir, file), text)
	}
	return b
}

func (b enrolled) onto(root string) deploy.PlaceOptions {
	return deploy.PlaceOptions{Root: root, From: b.dir, Config: checkConfig}
}

// isOn reports whether a root is this board's and nobody else's.
func (b enrolled) isOn(t *testing.T, root string) bool {
	t.Helper()
	for file, text := range map[string]string{"config.toml": b.config, "cert.pem": b.cert, "key.pem": b.key} {
		got, err := os.ReadFile(filepath.Join(root, "etc/obdagent", file))
		if err != nil || string(got) != text {
			return false
		}
	}
	return true
}

func place(t *testing.T, o deploy.PlaceOptions) map[string]string {
	t.Helper()
	changes, err := deploy.Place(o)
	if err != nil {
		t.Fatal(err)
	}
	return done(changes)
}

// TestPlacedIsWhatABootWouldHaveMade: an image with a board's files placed is, to the last mode, one that has booted with them as its seed.
func TestPlacedIsWhatABootWouldHaveMade(t *testing.T) {
	t.Parallel()
	van := newBoard(t, "van-212")
	for name, make := range map[string]func(*testing.T) string{"systemd": systemdRoot, "OpenWrt": procdRoot} {
		placed, booted := make(t), make(t)
		for _, root := range []string{placed, booted} {
			install(t, root, program(t, arm64, "1"))
		}
		before := tree(t, placed)
		for _, file := range []string{deploy.SeedConfig, deploy.SeedCert, deploy.SeedKey} {
			put(t, filepath.Join(booted, "boot", file), get(t, filepath.Join(van.dir, file)))
		}
		if _, err := takeSeed(booted); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(booted, "boot")); err != nil {
			t.Fatal(err)
		}
		got := place(t, van.onto(placed))
		if len(got) != 3 || got["/etc/obdagent/config.toml"] != "installed, mode 0644" || got["/etc/obdagent/cert.pem"] != "installed, mode 0600" || got["/etc/obdagent/key.pem"] != "installed, mode 0600" {
			t.Errorf("%s: %v", name, got)
		}
		same(t, name, tree(t, booted), tree(t, placed))

		// Again, and without the seed's directory having been touched.
		if again := place(t, van.onto(placed)); len(again) != 3 || again["/etc/obdagent/key.pem"] != "unchanged" {
			t.Errorf("%s: again %v", name, again)
		}
		same(t, name+": again", tree(t, booted), tree(t, placed))
		if get(t, filepath.Join(van.dir, deploy.SeedKey)) != van.key {
			t.Errorf("%s: the desk's own copy is gone", name)
		}
		// A mode that somebody has opened is closed.
		if err := os.Chmod(filepath.Join(placed, "etc/obdagent/key.pem"), 0o644); err != nil {
			t.Fatal(err)
		}
		place(t, van.onto(placed))
		same(t, name+": opened", tree(t, booted), tree(t, placed))

		// Uninstalling leaves what makes the board this one, and with Purge nothing but what was there before installing.
		uninstall(t, deploy.UninstallOptions{Root: placed})
		if !van.isOn(t, placed) {
			t.Errorf("%s: uninstalling took the identity away", name)
		}
		uninstall(t, deploy.UninstallOptions{Root: placed, Purge: true})
		for path := range tree(t, placed) {
			if before[path] == "" || strings.Contains(path, "obdagent") {
				t.Errorf("%s: uninstalling has left %s", name, path)
			}
		}
	}
}

func TestPlaceRefusesWhatIsNoImageOrAnothers(t *testing.T) {
	t.Parallel()
	van, other := newBoard(t, "van-212"), newBoard(t, "van-7")
	installed := func(t *testing.T) string {
		root := systemdRoot(t)
		install(t, root, program(t, arm64, "1"))
		return root
	}
	for name, test := range map[string]struct {
		root func(t *testing.T) string
		o    func(o *deploy.PlaceOptions)
		want string
	}{
		"a directory": {memoryDir, nil, "holds no Linux system"},
		"nothing":     {func(*testing.T) string { return "/none/of/it" }, nil, "no such file or directory"},
		"no obdagent": {systemdRoot, nil, "obdagent install --root"},
		"half an obdagent": {func(t *testing.T) string {
			root, changes := systemdRoot(t), 0
			if _, err := deploy.Install(deploy.InstallOptions{Root: root, Program: program(t, arm64, "1")}.WithBefore(func(string, string) error {
				if changes++; changes > 12 {
					return deploy.ErrPowerCut
				}
				return nil
			})); err == nil {
				t.Fatal("all was installed")
			}
			return root
		}, nil, "or half of one"},
		"a masked unit": {func(t *testing.T) string {
			root := installed(t)
			link(t, filepath.Join(root, "etc/systemd/system/obdagent.service"), "/dev/null")
			return root
		}, nil, "masks the unit"},
		"another's": {func(t *testing.T) string {
			root := installed(t)
			place(t, other.onto(root))
			return root
		}, nil, `etc/obdagent/cert.pem is another's ("van-212"): give --replace`},
		"another's key alone": {func(t *testing.T) string {
			root := installed(t)
			put(t, filepath.Join(root, "etc/obdagent/key.pem"), other.key)
			return root
		}, nil, "etc/obdagent/key.pem is another's: give --replace"},
		"another's seed": {func(t *testing.T) string {
			root := installed(t)
			put(t, filepath.Join(root, "boot/firmware/obdagent.toml"), other.config)
			return root
		}, func(o *deploy.PlaceOptions) { o.Replace = true }, "boot/firmware/obdagent.toml waits for the board's next boot"},
		"a configuration that is wrong": {installed, func(o *deploy.PlaceOptions) {
			o.Config = func(string, []byte) error { return os.ErrInvalid }
		}, "invalid argument"},
		"an empty directory": {installed, func(o *deploy.PlaceOptions) { o.From = filepath.Dir(program(t, arm64, "1")) }, "holds no obdagent.toml"},
		"another's certificate": {installed, func(o *deploy.PlaceOptions) {
			mixed := newBoard(t, "van-212")
			put(t, filepath.Join(mixed.dir, deploy.SeedCert), other.cert)
			o.From = mixed.dir
		}, "private key does not match public key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := test.root(t)
			o := van.onto(root)
			if test.o != nil {
				test.o(&o)
			}
			var before map[string]string
			if name != "nothing" {
				before = tree(t, root)
			}
			changes, err := deploy.Place(o)
			if err == nil || !strings.Contains(err.Error(), test.want) || len(changes) != 0 {
				t.Errorf("%v, %v; want %s", changes, err, test.want)
			}
			if before != nil {
				same(t, "refused", before, tree(t, root))
			}
		})
	}
}

// TestPlaceIsRefusedBeforeABoardIsEnrolled: what is wrong with the image is known before there are files for it.
func TestPlaceIsRefusedBeforeABoardIsEnrolled(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	o := deploy.PlaceOptions{Root: root, From: filepath.Join(t.TempDir(), "none")}
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), "obdagent install --root") {
		t.Error(err)
	}
	install(t, root, program(t, arm64, "1"))
	if err := o.Check(); err != nil {
		t.Error(err)
	}
	van := newBoard(t, "van-212")
	place(t, van.onto(root))
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), "is another's") {
		t.Error(err)
	}
	o.Replace = true
	if err := o.Check(); err != nil {
		t.Error(err)
	}
	if err := van.onto(root).Check(); err != nil {
		t.Error(err)
	}
}

// TestAtEachPowerCutABoardIsTheOldOneOrTheNewOne: wherever placing is stopped, the board that boots from the image is the one that
// it was or the new one, and placing again, also a third, ends as if nothing had been.
func TestAtEachPowerCutABoardIsTheOldOneOrTheNewOne(t *testing.T) {
	t.Parallel()
	first, second, third := newBoard(t, "van-1"), newBoard(t, "van-2"), newBoard(t, "van-3")
	clean := systemdRoot(t)
	install(t, clean, program(t, arm64, "1"))
	etc := filepath.Join(clean, "etc/obdagent")
	sample := get(t, filepath.Join(etc, "config.toml"))
	reset := func(t *testing.T, was *enrolled) {
		if err := os.RemoveAll(etc); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(etc, "config.toml"), sample)
		if was != nil {
			place(t, was.onto(clean))
		}
	}
	// Nothing of what Place works with is left.
	tidy := func(t *testing.T) {
		for path := range tree(t, etc) {
			if name := filepath.Base(path); strings.Contains(name, "seed") && name != "config.toml.before-seed" || strings.HasPrefix(name, ".") && path != "" || strings.HasSuffix(name, ".used") {
				t.Errorf("left %s", path)
			}
		}
	}
	for name, was := range map[string]*enrolled{"none": nil, "another": &first} {
		for then, next := range map[string]func(t *testing.T){
			"the board boots": func(t *testing.T) {
				if _, err := takeSeed(clean); err != nil {
					t.Error(err)
				}
				unenrolled := was == nil && get(t, filepath.Join(etc, "config.toml")) == sample
				for _, file := range []string{"cert.pem", "key.pem"} {
					_, err := os.Stat(filepath.Join(etc, file))
					unenrolled = unenrolled && os.IsNotExist(err)
				}
				if !unenrolled && !second.isOn(t, clean) && (was == nil || !was.isOn(t, clean)) {
					t.Errorf("it is a mixture: %v", tree(t, etc))
				}
			},
			"it is placed again": func(t *testing.T) {
				o := second.onto(clean)
				o.Replace = true
				place(t, o)
				if !second.isOn(t, clean) {
					t.Error("it is not placed")
				}
			},
			"a third is placed": func(t *testing.T) {
				o := third.onto(clean)
				o.Replace = true
				place(t, o)
				if !third.isOn(t, clean) {
					t.Error("it is not placed")
				}
			},
		} {
			t.Run(name+", "+then, func(t *testing.T) {
				atEachMoment(t, func(t *testing.T, powerCut func() func(op, file string) error) error {
					reset(t, was)
					o := second.onto(clean).WithBefore(powerCut())
					o.Replace = true
					_, err := deploy.Place(o)
					next(t)
					tidy(t)
					return err
				})
			})
		}
	}
	// A third one's placing that is stopped between two boards.
	t.Run("stopped twice", func(t *testing.T) {
		const half = 21 // configuration and certificate are installed, the key is not
		atEachMoment(t, func(t *testing.T, powerCut func() func(op, file string) error) error {
			reset(t, &first)
			o, left := second.onto(clean), half
			o.Replace = true
			_, err := deploy.Place(o.WithBefore(func(string, string) error {
				if left--; left < 0 {
					return deploy.ErrPowerCut
				}
				return nil
			}))
			if !errors.Is(err, deploy.ErrPowerCut) || second.isOn(t, clean) || first.isOn(t, clean) {
				t.Errorf("it was not stopped halfway: %v", err)
			}
			o = third.onto(clean)
			o.Replace = true
			_, err = deploy.Place(o.WithBefore(powerCut()))
			if _, err := takeSeed(clean); err != nil {
				t.Error(err)
			}
			if !second.isOn(t, clean) && !third.isOn(t, clean) {
				t.Errorf("it is a mixture: %v", tree(t, etc))
			}
			tidy(t)
			return err
		})
	})
}
