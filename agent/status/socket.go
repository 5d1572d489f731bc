package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Path is where the snapshot is served, on the Unix socket.
const Path = "/v1/status"

// Errors of Fetch that callers branch on.
var (
	ErrNotRunning = errors.New("obdagent is not running")  // nobody serves the socket
	ErrNoAnswer   = errors.New("obdagent gives no answer") // it is served, and the answer does not come or is cut: it stops, or is stuck
)

// Serve answers GET Path with the snapshot, on a Unix socket that everyone on the board may read, until ctx is done. It
// removes what an earlier, dead process left at socket, but refuses to take it from a living one.
func Serve(ctx context.Context, socket string, snapshot func() Snapshot) error {
	l, err := listen(ctx, socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		s := snapshot()
		// The only error is a client that went away.
		_ = json.NewEncoder(w).Encode(&s)
	})
	server := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		err = server.Close()
		<-served
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

func listen(ctx context.Context, socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, fmt.Errorf("%w: name a place in status.socket that can be written", err)
	}
	if _, err := fetch(ctx, socket); err == nil {
		return nil, fmt.Errorf("another obdagent is running and serves %s: stop it, or name another place in status.socket", socket)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: name a place in status.socket that can be written", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("%w: name a place in status.socket that can be written", err)
	}
	// Connecting to a Unix socket needs write permission (unix(7)).
	if err := os.Chmod(socket, 0o666); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s to everyone: %w", socket, err), l.Close())
	}
	return l, nil
}

// Fetch asks the agent that serves socket for its snapshot. The error is ErrNotRunning if there is none.
func Fetch(ctx context.Context, socket string) (Snapshot, error) {
	body, err := fetch(ctx, socket)
	if err != nil {
		return Snapshot{}, err
	}
	var s Snapshot
	if err := json.Unmarshal(body, &s); err != nil {
		return Snapshot{}, fmt.Errorf("status: what answers on %s is not obdagent: %w", socket, err)
	}
	return s, nil
}

func fetch(ctx context.Context, socket string) ([]byte, error) {
	// A snapshot is made in microseconds; five seconds is a board that swaps.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://obdagent"+Path, nil)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w (no answer on %s)", ErrNotRunning, socket)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("status: ask %s: %w", socket, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w on %s: %w", ErrNoAnswer, socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status: %s answers %s", socket, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%w on %s: %w", ErrNoAnswer, socket, err)
	}
	return body, nil
}
