package bugreport

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// commands are asked where they are there; as root most say more.
var commands = []struct {
	name string
	args []string
}{
	{"journal.txt", []string{"journalctl", "--no-pager", "--output=short-iso", "--unit=obdagent", "--lines=3000"}},
	{"unit.txt", []string{"systemctl", "--no-pager", "status", "obdagent"}},
	{"unit-files.txt", []string{"systemctl", "--no-pager", "cat", "obdagent"}},
	{"dmesg.txt", []string{"dmesg"}},
	{"udev.txt", []string{"udevadm", "info", "--export-db", "--subsystem-match=tty"}},
	{"addresses.txt", []string{"ip", "-brief", "address"}},
	{"routes.txt", []string{"ip", "route"}},
}

// system adds what kernel, disk and ports are like.
func (r *report) system() {
	for _, path := range []string{"/etc/os-release", "/proc/version", "/proc/cmdline", "/proc/uptime", "/proc/loadavg", "/proc/meminfo", "/proc/mounts"} {
		r.file("system/"+filepath.Base(path), path)
	}
	r.add("system/disk.txt", r.disk())
	r.add("system/ttys.txt", ttys("/sys/class/tty"))
	r.add("system/usb.txt", usb("/sys/bus/usb/devices"))
	for _, dir := range []string{"/dev/serial/by-id", "/dev/serial/by-path"} {
		r.list("system/"+filepath.Base(dir)+".txt", dir)
	}
}

func (r *report) disk() string {
	if r.o.Config == nil {
		return ""
	}
	var b strings.Builder
	for _, path := range []string{r.o.Config.Buffer.Dir, filepath.Dir(r.o.Config.Status.Log)} {
		var s unix.Statfs_t
		if err := unix.Statfs(path, &s); err != nil {
			fmt.Fprintf(&b, "%s: %v\n", path, err)
			continue
		}
		size := uint64(s.Bsize)
		fmt.Fprintf(&b, "%s: %d bytes free of %d, %d inodes free of %d, flags %#x\n", path, s.Bavail*size, s.Blocks*size, s.Ffree, s.Files, s.Flags)
	}
	return b.String()
}

// ttys are the serial ports that hardware is behind, each with its driver and its place.
func ttys(class string) string {
	found, err := filepath.Glob(filepath.Join(class, "*", "device", "driver"))
	if err != nil { // only of a bad pattern
		return err.Error()
	}
	var b strings.Builder
	for _, driver := range found {
		device := filepath.Dir(driver)
		name := filepath.Base(filepath.Dir(device))
		of, _ := os.Readlink(driver) // empty where it has gone meanwhile
		place, _ := filepath.EvalSymlinks(device)
		fmt.Fprintf(&b, "%s driver=%s device=%s", name, filepath.Base(of), place)
		if info, err := os.Stat("/dev/" + name); err == nil {
			fmt.Fprintf(&b, " mode=%v", info.Mode())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// usb are the USB devices.
func usb(devices string) string {
	found, err := filepath.Glob(filepath.Join(devices, "*", "idVendor"))
	if err != nil { // only of a bad pattern
		return err.Error()
	}
	var b strings.Builder
	for _, f := range found {
		dir := filepath.Dir(f)
		fmt.Fprint(&b, filepath.Base(dir))
		for _, fact := range []string{"idVendor", "idProduct", "manufacturer", "product", "serial", "speed", "bMaxPower"} {
			if text, err := os.ReadFile(filepath.Join(dir, fact)); err == nil { // not every device has each
				fmt.Fprintf(&b, " %s=%q", fact, strings.TrimSpace(string(text)))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
