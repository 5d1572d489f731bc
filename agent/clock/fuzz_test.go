package clock_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"obdagent/agent/clock"
)

// written is a file as a clock writes it.
func written(f *testing.F, id string) []byte {
	f.Helper()
	path := filepath.Join(f.TempDir(), "clock.json")
	c, err := clock.Open(clock.Options{BootID: id, Build: build, Path: path,
		Boottime: func() time.Duration { return 0 }, System: func() time.Time { return time.Unix(12, 0) }})
	if err != nil {
		f.Fatal(err)
	}
	for mono := time.Second; mono < 5*time.Second; mono += time.Second {
		c.Epoch(truth.Add(mono), mono)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	return text
}

// FuzzOpen: whatever a disk makes of the file, there is a clock, and it keeps what it learns.
func FuzzOpen(f *testing.F) {
	for _, id := range []string{"a", "b"} {
		f.Add(written(f, id))
	}
	f.Add([]byte(`{"boots":[],"crc32c":1650448448}`))
	f.Add([]byte(`{"boots":[{"boot_id":"b","source":"gnss","pairs":[`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "clock.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		mono := time.Hour
		open := func() (*clock.Clock, error) {
			return clock.Open(clock.Options{BootID: "b", Build: build, Path: path,
				Boottime: func() time.Duration { return mono }, System: func() time.Time { return time.Unix(12, 0) }})
		}
		c, _ := open() // an error only says that earlier boots are forgotten
		if c == nil {
			t.Fatal("no clock")
		}
		for _, id := range []string{"a", "b", ""} {
			if _, src, _ := c.Date(id, 2, time.Time{}); src == clock.System {
				t.Errorf("dated by the system clock, which nobody asked")
			}
		}
		for range 5 {
			mono += time.Second
			c.Epoch(truth.Add(mono), mono)
		}
		again, err := open()
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if got, src := again.At(mono); src != clock.GNSS || got.Sub(truth.Add(mono)).Abs() > time.Second {
			t.Errorf("after a restart %v, %s; want %v", got, src, truth.Add(mono))
		}
	})
}
