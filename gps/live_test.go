package gps_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"obdagent/gps"
	"obdagent/gps/internal/recording"
	"obdagent/gps/nmeasim"
)

// cable is a pty whose far end is a device for others to open.
type cable struct {
	near *os.File
	far  *os.File // held open: without a user the near end reads EIO
}

func newCable(t *testing.T) cable {
	t.Helper()
	near, far, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	raw, err := near.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	// Asking for the pty's name has made it blocking: a write would have no deadline.
	if err := raw.Control(func(fd uintptr) { failed = unix.SetNonblock(int(fd), true) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if _, err := term.MakeRaw(int(far.Fd())); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(far.Name(), 0o666); err != nil { // gpsd gives its rights up
		t.Fatal(err)
	}
	return cable{near, far}
}

func (c cable) write(p []byte) error {
	if err := c.near.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err := c.near.Write(p)
	return err
}

// startGpsd runs Debian's gpsd on a device and returns its address.
func startGpsd(t *testing.T, device string) (address string) {
	t.Helper()
	program := findGpsd(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	runGpsd(t, program, address, device)
	return address
}

// findGpsd returns gpsd's program, or ends the test as OBDAGENT_TEST_REQUIRE says.
func findGpsd(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("gpsd")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/gpsd") // not on everybody's PATH
	}
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("OBDAGENT_TEST_REQUIRE"), ","), "gpsd") {
			t.Fatalf("gpsd is required: %v", err)
		}
		t.Skipf("gpsd is not installed: %v", err)
	}
	return program
}

// runGpsd runs gpsd on a device and waits until it answers.
func runGpsd(t *testing.T, program, address, device string) (stop func()) {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd := exec.Command(program, "-N", "-n", "-b", "-S", port, device)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("gpsd: %s", stderr.String())
		}
	})
	t.Cleanup(stop)
	eventually(t, "gpsd answers", func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
	return stop
}

// watch collects gpsd's reports until the test ends, by time; the last one of a time is the epoch's.
func watch(t *testing.T, address string) func() map[int64][]gpsdFix {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, `?WATCH={"enable":true,"json":true}`+"\n"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	fixes := make(map[int64][]gpsdFix)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(c); lines.Scan(); {
			var f gpsdFix
			if json.Unmarshal(lines.Bytes(), &f) == nil && f.Class == "TPV" && !f.Time.IsZero() {
				mu.Lock()
				at := moment(f.Time)
				fixes[at] = append(fixes[at], f)
				mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-ended
	})
	return func() map[int64][]gpsdFix {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(fixes)
	}
}

// listenTo runs a Receiver until the test ends and collects its fixes by time.
func listenTo(t *testing.T, source string) (*gps.Receiver, func() map[int64]gps.Fix) {
	t.Helper()
	r, err := gps.New(gps.Options{
		Source: source,
		Now:    func() time.Duration { return time.Second }, // stands still: a pause of a busy machine is not the receiver's
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	fixes := make(map[int64]gps.Fix)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- r.Run(ctx, gps.Handler{Fix: func(f gps.Fix) {
			mu.Lock()
			defer mu.Unlock()
			if !f.Time.IsZero() {
				fixes[moment(f.Time)] = f
			}
		}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r, func() map[int64]gps.Fix {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(fixes)
	}
}

// Reasons of liveDifferences.
const (
	cutEpoch    = derivedSpeed + " (first, cut epoch)"
	zeroInGGA   = "gpsd 3.22 takes GGA's satellite count of 00 for no fix, though GSA lists more: later ones have the fix"
	validInGGA  = "gpsd 3.22 believes a GGA after RMC has said V: later ones do not"
	speedInVTG  = "gpsd 3.22 reports before VTG has come and derives the speed: later ones wait for it"
	absurdRelay = "gpsd passes on a fix that says HDOP 60: we refuse it as we do when we read the receiver ourselves"
)

// liveDifferences are what Debian's gpsd does differently from the newer one that made the expected reports.
var liveDifferences = map[string][]deliberate{
	"ch-4701.log":        {{"speed absent", cutEpoch}},
	"gr601-w.log":        {{"speed absent", cutEpoch}},
	"st-teseo-liv3f.log": {{"speed absent", cutEpoch}},
	"venus634lp.log":     {{"speed absent", cutEpoch}},
	"furuno_gl_ga.log":   {{"satellites, gpsd has 1", zeroInGGA}},
	"garmin25lp.log":     {{"mode 2d with 3 satellites, gpsd has 1", zeroInGGA}},
	"myguide-3100.log":   {{"gpsd has 2 (receiver says no fix (RMC V))", validInGGA}, {"HDOP 60.0", absurdRelay}},
	"tr737A+.log":        {{"gpsd has 3 (receiver says no fix (RMC V))", validInGGA}},
	"hemi.log":           {{"speed 0.0", speedInVTG}},
}

// livePeriod is how fast epochs follow each other: twenty a second, which gpsd keeps up with.
const livePeriod = 50 * time.Millisecond

// warmUp is how many epochs are sent before those that count: 2.25 seconds.
const warmUp = 45

// A pair is one recording on its way to gpsd and to us.
type pair struct {
	name         string
	theirs, ours cable
	bursts       [][]byte
	start        time.Time // of the epochs that are compared

	direct, through *gps.Receiver // of the device, and of gpsd
	reported        func() map[int64][]gpsdFix
	fixes, relayed  func() map[int64]gps.Fix
}

func TestLiveGpsdHearsTheSameFixes(t *testing.T) {
	t.Parallel()
	dir := recordings(t)
	var pairs []*pair
	longest := 0
	for _, name := range recordingNames(t, dir) {
		if !strings.HasPrefix(name, "mixed/") {
			p := newPair(t, name, loadRecording(t, dir, name))
			pairs = append(pairs, p)
			longest = max(longest, len(p.bursts))
		}
	}
	for _, p := range pairs {
		eventually(t, "the receivers of "+p.name+" are open", func() bool { return p.direct.Status().Opens > 0 && p.through.Status().Opens > 0 })
	}
	// All recordings at once: one after the other would take minutes.
	tick := time.NewTicker(livePeriod)
	defer tick.Stop()
	for i := range longest {
		<-tick.C
		for _, p := range pairs {
			if i < len(p.bursts) {
				for _, c := range []cable{p.theirs, p.ours} {
					if err := c.write(p.bursts[i]); err != nil {
						t.Fatalf("%s: %v", p.name, err)
					}
				}
			}
		}
	}
	for _, p := range pairs {
		t.Run(p.name, p.compare)
	}
}

// newPair starts a gpsd and two Receivers, and makes what they will be sent.
func newPair(t *testing.T, name string, log []byte) *pair {
	t.Helper()
	p := &pair{name: name, theirs: newCable(t), ours: newCable(t)}
	address := startGpsd(t, p.theirs.far.Name())
	p.reported = watch(t, address)
	p.direct, p.fixes = listenTo(t, p.ours.far.Name())
	p.through, p.relayed = listenTo(t, "gpsd://"+address)

	// Noon: neither date nor era is near its end.
	p.start = time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)
	rec := recording.Parse(log)
	rec.MoveTo(p.start)
	// gpsd throws away what comes within its first two seconds, and learns the receiver's cycle: it gets the recording's
	// first epochs over and over, from minutes before.
	head := rec.Bursts[:min(len(rec.Bursts), 5)]
	span := head[len(head)-1].Offset.Truncate(time.Second) + 2*time.Second
	for i := warmUp / len(head); i > 0; i-- {
		for _, b := range head {
			p.bursts = append(p.bursts, recording.Shift(b.Data, -time.Duration(i)*span))
		}
	}
	for _, b := range rec.Bursts {
		p.bursts = append(p.bursts, b.Data)
	}
	// Seconds of another day's part end the last epoch for both.
	for i := range 3 {
		at := p.start.Add(6*time.Hour + time.Duration(i)*time.Second)
		p.bursts = append(p.bursts, nmeasim.AppendEpoch(nil, at, driving(at)))
	}
	return p
}

// compare waits until all is read and compares what was understood.
func (p *pair) compare(t *testing.T) {
	last := moment(p.start.Add(6*time.Hour + time.Second))
	eventually(t, "gpsd has heard all", func() bool { _, ok := p.reported()[last]; return ok })
	eventually(t, "the relay has heard all", func() bool { _, ok := p.relayed()[last]; return ok })
	eventually(t, "we have heard all", func() bool { _, ok := p.fixes()[last]; return ok })

	from, to := moment(p.start), moment(p.start.Add(5*time.Hour))
	want, got, relay := p.reported(), p.fixes(), p.relayed()
	var ends []int64 // of our fixes, the first and the last: as with the expected reports, gpsd may lack them
	for at, g := range got {
		if g.Mode != gps.ModeNone && from <= at && at <= to {
			ends = append(ends, at)
		}
	}
	slices.Sort(ends)
	if len(ends) > 0 {
		ends = []int64{ends[0], ends[len(ends)-1]}
	}
	compared, withFix, onPurpose := 0, 0, 0
	differs := func(at time.Time, d string) {
		explained := func(x deliberate) bool { return strings.Contains(d, x.words) }
		if d == "" {
			return
		}
		if slices.ContainsFunc(differences[p.name], explained) || slices.ContainsFunc(liveDifferences[p.name], explained) {
			onPurpose++
			return
		}
		t.Errorf("%s: %s", at.Format(time.RFC3339Nano), d)
	}
	for at, reports := range want {
		if at < from || at > to {
			continue
		}
		w := reports[len(reports)-1]
		if g, ok := relay[at]; !ok {
			t.Errorf("gpsd:// lacks %s", w.Time.Format(time.RFC3339Nano))
		} else if !slices.ContainsFunc(reports, func(w gpsdFix) bool { return difference(g, w) == "" }) {
			// One report more than the epochs before had comes too late to count.
			differs(w.Time, "gpsd:// "+difference(g, w))
		}
		g, ok := got[at]
		if !ok {
			if w.Mode >= 2 {
				differs(w.Time, "epoch is missing")
			}
			continue
		}
		compared++
		if w.Mode >= 2 {
			withFix++
		}
		differs(w.Time, difference(g, w))
	}
	for at, g := range got {
		if _, ok := want[at]; !ok && g.Mode != gps.ModeNone && from <= at && at <= to && !slices.Contains(ends, at) {
			differs(g.Time, "fix that gpsd does not have")
		}
	}
	t.Logf("%d epochs compared, %d with a fix; %d differ on purpose", compared, withFix, onPurpose)
	if len(want) == 0 {
		t.Error("gpsd reported nothing")
	}
}
