package bugreport_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"obdagent/agent/bugreport"
	"obdagent/agent/config"
	"obdagent/buffer"
)

var now = time.Date(2026, time.November, 23, 8, 0, 0, 0, time.UTC)

// contents are the members of an archive, with those of archives and compressed files among them, by path.
func contents(t *testing.T, name string, data []byte, found map[string][]byte) {
	t.Helper()
	if zip, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
		inner, err := io.ReadAll(zip)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		contents(t, name+"!", inner, found)
		return
	}
	files := tar.NewReader(bytes.NewReader(data))
	for first := true; ; first = false {
		h, err := files.Next()
		if err != nil {
			if first {
				found[name] = data // it is no archive
			} else if !errors.Is(err, io.EOF) {
				t.Fatalf("%s: %v", name, err)
			}
			return
		}
		inner, err := io.ReadAll(files)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found[name+"/"+h.Name] = nil
		contents(t, name+"/"+h.Name, inner, found)
	}
}

// places are where a secret is found, as it is or written otherwise.
func places(found map[string][]byte, secret string) (where []string) {
	for name, text := range found {
		for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
			if strings.Contains(string(text), form) || strings.Contains(name, form) {
				where = append(where, name)
				break
			}
		}
	}
	slices.Sort(where)
	return where
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func reported(t *testing.T, o bugreport.Options) (found map[string][]byte, missing []string) {
	t.Helper()
	var archive bytes.Buffer
	o.Version, o.Now = "obdagent test", now
	missing, err := bugreport.Write(t.Context(), &archive, o)
	if err != nil {
		t.Fatal(err)
	}
	found = map[string][]byte{}
	contents(t, "report", archive.Bytes(), found)
	return found, missing
}

func key(t *testing.T) (text string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// TestNoSecretGetsIntoTheArchive plants secrets wherever one may lie, and again in the logs and in the configuration's comments, where
// none should.
func TestNoSecretGetsIntoTheArchive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	private, stray := key(t), key(t)
	line := func(pem string, n int) string { return strings.Split(pem, "\n")[n] }
	secrets := map[string]string{
		"the credentials file's secret":     "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		"its session token":                 "FwoGZXIvYXdzEJr//////////wEaDH+short/token",
		"its key id":                        "AKIAIOSFODNN7EXAMPLE",
		"the environment's secret":          "envS3cretEnvS3cretEnvS3cretEnvS3cretXYZ1",
		"the environment's token":           "env-session-token-1234567890",
		"an environment password":           "correct horse battery staple",
		"the device's key":                  line(private, 1),
		"the device's key's end":            line(private, 3),
		"systemd's credential":              "systemdCredential0987654321",
		"the profile's external id":         "external-id-42-of-the-profile",
		"a key pasted into a comment":       line(stray, 2),
		"a password in a comment":           "hunter2hunter2",
		"a user in a URL":                   "admin:letmein",
		"a header in a log":                 "c2VjcmV0OnNlY3JldA",
		"a token of a JWT's shape":          "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ2YW4ifQ.abcDEF123",
		"a signature in a signed URL":       "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
		"an unknown secret of AWS's shape":  "Ab1dEfGhIjKlMnOpQrStUvWxYz0123456789abc/",
		"an environment's key with a slash": "/bcdefghijABCDEFGHIJabcdefghijABCDEFGHIJ",
		"a key with a slash in a log":       "/cdefghijkABCDEFGHIJabcdefghijABCDEFGHIJ",
		"an unknown one with a slash":       "/b1dEfGhIjKlMnOpQrStUvWxYz0123456789abc+",
		"a TLS session":                     "tls-session-ticket-bytes",
		"a position in a record":            "106.9447146",
		"a position set aside":              "-6.3385652",
	}
	s := func(what string) string {
		v, ok := secrets[what]
		if !ok {
			t.Fatalf("no secret is %s", what)
		}
		return v
	}
	log, err := buffer.Open(buffer.Options{Dir: in("buffer")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append([]byte(`{"lon":` + s("a position in a record") + `}`)); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, in("buffer/tls-sessions"), s("a TLS session"))
	write(t, in("buffer/aside.jsonl"), `{"lat":`+s("a position set aside")+`}`)
	write(t, in("buffer/uplink.json"), `{"day":"2026-11-23"}`)
	write(t, in("credentials"), "[default]\naws_access_key_id = "+s("its key id")+"\naws_secret_access_key="+s("the credentials file's secret")+"\naws_session_token = "+s("its session token")+"\n")
	write(t, in("home/.aws/config"), "[profile van]\nregion = ap-southeast-1\nexternal_id = "+s("the profile's external id")+"\n")
	write(t, in("systemd/aws"), s("systemd's credential"))
	write(t, in("key.pem"), private)
	write(t, in("config.toml"), fmt.Sprintf("# aws_secret_access_key = %q\n# wifi_psk: %s\n# http://%s@10.0.0.1/\n[uplink]\ncredentials = \"file\"\ncredentials_file = %q\n[uplink.iot]\nkey = %q\n[buffer]\ndir = %q\n[status]\nlog = %q\nsocket = %q\n# %s\n",
		s("the credentials file's secret"), s("a password in a comment"), s("a user in a URL"), in("credentials"), in("key.pem"), in("buffer"), in("status.log"), in("s"), strings.ReplaceAll(stray, "\n", "\n# ")))
	logs := "2026-11-23T07:59:00Z event=uplink to=refused reason=\"the key " + s("its key id") + " and " + s("the credentials file's secret") + "\"\n" +
		"2026-11-23T07:59:01Z event=x Authorization: Basic " + s("a header in a log") + "\n" +
		"2026-11-23T07:59:02Z url=https://x/?X-Amz-Security-Token=" + url.QueryEscape(s("its session token")) + "&X-Amz-Signature=" + s("a signature in a signed URL") + "\n" +
		"2026-11-23T07:59:03Z jwt " + s("a token of a JWT's shape") + " env " + s("the environment's secret") + " " + s("the environment's token") + " and " + s("an unknown secret of AWS's shape") + "\n" +
		"2026-11-23T07:59:04Z wifi=" + s("an environment password") + " cred " + s("systemd's credential") + " tls\n" +
		"2026-11-23T07:59:05Z state=ok commit 0123456789abcdef0123456789abcdef01234567 kept in ap-southeast-1\n" +
		"2026-11-23T07:59:06Z " + s("an environment's key with a slash") + " aws_secret_access_key=" + s("a key with a slash in a log") + " then " + s("an unknown one with a slash") + " end\n"
	write(t, in("status.log"), logs)
	write(t, in("status.log.1"), logs)
	environ := []string{
		"HOME=" + in("home"), "CREDENTIALS_DIRECTORY=" + in("systemd"), "PATH=/usr/bin",
		"AWS_SECRET_ACCESS_KEY=" + s("the environment's secret"), "AWS_SESSION_TOKEN=" + s("the environment's token"), "OTHER_SECRET_KEY=" + s("an environment's key with a slash"), "WIFI_PASSWORD=" + s("an environment password"),
		"OBDAGENT_UPLINK_STREAM=vans",
	}
	cfg, err := config.Load(in("config.toml"), environ)
	if err != nil {
		t.Fatal(err)
	}
	found, missing := reported(t, bugreport.Options{Config: cfg, ConfigPath: in("config.toml"), Environ: environ})
	for what, secret := range secrets {
		if where := places(found, secret); where != nil {
			t.Errorf("%s is in %q", what, where)
		}
	}
	text := func(name string) string { return string(found["report!/obdagent-bugreport/"+name]) }
	for name, want := range map[string]string{
		"version.txt":           "obdagent test\n",
		"config.toml":           `credentials_file = "` + in("credentials") + `"`, // names of files are no secrets
		"config-in-force.toml":  `stream = "vans"`,
		"environment.txt":       "AWS_SECRET_ACCESS_KEY is set\nAWS_SESSION_TOKEN is set\nOBDAGENT_UPLINK_STREAM=vans\n",
		"status.log":            "commit 0123456789abcdef0123456789abcdef01234567 kept in ap-southeast-1", // neither hash nor region are secrets
		"status.log.1":          "event=uplink to=refused",
		"buffer.json":           `"waiting": 1,`,
		"buffer-files.txt":      "tls-sessions",
		"buffer/uplink.json":    `{"day":"2026-11-23"}`,
		"system/version":        "Linux version",
		"system/disk.txt":       "bytes free of",
		"README.txt":            "status.json: obdagent is not running",
		"config-warnings.txt":   "uplink.iot",
		"system/os-release":     "ID=",
		"system/mounts":         " / ",
		"system/meminfo":        "MemTotal",
		"system/uptime":         ".",
		"system/loadavg":        "/",
		"system/cmdline":        "",
		"system/ttys.txt":       "",
		"system/usb.txt":        "",
		"no such member at all": "",
	} {
		if _, ok := found["report!/obdagent-bugreport/"+name]; ok != (name != "no such member at all") || !strings.Contains(text(name), want) {
			t.Errorf("%s is there: %t; want %q in\n%.2000s", name, ok, want, text(name))
		}
	}
	if !slices.ContainsFunc(missing, func(m string) bool { return strings.HasPrefix(m, "status.json: obdagent is not running") }) {
		t.Errorf("missing: %q", missing)
	}
}

// TestTheSearchFindsWhatIsHidden: a search that finds nothing must be able to find something.
func TestTheSearchFindsWhatIsHidden(t *testing.T) {
	t.Parallel()
	const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	for name, form := range map[string]string{"plain": secret, "escaped": url.QueryEscape(secret), "base64": base64.StdEncoding.EncodeToString([]byte(secret))} {
		pack := func(name string, data []byte) []byte {
			var out bytes.Buffer
			zip := gzip.NewWriter(&out)
			files := tar.NewWriter(zip)
			if err := errors.Join(files.WriteHeader(&tar.Header{Name: name, Size: int64(len(data))}), func() error { _, err := files.Write(data); return err }(), files.Close(), zip.Close()); err != nil {
				t.Fatal(err)
			}
			return out.Bytes()
		}
		found := map[string][]byte{}
		contents(t, "a", pack("inner.tar.gz", pack("log", []byte("key "+form+" end"))), found)
		if where := places(found, secret); len(where) != 1 || where[0] != "a!/inner.tar.gz!/log" {
			t.Errorf("%s: found in %q", name, where)
		}
	}
}

func TestAReportIsMadeOfABrokenConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "c.toml"), "[obd]\nprot = \"auto\"\n")
	_, err := config.Load(path, nil)
	if err == nil {
		t.Fatal("no error")
	}
	found, missing := reported(t, bugreport.Options{ConfigPath: path, ConfigErr: err})
	for name, want := range map[string]string{"config.toml": "prot = ", "config-problems.txt": "unknown key"} {
		if text := string(found["report!/obdagent-bugreport/"+name]); !strings.Contains(text, want) {
			t.Errorf("%s: %q", name, text)
		}
	}
	if !slices.Contains(missing, "buffer.json: the configuration has problems") {
		t.Errorf("missing: %q", missing)
	}
}

func TestAFullDiskIsAnError(t *testing.T) {
	t.Parallel()
	c := config.Default()
	if _, err := bugreport.Write(t.Context(), full{}, bugreport.Options{Config: &c}); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

var errFull = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// BenchmarkClean is a megabyte of a status log.
func BenchmarkClean(b *testing.B) {
	const line = "2026-11-23T07:59:05Z boot_s=4103.1 state=ok time_src=gnss car=live vin=1FTBR1XG2MKA12345 car_kmh=50 volt=14.1 gps=fix fix=3d sats=11 gps_kmh=49.3 buffered=31 uplink=ok delivered=3929\n"
	text := strings.Repeat(line, 1<<20/len(line))
	clean := bugreport.Clean(&config.Config{}, []string{"AWS_SECRET_ACCESS_KEY=envS3cretEnvS3cretEnvS3cretEnvS3cretXYZ1"})
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if clean(text) != text {
			b.Fatal("something was removed")
		}
	}
}
