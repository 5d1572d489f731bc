package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// roundTrip is a transport in memory: the calendar of credentials is what is tested here, TLS is elsewhere.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestCredentialsAreRenewedEarlyAndServedUntilTheyTrulyExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := false
		var asked []time.Time
		p, err := newIoTCredentials(IoTOptions{Endpoint: "x", RoleAlias: "r", Cert: "c", Key: "k"},
			StreamOptions{Now: time.Now, Log: slog.New(slog.DiscardHandler)}, newSessions("", nil), &byteCount{})
		if err != nil {
			t.Fatal(err)
		}
		p.client.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			asked = append(asked, time.Now())
			if down {
				return nil, errors.New("no coverage")
			}
			// The server's clock is 40 years ahead of ours: only the difference counts.
			now := time.Now().AddDate(40, 0, 0).UTC()
			body := fmt.Sprintf(`{"credentials":{"accessKeyId":"key-%d","secretAccessKey":"s","sessionToken":"t","expiration":%q}}`, len(asked), now.Add(12*time.Hour).Format(time.RFC3339))
			return &http.Response{StatusCode: 200, Header: http.Header{"Date": {now.Format(http.TimeFormat)}}, Body: io.NopCloser(strings.NewReader(body))}, nil
		})
		get := func() (aws.Credentials, error) { return p.Retrieve(context.WithoutCancel(t.Context())) }
		first := time.Now()
		for time.Since(first) < 48*time.Hour {
			if _, err := get(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		for i := 1; i < len(asked); i++ {
			if d := asked[i].Sub(asked[i-1]); d < 7*time.Hour || d > 11*time.Hour {
				t.Errorf("asked again after %v", d)
			}
		}
		if len(asked) < 5 || len(asked) > 7 {
			t.Errorf("asked %d times in two days", len(asked))
		}
		last := asked[len(asked)-1]
		down = true
		n, served := len(asked), time.Time{}
		for time.Since(last) < 24*time.Hour {
			if _, err := get(); err != nil {
				break
			}
			served = time.Now()
			time.Sleep(time.Minute)
		}
		if d := served.Sub(last); d < 11*time.Hour+57*time.Minute || d > 12*time.Hour {
			t.Errorf("the old ones were served for %v of their 12 hours", d)
		}
		if tries := len(asked) - n; tries < 20 || tries > 300 {
			t.Errorf("%d tries while they still held", tries)
		}
		down = false
		if c, err := get(); err != nil || c.AccessKeyID != fmt.Sprintf("key-%d", len(asked)) {
			t.Errorf("after the hole: %v, %v", c.AccessKeyID, err)
		}
		// AWS says that they are not good any more.
		n = len(asked)
		p.Invalidate()
		if _, err := get(); err != nil || len(asked) != n+1 {
			t.Errorf("after a refusal asked %d times: %v", len(asked)-n, err)
		}
	})
}

// A fleet that was switched on in one second renews its credentials over hours, not in one.
func TestAFleetDoesNotRenewItsCredentialsTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const vans, life = 500, 12 * time.Hour
		begin := time.Now()
		perMinute := map[int]int{}
		first, last := life, time.Duration(0)
		var all []*iotCredentials
		for range vans {
			p, err := newIoTCredentials(IoTOptions{Endpoint: "x", RoleAlias: "r", Cert: "c", Key: "k"},
				StreamOptions{Now: time.Now, Log: slog.New(slog.DiscardHandler)}, newSessions("", nil), &byteCount{})
			if err != nil {
				t.Fatal(err)
			}
			p.client.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
				now := time.Now().UTC()
				if d := now.Sub(begin); d > 0 {
					perMinute[int(d/time.Minute)]++
					first, last = min(first, d), max(last, d)
				}
				body := fmt.Sprintf(`{"credentials":{"accessKeyId":"k","secretAccessKey":"s","sessionToken":"t","expiration":%q}}`, now.Add(life).Format(time.RFC3339))
				return &http.Response{StatusCode: 200, Header: http.Header{"Date": {now.Format(http.TimeFormat)}}, Body: io.NopCloser(strings.NewReader(body))}, nil
			})
			all = append(all, p)
		}
		for time.Since(begin) < 11*time.Hour {
			for _, p := range all {
				if _, err := p.Retrieve(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
		}
		renewed, most := 0, 0
		for _, n := range perMinute {
			renewed += n
			most = max(most, n)
		}
		// 500 over 144 minutes: three or four a minute on average.
		if renewed != vans || most > 20 || first < 7*time.Hour || last-first < 2*time.Hour {
			t.Errorf("%d of %d renewed, from %v to %v after power-on, %d in one minute", renewed, vans, first, last, most)
		}
	})
}
