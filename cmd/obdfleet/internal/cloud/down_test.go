package cloud_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	fhtypes "github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/google/go-cmp/cmp"

	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/cmd/obdfleet/internal/cloud/cloudtest"
)

// since are the changes after the first n.
func since(w *cloudtest.World, n int) []string { return w.Changes()[n:] }

func TestDownAsksWaitsAndKeepsTheBucket(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	made(t, w, spec())
	w.PutObject(cloud.DefaultBucket, "2026/11/23/x", 1)
	w.StreamDelay = 2
	n := len(w.Changes())
	a := w.Account()
	var events []string
	a.Sleep = func(_ context.Context, d time.Duration) error {
		events = append(events, d.String())
		return nil
	}
	var shown []string
	confirm := func(plan []string, word string) error {
		shown = append(plan, "answer "+word)
		events = append(events, "asked")
		return nil
	}
	left, err := a.Down(t.Context(), spec(), cloud.DownOptions{Drain: cloud.DrainByInterval, Wait: time.Minute, Confirm: confirm})
	if err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
	if diff := cmp.Diff([]string{"DeleteDeliveryStream", "DeleteRolePolicy", "DeleteRole"}, since(w, n)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"asked", "6m0s", "1s", "2s"}, events); diff != "" {
		t.Errorf("it asks, waits for the interval and a minute, then until the stream is gone (-want +got):\n%s", diff)
	}
	want := []string{
		"account 123456789012, region us-east-1: this will be deleted:",
		"stream arn:aws:firehose:us-east-1:123456789012:deliverystream/gps-delivery-stream (ACTIVE)",
		"role arn:aws:iam::123456789012:role/firehoseDeliveryRole, which is the whole account's: see that no stream of another region uses it",
		"and with a stream what it still buffers: stop what sends to it first; it is given 6m0s to deliver the rest, what comes later is lost",
		"answer yes",
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("the plan (-want +got):\n%s", diff)
	}
	l, err := w.Account().List(t.Context())
	if err != nil || len(l.Streams) > 0 || len(l.Buckets) != 1 {
		t.Errorf("left over: %+v, %v", l, err)
	}
	// Once more: nothing is there, and nobody is asked.
	no := func([]string, string) error { return errors.New("asked") }
	if _, err := w.Account().Down(t.Context(), spec(), cloud.DownOptions{Confirm: no}); err != nil {
		t.Error(err)
	}
}

func TestDownWithoutAYesDeletesNothing(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	made(t, w, spec())
	n := len(w.Changes())
	no := errors.New("no")
	if _, err := w.Account().Down(t.Context(), spec(), cloud.DownOptions{Confirm: func([]string, string) error { return no }}); !errors.Is(err, no) {
		t.Errorf("said %v", err)
	}
	stopped := w.Account()
	stopped.Sleep = func(context.Context, time.Duration) error { return context.Canceled }
	_, err := stopped.Down(t.Context(), spec(), cloud.DownOptions{Drain: cloud.DrainByInterval, Confirm: yes})
	if err == nil || !strings.Contains(err.Error(), "nothing was deleted") {
		t.Errorf("said %v", err)
	}
	if len(since(w, n)) > 0 {
		t.Errorf("deleted all the same: %q", since(w, n))
	}
}

func TestARoleThatOthersUseIsKept(t *testing.T) {
	t.Parallel()
	for want, prepare := range map[string]func(*cloudtest.World){
		"stream other":       func(w *cloudtest.World) { s := spec(); s.Stream = "other"; made(t, w, s) },
		"policy AdminAccess": func(w *cloudtest.World) { w.AttachPolicy(cloud.DefaultRole, "AdminAccess") },
	} {
		w := cloudtest.New("us-east-1")
		made(t, w, spec())
		prepare(w)
		n := len(w.Changes())
		left, err := w.Account().Down(t.Context(), spec(), cloud.DownOptions{Wait: time.Minute, Confirm: yes})
		if err != nil || len(left) != 1 || !strings.Contains(left[0], "role firehoseDeliveryRole is kept") || !strings.HasSuffix(left[0], want) {
			t.Errorf("left %q, %v; want %s", left, err, want)
		}
		if diff := cmp.Diff([]string{"DeleteDeliveryStream"}, since(w, n)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestABucketGoesOnlyWhereTold(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	made(t, w, spec())
	for i := range 7 {
		w.PutObject(cloud.DefaultBucket, fmt.Sprintf("2026/11/23/%d", i), 1)
	}
	n := len(w.Changes())
	_, err := w.Account().Down(t.Context(), spec(), cloud.DownOptions{DeleteBucket: true, Confirm: yes})
	if err == nil || !strings.Contains(err.Error(), "is not empty: add --delete-objects") || len(since(w, n)) > 0 {
		t.Errorf("said %v, changed %q", err, since(w, n))
	}
	asked := ""
	_, err = w.Account().Down(t.Context(), spec(), cloud.DownOptions{Wait: time.Minute, DeleteBucket: true, DeleteObjects: true, Confirm: func(_ []string, word string) error {
		asked = word
		return nil
	}})
	if err != nil || asked != cloud.DefaultBucket {
		t.Errorf("asked for %q, %v", asked, err)
	}
	if diff := cmp.Diff([]string{"DeleteDeliveryStream", "DeleteRolePolicy", "DeleteRole", "DeleteObjects", "DeleteObjects", "DeleteObjects", "DeleteBucket"}, since(w, n)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAllStreamsAreDeletedAndNothingElse(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	for i := range 5 {
		s := spec()
		s.Stream, s.IntervalS = fmt.Sprintf("stream-%d", i), int32(i*100)
		made(t, w, s)
	}
	n := len(w.Changes())
	a := w.Account()
	var longest time.Duration
	a.Sleep = func(_ context.Context, d time.Duration) error { longest = max(longest, d); return nil }
	var plan []string
	_, err := a.Down(t.Context(), spec(), cloud.DownOptions{AllStreams: true, Drain: cloud.DrainByInterval, Wait: time.Minute, Confirm: func(p []string, _ string) error {
		plan = p
		return nil
	}})
	if err != nil || len(plan) != 7 || longest != 460*time.Second {
		t.Errorf("%v, waited %s, plan %q", err, longest, plan)
	}
	if got := since(w, n); len(got) != 5 || slices.ContainsFunc(got, func(c string) bool { return c != "DeleteDeliveryStream" }) {
		t.Errorf("changes %q", got)
	}
}

func TestAStreamThatCannotBeDeletedIsNamed(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	made(t, w, spec())
	w.FailDelete = &fhtypes.FailureDescription{Type: fhtypes.DeliveryStreamFailureTypeRetireKmsGrantFailed, Details: aws.String("no key")}
	_, err := w.Account().Down(t.Context(), spec(), cloud.DownOptions{Wait: time.Minute, Confirm: yes})
	if err == nil || !strings.Contains(err.Error(), "could not be deleted (RETIRE_KMS_GRANT_FAILED: no key)") {
		t.Errorf("said %v", err)
	}
}
