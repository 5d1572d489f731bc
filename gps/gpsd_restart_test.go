package gps_test

import (
	"context"
	"net"
	"testing"

	"obdagent/gps"
	"obdagent/gps/nmeasim"
)

func TestARestartedGpsdIsHeardAgain(t *testing.T) {
	t.Parallel()
	program := findGpsd(t)
	c := newCable(t)
	ctx, cancel := context.WithCancel(t.Context())
	simulated := make(chan error, 1)
	go func() { simulated <- nmeasim.Synth{Rate: 5}.Run(ctx, c.near, driving) }()
	defer func() {
		cancel()
		if err := <-simulated; err != nil {
			t.Error(err)
		}
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, _ := listenTo(t, "gpsd://"+address)
	eventually(t, "a gpsd that does not run is absent", func() bool { return r.Status().State == gps.StateAbsent })
	for range 2 {
		stop := runGpsd(t, program, address, c.far.Name())
		eventually(t, "there is a fix", func() bool { return r.Status().State == gps.StateFix })
		if f := r.Status().LastFix; f.Speed < 19.9 || f.Speed > 20.1 || f.Mode != gps.Mode3D {
			t.Errorf("%+v", f)
		}
		stop()
		eventually(t, "a gpsd that was stopped is absent", func() bool { return r.Status().State == gps.StateAbsent })
	}
}
