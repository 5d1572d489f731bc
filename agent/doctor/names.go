package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// name fills in what udev knows of a device: its number, its socket, and the name that stays.
func (f *Found) name(root string) {
	known := udevOf(root, f.Device)
	f.Serial, f.IDPath = known["ID_SERIAL_SHORT"], known["ID_PATH"]
	switch {
	case f.Serial != "":
		f.Stable = linkTo(filepath.Join(root, "dev/serial/by-id"), f.Device)
	case f.IDPath != "":
		f.Stable = linkTo(filepath.Join(root, "dev/serial/by-path"), f.Device)
	}
	if root != "/" {
		f.Stable = strings.TrimPrefix(f.Stable, strings.TrimSuffix(root, "/"))
	}
}

// udevOf reads udev's database of a character device: the lines E:KEY=VALUE of /run/udev/data/c<major>:<minor>.
func udevOf(root, device string) map[string]string {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return nil
	}
	number := uint64(st.Rdev)
	text, err := os.ReadFile(filepath.Join(root, "run/udev/data", fmt.Sprintf("c%d:%d", unix.Major(number), unix.Minor(number))))
	if err != nil {
		return nil // no udev: a container, or a system with mdev
	}
	return udevProperties(string(text))
}

func udevProperties(text string) map[string]string {
	known := map[string]string{}
	for line := range strings.Lines(text) {
		if property, ok := strings.CutPrefix(strings.TrimSpace(line), "E:"); ok {
			key, value, _ := strings.Cut(property, "=")
			known[key] = value
		}
	}
	return known
}

// linkTo is the link in dir that leads to a device; empty if there is none.
func linkTo(dir, device string) string {
	links, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, l := range links {
		link := filepath.Join(dir, l.Name())
		if realPath(link) == device {
			return link
		}
	}
	return ""
}

// RulesFile is where the rules of [Rules] belong: behind the package's own, which they complete.
const RulesFile = "/etc/udev/rules.d/71-obdagent-ports.rules"

const rulesHead = "# Written by obdagent detect. Who plugs them into other sockets runs it again.\n"

// Rules are udev rules that give adapter and receiver the names /dev/obd and /dev/gps by the socket they are plugged into, for those that
// have no serial number to be told by, as CH340 and cloned CP2102. before is what the file holds: of it stays the rule of whichever of
// the two is nil, and what somebody else wrote. named are the names to configure, by port; text is empty if no rule is needed.
func Rules(before string, adapter, receiver *Found) (text string, named map[string]string) {
	named = map[string]string{}
	kept := strings.ReplaceAll(before, rulesHead, "")
	for _, x := range []struct {
		f    *Found
		link string
	}{{adapter, "obd"}, {receiver, "gps"}} {
		if x.f == nil {
			continue
		}
		kept = withoutRule(kept, x.link)
		switch {
		case x.f.Serial == "" && safeIDPath(x.f.IDPath):
			text += fmt.Sprintf("# %s: no serial number, so it is known by its socket\n"+
				"ACTION!=\"remove\", SUBSYSTEM==\"tty\", ENV{ID_PATH}==\"%s\", %s, ENV{ID_MM_PORT_IGNORE}=\"1\"\n", x.f.Kind, x.f.IDPath, ruleLink(x.link))
			named[x.f.Port] = "/dev/" + x.link
		case x.f.Stable != "":
			named[x.f.Port] = x.f.Stable
		default:
			named[x.f.Port] = x.f.Port
		}
	}
	if text = kept + text; text != "" {
		text = rulesHead + text
	}
	return text, named
}

func ruleLink(link string) string { return `SYMLINK+="` + link + `"` }

// withoutRule takes the rule that gives a link out of a text, and the comment above it.
func withoutRule(text, link string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") && strings.Contains(line, ruleLink(link)) {
			if n := len(kept); n > 0 && strings.HasPrefix(kept[n-1], "#") {
				kept = kept[:n-1]
			}
			continue
		}
		kept = append(kept, strings.TrimSuffix(line, "\n")+"\n")
	}
	return strings.Join(kept, "")
}

// safeIDPath tells whether a name of udev can stand in a rule: it comes from a device's descriptors.
func safeIDPath(path string) bool {
	for _, r := range path {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`"\*?[]|{}$`, r) {
			return false
		}
	}
	return path != ""
}
