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

	// Bucket is the one that existing readers name.
	Bucket = "sd-vehicle-data"

	contractPage = "contract.md"
)

var (
	// contractReader is the existing readers' code, verbatim; TestTheReaderIsTheContracts compares it with the page.
	//go:embed testdata/contract_reader.py
	contractReader string
	//go:embed testdata/contract_prelude.py
	contractPrelude string
	//go:embed testdata/put_objects.py
	putObjects string
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

// ContractReader runs the code of existing readers, unchanged, on the bucket sd-vehicle-data at the endpoint, and returns the
// maximum speed of each VIN, in km/h; NaN for a VIN without a speed. Records without a VIN are not in it. It ends the test as
// [Require] does if Python, boto3 or pandas are absent, and fails it if the reader fails.
func ContractReader(t testing.TB, endpoint string) map[string]float64 {
	t.Helper()
	Python(t, "boto3", "pandas")
	printed := RunPython(t, endpoint, contractPrelude+contractReader)
	maxima, err := parseSeries(printed)
	if err != nil {
		t.Fatalf("read what the readers' code printed: %v\n%s", err, printed)
	}
	return maxima
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
