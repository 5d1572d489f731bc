package uplink_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"obdagent/agent/uplink"
)

// What answers 200 and is not the stream, as a portal of a guest network does, has taken nothing.
func TestAnAnswerThatIsNotTheStreamsIsNoDelivery(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"nothing":       "",
		"an empty one":  "{}",
		"a page":        "<html>Please accept our terms</html>",
		"a shorter one": `{"FailedPutCount":0,"RequestResponses":[{"RecordId":"x"}]}`,
		"a longer one":  `{"FailedPutCount":0,"RequestResponses":[{"RecordId":"x"},{"RecordId":"x"},{"RecordId":"x"}]}`,
	} {
		ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
		f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "s", Region: "us-east-1", Endpoint: ts.URL, Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}})
		if err != nil {
			t.Fatal(err)
		}
		failed, err := f.Put(t.Context(), [][]byte{[]byte("one\n"), []byte("two\n")})
		var ce *uplink.CallError
		if !asCallError(err, &ce) || ce.Kind != uplink.KindLink || failed != nil {
			t.Errorf("%s: %v, %v", name, failed, err)
		}
		f.CloseIdle()
		ts.Close()
	}
}

// Without an endpoint it is the region's.
func TestTheEndpointIsTheRegions(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]string{
		"us-east-1": "firehose.us-east-1.amazonaws.com:443", "us-gov-west-1": "firehose.us-gov-west-1.amazonaws.com:443",
		"cn-north-1": "firehose.cn-north-1.amazonaws.com.cn:443", "eusc-de-east-1": "firehose.eusc-de-east-1.amazonaws.eu:443",
	} {
		dialed := ""
		f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "s", Region: region, Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret},
			Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
				dialed = addr
				return nil, errors.New("no route to host")
			}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Put(t.Context(), [][]byte{[]byte("line\n")}); err == nil || dialed != want {
			t.Errorf("%s: %q, want %q: %v", region, dialed, want, err)
		}
	}
}

func TestTheSDKsVariablesForAnEndpointAreRead(t *testing.T) {
	for _, tt := range []struct{ general, special, configured, want string }{
		{"", "", "", "Firehose stream s in us-east-1"},
		{"http://127.0.0.1:1", "", "", "Firehose stream s in us-east-1 at http://127.0.0.1:1"},
		{"http://127.0.0.1:1", "http://127.0.0.1:2", "", "Firehose stream s in us-east-1 at http://127.0.0.1:2"},
		{"http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", "Firehose stream s in us-east-1 at http://127.0.0.1:3"},
	} {
		t.Setenv("AWS_ENDPOINT_URL", tt.general)
		t.Setenv("AWS_ENDPOINT_URL_FIREHOSE", tt.special)
		f, err := uplink.NewFirehose(t.Context(), uplink.StreamOptions{Stream: "s", Region: "us-east-1", Endpoint: tt.configured, Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}})
		if err != nil || f.String() != tt.want {
			t.Errorf("%+v: %v, %v", tt, f, err)
		}
	}
}
