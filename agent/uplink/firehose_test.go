package uplink_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

// today is the true time in these tests. A bubble's system clock says the year 2000.
var today = time.Date(2026, 11, 23, 8, 15, 30, 0, time.UTC)

// trueTime returns a clock that shows today at its making and then goes on with the system's pace.
func trueTime() func() time.Time {
	start := time.Now()
	return func() time.Time { return today.Add(time.Since(start)) }
}

const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

// cloud is a stream and the sink that writes to it, connected in memory.
type cloud struct {
	server *firehosetest.Server
	sink   *uplink.Firehose

	mu      sync.Mutex
	objects map[string][]byte
}

// lines returns what was delivered, in order of the objects' names.
func (c *cloud) lines(t *testing.T) []string {
	t.Helper()
	if err := c.server.Flush(); err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var keys []string
	for k := range c.objects {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out []string
	for _, k := range keys {
		object := c.objects[k]
		if bytes.HasPrefix(object, []byte{0x1f, 0x8b}) { // RFC 1952
			z, err := gzip.NewReader(bytes.NewReader(object))
			if err != nil {
				t.Fatalf("%s: %v", k, err)
			}
			if object, err = io.ReadAll(z); err != nil {
				t.Fatalf("%s: %v", k, err)
			}
		}
		out = append(out, lines(string(object))...)
	}
	return out
}

// newCloud is to be called inside a bubble; stop ends everything it started.
func newCloud(t *testing.T, so firehosetest.Options, fo uplink.StreamOptions) (c *cloud, stop func()) {
	t.Helper()
	c = &cloud{objects: map[string][]byte{}}
	so.Region = "eu-central-1"
	if so.Now == nil {
		so.Now = trueTime()
	}
	so.Streams = append(so.Streams, firehosetest.Stream{Name: "gps-delivery-stream", Bucket: "sd-vehicle-data", Interval: time.Hour})
	so.Deliver = func(bucket, key string, object []byte) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.objects[bucket+"/"+key] = object
		return nil
	}
	if so.Credentials == nil {
		so.Credentials = []firehosetest.Credentials{{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret, SessionToken: "token"}}
	}
	var err error
	if c.server, err = firehosetest.New(so); err != nil {
		t.Fatal(err)
	}
	if fo.Stream == "" {
		fo.Stream = "gps-delivery-stream"
	}
	if fo.Region == "" {
		fo.Region = "eu-central-1"
	}
	if fo.Now == nil {
		fo.Now = so.Now
	}
	if fo.Credentials == nil && fo.CredentialsFile == "" {
		fo.Credentials = &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret, SessionToken: "token"}
	}
	fo.Endpoint, fo.Dial = c.server.URL(), c.server.Dial
	if c.sink, err = uplink.NewFirehose(t.Context(), fo); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.server.Run(ctx) }()
	return c, func() {
		c.sink.CloseIdle()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	}
}

func TestEverySubsetOfAPartialFailureIsDeliveredOnceAtTheStrictEndpoint(t *testing.T) {
	t.Parallel()
	for subset := range 16 {
		for _, code := range []string{"ServiceUnavailableException", "InternalFailure"} {
			synctest.Test(t, func(t *testing.T) {
				c, stopServer := newCloud(t, firehosetest.Options{}, uplink.StreamOptions{})
				defer stopServer()
				var sizes []int
				c.server.SetFaults(firehosetest.Faults{Call: func(n int, entries [][]byte) firehosetest.Verdict {
					sizes = append(sizes, len(entries))
					v := firehosetest.Verdict{Fail: map[int]string{}}
					for i := range 4 {
						if n == 1 && subset&(1<<i) != 0 {
							v.Fail[i] = code
						}
					}
					return v
				}})
				log := newFakeLog()
				log.appendN(4)
				_, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: c.sink})
				time.Sleep(time.Minute)
				stop()
				got := c.lines(t)
				slices.Sort(got)
				if diff := cmp.Diff(records(1, 4), got); diff != "" {
					t.Errorf("subset %04b: %s", subset, diff)
				}
				failed := 0
				for i := range 4 {
					failed += subset >> i & 1
				}
				want := []int{4}
				if failed > 0 {
					want = append(want, failed)
				}
				if diff := cmp.Diff(want, sizes); diff != "" {
					t.Errorf("subset %04b, entries of each call: %s", subset, diff)
				}
				if open := log.open(); open != nil {
					t.Errorf("not acknowledged: %v", open)
				}
			})
		}
	}
}

// A takenLog is what the stream has taken so far.
type takenLog struct {
	mu    sync.Mutex
	taken map[string]bool
}

func TestNothingIsAcknowledgedThatWasNotTakenWhateverGoesWrong(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 7))
				c, stopServer := newCloud(t, firehosetest.Options{Seed: seed}, uplink.StreamOptions{})
				defer stopServer()
				tl := takenLog{taken: map[string]bool{}}
				cutAfter, twice := 0, 0
				bad := true
				c.server.SetFaults(firehosetest.Faults{Delay: 50 * time.Millisecond, Call: func(_ int, entries [][]byte) firehosetest.Verdict {
					tl.mu.Lock()
					defer tl.mu.Unlock()
					v := firehosetest.Verdict{Fail: map[int]string{}}
					if bad {
						switch rng.IntN(6) {
						case 0:
							v.CutBefore = true
						case 1:
							v.CutAfter = true
						case 2:
							v.Code, v.Status = "ServiceUnavailableException", 500+3*rng.IntN(2)
						case 3, 4:
							for i := range entries {
								if rng.IntN(2) == 0 {
									v.Fail[i] = "ServiceUnavailableException"
								}
							}
						}
					}
					if v.CutBefore || v.Code != "" {
						return v
					}
					for i, e := range entries {
						if v.Fail[i] != "" {
							continue
						}
						for _, l := range lines(string(e)) {
							if tl.taken[l] {
								twice++
							}
							if tl.taken[l] && cutAfter == 0 {
								t.Errorf("%s came twice although no answer was lost", l)
							}
							tl.taken[l] = true
						}
					}
					if v.CutAfter {
						cutAfter++
					}
					return v
				}})
				log := newFakeLog()
				log.appendN(300)
				u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: c.sink, Linger: 5 * time.Second, Pack: seed%2 == 0, LiveFirst: seed%3 != 0, Rand: rng2(seed)})
				for i := range 600 {
					log.appendN(1)
					time.Sleep(time.Second)
					if i%10 == 0 {
						synctest.Wait()
						tl.mu.Lock()
						for seq := uint64(1); seq < log.Committed(); seq++ {
							if log.isAcked(seq) && !tl.taken[fmt.Sprintf("record-%d", seq)] {
								t.Errorf("record %d is acknowledged and was not taken", seq)
							}
						}
						tl.mu.Unlock()
					}
				}
				tl.mu.Lock()
				bad = false
				tl.mu.Unlock()
				if err := u.Drain(t.Context()); err != nil {
					t.Error(err)
				}
				stop()
				got := c.lines(t)
				duplicates := len(got)
				slices.Sort(got)
				got = slices.Compact(got)
				duplicates -= len(got)
				want := records(1, 900)
				slices.Sort(want)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				if duplicates != twice || duplicates > 0 && cutAfter == 0 {
					t.Errorf("%d duplicates, %d lines were sent again, %d answers were lost", duplicates, twice, cutAfter)
				}
				if open := log.open(); open != nil {
					t.Errorf("not acknowledged: %v", open)
				}
				t.Logf("%d answers lost after delivery, %d duplicates, status %+v", cutAfter, duplicates, u.Status())
			})
		})
	}
}

func rng2(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 8)) }

func TestEachRefusalSaysWhatToDoAndNeverASecret(t *testing.T) {
	t.Parallel()
	wrongKey := uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wrongSecretwrongSecret", SessionToken: "token"}
	noKey := uplink.Credentials{AccessKeyID: "AKIDOTHER", SecretAccessKey: secret}
	causes := map[string]uplink.Cause{ // of the others it is called as the kind
		"the stream is not there": uplink.CauseStream, "the secret is wrong": uplink.CauseCredentials, "the key is unknown": uplink.CauseCredentials,
		"the region is wrong": uplink.CauseCredentials, "access is denied": uplink.CausePermission, "the token has expired": uplink.CauseCredentials,
	}
	for _, tc := range []struct {
		name    string
		options uplink.StreamOptions
		faults  firehosetest.Verdict
		kind    uplink.Kind
		advice  string
	}{
		{"the stream is not there", uplink.StreamOptions{Stream: "other"}, firehosetest.Verdict{}, uplink.KindSetup, "no stream other in eu-central-1: create it"},
		{"the secret is wrong", uplink.StreamOptions{Credentials: &wrongKey}, firehosetest.Verdict{}, uplink.KindSetup, "secret access key does not belong"},
		{"the key is unknown", uplink.StreamOptions{Credentials: &noKey}, firehosetest.Verdict{}, uplink.KindSetup, "not known to AWS"},
		{"the region is wrong", uplink.StreamOptions{Region: "us-east-1"}, firehosetest.Verdict{}, uplink.KindSetup, ""},
		{"the clock is a year slow", uplink.StreamOptions{Now: func() time.Time { return today.AddDate(-1, 0, 0) }}, firehosetest.Verdict{}, uplink.KindClock, "time is wrong, it says 2025-11-23"},
		{"the clock is a year fast", uplink.StreamOptions{Now: func() time.Time { return today.AddDate(1, 0, 0) }}, firehosetest.Verdict{}, uplink.KindClock, "time is wrong"},
		{"access is denied", uplink.StreamOptions{}, firehosetest.Verdict{Code: "AccessDeniedException"}, uplink.KindSetup, "allow firehose:PutRecordBatch"},
		{"the token has expired", uplink.StreamOptions{}, firehosetest.Verdict{Code: "ExpiredTokenException"}, uplink.KindSetup, "expired: renew"},
		{"throttled with 500", uplink.StreamOptions{}, firehosetest.Verdict{Code: "ServiceUnavailableException", Status: 500}, uplink.KindThrottled, "less often"},
		{"throttled with 503", uplink.StreamOptions{}, firehosetest.Verdict{Code: "ServiceUnavailableException", Status: 503}, uplink.KindThrottled, "less often"},
		{"throttled with 400", uplink.StreamOptions{}, firehosetest.Verdict{Code: "ThrottlingException"}, uplink.KindThrottled, "less often"},
		{"the content is refused", uplink.StreamOptions{}, firehosetest.Verdict{Code: "InvalidArgumentException", Message: "nonsense"}, uplink.KindRefused, "nonsense"},
		{"a code that nobody knows", uplink.StreamOptions{}, firehosetest.Verdict{Code: "Surprise", Status: 502}, uplink.KindLink, "Surprise"},
		{"the connection is cut", uplink.StreamOptions{}, firehosetest.Verdict{CutBefore: true}, uplink.KindLink, "no answer"},
		{"the answer is cut", uplink.StreamOptions{}, firehosetest.Verdict{CutAfter: true}, uplink.KindLink, "no answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, stop := newCloud(t, firehosetest.Options{}, tc.options)
				defer stop()
				c.server.SetFaults(firehosetest.Faults{Call: func(int, [][]byte) firehosetest.Verdict { return tc.faults }})
				_, err := c.sink.Put(t.Context(), [][]byte{[]byte("line\n")})
				var ce *uplink.CallError
				if !asCallError(err, &ce) {
					t.Fatalf("Put: %v", err)
				}
				if ce.Kind != tc.kind || !strings.Contains(ce.Advice, tc.advice) {
					t.Errorf("kind %v, advice %q", ce.Kind, ce.Advice)
				}
				if want := causes[tc.name]; ce.Cause != want {
					t.Errorf("cause %q, want %q", ce.Cause, want)
				}
				if text := fmt.Sprintf("%v %+v %#v", err, ce, ce); strings.Contains(text, secret) || strings.Contains(text, "wrongSecret") {
					t.Errorf("the secret is in the error: %s", text)
				}
				if calls := c.server.Counters().Calls; calls != 1 {
					t.Errorf("%d uploads for one Put", calls)
				}
			})
		})
	}
}

func asCallError(err error, into **uplink.CallError) bool {
	ce, ok := err.(*uplink.CallError)
	*into = ce
	return ok
}

func TestCredentialsArePrintedWithoutTheirSecret(t *testing.T) {
	t.Parallel()
	c := uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret, SessionToken: "sessiontoken"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("text", fmt.Sprint(c, &c)), slog.Any("credentials", c), slog.Any("options", uplink.StreamOptions{Credentials: &c}.Credentials))
	text := fmt.Sprintf("%v %+v %#v %s %s", c, c, c, &c, log.String())
	if strings.Contains(text, secret) || strings.Contains(text, "sessiontoken") {
		t.Error(text)
	}
}

func TestABoardThatWakesInAnotherYearUploadsWithTheTimeItIsGiven(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, stop := newCloud(t, firehosetest.Options{}, uplink.StreamOptions{})
		defer stop()
		if y := time.Now().Year(); y != 2000 {
			t.Fatalf("the system clock says %d: the test shows nothing", y)
		}
		for range 3 { // the later ones after the endpoint has told its Date
			if _, err := c.sink.Put(t.Context(), [][]byte{[]byte("line\n")}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestAWrongTimeCostsOneCallAndThenTheEndpointsOwnIsUsed(t *testing.T) {
	t.Parallel()
	for name, now := range map[string]func() time.Time{"the system's": time.Now, "a wrong fix's": func() time.Time { return today.AddDate(-19, 0, 0) }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, stop := newCloud(t, firehosetest.Options{}, uplink.StreamOptions{Now: now})
				defer stop()
				if _, err := c.sink.Put(t.Context(), [][]byte{[]byte("line\n")}); err == nil {
					t.Fatal("a signature of another year was accepted")
				}
				if _, err := c.sink.Put(t.Context(), [][]byte{[]byte("line\n")}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestAnEndpointThatNeverAnswersEndsWithTheDeadline(t *testing.T) {
	t.Parallel()
	// 15 s for connecting and answering, and 4/3 of the bytes at 625 B/s; never beyond the five minutes of a signature.
	for size, want := range map[int]time.Duration{100: 15 * time.Second, 30_000: 79 * time.Second, 96 << 10: 224 * time.Second, 1 << 20: 270 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c, stop := newCloud(t, firehosetest.Options{}, uplink.StreamOptions{})
			defer stop()
			c.server.SetFaults(firehosetest.Faults{Delay: 24 * time.Hour})
			before := time.Now()
			_, err := c.sink.Put(t.Context(), [][]byte{make([]byte, min(size, 900_000)), make([]byte, max(size-900_000, 0))})
			if d := time.Since(before); err == nil || d != want {
				t.Errorf("a call of %d bytes ended after %v, want %v: %v", size, d, want, err)
			}
		})
	}
}

func TestOptionsThatCannotWorkAreRefusedByName(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]uplink.StreamOptions{
		"stream name \"a b\"": {Stream: "a b", Region: "us-east-1"},
		"stream name \"\"":    {Region: "us-east-1"},
		"no region":           {Stream: "s"},
		"use http://":         {Stream: "s", Region: "us-east-1", Endpoint: "localhost:4566"},
	} {
		if _, err := uplink.NewFirehose(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if _, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: strings.Repeat("x", 65), Region: "us-east-1"}); err == nil {
		t.Error("65 characters are accepted")
	}
}

func TestWithoutCredentialsNobodyWaitsForAMetadataService(t *testing.T) {
	for _, k := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_EC2_METADATA_DISABLED"} {
		t.Setenv(k, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "s", Region: "us-east-1", Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	_, err = f.Put(t.Context(), [][]byte{[]byte("line\n")})
	var ce *uplink.CallError
	if !asCallError(err, &ce) || ce.Kind != uplink.KindSetup || !strings.Contains(ce.Advice, "no usable AWS credentials") {
		t.Errorf("Put: %v", err)
	}
	if d := time.Since(before); d > time.Second {
		t.Errorf("it took %v", d)
	}
}
