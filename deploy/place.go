package deploy

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
)

// PlaceOptions say which board's files go onto which image.
type PlaceOptions struct {
	Root string // where the image's root partition is mounted; obdagent is installed in it
	From string // the directory that holds a board's seed
	// Config is as for TakeSeed.
	Config  func(name string, text []byte) error
	Replace bool // also where another board's certificate is

	before func(op, file string) error // tests
}

// placedDir holds a seed whole, or is not there: where Place was stopped, the next of Place and TakeSeed goes on. It lies where the
// files belong, so that a board takes it over before its daemon starts.
const placedDir = "/etc/obdagent/seed"

// Place puts a board's seed onto an image, where a board that boots from it would have it in the end: the same files, modes and
// checks as TakeSeed's, and its work. Stopped at any moment it has done nothing, or what the board's next boot finishes. Done
// again it changes nothing.
func Place(o PlaceOptions) (changes []Change, err error) {
	d, err := openDisk(o.Root, o.before)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	seeds, err := seedsOf(o.From)
	if err != nil {
		return nil, err
	}
	if err := d.placeable(seeds, o.Replace); err != nil {
		return nil, err
	}
	if len(seeds) == 0 {
		return nil, fmt.Errorf("%s holds no %s, %s and %s", o.From, SeedConfig, SeedCert, SeedKey)
	}
	if err := d.checkSeeds(seeds, o.Config); err != nil {
		return nil, err
	}
	if err := d.eraseUsed(); err != nil {
		return nil, err
	}
	// What was stopped is finished, also where it was another board's: between two boards there is no third.
	if changes, err = d.takePlaced(d.findSeeds(placedDir)); err != nil {
		return changes, err
	}
	if !slices.ContainsFunc(seeds, func(s seed) bool { return !d.isPlaced(s) }) {
		for _, s := range seeds {
			if !slices.ContainsFunc(changes, func(c Change) bool { return c.Path == s.dest }) {
				changes = append(changes, Change{s.dest, "unchanged"})
			}
		}
		return changes, nil
	}
	if err := d.stage(seeds); err != nil {
		return nil, err
	}
	for i := range seeds {
		seeds[i].dir = placedDir
	}
	return d.takePlaced(seeds)
}

// takePlaced installs what lies in placedDir, and takes that away.
func (d *disk) takePlaced(seeds []seed) (changes []Change, err error) {
	for _, s := range seeds {
		if s.problem != nil {
			return nil, s.problem
		}
	}
	if len(seeds) > 0 {
		changes, err = d.take(seeds)
	}
	if err == nil {
		err = d.removePlaced()
	}
	// Nobody put them there to see them erased.
	return slices.DeleteFunc(changes, func(c Change) bool { return path.Dir(c.Path) == placedDir }), err
}

// Check says why Place would refuse, as far as that can be told before From has the board's files. It changes nothing.
func (o PlaceOptions) Check() (err error) {
	d, err := openDisk(o.Root, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	seeds, err := seedsOf(o.From)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.placeable(seeds, o.Replace)
}

// seedsOf reads the seed in a directory.
func seedsOf(dir string) (_ []seed, err error) {
	from, err := openDisk(dir, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	return from.findSeeds("/"), nil
}

// placeable says why a seed must not be put onto a root.
func (d *disk) placeable(seeds []seed, replace bool) error {
	if _, err := d.findInit(); err != nil {
		return err
	}
	m, err := d.readManifest()
	switch {
	case err != nil:
		return err
	case !d.exists(programPath), m != nil && !m.Complete:
		return fmt.Errorf("%s has no obdagent, or half of one: obdagent install --root %s first", d.root.Name(), d.root.Name())
	}
	if err := d.masked(); err != nil {
		return err
	}
	if err := d.writable(path.Join(placedDir, SeedKey)); err != nil {
		return err
	}
	mine := func(dest string, text []byte) bool {
		return slices.ContainsFunc(seeds, func(s seed) bool { return s.dest == dest && bytes.Equal(s.text, text) })
	}
	// It would be taken over at the next boot, and take the place of this one.
	for _, s := range d.findSeeds(BootDirs...) {
		if !mine(s.dest, s.text) {
			return fmt.Errorf("%s waits for the board's next boot, and is another than the one to place: take it away first", s.name)
		}
	}
	if replace {
		return nil
	}
	there := d.findSeeds(placedDir)
	for _, dest := range []string{certPath, keyPath} {
		text, err := d.read(dest, maxSeedBytes)
		if err == nil {
			there = append(there, seed{seedFile: seedFile{dest: dest}, name: d.name(dest), text: text})
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, s := range there {
		if !mine(s.dest, s.text) && (s.dest == certPath || s.dest == keyPath) {
			return fmt.Errorf("%s is another's%s: give --replace if this card shall be another board from now on", s.name, ownerOf(s.text))
		}
	}
	return nil
}

// ownerOf says whose a certificate is, to follow a noun; empty where that cannot be told.
func ownerOf(text []byte) string {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return ""
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil || certificate.Subject.CommonName == "" {
		return ""
	}
	return fmt.Sprintf(" (%.64q)", certificate.Subject.CommonName)
}

// isPlaced reports whether a file is installed as it shall be.
func (d *disk) isPlaced(s seed) bool {
	text, err := d.read(s.dest, maxSeedBytes)
	if err != nil || !bytes.Equal(text, s.text) {
		return false
	}
	info, err := d.root.Lstat(rel(s.dest))
	if err != nil || info.Mode() != s.mode {
		return false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == os.Geteuid()
}

// stage makes placedDir with a seed in it, in one step.
func (d *disk) stage(seeds []seed) error {
	if err := d.makeDirs(placedDir); err != nil {
		return err
	}
	if d.exists(placedDir) {
		return fmt.Errorf("%s holds what is none of a seed: look at it, and take it away", d.name(placedDir))
	}
	placing := unfinished(placedDir)
	if err := d.mkdir(placing); err != nil {
		return err
	}
	// Root alone looks into it.
	if err := d.root.Chmod(rel(placing), 0o700); err != nil {
		return err
	}
	for _, s := range seeds {
		if err := d.write(path.Join(placing, s.seed), s.text, 0o600); err != nil {
			return err
		}
	}
	if err := d.before("rename", placedDir); err != nil {
		return err
	}
	if err := d.root.Rename(rel(placing), rel(placedDir)); err != nil {
		return err
	}
	return d.sync(path.Dir(placedDir))
}

// removePlacing removes what Place was stopped in the middle of writing: it may hold a key.
func (d *disk) removePlacing() error {
	placing := unfinished(placedDir)
	if !d.isDir(placing) {
		return nil
	}
	for _, f := range seedFiles {
		for _, file := range []string{path.Join(placing, f.seed), unfinished(path.Join(placing, f.seed))} {
			if !d.exists(file) {
				continue
			}
			if err := d.wipe(file); err != nil {
				return err
			}
		}
	}
	return d.remove(placing)
}

// removePlaced removes placedDir once its seed is installed and erased. What is none of a seed stays.
func (d *disk) removePlaced() error {
	if !d.isDir(placedDir) {
		return nil
	}
	if note := path.Join(placedDir, seedErrors); d.exists(note) {
		if err := d.remove(note); err != nil {
			return err
		}
	}
	if err := d.remove(placedDir); !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}
