package agent_test

import (
	"testing"
	"time"

	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/agent/record"
	"obdagent/agent/status"
)

func TestWithACurveTheLastRecordsAreKeptWhenTheAgentStops(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.Record.Interval, r.cfg.Record.ParkedInterval = 100*time.Millisecond, 100*time.Millisecond
	r.cfg.Record.Curve = &config.Curve{PositionM: 5, SpeedKmh: 3}
	r.simulate(demo.SimOptions{Rate: 10, Seed: 7})
	r.start()
	s := r.until("the van on its way", func(s status.Snapshot) bool { return s.Car.Speed != nil && *s.Car.Speed > 20 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	made := r.records()
	left := r.agent.Snapshot().Record.LeftOut
	if left < 5 || len(made) < 3 {
		t.Errorf("%d records made, %d left out (%d while the van was on its way)", len(made), left, s.Record.LeftOut)
	}
	if got := r.delivered(); len(got) != len(made) {
		t.Errorf("%d records kept, %d delivered", len(made), len(got))
	}
	// A start is recorded at once, at the moment of the answer that told it; an epoch when its sentences are in. Either may
	// overtake the other, by the time that an epoch may be late (fusion's doc.go, "Limits"), and by no more.
	const late = 2000 // ms
	var last record.Record
	for _, x := range made {
		if x.MonoMS < last.MonoMS-late {
			t.Errorf("record at %d ms after the one at %d ms", x.MonoMS, last.MonoMS)
		}
		last = x
	}
	if v, ok := last.Speed.Get(); !ok || v < 15 {
		t.Errorf("the last record has a speed of %v (known: %t), want that of the van on its way", v, ok)
	}
}
