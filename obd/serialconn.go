package obd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// serialConn is a serial device, opened exclusively.
//
// Its bytes go through a second descriptor, and its waits through the runtime's poller, so that they take neither a thread nor memory and a
// new deadline reaches a read that is under way; the library's Read makes a select and two sets of descriptors for each chunk. But the
// device itself is not given to that poller: it would be woken for each byte, read or not, and for each write that has drained
// (EPOLLIN|EPOLLOUT|EPOLLET), and with it three threads. Instead it gets an epoll instance of our own, in which the device is armed
// for one event, and only while somebody waits (EPOLLONESHOT; epoll(7), "nested").
type serialConn struct {
	port serial.Port // sets the line up
	fd   int         // holds the flock and carries the bytes; non-blocking
	wait *os.File    // the epoll instance
	raw  syscall.RawConn
	try  func(uintptr) bool // attempt, made once

	// Of the Read under way, and of the goroutine that reads.
	into  []byte
	n     int
	err   error
	armed bool
	event [1]unix.EpollEvent

	writeBy time.Time
}

// newSerialConn takes port and fd over, unless it fails.
func newSerialConn(device string, port serial.Port, fd int) (*serialConn, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Fd: int32(fd), Events: unix.EPOLLONESHOT})
	if err == nil {
		err = unix.SetNonblock(ep, true) // so that os.NewFile gives it to the poller
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), unix.Close(ep))
	}
	c := &serialConn{port: port, fd: fd, wait: os.NewFile(uintptr(ep), device)}
	c.try = c.attempt
	if c.raw, err = c.wait.SyscallConn(); err != nil {
		return nil, errors.Join(err, c.wait.Close())
	}
	return c, nil
}

// Read reads what is there, and waits for it until the deadline.
func (c *serialConn) Read(p []byte) (int, error) {
	c.into = p
	if err := c.raw.Read(c.try); err != nil {
		return 0, err
	}
	switch {
	case c.err != nil:
		return 0, c.err
	case c.n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return c.n, nil
}

// attempt reads once. false means that there is nothing, and that the epoll instance becomes readable when there is.
func (c *serialConn) attempt(ep uintptr) bool {
	if c.armed {
		if n, err := unix.EpollWait(int(ep), c.event[:], 0); err == nil && n > 0 {
			c.armed = false
		}
	}
	for {
		if c.n, c.err = unix.Read(c.fd, c.into); !errors.Is(c.err, unix.EINTR) {
			break
		}
	}
	if !errors.Is(c.err, unix.EAGAIN) {
		return true
	}
	if !c.armed {
		c.event[0] = unix.EpollEvent{Fd: int32(c.fd), Events: unix.EPOLLIN | unix.EPOLLONESHOT}
		if c.err = unix.EpollCtl(int(ep), unix.EPOLL_CTL_MOD, c.fd, &c.event[0]); c.err != nil {
			return true
		}
		c.armed = true
	}
	return false
}

// Write writes all of p. A request is shorter than any buffer on the way, so that it waits only on a line that is dead; then it takes a
// thread until the deadline.
func (c *serialConn) Write(p []byte) (written int, err error) {
	for written < len(p) {
		n, err := unix.Write(c.fd, p[written:])
		switch {
		case err == nil:
			written += n
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			left := time.Until(c.writeBy)
			if left <= 0 {
				return written, os.ErrDeadlineExceeded
			}
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, int(left.Milliseconds())+1)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return written, err
			}
		default:
			return written, err
		}
	}
	return written, nil
}

// SetReadDeadline also reaches a Read that is under way.
func (c *serialConn) SetReadDeadline(t time.Time) error { return c.wait.SetReadDeadline(t) }

// SetWriteDeadline is for the next Write.
func (c *serialConn) SetWriteDeadline(t time.Time) error {
	c.writeBy = t
	return nil
}

// SetBaud changes the line speed.
func (c *serialConn) SetBaud(baud int) error {
	if err := c.port.SetMode(&serial.Mode{BaudRate: baud}); err != nil {
		return fmt.Errorf("set %d baud: %w", baud, err)
	}
	return nil
}

// Close gives the device back.
func (c *serialConn) Close() error {
	return errors.Join(c.wait.Close(), unix.Close(c.fd), c.port.Close())
}
