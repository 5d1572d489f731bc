package enroll_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"obdagent/agent/agenttest"
	"obdagent/agent/config"
	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/cmd/obdfleet/internal/enroll"
	"obdagent/cmd/obdfleet/internal/enroll/enrolltest"
	"obdagent/deploy"
)

func TestMain(m *testing.M) {
	agenttest.PlainAWS()
	goleak.VerifyTestMain(m)
}

func options(dir string) enroll.Options {
	return enroll.Options{Dir: dir, Policy: "obdagent-device", Target: enroll.Target{
		Kind: config.KindFirehose, Stream: cloud.DefaultStream, Region: cloud.DefaultRegion, Format: config.FormatJSON, Compression: config.CompressionGzip, RoleAlias: "obdagent"}}
}

var van = enroll.Board{Thing: "van-212", VIN: "1FTBR1XG2MKA12345", Fuel: "diesel"}

// enrolled enrols a board in one go.
func enrolled(t *testing.T, f enroll.IoT, o enroll.Options, b enroll.Board) (enroll.Result, error) {
	t.Helper()
	e, err := enroll.New(t.Context(), f, o)
	if err != nil {
		return enroll.Result{}, err
	}
	return e.Enroll(t.Context(), b)
}

// checkBoard: the files that a board is started with are whole, belong together, and are what AWS has as ACTIVE.
func checkBoard(t *testing.T, f *enrolltest.World, dir string, b enroll.Board) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, enroll.SeedCert), filepath.Join(dir, enroll.SeedKey))
	if err != nil {
		t.Fatal(err)
	}
	if name := pair.Leaf.Subject.CommonName; name != b.Thing {
		t.Errorf("the certificate is %q's", name)
	}
	cfg, err := config.Load(filepath.Join(dir, enroll.SeedConfig), nil)
	if err != nil {
		t.Fatal(err)
	}
	if w := cfg.Warnings(); len(w) > 0 {
		t.Errorf("the configuration has warnings: %q", w)
	}
	want := config.IoT{Endpoint: "c0ffee.credentials.iot.us-east-1.amazonaws.com", RoleAlias: "obdagent", Thing: b.Thing, Cert: "/etc/obdagent/cert.pem", Key: "/etc/obdagent/key.pem"}
	if cfg.Uplink.IoT != want || cfg.Uplink.Credentials != config.CredentialsIoT || cfg.Vehicle.VIN != b.VIN || cfg.Vehicle.DeviceID != b.Thing || cfg.Record.Format != config.FormatJSON || cfg.Uplink.Compression != config.CompressionGzip {
		t.Errorf("the configuration is %+v %+v", cfg.Vehicle, cfg.Uplink)
	}
	for name, mode := range map[string]fs.FileMode{enroll.SeedKey: 0o600, "enrolled.json": 0o600, "": 0o700} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %o", name, info.Mode(), err, mode)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, enroll.SeedCert))
	if err != nil {
		t.Fatal(err)
	}
	active := 0
	for arn, c := range f.Certs {
		if c.Status != types.CertificateStatusActive {
			continue
		}
		active++
		if c.PEM == string(text) && (len(f.Things[b.Thing]) != 1 || f.Things[b.Thing][0] != arn || len(c.Policies) != 1) {
			t.Errorf("%s is attached to %q with %q", arn, f.Things[b.Thing], c.Policies)
		}
	}
	if active != len(f.Things) {
		t.Errorf("%d certificates are ACTIVE for %d things", active, len(f.Things))
	}
}

func TestABoardGetsItsIdentity(t *testing.T) {
	t.Parallel()
	f, o := enrolltest.New(), options(t.TempDir())
	r, err := enrolled(t, f, o, van)
	if err != nil {
		t.Fatal(err)
	}
	checkBoard(t, f, r.Dir, van)
	want := []string{"DescribeEndpoint", "DescribeRoleAlias", "GetPolicy", "CreateThing", "ListThingPrincipals", "CreateCertificateFromCsr", "AttachPolicy", "AttachThingPrincipal", "UpdateCertificate"}
	if diff := cmp.Diff(want, f.Names); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	// Again: nothing but a look, and another configuration is written.
	key := read(t, filepath.Join(r.Dir, enroll.SeedKey))
	again, err := enrolled(t, f, o, van)
	if err != nil || !again.Before || again.CertificateID != r.CertificateID || read(t, filepath.Join(r.Dir, enroll.SeedKey)) != key {
		t.Errorf("again: %+v, %v", again, err)
	}
	checkBoard(t, f, r.Dir, van)
	if len(f.Names) != len(want)+3 {
		t.Errorf("calls %q", f.Names[len(want):])
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestNothingIsLostWhereverItBreaks: each call fails in turn, with its work done and not; the next run finishes.
func TestNothingIsLostWhereverItBreaks(t *testing.T) {
	t.Parallel()
	boards := []enroll.Board{van, {Thing: "van-213"}}
	run := func(f *enrolltest.World, o enroll.Options) error {
		e, err := enroll.New(t.Context(), f, o)
		if err != nil {
			return err
		}
		for _, b := range boards {
			if _, err := e.Enroll(t.Context(), b); err != nil {
				return err
			}
		}
		return nil
	}
	whole := enrolltest.New()
	if err := run(whole, options(t.TempDir())); err != nil {
		t.Fatal(err)
	}
	if len(whole.Names) < 15 {
		t.Fatalf("%d calls for two boards", len(whole.Names))
	}
	for _, after := range []bool{false, true} {
		for n := 1; n <= len(whole.Names); n++ {
			f, o := enrolltest.New(), options(t.TempDir())
			f.Fail, f.After = n, after
			if err := run(f, o); err == nil || !strings.Contains(err.Error(), "no answer of AWS") {
				t.Fatalf("call %d failed, and the run said %v", n, err)
			}
			for arn, c := range f.Certs {
				attached := false
				for _, principals := range f.Things {
					attached = attached || strings.Contains(strings.Join(principals, " "), arn)
				}
				if c.Status == types.CertificateStatusActive && !attached {
					t.Errorf("call %d (%s): %s is ACTIVE, and nobody's", n, f.Names[n-1], arn)
				}
			}
			f.Fail = 0
			if err := run(f, o); err != nil {
				t.Fatalf("the run after call %d (%s) failed, its work done: %v: %v", n, f.Names[n-1], after, err)
			}
			for _, b := range boards {
				checkBoard(t, f, filepath.Join(o.Dir, b.Thing), b)
			}
			if spare := len(f.Certs) - len(boards); spare > 1 || spare == 1 && (!after || f.Names[n-1] != "CreateCertificateFromCsr") {
				t.Errorf("call %d (%s): %d certificates too many", n, f.Names[n-1], spare)
			}
		}
	}
}

func TestAThingWithAnotherCertificateIsLeftAlone(t *testing.T) {
	t.Parallel()
	f, o := enrolltest.New(), options(t.TempDir())
	first, err := enrolled(t, f, o, van)
	if err != nil {
		t.Fatal(err)
	}
	o.Dir = t.TempDir() // the first is lost
	other := van
	other.VIN = "WVWZZZ1JZXW000001" // the thing has another attribute, which stays
	_, err = enrolled(t, f, o, other)
	if _, ok := errors.AsType[enroll.Conflict](err); !ok || !strings.Contains(err.Error(), "van-212 has a certificate already") || !strings.Contains(err.Error(), first.CertificateID) {
		t.Fatalf("said %v", err)
	}
	o.Replace = true
	second, err := enrolled(t, f, o, other)
	if err != nil || len(second.SwitchedOff) != 1 || second.SwitchedOff[0] != first.CertificateID {
		t.Fatalf("%+v, %v", second, err)
	}
	checkBoard(t, f, second.Dir, other)
	if c := f.Certs["arn:aws:iot:us-east-1:123456789012:cert/"+first.CertificateID]; c.Status != types.CertificateStatusInactive {
		t.Errorf("the old certificate is %s", c.Status)
	}
}

func TestFilesThatDoNotBelongTogetherAreRefused(t *testing.T) {
	t.Parallel()
	f := enrolltest.New()
	o := options(t.TempDir())
	other, err := enrolled(t, f, o, enroll.Board{Thing: "van-1"})
	if err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(dir string) error{
		"is not that of its certificate": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, enroll.SeedKey), []byte(read(t, filepath.Join(other.Dir, enroll.SeedKey))), 0o600)
		},
		"is gone, and its certificate is of no use without it": func(dir string) error { return os.Remove(filepath.Join(dir, enroll.SeedKey)) },
		"it is no private key in PEM":                          func(dir string) error { return os.WriteFile(filepath.Join(dir, enroll.SeedKey), []byte("x"), 0o600) },
		"enrolled.json: invalid character":                     func(dir string) error { return os.WriteFile(filepath.Join(dir, "enrolled.json"), []byte("x"), 0o600) },
		"is that of van-9, not of van-212": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "enrolled.json"), []byte(`{"thing":"van-9"}`), 0o600)
		},
	} {
		o := options(t.TempDir())
		r, err := enrolled(t, enrolltest.New(), o, van)
		if err != nil {
			t.Fatal(err)
		}
		if err := spoil(r.Dir); err != nil {
			t.Fatal(err)
		}
		_, err = enrolled(t, enrolltest.New(), o, van)
		if _, ok := errors.AsType[enroll.Conflict](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("said %v, want %s", err, want)
		}
	}
}

func TestWhatTheTemplateMakesMustBeThere(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(*enroll.Options){
		"there is no AWS IoT role alias nobody in us-east-1: the template makes it": func(o *enroll.Options) { o.Target.RoleAlias = "nobody" },
		"there is no AWS IoT policy nothing in us-east-1: the template makes it":    func(o *enroll.Options) { o.Policy = "nothing" },
	} {
		o := options(t.TempDir())
		spoil(&o)
		if _, err := enrolled(t, enrolltest.New(), o, van); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("said %v, want %s", err, want)
		}
	}
	for _, b := range []enroll.Board{{Thing: "van 1"}, {Thing: ""}, {Thing: "../x"}, {Thing: "van-1", VIN: "1FTBR1XG2MKA1234O"}, {Thing: "van-1", Fuel: "wood"}, {Thing: "van-1", DeviceID: `a"b`}} {
		f := enrolltest.New()
		if _, err := enrolled(t, f, options(t.TempDir()), b); err == nil || len(f.Names) != 3 {
			t.Errorf("%+v: %v after %d calls", b, err, len(f.Names))
		}
	}
}

func TestABoardIsSeededOnItsBootPartition(t *testing.T) {
	t.Parallel()
	f, o, boot := enrolltest.New(), options(t.TempDir()), t.TempDir()
	one, err := enrolled(t, f, o, van)
	if err != nil {
		t.Fatal(err)
	}
	two, err := enrolled(t, f, o, enroll.Board{Thing: "van-213"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time nothing is new
		if err := enroll.Place(one.Dir, boot); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(boot)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{enroll.SeedCert, enroll.SeedKey, enroll.SeedConfig}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(boot, enroll.SeedCert), filepath.Join(boot, enroll.SeedKey)); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(boot, enroll.SeedKey)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v %v", info.Mode(), err)
	}
	if err := enroll.Place(two.Dir, boot); err == nil || !strings.Contains(err.Error(), "is there already, and is another board's") {
		t.Errorf("said %v", err)
	}
	if err := enroll.Place(one.Dir, filepath.Join(boot, "none")); err == nil || !strings.Contains(err.Error(), "is no directory: mount the board's boot partition") {
		t.Errorf("said %v", err)
	}
}

func TestListsOfBoards(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]enroll.Board{
		"thing\nvan-1\nvan-2\n": {{Thing: "van-1"}, {Thing: "van-2"}},
		"\ufeffThing, VIN ,fuel\r\nvan-1, 1FTBR1XG2MKA12345 ,diesel\r\n": {{Thing: "van-1", VIN: "1FTBR1XG2MKA12345", Fuel: "diesel"}},
		"vin;thing;device_id\nWVWZZZ1JZXW000001;van-1;\"unit:7\"\n":      {{Thing: "van-1", VIN: "WVWZZZ1JZXW000001", DeviceID: "unit:7"}},
	} {
		got, err := enroll.ReadCSV("fleet.csv", strings.NewReader(text))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
	}
	for text, wants := range map[string][]string{
		"":                   {"fleet.csv is empty"},
		"thing\n":            {"fleet.csv names no boards"},
		"name,vin\nx,y\n":    {`line 1: there is no column "name"`, `line 1: column "thing" is missing`},
		"thing,thing\nx,y\n": {`column "thing" is there twice`},
		"thing,vin\nvan-1,1FTBR1XG2MKA12345\nVan-1,1FTBR1XG2MKA12345\n": {"line 3: thing van-1 is that of line 2 too", "line 3: vin 1FTBR1XG2MKA12345 is that of line 2 too"},
		"thing,vin\nvan-1,1FTBR1\n\nvan 2,\n":                           {"line 2: ", "a VIN has 17", `line 4: "van 2" cannot be a thing's name`},
		"thing,vin\nvan-1\n":                                            {"fleet.csv: record on line 2: wrong number of fields"},
	} {
		_, err := enroll.ReadCSV("fleet.csv", strings.NewReader(text))
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: said %v, want %s", text, err, want)
			}
		}
	}
}

// iotLook asks with boto3 what each thing has.
const iotLook = `
import boto3, os, sys
iot = boto3.client("iot", endpoint_url=os.environ["ENDPOINT"], region_name="us-east-1")
for thing in sys.argv[1:]:
    for arn in iot.list_thing_principals(thingName=thing)["principals"]:
        certificate = iot.describe_certificate(certificateId=arn.split("/")[-1])["certificateDescription"]
        policies = [p["policyName"] for p in iot.list_attached_policies(target=arn)["policies"]]
        print(thing, certificate["certificateId"], certificate["status"], *policies)
`

const iotMake = `
import boto3, os
iot = boto3.client("iot", endpoint_url=os.environ["ENDPOINT"], region_name="us-east-1")
iot.create_role_alias(roleAlias="obdagent", roleArn="arn:aws:iam::123456789012:role/device")
iot.create_policy(policyName="obdagent-device", policyDocument="{}")
`

// TestABoardIsEnrolledInMoto: through the SDK's own client; boto3 reads what was made.
func TestABoardIsEnrolledInMoto(t *testing.T) {
	t.Parallel()
	agenttest.Python(t, "boto3")
	endpoint := agenttest.Moto(t)
	o := options(t.TempDir())
	o.Endpoint = endpoint
	client, region, err := enroll.Open(t.Context(), cloud.Options{Endpoint: endpoint})
	if err != nil || region != cloud.DefaultRegion {
		t.Fatal(region, err)
	}
	if _, err := enroll.New(context.WithoutCancel(t.Context()), client, o); err == nil || !strings.Contains(err.Error(), "there is no AWS IoT role alias obdagent") {
		t.Errorf("without a role alias: %v", err)
	}
	agenttest.RunPython(t, endpoint, iotMake)
	want := ""
	for _, b := range []enroll.Board{van, {Thing: "van-213"}} {
		r, err := enrolled(t, client, o, b)
		if err != nil {
			t.Fatal(err)
		}
		want += fmt.Sprintf("%s %s ACTIVE obdagent-device\n", b.Thing, r.CertificateID)
	}
	if diff := cmp.Diff(want, agenttest.RunPython(t, endpoint, iotLook, "van-212", "van-213")); diff != "" {
		t.Errorf("boto3 finds (-want +got):\n%s", diff)
	}
	o.Dir, o.Replace = t.TempDir(), true
	r, err := enrolled(t, client, o, van)
	if err != nil || len(r.SwitchedOff) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if diff := cmp.Diff(fmt.Sprintf("van-212 %s ACTIVE obdagent-device\n", r.CertificateID), agenttest.RunPython(t, endpoint, iotLook, "van-212")); diff != "" {
		t.Errorf("after a replacement boto3 finds (-want +got):\n%s", diff)
	}
}

// TestABoardTakesOverWhatItWasEnrolledWith: what enroll puts onto the boot partition, provision installs where the configuration and the
// unit look for it.
func TestABoardTakesOverWhatItWasEnrolledWith(t *testing.T) {
	t.Parallel()
	r, err := enrolled(t, enrolltest.New(), options(t.TempDir()), van)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	boot := filepath.Join(root, deploy.BootDirs[0])
	if err := os.MkdirAll(boot, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := enroll.Place(r.Dir, boot); err != nil {
		t.Fatal(err)
	}
	changes, err := deploy.TakeSeed(deploy.SeedOptions{Root: root, Config: func(name string, text []byte) error {
		_, err := config.Parse(name, text, nil)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(boot); err != nil || len(left) > 0 {
		t.Errorf("left on the boot partition: %v, %v; done was %v", left, err, changes)
	}
	cfg, err := config.Load(filepath.Join(root, "etc/obdagent/config.toml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	iot := cfg.Uplink.IoT
	if pair, err := tls.LoadX509KeyPair(filepath.Join(root, iot.Cert), filepath.Join(root, iot.Key)); err != nil || pair.Leaf.Subject.CommonName != van.Thing {
		t.Errorf("the configuration's certificate and key: %v", err)
	}
	if iot.Cert != config.DeviceCert || iot.Key != config.DeviceKey {
		t.Errorf("the configuration names %s and %s, which are root's; the daemon knows copies of %s and %s only", iot.Cert, iot.Key, config.DeviceCert, config.DeviceKey)
	}
	unit := read(t, "../../../../deploy/obdagent.service")
	for _, line := range []string{"LoadCredential=cert:" + iot.Cert, "SetCredential=cert:#", "LoadCredential=key:" + iot.Key, "SetCredential=key:#"} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("the unit has no %s", line)
		}
	}
}
