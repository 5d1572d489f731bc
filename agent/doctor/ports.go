package doctor

import (
	"path/filepath"
	"slices"

	"obdagent/gps"
	"obdagent/obd"
)

// Ports lists the serial ports of the system that an adapter or a receiver may be behind, by their stable names where they have one.
// None is opened.
func Ports() ([]string, error) {
	ports, err := gps.Ports()
	if err != nil {
		return nil, err
	}
	more, err := obd.Ports()
	if err != nil {
		return nil, err
	}
	for _, p := range more {
		if !slices.ContainsFunc(ports, func(q string) bool { return sameDevice(p, q) }) {
			ports = append(ports, p)
		}
	}
	return ports, nil
}

// sameDevice tells whether two names lead to one device.
func sameDevice(a, b string) bool { return realPath(a) == realPath(b) }

func realPath(name string) string {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		return real
	}
	return name
}
