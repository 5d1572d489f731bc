package uplink_test

import (
	"bytes"
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
	"time"

	"obdagent/agent/agenttest"
	"obdagent/agent/uplink"
)

// shards is a strict data stream that fails each second entry of its first calls, as the API reference words it.
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
	failed, sum := 0, 0
	for i, rec := range in.Records {
		data, err := base64.StdEncoding.DecodeString(rec.Data)
		if n := len(data) + len(rec.PartitionKey); err != nil || n > 1<<20 || len(rec.PartitionKey) > 256 {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"__type":"ValidationException","message":"entry %d: %d bytes, %v"}`, i, n, err)
			return
		}
		if sum += len(data) + len(rec.PartitionKey); sum > 5<<20 {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"InvalidArgumentException","message":"Records size exceeds 5 MB limit"}`)
			return
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

// moto does one operation of a data stream at moto_server, which checks no signature.
func moto(t *testing.T, url, operation string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=x")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s %v", operation, answer.Status, text, err)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			t.Fatalf("%s: %s: %v", operation, text, err)
		}
	}
}

// The whole way: 1,203 records, a line each and joined, through the uplink into a data stream of moto_server and read back from its shard.
func TestMotoTakesRecordsForADataStreamAndGivesThemBack(t *testing.T) {
	t.Parallel()
	url := agenttest.Moto(t)
	k := kinesisTo(t, url)
	defer k.CloseIdle()
	var ce *uplink.CallError
	if _, err := k.Put(t.Context(), [][]byte{[]byte("line\n")}); !asCallError(err, &ce) || ce.Kind != uplink.KindSetup {
		t.Errorf("before the stream is made: %v", err)
	}
	moto(t, url, "CreateStream", map[string]any{"StreamName": "s", "ShardCount": 1}, nil)
	var want []string
	for _, pack := range []bool{false, true} {
		log := newFakeLog()
		lines := drive(1203)
		log.append(lines...)
		want = append(want, lines...)
		running := make(chan struct{})
		var once sync.Once
		u, stop := start(t, log, uplink.Options{Encoder: &plain{}, Sink: k, Pack: pack, LiveFirst: true, OnState: func(uplink.StateChange) { once.Do(func() { close(running) }) }})
		<-running
		err := u.Drain(t.Context())
		st := u.Status()
		stop()
		if err != nil || st.Delivered != 1203 || st.FailedCalls != 0 || st.BilledBytes != 0 || log.open() != nil {
			t.Fatalf("pack %v: %v, %+v", pack, err, st)
		}
		if pack != (st.Entries < 10) {
			t.Errorf("pack %v: %d entries", pack, st.Entries)
		}
	}
	var shard struct{ ShardIterator string }
	moto(t, url, "GetShardIterator", map[string]any{"StreamName": "s", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}, &shard)
	var got []string
	for len(got) < len(want) {
		var page struct {
			NextShardIterator string
			Records           []struct {
				Data         []byte
				PartitionKey string
			}
		}
		moto(t, url, "GetRecords", map[string]any{"ShardIterator": shard.ShardIterator}, &page)
		for _, r := range page.Records {
			if r.PartitionKey != "1FTBR1XG2MKA12345" {
				t.Fatalf("partition key %q", r.PartitionKey)
			}
			got = append(got, lines(string(r.Data))...)
		}
		if len(page.Records) == 0 {
			break
		}
		shard.ShardIterator = page.NextShardIterator
	}
	if !slices.Equal(want, got) {
		t.Errorf("%d lines read back, not the %d that were sent in their order", len(got), len(want))
	}
}

// A wrong clock costs one call at a data stream too: from then on the time of its answers is used.
func TestADataStreamTellsTheTimeToAWrongClock(t *testing.T) {
	t.Parallel()
	calls := 0
	s := &shards{keys: map[string]int{}, once: map[string]bool{}}
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		now := time.Now().UTC()
		w.Header().Set("Date", now.Format(http.TimeFormat))
		if err != nil || at.Sub(now).Abs() > 5*time.Minute {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"__type":"InvalidSignatureException","message":"Signature expired: %s is now earlier than %s"}`, at, now)
			return
		}
		s.ServeHTTP(w, r)
	}))
	defer ts.Close()
	k, err := uplink.NewKinesis(t.Context(), uplink.KinesisOptions{PartitionKey: func() string { return "van" }, StreamOptions: uplink.StreamOptions{Stream: "s", Region: "us-east-1", Endpoint: ts.URL,
		Now: func() time.Time { return time.Now().AddDate(-20, 0, 0) }, Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	defer k.CloseIdle()
	var ce *uplink.CallError
	if _, err := k.Put(t.Context(), [][]byte{[]byte("line\n")}); !asCallError(err, &ce) || ce.Kind != uplink.KindClock {
		t.Errorf("twenty years slow: %v", err)
	}
	if _, err := k.Put(t.Context(), [][]byte{[]byte("line\n")}); err != nil || calls != 2 {
		t.Errorf("the next call: %v, %d calls", err, calls)
	}
}

// The largest lines and the longest partition key: no call and no entry is beyond what PutRecords takes.
func TestTheLargestLinesAreWithinADataStreamsLimits(t *testing.T) {
	t.Parallel()
	s := &shards{keys: map[string]int{}, once: map[string]bool{}}
	ts := httptest.NewServer(s)
	defer ts.Close()
	k, err := uplink.NewKinesis(t.Context(), uplink.KinesisOptions{PartitionKey: func() string { return strings.Repeat("k", 256) },
		StreamOptions: uplink.StreamOptions{Stream: "s", Region: "us-east-1", Endpoint: ts.URL, Credentials: &uplink.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	defer k.CloseIdle()
	entries := make([][]byte, 4)
	for i := range entries { // four of the largest are what Firehose takes in one call
		entries[i] = fmt.Appendf(nil, "%d%s\n", i, strings.Repeat("x", uplink.MaxEntryBytes-2))
	}
	failed, err := k.Put(t.Context(), entries)
	if err != nil || len(failed) != 2 { // each second one fails once
		t.Errorf("%v, %v", failed, err)
	}
	small := make([][]byte, uplink.MaxEntries)
	for i := range small {
		small[i] = fmt.Appendf(nil, "%d\n", i)
	}
	if _, err := k.Put(t.Context(), small); err != nil {
		t.Error(err)
	}
}
