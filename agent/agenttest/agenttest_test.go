package agenttest_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"obdagent/agent/agenttest"
)

func TestMotoAnswersAndEndsWithItsTest(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("answers", func(t *testing.T) {
		url = agenttest.Moto(t)
		if err := get(t, url); err != nil {
			t.Errorf("get: %v", err)
		}
	})
	if url == "" {
		t.Skip("there was no moto_server")
	}
	if err := get(t, url); err == nil {
		t.Error("moto_server still answers after its test")
	}
}

func get(t *testing.T, url string) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/moto-api/", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer http.DefaultClient.CloseIdleConnections()
	return answer.Body.Close()
}

func TestNMEADirHoldsRecordings(t *testing.T) {
	t.Parallel()
	logs, err := filepath.Glob(filepath.Join(agenttest.NMEADir(t), "*.log"))
	if err != nil || len(logs) == 0 {
		t.Errorf("%d recordings, error %v; want some", len(logs), err)
	}
}

// TestHelper is the body of the child processes below, in which a need is absent.
func TestHelper(t *testing.T) {
	t.Parallel()
	need := os.Getenv("OBDAGENT_TEST_HELPER_NEED")
	if need == "" {
		t.Skip("runs as the child of TestANeedThatIsAbsent")
	}
	agenttest.Require(t, need)
	t.Log("went on")
}

func TestANeedThatIsAbsent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, need, list, want string
		fails                  bool
	}{
		{"skips with the reason", "no-such-program", "", "no-such-program is missing: look for the program", false},
		{"skips if other needs must be there", "no-such-program", "moto,no-such", "--- SKIP", false},
		{"fails if it must be there", "no-such-program", "moto, no-such-program", "OBDAGENT_TEST_REQUIRE says that it must be there", true},
		{"skips for a Python module too", "python-no_such_module", "", "python3-no_such_module", false},
		{"is not one that is there", "go", "go", "went on", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelper$", "-test.v")
			child.Env = append(os.Environ(), "OBDAGENT_TEST_HELPER_NEED="+test.need, "OBDAGENT_TEST_REQUIRE="+test.list)
			out, err := child.CombinedOutput()
			if failed := err != nil; failed != test.fails || !strings.Contains(string(out), test.want) {
				t.Errorf("failed: %v, said %s\nwant failed: %v, and %q", failed, out, test.fails, test.want)
			}
		})
	}
}

func TestContractReaderReadsABucket(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "contract")
	agenttest.Python(t, "boto3", "pandas")
	endpoint := agenttest.Moto(t)
	dir := t.TempDir()
	const line = "939ed1d1-1740-420c-8906-445278573c7f NaN %s NaN NaN %s\n"
	for name, content := range map[string]string{
		"one": fmt.Sprintf(line, "WVWZZZ1JZXW000001", "25") + fmt.Sprintf(line, "WVWZZZ1JZXW000002", "NaN"),
		"two": fmt.Sprintf(line, "WVWZZZ1JZXW000001", "31.5"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	agenttest.PutObjects(t, endpoint, agenttest.Bucket, dir)
	got := agenttest.ContractReader(t, endpoint)
	if s := fmt.Sprint(got); s != "map[WVWZZZ1JZXW000001:31.5 WVWZZZ1JZXW000002:NaN]" {
		t.Errorf("maximum speeds %s", s)
	}
	if s := agenttest.CreateStream(t, endpoint); !strings.HasSuffix(s, ":deliverystream/"+agenttest.Stream) {
		t.Errorf("the stream's ARN is %s", s)
	}
	back := t.TempDir()
	if keys := agenttest.GetObjects(t, endpoint, agenttest.Bucket, back); fmt.Sprint(keys) != "[one two]" {
		t.Errorf("the bucket has %v", keys)
	}
	for _, name := range []string{"one", "two"} {
		put, err1 := os.ReadFile(filepath.Join(dir, name))
		got, err2 := os.ReadFile(filepath.Join(back, name))
		if err1 != nil || err2 != nil || string(put) != string(got) {
			t.Errorf("object %s came back as %q, was %q (%v, %v)", name, got, put, err1, err2)
		}
	}
}
