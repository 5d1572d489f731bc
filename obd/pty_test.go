package obd_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

// patience bounds what happens in real time. It is far longer than anything takes: a machine with much else to do must not fail a test.
const patience = 2 * time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openPTY is a pty in raw mode.
func openPTY(t testing.TB) (master, slave *os.File) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no pty on this machine: %v", err)
	}
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// plug is a simulated adapter on a real pty. pull is what pulling the cable does.
func plug(t testing.TB, sim *elmsim.Sim) (device string, pull func()) {
	t.Helper()
	master, slave := openPTY(t)
	return plugInto(t, sim, master, slave)
}

// plugInto is plug on a pty that is open already.
func plugInto(t testing.TB, sim *elmsim.Sim, master, slave *os.File) (device string, pull func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() { _ = sim.Serve(ctx, master) })
	pull = sync.OnceFunc(func() {
		cancel()
		served.Wait()
		_ = slave.Close()
	})
	t.Cleanup(pull)
	return slave.Name(), pull
}

// follow runs a Car and passes its states on. The channel is deep enough for what a test provokes.
func follow(t testing.TB, car *obd.Car, sample func(obd.Sample)) <-chan obd.StateChange {
	t.Helper()
	states := make(chan obd.StateChange, 256)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- car.Run(ctx, obd.Handler{Sample: sample, State: func(s obd.StateChange) { states <- s }})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	return states
}

// reach waits for a state and returns the step to it.
func reach(t testing.TB, states <-chan obd.StateChange, want obd.State) obd.StateChange {
	t.Helper()
	deadline := time.After(patience)
	var seen []string
	for {
		select {
		case s := <-states:
			if s.To == want {
				return s
			}
			seen = append(seen, string(s.To)+": "+s.Reason)
		case <-deadline:
			t.Fatalf("not %s within %v; steps: %s", want, patience, strings.Join(seen, "; "))
		}
	}
}

func TestSerialPortIsReadUnpluggedAndReplugged(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "obd")
	sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUDelay: time.Millisecond})
	device, pull := plug(t, sim)
	if err := os.Symlink(device, link); err != nil {
		t.Fatal(err)
	}
	car, err := obd.New(obd.Options{Port: link})
	if err != nil {
		t.Fatal(err)
	}
	values := make(chan obd.Sample, 1024)
	states := follow(t, car, func(s obd.Sample) {
		select {
		case values <- s:
		default:
		}
	})
	reach(t, states, obd.StateLive)
	for s := range values { // on a busy machine some are late
		if s.Err == nil {
			if s.Value != 50 {
				t.Errorf("sample %+v", s)
			}
			break
		}
	}
	if st := car.Status(); st.Baud == 0 || st.Port != link || st.Vehicle.VIN != testVIN {
		t.Errorf("status %+v", st)
	}
	pull()
	gone := reach(t, states, obd.StateAbsent)
	if !strings.Contains(gone.Reason, "the port is gone") {
		t.Errorf("reason %q", gone.Reason)
	}
	sim.PowerCycle()
	device, _ = plug(t, sim)
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(device, link); err != nil {
		t.Fatal(err)
	}
	reach(t, states, obd.StateLive) // how soon, TestUnpluggedAdapterIsLiveAgainWithinFiveSeconds says
}

func TestLineSpeedIsProbed(t *testing.T) {
	t.Parallel()
	master, slave := openPTY(t)
	line := int(slave.Fd())
	speed := func() int {
		tio, err := unix.IoctlGetTermios(line, unix.TCGETS)
		if err != nil {
			return 0
		}
		return map[uint32]int{unix.B9600: 9600, unix.B38400: 38400, unix.B115200: 115200}[tio.Cflag&unix.CBAUD]
	}
	sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), Baud: 115200, LineSpeed: speed})
	device, _ := plugInto(t, sim, master, slave)
	car, err := obd.New(obd.Options{Port: device})
	if err != nil {
		t.Fatal(err)
	}
	states := follow(t, car, nil)
	reach(t, states, obd.StateLive)
	if st := car.Status(); st.Baud != 115200 {
		t.Errorf("baud %d", st.Baud)
	}
}

func TestAutoFindsTheOneAdapterAndAsksForANameIfThereAreTwo(t *testing.T) {
	t.Parallel()
	one := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50)})
	two := elmsim.New(elmsim.Options{Vehicle: vehicleAt(60)})
	first, _ := plug(t, one)
	second, pull := plug(t, two)
	// While somebody holds it, the number of a pulled pty is not given to another test.
	holder, err := os.OpenFile(second, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	claimed := map[string]int{}
	var mu sync.Mutex
	busy := first + "-claimed"
	car, err := obd.New(obd.Options{
		Port:       "auto",
		Candidates: func() ([]string, error) { return []string{busy, first, second}, nil },
		Claim: func(device string) (func(), error) {
			mu.Lock()
			defer mu.Unlock()
			if device == busy {
				return nil, errors.New("the GPS uses it")
			}
			claimed[device]++
			return func() {
				mu.Lock()
				defer mu.Unlock()
				claimed[device]--
			}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	states := follow(t, car, nil)
	step := reach(t, states, obd.StateAbsent)
	if !strings.Contains(step.Reason, first) || !strings.Contains(step.Reason, second) || !strings.Contains(step.Reason, "name one") {
		t.Errorf("reason %q", step.Reason)
	}
	pull()
	reach(t, states, obd.StateLive)
	if st := car.Status(); st.Port != first {
		t.Errorf("port %s", st.Port)
	}
	mu.Lock()
	defer mu.Unlock()
	if claimed[first] != 1 || claimed[second] != 0 {
		t.Errorf("claims %v", claimed)
	}
}

func TestPortInUseIsSaid(t *testing.T) {
	t.Parallel()
	sim := elmsim.New(elmsim.Options{VIN: testVIN})
	device, _ := plug(t, sim)
	holder, err := os.OpenFile(device, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := unix.IoctlSetInt(int(holder.Fd()), unix.TIOCEXCL, 0); err != nil {
		t.Fatal(err)
	}
	car, err := obd.New(obd.Options{Port: device})
	if err != nil {
		t.Fatal(err)
	}
	states := follow(t, car, nil)
	step := reach(t, states, obd.StateAbsent)
	if !strings.Contains(step.Reason, "in use by another program") || !strings.Contains(step.Reason, device) {
		t.Errorf("reason %q", step.Reason)
	}
	if n := car.Status().Failures["port_busy"]; n == 0 {
		t.Errorf("failures %v", car.Status().Failures)
	}
}

func TestTCPAdapterIsReadAndComesBack(t *testing.T) {
	t.Parallel()
	sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50)})
	serve := func(address string) (string, func()) {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var served sync.WaitGroup
		served.Go(func() {
			if err := sim.ServeListener(ctx, ln); err != nil {
				t.Errorf("serve: %v", err)
			}
		})
		end := sync.OnceFunc(func() {
			cancel()
			served.Wait()
		})
		t.Cleanup(end)
		return ln.Addr().String(), end
	}
	address, end := serve("127.0.0.1:0")
	car, err := obd.New(obd.Options{Port: "tcp://" + address})
	if err != nil {
		t.Fatal(err)
	}
	states := follow(t, car, nil)
	reach(t, states, obd.StateLive)
	end()
	reach(t, states, obd.StateAbsent)
	_, _ = serve(address)
	reach(t, states, obd.StateLive)
}

func TestAPathThatIsNoSerialPortIsSaid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: " is not a serial port; name the adapter's", dir: " is a directory; name the adapter's serial port"} {
		car, err := obd.New(obd.Options{Port: path})
		if err != nil {
			t.Fatal(err)
		}
		step := reach(t, follow(t, car, nil), obd.StateAbsent)
		if !strings.Contains(step.Reason, path+want) {
			t.Errorf("reason %q", step.Reason)
		}
	}
}
