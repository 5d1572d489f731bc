package main

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"obdagent/agent/clock"
	"obdagent/agent/demo"
	"obdagent/agent/record"
	"obdagent/agent/status"
)

// account empties the buffer, switches the board off, and judges what was delivered.
func (y *yard) account() {
	y.until("delivery", func(s status.Snapshot) bool { return s.Buffer.Records < 15 })
	y.pull("car")
	y.pull("gps")
	y.until("empty buffer", func(s status.Snapshot) bool { return s.Buffer.Records == 0 })
	y.healthy()
	if _, err := y.try("systemctl poweroff"); err != nil {
		y.t.Log(err) // it may be gone before it answers
	}
	y.off()
	y.tool("e2fsck", "-fn", y.path("disk.img"))
	if err := y.firehose.Flush(); err != nil {
		y.t.Fatal(err)
	}
	counts := y.firehose.Counters()
	var all []record.Record
	for line := range strings.Lines(string(y.lines)) {
		r, err := record.Parse([]byte(line))
		if err != nil || !strings.HasSuffix(line, "\n") {
			y.t.Fatalf("damaged line %q: %v", line, err)
		}
		all = append(all, r)
	}
	y.t.Logf("%d calls, refused: %v; %d lines delivered", counts.Calls, counts.Refused, len(all))
	once, again := withoutDuplicates(y.t, all)
	y.t.Logf("%d records, %d of them delivered again", len(once), again)
	y.complete(once)
	y.truth(once)
	y.silence()
}

// silence checks that the receiver was not written to. Between the opening of a port and its first setting the kernel sends back what
// comes in; here that is what has come since the plug, on a real board hardly a byte.
func (y *yard) silence() {
	echo := 0
	for _, heard := range y.toGPS {
		text := strings.ReplaceAll(heard.String(), "\r", "")
		_, text, _ = strings.Cut(text, "\n") // it may begin anywhere
		for line := range strings.Lines(text) {
			if line != "\n" && !strings.HasPrefix(line, "$GN") {
				y.t.Errorf("the receiver was written %q", line)
			}
			echo += len(line)
		}
	}
	y.t.Logf("written to the receiver: nothing but %d bytes of its own, sent back by the kernel", echo)
}

// complete checks that of each run of the daemon the first records are there without a gap, and as many as it announced.
func (y *yard) complete(once []record.Record) {
	delivered, ids, last := map[string]uint64{}, map[uuid.UUID]uint32{}, uint64(0)
	costliest := time.Duration(0)
	for i, r := range once {
		run := r.ID
		count := binary.BigEndian.Uint32(run[12:]) // the last 32 bits of a record_id count the records of its run
		clear(run[12:])
		if count != ids[run]+1 {
			y.t.Errorf("number %d is the record %d of its run, after %d", r.Seq, count, ids[run])
		}
		ids[run] = count
		missing := r.Seq - last - 1
		for _, lost := range r.Lost {
			missing -= lost.To - lost.From + 1
		}
		if missing != 0 {
			y.t.Errorf("number %d comes after number %d, and %d between are not accounted for", r.Seq, last, missing)
		}
		last = r.Seq
		delivered[r.BootID]++
		if i+1 < len(once) && once[i+1].BootID != r.BootID { // the last boot was not cut short
			_, ended := y.announced(r.BootID)
			costliest = max(costliest, ended-time.Duration(r.MonoMS)*time.Millisecond)
		}
	}
	boots, promised := map[string]bool{}, uint64(0)
	for _, l := range y.runs {
		boots[l.device] = true
	}
	for _, boot := range slices.Sorted(maps.Keys(boots)) {
		announced, _ := y.announced(boot)
		promised += announced
		if delivered[boot] < announced {
			y.t.Errorf("boot %s: %d records were announced as on disk, and %d were delivered", boot, announced, delivered[boot])
		}
		delete(delivered, boot)
	}
	if len(delivered) > 0 {
		y.t.Errorf("records of boots that never were: %v", delivered)
	}
	y.t.Logf("%d boots, %d runs of the daemon with records: %d records announced as on disk, %d delivered; a cut cost at most the last %v", len(boots), len(ids), promised, len(once), costliest.Round(time.Millisecond))
}

// astray is how far a record's position is from where the van was: at its moment if it is of an epoch, else at the epoch before it, which
// fix_age_ms tells. The receiver's epochs are whole seconds; how long one is under way through an emulated chip shows in the age.
func (y *yard) astray(r record.Record) float64 {
	lat, _ := r.Lat.Get()
	lon, _ := r.Lon.Get()
	from := func(t time.Time) float64 {
		truth := y.sim.At(t)
		return record.Distance(lat, lon, truth.Lat, truth.Lon)
	}
	age, _ := r.FixAge.Get()
	epoch := r.Time.Add(-time.Duration(age) * time.Millisecond).Round(time.Second)
	nearest := from(epoch)
	if r.Time.Equal(epoch) {
		return nearest
	}
	for _, late := range []time.Duration{-2, -1, 1, 2} {
		nearest = min(nearest, from(epoch.Add(late*time.Second)))
	}
	return nearest
}

// truth checks the records against the trip.
func (y *yard) truth(once []record.Record) {
	devices, sources := map[string]int{}, map[clock.Source]int{}
	var farthest, slip float64
	for _, r := range once {
		devices[r.DeviceID]++
		sources[r.TimeSrc]++
		if r.VIN != "" && r.VIN != demo.VIN {
			y.t.Errorf("number %d has the VIN %s", r.Seq, r.VIN)
		}
		if r.TimeSrc != clock.GNSS {
			// A boot that was cut short before the receiver had its say.
			if r.Time.After(y.began) {
				y.t.Errorf("number %d: nobody can know that it is of %v (%s)", r.Seq, r.Time, r.TimeSrc)
			}
			continue
		}
		if r.Time.Before(y.began) || r.Time.After(time.Now()) {
			y.t.Errorf("number %d is of %v", r.Seq, r.Time)
			continue
		}
		truth := y.sim.At(r.Time)
		if r.Lat.IsSet() {
			off := y.astray(r)
			if farthest = max(farthest, off); off > 1 {
				y.t.Errorf("number %d of %v is %.1f m off", r.Seq, r.Time, off)
			}
		}
		if speed, ok := r.Speed.Get(); ok {
			off := math.Abs(speed - truth.Speed*3.6)
			if slip = max(slip, off); off > 10 {
				y.t.Errorf("number %d of %v has %.1f km/h, the van had %.1f (%s)", r.Seq, r.Time, speed, truth.Speed*3.6, r.SpeedSrc)
			}
		}
	}
	if len(devices) != 1 || sources[clock.GNSS] < len(once)/2 {
		y.t.Errorf("devices %v, sources of the time %v", devices, sources)
	}
	said, err := json.Marshal(sources)
	if err != nil {
		y.t.Fatal(err)
	}
	y.t.Logf("dated by %s; positions at most %.2f m off, speeds at most %.1f km/h", said, farthest, slip)
}
