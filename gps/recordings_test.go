package gps_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// recordings returns the directory of recorded receivers that lies beside the checkout, or skips the test.
func recordings(t testing.TB) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "..", "..", "shared", "nmea")
	if _, err := os.Stat(dir); err != nil {
		if slices.Contains(strings.Split(os.Getenv("OBDAGENT_TEST_REQUIRE"), ","), "nmea") {
			t.Fatalf("the recordings are required: %v", err)
		}
		t.Skipf("no recordings of receivers at ../shared/nmea: %v", err)
	}
	return dir
}

// recordingNames lists all recordings, relative to the directory.
func recordingNames(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.log", "mixed/*.log"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			name, err := filepath.Rel(dir, f)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
	}
	if len(names) < 50 {
		t.Fatalf("only %d recordings in %s: expected more than 50", len(names), dir)
	}
	return names
}

// loadRecording returns the bytes that the receiver sent.
func loadRecording(t testing.TB, dir, name string) []byte {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if name == "mixed/tcp-torture.log" {
		// '|' marks packet borders for gpsd's test harness, which leaves it out.
		log = bytes.ReplaceAll(log, []byte("|"), nil)
	}
	return log
}
