package gps_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"obdagent/gps"
)

// The memory's file comes into being between a pulse without a bound and the next one.
func TestTheMemorysDiskHasNoBound(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gps.json")
	last, during := time.Duration(-1), time.Duration(-1)
	onBench(t, map[string]int{"/dev/ttyUSB0": 9600}, gps.Options{Source: "/dev/ttyUSB0", Memory: path, Pulse: func(within time.Duration) {
		if _, err := os.Stat(path); err == nil && during < 0 {
			during = last
		}
		last = within
	}}, func(t *testing.T, _ *bench, _ *gps.Receiver) {
		after(10 * time.Second)
		if during != 0 || last <= 0 {
			t.Errorf("the file was written within %v (-1ns: never), and after it %v are given", during, last)
		}
	})
}
