package doctor_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"obdagent/agent/demo"
	"obdagent/agent/doctor"
	"obdagent/agent/status"
)

// simulated is a van's adapter and receiver on real ports.
func simulated(t *testing.T) *demo.Simulation {
	t.Helper()
	dir := t.TempDir()
	sim, err := demo.NewSimulation(demo.SimOptions{Dir: dir, Rate: 5, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sim.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done // that a cable was cut short is no matter here
	})
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	deadline := time.After(time.Minute)
	for _, port := range []string{sim.CarPort(), sim.GPSPort()} {
		for _, err := os.Stat(port); err != nil; _, err = os.Stat(port) {
			select {
			case <-look.C:
			case <-deadline:
				t.Fatal(err)
			}
		}
	}
	return sim
}

// silentPort is a port with nothing behind it, or with somebody who talks all the time; written is what was sent there so far.
func silentPort(t *testing.T, says func(n int) string) (name string, written func() string) {
	t.Helper()
	master, slave := bothEnds(t)
	if _, err := term.MakeRaw(int(master.Fd())); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got strings.Builder
	go func() {
		buf := make([]byte, 256)
		for {
			n, err := master.Read(buf)
			mu.Lock()
			got.Write(buf[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	if says != nil {
		stop, waiting := make(chan struct{}), int(slave.Fd())
		var speaks sync.WaitGroup
		t.Cleanup(func() { close(stop); speaks.Wait() })
		speaks.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-tick.C:
					// A port that nobody reads would let the writer wait for ever.
					if unread, err := unix.IoctlGetInt(waiting, unix.TIOCINQ); err != nil || unread > 1024 {
						continue
					}
					if _, err := master.WriteString(says(n)); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	return slave.Name(), func() string { mu.Lock(); defer mu.Unlock(); return got.String() }
}

// void is an epoch of a receiver under a roof.
func void(n int) string {
	body := fmt.Sprintf("GPRMC,08%02d%02d.%02d0,V,,,,,,,231126,,,N", n/3000%60, n/50%60, n%50*2)
	sum := byte(0)
	for i := range len(body) {
		sum ^= body[i]
	}
	return fmt.Sprintf("$%s*%02X\r\n", body, sum)
}

func TestDetectSaysWhatIsOnEachPort(t *testing.T) {
	t.Parallel()
	sim := simulated(t)
	silent, written := silentPort(t, nil)
	chatter, toChatter := silentPort(t, func(int) string { return "temperature 21.5 C\r\n" })
	noFix, toReceiver := silentPort(t, void)
	used := openPTY(t)
	ports := []string{sim.CarPort(), sim.GPSPort(), silent, chatter, noFix, used, "/dev/none"}
	found, err := doctor.Detect(t.Context(), doctor.DetectOptions{Ports: ports,
		InUse: map[string]doctor.Found{used: {Kind: doctor.KindAdapter, Text: "an adapter of the daemon's", Baud: 9600}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		kind doctor.Kind
		text string
	}{
		{doctor.KindAdapter, "ELM327 v1.4b"}, {doctor.KindReceiver, "GPS, NMEA, fix 3d"}, {doctor.KindUnknown, "neither a GPS nor an ELM327"},
		{doctor.KindUnknown, "talks without being asked"}, {doctor.KindReceiver, "no fix"}, {doctor.KindAdapter, "an adapter of the daemon's"}, {doctor.KindMissing, "not there"},
	}
	for i, f := range found {
		if f.Port != ports[i] || f.Kind != want[i].kind || !strings.Contains(f.Text, want[i].text) {
			t.Errorf("%s: %s, %q; want %s, %q", f.Port, f.Kind, f.Text, want[i].kind, want[i].text)
		}
		if !strings.HasPrefix(f.Line(), string(f.Kind)) || !strings.Contains(f.Line(), f.Port) {
			t.Errorf("line %q", f.Line())
		}
	}
	if toReceiver() != "" || toChatter() != "" {
		t.Errorf("what talks was written to: %q, %q", toReceiver(), toChatter())
	}
	if written() == "" {
		t.Error("a silent port was not asked")
	}
	if n := sim.Adapter().Requests; n != 0 {
		t.Errorf("%d requests were put to the car's bus", n)
	}
	if adapter, receiver, err := doctor.Choose(found); err == nil || adapter != nil || receiver != nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two of each: %+v, %+v, %v", adapter, receiver, err)
	}
	adapter, receiver, err := doctor.Choose(found[:3])
	if err != nil || adapter.Port != sim.CarPort() || receiver.Port != sim.GPSPort() {
		t.Errorf("one of each: %+v, %+v, %v", adapter, receiver, err)
	}
	if _, _, err := doctor.Choose(found[2:4]); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Errorf("none: %v", err)
	}
}

func TestAPortInOtherHandsIsLeftAlone(t *testing.T) {
	t.Parallel()
	port := openPTY(t)
	found, err := doctor.Detect(t.Context(), doctor.DetectOptions{Ports: []string{port}, Root: procOf(t, rivals(port)[0])})
	if err != nil || len(found) != 1 || found[0].Kind != doctor.KindHeld || !strings.Contains(found[0].Text, "gpsd (process 101); to free it: systemctl disable --now gpsd.socket") {
		t.Errorf("%v: %+v", err, found)
	}
}

func TestADaemonsPortsAreTheAdapterAndTheReceiver(t *testing.T) {
	t.Parallel()
	used := doctor.InUse(&status.Snapshot{PID: 5, Car: status.Car{Port: "/dev/a", Adapter: "ELM327 v1.5", Baud: 38400}, GPS: status.GPS{Port: "/dev/g", Epochs: 3, Fix: "3d", Baud: 9600}})
	if a, g := used["/dev/a"], used["/dev/g"]; a.Kind != doctor.KindAdapter || a.Baud != 38400 || g.Kind != doctor.KindReceiver || !strings.Contains(g.Text, "process 5") {
		t.Errorf("%+v", used)
	}
	// What it only tries is not known yet.
	if used := doctor.InUse(&status.Snapshot{Car: status.Car{Port: "/dev/a"}, GPS: status.GPS{Port: "/dev/g"}}); len(used) != 0 {
		t.Errorf("%+v", used)
	}
}

// TestNamesThatStay makes a udev database as Debian 12 has it: of an FTDI with a serial number, and of a CH340 without.
func TestNamesThatStay(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	ftdi := openPTY(t)
	ch340 := openPTY(t)
	write := func(port, text string) {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(port, &st); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(root, "run/udev/data", fmt.Sprintf("c%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(dir, name, port string) {
		t.Helper()
		dir = filepath.Join(root, "dev/serial", dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(port, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	write(ftdi, "S:serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0\nI:1234\nE:ID_BUS=usb\nE:ID_SERIAL_SHORT=A50285BI\nE:ID_PATH=platform-3f980000.usb-usb-0:1.4:1.0\nG:systemd\n")
	write(ch340, "E:ID_BUS=usb\nE:ID_SERIAL=1a86_USB_Serial\nE:ID_PATH=platform-3f980000.usb-usb-0:1.2:1.0\n")
	link("by-id", "usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0", ftdi)
	link("by-id", "usb-1a86_USB_Serial-if00-port0", ch340)
	link("by-path", "platform-3f980000.usb-usb-0:1.2:1.0-port0", ch340)
	// Both are held, so that nothing is asked: the names are what is wanted.
	found, err := doctor.Detect(t.Context(), doctor.DetectOptions{Ports: []string{ftdi, ch340}, Root: root,
		InUse: map[string]doctor.Found{ftdi: {Kind: doctor.KindReceiver}, ch340: {Kind: doctor.KindAdapter}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []doctor.Found{
		{Port: ftdi, Device: ftdi, Kind: doctor.KindReceiver, Serial: "A50285BI", IDPath: "platform-3f980000.usb-usb-0:1.4:1.0", Stable: "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0"},
		{Port: ch340, Device: ch340, Kind: doctor.KindAdapter, IDPath: "platform-3f980000.usb-usb-0:1.2:1.0", Stable: "/dev/serial/by-path/platform-3f980000.usb-usb-0:1.2:1.0-port0"},
	}
	if d := cmp.Diff(want, found); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	rules, named := doctor.Rules("", &found[1], &found[0])
	if d := cmp.Diff(map[string]string{ch340: "/dev/obd", ftdi: found[0].Stable}, named); d != "" {
		t.Errorf("names (-want +got)\n%s", d)
	}
	const wantRules = `# Written by obdagent detect. Who plugs them into other sockets runs it again.
# adapter: no serial number, so it is known by its socket
ACTION!="remove", SUBSYSTEM=="tty", ENV{ID_PATH}=="platform-3f980000.usb-usb-0:1.2:1.0", SYMLINK+="obd", ENV{ID_MM_PORT_IGNORE}="1"
`
	if d := cmp.Diff(wantRules, rules); d != "" {
		t.Errorf("rules (-want +got)\n%s", d)
	}
	// What comes from a device's descriptors must not end the rule.
	bad := doctor.Found{Port: "/dev/x", IDPath: `a", RUN+="/bin/rm`}
	if rules, named := doctor.Rules("", &bad, nil); rules != "" || named["/dev/x"] != "/dev/x" {
		t.Errorf("%q, %v", rules, named)
	}
}

// TestARuleStaysUntilItsDeviceIsWrittenAgain: detect finds what is plugged in at the time, or what it is told to look at.
func TestARuleStaysUntilItsDeviceIsWrittenAgain(t *testing.T) {
	t.Parallel()
	adapter := &doctor.Found{Port: "/dev/ttyUSB0", Kind: doctor.KindAdapter, IDPath: "platform-usb-0:1.2:1.0"}
	receiver := &doctor.Found{Port: "/dev/ttyUSB1", Kind: doctor.KindReceiver, IDPath: "platform-usb-0:1.3:1.0"}
	better := &doctor.Found{Port: "/dev/ttyUSB1", Kind: doctor.KindReceiver, Serial: "A1", IDPath: receiver.IDPath, Stable: "/dev/serial/by-id/usb-A1"}
	moved := *adapter
	moved.IDPath = "platform-usb-0:1.4:1.0"
	both, _ := doctor.Rules("", adapter, receiver)
	onlyAdapter, _ := doctor.Rules("", adapter, nil)
	onlyReceiver, _ := doctor.Rules("", nil, receiver)
	const own = "KERNEL==\"ttyS3\", SYMLINK+=\"modem\"\n"
	for name, c := range map[string]struct {
		before            string
		adapter, receiver *doctor.Found
		want              string
	}{
		"the adapter alone":              {onlyReceiver, adapter, nil, "1.3 1.2"},
		"the receiver alone":             {onlyAdapter, nil, receiver, "1.2 1.3"},
		"both again":                     {both, adapter, receiver, "1.2 1.3"},
		"the adapter in another socket":  {both, &moved, nil, "1.3 1.4"},
		"a receiver with a number":       {both, nil, better, "1.2"},
		"both, a receiver with a number": {both, adapter, better, "1.2"},
		"no rule is left":                {onlyReceiver, nil, better, ""},
		"somebody's own":                 {own, adapter, nil, "modem 1.2"},
	} {
		rules, _ := doctor.Rules(c.before, c.adapter, c.receiver)
		got := regexp.MustCompile(`1\.\d|modem`).FindAllString(strings.ReplaceAll(rules, ":1.0", ""), -1)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %s, in\n%s", name, got, c.want, rules)
		}
		lines, heads := strings.Count(rules, "\n"), strings.Count(rules, "# Written by")
		if comments := strings.Count(rules, "# "); rules != "" && (heads != 1 || lines != comments+len(got)) || rules == "" && c.want != "" {
			t.Errorf("%s: a comment too many or too few:\n%s", name, rules)
		}
	}
}
