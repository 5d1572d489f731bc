package agent_test

import (
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"obdagent/agent/agenttest"
	"obdagent/agent/clock"
	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/agent/record"
	"obdagent/agent/status"
	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
)

// A cloud is a strict Firehose whose bucket is a directory.
type cloud struct {
	*firehosetest.Server
	t      *testing.T
	bucket string
}

var stream = firehosetest.Stream{Name: agenttest.Stream, Bucket: agenttest.Bucket}

// firehose serves a Firehose that knows these streams, and only the rig's keys, and lets the rig send to it.
func (r *rig) firehose(streams ...firehosetest.Stream) *cloud {
	r.t.Helper()
	dir := r.t.TempDir()
	s, err := firehosetest.New(firehosetest.Options{Addr: "127.0.0.1:0", Region: config.Default().Uplink.Region, Streams: streams, Dir: dir,
		Credentials: []firehosetest.Credentials{{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey}}})
	if err != nil {
		r.t.Fatal(err)
	}
	background(r.t, s.Run)
	r.toFirehose(s.URL())
	return &cloud{s, r.t, filepath.Join(dir, agenttest.Bucket)}
}

// lines are all that was delivered.
func (c *cloud) lines() []string {
	c.t.Helper()
	if err := c.Flush(); err != nil {
		c.t.Fatal(err)
	}
	return objectLines(c.t, c.bucket)
}

// parse reads a line of JSON.
func parse(t *testing.T, line string) record.Record {
	t.Helper()
	x, err := record.Parse([]byte(line))
	if err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return x
}

// deliveredAsMade checks that every record made was delivered, as it was made, and nothing else: but for the time of a record
// that was made before it was known. again says how often a record may come once more. It returns the records delivered and
// how many came again.
func deliveredAsMade(t *testing.T, made []record.Record, lines []string, again map[string]int) (delivered []record.Record, duplicates int) {
	t.Helper()
	want := map[string]record.Record{}
	for _, x := range made {
		want[x.ID.String()] = x
	}
	seen := map[string]int{}
	for _, line := range lines {
		got := parse(t, line)
		delivered = append(delivered, got)
		id := got.ID.String()
		x, ok := want[id]
		if x.Time.IsZero() && !got.Time.IsZero() {
			if d := got.Time.Sub(momentOf(x)).Abs(); d > datingError {
				t.Errorf("record %d was dated %v, %v from the truth", x.Seq, got.Time, d)
			}
			x.Time, x.TimeSrc = got.Time, got.TimeSrc
		}
		if made := strings.TrimSuffix(string(x.AppendJSON(nil)), "\n"); !ok || line != made {
			t.Errorf("delivered was\n%s\nmade was\n%s", line, made)
		}
		if seen[id]++; seen[id] > 1 {
			duplicates++
		}
		if seen[id] > 1+again[id] {
			t.Errorf("record %s came %d times; %d times the sender could not know that it had arrived", id, seen[id], again[id])
		}
	}
	for _, x := range made {
		if seen[x.ID.String()] == 0 {
			t.Errorf("record %d, %s, was not delivered", x.Seq, x.ID)
		}
	}
	return delivered, duplicates
}

// datingError is how far the time may be off that an agent learns from a receiver: the simulated one begins to speak 60 ms
// after its epoch, and a busy machine reads late.
const datingError = 500 * time.Millisecond

// momentOf is when a record was made, by the clock of this machine.
func momentOf(x record.Record) time.Time {
	return time.Now().Add(time.Duration(x.MonoMS)*time.Millisecond - clock.Boottime())
}

// truthful checks what a record says against the truth at its time. What is old may be wrong by what the van can do meanwhile,
// 3.2 m/s²; 3 km/h more are for the car's whole km/h and for a busy machine's answers, which are dated by their midpoint.
func truthful(t *testing.T, sim *demo.Simulation, x record.Record) {
	t.Helper()
	if x.Time.IsZero() {
		return
	}
	truth := sim.At(x.Time)
	age := func(ms record.Float) float64 { v, _ := ms.Get(); return math.Abs(v) / 1000 }
	speed := func(what string, v record.Float, age float64) {
		if kmh, ok := v.Get(); ok && math.Abs(kmh-truth.Speed*3.6) > 3+3.2*3.6*age {
			t.Errorf("record at %v: the %s says %v km/h, the truth is %.2f: %s", x.Time, what, kmh, truth.Speed*3.6, x.AppendJSON(nil))
		}
	}
	speed("car", x.SpeedOBD, age(x.OBDAge))
	speed("receiver", x.SpeedGPS, age(x.FixAge))
	if lat, ok := x.Lat.Get(); ok {
		lon, _ := x.Lon.Get()
		if d := metres(lat, lon, truth.Lat, truth.Lon); d > 2+(truth.Speed+3)*age(x.FixAge) {
			t.Errorf("record at %v is %.1f m from the truth: %s", x.Time, d, x.AppendJSON(nil))
		}
	}
}

// metres between two near places, on the sphere.
func metres(lat1, lon1, lat2, lon2 float64) float64 {
	const perDegree = 6371008.8 * math.Pi / 180
	return math.Hypot(lat2-lat1, (lon2-lon1)*math.Cos(lat1*math.Pi/180)) * perDegree
}

// TestThroughThrottlesFailuresCutsAndAnOutage runs the agent through a bad day: every other call meets a fault, the endpoint
// goes away, both cables are pulled.
func TestThroughThrottlesFailuresCutsAndAnOutage(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "pace") // records are compared with where the vehicle was
	r := newRig(t)
	firehose := r.firehose(stream)
	r.cfg.Uplink.Pack = false // a line is an entry: parts of a batch can fail
	r.often()
	sim := r.simulate(demo.SimOptions{Rate: 5, Seed: 11})

	var mu sync.Mutex
	unsure := map[string]int{} // taken, and the sender could not know
	var cuts, throttles, failures int
	faults := firehosetest.Faults{Call: func(n int, entries [][]byte) firehosetest.Verdict {
		mu.Lock()
		defer mu.Unlock()
		// Good calls between the bad ones keep the back-off, and the test, short.
		switch n % 8 {
		case 2:
			throttles++
			return firehosetest.Verdict{Status: 503, Code: "ServiceUnavailableException", Message: "Slow down."}
		case 4:
			failed := map[int]string{}
			for i := 1; i < len(entries); i += 2 {
				failed[i] = "InternalFailure"
				failures++
			}
			return firehosetest.Verdict{Fail: failed}
		case 6:
			return firehosetest.Verdict{CutBefore: true}
		case 0:
			cuts++
			for _, e := range entries {
				unsure[parse(t, strings.TrimSuffix(string(e), "\n")).ID.String()]++
			}
			return firehosetest.Verdict{CutAfter: true}
		}
		return firehosetest.Verdict{}
	}}
	firehose.SetFaults(faults)
	r.start()

	both := func(s status.Snapshot) bool { return s.Car.State == "live" && s.GPS.State == "fix" }
	r.until("both sources", both)
	sim.PullGPS(time.Second)
	r.until("absent receiver", func(s status.Snapshot) bool { return s.GPS.State == "absent" })
	sim.PullCar(time.Second)
	r.until("absent adapter", func(s status.Snapshot) bool { return s.Car.State == "absent" })
	r.until("both sources again", both)
	await(t, "each fault", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return throttles > 0 && failures > 0 && cuts > 0
	}, func() string { return text(r.agent.Snapshot()) })

	// An outage of three seconds, counted in epochs.
	before := r.agent.Snapshot().Record.Made
	firehose.SetFaults(firehosetest.Faults{Down: true})
	s := r.until("outage of 15 records", func(s status.Snapshot) bool { return s.Record.Made >= before+15 && s.Uplink.State == "down" })
	if s.Buffer.Records < 10 || !strings.Contains(s.Uplink.Reason, firehose.URL()) {
		t.Errorf("%d records wait; the reason is %q", s.Buffer.Records, s.Uplink.Reason)
	}
	firehose.SetFaults(faults)
	r.until("delivery of everything", func(s status.Snapshot) bool { return settled(s) && s.Record.Made > before+15 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	mu.Lock()
	defer mu.Unlock()
	delivered, duplicates := deliveredAsMade(t, r.records(), firehose.lines(), unsure)
	if duplicates == 0 {
		t.Errorf("no record came twice, though %d were taken by calls whose answer was cut off", len(unsure))
	}
	for _, x := range delivered {
		truthful(t, sim, x)
	}
	if end := r.agent.Snapshot(); end.Uplink.Aside > 0 || end.Record.Refused > 0 {
		t.Errorf("%d records were set aside, %d refused", end.Uplink.Aside, end.Record.Refused)
	}
}

var refusal = regexp.MustCompile(`event=uplink from=(starting|waiting) to=refused reason=".*`)

// refusedFor waits until the uplink is refused for a reason that says this, while some records wait, none lost.
func (r *rig) refusedFor(reason string) {
	r.t.Helper()
	s := r.until("refusal and five records", func(s status.Snapshot) bool { return s.Uplink.State == "refused" && s.Buffer.Records >= 5 })
	if !strings.Contains(s.Uplink.Reason, reason) {
		r.t.Errorf("the uplink is refused because %q; want %q in it", s.Uplink.Reason, reason)
	}
	if s.State != status.Degraded || !strings.Contains(s.Verdict, reason) {
		r.t.Errorf("the verdict is %q", s.Verdict)
	}
	if s.Uplink.Delivered > 0 || s.Uplink.Aside > 0 || len(s.Buffer.Lost) > 0 {
		r.t.Errorf("%d records delivered, %d set aside, %v lost", s.Uplink.Delivered, s.Uplink.Aside, s.Buffer.Lost)
	}
	// The log has a writer of its own.
	await(r.t, "refusal in the status log", func() bool { return refusal.MatchString(r.log()) }, r.log)
}

func TestAStreamThatIsNotThereCostsNoRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	firehose := r.firehose()
	r.often()
	r.simulate(demo.SimOptions{Rate: 5})
	r.start()
	r.refusedFor("there is no stream " + agenttest.Stream)
	if err := firehose.CreateStream(stream); err != nil {
		t.Fatal(err)
	}
	r.until("delivery of everything", func(s status.Snapshot) bool { return settled(s) && s.Uplink.State == "ok" })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	deliveredAsMade(t, r.records(), firehose.lines(), nil)
}

func TestWrongCredentialsCostNoRecord(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keys   uplink.Credentials
		reason string
	}{
		"a wrong secret":    {uplink.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: "not-the-secret"}, "the secret access key does not belong to the access key"},
		"an unknown key id": {uplink.Credentials{AccessKeyID: "AKIDOTHER0000000000", SecretAccessKey: keys.SecretAccessKey}, "the credentials are not known"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			firehose := r.firehose(stream)
			r.often()
			r.simulate(demo.SimOptions{Rate: 5})
			r.opts.Credentials = &test.keys
			r.opts.DrainOnStop = 0 // there is no hope
			r.start()
			r.refusedFor(test.reason)
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(r.log(), test.keys.SecretAccessKey) {
				t.Error("the status log holds the secret")
			}
			if n := firehose.Counters().Taken; n > 0 {
				t.Errorf("%d records were taken", n)
			}

			// The technician mends it and starts the agent again.
			r.opts.Credentials, r.opts.DrainOnStop = &keys, 5*time.Second
			r.start()
			r.until("delivery of everything", func(s status.Snapshot) bool { return s.Uplink.Delivered >= uint64(len(r.records())) })
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			deliveredAsMade(t, r.records(), firehose.lines(), nil)
		})
	}
}
