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
	"sync/atomic"
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
	// readSlice is how long one read of a serial port blocks at most, and so how late a stop is noticed.
	readSlice = 100 * time.Millisecond
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

// serialConn is a serial device, opened exclusively.
type serialConn struct {
	port     serial.Port
	lock     int          // a second descriptor, which holds the flock
	deadline atomic.Int64 // Unix ns; 0: none
}

// openSerial opens device for nobody else: TIOCEXCL keeps other users out (go.bug.st/serial sets it), and as root is let
// through nevertheless, the flag is also looked at (TIOCGEXCL) and an advisory lock taken, as picocom and others do.
func openSerial(device string, baud int) (Conn, error) {
	lock, err := unix.Open(device, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("open %s: %w; stop that program, or name another port", device, ErrPortBusy)
	case errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("open %s: %w; add this user to the device's group, mostly dialout", device, err)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", device, err)
	}
	if held, err := unix.IoctlGetInt(lock, unix.TIOCGEXCL); err == nil && held != 0 {
		unix.Close(lock)
		return nil, fmt.Errorf("open %s: %w; stop that program, or name another port", device, ErrPortBusy)
	}
	if err := unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(lock)
		return nil, fmt.Errorf("lock %s: %w; stop that program, or name another port", device, ErrPortBusy)
	}
	port, err := serial.Open(device, &serial.Mode{BaudRate: baud})
	if err != nil {
		unix.Close(lock)
		var pe *serial.PortError
		if errors.As(err, &pe) && pe.Code() == serial.PortBusy {
			err = ErrPortBusy
		}
		return nil, fmt.Errorf("open %s: %w", device, err)
	}
	return &serialConn{port: port, lock: lock}, nil
}

func (c *serialConn) Read(p []byte) (int, error) {
	for {
		wait := readSlice
		if d := c.deadline.Load(); d != 0 {
			// One look at the port is taken even when the deadline has passed, as what has arrived costs nothing.
			wait = max(0, min(wait, time.Until(time.Unix(0, d))))
		}
		if err := c.port.SetReadTimeout(wait); err != nil {
			return 0, fmt.Errorf("read: %w", err)
		}
		n, err := c.port.Read(p)
		if n > 0 || err != nil {
			return n, err
		}
		if d := c.deadline.Load(); d != 0 && time.Now().UnixNano() >= d {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

func (c *serialConn) Write(p []byte) (int, error) { return c.port.Write(p) }

func (c *serialConn) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		c.deadline.Store(0)
		return nil
	}
	c.deadline.Store(t.UnixNano())
	return nil
}

// SetBaud changes the line speed.
func (c *serialConn) SetBaud(baud int) error {
	if err := c.port.SetMode(&serial.Mode{BaudRate: baud}); err != nil {
		return fmt.Errorf("set %d baud: %w", baud, err)
	}
	return nil
}

func (c *serialConn) Close() error {
	return errors.Join(c.port.Close(), unix.Close(c.lock))
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
