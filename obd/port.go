package obd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// portAuto asks for the one serial port that has an ELM327 behind it.
const portAuto = "auto"

// checkPort says what is wrong with Options.Port.
func checkPort(port string) error {
	switch {
	case port == portAuto:
		return nil
	case strings.HasPrefix(port, "tcp://"):
		u, err := url.Parse(port)
		if err != nil || u.Port() == "" || u.Hostname() == "" || u.Path != "" {
			return fmt.Errorf("port %q: want tcp://host:port, such as tcp://192.168.0.10:35000", port)
		}
		return nil
	case strings.HasPrefix(port, "/"):
		return nil
	}
	return fmt.Errorf("port %q: want a device path such as /dev/ttyUSB0, tcp://host:port, or auto", port)
}

// Ports lists the serial ports that an adapter may be behind. Ports that are opened to find out (as
// serial.GetPortsList does) would disturb their users, so /sys is read instead.
func Ports() ([]string, error) {
	var ports []string
	for _, pattern := range []string{"/dev/ttyUSB*", "/dev/ttyACM*", "/dev/rfcomm*", "/dev/ttyAMA*", "/dev/ttyS*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("list serial ports: %w", err)
		}
		ports = append(ports, found...)
	}
	// The kernel's console is nobody's to try.
	console, _ := os.ReadFile("/sys/class/tty/console/active")
	consoles := strings.Fields(string(console))
	return slices.DeleteFunc(ports, func(p string) bool {
		name := filepath.Base(p)
		if slices.Contains(consoles, name) {
			return true
		}
		if !strings.HasPrefix(name, "ttyS") {
			return false
		}
		// Type 0 is a port that the driver has a name for but no hardware.
		kind, err := os.ReadFile("/sys/class/tty/" + name + "/type")
		return err != nil || strings.TrimSpace(string(kind)) == "0"
	}), nil
}

// opened is a port with an adapter behind it.
type opened struct {
	s    *session
	port string
	baud int
	// close gives the port back.
	close func()
}

// open opens the configured port, or finds it, and identifies the adapter.
func (c *Car) open(ctx context.Context) (*opened, error) {
	if c.opt.Dial != nil || c.opt.Port != portAuto {
		return c.openOne(ctx, c.opt.Port, c.known != c.opt.Port, c.opt.Port)
	}
	list, err := c.opt.Candidates()
	if err != nil {
		return nil, fmt.Errorf("list serial ports: %w", err)
	}
	// The one that was right before is most likely right again, and the others are not bothered.
	if c.known != "" && slices.Contains(list, c.known) {
		if o, err := c.openOne(ctx, c.known, true, c.known); err == nil {
			return o, nil
		} else if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	var found []*opened
	var errs []error
	for _, port := range list {
		o, err := c.openOne(ctx, port, true, fmt.Sprintf("%s (%d candidates)", port, len(list)))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, o)
	}
	if len(found) == 1 {
		return found[0], nil
	}
	names := make([]string, 0, len(found))
	for _, o := range found {
		names = append(names, o.port)
		o.close()
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case len(found) > 1:
		return nil, fmt.Errorf("%w: %s; name one of them as the port", ErrSeveral, strings.Join(names, ", "))
	case len(list) == 0:
		return nil, fmt.Errorf("%w: check the adapter's plug, or name the port", ErrNoPort)
	}
	return nil, noneFound(list, errs)
}

// noneFound is why none of some ports has an adapter, of which each has failed. Where all have in the same way that only a person can mend,
// it is that.
func noneFound(ports []string, errs []error) error {
	why := make([]string, len(ports))
	denied := 0
	for i, err := range errs {
		why[i] = ports[i] + ": " + err.Error()
		if errors.Is(err, fs.ErrPermission) {
			denied++
		}
	}
	switch {
	case len(ports) == 1:
		return fmt.Errorf("no adapter found: %s: %w", ports[0], errs[0])
	case denied == len(ports):
		return fmt.Errorf("no adapter found: %s: %w", strings.Join(why, "; "), fs.ErrPermission)
	}
	return fmt.Errorf("%w: %s", ErrNotFound, strings.Join(why, "; "))
}

// claimError is a port that another part of this process has.
type claimError struct {
	port string
	err  error
}

func (e claimError) Error() string        { return e.port + ": " + e.err.Error() }
func (e claimError) Unwrap() error        { return e.err }
func (e claimError) Is(target error) bool { return target == ErrPortBusy }

// openOne opens a port and identifies what is behind it. With listen set it hears first whether the port talks unasked.
func (c *Car) openOne(ctx context.Context, port string, listen bool, shown string) (*opened, error) {
	release := func() {}
	if c.opt.Claim != nil && c.opt.Dial == nil && strings.HasPrefix(port, "/") {
		r, err := c.opt.Claim(port)
		if err != nil {
			return nil, claimError{port, err}
		}
		if r != nil {
			release = r
		}
	}
	conn, err := c.dial(ctx, port)
	if err != nil {
		release()
		return nil, err
	}
	c.update(func(st *Status) { st.Opens++; st.Port = port })
	if !c.mute {
		c.setState(StateProbing, fmt.Sprintf("%s is open; asking who is there", shown))
	}
	if c.opt.Capture != nil {
		conn = tap(conn, c.opt.Capture)
	}
	s := &session{conn: conn, now: c.opt.Now, log: c.opt.Logger, pulse: c.opt.Pulse}
	stop := s.watch(ctx)
	shut := func() {
		stop()
		if err := conn.Close(); err != nil {
			c.opt.Logger.Debug("close port", "port", port, "err", err)
		}
		release()
	}
	if listen {
		if err := s.listen(ctx); err != nil {
			shut()
			return nil, err
		}
	}
	last := c.rememberedBaud(port)
	if last == 0 {
		last = c.lastBaud
	}
	baud, err := s.probe(ctx, c.opt.Baud, last)
	if err != nil {
		shut()
		return nil, err
	}
	if baud > 0 && c.opt.MaxRate <= defaultMaxRate {
		s.perByte = 10 * time.Second / time.Duration(baud)
	}
	return &opened{s: s, port: port, baud: baud, close: shut}, nil
}

func (c *Car) dial(ctx context.Context, port string) (Conn, error) {
	switch {
	case c.opt.Dial != nil:
		conn, err := c.opt.Dial(ctx)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", port, err)
		}
		return conn, nil
	case strings.HasPrefix(port, "tcp://"):
		return dialTCP(ctx, port)
	}
	baud := c.opt.Baud
	if baud == 0 {
		baud = anyBaud
	}
	conn, err := openSerial(port, baud)
	if err != nil {
		return nil, notThere(port, err)
	}
	return conn, nil
}
