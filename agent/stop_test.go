package agent

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdagent/agent/clock"
	"obdagent/agent/config"
	"obdagent/agent/record"
	"obdagent/buffer"
	"obdagent/obd"
)

// TestStoppingCommitsAFullQueue: the memory for records that wait for the disk is full, and so is the queue to fusion, when the agent is
// told to stop; the disk has just come back. All that is in memory is committed before it ends.
func TestStoppingCommitsAFullQueue(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	away := filepath.Join(dir, "card") // a file where the card's directory will be
	if err := os.WriteFile(away, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Vehicle.DeviceID = "kennel"
	c.OBD.Port, c.GPS.Source = "/dev/no-such-adapter", config.None // fusion takes what a car tells; none answers there
	c.Buffer.Dir = filepath.Join(away, "buffer")
	c.Uplink.Kind, c.Uplink.Path = config.KindDirectory, filepath.Join(dir, "no", "objects") // nothing is delivered
	if err := os.WriteFile(filepath.Join(dir, "no"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Status.Log, c.Status.Socket = "", ""
	edges := make(chan record.Record, 2*eventQueue)
	a, err := New(t.Context(), Options{Config: &c, Version: "test", OnRecord: func(r record.Record) { edges <- r }, systemd: systemd{notify: func(string) error { return nil }}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()
	noise := rand.NewChaCha8([32]byte{1}) // that no compression makes small
	filler := make([]byte, 300)
	fillers := uint64(0)
	for ; a.buffer.Stats().LostRecords[buffer.ReasonOverflow] == 0; fillers++ {
		_, _ = noise.Read(filler) // it never fails
		if _, err := a.buffer.Append(filler); err != nil {
			t.Fatal(err)
		}
	}
	if s := a.buffer.Stats(); !strings.HasPrefix(s.State, buffer.StateStorageFailed) {
		t.Fatalf("the disk is there: %+v", s)
	}
	if err := os.Remove(away); err != nil {
		t.Fatal(err)
	}
	for i := range eventQueue { // each is a start or a stop, and gives a record at once
		a.send(event{sample: &obd.Sample{Signal: obd.SignalSpeed, Value: float64(30 * ((i + 1) % 2)), Mono: clock.Boottime()}})
	}
	told := eventQueue - a.dropped.Load()
	began := time.Now()
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}
	t.Logf("from the order to stop to the end with %d records in memory: %v", fillers+uint64(len(edges)), time.Since(began))
	if n := uint64(len(edges)); n < told || n != a.made.Load() || a.refused.Load() != 0 {
		t.Errorf("%d records of %d events; %d were made, and %d refused", n, told, a.made.Load(), a.refused.Load())
	}
	s := a.buffer.Stats()
	if s.Unsynced != 0 {
		t.Errorf("not on disk: %d", s.Unsynced)
	}
	log, err := buffer.Open(buffer.Options{Dir: c.Buffer.Dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	r := log.Reader(0)
	defer r.Close()
	kept := uint64(0)
	for {
		e, ok, err := r.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if e.Lost == nil {
			kept++
		}
	}
	if lost := s.LostRecords[buffer.ReasonOverflow]; kept+lost != fillers+a.made.Load() || kept < fillers*9/10 {
		t.Errorf("%d records are on disk, %d were given up for want of memory, of %d and %d", kept, lost, fillers, a.made.Load())
	}
}
