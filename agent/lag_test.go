package agent_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/uuid"

	"obdagent/agent/fusion"
	"obdagent/agent/status"
	"obdagent/gps"
	"obdagent/obd"
)

func TestTheLagOfTheReceiverIsInTheSnapshotOnceItIsKnown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	port := r.plug()
	r.start()
	if _, err := port.Write([]byte("$GPRMC,120000.00,A,4807.0380,N,01131.0000,E,0.0,084.4,231126,,,A*52\r\n")); err != nil {
		t.Fatal(err)
	}
	s := r.until("the receiver's epoch as a record", func(s status.Snapshot) bool {
		return s.GPS.Epochs == 1 && len(r.records()) > 0 && r.records()[len(r.records())-1].Lat.IsSet()
	})
	if g := s.GPS; g.Lag != nil || g.LagApplied != nil || g.SpeedRatio != nil {
		t.Errorf("before anything is known: %+v", g)
	}

	// From here on the port is silent, and the agent is told of ten minutes of town without their passing.
	const lag, ratio = 1050 * time.Millisecond, 0.976
	kmh := func(at time.Duration) float64 { return 40 - 35*math.Cos(at.Seconds()/9) }
	f := fusion.New(fusion.Options{Car: true, Interval: time.Second, ParkedInterval: time.Minute, Clock: r.agent.Clock(), NewID: uuid.New})
	f.Car(obd.StateChange{To: obd.StateLive}, 0)
	for at := time.Second; at < 10*time.Minute; at += 100 * time.Millisecond {
		f.Sample(obd.Sample{Signal: "speed", Value: math.Round(kmh(at)), Mono: at})
		if at%time.Second == 0 {
			r.agent.Fuse(f, gps.Fix{Mono: at, Done: at, Mode: gps.Mode3D, Lat: 48, Lon: 11, Speed: ratio * kmh(at-lag) / 3.6})
		}
	}
	g := r.agent.Snapshot().GPS
	near := func(name string, got *float64, want, within float64) {
		switch {
		case got == nil:
			t.Errorf("%s is absent, want %v", name, want)
		case math.Abs(*got-want) > within:
			t.Errorf("%s is %v, want %v", name, *got, want)
		}
	}
	near("the estimate", g.Lag, lag.Seconds(), 0.05)
	near("what is applied", g.LagApplied, lag.Seconds(), 0.05)
	near("the ratio", g.SpeedRatio, ratio, 0.01)
}
