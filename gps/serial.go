package gps

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// speeds are tried in this order after the one that worked last: today's defaults first, then the standard's 4800, then
// what is rare.
var speeds = []int{9600, 115200, 4800, 38400, 57600, 19200, 230400}

// device is a serial device of the system. The library sets the line up; bytes go through a second descriptor and the runtime's
// poller, so that a Read wakes nobody until there is something, takes no thread, and ends with Close. (The library's Read keeps a
// thread in a select, and can be closed safely only with a timeout that wakes it several times a second, also in a parked van.)
type device struct {
	port  serial.Port
	bytes *os.File
}

func openDevice(name string, baud int) (SerialPort, error) {
	// First, as the library then keeps others out (TIOCEXCL), which would be us.
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	port, err := serial.Open(name, mode(baud))
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &device{port: port, bytes: os.NewFile(uintptr(fd), name)}, nil
}

// Read implements SerialPort.
func (d *device) Read(p []byte) (int, error) { return d.bytes.Read(p) }

// Write implements SerialPort.
func (d *device) Write(p []byte) (int, error) {
	if err := d.bytes.SetWriteDeadline(time.Now().Add(writeDeadline)); err != nil {
		return 0, fmt.Errorf("set write deadline: %w", err)
	}
	return d.bytes.Write(p)
}

// Close implements SerialPort.
func (d *device) Close() error { return errors.Join(d.bytes.Close(), d.port.Close()) }

func mode(baud int) *serial.Mode {
	return &serial.Mode{BaudRate: baud, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit}
}

// SetSpeed implements SerialPort.
func (d *device) SetSpeed(baud int) error {
	if err := d.port.SetMode(mode(baud)); err != nil {
		return err
	}
	return d.port.ResetInputBuffer()
}

// ignoresSpeed reports whether a device takes and sends bytes at any line speed: pseudo terminals, and USB devices of the
// communications class. Silence or nonsense there is not a matter of speed.
func ignoresSpeed(name string) bool {
	name = realDevice(name)
	return strings.HasPrefix(name, "/dev/pts/") || strings.HasPrefix(name, "/dev/ttyACM")
}

// realDevice resolves the stable names of udev (/dev/serial/by-id/...) to the device.
func realDevice(name string) string {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		return real
	}
	return name
}

// busyAdvice is what a person can do about a port in use.
const busyAdvice = " is in use by another program (gpsd, ModemManager or a getty often hold it): obdagent doctor names it; stop it, or read a gpsd through gpsd://"

// permissionAdvice is what a person can do about a port that may not be opened.
const permissionAdvice = ": no permission; add the user to the group that owns the device (often dialout)"

// kindAdvice is what a person can do about a port of a kind that the unit's device cgroup does not list.
const kindAdvice = ": not permitted; the service may not use devices of this kind: allow it with DeviceAllow= (systemctl edit obdagent)"

// openReason says for a person why a serial device cannot be opened.
func openReason(name string, err error) string {
	var p *serial.PortError
	if errors.As(err, &p) {
		switch p.Code() {
		case serial.PortBusy:
			return name + busyAdvice
		case serial.PermissionDenied:
			return name + permissionAdvice
		case serial.InvalidSerialPort:
			return name + " is not a serial port; name the receiver's in gps.source"
		case serial.InvalidSpeed:
			return name + " does not take this line speed"
		}
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return name + busyAdvice
	case errors.Is(err, unix.EPERM):
		return name + kindAdvice
	case errors.Is(err, fs.ErrPermission):
		return name + permissionAdvice
	case errors.Is(err, unix.EISDIR):
		return name + " is a directory; name the receiver's serial port in gps.source"
	}
	return fmt.Sprintf("%s: %v", name, err)
}

// Ports returns the serial ports of the system, by their stable names where udev gives them one, without opening any: opening a
// port that another program uses would change its line speed.
func Ports() ([]string, error) { return portsUnder("/") }

// portsUnder returns the serial ports of the system with the given root. Ports that the kernel writes its console to are
// left out, as are UARTs that do not exist.
func portsUnder(root string) ([]string, error) {
	class := filepath.Join(root, "sys/class/tty")
	console, err := os.ReadFile(filepath.Join(class, "console/active"))
	if err != nil {
		console = nil // a container: no console to keep off
	}
	consoles := strings.Fields(string(console))
	links := stableNames(root)
	var ports []string
	for _, pattern := range []string{"ttyUSB*", "ttyACM*", "ttyAMA*", "ttymxc*", "ttyO*", "ttySC*", "ttyS[0-9]*"} {
		found, err := filepath.Glob(filepath.Join(root, "dev", pattern))
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", pattern, err)
		}
		for _, name := range found {
			tty := filepath.Base(name)
			// Type 0 is PORT_UNKNOWN: a number that the driver reserves, without a UART (Documentation/ABI/testing/sysfs-tty).
			kind, err := os.ReadFile(filepath.Join(class, tty, "type"))
			if err == nil && strings.TrimSpace(string(kind)) == "0" && strings.HasPrefix(tty, "ttyS") || slices.Contains(consoles, tty) {
				continue
			}
			if link, ok := links[tty]; ok {
				name = link
			}
			ports = append(ports, name)
		}
	}
	return ports, nil
}

// stableNames returns the names that stay with a device or its socket, by the kernel's name of the device. The device's
// own come first; adapters without a serial number share one, which then leads to one of them only, and the others go by
// their socket.
func stableNames(root string) map[string]string {
	names := make(map[string]string)
	for _, dir := range []string{"by-id", "by-path"} {
		links, err := filepath.Glob(filepath.Join(root, "dev/serial", dir, "*"))
		if err != nil {
			continue // not reached: the pattern is well formed
		}
		for _, link := range links {
			target, err := os.Readlink(link)
			if err != nil {
				continue // gone in the meantime
			}
			if tty := filepath.Base(target); names[tty] == "" {
				names[tty] = link
			}
		}
	}
	return names
}
