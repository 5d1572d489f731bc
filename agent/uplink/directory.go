package uplink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// DirectoryOptions says where a Directory writes. Path and Stream are needed.
type DirectoryOptions struct {
	Path      string           // created if missing
	Stream    string           // part of each object's name, as it would be of a Firehose stream
	Extension string           // at the end of each object's name, such as ".gz"; default: none, as with Firehose
	Now       func() time.Time // dates folders and names; default: time.Now

	// MinFree is what stays free on the file system, in bytes. It is what bounds the directory: when an object would leave less, the call is
	// refused, and records stay in the buffer, which is bounded and tells what it gives up. Default 64 MiB. Objects are never removed: they were
	// delivered, and whoever reads them takes them away.
	MinFree int64
}

// minFree is enough for logs, the buffer's spare segments and an update of this program.
const minFree = 64 << 20

// Directory is a Sink that writes what it is given as objects under a local directory, laid out as Firehose lays out a bucket.
type Directory struct {
	o DirectoryOptions

	mu       sync.Mutex
	prepared bool // the directory is there, without remains
}

// NewDirectory makes a Directory. That nothing can be written there is no error yet: a disk may come later, and Put says that it is missing.
func NewDirectory(o DirectoryOptions) (*Directory, error) {
	if o.Path == "" {
		return nil, errors.New("directory sink: no path is given: set uplink.path")
	}
	if err := CheckStream(o.Stream); err != nil {
		return nil, fmt.Errorf("directory sink: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MinFree <= 0 {
		o.MinFree = minFree
	}
	d := &Directory{o: o}
	_ = d.prepare() // if the disk is not there yet, Put tries again and says so
	return d, nil
}

// prepare makes the directory, and removes what a power cut left half written, before the first object.
func (d *Directory) prepare() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.prepared {
		return nil
	}
	if err := os.MkdirAll(d.o.Path, 0o755); err != nil {
		return fmt.Errorf("directory sink: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(d.o.Path, partial)); err != nil {
		return fmt.Errorf("directory sink: %w", err)
	}
	d.prepared = true
	return nil
}

// unwritable is a directory that nothing can be written to: a disk that is not plugged in is a state, as no coverage is.
func (d *Directory) unwritable(err error) error {
	return &CallError{Kind: KindLink, Cause: CauseDirectory, Advice: fmt.Sprintf("cannot write to %s: see that it is mounted, writable and not full", d.o.Path), Err: err}
}

// Put writes one object that holds the entries one after the other.
func (d *Directory) Put(ctx context.Context, entries [][]byte) ([]Failure, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("directory sink: %w", err)
	}
	if err := d.prepare(); err != nil {
		return nil, d.unwritable(err)
	}
	size := 0
	for _, e := range entries {
		size += len(e)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(d.o.Path, &fs); err == nil { // where that is not told, writing itself says that the disk is full
		if free := int64(fs.Bavail) * int64(fs.Bsize); free-int64(size) < d.o.MinFree {
			return nil, &CallError{Kind: KindSetup, Cause: CauseDirectory, Advice: fmt.Sprintf("%s has %d MiB left, and %d MiB are kept free: take objects away; records wait in the buffer", d.o.Path, free>>20, d.o.MinFree>>20)}
		}
	}
	object := make([]byte, 0, size)
	for _, e := range entries {
		object = append(object, e...)
	}
	if err := WriteObject(d.o.Path, ObjectKey(d.o.Stream, d.o.Now())+d.o.Extension, object); err != nil {
		return nil, d.unwritable(err)
	}
	return nil, nil
}

// String names the directory.
func (d *Directory) String() string { return "directory " + d.o.Path }
