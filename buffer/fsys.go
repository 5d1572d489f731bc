package buffer

import "io"

// fsys is what the log needs of a file system: one directory, files named in it. The operating system's is osDir; tests
// have one that forgets what was not synced.
type fsys interface {
	// Lock makes the directory and takes the named lock file for this process, or returns ErrLocked.
	Lock(name string) (io.Closer, error)
	// Names lists the regular files, in any order.
	Names() ([]string, error)
	// Size returns the size of a file. With many files it takes most of the time of a ReadDir.
	Size(name string) (int64, error)
	// ReadDir lists the regular files with their sizes, in any order, of the directory itself ("") or of one in it.
	ReadDir(sub string) ([]fileInfo, error)
	// Link gives a file a second name, in a directory below, which it makes if there is none.
	Link(from, to string) error
	// Create makes a new file, open for reading and writing, mode 0600. It fails if there is one.
	Create(name string) (file, error)
	// Open opens a file for reading, and for writing if asked to.
	Open(name string, write bool) (file, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes all creations, renames and removals durable.
	SyncDir() error
}

// fileInfo is one file of a directory.
type fileInfo struct {
	Name string
	Size int64

	zeros bool // nothing was written to it but zeros
}

// file is an open file.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes what was written durable, and as much metadata as is needed to read it back.
	Sync() error
	Size() (int64, error)
}
