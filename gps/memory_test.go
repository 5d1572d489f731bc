package gps_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"obdagent/gps"
)

func TestLineSpeedIsRememberedOverRestarts(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gps.json")
	const port = "/dev/ttyUSB0"
	firstFix := func(baud int) (d time.Duration) {
		onBench(t, map[string]int{port: baud}, gps.Options{Source: port, Memory: file}, func(t *testing.T, b *bench, r *gps.Receiver) {
			begin := time.Now()
			for b.fixCount() == 0 && time.Since(begin) < time.Minute {
				after(100 * time.Millisecond)
			}
			d = time.Since(begin)
			if s := r.Status(); s.Baud != baud {
				t.Errorf("found %d baud, want %d", s.Baud, baud)
			}
		})
		return d
	}
	if d := firstFix(57600); d < 5*time.Second {
		t.Errorf("the fifth speed was found within %s: the test proves nothing", d)
	}
	if d := firstFix(57600); d > 2500*time.Millisecond {
		t.Errorf("after a restart the first fix took %s", d)
	}
	if d := firstFix(115200); d > 10*time.Second {
		t.Errorf("a remembered speed that is wrong now cost %s", d)
	}
	if d := firstFix(115200); d > 2500*time.Millisecond {
		t.Errorf("the new speed was not remembered: %s", d)
	}
}

func TestAutoTriesThePortItTookLastFirstAndAlone(t *testing.T) {
	t.Parallel()
	const (
		adapter  = "/dev/serial/by-id/usb-FTDI_FT232R-if00-port0"
		receiver = "/dev/serial/by-id/usb-u-blox_GNSS-if00"
	)
	file := filepath.Join(t.TempDir(), "gps.json")
	opt := gps.Options{Source: "auto", Memory: file, Candidates: func() ([]string, error) { return []string{adapter, receiver}, nil }}
	for round := range 2 {
		onBench(t, map[string]int{adapter: 0, receiver: 38400}, opt, func(t *testing.T, b *bench, r *gps.Receiver) {
			after(20 * time.Second)
			if s := r.Status(); s.State != gps.StateFix || s.Port != receiver {
				t.Errorf("round %d: %+v", round, s)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if opened := b.lines[adapter] != nil; opened != (round == 0) {
				t.Errorf("round %d: the adapter's port was opened: %v", round, opened)
			}
		})
	}
}

func TestUnstableNamesAreNotTakenForTheLastPort(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gps.json")
	onBench(t, map[string]int{"/dev/ttyUSB1": 9600}, gps.Options{Source: "auto", Memory: file}, func(t *testing.T, b *bench, _ *gps.Receiver) {
		after(10 * time.Second)
		text, err := os.ReadFile(file)
		if err != nil || strings.Contains(string(text), "auto") || !strings.Contains(string(text), `"/dev/ttyUSB1": 9600`) {
			t.Errorf("%s, %v", text, err)
		}
	})
}

func TestADamagedMemoryIsForgottenAndMadeAnew(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":            "",
		"cut":              `{"baud": {"/dev/ttyUSB0": 57`,
		"of another shape": `{"baud": [1, 2]}`,
		"absurd":           `{"baud": {"/dev/ttyUSB0": -7, "/dev/ttyUSB1": 12345678}, "auto": "../../etc/passwd"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "gps.json")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			onBench(t, map[string]int{"/dev/ttyUSB0": 9600}, gps.Options{Source: "/dev/ttyUSB0", Memory: file}, func(t *testing.T, b *bench, r *gps.Receiver) {
				after(10 * time.Second)
				if s := r.Status(); s.State != gps.StateFix {
					t.Errorf("%+v", s)
				}
			})
			if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), `"/dev/ttyUSB0": 9600`) {
				t.Errorf("%s, %v", text, err)
			}
		})
	}
}

func TestMemoryThatCannotBeWrittenDoesNotMatter(t *testing.T) {
	t.Parallel()
	onBench(t, map[string]int{"/dev/ttyUSB0": 9600}, gps.Options{Source: "/dev/ttyUSB0", Memory: filepath.Join(t.TempDir(), "no", "such", "dir")},
		func(t *testing.T, b *bench, r *gps.Receiver) {
			after(10 * time.Second)
			if s := r.Status(); s.State != gps.StateFix {
				t.Errorf("%+v", s)
			}
		})
}

func TestPortsGoByTheirStableNames(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tty := range []string{"ttyUSB0", "ttyUSB1", "ttyACM0", "ttyS0", "ttyS1", "ttyAMA0", "tty1"} {
		put("dev/"+tty, "")
	}
	put("dev/serial/by-id/usb-u-blox_GNSS-if00", "-> ../../ttyACM0")
	put("dev/serial/by-id/usb-Prolific_USB-Serial-if00-port0", "-> ../../ttyUSB1") // both adapters call themselves so
	put("dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0", "-> ../../ttyUSB0")
	put("dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0", "-> ../../ttyUSB1")
	put("sys/class/tty/console/active", "tty0 ttyAMA0\n")
	put("sys/class/tty/ttyS0/type", "4\n")
	put("sys/class/tty/ttyS1/type", "0\n")
	got, err := gps.PortsUnder(root)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i] = strings.TrimPrefix(got[i], root)
	}
	slices.Sort(got)
	want := []string{
		"/dev/serial/by-id/usb-Prolific_USB-Serial-if00-port0", "/dev/serial/by-id/usb-u-blox_GNSS-if00",
		"/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0", "/dev/ttyS0",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// withoutAdmin runs do on a thread that may not open a terminal that is in exclusive use, as the agent's user may not.
func withoutAdmin(t *testing.T, do func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		err := unix.Capget(&head, &caps[0])
		if err == nil {
			caps[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
			err = unix.Capset(&head, &caps[0])
		}
		if err == nil {
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skipf("rights cannot be given up here: %v", err)
	}
}

func TestPortInUseIsSaidAsThatWithThePointerToDoctor(t *testing.T) {
	t.Parallel()
	c := newCable(t)
	if err := unix.IoctlSetInt(int(c.far.Fd()), unix.TIOCEXCL, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := gps.New(gps.Options{Source: c.far.Name()})
	if err != nil {
		t.Fatal(err)
	}
	var first gps.StateChange
	withoutAdmin(t, func() {
		_ = r.Run(ctx, gps.Handler{State: func(s gps.StateChange) {
			if first.To == "" {
				first = s
			}
			cancel()
		}})
	})
	for _, part := range []string{c.far.Name() + " is in use by another program", "obdagent doctor", "gpsd://"} {
		if first.To != gps.StateAbsent || !strings.Contains(first.Reason, part) {
			t.Errorf("state %s, reason %q: want absent and %q", first.To, first.Reason, part)
		}
	}
}

func TestBusyIsNamedWhoeverSaysIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := gps.New(gps.Options{Source: "/dev/rfcomm0", OpenSerial: func(string, int) (gps.SerialPort, error) { return nil, syscall.EBUSY }})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- r.Run(ctx, gps.Handler{}) }()
		after(time.Second)
		if s := r.Status(); s.State != gps.StateAbsent || !strings.HasPrefix(s.Reason, "/dev/rfcomm0 is in use") {
			t.Errorf("%+v", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAPathThatIsNoSerialPortIsSaid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: " is not a serial port; name the receiver's in gps.source", dir: " is a directory; name the receiver's serial port in gps.source"} {
		r, err := gps.New(gps.Options{Source: path})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var first gps.StateChange
		_ = r.Run(ctx, gps.Handler{State: func(s gps.StateChange) {
			if first.To == "" {
				first = s
			}
			cancel()
		}})
		if first.To != gps.StateAbsent || first.Reason != path+want {
			t.Errorf("state %s, reason %q", first.To, first.Reason)
		}
	}
}
