package uplink_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

// sessionToken must be in no log line, as secret must not.
const sessionToken = "IQoJb3JpZ2luX2VjEXAMPLETOKEN"

var vanKeys = firehosetest.Credentials{AccessKeyID: "ASIAVAN212", SecretAccessKey: secret, SessionToken: sessionToken}

// credentialsText is a file of keys.
func credentialsText(c firehosetest.Credentials) string {
	return fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
}

// An ordeal is one way in which delivery fails while a record a second is made, and how it ends.
type ordeal struct {
	name  string
	begin func(*rig)     // before the first record
	midst func(*rig)     // after five minutes
	mend  func(*rig)     // after twenty
	state uplink.State   // before that
	says  string         // in the reason then
	aside []string       // the only records that do not arrive
	rough bool           // some calls succeed meanwhile
	calls func(int) bool // how many calls may fail; nil: few enough for the back-off
}

// A rig is a van, its stream and its keys.
type rig struct {
	*testing.T
	*cloud
	log  *fakeLog
	file string // of credentials
	off  atomic.Int64
}

func (r *rig) keys(text string) {
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) refuse(code string, status int) {
	r.server.SetFaults(firehosetest.Faults{Delay: 10 * time.Millisecond, Call: func(int, [][]byte) firehosetest.Verdict {
		return firehosetest.Verdict{Code: code, Status: status, Message: "no"}
	}})
}

func (r *rig) well() { r.server.SetFaults(firehosetest.Faults{Delay: 10 * time.Millisecond}) }

func (r *rig) remove() {
	if err := r.server.Flush(); err != nil { // what a stream has not delivered goes with it, at AWS too
		r.Fatal(err)
	}
	if !r.server.DeleteStream("gps-delivery-stream") {
		r.Fatal("there was no stream")
	}
}

func (r *rig) create() {
	if err := r.server.CreateStream(firehosetest.Stream{Name: "gps-delivery-stream", Bucket: "sd-vehicle-data", Interval: time.Hour}); err != nil {
		r.Fatal(err)
	}
}

func ordeals() []ordeal {
	throttle := func(code string, status int) ordeal {
		return ordeal{name: fmt.Sprintf("HTTP %d %s", status, code), midst: func(r *rig) { r.refuse(code, status) }, mend: (*rig).well, state: uplink.StateThrottled, says: "less often"}
	}
	wrong := vanKeys
	wrong.SecretAccessKey = "anotherSecret/EXAMPLEKEY"
	unknown := vanKeys
	unknown.AccessKeyID = "ASIASOMEBODY"
	years := func(n int) func(*rig) {
		return func(r *rig) { r.off.Store(int64(today.AddDate(n, 0, 0).Sub(today))) }
	}
	return []ordeal{
		throttle("ServiceUnavailableException", 500),
		throttle("ServiceUnavailableException", 503),
		throttle("ThrottlingException", 400),
		throttle("LimitExceededException", 400),
		{name: "HTTP 500 InternalFailure", midst: func(r *rig) { r.refuse("InternalFailure", 500) }, mend: (*rig).well, state: uplink.StateDown, says: "InternalFailure"},
		{name: "the endpoint is down", midst: func(r *rig) { r.server.SetFaults(firehosetest.Faults{Down: true}) }, mend: (*rig).well, state: uplink.StateDown, says: "no answer"},
		{name: "the stream is deleted and made again", midst: (*rig).remove, mend: (*rig).create, state: uplink.StateRefused, says: "no stream gps-delivery-stream"},
		{name: "some entries of each call fail", midst: func(r *rig) {
			r.server.SetFaults(firehosetest.Faults{Delay: 10 * time.Millisecond, FailEntry: 0.5})
		}, mend: (*rig).well, rough: true},
		{name: "a record can never be taken", begin: func(r *rig) {
			r.server.SetFaults(firehosetest.Faults{Delay: 10 * time.Millisecond, Call: func(_ int, entries [][]byte) firehosetest.Verdict {
				for _, e := range entries {
					if bytes.Contains(e, []byte("record-400\n")) {
						return firehosetest.Verdict{Code: "ValidationException", Message: "1 validation error detected"}
					}
				}
				return firehosetest.Verdict{}
			}})
		}, aside: []string{"record-400"}, rough: true},
		{name: "the credentials are missing", begin: func(r *rig) {
			if err := os.Remove(r.file); err != nil {
				r.Fatal(err)
			}
		}, mend: func(r *rig) { r.keys(credentialsText(vanKeys)) }, state: uplink.StateRefused, says: "cannot be read"},
		{name: "the secret is wrong", midst: func(r *rig) { r.keys(credentialsText(wrong)) }, mend: func(r *rig) { r.keys(credentialsText(vanKeys)) },
			state: uplink.StateRefused, says: "secret access key does not belong"},
		{name: "the secret is mistyped at first", begin: func(r *rig) { r.keys(credentialsText(wrong)) }, mend: func(r *rig) { r.keys(credentialsText(vanKeys)) },
			state: uplink.StateRefused, says: "secret access key does not belong"},
		{name: "the key is unknown", midst: func(r *rig) { r.keys(credentialsText(unknown)) }, mend: func(r *rig) { r.keys(credentialsText(vanKeys)) },
			state: uplink.StateRefused, says: "not known to AWS"},
		{name: "the credentials have expired", begin: func(r *rig) {
			r.keys(credentialsText(firehosetest.Credentials{AccessKeyID: "ASIAOLD", SecretAccessKey: secret, SessionToken: sessionToken}))
		}, mend: func(r *rig) { r.keys(credentialsText(vanKeys)) }, state: uplink.StateRefused, says: "expired: renew"},
		{name: "the clock is 56 years slow", begin: years(-56), rough: true, calls: func(n int) bool { return n == 1 }},
		{name: "the clock is 19 years fast", begin: years(19), rough: true, calls: func(n int) bool { return n == 1 }},
		{name: "the clock goes wrong on the way", midst: years(-3), rough: true, calls: func(n int) bool { return n == 1 }},
	}
}

// Whatever fails, however it ends: against the strict endpoint exactly the records that were made arrive, each once, and no log line, state
// or error has a secret in it. One call is one upload.
func TestEachFailureIsOvercomeAndEveryRecordArrivesOnce(t *testing.T) {
	t.Parallel()
	for i, o := range ordeals() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var logged bytes.Buffer
				logger := slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
				r := &rig{T: t, log: newFakeLog(), file: filepath.Join(dir, uplink.CredentialsFileName)}
				r.keys(credentialsText(vanKeys))
				now := trueTime()
				c, stopServer := newCloud(t, firehosetest.Options{Seed: uint64(i), Now: now, Credentials: []firehosetest.Credentials{vanKeys,
					{AccessKeyID: "ASIAOLD", SecretAccessKey: secret, SessionToken: sessionToken, Expires: today.Add(3 * time.Minute)}}},
					uplink.StreamOptions{Log: logger, CredentialsFile: r.file, Now: func() time.Time { return now().Add(time.Duration(r.off.Load())) }})
				defer stopServer()
				r.cloud = c
				r.well()
				if o.begin != nil {
					o.begin(r)
				}
				var aside, states []string
				u, stop := start(t, r.log, uplink.Options{Encoder: &plain{}, Sink: c.sink, Pack: i%2 == 0, Linger: 10 * time.Second, LiveFirst: true, Rand: rng2(uint64(i)), Log: logger,
					OnState: func(c uplink.StateChange) { states = append(states, fmt.Sprintf("%s: %s", c.To, c.Reason)) },
					Aside: func(_ uint64, _ []byte, reason error) {
						aside = append(aside, strings.Fields(string(reason.(*uplink.RefusedError).Line))...)
					}})
				drive := func(d time.Duration) {
					for range d / time.Second {
						r.log.appendN(1)
						time.Sleep(time.Second)
					}
					synctest.Wait()
				}
				drive(5 * time.Minute)
				if o.midst != nil {
					o.midst(r)
				}
				drive(15 * time.Minute)
				if st := u.Status(); !o.rough && (st.State != o.state || !strings.Contains(st.Reason, o.says)) {
					t.Errorf("in the midst: state %s, %s; want %s with %q", st.State, st.Reason, o.state, o.says)
				}
				if o.mend != nil {
					o.mend(r)
				}
				drive(10 * time.Minute)
				time.Sleep(time.Minute)
				synctest.Wait()
				st := u.Status()
				stop()
				want := slices.DeleteFunc(records(1, 1800), func(r string) bool { return slices.Contains(o.aside, r) })
				check(t, c, r.log, want, 0)
				if !slices.Equal(aside, o.aside) || st.Aside != uint64(len(o.aside)) || st.Delivered != uint64(len(want)) {
					t.Errorf("set aside %q, want %q; delivered %d", aside, o.aside, st.Delivered)
				}
				if st.State != uplink.StateOK || !o.rough && (st.FailedCalls == 0 || st.FailedCalls > 40) || o.calls != nil && !o.calls(int(st.FailedCalls)) {
					t.Errorf("at the end: state %s (%s), %d of %d calls failed", st.State, st.Reason, st.FailedCalls, st.Calls)
				}
				// A call that needed no answer to fail, as without credentials, is no upload.
				if uploads := uint64(c.server.Counters().Calls); uploads > st.Calls || uploads < st.Calls-st.FailedCalls {
					t.Errorf("%d uploads for %d calls", uploads, st.Calls)
				}
				for _, text := range []string{logged.String(), fmt.Sprintf("%+v", st), strings.Join(states, "\n")} {
					for _, s := range []string{secret, sessionToken, "anotherSecret"} {
						if strings.Contains(text, s) {
							t.Errorf("%s is told: %s", s, text)
						}
					}
				}
			})
		})
	}
}

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { return nil }
func (l *pipes) Addr() net.Addr { return &net.IPAddr{} }

// The TLS handshake is cut in each of its phases, again and again; then one gets through.
func TestAHandshakeThatIsResetAtAnyPhaseLosesNothing(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		now := func() time.Time { return time.Date(2040, 7, 1, 0, 0, 0, 0, time.UTC).Add(time.Since(begin)) }
		c, stopServer := newCloud(t, firehosetest.Options{Now: now}, uplink.StreamOptions{})
		defer stopServer()
		c.server.SetFaults(firehosetest.Faults{Delay: 10 * time.Millisecond})
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		hs := &http.Server{Handler: c.server, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, Time: now}, ErrorLog: log.New(io.Discard, "", 0)}
		done := make(chan error, 1)
		go func() { done <- hs.ServeTLS(l, "", "") }()
		defer func() {
			close(l.closed)
			_ = hs.Close()
			<-done
		}()
		// Bytes up to the cut: of the client's hello, its end; of the server's hello, certificate; of the client's finish, the request.
		cuts := []struct{ up, down int64 }{{0, never}, {100, never}, {never, 0}, {never, 60}, {never, 500}, {never, 750}, {300, never}, {400, never}, {900, never}}
		dials := 0
		f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "gps-delivery-stream", Region: "eu-central-1", Endpoint: "https://127.0.0.1", RootCAs: pool, Now: now,
			Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret, SessionToken: "token"},
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				client, server := net.Pipe()
				select {
				case l.conns <- server:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				w := &wireConn{Conn: client, up: new(atomic.Int64), down: new(atomic.Int64)}
				w.up.Store(never)
				w.down.Store(never)
				if dials < len(cuts) {
					w.up.Store(cuts[dials].up)
					w.down.Store(cuts[dials].down)
				}
				dials++
				return w, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.CloseIdle()
		fl := newFakeLog()
		fl.appendN(100)
		u, stop := start(t, fl, uplink.Options{Encoder: &plain{}, Sink: f, Pack: true, Linger: time.Second, LiveFirst: true, Rand: rng2(5)})
		time.Sleep(time.Hour)
		st := u.Status()
		stop()
		check(t, c, fl, records(1, 100), 0)
		if int(st.FailedCalls) != len(cuts) || dials != len(cuts)+1 {
			t.Errorf("%d calls failed, %d connections; want %d cut ones and one that holds: %s", st.FailedCalls, dials, len(cuts), st.LastError)
		}
	})
}
