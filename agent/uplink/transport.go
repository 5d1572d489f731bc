package uplink

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Dial opens a connection. It is (*net.Dialer).DialContext, or a test's.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// How long a step towards a connection may take. A cell that answers at all does so within seconds; a modem that has just
// woken needs some.
const (
	dialTimeout = 15 * time.Second
	tlsTimeout  = 20 * time.Second
)

// unackedMost is how long the other side may leave what was sent without acknowledgement before the kernel gives the connection up (tcp(7),
// TCP_USER_TIMEOUT): a cell that has gone is found out by that, not by the deadline of a large call. It is more than the queues of a
// slow modem hold: 64 KiB take 26 s at 20 kbit/s.
const unackedMost = time.Minute

// How long an unused connection is kept. Carriers forget idle TCP flows, the commonest after two to five minutes, and a
// forgotten one costs a call its whole deadline; a new one costs one handshake, which resumption makes small. A connection
// that the next call would come too late for is closed soon, so that the radio can sleep.
const (
	keepMost   = 2 * time.Minute
	keepMargin = 40 * time.Second // after the linger: the call itself, and a record that comes late
	keepShort  = 15 * time.Second
)

// idleTimeout returns how long to keep a connection that is used once a linger.
func idleTimeout(linger time.Duration) time.Duration {
	if linger+keepMargin <= keepMost {
		return linger + keepMargin
	}
	return keepShort
}

// byteCount is what went through a transport's sockets.
type byteCount struct{ up, down atomic.Uint64 }

type countedConn struct {
	net.Conn
	n *byteCount
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.down.Add(uint64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.up.Add(uint64(n))
	return n, err
}

// limitUnacked is a Control of net.Dialer. A kernel that does not know the option leaves it to the deadline.
func limitUnacked(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedMost/time.Millisecond))
	})
}

// newTransport returns the one transport of a sink. HTTP/1.1 only: with one call in flight HTTP/2 has nothing to interleave,
// and a connection that died silently would be found out by pings of its own only.
func newTransport(o StreamOptions, sessions *sessions, n *byteCount) *http.Transport {
	dial, proxy := o.Dial, http.ProxyFromEnvironment
	if dial != nil {
		proxy = nil // whoever dials for us decides where to
	} else {
		// No TCP keep-alives: they cost bytes and keep the radio awake, and every call has its own deadline.
		dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: -1, Control: limitUnacked}).DialContext
	}
	return &http.Transport{
		Proxy: proxy,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: c, n: n}, nil
		},
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			RootCAs:    o.RootCAs,
			Time:       o.Now, // a board that wakes in 1970 can check certificates once a GPS has told the time
			// No post-quantum share: docs/decisions/0004-tls-on-a-metered-link.md.
			CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
			// Resumption halves what a reconnect costs (RFC 8446 section 2.2: no certificates are sent again).
			ClientSessionCache: sessions,
		},
		TLSHandshakeTimeout: tlsTimeout,
		MaxIdleConns:        2,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     idleTimeout(o.Linger),
		DisableCompression:  true, // the answers are small; asking for gzip costs more bytes than it saves
	}
}
