package agent_test

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"obdagent/agent/agenttest"
	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/agent/record"
	"obdagent/agent/report"
	"obdagent/agent/status"
	"obdagent/agent/uplink"
)

// keys are what endpoints of these tests know.
var keys = uplink.Credentials{AccessKeyID: "AKIDRIG000000000000", SecretAccessKey: "secret-of-the-rig"}

// toFirehose makes the rig send to a Firehose at the endpoint, otherwise as the default configuration says.
func (r *rig) toFirehose(endpoint string) {
	r.cfg.Uplink = config.Default().Uplink
	r.cfg.Uplink.Endpoint = endpoint
	r.cfg.Uplink.Linger = 500 * time.Millisecond
	r.opts.Credentials = &keys
}

// often makes records come as fast as epochs at 5 Hz.
func (r *rig) often() {
	r.cfg.Record.Interval, r.cfg.Record.ParkedInterval = 200*time.Millisecond, 200*time.Millisecond
}

// untilRecords waits until n records were made that are as they should be.
func (r *rig) untilRecords(what string, n int, ok func(record.Record) bool) {
	r.t.Helper()
	await(r.t, what, func() bool {
		found := 0
		for _, x := range r.records() {
			if ok(x) {
				found++
			}
		}
		return found >= n
	}, func() string { return text(r.agent.Snapshot()) })
}

// TestFromTheSensorsToTheReadersOfTheBucket is the main job. What is between is real: the ports, the agent, its requests. What is
// beyond is independent of it: moto's Firehose and S3, boto3, pandas, and the code of readers that existed before.
func TestFromTheSensorsToTheReadersOfTheBucket(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "contract")
	agenttest.Python(t, "boto3", "pandas")
	endpoint := agenttest.Moto(t)
	arn := agenttest.CreateStream(t, endpoint)
	if !strings.HasSuffix(arn, ":deliverystream/"+agenttest.Stream) {
		t.Fatalf("the stream's ARN is %s", arn)
	}

	r := newRig(t)
	r.toFirehose(endpoint)
	r.cfg.Record.Format = config.FormatText
	if r.cfg.Uplink.Stream != agenttest.Stream {
		t.Fatalf("the default stream is %s", r.cfg.Uplink.Stream)
	}
	r.often()
	sim := r.simulate(demo.SimOptions{Rate: 5, Seed: 3})
	r.start()
	complete := func(x record.Record) bool {
		return x.VIN == demo.VIN && x.Lat.IsSet() && x.Speed.IsSet() && !x.Time.IsZero()
	}
	r.untilRecords("records of a moving van", 20, func(x record.Record) bool {
		speed, _ := x.Speed.Get()
		return complete(x) && speed > 15
	})
	// A garage: the columns of what is not known must not shift.
	sim.SetSky(false)
	r.untilRecords("records without a position", 3, func(x record.Record) bool { return x.VIN != "" && !x.Lat.IsSet() })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	bucket := t.TempDir()
	agree(t, r.records(), agenttest.GetObjects(t, endpoint, agenttest.Bucket, bucket), bucket)

	want := fastest(r.records())
	if readers := agenttest.ContractReader(t, endpoint); !sameSpeeds(readers, want) {
		t.Errorf("the readers find the maximum speeds %v, the records made have %v", readers, want)
	}
	ours := map[string]float64{}
	summed, err := report.Read(t.Context(), report.Directory(bucket), report.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range summed.Vehicles {
		if v.VIN != report.UnknownVIN {
			ours[v.VIN] = v.MaxSpeed
		}
	}
	if !sameSpeeds(ours, want) {
		t.Errorf("the report finds the maximum speeds %v, the records made have %v", ours, want)
	}
	if problems := summed.Problems(); len(problems) > 0 || summed.Total.Duplicates > 0 {
		t.Errorf("the report finds %d duplicates, and %q", summed.Total.Duplicates, problems)
	}
}

var (
	objectKey   = regexp.MustCompile(`^\d{4}/\d\d/\d\d/`)
	coordinate  = regexp.MustCompile(`^(NaN|-?\d{1,3}\.\d{7})$`)
	speedColumn = regexp.MustCompile(`^(NaN|\d{1,3}(\.[1-9])?)$`)
	timestamp   = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
)

// agree checks each line of the bucket against the record that it must be of: six columns, one space between, values as made;
// and that each record made is there once.
func agree(t *testing.T, made []record.Record, keys []string, bucket string) {
	t.Helper()
	if len(keys) < 2 {
		t.Errorf("%d objects: the uplink made one batch of everything", len(keys))
	}
	for _, k := range keys {
		if !objectKey.MatchString(k) {
			t.Errorf("object %s is not in a folder of year, month and day", k)
		}
	}
	byID := map[string]record.Record{}
	for _, x := range made {
		byID[x.ID.String()] = x
	}
	if len(byID) != len(made) {
		t.Errorf("%d records were made with %d ids", len(made), len(byID))
	}
	seen := map[string]bool{}
	for _, line := range objectLines(t, bucket) {
		columns := strings.Split(line, " ")
		if len(columns) != 6 {
			t.Errorf("%d columns: %q", len(columns), line)
			continue
		}
		id, at, vin, lon, lat, speed := columns[0], columns[1], columns[2], columns[3], columns[4], columns[5]
		x, ok := byID[id]
		switch {
		case !ok:
			t.Errorf("nobody made the record of %q", line)
			continue
		case seen[id]:
			t.Errorf("record %s came twice, though nothing failed", id)
		case !timestamp.MatchString(at) || !coordinate.MatchString(lon) || !coordinate.MatchString(lat) || !speedColumn.MatchString(speed):
			t.Errorf("the form of a column is wrong: %q", line)
		case vin != x.VIN && (vin != "NaN" || x.VIN != ""):
			t.Errorf("record %s was made with VIN %q: %q", id, x.VIN, line)
		case !x.Time.IsZero() && at != x.Time.Round(time.Millisecond).Format(record.TimeLayout):
			t.Errorf("record %s was made at %v: %q", id, x.Time, line)
		case !column(lon, x.Lon, 0.5e-7) || !column(lat, x.Lat, 0.5e-7) || !column(speed, x.Speed, 0.05):
			t.Errorf("record %s was made at %v %v with %v km/h: %q", id, x.Lon, x.Lat, x.Speed, line)
		}
		seen[id] = true
	}
	for _, x := range made {
		if !seen[x.ID.String()] {
			t.Errorf("record %d, %s, is not in the bucket", x.Seq, x.ID)
		}
	}
}

// column reports whether a column says what the record has, to half of its last digit.
func column(text string, v record.Float, half float64) bool {
	want, ok := v.Get()
	if text == "NaN" || !ok {
		return text == "NaN" && !ok
	}
	got, err := strconv.ParseFloat(text, 64)
	return err == nil && math.Abs(got-want) <= half*1.001
}

// fastest is the maximum speed of each VIN.
func fastest(records []record.Record) map[string]float64 {
	most := map[string]float64{}
	for _, x := range records {
		if v, ok := x.Speed.Get(); ok && x.VIN != "" {
			most[x.VIN] = max(most[x.VIN], v)
		}
	}
	return most
}

// sameSpeeds compares with the precision of the wire, a tenth of a km/h.
func sameSpeeds(a, b map[string]float64) bool {
	for vin, v := range a {
		w, ok := b[vin]
		if !ok || !(math.Abs(v-w) <= 0.0501) {
			return false
		}
	}
	return len(a) == len(b) && len(a) > 0
}

// text is the snapshot for a person, for failures.
func text(s status.Snapshot) string {
	var b strings.Builder
	_ = s.Render(&b)
	return b.String()
}
