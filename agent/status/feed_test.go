package status_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/status"
)

var eight = time.Date(2026, time.November, 23, 8, 0, 0, 0, time.UTC)

// tailed runs Tail against a feed on a socket of its own, tells the feed something, and returns the events, without their times,
// up to one with the text "end".
func tailed(t *testing.T, kinds []string, say func(*status.Feed)) []status.Event {
	t.Helper()
	feed := status.NewFeed(func() time.Time { return eight })
	socket := filepath.Join(t.TempDir(), "s")
	stop := background(t, func(ctx context.Context) error { return status.Serve(ctx, socket, driving, feed.Endpoint) })
	fetched(t, socket) // it listens
	var events []status.Event
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err := status.Tail(ctx, socket, kinds, func() { say(feed) }, func(e status.Event) error {
		if !e.Time.Equal(eight) {
			t.Errorf("an event of %v", e.Time)
		}
		e.Time = time.Time{}
		if e.Text == "end" || strings.Contains(e.Text, "unexpected end of JSON") {
			return enough
		}
		events = append(events, e)
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatalf("%v after %+v", err, events)
	}
	if feed.Watched() {
		// The handler sees that the reader is gone when it writes, or when its connection ends.
		stop()
		if feed.Watched() {
			t.Error("the reader is gone and yet counted")
		}
	}
	return events
}

func background(t *testing.T, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestTheFeedTellsWholeLinesAndReplies(t *testing.T) {
	t.Parallel()
	got := tailed(t, nil, func(f *status.Feed) {
		f.NMEA("rx", []byte("$GPRMC,08"))
		f.OBD("tx", []byte("010D\r"))
		f.NMEA("rx", []byte("0000*00\r\n$GP"))
		f.OBD("rx", []byte("010D\r41 0D"))
		f.OBD("rx", []byte(" 32\r\r>"))
		f.OBD("tx", []byte("010C\r"))
		f.OBD("rx", []byte("SEARCH\x00ING..."))
		f.OBD("tx", []byte("\r")) // a repeated CR is no command of its own
		f.OBD("rx", []byte(">"))
		f.Record([]byte("{\"seq\":7}\n"))
		f.Record([]byte("no JSON"))
		f.NMEA("rx", []byte(strings.Repeat("x", 1500)))
		f.NMEA("rx", []byte("\n"))
		f.NMEA("rx", []byte("end\n"))
	})
	want := []status.Event{
		{Kind: "obd", Dir: "tx", Text: "010D"},
		{Kind: "nmea", Dir: "rx", Text: "$GPRMC,080000*00"},
		{Kind: "obd", Dir: "rx", Text: "010D | 41 0D 32"},
		{Kind: "obd", Dir: "tx", Text: "010C"},
		{Kind: "obd", Dir: "rx", Text: `SEARCH\x00ING...`, NoPrompt: true},
		{Kind: "obd", Dir: "rx"},
		{Kind: "record", Record: json.RawMessage(`{"seq":7}`)},
		{Kind: "record", Text: "cannot be shown: json: error calling MarshalJSON for type json.RawMessage: invalid character 'o' in literal null (expecting 'u')"},
		{Kind: "nmea", Dir: "rx", Text: "$GP" + strings.Repeat("x", 1021)},
		{Kind: "nmea", Dir: "rx", Text: strings.Repeat("x", 479)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestTheFeedTellsOnlyWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	for _, kind := range status.Kinds {
		got := tailed(t, []string{kind}, func(f *status.Feed) {
			f.Record([]byte(`{"seq":7}`))
			f.NMEA("rx", []byte("$GPRMC\n"))
			f.OBD("tx", []byte("0100\r"))
			switch kind {
			case status.KindOBD:
				f.OBD("tx", []byte("end\r"))
			case status.KindNMEA:
				f.NMEA("rx", []byte("end\n"))
			default:
				f.Record([]byte("{")) // told as text
			}
		})
		if len(got) == 0 || slices.ContainsFunc(got, func(e status.Event) bool { return e.Kind != kind }) {
			t.Errorf("asked for %s, got %+v", kind, got)
		}
	}
}

// TestAReaderThatIsTooSlowMissesEventsAndIsTold: the teller is never held up by a reader who does not read at all.
func TestAReaderThatIsTooSlowMissesEventsAndIsTold(t *testing.T) {
	t.Parallel()
	const told = 3000 // of 1 KiB: far more than the queue and the buffers of a socket hold
	filler := []byte(strings.Repeat("x", 1000) + "\n")
	got := tailed(t, nil, func(f *status.Feed) { // Tail does not read before this returns
		for range told {
			f.NMEA("rx", filler)
		}
		// Now the reader catches up; what it missed it is told with the next event that finds room.
		go func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for ; f.Watched(); <-tick.C {
				f.NMEA("rx", []byte("end\n"))
			}
		}()
	})
	lines, dropped := uint64(0), uint64(0)
	for _, e := range got {
		lines++
		if e.Kind == "dropped" {
			lines--
			dropped += e.Dropped
		}
	}
	if dropped == 0 || lines == 0 || lines+dropped < told {
		t.Errorf("%d lines, %d dropped of %d", lines, dropped, told)
	}
}

func TestAFeedThatNobodyWatchesCostsNothing(t *testing.T) { // not parallel: it counts allocations
	f := status.NewFeed(func() time.Time { t.Error("somebody looks at the clock"); return eight })
	data := []byte("$GPRMC,080000*00\r\n")
	if n := testing.AllocsPerRun(100, func() { f.NMEA("rx", data); f.OBD("rx", data); f.Record(data) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTheNumberOfReadersIsBounded(t *testing.T) {
	t.Parallel()
	feed := status.NewFeed(time.Now)
	socket := filepath.Join(t.TempDir(), "s")
	background(t, func(ctx context.Context) error { return status.Serve(ctx, socket, driving, feed.Endpoint) })
	fetched(t, socket)
	for range 8 {
		agreed := make(chan struct{})
		background(t, func(ctx context.Context) error {
			return status.Tail(ctx, socket, nil, func() { close(agreed) }, func(status.Event) error { return nil })
		})
		<-agreed
	}
	err := status.Tail(t.Context(), socket, nil, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "8 are watching already") {
		t.Errorf("the ninth: %v", err)
	}
	if err := status.Tail(t.Context(), socket, []string{"frob"}, nil, nil); err == nil || !strings.Contains(err.Error(), `no kind "frob": use record, nmea, obd`) {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestTheLevelIsToldAndChanged(t *testing.T) {
	t.Parallel()
	var level slog.LevelVar
	var said []string
	socket := filepath.Join(t.TempDir(), "s")
	stop := background(t, func(ctx context.Context) error {
		return status.Serve(ctx, socket, driving, status.LogLevel{Level: &level, Changed: func(from, to slog.Level) {
			said = append(said, from.String()+" "+to.String())
		}}.Endpoint)
	})
	fetched(t, socket)
	for _, c := range []struct {
		name string
		want status.LevelChange
	}{
		{"", status.LevelChange{Was: "info", Now: "info"}},
		{"debug", status.LevelChange{Was: "info", Now: "debug"}},
		{"Debug", status.LevelChange{Was: "debug", Now: "debug"}},
		{"", status.LevelChange{Was: "debug", Now: "debug"}},
		{"error", status.LevelChange{Was: "debug", Now: "error"}},
	} {
		if got, err := status.SetLogLevel(t.Context(), socket, c.name); err != nil || got != c.want {
			t.Errorf("%q: %+v (%v), want %+v", c.name, got, err, c.want)
		}
	}
	if _, err := status.SetLogLevel(t.Context(), socket, "loud"); err == nil || !strings.Contains(err.Error(), `no level "loud": use debug, info, warn or error`) {
		t.Errorf("an unknown level: %v", err)
	}
	stop()
	if level.Level() != slog.LevelError || !slices.Equal(said, []string{"INFO DEBUG", "DEBUG ERROR"}) {
		t.Errorf("level %v, said %q", level.Level(), said)
	}
	if _, err := status.SetLogLevel(t.Context(), socket, ""); !errors.Is(err, status.ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

// TestWhatIsNotEveryonesIsRefused: a peer that the kernel does not vouch for, as on TCP, is a stranger.
func TestWhatIsNotEveryonesIsRefused(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	status.NewFeed(time.Now).Endpoint(mux)
	var level slog.LevelVar
	status.LogLevel{Level: &level}.Endpoint(mux)
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/v1/tail", http.StatusForbidden},
		{"PUT", "/v1/log-level?level=debug", http.StatusForbidden},
		{"GET", "/v1/log-level", http.StatusOK},
		{"POST", "/v1/log-level?level=debug", http.StatusMethodNotAllowed},
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.code)
		}
	}
	if level.Level() != slog.LevelInfo {
		t.Errorf("a stranger set the level to %v", level.Level())
	}
}

// TestAnotherVersionsAgentIsSaidToBeOne: the program was updated, the daemon still runs.
func TestAnotherVersionsAgentIsSaidToBeOne(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	server.Listener = l
	server.Start()
	defer server.Close()
	if err := status.Tail(t.Context(), socket, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Error(err)
	}
	if _, err := status.SetLogLevel(t.Context(), socket, ""); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Error(err)
	}
}

func BenchmarkFeed(b *testing.B) {
	data := []byte("$GPRMC,080000.00,A,4717.11437,N,00833.91522,E,0.004,77.52,091202,,,A*57\r\n")
	f := status.NewFeed(time.Now)
	for b.Loop() {
		f.NMEA("rx", data)
	}
}
