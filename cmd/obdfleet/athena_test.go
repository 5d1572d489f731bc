package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"obdagent/agent/agenttest"
	"obdagent/agent/report"
	"obdagent/cmd/internal/cli"
)

// fakeAthena is as strict as Athena is (API Reference, StartQueryExecution, GetQueryExecution, GetQueryResults, StopQueryExecution):
// signed JSON calls, a token of 32 to 128 characters, states in their order, the columns' names as the first row of the first page.
type fakeAthena struct {
	t      *testing.T
	rows   [][]string // the first has the columns' names; "null" is null
	states []string   // what each look sees; the last one stays
	reason string
	refuse string // code of the error that StartQueryExecution answers with

	mu      sync.Mutex
	query   string
	input   map[string]any
	looks   int
	stopped bool
	looked  chan struct{} // closed at the first look, unless nil
}

const athenaID = "c1b3f0a2-9d4e-4f57-8a55-0d6a8b2e6f11"

func (f *fakeAthena) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	in := map[string]any{}
	if err != nil || json.Unmarshal(body, &in) != nil {
		f.t.Errorf("the body is no JSON object: %s", body)
	}
	if got := r.Header.Get("Content-Type"); r.Method != http.MethodPost || r.URL.Path != "/" || got != "application/x-amz-json-1.1" {
		f.t.Errorf("%s %s with %s", r.Method, r.URL.Path, got)
	}
	if a := r.Header.Get("Authorization"); !strings.HasPrefix(a, "AWS4-HMAC-SHA256 ") || !strings.Contains(a, "/eu-central-1/athena/aws4_request") {
		f.t.Errorf("signed as %q", a)
	}
	action := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonAthena.")
	if id, ok := in["QueryExecutionId"]; action != "StartQueryExecution" && (!ok || id != athenaID) {
		f.t.Errorf("%s of query %v", action, id)
	}
	answer := map[string]any{}
	switch action {
	case "StartQueryExecution":
		if f.refuse != "" {
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]any{"__type": f.refuse, "Message": "said by the fake"})
			return
		}
		if token, _ := in["ClientRequestToken"].(string); len(token) < 32 || len(token) > 128 {
			f.t.Errorf("the token %q has not 32 to 128 characters", token)
		}
		f.input = in
		f.query, _ = in["QueryString"].(string)
		if len(f.query) == 0 || len(f.query) > 262144 {
			f.t.Errorf("the query has %d bytes", len(f.query))
		}
		answer["QueryExecutionId"] = athenaID
	case "GetQueryExecution":
		state := f.states[min(f.looks, len(f.states)-1)]
		f.looks++
		if f.looks == 1 && f.looked != nil {
			close(f.looked)
		}
		answer["QueryExecution"] = map[string]any{
			"QueryExecutionId": athenaID, "Status": map[string]any{"State": state, "StateChangeReason": f.reason},
			"Statistics": map[string]any{"DataScannedInBytes": 12345, "TotalExecutionTimeInMillis": 2500},
		}
	case "GetQueryResults":
		if f.looks < len(f.states) || f.states[len(f.states)-1] != "SUCCEEDED" {
			f.t.Error("results are asked for before the query has succeeded")
		}
		answer = f.page(in)
	case "StopQueryExecution":
		f.stopped = true
	default:
		f.t.Errorf("action %q", action)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(answer)
}

// page has two rows.
func (f *fakeAthena) page(in map[string]any) map[string]any {
	begin := 0
	if token, ok := in["NextToken"].(string); ok {
		if _, err := fmt.Sscanf(token, "from-%d", &begin); err != nil {
			f.t.Errorf("the token %q is none of ours", token)
		}
	}
	end := min(begin+2, len(f.rows))
	var rows []any
	for _, row := range f.rows[begin:end] {
		var data []any
		for _, cell := range row {
			if cell == "null" {
				data = append(data, map[string]any{})
			} else {
				data = append(data, map[string]any{"VarCharValue": cell})
			}
		}
		rows = append(rows, map[string]any{"Data": data})
	}
	answer := map[string]any{"ResultSet": map[string]any{"Rows": rows}}
	if end < len(f.rows) {
		answer["NextToken"] = fmt.Sprintf("from-%d", end)
	}
	return answer
}

// athenaRows is an answer to the query named report: a vehicle of which all is known, and one without a name of which nothing is.
var athenaRows = [][]string{
	{"vin", "records", "duplicates", "undated", "first_ms", "last_ms", "max_speed", "distance_mm", "jumps", "speed_mm", "moving_ms", "idle_ms", "blind_ms",
		"gaps", "gap_ms", "longest_gap_ms", "co2_ug", "co2_ms", "fuel_units", "fuel_ms"},
	{"WVWZZZ1JZXW000001", "8", "2", "1", "1795420800000", "1795424400500", "90000", "500123", "1", "500000", "30000", "220000", "5000",
		"1", "151000", "151000", "1440000000", "240000", "1458000000", "180000"},
	{"null", "3", "0", "3", "null", "null", "null", "0", "0", "0", "0", "0", "0", "0", "0", "0", "0", "0", "0", "0"},
}

func athenaArgs(server *httptest.Server, more ...string) []string {
	return append([]string{"report", "--engine", "athena", "--endpoint", server.URL, "--region", "eu-central-1"}, more...)
}

func startAthena(t *testing.T, f *fakeAthena) *httptest.Server {
	t.Helper()
	f.t = t
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

func TestAthenaReckonsTheReport(t *testing.T) {
	t.Parallel()
	f := &fakeAthena{rows: athenaRows, states: []string{"QUEUED", "RUNNING", "SUCCEEDED"}}
	status, out, errs := obdfleet(t, athenaArgs(startAthena(t, f), "--table", "lines", "--database", "fleet", "--workgroup", "desk", "--output", "s3://answers/x",
		"--vin", "WVWZZZ1JZXW000001,unknown", "--from", "2026-11-23", "--to", "2026-11-23", "--gap", "61s")...)
	if status != cli.ExitDone || errs != "" {
		t.Errorf("status %d, said %s", status, errs)
	}
	golden(t, "athena.golden", out)
	golden(t, "athena.sql.golden", f.query)
	want := map[string]any{
		"QueryString": f.query, "WorkGroup": "desk", "QueryExecutionContext": map[string]any{"Database": "fleet"},
		"ResultConfiguration": map[string]any{"OutputLocation": "s3://answers/x"},
	}
	if diff := cmp.Diff(want, f.input, cmpopts.IgnoreMapEntries(func(k string, _ any) bool { return k == "ClientRequestToken" })); diff != "" {
		t.Errorf("what was asked (-want +got):\n%s", diff)
	}
	if f.stopped || f.looks != 3 {
		t.Errorf("%d looks, stopped %v; want 3 and false", f.looks, f.stopped)
	}
}

func TestWhatAthenaRefusesIsExplained(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		fake   *fakeAthena
		status int
		want   string
	}{
		{"no such database", &fakeAthena{refuse: "InvalidRequestException"}, cli.ExitUsage, "athena: said by the fake: check --database, --table, --workgroup and --output"},
		{"no right", &fakeAthena{refuse: "AccessDeniedException"}, cli.ExitUsage, "athena: these credentials may not ask it (AccessDeniedException)"},
		{"a query that fails", &fakeAthena{states: []string{"FAILED"}, reason: "TABLE_NOT_FOUND: line 13"}, cli.ExitBadNews, "athena: query " + athenaID + ": failed: TABLE_NOT_FOUND: line 13"},
		{"somebody stops it", &fakeAthena{states: []string{"RUNNING", "CANCELLED"}, reason: "by a person"}, cli.ExitBadNews, "cancelled: by a person"},
		{"a number that is none", &fakeAthena{states: []string{"SUCCEEDED"}, rows: [][]string{athenaRows[0], append([]string{"A", "many"}, athenaRows[2][2:]...)}}, cli.ExitBadNews, "column records of A"},
		{"no records", &fakeAthena{states: []string{"SUCCEEDED"}, rows: athenaRows[:1]}, cli.ExitBadNews, "no records: check that this is the table"},
	} {
		f := test.fake
		status, _, errs := obdfleet(t, athenaArgs(startAthena(t, f))...)
		if status != test.status {
			t.Errorf("%s: status %d, want %d", test.name, status, test.status)
		}
		expectLines(t, errs, []string{test.want})
	}
}

// A query that nobody waits for any more would go on costing money.
func TestAnInterruptedQueryIsStopped(t *testing.T) {
	t.Parallel()
	f := &fakeAthena{states: []string{"RUNNING"}, looked: make(chan struct{})}
	server := startAthena(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		select {
		case <-f.looked:
			cancel()
		case <-ctx.Done():
		}
	}()
	var out, errs bytes.Buffer
	status := cli.Run(ctx, rootCommand(), athenaArgs(server), &out, &errs)
	f.mu.Lock()
	defer f.mu.Unlock()
	if status != cli.ExitBadNews || !f.stopped || out.Len() > 0 {
		t.Errorf("status %d, query stopped %v, printed %s", status, f.stopped, out.String())
	}
	expectLines(t, errs.String(), []string{"stopped before the end of Athena's query: no report"})
}

// TestMotoAsAthena: the calls as moto_server, which is not ours, takes them. It runs no SQL: the answer is put there before.
func TestMotoAsAthena(t *testing.T) {
	t.Parallel()
	agenttest.Python(t, "boto3")
	endpoint := agenttest.Moto(t)
	agenttest.PutObjects(t, endpoint, agenttest.Bucket, t.TempDir()) // the bucket for the answers
	var rows, columns []any
	for _, row := range athenaRows[:2] { // it has no way to say null
		var data []any
		for _, cell := range row {
			data = append(data, map[string]any{"VarCharValue": cell})
		}
		rows = append(rows, map[string]any{"Data": data})
	}
	for _, name := range athenaRows[0] {
		columns = append(columns, map[string]any{"Name": name, "Type": "varchar"})
	}
	body, err := json.Marshal(map[string]any{"results": []any{map[string]any{"rows": rows, "column_info": columns}}, "region": "eu-central-1"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(endpoint+"/moto-api/static/athena/query-results", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	status, out, errs := obdfleet(t, "report", "--engine", "athena", "--endpoint", endpoint, "--region", "eu-central-1", "--workgroup", "primary", "--output", "s3://"+agenttest.Bucket+"/answers/")
	if status != cli.ExitDone || errs != "" || !strings.Contains(out, "WVWZZZ1JZXW000001        8      90.0") {
		t.Errorf("status %d, said %s, printed\n%s", status, errs, out)
	}
}

func TestARowOfAthenaIsAVehicle(t *testing.T) {
	t.Parallel()
	var got []report.Vehicle
	for _, cells := range athenaRows[1:] {
		row := map[string]string{}
		for i, cell := range cells {
			if cell != "null" {
				row[athenaRows[0][i]] = cell
			}
		}
		v, err := vehicleOf(row)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	want := []report.Vehicle{{
		VIN: "WVWZZZ1JZXW000001", Records: 8, Duplicates: 2, Undated: 1, First: time.UnixMilli(1795420800000).UTC(), Last: time.UnixMilli(1795424400500).UTC(),
		MaxSpeed: 90, Millimetres: 500123, Jumps: 1, SpeedMillimetres: 500000, Moving: 30 * time.Second, Idle: 220 * time.Second, Blind: 5 * time.Second,
		Gaps: 1, GapTime: 151 * time.Second, LongestGap: 151 * time.Second, CO2Micrograms: 1440000000, CO2Time: 240 * time.Second, FuelUnits: 1458000000, FuelTime: 180 * time.Second,
	}, {VIN: report.UnknownVIN, Records: 3, Undated: 3, MaxSpeed: math.NaN()}}
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("vehicles (-want +got):\n%s", diff)
	}
}
