package demo_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdagent/agent/demo"
)

// simulate runs a simulation until the test ends, or until the function is called that it returns.
func simulate(t *testing.T, o demo.SimOptions) (s *demo.Simulation, stop func() error) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := demo.NewSimulation(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); err = s.Run(ctx) }()
	stop = func() error { cancel(); <-done; return err }
	t.Cleanup(func() { _ = stop() })
	return s, stop
}

// await waits for a condition.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("no %s", what)
		}
	}
}

func exists(name string) func() bool {
	return func() bool { _, err := os.Stat(name); return err == nil }
}

func TestAnAdapterOnTCPAnswersWhatTheTripSays(t *testing.T) {
	t.Parallel()
	s, stop := simulate(t, demo.SimOptions{OBD: "tcp://127.0.0.1:0"})
	address, ok := strings.CutPrefix(s.CarPort(), "tcp://")
	if !ok {
		t.Fatalf("the adapter is at %s", s.CarPort())
	}
	s.PullCar(time.Hour) // there is no cable to pull
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	prompts := bufio.NewReader(conn)
	ask := func(command string) string {
		if _, err := conn.Write([]byte(command + "\r")); err != nil {
			t.Fatal(err)
		}
		reply, err := prompts.ReadString('>')
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	for _, c := range []string{"ATZ", "ATE0", "ATSP0"} {
		ask(c)
	}
	if reply := ask("010D"); !strings.Contains(strings.ReplaceAll(reply, " ", ""), "410D") {
		t.Errorf("the speed is %q", reply)
	}
	s.SetIgnition(false)
	if reply := ask("010D"); strings.Contains(strings.ReplaceAll(reply, " ", ""), "410D") {
		t.Errorf("with the ignition off the speed is %q", reply)
	}
	if reply := ask("ATRV"); !strings.Contains(reply, "12.6") {
		t.Errorf("with the ignition off the voltage is %q", reply)
	}
	s.SetIgnition(true)
	if reply := ask("010D"); !strings.Contains(strings.ReplaceAll(reply, " ", ""), "410D") {
		t.Errorf("with the ignition on again the speed is %q", reply)
	}
	s.Park()
	if reply := ask("010D"); strings.Contains(strings.ReplaceAll(reply, " ", ""), "410D") {
		t.Errorf("parked the speed is %q", reply)
	}
	parked := s.At(time.Now())
	if later := s.At(time.Now().Add(time.Hour)); later != parked || parked.Speed != 0 {
		t.Errorf("a parked van goes from %+v to %+v", parked, later)
	}
	if n := s.Adapter().Requests; n != 4 {
		t.Errorf("%d requests were counted", n)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestPulledCablesComeBack(t *testing.T) {
	t.Parallel()
	s, stop := simulate(t, demo.SimOptions{})
	for _, cable := range []struct {
		port string
		pull func(time.Duration)
	}{{s.CarPort(), s.PullCar}, {s.GPSPort(), s.PullGPS}} {
		here := exists(cable.port)
		await(t, "port "+cable.port, here)
		cable.pull(200 * time.Millisecond)
		await(t, "pulled cable", func() bool { return !here() })
		await(t, "cable that comes back", here)
		cable.pull(time.Hour)
		await(t, "pulled cable", func() bool { return !here() })
	}
	if err := stop(); err != nil {
		t.Errorf("stopped with both cables out: %v", err)
	}
}

func TestWhatCannotBeSimulatedIsAnError(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options demo.SimOptions
		says    string
	}{
		"a rate that no receiver has":     {demo.SimOptions{Rate: 11}, "use 1 to 10"},
		"an adapter's address of no kind": {demo.SimOptions{OBD: "127.0.0.1:35000"}, "use tcp://host:port"},
		"an address that is not ours":     {demo.SimOptions{OBD: "tcp://192.0.2.1:1"}, "192.0.2.1"},
	} {
		test.options.Dir = t.TempDir()
		if _, err := demo.NewSimulation(test.options); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v; want %q in it", name, err, test.says)
		}
	}
	missing := filepath.Join(t.TempDir(), "no.log")
	s, err := demo.NewSimulation(demo.SimOptions{Dir: t.TempDir(), NMEA: missing})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("a recording that is not there: %v", err)
	}
}

// A chip of a virtual machine, or a socket, is as good a port as those that Run makes.
func TestBothAreServedOnPortsOfTheCallers(t *testing.T) {
	t.Parallel()
	s, err := demo.NewSimulation(demo.SimOptions{Dir: t.TempDir(), Rate: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		serve      func(context.Context, io.ReadWriteCloser) error
		ask, until string
	}{{s.ServeCar, "ATI\r", "ELM327"}, {s.ServeGPS, "", "$GNRMC"}} {
		port, end := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- x.serve(ctx, port) }()
		if err := end.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if x.ask != "" { // a pipe's empty write waits for a reader, too
			if _, err := io.WriteString(end, x.ask); err != nil {
				t.Fatal(err)
			}
		}
		said := ""
		for buf := make([]byte, 64); !strings.Contains(said, x.until); {
			n, err := end.Read(buf)
			if err != nil {
				t.Fatalf("no %s: %v\n%q", x.until, err, said)
			}
			said += string(buf[:n])
		}
		cancel()
		_ = end.Close()
		<-served // that its port is gone is no news
	}
}
