package status_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/status"
)

func serve(t *testing.T, socket string) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- status.Serve(ctx, socket, driving) }()
	return func() error { cancel(); return <-done }
}

func fetched(t *testing.T, socket string) status.Snapshot {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		s, err := status.Fetch(t.Context(), socket)
		if err == nil {
			return s
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
}

func TestWhatIsServedIsFetched(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	if _, err := status.Fetch(t.Context(), socket); !errors.Is(err, status.ErrNotRunning) {
		t.Errorf("before: %v, want ErrNotRunning", err)
	}
	stop := serve(t, socket)
	got := fetched(t, socket)
	want := driving()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v: everyone on the board may read", info.Mode(), err)
	}
	if err := status.Serve(t.Context(), socket, driving); err == nil || !strings.Contains(err.Error(), "another obdagent is running") {
		t.Errorf("a second server: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := status.Fetch(t.Context(), socket); !errors.Is(err, status.ErrNotRunning) {
		t.Errorf("after: %v, want ErrNotRunning", err)
	}
}

func TestTheSocketOfADeadProcessIsTakenOver(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := status.Fetch(t.Context(), socket); !errors.Is(err, status.ErrNotRunning) {
		t.Errorf("a dead socket: %v, want ErrNotRunning", err)
	}
	stop := serve(t, socket)
	if s := fetched(t, socket); s.DeviceID != driving().DeviceID {
		t.Errorf("device %s", s.DeviceID)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// serveEach serves what answer returns.
func serveEach(t *testing.T, answer func() status.Snapshot) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- status.Serve(ctx, socket, answer) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	fetched(t, socket)
	return socket
}

func TestWaitEndsWithOKOrWithTheTime(t *testing.T) {
	t.Parallel()
	asked := 0
	soon := serveEach(t, func() status.Snapshot { // called by one client at a time
		s := driving()
		if asked++; asked < 3 { // fetched is the first
			s.State = status.Waiting
		} else {
			s.State = status.OK
		}
		return s
	})
	if s, err := status.Wait(t.Context(), soon, time.Minute); err != nil || s.State != status.OK {
		t.Errorf("soon OK: %s, %v", s.State, err)
	}
	never := serveEach(t, func() status.Snapshot { s := driving(); s.State = status.Degraded; return s })
	if s, err := status.Wait(t.Context(), never, 600*time.Millisecond); err != nil || s.State != status.Degraded {
		t.Errorf("never OK: %s, %v", s.State, err)
	}
	if _, err := status.Wait(t.Context(), filepath.Join(t.TempDir(), "none"), 10*time.Millisecond); !errors.Is(err, status.ErrNotRunning) {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := status.Wait(ctx, never, time.Hour); err == nil {
		t.Error("a wait that was ended is no answer")
	}
}

// A screen is what a watcher writes to: it tells when something new stands there.
type screen struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		select {
		case s.wrote <- struct{}{}:
		default:
		}
	}()
	return s.text.Write(p)
}

// watched is what a watcher has written by its nth look.
func watched(t *testing.T, socket string, onScreen bool, n int) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &screen{wrote: make(chan struct{}, 1)}
	done := make(chan error, 1)
	go func() {
		done <- status.Watch(ctx, out, socket, onScreen, (*status.Snapshot).JSONLine, func(w io.Writer, err error) error {
			if !errors.Is(err, status.ErrNotRunning) {
				return err
			}
			_, err = fmt.Fprintln(w, "gone")
			return err
		})
	}()
	deadline := time.After(time.Minute)
	for {
		select {
		case <-out.wrote:
		case err := <-done:
			t.Fatalf("the watch has ended: %v", err)
		case <-deadline:
			t.Fatal("nothing is written")
		}
		out.mu.Lock()
		text := out.text.String()
		out.mu.Unlock()
		if strings.Count(text, "\n") >= n {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("interrupted: %v", err)
			}
			return text
		}
	}
}

func TestAWatchGoesOnWhileTheAgentComesAndGoes(t *testing.T) {
	t.Parallel()
	there := watched(t, serveEach(t, driving), false, 2)
	for line := range strings.Lines(there) {
		var s status.Snapshot
		if err := json.Unmarshal([]byte(line), &s); err != nil || s.DeviceID != driving().DeviceID {
			t.Errorf("line %q: %v", line, err)
		}
	}
	if gone := watched(t, filepath.Join(t.TempDir(), "none"), true, 2); gone != "\x1b[2J\x1b[Hgone\x1b[K\n\x1b[J\x1b[Hgone\x1b[K\n\x1b[J" {
		t.Errorf("on the screen: %q", gone)
	}
}

func TestAnAnswerThatIsCutIsNoAnswer(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	if _, err := status.Fetch(t.Context(), socket); !errors.Is(err, status.ErrNoAnswer) {
		t.Errorf("error %v", err)
	}
}
