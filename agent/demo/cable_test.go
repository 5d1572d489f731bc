package demo_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"obdagent/agent/agenttest"
	"obdagent/agent/demo"
)

// patience is how long a test waits for what happens at once, on a machine that is slow at times.
const patience = 2 * time.Minute

func plug(t *testing.T, c *demo.Cable) io.ReadWriteCloser {
	t.Helper()
	device, err := c.Plug()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Pull(); err != nil {
			t.Error(err)
		}
	})
	return device
}

// open opens the port as a program does that talks to it.
func open(t *testing.T, c *demo.Cable) *os.File {
	t.Helper()
	port, err := os.OpenFile(c.Link(), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = port.Close() }) // some tests close it themselves
	return port
}

func receive(t *testing.T, r io.Reader, n int) []byte {
	t.Helper()
	got := make([]byte, n)
	done := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(r, got)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatalf("%d bytes did not come", n)
	}
	return got
}

func TestACableCarriesEveryByteBothWays(t *testing.T) {
	t.Parallel()
	c := demo.NewCable(filepath.Join(t.TempDir(), "car"))
	device := plug(t, c)
	port := open(t, c)
	var all []byte
	for b := range 256 {
		all = append(all, byte(b))
	}
	for name, way := range map[string]struct {
		from io.Writer
		to   io.Reader
	}{"to the program": {device, port}, "to the device": {port, device}} {
		if _, err := way.from.Write(all); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := receive(t, way.to, len(all)); !bytes.Equal(got, all) {
			t.Errorf("%s came %x", name, got)
		}
	}
}

func TestAPulledCableEndsWhatWaitsForIt(t *testing.T) {
	t.Parallel()
	c := demo.NewCable(filepath.Join(t.TempDir(), "gps"))
	if err := c.Pull(); err != nil {
		t.Errorf("a cable that was never plugged in: %v", err)
	}
	// Twice: a cable that was out works like a new one.
	for range 2 {
		device := plug(t, c)
		if _, err := c.Plug(); err == nil {
			t.Error("the cable is plugged in twice")
		}
		port := open(t, c)
		ended := make(chan error, 2)
		started := make(chan struct{}, 2)
		for _, r := range []io.Reader{device, port} {
			go func() {
				started <- struct{}{}
				_, err := r.Read(make([]byte, 1))
				ended <- err
			}()
		}
		<-started
		<-started
		if err := c.Pull(); err != nil {
			t.Errorf("pull: %v", err)
		}
		for range 2 {
			select {
			case err := <-ended:
				if err == nil {
					t.Error("a byte was read that nobody sent")
				}
			case <-time.After(patience):
				t.Fatal("a reader waits for a cable that was pulled")
			}
		}
		if _, err := os.Lstat(c.Link()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the port is still there: %v", err)
		}
		if _, err := device.Write([]byte("x")); err == nil {
			t.Error("the device speaks into a cable that was pulled")
		}
		if err := c.Pull(); err != nil {
			t.Errorf("pulled once more: %v", err)
		}
		if err := port.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWhoeverOpensThePortHearsThePresent(t *testing.T) {
	t.Parallel()
	c := demo.NewCable(filepath.Join(t.TempDir(), "gps"))
	device := plug(t, c)
	// Nobody reads, and nothing blocks: at a hundred times a receiver's rate, more than twice of what the kernel would hold.
	const epochs, size = 400, 400
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for i := range epochs {
		<-pace.C
		if _, err := device.Write(bytes.Repeat([]byte{byte(i / 2)}, size)); err != nil {
			t.Fatal(err)
		}
	}
	// A busy kernel has up to 64 KiB in hand that it has not put into the terminal yet.
	if first := 2 * int(receive(t, open(t, c), 1)[0]); (epochs-first)*size > 80<<10 {
		t.Errorf("the first of %d epochs that is heard is number %d", epochs, first)
	}
}

// TestABurstThatNobodyReadsComesToItsEnd: of a program without any pace, faster than the kernel sorts it.
func TestABurstThatNobodyReadsComesToItsEnd(t *testing.T) {
	t.Parallel()
	device := plug(t, demo.NewCable(filepath.Join(t.TempDir(), "gps")))
	done := make(chan error, 1)
	go func() {
		for range 1000 {
			if n, err := device.Write(make([]byte, 400)); n != 400 || err != nil {
				done <- errors.Join(io.ErrShortWrite, err)
				return
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the device waits for somebody who reads")
	}
}

func TestAPortIsFreeAgainAfterAProgramThatWasKilled(t *testing.T) {
	t.Parallel()
	c := demo.NewCable(filepath.Join(t.TempDir(), "car"))
	if err := c.Free(); err != nil {
		t.Errorf("a cable that is not plugged in: %v", err)
	}
	plug(t, c)
	port := open(t, c)
	claimed := func() int {
		n, err := unix.IoctlGetInt(int(port.Fd()), unix.TIOCGEXCL)
		if errors.Is(err, unix.ENOTTY) && agenttest.Emulated() {
			t.Skip("the emulator does not let a program ask whether a port is claimed (TIOCGEXCL)")
		}
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := unix.IoctlSetInt(int(port.Fd()), unix.TIOCEXCL, 0); err != nil || claimed() == 0 {
		t.Fatalf("the port cannot be claimed: %v", err)
	}
	if err := c.Free(); err != nil || claimed() != 0 {
		t.Errorf("the port is still claimed: %v", err)
	}
}

func TestAPortReplacesWhatAnEarlierRunLeft(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "car")
	for _, left := range []string{link, link + ".new"} {
		if err := os.Symlink("/dev/null/gone", left); err != nil {
			t.Fatal(err)
		}
	}
	c := demo.NewCable(link)
	plug(t, c)
	open(t, c)

	if _, err := demo.NewCable(filepath.Join(link, "nowhere")).Plug(); err == nil {
		t.Error("a port appears where there is no directory")
	}
}
