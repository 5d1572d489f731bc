package status

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Where the feed and the log's level are served, on the Unix socket.
const (
	tailPath  = "/v1/tail"
	levelPath = "/v1/log-level"
)

// feedWrite is how long a reader may be stopped before it is taken for dead: long enough for who reads slowly, and it costs nothing but
// its queue.
const feedWrite = time.Minute

// Endpoint serves the feed: JSON lines of Events until the reader goes away. kind chooses; without it all kinds come.
func (f *Feed) Endpoint(mux *http.ServeMux) {
	mux.HandleFunc("GET "+tailPath, Privileged(func(w http.ResponseWriter, r *http.Request) {
		kinds := r.URL.Query()["kind"]
		for _, k := range kinds {
			if !slices.Contains(Kinds, k) {
				http.Error(w, fmt.Sprintf("no kind %q: use %s", k, strings.Join(Kinds, ", ")), http.StatusBadRequest)
				return
			}
		}
		if len(kinds) == 0 {
			kinds = Kinds
		}
		reader := f.watch(kinds)
		if reader == nil {
			http.Error(w, fmt.Sprintf("%d are watching already: stop one of them", feedReaders), http.StatusServiceUnavailable)
			return
		}
		defer f.unwatch(reader)
		w.Header().Set("Content-Type", "application/jsonl")
		stream(r.Context(), w, reader.events)
	}))
}

// stream writes what comes until the reader is gone.
func stream(ctx context.Context, w http.ResponseWriter, events <-chan []byte) {
	out := http.NewResponseController(w)
	write := func(line []byte) bool {
		if out.SetWriteDeadline(time.Now().Add(feedWrite)) != nil || writeAll(w, line) != nil {
			return false
		}
		return len(events) > 0 || out.Flush() == nil // one flush for all that is there
	}
	if !write(nil) { // the header tells the reader that he watches
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case line := <-events:
			if !write(line) {
				return
			}
		}
	}
}

func writeAll(w io.Writer, p []byte) error {
	_, err := w.Write(p)
	return err
}

// Tail asks the agent that serves socket for what passes through it, and tells each event until ctx is done or the agent ends,
// both of which are no errors. begun, if set, is called once the agent has agreed.
func Tail(ctx context.Context, socket string, kinds []string, begun func(), each func(Event) error) error {
	var stopped error // of each
	err := open(ctx, socket, http.MethodGet, tailPath+"?"+url.Values{"kind": kinds}.Encode(), func(body io.Reader) error {
		if begun != nil {
			begun()
		}
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e Event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				return fmt.Errorf("status: what answers on %s is not obdagent: %w", socket, err)
			}
			if stopped = each(e); stopped != nil {
				return stopped
			}
		}
		return lines.Err()
	})
	if stopped == nil && (ctx.Err() != nil || errors.Is(err, io.ErrUnexpectedEOF)) {
		return nil
	}
	return err
}

// LogLevel serves the level of the agent's log, and changes it.
type LogLevel struct {
	Level   *slog.LevelVar
	Changed func(from, to slog.Level) // told after each change
}

// A LevelChange is the answer: the level before and the one in force.
type LevelChange struct {
	Was string `json:"was"`
	Now string `json:"now"`
}

// Endpoint serves it: GET tells the level, PUT with ?level= changes it.
func (l LogLevel) Endpoint(mux *http.ServeMux) {
	answer := func(w http.ResponseWriter, was, now slog.Level) {
		w.Header().Set("Content-Type", "application/json")
		// The only error is a client that went away.
		_ = json.NewEncoder(w).Encode(LevelChange{levelName(was), levelName(now)})
	}
	mux.HandleFunc("GET "+levelPath, func(w http.ResponseWriter, _ *http.Request) {
		now := l.Level.Level()
		answer(w, now, now)
	})
	mux.HandleFunc("PUT "+levelPath, Privileged(func(w http.ResponseWriter, r *http.Request) {
		to, err := ParseLevel(r.FormValue("level"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		was := l.Level.Level()
		l.Level.Set(to)
		if was != to && l.Changed != nil {
			l.Changed(was, to)
		}
		answer(w, was, to)
	}))
}

// SetLogLevel changes the level of the agent that serves socket; without a name it only asks.
func SetLogLevel(ctx context.Context, socket, name string) (c LevelChange, err error) {
	method, path := http.MethodGet, levelPath
	if name != "" {
		method, path = http.MethodPut, levelPath+"?"+url.Values{"level": {name}}.Encode()
	}
	body, err := ask(ctx, socket, method, path)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return c, fmt.Errorf("status: what answers on %s is not obdagent: %w", socket, err)
	}
	return c, nil
}

// ParseLevel reads debug, info, warn or error.
func ParseLevel(name string) (slog.Level, error) {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(name, l.String()) {
			return l, nil
		}
	}
	return 0, fmt.Errorf("there is no level %q: use debug, info, warn or error", name)
}

func levelName(l slog.Level) string { return strings.ToLower(l.String()) }
