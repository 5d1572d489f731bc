package deploy

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// SeedOptions say where a board's seed is looked for.
type SeedOptions struct {
	Root string // "/"
	// Config says what is wrong with a configuration; name is for its messages.
	Config func(name string, text []byte) error

	before func(op, file string) error // tests
	mounts string                      // tests: in place of /proc/self/mountinfo
}

// BootDirs are where a boot partition is mounted, in the order in which they are looked into: Raspberry Pi OS since 2023, before,
// and boards that boot by EFI.
var BootDirs = []string{"/boot/firmware", "/boot", "/boot/efi"}

// seedDirs are all in which a seed can lie: before what a technician drops, what Place was stopped with.
var seedDirs = append([]string{placedDir}, BootDirs...)

// The files of a seed that make a board a certain one, by their names.
const (
	SeedConfig = "obdagent.toml"
	SeedCert   = "obdagent-cert.pem"
	SeedKey    = "obdagent-key.pem"
)

// A seedFile is one that a technician drops onto the boot partition.
type seedFile struct {
	seed string // its name there
	dest string // where it belongs
	mode fs.FileMode
}

// The configuration holds no secrets, and the daemon, which is a user of its own, reads it itself; the others are handed over by
// systemd (LoadCredential=).
var seedFiles = []seedFile{
	{SeedConfig, configPath, 0o644},
	{SeedCert, certPath, 0o600},
	{SeedKey, keyPath, 0o600},
	{"obdagent-credentials", "/etc/obdagent/credentials", 0o600},
}

const (
	// maxSeedBytes bounds what is read of a seed: as much as of a configuration.
	maxSeedBytes = 256 << 10
	// windowsSuffix is what an editor on Windows puts behind the name.
	windowsSuffix = ".txt"
	// usedSuffix marks a seed that is installed and only waits to be erased.
	usedSuffix = ".used"
	// newSuffix marks what obdfleet enroll --boot was stopped in the middle of writing.
	newSuffix = ".new"
	// seedErrors lies beside a seed that was refused: a card can be read where the board's journal cannot.
	seedErrors = "obdagent-error.txt"
)

// A seed is what was found of a seedFile.
type seed struct {
	seedFile
	dir     string
	name    string // where it was found, as the user knows it
	text    []byte
	problem error // why it was not even read
}

// TakeSeed looks for a seed on the boot partition: a configuration, a certificate with its key, or a file of AWS credentials.
// What it finds it checks as a whole, installs below /etc/obdagent and erases, and lists that. At any moment of it a power cut
// leaves each of them where it was, or where it belongs, or both; the next start carries on. A seed that is wrong stays, as does all that is installed, and the reason stands in
// obdagent-error.txt beside it. So does one of the boot partition on a board whose /etc/obdagent is in memory.
func TakeSeed(o SeedOptions) (changes []Change, err error) {
	d, err := openDisk(o.Root, o.before)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.eraseUsed(); err != nil {
		return nil, err
	}
	seeds := d.findSeeds(seedDirs...)
	if len(seeds) == 0 {
		return nil, d.removePlaced()
	}
	note := path.Join(seeds[0].dir, seedErrors)
	if seeds[0].dir != placedDir { // what was placed onto the image is there again at each start, as is what it is for
		err = d.checkLasting(o.mounts)
	}
	if err == nil {
		err = d.checkSeeds(seeds, o.Config)
	}
	if err != nil {
		text := "This seed was not taken over:\r\n\r\n" + strings.ReplaceAll(err.Error(), "\n", "\r\n") + "\r\n"
		return nil, errors.Join(err, d.write(note, []byte(text), 0o644))
	}
	if changes, err = d.take(seeds); err != nil {
		return changes, err
	}
	if d.exists(note) {
		err = d.remove(note)
	}
	return changes, errors.Join(err, d.removePlaced())
}

// take installs seeds that were found good, and erases them.
func (d *disk) take(seeds []seed) (changes []Change, err error) {
	if changes, err = d.installSeeds(seeds); err != nil {
		return changes, err
	}
	// From here on all of them are installed for good.
	for _, s := range seeds {
		if err := d.erase(path.Join(s.dir, s.seed)); err != nil {
			return changes, fmt.Errorf("%s is installed, but cannot be erased here: %w", s.seed, err)
		}
		changes = append(changes, Change{path.Join(s.dir, s.seed), "erased"})
	}
	return changes, nil
}

// findSeeds reads the seeds of the first directory that has any.
func (d *disk) findSeeds(dirs ...string) (seeds []seed) {
	for _, dir := range dirs {
		for _, f := range seedFiles {
			file := path.Join(dir, f.seed)
			text, err := d.read(file, maxSeedBytes)
			if errors.Is(err, fs.ErrNotExist) {
				if !d.exists(file + windowsSuffix) {
					continue
				}
				err = fmt.Errorf("%s: Windows has added %s, which it does not show: rename it to %s", d.name(file+windowsSuffix), windowsSuffix, f.seed)
			}
			// Editors on Windows put a mark before a text.
			seeds = append(seeds, seed{f, dir, d.name(file), bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), err})
		}
		if len(seeds) > 0 {
			break
		}
	}
	return seeds
}

// checkSeeds says all that is wrong with a set of seeds, each beside what is installed already.
func (d *disk) checkSeeds(seeds []seed, config func(string, []byte) error) error {
	var problems []error
	effective := func(dest string) (text []byte, name string) {
		if i := slices.IndexFunc(seeds, func(s seed) bool { return s.dest == dest }); i >= 0 {
			return seeds[i].text, seeds[i].name
		}
		text, err := d.read(dest, maxSeedBytes)
		if err != nil {
			return nil, ""
		}
		return text, d.name(dest)
	}
	pair := false
	for _, s := range seeds {
		if s.problem != nil {
			problems = append(problems, s.problem)
			continue
		}
		switch s.seed {
		case SeedConfig:
			problems = append(problems, config(s.name, s.text))
		case "obdagent-credentials":
			problems = append(problems, checkCredentials(s.name, s.text))
		default:
			pair = true
		}
	}
	if pair {
		cert, certName := effective(certPath)
		key, keyName := effective(keyPath)
		problems = append(problems, checkPair(cert, certName, key, keyName))
	}
	return errors.Join(problems...)
}

// checkPair says what is wrong with a certificate and its private key.
func checkPair(cert []byte, certName string, key []byte, keyName string) error {
	switch {
	case cert == nil:
		return fmt.Errorf("%s: there is no %s to it: put the certificate beside it", keyName, SeedCert)
	case key == nil:
		return fmt.Errorf("%s: there is no %s to it: put the private key beside it", certName, SeedKey)
	}
	for _, f := range []struct {
		name, want string
		text       []byte
	}{{certName, "CERTIFICATE", cert}, {keyName, "PRIVATE KEY", key}} {
		if err := checkPEM(f.name, f.want, f.text); err != nil {
			return err
		}
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return fmt.Errorf("%s and %s: %w", certName, keyName, err)
	}
	return nil
}

// checkPEM says what is wrong with a file that is to hold something in PEM (RFC 7468), perhaps behind something else: openssl
// writes a curve's parameters before a key.
func checkPEM(name, want string, text []byte) error {
	first := ""
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		switch {
		case block == nil && first == "":
			return fmt.Errorf("%s is no PEM file: it begins with -----BEGIN", name)
		case block == nil:
			return fmt.Errorf("%s holds a %s where a %s belongs", name, first, want)
		case strings.HasPrefix(block.Type, "ENCRYPTED"), strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return fmt.Errorf("%s is encrypted, and nobody is there to type the password: store it in the clear", name)
		case strings.HasSuffix(block.Type, want):
			return nil
		}
		first = block.Type
	}
}

// checkCredentials says what is wrong with a file of credentials as the AWS tools write it.
func checkCredentials(name string, text []byte) error {
	for _, key := range []string{"aws_access_key_id", "aws_secret_access_key"} {
		if !utf8.Valid(text) || !bytes.Contains(text, []byte(key)) {
			return fmt.Errorf("%s has no %s: it is the file that the AWS tools keep as ~/.aws/credentials", name, key)
		}
	}
	return nil
}

// installSeeds writes each to where it belongs. A configuration that another takes the place of is kept beside it.
func (d *disk) installSeeds(seeds []seed) (changes []Change, err error) {
	if err := d.makeDirs(seeds[0].dest); err != nil {
		return nil, err
	}
	for _, s := range seeds {
		old, err := d.read(s.dest, maxSeedBytes)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return changes, err
		}
		if err == nil && s.dest == configPath && !bytes.Equal(old, s.text) {
			if err := d.write(s.dest+".before-seed", old, s.mode); err != nil {
				return changes, err
			}
		}
		// Also where it is the same: its mode may not be, and it may not be on disk for good.
		if err := d.write(s.dest, s.text, s.mode); err != nil {
			return changes, err
		}
		changes = append(changes, Change{s.dest, fmt.Sprintf("installed, mode %04o", s.mode)})
	}
	return changes, nil
}

// erase overwrites and removes a file. First it gets another name: cut off in between, it is not taken for a seed again.
func (d *disk) erase(file string) error {
	if err := d.before("erase", file); err != nil {
		return err
	}
	if err := d.root.Rename(rel(file), rel(file+usedSuffix)); err != nil {
		return err
	}
	if err := d.sync(path.Dir(file)); err != nil {
		return err
	}
	return d.wipe(file + usedSuffix)
}

// wipe overwrites a file with zeros, and removes it. Flash may keep the old block all the same; a card reader does not show it.
func (d *disk) wipe(file string) error {
	info, err := d.root.Stat(rel(file))
	if err != nil {
		return err
	}
	if err := d.before("overwrite", file); err != nil {
		return err
	}
	f, err := d.root.OpenFile(rel(file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, min(info.Size(), maxSeedBytes)))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return d.remove(file)
}

// eraseUsed finishes what a power cut interrupted, here or where the boot partition was written: it may hold a key.
func (d *disk) eraseUsed() error {
	if err := d.removePlacing(); err != nil {
		return err
	}
	for _, dir := range seedDirs {
		for _, f := range seedFiles {
			for _, suffix := range []string{usedSuffix, newSuffix} {
				file := path.Join(dir, f.seed+suffix)
				if !d.exists(file) {
					continue
				}
				if err := d.wipe(file); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
