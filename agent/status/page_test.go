package status_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/status"
)

// page is one that shows a van on the road.
func page(position bool) *status.Page {
	return status.NewPage(func() status.Snapshot { s := driving(); judged(&s); return s }, func() bool { return position })
}

func get(t *testing.T, h http.Handler, method, path, host string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestThePageIsForThoseWhoAskThisBoard(t *testing.T) {
	t.Parallel()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	h := page(true).Handler("gateway.van")
	for host, code := range map[string]int{
		"127.0.0.1:8327": 200, "127.0.0.1": 200, "[::1]:8327": 200, "[::1]": 200, "localhost:8327": 200, "LOCALHOST.": 200, "10.0.0.1": 200,
		"gateway.van:8327": 200, "GATEWAY.VAN": 200, name: 200, name + ".local:8327": 200,
		"evil.example": 421, "127.0.0.1.evil.example": 421, "gateway.van.evil.example:8327": 421, "localhost.evil.example": 421, "": 421, ".local": 421, "[::1].evil": 421,
	} {
		for _, path := range []string{"/", "/status.json", "/metrics", "/page.js"} {
			if w := get(t, h, "GET", path, host); w.Code != code {
				t.Errorf("%s asked as %q: %d, want %d", path, host, w.Code, code)
			} else if code != 200 && strings.Contains(w.Body.String(), "VIN") {
				t.Errorf("%s asked as %q is told %s", path, host, w.Body)
			}
		}
	}
}

func TestThePageIsReadOnly(t *testing.T) {
	t.Parallel()
	h := page(true).Handler("")
	for _, path := range []string{"/", "/status.json", "/metrics", "/page.js", "/page.css", "/events"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
			if w := get(t, h, method, path, "127.0.0.1"); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
		if path == "/events" {
			continue // it does not end
		}
		w := get(t, h, "HEAD", path, "127.0.0.1")
		if w.Code != 200 {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; ") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: the policy is %q", path, csp)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: other origins may read it", path)
		}
	}
	for _, path := range []string{"/x", "/page.html", "/v1/status", "/v1/tail", "/v1/log-level", "/../page.go"} {
		if w := get(t, h, "GET", path, "127.0.0.1"); w.Code == 200 {
			t.Errorf("%s is served", path)
		}
	}
}

// TestThePageSaysSomethingWithoutScript, and takes no HTML from anywhere.
func TestThePageSaysSomethingWithoutScript(t *testing.T) {
	t.Parallel()
	p := status.NewPage(func() status.Snapshot {
		s := troubled()
		s.Car.Reason = `<img src=x onerror="alert(1)"> & more`
		judged(&s)
		return s
	}, func() bool { return true })
	p.Line("08:00:00 event=car to=<b>absent</b>")
	body := get(t, p.Handler(""), "GET", "/", "127.0.0.1").Body.String()
	for _, want := range []string{"DEGRADED obdagent v0.1.0", "OBD-NO-ADAPTER: &lt;img src=x onerror=&#34;alert(1)&#34;&gt; &amp; more", "event=car to=&lt;b&gt;absent", `<noscript><meta http-equiv="refresh" content="10"></noscript>`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	for _, not := range []string{"<img", "<b>absent", "{{", "http://", "https://"} {
		if strings.Contains(body, not) {
			t.Errorf("%s in\n%s", not, body)
		}
	}
}

// event reads one server-sent event.
func event(t *testing.T, from *bufio.Reader, into any) {
	t.Helper()
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(data), into); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

type view struct {
	Status   status.Snapshot
	Log      []string
	Track    [][4]float64
	Position bool
}

func served(t *testing.T, p *status.Page) (address string) {
	t.Helper()
	address, _ = servedUntil(t, p)
	return address
}

func servedUntil(t *testing.T, p *status.Page) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), background(t, func(ctx context.Context) error { return p.ServeOn(ctx, l) })
}

// watch opens the page's stream.
func watch(t *testing.T, address string) (*bufio.Reader, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() }) // it was read only
	return bufio.NewReader(resp.Body), resp.StatusCode
}

// line is a way north from lat, n points 100 m apart.
func line(p *status.Page, lat float64, n int) {
	for i := range n {
		p.Point(lat+float64(i)*100/111320, 11.5, 40)
	}
}

func TestTheStreamHasAllAndThenWhatIsNew(t *testing.T) {
	t.Parallel()
	p := page(true)
	p.SetEvery(time.Millisecond)
	for i := range 25 {
		p.Line(fmt.Sprintf("line %d", i))
	}
	line(p, 48, 3)
	p.Point(48+200.0/111320, 11.50001, 40) // less than 15 m on
	p.Point(math.NaN(), math.NaN(), math.NaN())
	p.Point(48+500.0/111320, 11.5, math.NaN())
	from, _ := watch(t, served(t, p))
	var v view
	event(t, from, &v)
	if len(v.Log) != 20 || v.Log[0] != "line 5" || v.Log[19] != "line 24" || !v.Position || v.Status.Car.VIN != driving().Car.VIN {
		t.Errorf("%+v", v)
	}
	want := [][4]float64{{48, 11.5, 40, 0}, {48 + 100.0/111320, 11.5, 40, 0}, {48 + 200.0/111320, 11.5, 40, 0}, {48 + 500.0/111320, 11.5, 0, 1}}
	if d := cmp.Diff(want, v.Track); d != "" {
		t.Errorf("track (-want +got)\n%s", d)
	}
	v = view{}
	event(t, from, &v)
	if len(v.Log) != 0 || len(v.Track) != 0 {
		t.Errorf("told again: %+v", v)
	}
	p.Line("news")
	line(p, 49, 600)
	var log []string
	var track [][4]float64
	for len(log) == 0 || len(track) < 500 {
		v = view{}
		event(t, from, &v)
		log, track = append(log, v.Log...), append(track, v.Track...)
	}
	if !cmp.Equal(log, []string{"news"}) || track[len(track)-1][0] < 49 {
		t.Errorf("log %q, %d points", log, len(track))
	}
}

func TestAPageThatMayNotShowThePositionHasNone(t *testing.T) {
	t.Parallel()
	p := page(false)
	line(p, 48.137154, 5)
	from, _ := watch(t, served(t, p))
	var v view
	event(t, from, &v)
	if v.Position || v.Track != nil {
		t.Errorf("%+v", v)
	}
	h := p.Handler("")
	for _, path := range []string{"/", "/status.json", "/metrics"} {
		if body := get(t, h, "GET", path, "127.0.0.1").Body.String(); strings.Contains(body, "48.1371") || strings.Contains(body, "11.5") {
			t.Errorf("%s tells where the vehicle is:\n%s", path, body)
		}
	}
	// Switched off while it runs: what was kept is forgotten with the next record.
	may := true
	p = status.NewPage(driving, func() bool { return may })
	p.SetEvery(time.Millisecond)
	line(p, 48, 5)
	may = false
	p.Point(48, 11.5, 0)
	may = true
	from, _ = watch(t, served(t, p))
	v = view{}
	if event(t, from, &v); v.Track != nil {
		t.Errorf("it remembers %v", v.Track)
	}
}

func TestTheNumberOfBrowsersIsBounded(t *testing.T) {
	t.Parallel()
	address := served(t, page(false))
	for range 8 {
		from, code := watch(t, address)
		if event(t, from, &view{}); code != 200 {
			t.Fatalf("status %d", code)
		}
	}
	if _, code := watch(t, address); code != http.StatusServiceUnavailable {
		t.Errorf("the ninth: status %d", code)
	}
	// Connections that say nothing take the places that are left; they are thrown out, and the page answers again.
	for range 20 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() }) // the server may have been first
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 60 * time.Second}
	resp, err := client.Get("http://" + address + "/status.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		t.Errorf("status %d (%v)", resp.StatusCode, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestAnAddressThatIsTakenIsAnError(t *testing.T) {
	t.Parallel()
	address := served(t, page(false))
	if err := page(false).Serve(t.Context(), address); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Error(err)
	}
}

func TestThePageIsSmall(t *testing.T) {
	t.Parallel()
	h := page(false).Handler("")
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	for _, path := range []string{"/", "/page.css", "/page.js"} {
		if _, err := zip.Write(get(t, h, "GET", path, "127.0.0.1").Body.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	if t.Logf("%d bytes", zipped.Len()); zipped.Len() > 20<<10 {
		t.Errorf("%d bytes with gzip, at most 20 KiB", zipped.Len())
	}
}
