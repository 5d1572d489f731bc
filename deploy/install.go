package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// InstallOptions say what to install where.
type InstallOptions struct {
	Root    string // the running system's "/", or where an image is mounted
	Program string // the file that becomes /usr/bin/obdagent

	before func(op, file string) error // tests
}

// A Change is what was done with one file, or left.
type Change struct {
	Path string // absolute, within the root
	What string // written, replaced, linked, removed, unchanged, or kept with the reason
}

// manifestPath remembers what an installation put there.
const manifestPath = "/usr/lib/obdagent/installed.json"

// maxManifestBytes bounds what is read as the manifest: a hundred times what it has.
const maxManifestBytes = 256 << 10

// A manifest lists what an installation put onto a root, so that exactly that can be taken away again. It is there, incomplete,
// before the first of it.
type manifest struct {
	Complete bool    `json:"complete"`
	Entries  []entry `json:"entries"`
}

// An entry is a file, a symbolic link or a directory that installing made.
type entry struct {
	Path   string `json:"path"`
	Dir    bool   `json:"dir,omitempty"`
	Target string `json:"target,omitempty"` // of a link
	Sum    string `json:"sha256,omitempty"` // of a file
	Was    string `json:"was,omitempty"`    // the one before, while the manifest is incomplete
}

func (m *manifest) find(file string) *entry {
	for i := range m.Entries {
		if m.Entries[i].Path == file {
			return &m.Entries[i]
		}
	}
	return nil
}

// readManifest returns nil where there is none.
func (d *disk) readManifest() (*manifest, error) {
	text, err := d.read(manifestPath, maxManifestBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	m := new(manifest)
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	if err != nil {
		return nil, fmt.Errorf("read what an earlier installation left in %s: %w", d.name(manifestPath), err)
	}
	return m, nil
}

func (d *disk) writeManifest(m *manifest) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return d.write(manifestPath, append(text, '\n'), 0o644)
}

// Install puts the program, its configuration, and what starts it onto a root, and lists what it did. What is there already
// stays; a configuration that was edited stays as it is. It changes nothing before it knows that all of it can be done, and done
// again it carries on where it was interrupted.
func Install(o InstallOptions) (_ []Change, err error) {
	d, err := openDisk(o.Root, o.before)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	init, err := d.findInit()
	if err != nil {
		return nil, err
	}
	if err := d.packaged(); err != nil {
		return nil, err
	}
	if err := d.masked(); err != nil {
		return nil, err
	}
	program, err := readProgram(o.Program)
	if err != nil {
		return nil, err
	}
	if err := d.checkMachine(program, o.Program); err != nil {
		return nil, err
	}
	old, err := d.readManifest()
	if err != nil {
		return nil, err
	}
	p, err := d.plan(d.layout(init, program), old)
	if err != nil {
		return nil, err
	}
	return p.changes, d.carryOut(p)
}

// packaged refuses a root on which a package put the program.
func (d *disk) packaged() error {
	for _, p := range []struct{ mark, update, remove string }{
		{"/usr/share/obdagent/config.toml", "apt-get install", "apt-get purge"},
		{"/usr/share/licenses/obdagent", "dnf install", "dnf remove"},
		{"/usr/lib/opkg/info/obdagent.list", "opkg install", "opkg remove"},
	} {
		if d.exists(p.mark) {
			return fmt.Errorf("the package obdagent is installed in %s: update it with %s, or remove it with %s obdagent first", d.root.Name(), p.update, p.remove)
		}
	}
	return nil
}

// masked refuses a root on which systemd would start nothing: apt-get remove leaves a package's units like that until purge.
func (d *disk) masked() error {
	for _, unit := range []string{"obdagent.service", "obdagent-seed.service"} {
		file := "/etc/systemd/system/" + unit
		if target, err := d.root.Readlink(rel(file)); err == nil && target == "/dev/null" {
			return fmt.Errorf("%s masks the unit, as apt-get remove does: systemctl unmask %s first, or apt-get purge obdagent, which deletes its records and configuration too", d.name(file), unit)
		}
	}
	return nil
}

// A plan is what installing will do.
type plan struct {
	manifest manifest
	steps    []func() error
	changes  []Change
	obsolete []string // what an earlier version put there and this one does not have
	settled  bool     // nothing is to be done
}

// plan compares what shall be with what is.
func (d *disk) plan(items []item, old *manifest) (*plan, error) {
	p := &plan{settled: old != nil && old.Complete}
	if old == nil {
		old = new(manifest)
	}
	var problems []error
	// The manifest's own directory is there for nothing else.
	p.manifest.Entries = []entry{{Path: path.Dir(manifestPath), Dir: true}}
	for _, it := range items {
		if err := d.writable(it.path); err != nil {
			// Once is enough: most of it is one file system.
			return nil, err
		}
		p.dirs(d, it.path, old)
		var err error
		if it.target != "" {
			err = p.link(d, it, old)
		} else {
			err = p.file(d, it, old)
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	for _, e := range old.Entries {
		switch {
		case p.manifest.find(e.Path) != nil:
		case e.Dir:
			p.manifest.Entries = append(p.manifest.Entries, e)
		default:
			p.obsolete = append(p.obsolete, e.Path)
			p.manifest.Entries = append(p.manifest.Entries, e)
			p.settled = false
		}
	}
	return p, errors.Join(problems...)
}

// dirs plans the directories that a file needs, the outermost first. Those that an earlier installation made are still its.
func (p *plan) dirs(d *disk, file string, old *manifest) {
	for _, dir := range above(file) {
		there := d.exists(dir)
		switch {
		case p.manifest.find(dir) != nil || there && old.find(dir) == nil:
		case there:
			p.manifest.Entries = append(p.manifest.Entries, entry{Path: dir, Dir: true})
		default:
			p.settled = false
			p.manifest.Entries = append(p.manifest.Entries, entry{Path: dir, Dir: true})
			p.steps = append(p.steps, func() error { return d.mkdir(dir) })
		}
	}
}

func (p *plan) file(d *disk, it item, old *manifest) error {
	is, err := d.sum(it.path)
	if err != nil {
		return err
	}
	shall, was := sumOf(it.text), old.find(it.path)
	record := func(sum, before string) {
		p.manifest.Entries = append(p.manifest.Entries, entry{Path: it.path, Sum: sum, Was: before})
	}
	note := func(what string) { p.changes = append(p.changes, Change{it.path, what}) }
	write := func(what string) {
		p.settled = false
		record(shall, is)
		note(what)
		p.steps = append(p.steps, func() error { return d.write(it.path, it.text, it.mode) })
	}
	switch {
	case is == shall:
		if was != nil {
			p.settled = p.settled && was.Sum == shall
			record(shall, "")
		}
		note("unchanged")
	case is == "" && was != nil && it.own && old.Complete:
		record(was.Sum, was.Was)
		note("left out, as it was deleted")
	case is == "":
		write("written")
	case it.own && was != nil && is == was.Sum:
		write("replaced, as it had not been edited")
	case it.own:
		if was != nil {
			record(was.Sum, was.Was)
		}
		note("kept as it is")
	case was != nil && (is == was.Sum || is == was.Was):
		write("replaced")
	case was != nil:
		write("replaced, though it had been changed since it was installed")
	default:
		return fmt.Errorf("%s is there already, and is not from here: move it away first", d.name(it.path))
	}
	return nil
}

func (p *plan) link(d *disk, it item, old *manifest) error {
	was := old.find(it.path)
	record := func() { p.manifest.Entries = append(p.manifest.Entries, entry{Path: it.path, Target: it.target}) }
	note := func(what string) { p.changes = append(p.changes, Change{it.path, what}) }
	_, err := d.root.Lstat(rel(it.path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	target, err := d.root.Readlink(rel(it.path))
	switch {
	case err == nil && path.Base(target) == path.Base(it.target):
		// systemctl enable writes the same with another path on some systems.
		if was != nil {
			record()
		}
		note("unchanged")
	case errors.Is(err, fs.ErrNotExist) && was != nil && old.Complete:
		record()
		note("left out, as it was disabled")
	case errors.Is(err, fs.ErrNotExist):
		p.settled = false
		record()
		note("linked")
		p.steps = append(p.steps, func() error { return d.link(it.path, it.target) })
	default:
		return fmt.Errorf("%s is there already, and is not from here: move it away first", d.name(it.path))
	}
	return nil
}

func (d *disk) carryOut(p *plan) error {
	if p.settled {
		return nil
	}
	if err := d.makeDirs(manifestPath); err != nil {
		return err
	}
	if err := d.writeManifest(&p.manifest); err != nil {
		return err
	}
	for _, step := range p.steps {
		if err := step(); err != nil {
			return err
		}
	}
	for _, file := range p.obsolete {
		e := p.manifest.find(file)
		change, err := d.takeAway(e)
		if err != nil {
			return err
		}
		p.changes = append(p.changes, change)
	}
	p.manifest.Entries = slices.DeleteFunc(p.manifest.Entries, func(e entry) bool { return slices.Contains(p.obsolete, e.Path) })
	for i := range p.manifest.Entries {
		p.manifest.Entries[i].Was = ""
	}
	p.manifest.Complete = true
	return d.writeManifest(&p.manifest)
}

// takeAway removes what an entry stands for, if it still is what was installed.
func (d *disk) takeAway(e *entry) (Change, error) {
	change := Change{Path: e.Path, What: "removed"}
	if err := d.removeUnfinished(e.Path); err != nil {
		return change, err
	}
	if !d.exists(e.Path) {
		change.What = "gone already"
		return change, nil
	}
	switch {
	case e.Dir:
		err := d.remove(e.Path)
		if errors.Is(err, syscall.ENOTEMPTY) {
			change.What, err = "kept, as it is not empty", nil
		}
		return change, err
	case e.Target != "":
		if target, err := d.root.Readlink(rel(e.Path)); err != nil || path.Base(target) != path.Base(e.Target) {
			change.What = "kept, as it is not the link that was installed"
			return change, nil
		}
	default:
		is, err := d.sum(e.Path)
		if err != nil {
			return change, err
		}
		if is != e.Sum && is != e.Was {
			change.What = "kept, as it was changed since it was installed"
			return change, nil
		}
	}
	return change, d.remove(e.Path)
}

// MachineIDSet reports whether an image that many boards are to be flashed from has a machine id: they would all have the
// same, and with it the same device id.
func MachineIDSet(root string) bool {
	d, err := openDisk(root, nil)
	if err != nil {
		return false
	}
	text, err := d.read("/etc/machine-id", 1<<10)
	id := strings.TrimSpace(string(text))
	return errors.Join(err, d.close()) == nil && id != "" && id != "uninitialized" // machine-id(5)
}
