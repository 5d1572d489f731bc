package uplink

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A cell that acknowledges nothing is given up by the kernel after a minute, and an idle connection sends no probes.
func TestConnectionsAreGivenUpByTheKernelWhenNothingIsAcknowledged(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := newTransport(StreamOptions{Linger: time.Minute, Now: time.Now, Log: slog.New(slog.DiscardHandler)}, newSessions("", nil), &byteCount{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*countedConn).Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var timeout, keepAlive int
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		if timeout, optErr = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); optErr == nil {
			keepAlive, optErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		}
	}); err != nil || optErr != nil {
		t.Fatal(err, optErr)
	}
	if timeout != 60_000 || keepAlive != 0 {
		t.Errorf("TCP_USER_TIMEOUT is %d ms, SO_KEEPALIVE %d", timeout, keepAlive)
	}
}
