package status

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"obdagent/agent/record"
)

//go:embed page.html page.css page.js
var pageFiles embed.FS

const (
	// pageLog and pageTrack are what the page shows of the past. 500 points at least 15 m apart are 7 km or more.
	pageLog     = 20
	pageTrack   = 500
	trackStep   = 15 // m
	pageEvery   = time.Second
	pageStreams = 8  // browsers that watch at once: each costs one snapshot a second
	pageConns   = 24 // a browser opens up to six
	pageWrite   = 10 * time.Second
)

// A Page is the local page, what it reads, and /metrics. It changes nothing.
type Page struct {
	snapshot func() Snapshot
	position func() bool // whether the page may show where the vehicle is
	every    time.Duration

	mu      sync.Mutex
	log     ring[string]
	track   ring[point]
	streams int
}

// A point is [lat, lon, km/h, gap]: degrees, and 1 where the line from the point before is not the way that was driven.
type point [4]float64

// NewPage returns a Page that shows snapshot. position is asked each time: it may change.
func NewPage(snapshot func() Snapshot, position func() bool) *Page {
	return &Page{snapshot: snapshot, position: position, every: pageEvery,
		log: ring[string]{size: pageLog}, track: ring[point]{size: pageTrack}}
}

// Line shows a line of the status log.
func (p *Page) Line(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.add(line)
}

// Point shows where the vehicle is, if the page may; NaN where that is not known.
func (p *Page) Point(lat, lon, kmh float64) {
	may := p.position()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch last := p.track.last(); {
	case !may:
		p.track.clear()
	case math.IsNaN(lat) || math.IsNaN(lon):
		if last != nil {
			p.track.gap = true
		}
	case last == nil || p.track.gap || record.Distance(last[0], last[1], lat, lon) >= trackStep:
		at := point{lat, lon, max(kmh, 0), 0}
		if math.IsNaN(kmh) {
			at[2] = 0
		}
		if p.track.gap {
			at[3] = 1
		}
		p.track.add(at)
		p.track.gap = false
	}
}

// view is what the page's script gets: the first time all, then what is new.
type view struct {
	Status Snapshot `json:"status"`
	Log    []string `json:"log,omitempty"`
	Track  []point  `json:"track,omitempty"`
	// Position says whether the page may show it; without, the script forgets what it has.
	Position bool `json:"position"`
}

// since returns the view after the lines and points that were seen already, and how many that are now.
func (p *Page) since(lines, points uint64) (v view, _, _ uint64) {
	v = view{Status: p.snapshot(), Position: p.position()}
	p.mu.Lock()
	defer p.mu.Unlock()
	v.Log = p.log.since(lines)
	if v.Position {
		v.Track = p.track.since(points)
	}
	return v, p.log.count, p.track.count
}

// ring keeps the last size items and counts all.
type ring[T any] struct {
	size  int
	items []T
	count uint64
	gap   bool
}

func (r *ring[T]) add(item T) {
	if len(r.items) == r.size {
		r.items = append(r.items[:0], r.items[1:]...)
	}
	r.items = append(r.items, item)
	r.count++
}

func (r *ring[T]) last() *T {
	if len(r.items) == 0 {
		return nil
	}
	return &r.items[len(r.items)-1]
}

func (r *ring[T]) clear() { r.items, r.gap = nil, false }

// since returns a copy of those after the first seen ones.
func (r *ring[T]) since(seen uint64) []T {
	fresh := min(r.count-min(seen, r.count), uint64(len(r.items)))
	return append([]T(nil), r.items[uint64(len(r.items))-fresh:]...)
}

// Serve serves the page on a TCP address until ctx is done. An empty host is this board alone.
func (p *Page) Serve(ctx context.Context, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port))
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	return p.serveOn(ctx, l, host)
}

func (p *Page) serveOn(ctx context.Context, l net.Listener, host string) error {
	return serveUntil(ctx, bounded{l, make(chan struct{}, pageConns)}, &http.Server{
		Handler: p.Handler(host), MaxHeaderBytes: 16 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: pageWrite, IdleTimeout: 30 * time.Second,
	})
}

// bounded is a listener with at most so many connections at a time; further ones wait in the kernel's queue.
type bounded struct {
	net.Listener
	places chan struct{}
}

// Accept waits for a place, and then for a connection.
func (b bounded) Accept() (net.Conn, error) {
	b.places <- struct{}{}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.places
		return nil, err
	}
	return &placed{Conn: c, leave: sync.OnceFunc(func() { <-b.places })}, nil
}

type placed struct {
	net.Conn
	leave func()
}

// Close frees the place.
func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}

// Handler serves the page to browsers that ask for it by an address, as localhost, by the board's own name, or by host. Any other name is
// a foreign page's that had its name point here (DNS rebinding): such a page could read what it gets.
func (p *Page) Handler(host string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.serveHTML)
	for name, kind := range map[string]string{"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"} {
		body := pageFile(name)
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_ = writeAll(w, body) // the only error is a client that went away, here and below
		})
	}
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, _ *http.Request) { writeSnapshot(w, p.snapshot()) })
	mux.HandleFunc("GET /events", p.serveEvents)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		s := p.snapshot()
		_ = s.WriteMetrics(w)
	})
	own, _ := os.Hostname() // without a name there is one name less to be asked by
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !knownHost(r.Host, host, own) {
			http.Error(w, "ask by the board's address, such as http://127.0.0.1:8327/", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// knownHost tells whether a Host header is one that a browser sends which was sent here on purpose.
func knownHost(asked string, names ...string) bool {
	if host, _, err := net.SplitHostPort(asked); err == nil {
		asked = host
	}
	asked = strings.ToLower(strings.TrimSuffix(asked, "."))
	if net.ParseIP(strings.Trim(asked, "[]")) != nil || asked == "localhost" {
		return true
	}
	for _, name := range names {
		if name = strings.ToLower(name); name != "" && (asked == name || asked == name+".local") { // .local: multicast DNS
			return true
		}
	}
	return false
}

func pageFile(name string) []byte {
	text, err := pageFiles.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded above
	}
	return text
}

// serveHTML serves the page with the screen of obdagent status in it, for browsers without JavaScript, and until the script runs.
func (p *Page) serveHTML(w http.ResponseWriter, _ *http.Request) {
	s := p.snapshot()
	var screen strings.Builder
	_ = s.Render(&screen) // a Builder takes everything
	p.mu.Lock()
	lines := p.log.since(0)
	p.mu.Unlock()
	text := html.EscapeString(screen.String() + "\n" + strings.Join(lines, "\n"))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = writeAll(w, []byte(strings.Replace(string(pageFile("page.html")), "{{status}}", text, 1)))
}

// serveEvents sends the view and then what is new, once a second, as server-sent events (HTML, section 9.2).
func (p *Page) serveEvents(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	full := p.streams >= pageStreams
	if !full {
		p.streams++
	}
	p.mu.Unlock()
	if full {
		http.Error(w, "too many are watching: close another page", http.StatusServiceUnavailable)
		return
	}
	defer func() { p.mu.Lock(); p.streams--; p.mu.Unlock() }()
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	prefix := "retry: 2000\n" // a phone that slept comes back after 2 s
	var lines, points uint64
	for {
		v, l, n := p.since(lines, points)
		text, err := json.Marshal(&v)
		// A phone out of reach is gone after pageWrite; it comes back by itself.
		if err != nil || out.SetWriteDeadline(time.Now().Add(pageWrite)) != nil || writeAll(w, []byte(prefix+"data: "+string(text)+"\n\n")) != nil || out.Flush() != nil {
			return
		}
		lines, points, prefix = l, n, ""
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}
