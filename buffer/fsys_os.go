package buffer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var errRemoved = fmt.Errorf("the file was removed while in use: %w", os.ErrNotExist)

// osDir is a directory of the operating system.
type osDir struct{ path string }

func (d osDir) Lock(name string) (io.Closer, error) {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) {
		// The file need not be written: records are kept in memory until the disk can be.
		f, err = os.OpenFile(filepath.Join(d.path, name), os.O_RDONLY, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = ignoringEINTR(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

func (d osDir) Names() ([]string, error) {
	f, err := os.Open(d.path)
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1) // not sorted, as os.ReadDir does: the names are, by their numbers
	_ = f.Close()                 // it was only read
	if err != nil {
		return nil, err
	}
	list := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Type().IsRegular() {
			list = append(list, e.Name())
		}
	}
	return list, nil
}

func (d osDir) Size(name string) (int64, error) {
	info, err := os.Lstat(filepath.Join(d.path, name))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d osDir) ReadDir(sub string) ([]fileInfo, error) {
	entries, err := os.ReadDir(filepath.Join(d.path, sub))
	if err != nil {
		return nil, err
	}
	var list []fileInfo
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // removed since: a directory may be looked at while its owner works
		}
		if err != nil {
			return nil, err
		}
		list = append(list, fileInfo{Name: e.Name(), Size: info.Size()})
	}
	return list, nil
}

func (d osDir) Create(name string) (file, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDir) Open(name string, write bool) (file, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(filepath.Join(d.path, name), flag, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDir) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d osDir) Link(from, to string) error {
	to = filepath.Join(d.path, to)
	if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Link(filepath.Join(d.path, from), to)
}

func (d osDir) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d osDir) SyncDir() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// osFile is a file of the operating system.
type osFile struct{ *os.File }

// Sync is fdatasync: the size does not change once a segment is filled, so that the file system's journal stays out.
func (f osFile) Sync() error {
	err := ignoringEINTR(func() error { return unix.Fdatasync(int(f.Fd())) })
	if err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	// What is written to a file without a name is gone with the process.
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err == nil && st.Nlink == 0 {
		return &os.PathError{Op: "sync", Path: f.Name(), Err: errRemoved}
	}
	return nil
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
