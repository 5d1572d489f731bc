package cloud_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	fhtypes "github.com/aws/aws-sdk-go-v2/service/firehose/types"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"obdagent/agent/agenttest"
	"obdagent/cmd/internal/cli"
	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/cmd/obdfleet/internal/cloud/cloudtest"
)

func TestMain(m *testing.M) {
	agenttest.PlainAWS()
	goleak.VerifyTestMain(m)
}

func spec() cloud.Spec {
	return cloud.Spec{Stream: cloud.DefaultStream, Bucket: cloud.DefaultBucket, Role: cloud.DefaultRole,
		Compression: cloud.CompressionNone, SizeMB: cloud.DefaultSizeMB, IntervalS: cloud.DefaultIntervalS}
}

// yes agrees to any plan.
func yes([]string, string) error { return nil }

// drifts are what is said of a result.
func drifts(r cloud.Result) (lines []string) {
	for _, d := range r.Drift {
		lines = append(lines, d.String())
	}
	return lines
}

func made(t *testing.T, w *cloudtest.World, s cloud.Spec) cloud.Result {
	t.Helper()
	r, err := w.Account().Up(t.Context(), s, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var allMade = []string{"CreateBucket", "PutPublicAccessBlock", "PutBucketEncryption", "CreateRole", "PutRolePolicy", "CreateDeliveryStream"}

func TestUpMakesWhatIsMissingOnce(t *testing.T) {
	t.Parallel()
	for _, region := range []string{"us-east-1", "eu-central-1"} {
		w := cloudtest.New(region)
		w.StreamDelay = 3
		r := made(t, w, spec())
		if want := "arn:aws:firehose:" + region + ":123456789012:deliverystream/gps-delivery-stream"; r.StreamARN != want || r.Status != "ACTIVE" || len(r.Drift) > 0 {
			t.Errorf("%+v", r)
		}
		if diff := cmp.Diff(allMade, w.Changes()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", region, diff)
		}
		r = made(t, w, spec())
		if diff := cmp.Diff(allMade, w.Changes()); diff != "" || len(r.Drift) > 0 {
			t.Errorf("the second time: %v, drift %q", diff, drifts(r))
		}
		if r, err := w.Account().Look(t.Context(), spec()); err != nil || r.Status != "ACTIVE" || len(r.Drift) > 0 {
			t.Errorf("a look: %v %+v", err, r)
		}
	}
}

func TestADryRunTellsOfEveryCallAndChangesNothing(t *testing.T) {
	t.Parallel()
	calls := func(w *cloudtest.World, dry bool) (changes []string) {
		a := w.Account()
		a.DryRun = dry
		a.Calls = func(c cloud.Call) {
			if c.Changes {
				changes = append(changes, c.String())
			}
		}
		if _, err := a.Up(t.Context(), spec(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Down(t.Context(), spec(), cloud.DownOptions{Drain: cloud.DrainByInterval, Wait: time.Minute, DeleteBucket: true, Confirm: yes}); err != nil {
			t.Fatal(err)
		}
		return changes
	}
	dry, real := cloudtest.New("eu-central-1"), cloudtest.New("eu-central-1")
	dryCalls, realCalls := calls(dry, true), calls(real, false)
	if changed := dry.Changes(); len(changed) > 0 {
		t.Errorf("a dry run changed something: %q", changed)
	}
	// Down has nothing to delete after a dry up.
	if diff := cmp.Diff(realCalls[:len(allMade)], dryCalls); diff != "" {
		t.Errorf("up (-real +dry):\n%s", diff)
	}
	if !strings.Contains(dryCalls[0], `s3:CreateBucket {"Bucket":"sd-vehicle-data","CreateBucketConfiguration":{"LocationConstraint":"eu-central-1"}}`) {
		t.Errorf("a call is told as %s", dryCalls[0])
	}

	down := cloudtest.New("us-east-1")
	made(t, down, spec())
	a := down.Account()
	a.DryRun = true
	var told []string
	a.Calls = func(c cloud.Call) {
		if c.Changes {
			told = append(told, c.Operation)
		}
	}
	refuse := func([]string, string) error { return errors.New("a dry run asked") }
	if _, err := a.Down(t.Context(), spec(), cloud.DownOptions{DeleteBucket: true, Confirm: refuse}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"DeleteDeliveryStream", "DeleteRolePolicy", "DeleteRole", "DeleteBucket"}, told); diff != "" {
		t.Errorf("down (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(allMade, down.Changes()); diff != "" {
		t.Errorf("a dry run changed something:\n%s", diff)
	}
}

func TestARoleThatFirehoseDoesNotKnowYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	w.RoleDelay = 4
	a := w.Account()
	var said []string
	var waits []time.Duration
	a.Say = func(line string) { said = append(said, line) }
	a.Sleep = func(_ context.Context, d time.Duration) error {
		waits = append(waits, d)
		return nil
	}
	if _, err := a.Up(t.Context(), spec(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
	if n := strings.Count(strings.Join(said, "\n"), "does not know role firehoseDeliveryRole yet"); n != 1 {
		t.Errorf("said %d times that it waits for the role: %q", n, said)
	}

	w = cloudtest.New("us-east-1")
	w.RoleDelay = 1 << 20
	_, err := w.Account().Up(t.Context(), spec(), time.Minute)
	if _, ok := errors.AsType[cli.Failure](err); !ok || !strings.Contains(err.Error(), "after 2m0s Firehose still cannot assume role firehoseDeliveryRole") {
		t.Errorf("a role that stays unknown: %v", err)
	}
	w.RoleDelay = 0
	// The next run finds what is there, and goes on.
	if _, err := w.Account().Up(t.Context(), spec(), time.Minute); err == nil || slices.Contains(w.Changes()[5:], "CreateRole") {
		t.Errorf("a second run: %v, changes %q", err, w.Changes())
	}
}

// TestAStreamThatSomebodyElseMakesMeanwhileIsWaitedFor: two at once, which both find no stream.
func TestAStreamThatSomebodyElseMakesMeanwhileIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	w.StreamDelay, w.RoleDelay = 2, 1
	a := w.Account()
	var said []string
	a.Say = func(line string) { said = append(said, line) }
	a.Sleep = func(ctx context.Context, _ time.Duration) error {
		if strings.Contains(said[len(said)-1], "does not know role") {
			_, err := w.Account().Up(ctx, spec(), time.Minute)
			return err
		}
		return nil
	}
	r, err := a.Up(t.Context(), spec(), time.Minute)
	if err != nil || r.Status != "ACTIVE" || len(r.Drift) > 0 || strings.Contains(strings.Join(said, "\n"), "made stream") {
		t.Errorf("%s, drift %q, %v; said %q", r.Status, drifts(r), err, said)
	}
}

// TestARepairWaitsForANewRoleToo: a stream that is turned to a role which was made for that.
func TestARepairWaitsForANewRoleToo(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	s := spec()
	if _, err := w.Account().Up(t.Context(), s, time.Minute); err != nil {
		t.Fatal(err)
	}
	w.RoleDelay = 3
	s.Role, s.Repair = "anotherRole", true
	waits := 0
	a := w.Account()
	a.Sleep = func(context.Context, time.Duration) error {
		waits++
		return nil
	}
	r, err := a.Up(t.Context(), s, time.Minute)
	if err != nil || len(r.Drift) > 0 || waits != 3 {
		t.Errorf("drift %q, %v, after %d waits; want 3", drifts(r), err, waits)
	}
	if r, err := w.Account().Look(t.Context(), s); err != nil || len(r.Drift) > 0 {
		t.Errorf("afterwards: drift %q, %v", drifts(r), err)
	}
}

func TestWhatDiffersIsNamedAndOnlyRepairedWhenTold(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	made(t, w, spec())
	before := w.Changes()
	w.SetTrust(cloud.DefaultRole, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"firehose.amazonaws.com"},"Action":"sts:AssumeRole"}}`)
	other := spec()
	other.Compression, other.SizeMB, other.IntervalS = cloud.CompressionGzip, 128, 900
	want := []string{
		`role firehoseDeliveryRole: trust is {"Statement":`,
		`stream gps-delivery-stream: buffering is 64 MB or 300 s, should be 128 MB or 900 s`,
		`stream gps-delivery-stream: file extension is "", should be ".gz"`,
	}
	check := func(who string, r cloud.Result) {
		t.Helper()
		lines := drifts(r)
		if len(lines) != len(want) {
			t.Errorf("%s says %q", who, lines)
			return
		}
		for i := range want {
			if !strings.HasPrefix(lines[i], want[i]) {
				t.Errorf("%s says %q, want %q", who, lines[i], want[i])
			}
		}
	}
	look, err := w.Account().Look(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	check("look", look)
	check("up", made(t, w, other))
	if diff := cmp.Diff(before, w.Changes()); diff != "" {
		t.Errorf("what differs was changed without being told to:\n%s", diff)
	}
	other.Repair = true
	if r := made(t, w, other); len(r.Drift) > 0 {
		t.Errorf("a repair leaves %q", drifts(r))
	}
	if diff := cmp.Diff([]string{"UpdateAssumeRolePolicy", "UpdateDestination"}, w.Changes()[len(before):]); diff != "" {
		t.Errorf("a repair (-want +got):\n%s", diff)
	}
	if r, err := w.Account().Look(t.Context(), other); err != nil || len(r.Drift) > 0 {
		t.Errorf("after the repair: %v %q", err, drifts(r))
	}
}

func TestWhatIsMissingOfABucketThatIsThereIsAdded(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	w.AddBucket(cloud.DefaultBucket, "us-east-1", false)
	w.AddUser("dcUser")
	s := spec()
	s.Manager = "dcUser"
	made(t, w, s)
	want := append(slices.Clone(allMade[1:]), "PutUserPolicy")
	if diff := cmp.Diff(want, w.Changes()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	made(t, w, s)
	if n := len(w.Changes()); n != len(want) {
		t.Errorf("the second time it changed %q", w.Changes()[len(want):])
	}
	s.Manager = "nobody"
	if _, err := w.Account().Up(t.Context(), s, 0); err == nil || !strings.Contains(err.Error(), "there is no such user: make it first") {
		t.Errorf("a user who is not there: %v", err)
	}
}

func TestWhatIsMissingIsTold(t *testing.T) {
	t.Parallel()
	r, err := cloudtest.New("us-east-1").Account().Look(t.Context(), spec())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"bucket sd-vehicle-data is missing: obdfleet cloud up makes it", "role firehoseDeliveryRole is missing: obdfleet cloud up makes it", "stream gps-delivery-stream is missing: obdfleet cloud up makes it"}
	if diff := cmp.Diff(want, drifts(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestUpSaysWhyItCannot: what to do next, and whose turn it is.
func TestUpSaysWhyItCannot(t *testing.T) {
	t.Parallel()
	const usage, failure = cli.ExitUsage, cli.ExitBadNews
	for name, test := range map[string]struct {
		prepare func(*cloudtest.World)
		want    string
		status  int
	}{
		"somebody else's bucket": {func(w *cloudtest.World) { w.AddBucket(cloud.DefaultBucket, "us-east-1", true) }, "bucket names are shared by the whole world: if it is not yours, give another --bucket", usage},
		"a bucket elsewhere":     {func(w *cloudtest.World) { w.AddBucket(cloud.DefaultBucket, "eu-west-1", false) }, "is in region eu-west-1, the stream in us-east-1", usage},
		"no permission":          {refuse("CreateRole", "AccessDenied", "not authorized to perform: iam:CreateRole"), "make role firehoseDeliveryRole: these credentials may not (AccessDenied: not authorized to perform: iam:CreateRole)", usage},
		"unknown credentials":    {refuse("GetCallerIdentity", "InvalidClientTokenId", ""), "AWS does not know these credentials", usage},
		"old credentials":        {refuse("HeadBucket", "ExpiredToken", ""), "these credentials have expired: log in again", usage},
		"a quota":                {refuse("CreateDeliveryStream", "LimitExceededException", "50 hoses"), "a quota of the account is used up (50 hoses)", failure},
		"a race for the bucket":  {refuse("CreateBucket", "OperationAborted", ""), "somebody else is making it at this moment", failure},
		"a bad argument":         {refuse("CreateDeliveryStream", "InvalidArgumentException", "ErrorOutputPrefix cannot be null"), "make stream gps-delivery-stream: InvalidArgumentException: ErrorOutputPrefix cannot be null", failure},
		"throttled":              {refuse("DescribeDeliveryStream", "ThrottlingException", ""), "AWS is asked too much at once", failure},
		"a stream that fails": {func(w *cloudtest.World) {
			w.FailCreate = &fhtypes.FailureDescription{Type: fhtypes.DeliveryStreamFailureTypeCreateEniFailed, Details: aws.String("no address left")}
		}, "stream gps-delivery-stream could not be made (CREATE_ENI_FAILED: no address left)", failure},
		"a stream that takes for ever": {func(w *cloudtest.World) { w.StreamDelay = 1 << 20 }, "is not ACTIVE after 1m0s: run it again to go on waiting", failure},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := cloudtest.New("us-east-1")
			test.prepare(w)
			_, err := w.Account().Up(t.Context(), spec(), time.Minute)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("said %v, want %s", err, test.want)
			}
			if _, failed := errors.AsType[cli.Failure](err); failed != (test.status == failure) {
				t.Errorf("%v: a failure: %v", err, failed)
			}
		})
	}
}

func refuse(operation, name, message string) func(*cloudtest.World) {
	return func(w *cloudtest.World) { w.Refuse = map[string]error{operation: cloudtest.Error(name, message)} }
}

func TestUpCanBeStopped(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	w.StreamDelay = 100
	ctx, cancel := context.WithCancel(t.Context())
	a := w.Account()
	a.Sleep = func(ctx context.Context, _ time.Duration) error {
		cancel()
		return ctx.Err()
	}
	if _, err := a.Up(ctx, spec(), time.Hour); err == nil || !strings.Contains(err.Error(), "stopped: run it again to go on") {
		t.Errorf("said %v", err)
	}
}

func TestAStreamThatIsBeingDeletedIsWaitedForAndMadeAnew(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	made(t, w, spec())
	w.StreamDelay = 5
	_, err := w.Account().Down(t.Context(), spec(), cloud.DownOptions{Confirm: yes}) // no patience at all
	if err == nil || !strings.Contains(err.Error(), "is still DELETING") {
		t.Fatalf("said %v", err)
	}
	if r := made(t, w, spec()); r.Status != "ACTIVE" {
		t.Errorf("%+v", r)
	}
}

func TestSpecsThatCannotBeMeantAreRefused(t *testing.T) {
	t.Parallel()
	if err := spec().Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*cloud.Spec){
		`--stream "a b"`:          func(s *cloud.Spec) { s.Stream = "a b" },
		`--bucket "A"`:            func(s *cloud.Spec) { s.Bucket = "A" },
		`--bucket "a..b"`:         func(s *cloud.Spec) { s.Bucket = "a..b" },
		`--role ""`:               func(s *cloud.Spec) { s.Role = "" },
		`--manager "arn:aws:iam:`: func(s *cloud.Spec) { s.Manager = "arn:aws:iam::1:user/x" },
		`--compression "zip"`:     func(s *cloud.Spec) { s.Compression = "zip" },
		`--buffer-size 129`:       func(s *cloud.Spec) { s.SizeMB = 129 },
		`--buffer-size 0`:         func(s *cloud.Spec) { s.SizeMB = 0 },
		`--buffer-interval 901s`:  func(s *cloud.Spec) { s.IntervalS = 901 },
	} {
		s := spec()
		change(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("said %v, want %s", err, want)
		}
	}
}

func TestListGoesThroughEveryPage(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	var want []string
	for i := range 5 {
		s := spec()
		s.Stream, s.Bucket = fmt.Sprintf("stream-%d", i), fmt.Sprintf("bucket-%d", i)
		made(t, w, s)
		want = append(want, "arn:aws:firehose:us-east-1:123456789012:deliverystream/"+s.Stream+" s3://"+s.Bucket, "arn:aws:s3:::"+s.Bucket)
	}
	l, err := w.Account().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range l.Streams {
		got = append(got, s.ARN+" "+s.To)
	}
	for _, b := range l.Buckets {
		got = append(got, b.ARN)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestListNamesStreamsThatMayNotBeLookedAt: whoever manages one stream may list all of the region.
func TestListNamesStreamsThatMayNotBeLookedAt(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	made(t, w, spec())
	refuse("DescribeDeliveryStream", "AccessDeniedException", "not authorized")(w)
	l, err := w.Account().List(t.Context())
	want := []cloud.StreamLine{{Name: cloud.DefaultStream, Status: "-", To: "-", ARN: "arn:aws:firehose:us-east-1:123456789012:deliverystream/gps-delivery-stream"}}
	if diff := cmp.Diff(want, l.Streams); err != nil || diff != "" || len(l.Buckets) != 1 {
		t.Errorf("%v, buckets %v (-want +got):\n%s", err, l.Buckets, diff)
	}
}

func TestArrivalsAreOfTheDay(t *testing.T) {
	t.Parallel()
	w := cloudtest.New("us-east-1")
	made(t, w, spec())
	for i := range 7 {
		w.PutObject(cloud.DefaultBucket, fmt.Sprintf("2026/11/23/%d", i), 100)
	}
	w.PutObject(cloud.DefaultBucket, "2026/11/22/x", 1)
	w.PutObject(cloud.DefaultBucket, "errors/processing-failed/2026/11/20/x", 1)
	got, err := w.Account().Arrivals(t.Context(), spec(), time.Date(2026, 11, 24, 0, 30, 0, 0, time.FixedZone("", 3600)))
	if err != nil || got.Day != "2026/11/23" || got.Objects != 7 || got.Bytes != 700 || got.Errors != 1 || got.Newest.IsZero() {
		t.Errorf("%v: %+v", err, got)
	}
}
