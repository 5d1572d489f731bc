package agenttest

import (
	"bytes"
	"context"
	_ "embed"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// pythonPath is the system's Python: the one that the distribution's packages (python3-boto3, python3-pandas) are for.
	pythonPath = "/usr/bin/python3"
	// pythonTime is many times what importing pandas takes on a slow machine.
	pythonTime = 2 * time.Minute

	// Bucket is the one that existing readers name, Stream the one that delivers into it, and Role what Firehose assumes for it.
	Bucket = "sd-vehicle-data"
	Stream = "gps-delivery-stream"
	Role   = "firehoseDeliveryRole"

	contractPage = "contract.md"
)

var (
	//go:embed testdata/contract_prelude.py
	contractPrelude string
	//go:embed testdata/put_objects.py
	putObjects string
	//go:embed testdata/get_objects.py
	getObjects string
	//go:embed testdata/create_stream.py
	createStream string
)

// Python ends the test as [Require] does unless the system's Python has all these modules, and returns its path.
func Python(t testing.TB, modules ...string) string {
	t.Helper()
	for _, m := range modules {
		Require(t, "python-"+m)
	}
	return pythonPath
}

// RunPython runs a script with the system's Python and returns what it printed. The environment holds nothing but
// ENDPOINT, credentials that a look-alike takes, and what is needed to find programs. A script that fails, fails the test.
func RunPython(t testing.TB, endpoint, script string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pythonTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, pythonPath, append([]string{"-"}, args...)...)
	cmd.Stdin = strings.NewReader(script)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "ENDPOINT=" + endpoint,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		// One thread is enough for a few lines, and starts at once.
		"OPENBLAS_NUM_THREADS=1",
	}
	if err := cmd.Run(); err != nil {
		t.Fatalf("run Python: %v\n%s", err, stderr.String())
	}
	return stdout.String()
}

// PutObjects puts every file below dir into the bucket, which it makes if need be, with boto3.
func PutObjects(t testing.TB, endpoint, bucket, dir string) {
	t.Helper()
	Python(t, "boto3")
	RunPython(t, endpoint, putObjects, bucket, dir)
}

// GetObjects gets every object of the bucket with boto3, below dir under its key, and returns the keys in the order in which
// the bucket lists them.
func GetObjects(t testing.TB, endpoint, bucket, dir string) []string {
	t.Helper()
	Python(t, "boto3")
	return strings.Fields(RunPython(t, endpoint, getObjects, bucket, dir))
}

// CreateStream makes [Bucket], [Role] and [Stream] with boto3, as an owner of an account would: Direct PUT, delivered to the
// bucket. It returns the stream's ARN.
func CreateStream(t testing.TB, endpoint string) string {
	t.Helper()
	Python(t, "boto3")
	return strings.TrimSpace(RunPython(t, endpoint, createStream, Bucket, Role, Stream))
}

// ContractReader runs the code of existing readers, as it stands on the contract's page, on the bucket sd-vehicle-data at the
// endpoint, and returns the maximum speed of each VIN, in km/h; NaN for a VIN without a speed. Records without a VIN are not in
// it. It ends the test as [Require] does if the page, Python, boto3 or pandas are absent, and fails it if the reader fails.
func ContractReader(t testing.TB, endpoint string) map[string]float64 {
	t.Helper()
	reader := contractReader(t)
	Python(t, "boto3", "pandas")
	printed := RunPython(t, endpoint, contractPrelude+reader)
	maxima, err := parseSeries(printed)
	if err != nil {
		t.Fatalf("read what the readers' code printed: %v\n%s", err, printed)
	}
	return maxima
}

// contractReader is the code of existing readers: the page's one block of Python, verbatim.
func contractReader(t testing.TB) string {
	t.Helper()
	Require(t, "contract")
	page, err := os.ReadFile(beside(t, contractPage))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```python\n")
	code, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("%s has no block of Python", contractPage)
	}
	return code
}

// parseSeries reads a pandas series as printed: the index's name, then an index and a value a line, then its name and type.
func parseSeries(printed string) (map[string]float64, error) {
	maxima := map[string]float64{}
	for _, line := range strings.Split(printed, "\n") {
		columns := strings.Fields(line)
		if len(columns) != 2 || strings.HasSuffix(columns[0], ":") {
			continue
		}
		if columns[1] == "NaN" {
			maxima[columns[0]] = math.NaN()
			continue
		}
		value, err := strconv.ParseFloat(columns[1], 64)
		if err != nil {
			return nil, err
		}
		maxima[columns[0]] = value
	}
	return maxima, nil
}
