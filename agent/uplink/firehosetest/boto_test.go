package firehosetest_test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"obdagent/agent/agenttest"
	"obdagent/agent/uplink/firehosetest"
)

const botoPut = `
import sys, boto3, botocore.exceptions
def client(secret):
    return boto3.client("firehose", region_name="eu-central-1", endpoint_url=sys.argv[1], aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key=secret)
r = client("right").put_record_batch(DeliveryStreamName="s", Records=[{"Data": b"one\n"}, {"Data": b"two\n"}])
print(r["FailedPutCount"], [len(x["RecordId"]) for x in r["RequestResponses"]])
try:
    client("wrong").put_record(DeliveryStreamName="s", Record={"Data": b"three\n"})
except botocore.exceptions.ClientError as e:
    print(e.response["Error"]["Code"], e.response["ResponseMetadata"]["HTTPStatusCode"])
`

// An independent client, with its own signer and parser, agrees.
func TestBoto3PutsAndIsRefusedAsAtAWS(t *testing.T) {
	t.Parallel()
	python := agenttest.Python(t, "boto3")
	s, err := firehosetest.New(firehosetest.Options{Addr: "127.0.0.1:0", Region: "eu-central-1", Streams: []firehosetest.Stream{{Name: "s"}},
		Credentials: []firehosetest.Credentials{{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "right"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	cmd := exec.CommandContext(ctx, python, "-c", botoPut, s.URL())
	cmd.Env = append(os.Environ(), "AWS_CONFIG_FILE=/dev/null", "NO_PROXY=127.0.0.1")
	out, err := cmd.CombinedOutput()
	if want := "0 [224, 224]\nInvalidSignatureException 400\n"; err != nil || string(out) != want {
		t.Errorf("boto3 says %q (%v), want %q", out, err, want)
	}
	if c := s.Counters(); c.Taken != 2 || c.Bytes != 8 {
		t.Errorf("counters %+v", c)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
