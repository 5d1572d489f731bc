package deploy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A disk is a root file system that is changed so that a power cut at any moment leaves each file as it was, or as it shall be.
// Its paths are absolute within it; none leads out of it, whatever symbolic links an image has (os.Root).
type disk struct {
	root *os.Root
	// before, in tests, is told of each change, and can end the work there as a power cut does.
	before func(op, file string) error
}

func openDisk(dir string, before func(op, file string) error) (*disk, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if before == nil {
		before = func(string, string) error { return nil }
	}
	return &disk{root, before}, nil
}

func (d *disk) close() error { return d.root.Close() }

// rel makes what os.Root takes of an absolute path.
func rel(file string) string {
	if r := strings.TrimPrefix(path.Clean("/"+file), "/"); r != "" {
		return r
	}
	return "."
}

// name is a path as the user knows it.
func (d *disk) name(file string) string { return path.Join(d.root.Name(), file) }

// isDir reports whether a directory is there.
func (d *disk) isDir(file string) bool {
	info, err := d.root.Stat(rel(file))
	return err == nil && info.IsDir()
}

// exists reports whether anything is there, be it a link that leads nowhere.
func (d *disk) exists(file string) bool {
	_, err := d.root.Lstat(rel(file))
	return err == nil
}

// read returns a file of at most limit bytes.
func (d *disk) read(file string, limit int64) ([]byte, error) {
	f, err := d.root.Open(rel(file))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", d.name(file), limit)
	}
	return text, nil
}

// sum is the SHA-256 of a regular file, in hex; empty: there is none.
func (d *disk) sum(file string) (string, error) {
	info, err := d.root.Lstat(rel(file))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is there and is no regular file", d.name(file))
	}
	if err != nil {
		return "", err
	}
	f, err := d.root.Open(rel(file))
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	return hex.EncodeToString(hash.Sum(nil)), errors.Join(err, f.Close())
}

// sumOf is the SHA-256 of a text, in hex.
func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// unfinished is the name that a file has until it is whole.
func unfinished(file string) string {
	return path.Join(path.Dir(file), "."+path.Base(file)+".obdagent-new")
}

// removeUnfinished removes what a power cut left of writing a file.
func (d *disk) removeUnfinished(file string) error {
	if !d.exists(unfinished(file)) {
		return nil
	}
	return d.remove(unfinished(file))
}

// write replaces a file: a power cut leaves the old one, or the new one whole.
func (d *disk) write(file string, text []byte, mode fs.FileMode) error {
	if err := d.before("write", file); err != nil {
		return err
	}
	temporary := rel(unfinished(file))
	f, err := d.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(text))
	// Chmod, as the process's umask has had its say.
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = d.before("rename", file)
	}
	if err == nil {
		err = d.root.Rename(temporary, rel(file))
	}
	if err != nil {
		if !errors.Is(err, errPowerCut) {
			err = errors.Join(err, d.root.Remove(temporary))
		}
		return fmt.Errorf("write %s: %w", d.name(file), err)
	}
	return d.sync(path.Dir(file))
}

// errPowerCut is what a test ends the work with: nothing is tidied up after it.
var errPowerCut = errors.New("power cut")

// sync makes a directory's entries last.
func (d *disk) sync(dir string) error {
	if err := d.before("sync", dir); err != nil {
		return err
	}
	f, err := d.root.Open(rel(dir))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// link makes a symbolic link where nothing is.
func (d *disk) link(file, target string) error {
	if err := d.before("link", file); err != nil {
		return err
	}
	if err := d.root.Symlink(target, rel(file)); err != nil {
		return err
	}
	return d.sync(path.Dir(file))
}

// mkdir makes a directory whose parent is there.
func (d *disk) mkdir(dir string) error {
	if err := d.before("mkdir", dir); err != nil {
		return err
	}
	if err := d.root.Mkdir(rel(dir), 0o755); err != nil {
		return err
	}
	return errors.Join(d.root.Chmod(rel(dir), 0o755), d.sync(path.Dir(dir)))
}

// above are the directories that hold a file, the outermost first, without the root.
func above(file string) (dirs []string) {
	for dir := path.Dir(file); dir != "/"; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}

// makeDirs makes those that are not there.
func (d *disk) makeDirs(file string) error {
	for _, dir := range above(file) {
		if d.exists(dir) {
			continue
		}
		if err := d.mkdir(dir); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file, a link or an empty directory.
func (d *disk) remove(file string) error {
	if err := d.before("remove", file); err != nil {
		return err
	}
	if err := d.root.Remove(rel(file)); err != nil {
		return err
	}
	return d.sync(path.Dir(file))
}

// writable says why nothing can be written where file is to be; nil: it can.
func (d *disk) writable(file string) error {
	dir := path.Dir(file)
	for dir != "/" && !d.isDir(dir) {
		dir = path.Dir(dir)
	}
	f, err := d.root.Open(rel(dir))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &stat); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", d.name(dir), err)
	}
	if stat.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("%s is mounted read-only: mount it writable first (mount -o remount,rw)", d.name(dir))
	}
	return nil
}
