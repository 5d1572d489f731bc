package demo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A Cable is a pseudo-terminal behind a stable name, as udev's links give to USB adapters: the agent opens the name, a
// simulator has the other end. It can be pulled out and plugged in again.
type Cable struct {
	link string

	mu     sync.Mutex // guards below
	device *os.File   // the simulator's end; nil while unplugged
	tty    *os.File   // held open, so that the simulator does not read EIO while the agent has the port closed
}

// NewCable returns a cable that will be found at the path link. It is unplugged.
func NewCable(link string) *Cable { return &Cable{link: link} }

// Link is the path under which the agent finds the port.
func (c *Cable) Link() string { return c.link }

// Plug makes the port appear, and returns the simulator's end of it. Reading it fails once the cable is pulled.
func (c *Cable) Plug() (io.ReadWriteCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.device != nil {
		return nil, fmt.Errorf("cable %s: already plugged in", c.link)
	}
	device, tty, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("cable %s: %w", c.link, err)
	}
	fail := func(err error) (io.ReadWriteCloser, error) {
		return nil, errors.Join(fmt.Errorf("cable %s: %w", c.link, err), tty.Close(), device.Close())
	}
	// Asking for the terminal's name has made the device blocking: its reads would outlive Close.
	if err := control(device, func(fd int) error { return unix.SetNonblock(fd, true) }); err != nil {
		return fail(err)
	}
	// A line discipline that echoes and translates would not be a cable.
	if _, err := term.MakeRaw(int(tty.Fd())); err != nil {
		return fail(err)
	}
	// A link is replaced whole: there is no moment at which the name is there and leads nowhere.
	tmp := c.link + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	if err := os.Symlink(tty.Name(), tmp); err != nil {
		return fail(err)
	}
	if err := os.Rename(tmp, c.link); err != nil {
		return fail(err)
	}
	c.device, c.tty = device, tty
	return &end{File: device, tty: tty}, nil
}

// control calls f with the descriptor of a file that another goroutine may close meanwhile, as File.Fd does not allow.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(err, failed)
}

// maxUnread is what may wait in the port for a reader: more than a receiver's burst, far less than the 4 KiB at which a
// pseudo-terminal would make the simulator wait.
const maxUnread = 2 << 10

// end is the simulator's end of a plugged cable.
type end struct {
	*os.File
	tty *os.File // the Cable's
}

// Write drops what nobody has read, as a serial port does while no program has it open: whoever opens it hears the present
// and not the past.
func (e *end) Write(p []byte) (int, error) {
	err := control(e.tty, func(fd int) error {
		unread, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		if err == nil && unread+len(p) > maxUnread {
			err = unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH)
		}
		return err
	})
	for written := 0; ; {
		if err != nil {
			return written, fmt.Errorf("cable: %w", err)
		}
		if err := e.SetWriteDeadline(time.Now().Add(fullFor)); err != nil {
			return written, fmt.Errorf("cable: %w", err)
		}
		n, failed := e.File.Write(p[written:])
		if written += n; !errors.Is(failed, os.ErrDeadlineExceeded) {
			return written, failed
		}
		err = control(e.tty, func(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH) })
	}
}

// fullFor is how long the port may be full before what is in it is dropped. That happens although there is maxUnread: a busy
// kernel has bytes in hand, up to 64 KiB, that it does not count as unread yet.
const fullFor = 100 * time.Millisecond

// Free undoes that a program has claimed the port for itself (TIOCEXCL, tty_ioctl(4)). A serial port forgets the claim when the
// program ends; a pseudo-terminal keeps it as long as anybody, here the Cable, has it open, and would lock out the successor
// of a program that was killed.
func (c *Cable) Free() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tty == nil {
		return nil
	}
	if err := control(c.tty, func(fd int) error { return unix.IoctlSetInt(fd, unix.TIOCNXCL, 0) }); err != nil {
		return fmt.Errorf("cable %s: %w", c.link, err)
	}
	return nil
}

// Pull makes the port disappear. Pulling an unplugged cable does nothing.
func (c *Cable) Pull() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.device == nil {
		return nil
	}
	err := errors.Join(os.Remove(c.link), c.tty.Close())
	if closed := c.device.Close(); !errors.Is(closed, os.ErrClosed) { // a simulator may have closed its end
		err = errors.Join(err, closed)
	}
	c.device, c.tty = nil, nil
	if err != nil {
		return fmt.Errorf("cable %s: %w", c.link, err)
	}
	return nil
}
