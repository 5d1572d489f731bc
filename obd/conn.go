package obd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// A Conn is the way to an adapter. Every net.Conn is one. Read must return os.ErrDeadlineExceeded at the deadline, and
// SetReadDeadline must also reach a Read that is under way.
//
// If a Conn has SetBaud(int) error, its line speed is probed; if it has SetWriteDeadline, writes are bounded.
type Conn interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
}

// baudSetter is what a Conn has when it runs on a line with a speed.
type baudSetter interface{ SetBaud(baud int) error }

const (
	// dialTimeout bounds a TCP connect: a Wi-Fi adapter is one hop away, and a lost SYN is repeated after 1 s and 3 s.
	dialTimeout = 5 * time.Second
	// keepAlive finds an adapter that lost its power within about a minute, also while nothing is asked of it.
	keepAlive = 15 * time.Second
	// anyBaud opens a port before its speed is probed.
	anyBaud = 38400
)

// dialTCP connects to tcp://host:port.
func dialTCP(ctx context.Context, port string) (Conn, error) {
	address := strings.TrimPrefix(port, "tcp://")
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return conn, nil
}

// openSerial opens device for nobody else: TIOCEXCL keeps other users out (go.bug.st/serial sets it), and as root is let
// through nevertheless, the flag is also looked at (TIOCGEXCL) and an advisory lock taken, as picocom and others do.
func openSerial(device string, baud int) (Conn, error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(device, err)
	}
	if held, err := unix.IoctlGetInt(fd, unix.TIOCGEXCL); err == nil && held != 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("open %s: %w; stop that program, or name another port", device, ErrPortBusy)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("lock %s: %w; stop that program, or name another port", device, ErrPortBusy)
	}
	port, err := serial.Open(device, &serial.Mode{BaudRate: baud})
	if err != nil {
		unix.Close(fd)
		var pe *serial.PortError
		if errors.As(err, &pe) {
			switch pe.Code() {
			case serial.PortBusy:
				return nil, fmt.Errorf("open %s: %w; stop that program, or name another port", device, ErrPortBusy)
			case serial.InvalidSerialPort:
				return nil, fmt.Errorf("%s is %w; name the adapter's: %w", device, ErrNotAPort, err)
			}
		}
		return nil, fmt.Errorf("open %s: %w", device, err)
	}
	conn, err := newSerialConn(device, port, fd)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", device, err), port.Close(), unix.Close(fd))
	}
	return conn, nil
}

// openError says what to do about a device that could not be opened.
func openError(device string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("open %s: %w; stop that program, or name another port", device, ErrPortBusy)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("open %s: %w; add this user to the device's group, mostly dialout", device, err)
	case errors.Is(err, unix.EPERM): // of the unit's device cgroup
		return fmt.Errorf("open %s: %w; the service may not use devices of this kind: allow it with DeviceAllow= (systemctl edit obdagent)", device, err)
	case errors.Is(err, unix.EISDIR):
		return fmt.Errorf("%s is a directory; name the adapter's serial port: %w", device, ErrNotAPort)
	}
	return fmt.Errorf("open %s: %w", device, err)
}

// gone tells an error that means that the other side is no longer there from a deadline.
func gone(err error) bool {
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// notThere adds what to do to the error of a device that does not exist.
func notThere(port string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%s is not there: check the adapter's plug and cable (%w)", port, err)
	}
	return err
}
