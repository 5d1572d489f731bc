package agent_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"obdagent/agent/agenttest"
)

const module = "obdagent"

// maxBinary is how large the stripped linux/arm binary may be. It goes over a cellular link onto flash of a few hundred
// megabytes, with room for an update beside it.
const maxBinary = 11 << 20

// notOnDevice are packages that must not be linked into the device's binary, and why.
var notOnDevice = map[string]string{
	"html/template":  "it calls methods by name, so that the linker keeps every exported method: 2 MiB",
	"net/http/pprof": "it registers handlers on the default mux, and brings html/template",
	"expvar":         "it registers a handler on the default mux that shows the command line",
	"testing":        "it belongs to tests, and brings their flags",
	"github.com/aws/aws-sdk-go-v2/service/s3":     "the device writes to the stream; buckets are the desk's",
	"github.com/aws/aws-sdk-go-v2/service/iam":    "the device has no business with roles",
	"github.com/aws/aws-sdk-go-v2/service/athena": "asking questions is the desk's",
	"github.com/aws/aws-sdk-go-v2/service/iot":    "identities are made at the desk; the device has one",
	"obdagent/agent/report/page":                  "it brings html/template",
}

// allowed are the modules that may be required directly, and at which versions. A new one needs a page in docs/decisions.
var allowed = map[string]string{
	// Sources and the device.
	"go.bug.st/serial":                   "v1.8.0",
	"github.com/rzetterberg/elmobd":      "v0.0.0-20240426091703-01e7bbc11e6c",
	"github.com/adrianmo/go-nmea":        "v1.10.0",
	"github.com/google/uuid":             "v1.6.0",
	"github.com/klauspost/compress":      "v1.20.3",
	"github.com/creack/pty":              "v1.1.24",
	"github.com/coreos/go-systemd/v22":   "v22.7.0",
	"github.com/cenkalti/backoff/v5":     "v5.0.3",
	"github.com/VictoriaMetrics/metrics": "v1.35.1",
	"github.com/pelletier/go-toml/v2":    "v2.4.3",
	"github.com/spf13/cobra":             "v1.10.2",
	"golang.org/x/sync":                  "v0.24.0",
	"golang.org/x/sys":                   "v0.49.0",
	"golang.org/x/term":                  "v0.47.0",
	// The cloud. These go together: one moved alone breaks the others.
	"github.com/aws/aws-sdk-go-v2":                  "v1.47.7",
	"github.com/aws/aws-sdk-go-v2/config":           "v1.33.15",
	"github.com/aws/aws-sdk-go-v2/credentials":      "v1.20.15",
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds": "v1.20.7", // what config requires; named only to switch it off
	"github.com/aws/aws-sdk-go-v2/service/athena":   "v1.66.8",
	"github.com/aws/aws-sdk-go-v2/service/firehose": "v1.52.10",
	"github.com/aws/aws-sdk-go-v2/service/iam":      "v1.64.8",
	"github.com/aws/aws-sdk-go-v2/service/iot":      "v1.75.0",
	"github.com/aws/aws-sdk-go-v2/service/kinesis":  "v1.56.11",
	"github.com/aws/aws-sdk-go-v2/service/s3":       "v1.114.8",
	"github.com/aws/aws-sdk-go-v2/service/sts":      "v1.51.8",
	"github.com/aws/smithy-go":                      "v1.28.8",
	// The desk.
	"github.com/schollz/progressbar/v3": "v3.19.0",
	// Tests.
	"github.com/awslabs/goformation/v7":        "v7.14.9",
	"github.com/chromedp/chromedp":             "v0.23.0",
	"github.com/google/go-cmp":                 "v0.7.0",
	"github.com/johannesboyne/gofakes3":        "v1.2.0",
	"github.com/rogpeppe/go-internal":          "v1.16.0",
	"github.com/santhosh-tekuri/jsonschema/v6": "v6.0.2",
	"go.uber.org/goleak":                       "v1.3.0",
	"pgregory.net/rapid":                       "v1.3.0",
}

// libraries are the trees that somebody else's program could use alone: of ours they import themselves only.
var libraries = []string{"obd", "gps", "buffer", "deploy"}

// onlyFor are packages that only some may import, tests apart, and why.
var onlyFor = []struct {
	packages  string   // a path with all below it
	importers []string // likewise
	why       string
}{
	{"github.com/aws", []string{"agent/uplink", "cmd/obdfleet"}, "the cloud's SDK stays behind the uplink and the desk"},
	{"obdagent/obd/elmsim", []string{"agent/demo"}, "a simulator must not get into the daemon"},
	{"obdagent/gps/nmeasim", []string{"agent/demo"}, "a simulator must not get into the daemon"},
	{"obdagent/agent/uplink/firehosetest", []string{"agent/demo"}, "a simulator must not get into the daemon"},
	{"obdagent/agent/demo", []string{"cmd/obdagent"}, "the daemon must not know of its demonstration"},
	{"obdagent/agent/agenttest", nil, "it is for tests"},
	{"obdagent/cmd", []string{"cmd"}, "arrows run from cmd to the rest"},
	{"testing", []string{"agent/agenttest"}, "it is for tests"},
}

// A goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Module                             *struct {
		Path, Version string
		Main          bool
	}
}

// goList runs go list for the device's system and returns the packages.
func goList(t *testing.T, args ...string) (packages []goPackage) {
	t.Helper()
	out := goTool(t, "arm", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports,Module"}, args...)...)
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := d.Decode(&p)
		if err == io.EOF {
			return packages
		}
		if err != nil {
			t.Fatalf("read what go list says: %v", err)
		}
		packages = append(packages, p)
	}
}

// goTool runs the go command for linux on an architecture, as a release is built, and returns its output.
func goTool(t testing.TB, arch string, args ...string) []byte {
	t.Helper()
	noteSources(t)
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = agenttest.ModuleRoot(t)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out
}

// noteSources looks at all files of the module. What the go command reads does not count when go test decides whether a
// result can be had from its cache; what the test itself looks at does.
func noteSources(t testing.TB) {
	t.Helper()
	err := filepath.WalkDir(agenttest.ModuleRoot(t), func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "dist" || len(e.Name()) > 1 && e.Name()[0] == '.'):
			return fs.SkipDir
		case !e.IsDir():
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatalf("look at the sources: %v", err)
	}
}

// under reports whether a package is path, or below it.
func under(pkg, path string) bool { return pkg == path || strings.HasPrefix(pkg, path+"/") }

func TestTheDeviceLinksOnlyWhatItNeeds(t *testing.T) {
	t.Parallel()
	linked := goList(t, "-deps", "./cmd/obdagent")
	if len(linked) < 100 {
		t.Fatalf("go list names %d packages, which cannot be all", len(linked))
	}
	for _, p := range linked {
		for name, why := range notOnDevice {
			if under(p.ImportPath, name) {
				t.Errorf("%s is linked in, by %s: %s", p.ImportPath, strings.Join(importersOf(linked, p.ImportPath), ", "), why)
			}
		}
	}
}

func importersOf(packages []goPackage, name string) (importers []string) {
	for _, p := range packages {
		if slices.Contains(p.Imports, name) {
			importers = append(importers, p.ImportPath)
		}
	}
	return importers
}

func TestArrowsRunOneWay(t *testing.T) {
	t.Parallel()
	for _, p := range goList(t, "./...") {
		room := strings.TrimPrefix(p.ImportPath, module+"/")
		for _, problem := range wrongArrows(room, p) {
			t.Error(problem)
		}
	}
}

// wrongArrows are the imports that a package must not have.
func wrongArrows(room string, p goPackage) (problems []string) {
	for _, lib := range libraries {
		if !under(room, lib) {
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if under(imported, module) && !under(imported, module+"/"+lib) {
				problems = append(problems, fmt.Sprintf("%s imports %s: %s is a library of its own", room, imported, lib))
			}
		}
	}
	for _, rule := range onlyFor {
		mayImport := func(importer string) bool { return under(room, importer) }
		if under(p.ImportPath, rule.packages) || slices.ContainsFunc(rule.importers, mayImport) {
			continue
		}
		for _, imported := range p.Imports {
			if under(imported, rule.packages) {
				problems = append(problems, fmt.Sprintf("%s imports %s: %s", room, imported, rule.why))
			}
		}
	}
	return problems
}

func TestAWrongArrowIsSeen(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		room string
		p    goPackage
		want int
	}{
		"a library imports another":            {"obd", goPackage{Imports: []string{"obdagent/gps"}}, 1},
		"a library's test imports the agent":   {"gps", goPackage{XTestImports: []string{"obdagent/agent/agenttest"}}, 1},
		"a library imports its simulator":      {"obd", goPackage{Imports: []string{"obdagent/obd/elmsim"}}, 1},
		"a library's test uses its simulator":  {"obd", goPackage{XTestImports: []string{"obdagent/obd/elmsim"}}, 0},
		"a library with a longer name is none": {"obdx", goPackage{Imports: []string{"obdagent/gps"}}, 0},
		"the agent imports cmd":                {"agent", goPackage{Imports: []string{"obdagent/cmd/internal/cli"}}, 1},
		"the agent imports the demo":           {"agent", goPackage{Imports: []string{"obdagent/agent/demo"}}, 1},
		"the agent imports the SDK":            {"agent", goPackage{Imports: []string{"github.com/aws/smithy-go"}}, 1},
		"the uplink imports the SDK":           {"agent/uplink", goPackage{Imports: []string{"github.com/aws/smithy-go"}}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := wrongArrows(test.room, test.p); len(got) != test.want {
				t.Errorf("%d problems, want %d: %q", len(got), test.want, got)
			}
		})
	}
}

func TestEveryDependencyIsAllowedAtItsVersion(t *testing.T) {
	t.Parallel()
	direct := map[string]string{} // module -> version, of all that our packages and their tests import
	packages := goList(t, "-deps", "-test", "./...")
	origin := map[string]goPackage{}
	for _, p := range packages {
		origin[p.ImportPath] = p
	}
	for _, p := range packages {
		if p.Module == nil || !p.Module.Main {
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if m := origin[imported].Module; m != nil && !m.Main {
				direct[m.Path] = m.Version
			}
		}
	}
	if len(direct) < 10 {
		t.Fatalf("only %d modules are imported, which cannot be all: %v", len(direct), direct)
	}
	// go.mod may name more than is imported so far.
	var mod struct {
		Require []struct {
			Path, Version string
			Indirect      bool
		}
	}
	if err := json.Unmarshal(goTool(t, "arm", "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		if _, known := allowed[r.Path]; known || !r.Indirect {
			direct[r.Path] = cmp.Or(direct[r.Path], r.Version)
		}
	}
	for path, version := range direct {
		switch want, ok := allowed[path]; {
		case !ok:
			t.Errorf("%s is not in the list: write the page in docs/decisions that says why it is needed, or do without", path)
		case version != want:
			t.Errorf("%s is at %s; the list says %s", path, version, want)
		}
	}
}

// releaseFlags are those of the Makefile: the one place that says how a release is built.
func releaseFlags(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(agenttest.ModuleRoot(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if flags, ok := strings.CutPrefix(line, "RELEASE_FLAGS = "); ok {
			return strings.Fields(flags)
		}
	}
	t.Fatal("the Makefile has no line RELEASE_FLAGS")
	return nil
}

// buildRelease builds a program as a release is built, and returns its file.
func buildRelease(t testing.TB, arch, program string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), program)
	goTool(t, arch, slices.Concat([]string{"build"}, releaseFlags(t), []string{"-o", file, "./cmd/" + program})...)
	return file
}

func TestTheStrippedARMBinaryIsWithinItsBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: building for arm takes a minute where nothing is cached")
	}
	t.Parallel()
	info, err := os.Stat(buildRelease(t, "arm", "obdagent"))
	if err != nil {
		t.Fatal(err)
	}
	size := float64(info.Size()) / (1 << 20)
	if info.Size() > maxBinary {
		t.Fatalf("%.2f MiB, at most %d: see docs/decisions/0002-binary-size.md for where it goes", size, maxBinary>>20)
	}
	t.Logf("%.2f MiB of %d", size, maxBinary>>20)
}
