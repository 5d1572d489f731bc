package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/cmd/internal/cli"
	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/cmd/obdfleet/internal/cloud/cloudtest"
)

// inWorld runs obdfleet cloud in a world, with an answer on standard input.
func inWorld(t *testing.T, w *cloudtest.World, answer string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	root := cli.Root("obdfleet", "", "", cloudCommand(func(_ context.Context, o cloud.Options) (*cloud.Account, error) {
		if _, err := cloud.Load(t.Context(), o); err != nil {
			return nil, err
		}
		return w.Account(), nil
	}))
	root.SetIn(strings.NewReader(answer))
	var out, errs bytes.Buffer
	status = cli.Run(t.Context(), root, append([]string{"cloud"}, args...), &out, &errs)
	return status, out.String(), errs.String()
}

const streamARN = "arn:aws:firehose:us-east-1:123456789012:deliverystream/gps-delivery-stream\n"

func TestCloudUpPrintsTheARNAndNothingElse(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	w.RoleDelay, w.StreamDelay = 1, 1
	status, out, errs := inWorld(t, w, "", "up")
	if status != cli.ExitDone || out != streamARN {
		t.Errorf("status %d, printed %q", status, out)
	}
	golden(t, "up.golden", errs)
	n := len(w.Changes())
	if status, out, _ := inWorld(t, w, "", "up"); status != cli.ExitDone || out != streamARN || len(w.Changes()) != n {
		t.Errorf("again: status %d, printed %q, changed %q", status, out, w.Changes()[n:])
	}
	status, out, errs = inWorld(t, w, "", "up", "--compression", "gzip")
	if status != cli.ExitBadNews || out != streamARN || !strings.Contains(errs, `obdfleet cloud up: stream gps-delivery-stream: file extension is "", should be ".gz"`) || !strings.Contains(errs, "--repair sets right what can be") {
		t.Errorf("status %d, printed %q, said %s", status, out, errs)
	}
	if status, _, errs := inWorld(t, w, "", "up", "--compression", "gzip", "--repair"); status != cli.ExitDone {
		t.Errorf("repair: status %d, said %s", status, errs)
	}
}

func TestCloudUpDryRun(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("eu-central-1")
	status, out, errs := inWorld(t, w, "", "up", "--dry-run", "--compression=gzip", "--bucket=example-fleet-data", "--buffer-interval=15m")
	if status != cli.ExitDone || len(w.Changes()) > 0 {
		t.Errorf("status %d, said %s, changed %q", status, errs, w.Changes())
	}
	golden(t, "up.dry-run.golden", out)
}

func TestCloudStatus(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	status, out, errs := inWorld(t, w, "", "status")
	if status != cli.ExitBadNews || !strings.HasPrefix(out, "stream  missing arn:aws:firehose") || strings.Count(errs, "\n") != 3 {
		t.Errorf("of nothing: status %d, printed %s, said %s", status, out, errs)
	}
	if status, _, errs := inWorld(t, w, "", "up"); status != cli.ExitDone {
		t.Fatal(errs)
	}
	if status, out, errs := inWorld(t, w, "", "status"); status != cli.ExitDone || errs != "" || !strings.HasPrefix(out, "stream  ACTIVE ") || !strings.Contains(out, "today   0 objects") {
		t.Errorf("status %d, printed %s, said %s", status, out, errs)
	}
	w.PutObject(cloud.DefaultBucket, "errors/format-conversion-failed/2026/11/23/x", 10)
	status, out, errs = inWorld(t, w, "", "status", "--json", "--buffer-size", "5")
	var got cloudStatus
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if status != cli.ExitBadNews || got.Status != "ACTIVE" || got.Today == nil || got.Today.Errors != 1 || len(got.Drift) != 2 || got.Drift[0].Is != "64 MB or 300 s" {
		t.Errorf("status %d, printed %s, said %s", status, out, errs)
	}
}

func TestCloudListAndPolicy(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	if status, _, errs := inWorld(t, w, "", "up"); status != cli.ExitDone {
		t.Fatal(errs)
	}
	status, out, _ := inWorld(t, w, "", "list")
	want := `KIND    NAME                 STATUS    TO                    ARN
stream  gps-delivery-stream  CREATING  s3://sd-vehicle-data  arn:aws:firehose:us-east-1:123456789012:deliverystream/gps-delivery-stream
bucket  sd-vehicle-data      -         -                     arn:aws:s3:::sd-vehicle-data
`
	if diff := cmp.Diff(strings.ReplaceAll(want, "CREATING", "ACTIVE  "), out); status != cli.ExitDone || diff != "" && cmp.Diff(strings.Fields(strings.ReplaceAll(want, "CREATING", "ACTIVE")), strings.Fields(out)) != "" {
		t.Errorf("status %d (-want +got):\n%s", status, diff)
	}
	var l cloud.Listing
	if status, out, _ := inWorld(t, w, "", "list", "--json"); status != cli.ExitDone || json.Unmarshal([]byte(out), &l) != nil || len(l.Streams) != 1 || len(l.Buckets) != 1 {
		t.Errorf("status %d, printed %s", status, out)
	}
	for _, who := range []string{"manager", "setup", "device"} {
		status, out, errs := inWorld(t, w, "", "policy", who, "--account", "999999999999")
		if status != cli.ExitDone || errs != "" || !strings.Contains(out, "arn:aws:firehose:us-east-1:999999999999:deliverystream/gps-delivery-stream") {
			t.Errorf("%s: status %d, said %s, printed %s", who, status, errs, out)
		}
		golden(t, "policy."+who+".golden", out)
	}
	if status, out, _ := inWorld(t, w, "", "policy", "device"); status != cli.ExitDone || !strings.Contains(out, ":123456789012:") {
		t.Errorf("status %d, printed %s", status, out)
	}
}

func TestCloudDown(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	if status, _, errs := inWorld(t, w, "", "up"); status != cli.ExitDone {
		t.Fatal(errs)
	}
	n := len(w.Changes())
	for answer, want := range map[string]string{
		"":     "nobody answered: nothing was deleted: where nobody can be asked, give --yes",
		"no\n": "the answer was not yes: nothing was deleted",
		"yess": "the answer was not yes: nothing was deleted",
	} {
		status, out, errs := inWorld(t, w, answer, "down")
		if status != cli.ExitUsage || out != "" || !strings.Contains(errs, want) || !strings.Contains(errs, "what comes later is lost") {
			t.Errorf("%q: status %d, printed %q, said %s", answer, status, out, errs)
		}
	}
	status, out, errs := inWorld(t, w, "", "down", "--dry-run", "--delete-bucket")
	if status != cli.ExitDone || !strings.Contains(out, `change firehose:DeleteDeliveryStream {"DeliveryStreamName":"gps-delivery-stream"}`) {
		t.Errorf("dry run: status %d, printed %s, said %s", status, out, errs)
	}
	if len(w.Changes()) != n {
		t.Fatalf("deleted all the same: %q", w.Changes()[n:])
	}
	w.AttachPolicy(cloud.DefaultRole, "Others")
	status, _, errs = inWorld(t, w, "yes\n", "down", "--drain=0s")
	if status != cli.ExitBadNews || !strings.Contains(errs, "role firehoseDeliveryRole is kept") || !strings.Contains(errs, "deleted stream arn:") {
		t.Errorf("status %d, said %s", status, errs)
	}
	if status, _, errs := inWorld(t, w, "", "down", "--yes", "--all-streams"); status != cli.ExitDone || !strings.Contains(errs, "nothing is there to delete") {
		t.Errorf("status %d, said %s", status, errs)
	}
}

func TestCloudMistakesAreStatus2(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"up now":                             `"now" is too much`,
		"up --stream arn:aws:x":              `--stream "arn:aws:x": a stream's name is`,
		"up --compression zip":               `--compression "zip"`,
		"up --buffer-interval 1500ms":        "--buffer-interval 1.5s: Firehose takes whole seconds",
		"up --buffer-interval 20m":           "--buffer-interval 1200s: Firehose takes 0 to 900",
		"up --buffer-size 4294967297":        "--buffer-size 1048576: Firehose takes 1 to 128 MB",
		"up --region frankfurt":              "--region frankfurt: no region looks like that",
		"list --endpoint 127.0.0.1:5000":     "is not a URL: give one as http://127.0.0.1:5000",
		"down --all-streams --delete-bucket": "--all-streams deletes streams only",
		"down --all-streams --stream x":      "which of them is meant?",
		"down --delete-objects":              "--delete-objects goes with --delete-bucket",
		"down --drain -1s":                   "--drain -1s: give 0s or more",
		"policy":                             "say for whom: manager, setup or device",
		"policy boss":                        "say for whom: manager, setup or device",
		"policy device --account 12":         `--account "12": an account's number is 12 digits`,
	} {
		w := cloudtest.New("us-east-1")
		status, out, errs := inWorld(t, w, "", strings.Fields(args)...)
		if status != cli.ExitUsage || out != "" || len(w.Changes()) > 0 {
			t.Errorf("%q: status %d, want %d; printed %q, changed %q", args, status, cli.ExitUsage, out, w.Changes())
		}
		expectLines(t, errs, []string{want})
	}
}

func TestACloudAnswerThatCannotBePrintedIsStatus1(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	for _, args := range []string{"up", "list", "list --json", "status", "status --json", "policy device"} {
		root := cli.Root("obdfleet", "", "", cloudCommand(func(context.Context, cloud.Options) (*cloud.Account, error) { return w.Account(), nil }))
		var errs bytes.Buffer
		if status := cli.Run(t.Context(), root, append([]string{"cloud"}, strings.Fields(args)...), full{}, &errs); status != cli.ExitBadNews || !strings.Contains(errs.String(), fmt.Sprint(errFull)) {
			t.Errorf("%q: status %d, said %s", args, status, errs.String())
		}
	}
}
