package gps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"obdagent/gps/internal/recording"
)

// sourceKind says how a source is opened and what its silence means.
type sourceKind uint8

const (
	serialSource sourceKind = iota
	autoSource
	tcpSource
	udpSource
	fileSource
	gpsdSource
)

type source struct {
	kind    sourceKind
	address string // device, host:port or path
}

// parseSource reads Options.Source.
func parseSource(s string) (source, error) {
	wrong := func(what string) (source, error) {
		return source{}, fmt.Errorf("gps source %q: %s; want a device path, gpsd://host:2947, tcp://host:port, udp://:port, file:path or auto", s, what)
	}
	scheme, rest, hasScheme := strings.Cut(s, "://")
	switch {
	case s == "auto":
		return source{autoSource, ""}, nil
	case strings.HasPrefix(s, "file:"):
		path := strings.TrimPrefix(strings.TrimPrefix(s, "file:"), "//")
		if path == "" {
			return wrong("the path is missing")
		}
		return source{fileSource, path}, nil
	case hasScheme && scheme == "gpsd":
		address, ok := gpsdAddress(rest)
		if !ok {
			return wrong("no host or host:port after gpsd://")
		}
		return source{gpsdSource, address}, nil
	case hasScheme && (scheme == "tcp" || scheme == "udp"):
		host, port, err := net.SplitHostPort(rest)
		if err != nil {
			return wrong("no host:port after " + scheme + "://")
		}
		if _, err := net.LookupPort(scheme, port); err != nil {
			return wrong("port " + port + " is none")
		}
		if scheme == "udp" {
			return source{udpSource, rest}, nil
		}
		if host == "" {
			return wrong("the host is missing")
		}
		return source{tcpSource, rest}, nil
	case hasScheme:
		return wrong("unknown kind " + scheme + "://")
	case filepath.IsAbs(s):
		return source{serialSource, s}, nil
	}
	return wrong("not understood")
}

// gpsdAddress adds gpsd's own port where none is given.
func gpsdAddress(s string) (address string, ok bool) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), gpsdPort
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", false
		}
	}
	if _, err := net.LookupPort("tcp", port); err != nil || host == "" {
		return "", false
	}
	return net.JoinHostPort(host, port), true
}

// readDeadline bounds one read of a socket. It is longer than reopenAfter, which ends a silent session earlier.
const readDeadline = 30 * time.Second

// tcpPort is a connection to a host that sends NMEA.
type tcpPort struct{ net.Conn }

func (p tcpPort) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(readDeadline)); err != nil {
		return 0, fmt.Errorf("set read deadline: %w", err)
	}
	n, err := p.Conn.Read(b)
	if errors.Is(err, io.EOF) {
		return n, errors.New("the other side closed the connection")
	}
	return n, err
}

func (p tcpPort) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(writeDeadline)); err != nil {
		return 0, fmt.Errorf("set write deadline: %w", err)
	}
	return p.Conn.Write(b)
}

// writeDeadline bounds the writing of an init line.
const writeDeadline = 2 * time.Second

// udpPort makes a stream of datagrams. The end of a datagram is the end of a line: some routers send none.
type udpPort struct{ net.PacketConn }

func (p udpPort) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(readDeadline)); err != nil {
		return 0, fmt.Errorf("set read deadline: %w", err)
	}
	n, _, err := p.ReadFrom(b[:len(b)-1])
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	b[n] = '\n'
	return n + 1, nil
}

func (p udpPort) Write([]byte) (int, error) {
	return 0, errors.New("a UDP source cannot be written to: remove gps.init")
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// listenUDP listens on address, or joins the multicast group that it names.
func listenUDP(ctx context.Context, network, address string) (net.PacketConn, error) {
	a, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		return nil, err
	}
	if a.IP.IsMulticast() {
		return net.ListenMulticastUDP(network, nil, a)
	}
	var l net.ListenConfig
	return l.ListenPacket(ctx, network, address)
}

// filePort plays a recording with its own timing and ends with errEnded.
type filePort struct {
	bursts []recording.Burst
	begin  time.Time
	rest   []byte
	closed chan struct{}
}

var errEnded = errors.New("the recording is at its end")

// maxRecording bounds a recording in memory: a day of NMEA at 1 Hz is some 40 MB.
const maxRecording = 64 << 20

func openFile(data []byte) *filePort {
	rec := recording.Parse(data)
	now := time.Now()
	rec.MoveTo(now)
	return &filePort{bursts: rec.Bursts, begin: now, closed: make(chan struct{})}
}

func (p *filePort) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		if len(p.bursts) == 0 {
			return 0, errEnded
		}
		t := time.NewTimer(time.Until(p.begin.Add(p.bursts[0].Offset)))
		defer t.Stop()
		select {
		case <-p.closed:
			return 0, io.ErrClosedPipe
		case <-t.C:
		}
		p.rest, p.bursts = p.bursts[0].Data, p.bursts[1:]
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *filePort) Write([]byte) (int, error) {
	return 0, errors.New("a recording cannot be written to: remove gps.init")
}

func (p *filePort) Close() error {
	close(p.closed)
	return nil
}
