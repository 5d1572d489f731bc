package obd_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

// The memory's file comes into being between a pulse without a bound and the next one.
func TestTheMemorysDiskHasNoBound(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "obd.json")
	synctest.Test(t, func(t *testing.T) {
		last, during := time.Duration(-1), time.Duration(-1)
		b := newBench(t, elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50)}), obd.Options{Memory: path, Pulse: func(within time.Duration) {
			if _, err := os.Stat(path); err == nil && during < 0 {
				during = last
			}
			last = within
		}})
		b.run(t)
		b.until(t, obd.StateLive, time.Minute)
		pass(5 * time.Second)
		if during != 0 || last <= 0 {
			t.Errorf("the file was written within %v (-1ns: never), and after it %v are given", during, last)
		}
	})
}
