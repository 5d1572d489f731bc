package deploy

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// UninstallOptions say what to take away from where.
type UninstallOptions struct {
	Root  string // as for Install
	Purge bool   // the configuration, secrets, records and logs too
	// Stop stops the daemon, once it is sure that this installation may be taken away; nil: nothing runs there.
	Stop func() error

	before func(op, file string) error // tests
}

// What obdagent detect writes beside the configuration, whose obd.port and gps.source name the links that it makes: it goes when that goes.
const (
	PortRules     = "/etc/udev/rules.d/71-obdagent-ports.rules"
	PortRulesMark = "# Written by obdagent detect." // its beginning
	maxRulesBytes = 64 << 10
)

// data are what the daemon and its owner keep on a board, in the order in which they go when all shall go: secrets first.
var data = []string{
	"/etc/obdagent", "/etc/default/obdagent", PortRules,
	// DynamicUser= keeps its directories in private, and links to them.
	"/var/lib/private/obdagent", "/var/lib/obdagent", "/var/log/private/obdagent", "/var/log/obdagent",
	"/srv/obdagent", // OpenWrt
}

// Uninstall takes away what Install put onto a root, and nothing else: what was changed since stays, unless Purge says that
// all data goes. Done again it carries on where it was interrupted. Without anything to take away the list is empty.
func Uninstall(o UninstallOptions) (changes []Change, err error) {
	d, err := openDisk(o.Root, o.before)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if _, err := d.findInit(); err != nil {
		return nil, err
	}
	m, err := d.readManifest()
	if err != nil {
		return nil, err
	}
	// What a package put there, its package manager takes away.
	if err := d.packaged(); err != nil {
		return nil, err
	}
	if m != nil {
		if err := d.writable(manifestPath); err != nil {
			return nil, err
		}
		if o.Stop != nil {
			if err := o.Stop(); err != nil {
				return nil, err
			}
		}
		if changes, err = d.takeAllAway(m); err != nil {
			return changes, err
		}
	}
	// Also where a power cut has left just that.
	if err := d.removeUnfinished(manifestPath); err != nil {
		return changes, err
	}
	if own := path.Dir(manifestPath); d.isDir(own) {
		change, err := d.takeAway(&entry{Path: own, Dir: true})
		if err != nil {
			return changes, err
		}
		changes = append(changes, change)
	}
	if !o.Purge {
		return changes, nil
	}
	for _, file := range data {
		if !d.exists(file) {
			continue
		}
		if file == PortRules {
			if text, err := d.read(file, maxRulesBytes); err != nil || !strings.HasPrefix(string(text), PortRulesMark) {
				changes = append(changes, Change{file, "kept, as obdagent detect has not written it"})
				continue
			}
		}
		if err := d.removeAll(file); err != nil {
			return changes, err
		}
		changes = append(changes, Change{file, "removed"})
	}
	return changes, nil
}

// takeAllAway goes backwards, as directories stand before what is in them: what starts the daemon first, the program last; and
// after all of them the manifest.
func (d *disk) takeAllAway(m *manifest) (changes []Change, err error) {
	for i := len(m.Entries) - 1; i >= 0; i-- {
		e := &m.Entries[i]
		if e.Path == path.Dir(manifestPath) {
			continue
		}
		change, err := d.takeAway(e)
		if err != nil {
			return changes, err
		}
		changes = append(changes, change)
	}
	return changes, d.remove(manifestPath)
}

// removeAll removes a directory with all in it, or a file; of a symbolic link the link.
func (d *disk) removeAll(file string) error {
	if err := d.before("remove all", file); err != nil {
		return err
	}
	if err := d.root.RemoveAll(rel(file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.sync(path.Dir(file))
}

// Installed reports whether Install has put something onto a root.
func Installed(root string) bool {
	d, err := openDisk(root, nil)
	if err != nil {
		return false
	}
	there := d.exists(manifestPath)
	return errors.Join(err, d.close()) == nil && there
}
