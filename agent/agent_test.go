package agent_test

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"obdagent/agent"
	"obdagent/agent/agenttest"
	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/agent/record"
	"obdagent/agent/status"
)

// settled reports whether everything made was delivered, and something was made.
func settled(s status.Snapshot) bool { return s.Record.Made > 0 && s.Uplink.Delivered >= s.Record.Made }

func TestBothSourcesMeetInOneRecordAndArrive(t *testing.T) {
	t.Parallel()
	agenttest.Require(t, "pace") // records are compared with where the vehicle was
	r := newRig(t)
	r.cfg.Record.Interval, r.cfg.Record.ParkedInterval = 200*time.Millisecond, 200*time.Millisecond
	sim := r.simulate(demo.SimOptions{Rate: 10, Seed: 7})
	r.start()
	complete := func(x record.Record) bool {
		return x.SpeedOBD.IsSet() && x.SpeedGPS.IsSet() && x.Lat.IsSet() && x.RPM.IsSet() && x.VIN == demo.VIN && !x.Time.IsZero()
	}
	await(t, "ten complete records", func() bool {
		n := 0
		for _, x := range r.records() {
			if complete(x) {
				n++
			}
		}
		return n >= 10
	}, func() string { return "" })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	made := r.records()
	got := bySeq(r.delivered())
	if len(got) != len(made) {
		t.Fatalf("%d records made, %d delivered", len(made), len(got))
	}
	for i, x := range got {
		if x.ID != made[i].ID || x.Seq != uint64(i+1) {
			t.Errorf("record %d is %s with seq %d, made was %s", i, x.ID, x.Seq, made[i].ID)
		}
		if !complete(x) {
			continue
		}
		// The car's speed and the positions tell of one trip: each record agrees with the truth at its own time.
		truth := sim.At(x.Time)
		lat, _ := x.Lat.Get()
		lon, _ := x.Lon.Get()
		car, _ := x.SpeedOBD.Get()
		ground, _ := x.SpeedGPS.Get()
		age, _ := x.OBDAge.Get()
		// 1e-6 degrees are 11 cm; the car tells whole km/h, up to 150 ms apart at up to 3 m/s²; on a busy machine further apart, as
		// the record's own age of its sample says.
		if d := max(lat-truth.Lat, truth.Lat-lat, lon-truth.Lon, truth.Lon-lon); d > 2e-6 && x.MonoMS != 0 && len(x.Flags) == 0 && onEpoch(x) {
			t.Errorf("record at %v is %g degrees from the truth", x.Time, d)
		}
		if d := max(car-truth.Speed*3.6, truth.Speed*3.6-car); d > 2.5+3*3.6*age/1000 {
			t.Errorf("record at %v: the car says %v km/h, the truth is %.2f", x.Time, car, truth.Speed*3.6)
		}
		if d := max(ground-truth.Speed*3.6, truth.Speed*3.6-ground); d > 1.5 {
			t.Errorf("record at %v: the receiver says %v km/h, the truth is %.2f", x.Time, ground, truth.Speed*3.6)
		}
	}
}

// onEpoch reports whether a record lies on an epoch, and not on the moment of a start or stop.
func onEpoch(x record.Record) bool {
	age, ok := x.FixAge.Get()
	return ok && age == 0 && x.Time.Nanosecond()%1e8 == 0
}

func TestTheTextFormatGoesOutAsTheContractHasIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.Record.Format = config.FormatText
	r.simulate(demo.SimOptions{Rate: 5})
	r.cfg.Record.Interval, r.cfg.Record.ParkedInterval = 200*time.Millisecond, 200*time.Millisecond
	r.start()
	await(t, "five records with a VIN", func() bool {
		made := r.records()
		return len(made) >= 5 && made[len(made)-5].VIN != ""
	}, func() string { return "" })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	vins := 0
	for _, line := range objectLines(t, r.cfg.Uplink.Path) {
		columns := strings.Split(line, " ")
		if len(columns) != 6 {
			t.Errorf("%d columns: %s", len(columns), line)
			continue
		}
		if _, err := time.Parse(record.TimeLayout, columns[1]); err != nil {
			t.Errorf("timestamp: %v", err)
		}
		if columns[2] == demo.VIN {
			vins++
		}
	}
	if vins < 5 {
		t.Errorf("%d lines have the VIN", vins)
	}
}

func TestTheAgentKeepsRunningThroughPulledCables(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sim := r.simulate(demo.SimOptions{Rate: 5})
	r.start()
	both := func(s status.Snapshot) bool {
		return s.Car.State == "live" && s.Car.Speed != nil && s.GPS.State == "fix"
	}
	r.until("both sources", both)
	sim.PullGPS(time.Second)
	gone := r.until("absent receiver", func(s status.Snapshot) bool { return s.GPS.State == "absent" && s.Car.State == "live" })
	if g := gone.GPS; g.Fix != "none" || g.Speed != nil || g.Sats != nil || g.HDOP != nil {
		t.Errorf("the status has values of a receiver that is not there: %+v", g)
	}
	r.until("receiver again", both)
	sim.PullCar(time.Second)
	s := r.until("absent adapter", func(s status.Snapshot) bool { return s.Car.State == "absent" && s.GPS.State == "fix" })
	if s.Car.Speed != nil {
		t.Errorf("the status shows %v km/h of an adapter that is gone", *s.Car.Speed)
	}
	r.until("adapter again", both)
	r.until("everything delivered", settled)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(r.cfg.Status.Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"event=gps from=fix to=absent reason=", "event=car from=live to=absent reason=", "event=agent from=running to=stopped"} {
		if !strings.Contains(string(log), line) {
			t.Errorf("the status log lacks %q:\n%s", line, log)
		}
	}
}

func TestOnlyTheCarOrOnlyTheReceiver(t *testing.T) {
	t.Parallel()
	for name, without := range map[string]func(*config.Config){
		"without a receiver": func(c *config.Config) { c.GPS.Source = config.None },
		"without an adapter": func(c *config.Config) { c.OBD.Port = config.None },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.simulate(demo.SimOptions{Rate: 5})
			without(r.cfg)
			r.cfg.Record.Interval, r.cfg.Record.ParkedInterval = 200*time.Millisecond, 200*time.Millisecond
			r.start()
			noCar, noGPS := r.cfg.OBD.Port == config.None, r.cfg.GPS.Source == config.None
			await(t, "record of the source that is there", func() bool {
				made := r.records()
				return len(made) > 0 && made[len(made)-1].Speed.IsSet()
			}, func() string { return "" })
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			all := bySeq(r.delivered())
			last := all[len(all)-1]
			if last.SpeedOBD.IsSet() == noCar || last.Lat.IsSet() == noGPS || !last.Speed.IsSet() {
				t.Errorf("record %+v", last)
			}
			if slices.Contains(last.Flags, record.FlagNoFix) {
				t.Errorf("flags %v", last.Flags)
			}
		})
	}
}

func TestTheSocketServesTheSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.GPS.Source = "udp://127.0.0.1:0"
	r.start()
	await(t, "status", func() bool {
		s, err := status.Fetch(t.Context(), r.cfg.Status.Socket)
		return err == nil && s.DeviceID == "rig" && s.State == status.Waiting && s.Car.State == "none"
	}, func() string { return "" })
	// A second agent must not take the socket from the first.
	other := newRig(t)
	other.cfg.GPS.Source = "udp://127.0.0.1:0"
	other.cfg.Status.Socket = r.cfg.Status.Socket
	a, err := agent.New(t.Context(), agent.Options{Config: other.cfg})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another obdagent is running") {
		t.Errorf("the second agent says %v", err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := status.Fetch(t.Context(), r.cfg.Status.Socket); err == nil {
		t.Error("a stopped agent answers")
	}
}

func TestABufferInUseIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.GPS.Source = "udp://127.0.0.1:0"
	r.start()
	if _, err := agent.New(t.Context(), agent.Options{Config: r.cfg}); err == nil || !strings.Contains(err.Error(), r.cfg.Buffer.Dir) {
		t.Errorf("a second agent on the same buffer: %v", err)
	}
}

func TestAStartWithoutAPlaceToWriteSaysWhichKeyToLookAt(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(c *config.Config) error {
		c.GPS.Source = "udp://127.0.0.1:0"
		a, err := agent.New(t.Context(), agent.Options{Config: c})
		if err != nil {
			return err
		}
		return a.Run(t.Context())
	}
	noSocket := newRig(t).cfg
	noSocket.Status.Socket = filepath.Join(file, "s")
	if err := start(noSocket); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "name a place in status.socket") {
		t.Errorf("socket: %v", err)
	}
}

// TestABufferThatCannotBeOpenedIsAState starts an agent whose buffer has records, and lies on a disk that is not mounted yet.
func TestABufferThatCannotBeOpenedIsAState(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.often()
	r.simulate(demo.SimOptions{Rate: 5})
	disk := filepath.Join(r.dir, "disk")
	r.cfg.Buffer.Dir = filepath.Join(disk, "buffer")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	r.cfg.Uplink.Linger = time.Hour // nothing goes out
	r.opts.DrainOnStop = 0
	r.start()
	r.until("records on disk", func(s status.Snapshot) bool { return s.Buffer.Commits >= 3 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(disk, disk+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := len(r.records())
	r.cfg.Uplink.Linger = 50 * time.Millisecond
	r.opts.DrainOnStop = 5 * time.Second
	r.start()
	s := r.until("records in memory", func(s status.Snapshot) bool { return s.Record.Made >= 3 })
	if !strings.HasPrefix(s.Buffer.State, "storage failed: ") || s.State == status.OK || s.Uplink.Delivered > 0 {
		t.Errorf("without a disk: %+v", s)
	}
	if err := os.Remove(disk); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(disk+".away", disk); err != nil {
		t.Fatal(err)
	}
	r.until("the disk taken", func(s status.Snapshot) bool { return s.Buffer.State == "ok" && s.Uplink.Delivered > uint64(before) })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	made := r.records()
	got := r.delivered()
	if len(got) != len(made) {
		t.Fatalf("%d records delivered, %d made", len(got), len(made))
	}
	slices.SortFunc(got, func(a, b record.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	for i, x := range got { // those made without a disk are numbered behind those that were on it
		if x.Seq != uint64(i+1) || x.ID != made[i].ID {
			t.Fatalf("record %d is %d, %v; want %v", i+1, x.Seq, x.ID, made[i].ID)
		}
	}
}

func TestAnAbsentDestinationIsAStateAndRecordsAreKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.often()
	r.simulate(demo.SimOptions{Rate: 5})
	if err := os.WriteFile(r.cfg.Uplink.Path, nil, 0o600); err != nil { // where the disk would be mounted
		t.Fatal(err)
	}
	r.start()
	r.until("records and no destination", func(s status.Snapshot) bool { return s.Record.Made >= 3 && s.Uplink.State == "down" })
	if err := os.Remove(r.cfg.Uplink.Path); err != nil {
		t.Fatal(err)
	}
	r.until("everything delivered", settled)
}

func TestWhatIsNotDeliveredWaitsForTheNextStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.simulate(demo.SimOptions{Rate: 5})
	r.cfg.Record.Interval, r.cfg.Record.ParkedInterval = 200*time.Millisecond, 200*time.Millisecond
	r.cfg.Uplink.Linger = time.Hour // nothing goes out
	a, err := agent.New(t.Context(), agent.Options{Config: r.cfg, OnRecord: func(x record.Record) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.made = append(r.made, x)
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.agent = a
	stop := background(t, a.Run)
	r.until("ten records", func(s status.Snapshot) bool { return s.Record.Made >= 10 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	first := len(r.records())
	if n := len(objectLines(t, r.cfg.Uplink.Path)); n != 0 {
		t.Fatalf("%d records were delivered within the linger", n)
	}
	r.cfg.Uplink.Linger = 50 * time.Millisecond
	r.start()
	r.until("everything delivered", func(s status.Snapshot) bool {
		return s.Uplink.Delivered >= uint64(first)+s.Record.Made && s.Record.Made > 0
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, x := range r.delivered() {
		seen[x.ID.String()]++
	}
	for _, x := range r.records() {
		if seen[x.ID.String()] != 1 {
			t.Errorf("record %d was delivered %d times", x.Seq, seen[x.ID.String()])
		}
	}
}

func TestDeviceID(t *testing.T) {
	t.Parallel()
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "machine-id")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const id = "0123456789abcdef0123456789abcdef"
	got, err := agent.DeviceID(write(id + "\n"))
	if err != nil || len(got) != 16 || strings.Contains(id, got) {
		t.Errorf("%q, %v", got, err)
	}
	if again, _ := agent.DeviceID(write(id)); again != got {
		t.Errorf("the same machine is %s and %s", got, again)
	}
	if other, _ := agent.DeviceID(write("1" + id[1:])); other == got {
		t.Error("two machines have one name")
	}
	for _, text := range []string{"", "\n", "uninitialized\n", strings.Repeat("0", 32)} {
		if got, err := agent.DeviceID(write(text)); err == nil || !strings.Contains(err.Error(), "vehicle.device_id") {
			t.Errorf("machine id %q gives %q, %v", text, got, err)
		}
	}
}
