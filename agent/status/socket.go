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
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Path is where the snapshot is served, on the Unix socket.
const Path = "/v1/status"

// Errors that callers branch on.
var (
	ErrNotRunning = errors.New("obdagent is not running")  // nobody serves the socket
	ErrNoAnswer   = errors.New("obdagent gives no answer") // it is served, and the answer does not come or is cut: it stops, or is stuck
	ErrNotAllowed = errors.New("only root and the user that the agent runs as may do this")
)

// Serve answers GET Path with the snapshot, on a Unix socket that everyone on the board may read, until ctx is done. It
// removes what an earlier, dead process left at socket, but refuses to take it from a living one. more add what else is served;
// who serves what not everyone may have puts it behind Privileged.
func Serve(ctx context.Context, socket string, snapshot func() Snapshot, more ...func(*http.ServeMux)) error {
	l, err := listen(ctx, socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, _ *http.Request) { writeSnapshot(w, snapshot()) })
	for _, add := range more {
		add(mux)
	}
	return serveUntil(ctx, l, &http.Server{
		Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerUID(c))
		},
	})
}

// serveUntil serves until ctx is done, and waits for the requests that are under way, which end with ctx, for a moment.
func serveUntil(ctx context.Context, l net.Listener, server *http.Server) error {
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 300*time.Millisecond)
		defer cancel()
		if server.Shutdown(last) != nil {
			err = server.Close()
		}
		<-served
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

func writeSnapshot(w http.ResponseWriter, s Snapshot) {
	w.Header().Set("Content-Type", "application/json")
	// The only error is a client that went away.
	_ = json.NewEncoder(w).Encode(&s)
}

type peerKey struct{}

// peerUID is the user at the other end of a Unix socket, -1 if the kernel does not tell (unix(7), SO_PEERCRED).
func peerUID(c net.Conn) int {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return -1
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return -1
	}
	uid := -1
	if err := raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	}); err != nil {
		return -1
	}
	return uid
}

// Privileged lets only root and the agent's own user through: where the van is and how the agent works is not everyone's.
func Privileged(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if uid, ok := r.Context().Value(peerKey{}).(int); !ok || uid != 0 && uid != os.Getuid() {
			http.Error(w, ErrNotAllowed.Error(), http.StatusForbidden)
			return
		}
		h(w, r)
	}
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

// answerTime is how long the agent may take for an answer: it makes one in microseconds; this is a board that swaps.
const answerTime = 5 * time.Second

func fetch(ctx context.Context, socket string) ([]byte, error) {
	return ask(ctx, socket, http.MethodGet, Path)
}

// ask sends one request and returns the whole answer.
func ask(ctx context.Context, socket, method, path string) (body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err = open(ctx, socket, method, path, func(r io.Reader) error {
		var err error
		if body, err = io.ReadAll(io.LimitReader(r, 1<<20)); err != nil {
			return fmt.Errorf("%w on %s: %w", ErrNoAnswer, socket, err)
		}
		return nil
	})
	return body, err
}

// open sends one request and hands over the body of the answer.
func open(ctx context.Context, socket, method, path string, read func(io.Reader) error) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://obdagent"+path, nil)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w (no answer on %s)", ErrNotRunning, socket)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("status: ask %s: %w", socket, err)
	}
	if err != nil {
		return fmt.Errorf("%w on %s: %w", ErrNoAnswer, socket, err)
	}
	defer resp.Body.Close() // nothing was written: an error of Close says nothing about what was read
	switch resp.StatusCode {
	case http.StatusOK:
		return read(resp.Body)
	case http.StatusForbidden:
		return ErrNotAllowed
	case http.StatusNotFound:
		return fmt.Errorf("status: what runs on %s is another version of obdagent, which cannot do this", socket)
	}
	why, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // without it the status has to do
	return fmt.Errorf("status: %s answers %s: %s", socket, resp.Status, strings.TrimSpace(string(why)))
}
