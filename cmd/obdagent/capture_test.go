package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"obdagent/agent/status"
	"obdagent/cmd/internal/cli"
)

// TestDecodeRecognisesACapture has a request, its answer in two pieces, and a sentence of the receiver between.
func TestDecodeRecognisesACapture(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "van.capture")
	text := `{"mono_ns":1000000,"port":"obd","dir":"tx","data":"MDEwRDENMDE="}
{"mono_ns":9000000,"port":"obd","dir":"rx","data":"N0U4MDM0MQ=="}
{"mono_ns":9500000,"port":"gps","dir":"rx","data":"JEdQUk1D"}
{"mono_ns":10000000,"port":"obd","dir":"rx","data":"MEQzMg0NPg=="}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := cli.Run(t.Context(), rootCommand(), []string{"decode", path}, &stdout, &stderr); code != cli.ExitDone {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	want := `{"mono_ns":1000000,"port":"obd","command":"010D1","reply":["7E803410D32"],"latency_ms":8,"prompt":true,"signal":"speed","value":50,"unit":"km/h"}` + "\n"
	if stdout.String() != want {
		t.Errorf("got  %swant %s", &stdout, want)
	}
	if !strings.Contains(stderr.String(), "4 pieces, 1 exchanges with the adapter, 1 of them with a value; 0 epochs") {
		t.Errorf("summary %s", &stderr)
	}
}

// TestWhatTheDaemonCapturesIsDecoded: both ports, with values and fixes; the file is the owner's alone, and none is written over.
func TestWhatTheDaemonCapturesIsDecoded(t *testing.T) {
	t.Parallel()
	v := newVan(t)
	file := v.path("van.capture")
	a := v.run("--capture", file)
	a.until("both sources", func(s status.Snapshot) bool { return bothLive(s) && s.Car.Answers > 20 && s.GPS.Fixes > 3 })
	if code, _ := a.stop(syscall.SIGTERM); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the capture: %v, %v", info, err)
	}
	r := obdagent(t, v.dir, "decode", file)
	for _, want := range []string{`"command":"ATI"`, `"signal":"speed","value":`, `"lat":`} {
		if r.code != 0 || !strings.Contains(r.stdout, want) {
			t.Errorf("exit status %d, no %s in %.2000s", r.code, want, r.stdout)
		}
	}
	if again := obdagent(t, v.dir, "run", "--config", "c.toml", "--capture", file); again.code == 0 || !strings.Contains(again.stderr, file) {
		t.Errorf("over a capture that is there: %+v", again)
	}
}
