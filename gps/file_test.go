package gps_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/gps"
)

func TestFileIsPlayedAtItsPaceWithDatesOfNow(t *testing.T) {
	t.Parallel()
	dir := recordings(t)
	synctest.Test(t, func(t *testing.T) {
		b := &bench{}
		var late []time.Duration
		h := b.handler()
		h.Fix = func(f gps.Fix) { late = append(late, time.Since(f.Time)) }
		r, err := gps.New(gps.Options{Source: "file:" + filepath.Join(dir, "furuno_gl_ga.log")})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		begin := time.Now()
		go func() { done <- r.Run(ctx, h) }()
		for r.Status().State != gps.StateEnded {
			if time.Since(begin) > time.Minute {
				t.Fatalf("did not end: %+v", r.Status())
			}
			after(100 * time.Millisecond)
		}
		if d := time.Since(begin); d < 15*time.Second || d > 16*time.Second {
			t.Errorf("sixteen epochs at 1 Hz took %s", d)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if len(late) != 16 {
			t.Fatalf("%d epochs, want 16", len(late))
		}
		for i, d := range late {
			if d < 0 || d > 1300*time.Millisecond {
				t.Errorf("epoch %d is dated %s before it came", i, d)
			}
		}
		if d := cmp.Diff("probing fix ended closed", b.history()); d != "" {
			t.Error(d)
		}
	})
}

func TestMissingFileIsAbsentAndTriedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{}
		name := filepath.Join(dir, "drive.nmea")
		r, err := gps.New(gps.Options{Source: "file:" + name})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx, b.handler()) }()
		after(time.Second)
		if s := r.Status(); s.State != gps.StateAbsent || !strings.Contains(s.Reason, name) {
			t.Errorf("%+v", s)
		}
		if err := os.WriteFile(name, []byte(burst(0)+burst(1)), 0o600); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if h := b.history(); h != "absent probing fix ended" {
			t.Errorf("states %q", h)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
