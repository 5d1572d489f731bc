package main

import (
	"context"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"obdagent/agent/agenttest"
	"obdagent/agent/report"
	"obdagent/cmd/internal/cli"
)

// fakeS3 answers ListObjectsV2, three keys a page, and GetObject, for one bucket in path style. As S3 does (API Reference): keys
// in lexical order, a token to go on, an XML error with a code.
type fakeS3 struct {
	bucket  string
	objects map[string]string
	deny    string // the key whose reading is refused
	cut     int    // of each answer with an object only so many bytes come; 0: all, -1: none
	once    bool   // of the first answer only
	whole   bool   // ranges are not known
	change  string // what an object becomes once it has been read in part

	mu     sync.Mutex
	pages  int
	ranges []string
}

type listing struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []entry
}

type entry struct {
	Key  string
	Size int
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case bucket == "elsewhere":
		w.Header().Set("X-Amz-Bucket-Region", "eu-central-1")
		refuse(w, http.StatusMovedPermanently, "PermanentRedirect")
	case bucket == "broken":
		_, _ = w.Write([]byte("<!doctype html><p class=x>another server</p>"))
	case bucket == "denied" || key != "" && key == f.deny:
		refuse(w, http.StatusForbidden, "AccessDenied")
	case bucket != f.bucket:
		refuse(w, http.StatusNotFound, "NoSuchBucket")
	case key == "":
		f.list(w, r)
	default:
		f.object(w, r, key)
	}
}

// object answers GetObject, with ranges and If-Match (net/http's ServeContent), and breaks off where it is told to.
func (f *fakeS3) object(w http.ResponseWriter, r *http.Request, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := f.objects[key]
	f.ranges = append(f.ranges, r.Header.Get("Range"))
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(text))))
	if f.whole {
		r.Header.Del("Range")
	}
	if f.cut != 0 && (!f.once || len(f.ranges) == 1) {
		w = &cutWriter{w, max(f.cut, 0)}
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	if f.change != "" {
		f.objects[key] = f.change
	}
}

// A cutWriter lets so many bytes through; then the connection breaks.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if c.left >= len(p) {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	n, _ := c.ResponseWriter.Write(p[:c.left])
	c.left -= n
	return n, io.ErrClosedPipe // net/http breaks off an answer that is shorter than it said
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>said by the fake</Message></Error>", code)
}

func (f *fakeS3) list(w http.ResponseWriter, r *http.Request) {
	const page = 3
	f.mu.Lock()
	f.pages++
	f.mu.Unlock()
	query := r.URL.Query()
	if query.Get("list-type") != "2" {
		refuse(w, http.StatusBadRequest, "InvalidRequest")
		return
	}
	var keys []string
	for key := range f.objects {
		if strings.HasPrefix(key, query.Get("prefix")) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	start, _ := strconv.Atoi(query.Get("continuation-token")) // none is 0, the first page
	var l listing
	for i := start; i < min(start+page, len(keys)); i++ {
		l.Contents = append(l.Contents, entry{keys[i], len(f.objects[keys[i]])})
	}
	if start+page < len(keys) {
		l.IsTruncated, l.NextContinuationToken = true, strconv.Itoa(start+page)
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(l)
}

func serve(t *testing.T, f *fakeS3) string {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

func line(n int) string {
	return fmt.Sprintf("939ed1d1-1740-420c-8906-%012x NaN WVWZZZ1JZXW000001 NaN NaN %d\n", n, n)
}

func TestEveryPageOfABucketIsRead(t *testing.T) {
	t.Parallel()
	f := &fakeS3{bucket: "sd-vehicle-data", objects: map[string]string{"2025/12/31/old": line(99), "errors/2026/11/23/x": "rubbish\n", "2026/11/23/": ""}}
	for i := range 8 {
		f.objects[fmt.Sprintf("2026/11/23/%d", i)] = line(i)
	}
	endpoint := serve(t, f)
	status, out, errs := obdfleet(t, "report", "s3://sd-vehicle-data/2026/11/", "--endpoint", endpoint)
	if status != cli.ExitDone || errs != "" {
		t.Errorf("status %d, said %s", status, errs)
	}
	golden(t, "s3.golden", out)
	if f.pages != 3 {
		t.Errorf("%d pages were asked for, want 3", f.pages)
	}
	status, out, _ = obdfleet(t, "report", "s3://sd-vehicle-data", "--endpoint", endpoint, "--region", "eu-central-1")
	if status != cli.ExitDone || !strings.Contains(out, "9 objects") || !strings.Contains(out, "1 skipped under an error prefix") {
		t.Errorf("the whole bucket: status %d, printed\n%s", status, out)
	}
}

func TestAnObjectThatMayNotBeReadIsNamed(t *testing.T) {
	t.Parallel()
	endpoint := serve(t, &fakeS3{bucket: "sd-vehicle-data", objects: map[string]string{"a": line(1), "b": line(2)}, deny: "a"})
	status, out, errs := obdfleet(t, "report", "s3://sd-vehicle-data", "--endpoint", endpoint)
	if status != cli.ExitBadNews || !strings.Contains(out, "total                    1") {
		t.Errorf("status %d, want %d and one record:\n%s", status, cli.ExitBadNews, out)
	}
	expectLines(t, errs, []string{"1 object or part of one could not be read: a: s3://sd-vehicle-data at " + endpoint + ": these credentials may not read it"})
}

// TestAReadingGoesOnWhereAConnectionBroke: each connection breaks after some bytes, and no line is lost or read twice.
func TestAReadingGoesOnWhereAConnectionBroke(t *testing.T) {
	t.Parallel()
	text := ""
	for i := range 40 {
		text += line(i)
	}
	for name, test := range map[string]struct {
		f       *fakeS3
		records int
		said    string
		waits   []time.Duration
	}{
		"each after 1,000 bytes":      {&fakeS3{cut: 1000}, 40, "", []time.Duration{0, 0}},
		"a look-alike without ranges": {&fakeS3{cut: 2000, once: true, whole: true}, 40, "", []time.Duration{0}},
		"nothing comes":               {&fakeS3{cut: -1}, 0, "unexpected EOF", []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second}},
		"it has become another":       {&fakeS3{cut: 1000, change: "x"}, 0, "PreconditionFailed", []time.Duration{0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := test.f
			f.bucket, f.objects = "sd-vehicle-data", map[string]string{"2026/11/23/a": text}
			client, err := s3Client(t.Context(), s3Flags{endpoint: serve(t, f)})
			if err != nil {
				t.Fatal(err)
			}
			var waits []time.Duration
			source := s3Source{client: client, bucket: f.bucket, pause: func(_ context.Context, d time.Duration) error {
				waits = append(waits, d)
				return nil
			}}
			r, err := report.Read(t.Context(), source, report.Options{})
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			if r.UnreadableCount > 0 {
				said = r.Unreadable[0].Reason
			}
			if test.records > 0 && (int(r.Total.Records) != test.records || r.Total.Duplicates != 0 || r.Damaged != 0) || test.said == "" && said != "" || !strings.Contains(said, test.said) {
				t.Errorf("%d records, %d duplicates, %d damaged; said %q, want %q", r.Total.Records, r.Total.Duplicates, r.Damaged, said, test.said)
			}
			if !slices.Equal(waits, test.waits) {
				t.Errorf("waits %v, want %v; ranges %q", waits, test.waits, f.ranges)
			}
		})
	}
}

func TestWhatS3RefusesIsExplained(t *testing.T) {
	t.Parallel()
	endpoint := serve(t, &fakeS3{bucket: "sd-vehicle-data"})
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, test := range []struct {
		url, endpoint, want string
		status              int
	}{
		{"s3://no-such-bucket/x", endpoint, "s3://no-such-bucket at " + endpoint + ": there is no such bucket", cli.ExitUsage},
		{"s3://denied", endpoint, "these credentials may not read it (AccessDenied)", cli.ExitUsage},
		{"s3://elsewhere", endpoint, "is in another region: give --region eu-central-1", cli.ExitUsage},
		{"s3://broken", endpoint, "HTTP status 200, but no answer of S3: check --endpoint", cli.ExitBadNews},
		{"s3://sd-vehicle-data", gone.URL, "no answer: check the network and --endpoint", cli.ExitBadNews},
		{"s3://sd-vehicle-data", endpoint, "no records in 0 objects", cli.ExitBadNews},
	} {
		status, _, errs := obdfleet(t, "report", test.url, "--endpoint", test.endpoint)
		if status != test.status {
			t.Errorf("%s: status %d, want %d", test.url, status, test.status)
		}
		expectLines(t, errs, []string{test.want})
	}
}

// TestReportAgreesWithTheReaders: the same bucket, read by obdfleet and by the code that readers have.
func TestReportAgreesWithTheReaders(t *testing.T) {
	t.Parallel()
	agenttest.Python(t, "boto3", "pandas")
	endpoint := agenttest.Moto(t)
	dir := t.TempDir()
	for i := range 1000/100 + 1 {
		var b strings.Builder
		for j := range 100 {
			fmt.Fprintf(&b, "939ed1d1-1740-420c-8906-%012x 2026-11-23T08:00:%02d.000Z WVWZZZ1JZXW%06d %d.1234567 NaN %d.5\n", i*100+j, j%60, j%3, j, (i*37+j*11)%140)
		}
		writeFile(t, filepath.Join(dir, "2026", "11", strconv.Itoa(10+i), "gps-delivery-stream"), b.String())
	}
	agenttest.PutObjects(t, endpoint, agenttest.Bucket, dir)
	want := ""
	readers := agenttest.ContractReader(t, endpoint)
	for i := range 3 {
		vin := fmt.Sprintf("WVWZZZ1JZXW%06d", i)
		want += fmt.Sprintf("%s %.1f\n", vin, readers[vin])
	}
	status, out, errs := obdfleet(t, "report", "s3://"+agenttest.Bucket+"/2026", "--endpoint", endpoint)
	if status != cli.ExitDone {
		t.Errorf("status %d, said %s", status, errs)
	}
	got := ""
	for _, row := range strings.Split(out, "\n") {
		if c := strings.Fields(row); len(c) > 2 && strings.HasPrefix(c[0], "WVW") {
			got += c[0] + " " + c[2] + "\n"
		}
	}
	if got != want || len(readers) != 3 {
		t.Errorf("maximum speeds\n%swant, as the readers' code has them,\n%s", got, want)
	}

	// In pages, from a server that is not ours.
	client, err := s3Client(t.Context(), s3Flags{endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range (s3Source{client: client, bucket: agenttest.Bucket, pageSize: 4}).Objects(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 11 {
		t.Errorf("%d objects in pages of 4, want 11", n)
	}
}

func TestWithoutCredentialsTheUserIsToldWhereTheyGo(t *testing.T) {
	// Not parallel: it takes the credentials from the whole process.
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	endpoint := serve(t, &fakeS3{bucket: "sd-vehicle-data"})
	status, _, errs := obdfleet(t, "report", "s3://sd-vehicle-data", "--endpoint", endpoint)
	if status != cli.ExitUsage {
		t.Errorf("status %d, want %d", status, cli.ExitUsage)
	}
	expectLines(t, errs, []string{"no AWS credentials found: set AWS_PROFILE"})
}
