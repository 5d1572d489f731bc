package status_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/agent/status"
)

// booted is 90 s after the board's start.
func booted() time.Duration { return 90 * time.Second }

func runLog(t *testing.T, l *status.Log) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

func TestTheLogHasOneDatedLineEach(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log", "status.log")
	now := time.Date(2026, time.November, 23, 9, 15, 30, 0, time.FixedZone("", 3600))
	l := status.NewLog(path, func() time.Time { return now }, booted)
	stop := runLog(t, l)
	l.Print("event=car to=live")
	l.Print("state=ok")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want := "2026-11-23T08:15:30Z boot_s=90.0 event=car to=live\n2026-11-23T08:15:30Z boot_s=90.0 state=ok\n"; err != nil || string(got) != want {
		t.Errorf("%v\n%swant\n%s", err, got, want)
	}
}

func TestTheLogIsBoundedAndKeepsTheLatest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "status.log")
	l := status.NewLog(path, time.Now, booted)
	filler := strings.Repeat("x", 32<<10)
	for i := range 200 { // 6.4 MB, in portions that the queue holds
		l.Print("n=" + strconv.Itoa(i) + " " + filler)
		if i%50 == 49 {
			if err := runLog(t, l)(); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if len(entries) != 2 || total > 2<<20 || total < 1<<20 {
		t.Errorf("%d files with %d bytes, want two with one to two MiB", len(entries), total)
	}
	last, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(last), " n=199 ") {
		t.Errorf("the latest line is not in the log (%v)", err)
	}
}

func TestAFloodOfLinesIsCountedAndNeverBlocks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "status.log")
	l := status.NewLog(path, time.Now, booted)
	for range 1000 { // nobody writes yet
		l.Print("event=flood")
	}
	if err := runLog(t, l)(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(got)) {
		if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ boot_s=[\d.]+ event=\w+`).MatchString(line) {
			t.Fatalf("%q does not begin as every line does", line)
		}
	}
	if n := strings.Count(string(got), "event=flood"); n != 256 || !strings.Contains(string(got), "event=log_dropped lines=744\n") {
		t.Errorf("%d lines kept; the log begins\n%.300s", n, got)
	}
}

func TestALogThatCannotBeWrittenSaysSoOnceAtTheEnd(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := status.NewLog(filepath.Join(file, "status.log"), time.Now, booted) // its directory is a file
	stop := runLog(t, l)
	l.Print("event=one")
	l.Print("event=two")
	if err := stop(); err == nil || !strings.Contains(err.Error(), "status log") {
		t.Errorf("error %v", err)
	}
}

// TestALineThatAPowerCutToreStaysALineOfItsOwn, and what is written after it can be read.
func TestALineThatAPowerCutToreStaysALineOfItsOwn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "status.log")
	before := "2026-11-23T08:15:30Z boot_s=9.0 state=ok\n2026-11-23T08:16:30Z boot_s=69.0 sta"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{"event=one", "event=two"} { // the second start finds a whole line
		l := status.NewLog(path, time.Now, booted)
		l.Print(message)
		if err := runLog(t, l)(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^` + regexp.QuoteMeta(before) + "\n\\S+ boot_s=90.0 event=one\n\\S+ boot_s=90.0 event=two\n$")
	if !want.Match(got) {
		t.Errorf("the log is\n%s", got)
	}
}

// TestALineIsSyncedAtOnceAndAFloodTogether: what a power cut may take, and what a flood costs the flash.
func TestALineIsSyncedAtOnceAndAFloodTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "status.log")
	synctest.Test(t, func(t *testing.T) {
		l := status.NewLog(path, time.Now, booted)
		var synced []string // the size at each sync, and when
		began := time.Now()
		const size = int64(len("2000-01-01T00:00:00Z boot_s=90.0 x\n"))
		l.OnSync(func(f *os.File) error {
			info, err := f.Stat()
			if err == nil {
				synced = append(synced, strconv.FormatInt(info.Size()/size, 10)+" lines at "+time.Since(began).String())
			}
			return err
		})
		stop := runLog(t, l)
		for range 3 {
			for range 4 {
				l.Print("x")
				synctest.Wait()
			}
			time.Sleep(time.Minute)
		}
		l.Print("x")
		l.Print("x")
		if err := stop(); err != nil {
			t.Error(err)
		}
		want := "1 lines at 0s, 4 lines at 5s, 5 lines at 1m0s, 8 lines at 1m5s, 9 lines at 2m0s, 12 lines at 2m5s"
		if got := strings.Join(synced, ", "); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "14 lines at 3m0s") {
			t.Errorf("synced %s\nwant %s, and all at the end", got, want)
		}
	})
}

// TestAFloodOfTransitionsDoesNotPushOutTheDaysBefore: the regular line comes in any case.
func TestAFloodOfTransitionsDoesNotPushOutTheDaysBefore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "status.log")
	boot := time.Duration(0)
	l := status.NewLog(path, time.Now, func() time.Duration { return boot })
	count := func(what string) int {
		t.Helper()
		if err := runLog(t, l)(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(got), what)
	}
	for range 500 {
		l.Event("event=flood")
	}
	l.Print("state=ok")
	if n := count("event=flood"); n != 120 || count("state=ok") != 1 || count("event=log_dropped lines=380\n") != 1 {
		t.Errorf("%d lines of the flood; want 120, the regular line, and word of the others", n)
	}
	boot = time.Minute
	for range 500 {
		l.Event("event=later")
	}
	if n := count("event=later"); n != 6 {
		t.Errorf("%d lines a minute later, want 6", n)
	}
}
