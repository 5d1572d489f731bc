package uplink_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"obdagent/agent/agenttest"
	"obdagent/agent/uplink"
)

// shards is a data stream that fails each second entry of its first calls, as the API reference words it.
type shards struct {
	mu    sync.Mutex
	calls int
	keys  map[string]int
	lines []string
	once  map[string]bool // entries that have failed once
	code  string          // refuse calls with this
}

func (s *shards) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if auth := r.Header.Get("Authorization"); !strings.Contains(auth, "/us-east-1/kinesis/aws4_request") || r.Header.Get("X-Amz-Target") != "Kinesis_20131202.PutRecords" || s.code != "" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":"com.amazonaws.kinesis#%s","message":"refused"}`, s.code)
		return
	}
	var in struct {
		StreamName string
		Records    []struct{ Data, PartitionKey string }
	}
	if err := json.Unmarshal(body, &in); err != nil || in.StreamName != "s" || len(in.Records) < 1 || len(in.Records) > 500 {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"ValidationException"}`)
		return
	}
	var out []string
	failed := 0
	for i, rec := range in.Records {
		data, err := base64.StdEncoding.DecodeString(rec.Data)
		if err != nil {
			failed++
		}
		if i%2 == 1 && !s.once[rec.Data] {
			s.once[rec.Data] = true
			failed++
			out = append(out, `{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded for shard shardId-000000000001"}`)
			continue
		}
		s.keys[rec.PartitionKey]++
		s.lines = append(s.lines, lines(string(data))...)
		out = append(out, fmt.Sprintf(`{"SequenceNumber":"4954%d","ShardId":"shardId-000000000000"}`, i))
	}
	fmt.Fprintf(w, `{"FailedRecordCount":%d,"Records":[%s]}`, failed, strings.Join(out, ","))
}

func kinesisTo(t *testing.T, url string) *uplink.Kinesis {
	t.Helper()
	k, err := uplink.NewKinesis(t.Context(), uplink.KinesisOptions{PartitionKey: func() string { return "1FTBR1XG2MKA12345" },
		StreamOptions: uplink.StreamOptions{Stream: "s", Region: "us-east-1", Endpoint: url, Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestOfADataStreamExactlyTheFailedEntriesGoAgain(t *testing.T) {
	t.Parallel()
	s := &shards{keys: map[string]int{}, once: map[string]bool{}}
	ts := httptest.NewServer(s)
	defer ts.Close()
	log := newFakeLog()
	log.appendN(20)
	running := make(chan struct{})
	var once sync.Once
	u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: kinesisTo(t, ts.URL), LiveFirst: true,
		OnState: func(uplink.StateChange) { once.Do(func() { close(running) }) }})
	<-running
	for range 3 { // each cuts the back-off short once
		if err := u.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := slices.Sorted(slices.Values(s.lines))
	if want := slices.Sorted(slices.Values(records(1, 20))); !slices.Equal(want, got) {
		t.Errorf("%q arrived", got)
	}
	if len(s.keys) != 1 || s.keys["1FTBR1XG2MKA12345"] != 20 {
		t.Errorf("partition keys %v", s.keys)
	}
}

func TestEachRefusalOfADataStreamSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]struct {
		kind uplink.Kind
		text string
	}{
		"ResourceNotFoundException":              {uplink.KindSetup, "there is no stream s"},
		"AccessDeniedException":                  {uplink.KindSetup, "allow kinesis:PutRecords"},
		"ProvisionedThroughputExceededException": {uplink.KindThrottled, "less often"},
		"ValidationException":                    {uplink.KindRefused, "refused"},
		"InternalFailure":                        {uplink.KindLink, "InternalFailure"},
	} {
		ts := httptest.NewServer(&shards{code: code})
		_, err := kinesisTo(t, ts.URL).Put(t.Context(), [][]byte{[]byte("line\n")})
		ts.Close()
		var ce *uplink.CallError
		if !asCallError(err, &ce) || ce.Kind != want.kind || !strings.Contains(ce.Error(), want.text) || strings.Contains(ce.Error(), secret) {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestMotoTakesRecordsForADataStream(t *testing.T) {
	t.Parallel()
	url := agenttest.Moto(t)
	k := kinesisTo(t, url)
	defer k.CloseIdle()
	var ce *uplink.CallError
	if _, err := k.Put(t.Context(), [][]byte{[]byte("line\n")}); !asCallError(err, &ce) || ce.Kind != uplink.KindSetup {
		t.Errorf("before the stream is made: %v", err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"StreamName":"s","ShardCount":1}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "Kinesis_20131202.CreateStream")
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=x")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("CreateStream: %s", answer.Status)
	}
	entries := [][]byte{[]byte("one\ntwo\n"), []byte("three\n")}
	if failed, err := k.Put(t.Context(), entries); err != nil || failed != nil {
		t.Errorf("%v, %v", failed, err)
	}
}
