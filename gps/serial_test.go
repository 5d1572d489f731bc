package gps_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"obdagent/gps"
)

func TestWhyADeviceCannotBeOpenedIsSaidWithWhatToDo(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"add the user to the group": &os.PathError{Op: "open", Path: "/dev/ttyUSB0", Err: unix.EACCES},
		"DeviceAllow=":              &os.PathError{Op: "open", Path: "/dev/ttyUSB0", Err: unix.EPERM},
		"obdagent doctor names it":  unix.EBUSY,
		"is a directory":            unix.EISDIR,
	} {
		if is := gps.OpenReason("/dev/ttyUSB0", err); !strings.Contains(is, want) || !strings.HasPrefix(is, "/dev/ttyUSB0") {
			t.Errorf("%v: %q, want %q in it", err, is, want)
		}
	}
}

// TestASilentDeviceWakesNobody: a read of a device that says nothing lasts until the receiver is told to stop, which ends it.
func TestASilentDeviceWakesNobody(t *testing.T) {
	t.Parallel()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	defer master.Close()
	defer slave.Close()
	port, err := gps.OpenDevice(slave.Name(), 9600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // longer than the library's reads used to last
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		n, err := port.Read(make([]byte, 1))
		if n != 0 || err == nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Errorf("a read of nothing has ended by itself: %v", err)
	case <-ctx.Done():
	}
	if err := port.Close(); err != nil {
		t.Error(err)
	}
	<-ended
}
