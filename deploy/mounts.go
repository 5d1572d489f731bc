package deploy

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
)

// A mount is a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	point  string
	kind   string // of the file system
	upper  string // of an overlay: where its changes are written; empty: nowhere
	number string // its id
}

// parseMounts leaves out what is no such line.
func parseMounts(text string) (mounts []mount) {
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, " - ")
		front, back := strings.Fields(before), strings.Fields(after)
		if len(front) < 6 || len(back) < 3 {
			continue
		}
		m := mount{point: unescape(front[4]), kind: back[0], number: front[0]}
		for option := range strings.SplitSeq(back[2], ",") {
			if upper, ok := strings.CutPrefix(option, "upperdir="); ok {
				m.upper = unescape(upper)
			}
		}
		mounts = append(mounts, m)
	}
	return mounts
}

// unescape undoes the kernel's \040 for what would end a field.
func unescape(field string) string {
	var s strings.Builder
	for {
		before, after, found := strings.Cut(field, `\`)
		s.WriteString(before)
		if !found {
			return s.String()
		}
		if n, err := strconv.ParseUint(after[:min(3, len(after))], 8, 8); err == nil && len(after) >= 3 {
			s.WriteByte(byte(n))
			after = after[3:]
		} else {
			s.WriteByte('\\')
		}
		field = after
	}
}

// mountOf is the mount that a path lies on: the deepest, and of several at one point the last.
func mountOf(mounts []mount, file string) (on mount) {
	for _, m := range mounts {
		if (file == m.point || m.point == "/" || strings.HasPrefix(file, m.point+"/")) && len(m.point) >= len(on.point) {
			on = m
		}
	}
	return on
}

// inMemory says what makes the files of a directory those of this boot only; empty: nothing that can be seen. An overlay whose upper
// directory's mount cannot be seen from here passes: so it is in many containers.
func inMemory(mounts []mount, dir string) string {
	what := ""
	for range mounts { // overlays on overlays
		on := mountOf(mounts, dir)
		switch {
		case on.kind == "tmpfs" || on.kind == "ramfs":
			return what + on.kind
		case on.kind != "overlay" || on.upper == "" || mountOf(mounts, on.upper).number == on.number:
			return ""
		}
		what, dir = "an overlay on ", path.Clean(on.upper)
	}
	return ""
}

// checkLasting refuses to install where a power cut takes it away again, when the seed has been erased.
func (d *disk) checkLasting(mountinfo string) error {
	if mountinfo == "" {
		if d.root.Name() != "/" {
			return nil // an image: whoever mounted it knows where it lies
		}
		text, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return nil //nolint:nilerr // without /proc it cannot be told
		}
		mountinfo = string(text)
	}
	dir := path.Dir(configPath)
	if what := inMemory(parseMounts(mountinfo), dir); what != "" {
		return fmt.Errorf("%s is in memory (%s) and would be gone at the next start: switch the overlay off (Raspberry Pi OS: raspi-config, Performance Options), start once, and switch it on again", dir, what)
	}
	return nil
}
