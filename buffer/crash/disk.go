package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A disk is an image as a block device, with a place to mount it.
type disk struct {
	image *image
	dir   string // where it is mounted

	served  string // where the image's file is
	server  *fuse.Server
	file    *os.File
	loop    *os.File
	mounted bool
}

// newDisk makes a block device of an image, within a directory that is there.
func newDisk(in string, m *image) (_ *disk, err error) {
	d := &disk{image: m, dir: filepath.Join(in, "mounted"), served: filepath.Join(in, "served")}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	for _, dir := range []string{d.dir, d.served} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	options := &fs.Options{RootStableAttr: &fs.StableAttr{Ino: 1}}
	options.DirectMountStrict = true // by the system call: we are root
	options.MaxWrite = 1 << 20
	options.FsName, options.Name = "crash", "crash"
	if d.server, err = fs.Mount(d.served, &root{image: m}, options); err != nil {
		return nil, fmt.Errorf("serve the image through FUSE: %w", err)
	}
	if d.file, err = os.OpenFile(filepath.Join(d.served, "disk"), os.O_RDWR, 0); err != nil {
		return nil, err
	}
	return d, d.attach()
}

// attach takes a free loop device.
func (d *disk) attach() error {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = control.Close() }()
	for range 20 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return fmt.Errorf("find a free loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{Fd: uint32(d.file.Fd()), Size: sectorBytes})
		if err == nil {
			d.loop = loop
			return nil
		}
		_ = loop.Close()
		if !errors.Is(err, unix.EBUSY) { // somebody else was quicker
			return fmt.Errorf("set up %s: %w", loop.Name(), err)
		}
	}
	return errors.New("no loop device is free")
}

// load puts other content onto the disk, which is not mounted. What the kernel has cached of the last one is forgotten.
func (d *disk) load(base []byte) error {
	if _, err := unix.IoctlRetInt(int(d.loop.Fd()), unix.BLKFLSBUF); err != nil {
		return fmt.Errorf("empty the cache of %s: %w", d.loop.Name(), err)
	}
	d.image.load(base)
	return nil
}

func (d *disk) mount() error {
	err := unix.Mount(d.loop.Name(), d.dir, "ext4", unix.MS_NOATIME, "barrier=1,data=ordered")
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	d.mounted = true
	return nil
}

func (d *disk) unmount() error {
	if !d.mounted {
		return nil
	}
	if err := unix.Unmount(d.dir, 0); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	d.mounted = false
	return nil
}

// fsck is an error if the file system, which is not mounted, is not clean.
func (d *disk) fsck(ctx context.Context) error {
	if _, err := unix.IoctlRetInt(int(d.loop.Fd()), unix.BLKFLSBUF); err != nil {
		return err
	}
	_, err := run(ctx, "e2fsck", "-fn", d.loop.Name())
	return err
}

// Close unmounts and frees everything.
func (d *disk) Close() error {
	errs := []error{d.unmount()}
	if d.loop != nil {
		_, err := unix.IoctlRetInt(int(d.loop.Fd()), unix.LOOP_CLR_FD)
		errs = append(errs, err, d.loop.Close())
	}
	if d.file != nil {
		errs = append(errs, d.file.Close())
	}
	if d.server != nil {
		errs = append(errs, d.server.Unmount())
	}
	return errors.Join(append(errs, os.Remove(d.dir), os.Remove(d.served))...)
}

// root is a directory with one file in it.
type root struct {
	fs.Inode
	image *image
}

func (r *root) OnAdd(ctx context.Context) {
	r.AddChild("disk", r.NewPersistentInode(ctx, &node{image: r.image}, fs.StableAttr{Mode: syscall.S_IFREG}), false)
}

// node is the image as a file.
type node struct {
	fs.Inode
	image *image
}

var (
	_ fs.NodeOnAdder   = (*root)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
)

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(len(n.image.base))
	return 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, b []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultData(b[:n.image.readAt(b, off)]), 0
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, b []byte, off int64) (uint32, syscall.Errno) {
	done := n.image.writeAt(b, off)
	if done < len(b) {
		return uint32(done), syscall.ENOSPC
	}
	return uint32(done), 0
}

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.image.flush()
	return 0
}

// diskBytes has room for the largest buffer of the runs, a file of the neighbour's and the journal.
const diskBytes = 24 << 20

// format returns a new ext4, the same each time.
func format(ctx context.Context, in string) ([]byte, error) {
	name := filepath.Join(in, "new")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(name) }()
	if err := os.Truncate(name, diskBytes); err != nil {
		return nil, err
	}
	const uuid = "6f626461-6765-4e74-a275-666665720001"
	if _, err := run(ctx, "mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", "-U", uuid,
		"-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard,hash_seed="+uuid, name); err != nil {
		return nil, err
	}
	return os.ReadFile(name)
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
