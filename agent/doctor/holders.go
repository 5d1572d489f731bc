package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Holder is a process that has a port open.
type Holder struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`           // of the program
	Unit string `json:"unit,omitempty"` // of systemd, that it belongs to
	Free string `json:"free"`           // the command that makes it let go
}

func (h Holder) String() string { return fmt.Sprintf("%s (process %d)", h.Name, h.PID) }

// Holders says who has a device open, this process left out. It reads proc, mostly /proc. all is false where some processes did not
// show their files: then there may be others.
func Holders(proc, device string) (holders []Holder, all bool) {
	want, ok := deviceOf(device)
	if !ok {
		return nil, true
	}
	holders, all = processes(proc, func(link, target string) bool {
		if !strings.HasPrefix(target, "/dev/") {
			return false
		}
		is, ok := deviceOf(link)
		return ok && is == want
	})
	return slices.DeleteFunc(holders, func(h Holder) bool { return otherEnd(filepath.Join(proc, strconv.Itoa(h.PID)), device) }), all
}

// otherEnd tells whether a process is the other end of a pseudo-terminal, as a simulator is: it keeps the port open so that it stays.
// A master's fdinfo names its terminal (proc(5)).
func otherEnd(dir, device string) bool {
	number, ok := strings.CutPrefix(realPath(device), "/dev/pts/")
	if !ok {
		return false
	}
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(files, func(f os.DirEntry) bool {
		target, err := os.Readlink(filepath.Join(dir, "fd", f.Name()))
		return err == nil && strings.HasSuffix(target, "/ptmx") &&
			slices.Contains(strings.Split(read(filepath.Join(dir, "fdinfo", f.Name())), "\n"), "tty-index:\t"+number)
	})
}

// A deviceID tells character devices apart, whatever their names.
type deviceID struct {
	number uint64 // st_rdev
	within uint64 // st_dev of a pseudo-terminal: each container has a /dev/pts of its own, with the same numbers
}

func deviceOf(path string) (deviceID, bool) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return deviceID{}, false
	}
	id := deviceID{number: uint64(st.Rdev)}
	// 136 to 143 are the pseudo-terminals (Documentation/admin-guide/devices.txt).
	if major := unix.Major(id.number); major >= 136 && major <= 143 {
		id.within = uint64(st.Dev)
	}
	return id, true
}

// processes are those that have a file open for which has says so.
func processes(proc string, has func(link, target string) bool) (found []Holder, all bool) {
	all = true
	dirs, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	if err != nil {
		return nil, false // not reached: the pattern is well formed
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		files, err := os.ReadDir(filepath.Join(dir, "fd"))
		if os.IsPermission(err) {
			all = false
		}
		if slices.ContainsFunc(files, func(f os.DirEntry) bool {
			link := filepath.Join(dir, "fd", f.Name())
			target, err := os.Readlink(link)
			return err == nil && has(link, target)
		}) {
			found = append(found, holder(dir, pid))
		}
	}
	return found, all
}

func holder(dir string, pid int) Holder {
	h := Holder{PID: pid, Name: "a program", Unit: unit(dir)}
	if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		h.Name = strings.TrimSpace(string(comm))
	}
	h.Free = free(h)
	return h
}

// unit is the systemd service that a process belongs to, by its control group (systemd.special(7)); empty if it is none.
func unit(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		for part := range strings.SplitSeq(strings.TrimSpace(line), "/") {
			// A service of a user's own manager is not the system's to stop, and its manager's unit is not the culprit.
			if strings.HasSuffix(part, ".service") && !strings.HasPrefix(part, "user@") {
				return part
			}
		}
	}
	return ""
}

// free is the one command that makes a program let go of a port, and not take it again.
func free(h Holder) string {
	switch {
	case h.Name == "gpsd":
		return "systemctl disable --now gpsd.socket gpsd.service" // its socket would start it again
	case h.Name == "ModemManager":
		return "systemctl disable --now ModemManager.service"
	case h.Name == "brltty":
		return "systemctl mask --now brltty.service brltty-udev.service" // a udev rule starts the latter
	case strings.HasPrefix(h.Unit, "serial-getty@"), strings.HasPrefix(h.Unit, "getty@"):
		return "systemctl mask --now " + h.Unit // a generator wants it for a console
	case h.Unit != "":
		return "systemctl stop " + h.Unit
	}
	return fmt.Sprintf("kill %d", h.PID)
}

// brailleDriver is a brltty that has a USB device open itself: it takes cheap USB serial chips for braille displays, and their
// ports vanish.
func brailleDriver(proc string) (Holder, bool) {
	found, _ := processes(proc, func(_, target string) bool { return strings.HasPrefix(target, "/dev/bus/usb/") })
	i := slices.IndexFunc(found, func(h Holder) bool { return h.Name == "brltty" })
	if i < 0 {
		return Holder{}, false
	}
	return found[i], true
}
