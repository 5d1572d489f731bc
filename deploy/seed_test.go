package deploy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdagent/deploy"
)

const (
	seedConfig      = "[vehicle]\ndevice_id = \"van-212\"\n"
	seedCredentials = "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n"
)

// certificate makes one as a fleet's authority does for a board, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "van-212"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pemText("CERTIFICATE", der), pemText("PRIVATE KEY", keyDER)
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// checkConfig stands for the daemon's own judgement.
func checkConfig(name string, text []byte) error {
	if strings.Contains(string(text), "bad") || !strings.HasPrefix(string(text), "[") {
		return fmt.Errorf("%s:2: bad: unknown key", name)
	}
	return nil
}

func takeSeed(root string) (map[string]string, error) {
	changes, err := deploy.TakeSeed(deploy.SeedOptions{Root: root, Config: checkConfig})
	return done(changes), err
}

func TestASeedIsInstalledAndErased(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	for _, dir := range deploy.BootDirs {
		root := systemdRoot(t)
		for name, text := range map[string]string{"obdagent.toml": "\xef\xbb\xbf" + seedConfig, "obdagent-cert.pem": cert, "obdagent-key.pem": pemText("EC PARAMETERS", []byte{6, 0}) + key, "obdagent-credentials": seedCredentials,
			"config.txt": "arm_64bit=1\n"} {
			put(t, filepath.Join(root, dir, name), text)
		}
		changes, err := takeSeed(root)
		if err != nil {
			t.Fatal(err)
		}
		if len(changes) != 8 {
			t.Errorf("%s: %d changes, want four installed and four erased: %v", dir, len(changes), changes)
		}
		for file, want := range map[string]struct {
			text string
			mode os.FileMode
		}{"config.toml": {seedConfig, 0o644}, "cert.pem": {cert, 0o600}, "key.pem": {pemText("EC PARAMETERS", []byte{6, 0}) + key, 0o600}, "credentials": {seedCredentials, 0o600}} {
			path := filepath.Join(root, "etc/obdagent", file)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if get(t, path) != want.text || info.Mode() != want.mode {
				t.Errorf("%s: %s has mode %v and %q", dir, file, info.Mode(), get(t, path))
			}
		}
		left, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil || len(left) != 1 || left[0].Name() != "config.txt" {
			t.Errorf("%s: left are %v, %v", dir, left, err)
		}
		if changes, err := takeSeed(root); err != nil || len(changes) != 0 {
			t.Errorf("%s: the second time %v, %v", dir, changes, err)
		}
	}
}

func TestASeedThatIsWrongChangesNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	_, otherKey := certificate(t)
	for name, test := range map[string]struct {
		seed      map[string]string
		installed map[string]string
		want      []string
	}{
		"an unknown key":                  {map[string]string{"obdagent.toml": "[vehicle]\nbad = 1\n"}, nil, []string{"boot/obdagent.toml:2: bad: unknown key"}},
		"the name that Windows makes":     {map[string]string{"obdagent.toml.txt": seedConfig}, nil, []string{"obdagent.toml.txt: Windows has added .txt", "rename it to obdagent.toml"}},
		"a certificate without its key":   {map[string]string{"obdagent-cert.pem": cert}, nil, []string{"there is no obdagent-key.pem to it"}},
		"a key without its certificate":   {map[string]string{"obdagent-key.pem": key}, nil, []string{"there is no obdagent-cert.pem to it"}},
		"another's key":                   {map[string]string{"obdagent-cert.pem": cert, "obdagent-key.pem": otherKey}, nil, []string{"private key does not match public key"}},
		"a key for another, installed":    {map[string]string{"obdagent-key.pem": otherKey}, map[string]string{"cert.pem": cert, "key.pem": key}, []string{"private key does not match public key"}},
		"both the wrong way round":        {map[string]string{"obdagent-cert.pem": key, "obdagent-key.pem": cert}, nil, []string{"holds a PRIVATE KEY where a CERTIFICATE belongs"}},
		"an encrypted key":                {map[string]string{"obdagent-cert.pem": cert, "obdagent-key.pem": pemText("ENCRYPTED PRIVATE KEY", []byte{1})}, nil, []string{"is encrypted"}},
		"a key in another form":           {map[string]string{"obdagent-cert.pem": cert, "obdagent-key.pem": "\x30\x82"}, nil, []string{"is no PEM file"}},
		"credentials of another kind":     {map[string]string{"obdagent-credentials": "AccessKey,Secret\n"}, nil, []string{"has no aws_access_key_id"}},
		"everything at once":              {map[string]string{"obdagent.toml": "bad", "obdagent-credentials": "x", "obdagent-key.pem": key}, nil, []string{"bad: unknown key", "has no aws_access_key_id", "no obdagent-cert.pem"}},
		"one good and one bad":            {map[string]string{"obdagent.toml": seedConfig, "obdagent-credentials": "x"}, nil, []string{"has no aws_access_key_id"}},
		"a file that is far too large":    {map[string]string{"obdagent.toml": strings.Repeat("#", 1<<20)}, nil, []string{"has more than 262144 bytes"}},
		"a file that was cut to nothing":  {map[string]string{"obdagent.toml": ""}, nil, []string{"bad: unknown key"}},
		"a certificate of nothing but it": {map[string]string{"obdagent-cert.pem": pemText("CERTIFICATE", []byte{0x30, 0}), "obdagent-key.pem": key}, nil, []string{"x509"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := systemdRoot(t)
			for file, text := range test.installed {
				put(t, filepath.Join(root, "etc/obdagent", file), text)
			}
			for file, text := range test.seed {
				put(t, filepath.Join(root, "boot", file), text)
			}
			before := tree(t, root)
			changes, err := takeSeed(root)
			if err == nil || len(changes) != 0 {
				t.Fatalf("taken over: %v", changes)
			}
			note := get(t, filepath.Join(root, "boot/obdagent-error.txt"))
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) || !strings.Contains(note, want) {
					t.Errorf("said %v\nleft %s\nwant %s", err, note, want)
				}
			}
			if err := os.Remove(filepath.Join(root, "boot/obdagent-error.txt")); err != nil {
				t.Fatal(err)
			}
			same(t, "refused", before, tree(t, root))
		})
	}
}

func TestAGoodSeedTakesTheNoteOfABadOneAway(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	put(t, filepath.Join(root, "etc/obdagent/config.toml"), "[gps]\n")
	put(t, filepath.Join(root, "boot/obdagent.toml"), "bad")
	if _, err := takeSeed(root); err == nil {
		t.Fatal("a bad seed was taken")
	}
	put(t, filepath.Join(root, "boot/obdagent.toml"), seedConfig)
	if _, err := takeSeed(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "boot/obdagent-error.txt")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the note is still there: %v", err)
	}
	if old := get(t, filepath.Join(root, "etc/obdagent/config.toml.before-seed")); old != "[gps]\n" {
		t.Errorf("the configuration before is %q", old)
	}
}

func TestAtEachPowerCutASeedIsOnTheBootPartitionOrInstalled(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	root := systemdRoot(t)
	seeds := map[string]string{"obdagent.toml": seedConfig, "obdagent-cert.pem": cert, "obdagent-key.pem": key, "obdagent-credentials": seedCredentials}
	installed := map[string]string{"obdagent.toml": "config.toml", "obdagent-cert.pem": "cert.pem", "obdagent-key.pem": "key.pem", "obdagent-credentials": "credentials"}
	is := func(path, text string) bool {
		got, err := os.ReadFile(path)
		return err == nil && string(got) == text
	}
	atEachMoment(t, func(t *testing.T, powerCut func() func(op, file string) error) error {
		if err := os.RemoveAll(filepath.Join(root, "etc/obdagent")); err != nil {
			t.Fatal(err)
		}
		for name, text := range seeds {
			put(t, filepath.Join(root, "boot", name), text)
		}
		_, err := deploy.TakeSeed(deploy.SeedOptions{Root: root, Config: checkConfig}.WithBefore(powerCut()))
		for name, text := range seeds {
			if !is(filepath.Join(root, "boot", name), text) && !is(filepath.Join(root, "etc/obdagent", installed[name]), text) {
				t.Errorf("%s is neither here nor there", name)
			}
		}
		if _, err := takeSeed(root); err != nil {
			t.Errorf("the start after it: %v", err)
		}
		for name, text := range seeds {
			if !is(filepath.Join(root, "etc/obdagent", installed[name]), text) {
				t.Errorf("%s is not installed after the next start", name)
			}
		}
		if left, err := os.ReadDir(filepath.Join(root, "boot")); err != nil || len(left) != 0 {
			t.Errorf("left on the boot partition: %v, %v", left, err)
		}
		return err
	})
}

func TestASeedIsErasedOnlyWhenAllIsOnDiskForGood(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	put(t, filepath.Join(root, "boot/obdagent.toml"), seedConfig)
	put(t, filepath.Join(root, "boot/obdagent-credentials"), seedCredentials)
	var log []string
	_, err := deploy.TakeSeed(deploy.SeedOptions{Root: root, Config: checkConfig}.WithBefore(func(op, file string) error {
		log = append(log, op+" "+file)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	// write syncs the file itself before it renames it; what is told of here is the directory.
	const want = "mkdir /etc/obdagent, sync /etc, " +
		"write /etc/obdagent/config.toml, rename /etc/obdagent/config.toml, sync /etc/obdagent, " +
		"write /etc/obdagent/credentials, rename /etc/obdagent/credentials, sync /etc/obdagent, " +
		"erase /boot/obdagent.toml, sync /boot, overwrite /boot/obdagent.toml.used, remove /boot/obdagent.toml.used, sync /boot, " +
		"erase /boot/obdagent-credentials, sync /boot, overwrite /boot/obdagent-credentials.used, remove /boot/obdagent-credentials.used, sync /boot"
	if got := strings.Join(log, ", "); got != want {
		t.Errorf("the order is\n%s\nwant\n%s", got, want)
	}
}
