package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/awslabs/goformation/v7/cloudformation/lambda"

	"obdagent/agent/agenttest"
)

// lambdaPrelude hands an event to the function as Lambda would, and prints what it answers.
const lambdaPrelude = "import json, os, sys\nos.environ.update(json.loads(sys.argv[1]))\n"
const lambdaEnd = "\nprint(json.dumps(handler(json.loads(sys.argv[2]), None)))\n"

func TestTheFunctionDropsAndDatesLines(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "python3")
	code := one[lambda.Function](t, deploy(t, map[string]any{"Redate": "yes"}), "Function").Code.ZipFile
	if n := len(text(code)); n == 0 || n > 4096 {
		t.Fatalf("the function has %d characters; CloudFormation takes 4096 inline", n)
	}
	const old = "939ed1d1-1740-420c-8906-000000000001 2026-11-20T23:59:59.000Z WVWZZZ1JZXW000001 10.0000000 50.0000000 36\n"
	const other = "939ed1d1-1740-420c-8906-000000000003 2026-11-21T00:00:01.000Z 4FTEX4944AKL84429 106.9447146 -6.3385652 25\n"
	const object = `{"record_id":"939ed1d1-1740-420c-8906-000000000004","timestamp":"2026-11-22T08:00:01.000Z","vin":"WVWZZZ1JZXW000001"}` + "\n"
	const undated = `{"record_id":"939ed1d1-1740-420c-8906-000000000005","timestamp":null,"vin":null}` + "\n"
	const damaged = "rubbish\n\xff\n"
	run := func(keep, redate string, data ...string) (answers []lambdaAnswer) {
		t.Helper()
		environment, err := json.Marshal(map[string]string{"KEEP_VIN": keep, "REDATE": redate})
		if err != nil {
			t.Fatal(err)
		}
		var event struct {
			Records []map[string]any `json:"records"`
		}
		for i, d := range data {
			event.Records = append(event.Records, map[string]any{"recordId": fmt.Sprint(i), "approximateArrivalTimestamp": int64(1764000000000), "data": base64.StdEncoding.EncodeToString([]byte(d))})
		}
		text1, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "python3", "-c", lambdaPrelude+text(code)+lambdaEnd, string(environment), string(text1))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ Records []lambdaAnswer }
		if err := json.Unmarshal(out, &answer); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if len(answer.Records) != len(data) {
			t.Fatalf("%d answers to %d records", len(answer.Records), len(data))
		}
		return answer.Records
	}
	for i, got := range run("", "yes", old+other, object, undated, damaged+object, gzipped(t, other+old)) {
		want := []struct{ data, day string }{{old + other, "2026/11/20"}, {object, "2026/11/22"}, {undated, "2025/11/24"}, {damaged + object, "2026/11/22"}, {other + old, "2026/11/21"}}[i]
		if got.RecordID != fmt.Sprint(i) || got.Result != "Ok" || got.Metadata.PartitionKeys["day"] != want.day || got.lines(t) != want.data {
			t.Errorf("%d: %+v, want %+v", i, got, want)
		}
	}
	for i, got := range run("^WVW", "no", old+other+damaged, other, gzipped(t, other+old), undated) {
		want := []struct{ result, data string }{{"Ok", old + damaged}, {"Dropped", other}, {"Ok", old}, {"Dropped", undated}}[i]
		if got.Result != want.result || got.lines(t) != want.data || got.Metadata.PartitionKeys != nil {
			t.Errorf("%d: %+v, want %+v", i, got, want)
		}
	}
}

// A lambdaAnswer is what the function answers for one record.
type lambdaAnswer struct {
	RecordID string `json:"recordId"`
	Result   string
	Data     []byte
	Metadata struct {
		PartitionKeys map[string]string `json:"partitionKeys"`
	}
}

// lines are the record's, unpacked.
func (a lambdaAnswer) lines(t *testing.T) string {
	t.Helper()
	if len(a.Data) < 2 || a.Data[0] != 0x1f {
		return string(a.Data)
	}
	r, err := gzip.NewReader(bytes.NewReader(a.Data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func gzipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(s))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
