package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"obdagent/agent/agenttest"
	"obdagent/agent/config"
	"obdagent/agent/demo"
	"obdagent/agent/doctor"
	"obdagent/agent/status"
	"obdagent/agent/uplink/firehosetest"
)

const (
	// vmVariable is the directory that testdata/vm/base.sh has made, and vmPackageVariable the .deb for arm64: make vm sets both.
	vmVariable        = "OBDAGENT_TEST_VM"
	vmPackageVariable = "OBDAGENT_TEST_VM_DEB"
	// vmCutsVariable is how often the power is cut; default: vmCuts. vmSeedVariable replays the moments of a run.
	vmCutsVariable = "OBDAGENT_TEST_VM_CUTS"
	vmSeedVariable = "OBDAGENT_TEST_SEED"
	vmCuts         = 10
)

// A yard is a board, what is plugged into it, and the Firehose that it sends to.
type yard struct {
	*board
	sim      *demo.Simulation
	firehose *firehosetest.Server
	random   *rand.Rand
	began    time.Time

	toGPS []*lines // what was written to the receiver, each time that it was plugged in

	mu    sync.Mutex
	lines []byte // all that was delivered
}

// TestTheBoard is the main job on Debian for arm64 with systemd and udev, which is emulated: the package is installed, finds the
// adapter and the receiver, learns the time, delivers over TLS, bears unplugging, and loses nothing that it had on disk when the
// power is cut.
//
// How the test knows what was on disk is told at TestKilledAtAnyMomentTheAgentLosesNothingItHadOnDisk.
func TestTheBoard(t *testing.T) {
	base, deb := os.Getenv(vmVariable), os.Getenv(vmPackageVariable)
	if base == "" || deb == "" {
		t.Skipf("needs %s and %s: make vm", vmVariable, vmPackageVariable)
	}
	agenttest.Require(t, "qemu-system-aarch64")
	y := newYard(t, base, deb)
	// Each step begins where the one before has left the board: one that changes it and fails is the last.
	for _, step := range []struct {
		what  string
		do    func(*yard)
		looks bool
	}{
		{"the package is installed", (*yard).install, false},
		{"plugged in, both are found, and what they say is delivered", (*yard).plugIn, false},
		{"udev knows them", (*yard).names, true},
		{"doctor and detect leave the daemon's ports alone", (*yard).examine, true},
		{"pulled out and plugged in again", (*yard).replug, false},
		{"power cuts", (*yard).cuts, false},
		{"what it costs", (*yard).costs, true},
		{"detect writes names that stay with the sockets", (*yard).detect, false},
		{"all that was on disk is delivered, and nothing else", (*yard).account, false},
	} {
		if !t.Run(step.what, func(t *testing.T) { y.t = t; step.do(y) }) && !step.looks {
			break
		}
	}
	y.t = t
}

// variable is a variable's value.
func variable(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q: want a number above zero", name, s)
	}
	return n
}

func newYard(t *testing.T, base, deb string) *yard {
	t.Helper()
	seed := variable(t, vmSeedVariable, uint64(time.Now().UnixNano()))
	t.Logf("%s=%d", vmSeedVariable, seed)
	y := &yard{random: rand.New(rand.NewPCG(seed, 0)), began: time.Now()}
	dir := t.TempDir()
	// With the flags of the release that has just been built: its parts are the same.
	makefile, err := os.ReadFile("../../Makefile")
	flags := regexp.MustCompile(`(?m)^RELEASE_FLAGS = (.*)$`).FindSubmatch(makefile)
	if err != nil || flags == nil {
		t.Fatalf("the Makefile (%v) has no line RELEASE_FLAGS", err)
	}
	rig := exec.CommandContext(t.Context(), "go", slices.Concat([]string{"build"}, strings.Fields(string(flags[1])), []string{"-o", filepath.Join(dir, "rig"), "./testdata/vm/rig"})...)
	rig.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := rig.CombinedOutput(); err != nil {
		t.Fatalf("build rig: %v\n%s", err, out)
	}
	if y.sim, err = demo.NewSimulation(demo.SimOptions{Dir: dir, Seed: seed}); err != nil {
		t.Fatal(err)
	}

	// The endpoint: on this machine's loopback, as the real one with TLS and with the right time.
	keys := firehosetest.Credentials{AccessKeyID: "AKIDBOARD00000000000", SecretAccessKey: "secret-of-the-board"}
	y.firehose, err = firehosetest.New(firehosetest.Options{
		Region: config.Default().Uplink.Region, Streams: []firehosetest.Stream{{Name: config.Default().Uplink.Stream}},
		Credentials: []firehosetest.Credentials{keys}, Seed: seed,
		Deliver: func(_, _ string, object []byte) error {
			y.mu.Lock()
			defer y.mu.Unlock()
			y.lines = append(y.lines, object...)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(y.firehose)
	ts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, filepath.Join(dir, "ca.pem"))}}
	ts.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.StartTLS()
	t.Cleanup(ts.Close)

	// What a technician has on the stick: the package, and the seed with which a fleet's boards are started.
	port := ts.Listener.Addr().String()
	port = port[strings.LastIndexByte(port, ':'):]
	writeFile(t, filepath.Join(dir, "obdagent.toml"), fmt.Sprintf("[record]\nformat = \"json\"\n[uplink]\nendpoint = \"https://%s%s\"\nlinger = \"5s\"\n", gateway, port))
	writeFile(t, filepath.Join(dir, "obdagent-credentials"), fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", keys.AccessKeyID, keys.SecretAccessKey))
	stick := map[string]string{"obdagent.deb": deb}
	for _, name := range []string{"rig", "ca.pem", "obdagent.toml", "obdagent-credentials"} {
		stick[name] = filepath.Join(dir, name)
	}
	y.board = newBoard(t, base, stick)
	return y
}

// since is a moment of this boot.
func (y *yard) since(from, to time.Time) string { return fmt.Sprintf("%.1f s", to.Sub(from).Seconds()) }

func live(s status.Snapshot) bool { return s.Car.State == "live" }

func fixed(s status.Snapshot) bool { return s.GPS.State == "fix" }

func (y *yard) plugCar() { y.t.Helper(); y.plug("car", y.sim.ServeCar) }

// plugGPS also hears what is written to the receiver, which is to be nothing. Nobody who did would make QEMU wait, and the board with it.
func (y *yard) plugGPS() {
	y.t.Helper()
	heard := &lines{}
	y.toGPS = append(y.toGPS, heard)
	y.plug("gps", func(ctx context.Context, port io.ReadWriteCloser) error {
		var hears sync.WaitGroup
		hears.Go(func() { _, _ = io.Copy(heard, port) }) // it ends when the port is pulled
		err := y.sim.ServeGPS(ctx, wire{port.(*net.UnixConn)})
		_ = port.Close()
		hears.Wait()
		return err
	})
}

// A wire loses what nobody takes, as that from a receiver to a port which is not open; a socket would keep minutes of it.
type wire struct{ *net.UnixConn }

func (w wire) Write(p []byte) (int, error) {
	raw, err := w.SyscallConn()
	if err != nil {
		return 0, err
	}
	waiting := 0
	if failed := raw.Control(func(fd uintptr) { waiting, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); failed != nil || err != nil {
		return 0, errors.Join(failed, err)
	}
	if waiting > 0 {
		return len(p), nil
	}
	return w.UnixConn.Write(p)
}

// install puts the package onto a board that has never had it, without network or devices.
func (y *yard) install() {
	y.power()
	y.coverage(false)
	y.t.Logf("the bare board can be worked with %s after it was switched on", y.since(y.on, y.await("hand", func() bool { return y.sight().BootID != "" })))
	y.run("cp /media/stick/obdagent.toml /media/stick/obdagent-credentials /boot/ && mkdir -p /etc/obdagent && cp /media/stick/ca.pem /etc/obdagent/ && " +
		"echo AWS_CA_BUNDLE=/etc/obdagent/ca.pem >/etc/default/obdagent")
	begin := time.Now()
	y.t.Logf("dpkg says\n%s", y.run("dpkg --install /media/stick/obdagent.deb"))
	at := y.until("daemon without devices", func(s status.Snapshot) bool { return s.Car.State == "absent" && s.GPS.State == "absent" })
	y.t.Logf("installed, started, and looking for devices in %s", y.since(begin, at))
	if left := y.run("ls /boot | grep obdagent || true"); left != "" {
		y.t.Errorf("of the seed there is left on the boot partition: %s", left)
	}
	// systemd lets no clock be before its own build.
	if wrong := y.clockError(); wrong > -24*time.Hour {
		y.t.Errorf("the board's clock is off by %v: it is to have none", wrong)
	} else {
		y.t.Logf("the board's clock is off by %.0f days", wrong.Hours()/24)
	}
}

// clockError is how far the board's clock is ahead of this machine's.
func (y *yard) clockError() time.Duration {
	y.t.Helper()
	seconds, err := strconv.ParseInt(y.run("date +%s"), 10, 64)
	if err != nil {
		y.t.Fatal(err)
	}
	return time.Until(time.Unix(seconds, 0))
}

// plugIn plugs both in on a board that has seen neither.
func (y *yard) plugIn() {
	y.coverage(true)
	if s := y.sight().Snapshot; s.Record.Made > 0 {
		y.t.Errorf("%d records were made of nothing", s.Record.Made)
	}
	begin := time.Now()
	y.plugCar()
	y.plugGPS()
	for _, stage := range []struct {
		what string
		ok   func(status.Snapshot) bool
	}{
		{"first record", func(s status.Snapshot) bool { return s.Record.Made > 0 }},
		{"fix", fixed},
		{"time of the satellites", func(s status.Snapshot) bool { return s.TimeSrc == "gnss" }},
		{"VIN", func(s status.Snapshot) bool { return s.Car.VIN == demo.VIN }},
		{"speed of the car", func(s status.Snapshot) bool { return live(s) && s.Car.Speed != nil }},
		{"delivery", func(s status.Snapshot) bool { return s.Uplink.Delivered > 0 }},
	} {
		y.t.Logf("from plug to %s: %s", stage.what, y.since(begin, y.until(stage.what, stage.ok)))
	}
	y.until("verdict that all is well", func(s status.Snapshot) bool { return s.State == status.OK })
	// systemd's own view: it is ready, and its watchdog is fed.
	if said := y.run("systemctl show --value --property=ActiveState,NRestarts obdagent.service | xargs"); said != "active 0" && said != "0 active" {
		y.t.Errorf("the unit's state and its restarts: %s", said)
	}
}

// names checks what the package's rules make of the chips, in a real udev.
func (y *yard) names() {
	for _, port := range []string{"ttyUSB0", "ttyUSB1"} {
		known := y.run("udevadm info --query=property --name=/dev/" + port)
		for _, want := range []string{"ID_MM_PORT_IGNORE=1", "ID_VENDOR_ID=0403", "/dev/obdagent/"} {
			if !strings.Contains(known, want) {
				y.t.Errorf("udev knows of %s no %s:\n%s", port, want, known)
			}
		}
		if strings.Contains(known, "ID_SERIAL_SHORT=") {
			y.t.Errorf("%s has a serial number, which a cheap chip has not:\n%s", port, known)
		}
		path := y.run("udevadm info --query=property --property=ID_PATH --value --name=/dev/" + port)
		if leads := y.run("readlink --canonicalize /dev/obdagent/" + path); leads != "/dev/"+port {
			y.t.Errorf("/dev/obdagent/%s leads to %s, want %s", path, leads, port)
		}
		y.t.Logf("/dev/obdagent/%s -> %s", path, port)
		if ms := y.run("cat /sys/class/tty/" + port + "/device/latency_timer"); ms != "1" {
			y.t.Errorf("the driver holds short answers of %s back for %s ms, want 1", port, ms)
		}
		if mark := y.run("udevadm info --query=property --property=ID_MM_DEVICE_IGNORE --value --path=$(readlink -f /sys/class/tty/" + port + "/device/../..)"); mark != "1" {
			y.t.Errorf("ModemManager would find the device of %s without the mark: %q", port, mark)
		}
	}
}

// examine runs doctor and detect beside the daemon.
func (y *yard) examine() {
	said, err := y.try("obdagent doctor --json")
	if err != nil {
		y.t.Errorf("doctor ends with %v", err)
	}
	for name, c := range levels(y.t, result{stdout: said}) {
		if c.Level != doctor.OK {
			y.t.Errorf("%s: %+v", name, c)
		}
	}
	if found := y.run("obdagent detect"); strings.Count(found, "used by the running daemon") != 2 {
		y.t.Errorf("detect says\n%s", found)
	}
	y.until("records that go on", func(s status.Snapshot) bool { return live(s) && fixed(s) })
}

// replug pulls each out and plugs it in again, alone.
func (y *yard) replug() {
	for _, x := range []struct {
		what, chip string
		plug       func()
		gone, back func(status.Snapshot) bool
	}{
		{"adapter", "car", y.plugCar, func(s status.Snapshot) bool { return s.Car.State == "absent" }, live},
		{"receiver", "gps", y.plugGPS, func(s status.Snapshot) bool { return s.GPS.State == "absent" }, fixed},
	} {
		links := y.run("ls /dev/obdagent | wc -l")
		begin := time.Now()
		y.pull(x.chip)
		gone := y.until(x.what+" that is gone", x.gone)
		y.await("udev without the "+x.what, func() bool { return y.run("ls /dev/obdagent | wc -l") != links })
		made := y.sight().Snapshot.Record.Made
		y.until("records without the "+x.what, func(s status.Snapshot) bool { return s.Record.Made > made+1 })
		again := time.Now()
		x.plug()
		back := y.until(x.what+" that is back", x.back)
		y.t.Logf("%s: noticed to be gone %s after it was pulled out, back at work %s after it was plugged in", x.what, y.since(begin, gone), y.since(again, back))
	}
	y.until("verdict that all is well", func(s status.Snapshot) bool { return s.State == status.OK })
}

// The coverage that a boot may have.
const (
	noCoverage    = "none"
	goodCoverage  = "good"
	flakyCoverage = "flaky"
)

// cover sets the coverage: the carrier of the network card, and how the endpoint behaves.
func (y *yard) cover(coverage string) {
	y.t.Helper()
	y.coverage(coverage != noCoverage)
	faults := firehosetest.Faults{}
	if coverage == flakyCoverage {
		faults = firehosetest.Faults{CutBefore: 0.2, CutAfter: 0.3, FailEntry: 0.2, Throttle: 0.1}
	}
	y.firehose.SetFaults(faults)
}

// cuts cuts the power again and again: two times of three while the daemon is at work, the third anywhere, on the way there, too.
func (y *yard) cuts() {
	n := int(variable(y.t, vmCutsVariable, vmCuts))
	lost, atWork, reach := 0, 0, time.Minute // from power-on to the first record
	for i := range n {
		if i > 0 {
			y.power()
		}
		coverage := []string{noCoverage, goodCoverage, flakyCoverage}[y.random.IntN(3)]
		y.cover(coverage)
		if i > 0 {
			y.plugCar()
			y.plugGPS()
		}
		share := y.random.Float64()
		after := time.Duration(share * float64(40*time.Second))
		if i%3 == 2 {
			after = time.Duration(share * float64(reach+10*time.Second))
		} else {
			var first [3]time.Time
			first[0] = y.await("daemon", func() bool { return y.sight().Snapshot != nil })
			first[1] = y.until("record", func(s status.Snapshot) bool { return s.Record.Made > 0 })
			first[2] = y.await("record on disk", func() bool { s := y.sight(); on, _ := y.announced(s.BootID); return on > 0 })
			if i > 0 {
				reach = first[1].Sub(y.on)
				y.t.Logf("boot %d: from power-on to the daemon %s, to the first record %s, to the first that is on disk %s", i+1, y.since(y.on, first[0]), y.since(y.on, first[1]), y.since(y.on, first[2]))
			}
			y.healthy()
		}
		timer := time.NewTimer(after)
		select {
		case <-timer.C:
		case <-y.ended:
			y.t.Fatalf("the board ended by itself\n%s", y.said())
		}
		moment := time.Now()
		y.cut()
		last := y.sight()
		announced, _ := y.announced(last.BootID)
		if announced > 0 {
			atWork++
		}
		delivered := uint64(0)
		if last.Snapshot != nil {
			delivered = last.Snapshot.Uplink.Delivered
		}
		y.t.Logf("cut %d: %s after power-on, coverage %s: %d records announced as on disk, %d delivered in this boot", i+1, y.since(y.on, moment), coverage, announced, delivered)
		// What was written beside and never synced, as the next boot finds it.
		there := y.unsynced(last.BootID)
		if last.Unsynced > 0 {
			y.t.Logf("cut %d: of %d lines written beside without a sync %d are there", i+1, last.Unsynced, there)
		}
		if there < last.Unsynced {
			lost++
		}
	}
	// The next step finds it on its way.
	y.power()
	y.cover(goodCoverage)
	y.plugCar()
	y.plugGPS()
	y.t.Logf("%d cuts, %d of them after records had been announced; %d took what was not synced", n, atWork, lost)
	if lost == 0 {
		y.t.Error("no cut took what was not synced: they were no power cuts")
	}
}

// unsynced is how many lines of a boot are in the file that rig never syncs, on the disk of a board that is off. It reads a copy, in
// which the journal is replayed, as mounting it does.
func (y *yard) unsynced(boot string) int {
	y.t.Helper()
	disk := y.path("look.img")
	y.tool("cp", "--sparse=always", y.path("disk.img"), disk)
	defer os.Remove(disk)
	y.tool("e2fsck", "-p", "-E", "journal_only", disk)
	return strings.Count(y.tool("debugfs", "-R", "cat /var/lib/rig-unsynced", disk), boot)
}

// healthy checks that the daemon found nothing damaged and gave nothing up.
func (y *yard) healthy() {
	y.t.Helper()
	if b := y.sight().Snapshot.Buffer; b.State != "ok" || len(b.Lost) > 0 || b.Quarantined > 0 {
		y.t.Errorf("after a power cut the buffer is %q, lost %v, %d segments in quarantine", b.State, b.Lost, b.Quarantined)
	}
}

// costs measures the boot after the last cut, lets all be delivered, and measures on.
func (y *yard) costs() {
	waiting := uint64(0)
	first := y.until("record", func(s status.Snapshot) bool { waiting = max(waiting, s.Buffer.Records); return s.Record.Made > 0 })
	fix := y.until("fix", fixed)
	works := y.until("speed of the car", func(s status.Snapshot) bool { return live(s) && s.Car.Speed != nil })
	sent := y.until("delivery", func(s status.Snapshot) bool { return s.Uplink.Delivered > 0 })
	y.t.Logf("from power-on to the first record %s, fix %s, speed of the car %s, delivery %s", y.since(y.on, first), y.since(y.on, fix), y.since(y.on, works), y.since(y.on, sent))
	drained := y.until("end of the backlog", func(s status.Snapshot) bool { return s.Buffer.Records < 15 })
	y.t.Logf("%d records waited; delivered %s after power-on", waiting, y.since(y.on, drained))
	y.healthy()
	if state := y.run("systemctl is-system-running --wait || systemctl list-units --failed --plain --no-legend"); state != "running" {
		y.t.Errorf("the board is %s", state)
	}
	y.t.Logf("%s", y.run("systemd-analyze time"))
	y.t.Logf("of that\n%s", y.run("systemd-analyze critical-chain --no-pager obdagent.service"))
	y.t.Logf("memory of the daemon\n%s", y.run("grep -E '^(VmRSS|VmHWM|RssAnon|RssFile|Threads)' /proc/$(systemctl show --value --property=MainPID obdagent.service)/status"))
	// Steady work, while nothing is asked of the board.
	const during = 2 * time.Minute
	begin := *y.sight().Snapshot
	timer := time.NewTimer(during)
	select {
	case <-timer.C:
	case <-y.ended:
		y.t.Fatal("the board ended by itself")
	}
	end := *y.sight().Snapshot
	took := end.Uptime - begin.Uptime
	hour := func(bytes int64) float64 { return float64(bytes) / took * 3600 / (1 << 20) }
	if end.Buffer.Device == nil || begin.Buffer.Device == nil {
		y.t.Fatal("the daemon knows nothing of the device that holds its buffer")
	}
	y.t.Logf("in %.0f s: %d records, %d commits, %.2f MiB an hour of records, %.2f MiB an hour given to the file system for them, %.2f MiB an hour written to %s by all programs, the test's own included",
		took, end.Record.Made-begin.Record.Made, end.Buffer.Commits-begin.Buffer.Commits, hour(end.Buffer.PayloadBytes-begin.Buffer.PayloadBytes),
		hour(end.Buffer.WrittenBytes-begin.Buffer.WrittenBytes), hour(end.Buffer.Device.WrittenBytes-begin.Buffer.Device.WrittenBytes), end.Buffer.Device.Name)
}

// detect has the ports written into the configuration and a udev rule, and changes the order in which they appear.
func (y *yard) detect() {
	y.run("systemctl stop obdagent.service")
	said := y.run("obdagent detect --write")
	y.t.Logf("obdagent detect --write says\n%s", said)
	rules := y.run("cat " + doctor.RulesFile)
	if strings.Count(rules, "ID_PATH") != 2 {
		y.t.Errorf("the rules are\n%s", rules)
	}
	y.run("udevadm control --reload && udevadm trigger --subsystem-match=tty && udevadm settle")
	leads := func() (car, gps string) {
		return y.run("readlink -f /dev/obd || true"), y.run("readlink -f /dev/gps || true")
	}
	car, gps := leads()
	if car == gps || !strings.HasPrefix(car, "/dev/ttyUSB") || !strings.HasPrefix(gps, "/dev/ttyUSB") {
		y.t.Fatalf("/dev/obd leads to %s, /dev/gps to %s", car, gps)
	}
	y.run("systemctl start obdagent.service")
	both := func(s status.Snapshot) bool {
		return live(s) && fixed(s) && s.Car.Port == "/dev/obd" && s.GPS.Port == "/dev/gps"
	}
	y.until("both by their names", both)
	y.pull("car")
	y.pull("gps")
	y.until("both that are gone", func(s status.Snapshot) bool { return s.Car.State == "absent" && s.GPS.State == "absent" })
	y.await("udev without both", func() bool { c, g := leads(); return c == "/dev/obd" && g == "/dev/gps" })
	// The one that had the second number now comes first.
	one, other := y.plugCar, y.plugGPS
	if car < gps {
		one, other = other, one
	}
	one()
	y.await("first port", func() bool { return y.run("ls /dev/ttyUSB* 2>/dev/null | wc -l || true") == "1" })
	other()
	y.until("both by their names", both)
	if c, g := leads(); c != gps || g != car {
		y.t.Errorf("plugged in the other way round, /dev/obd leads to %s and /dev/gps to %s, want %s and %s", c, g, gps, car)
	}
}
