package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// imageBytes has room for 300 MB of payload in the widest store. The file has holes: it takes what is used.
const imageBytes = 4 << 30

// A disk is an ext4 on a loop device.
type disk struct {
	image, dir string
	loop       string // "loop0"
}

// newDisk makes and mounts one in a directory.
func newDisk(ctx context.Context, in string) (_ *disk, err error) {
	d := &disk{image: filepath.Join(in, "disk.img"), dir: filepath.Join(in, "disk")}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close(context.WithoutCancel(ctx)))
		}
	}()
	f, err := os.Create(d.image)
	if err == nil {
		err = errors.Join(f.Truncate(imageBytes), f.Close())
	}
	if err == nil {
		err = os.MkdirAll(d.dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	// Nothing is left to be initialised later: it would be counted.
	if _, err := run(ctx, "mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", d.image); err != nil {
		return nil, err
	}
	loop, err := run(ctx, "losetup", "--find", "--show", d.image)
	if err != nil {
		return nil, err
	}
	d.loop = filepath.Base(strings.TrimSpace(loop))
	if _, err := run(ctx, "mount", "-o", "noatime", "/dev/"+d.loop, d.dir); err != nil {
		return nil, err
	}
	return d, nil
}

// Close unmounts the disk and removes it.
func (d *disk) Close(ctx context.Context) error {
	var errs []error
	if d.loop != "" {
		var st, up unix.Stat_t
		if unix.Stat(d.dir, &st) == nil && unix.Stat(filepath.Dir(d.dir), &up) == nil && st.Dev != up.Dev {
			_, err := run(ctx, "umount", d.dir)
			errs = append(errs, err)
		}
		_, err := run(ctx, "losetup", "--detach", "/dev/"+d.loop)
		errs = append(errs, err)
	}
	errs = append(errs, os.RemoveAll(d.dir), os.RemoveAll(d.image))
	return errors.Join(errs...)
}

// counts is what the block layer has seen of the device, and the journal of its transactions.
type counts struct {
	bytes, flushes int64
	journal        int64 // bytes, estimated
}

func (c counts) minus(b counts) counts {
	return counts{c.bytes - b.bytes, c.flushes - b.flushes, c.journal - b.journal}
}

// counts writes out what is dirty and reads the counters.
func (d *disk) counts() (c counts, err error) {
	f, err := os.Open(d.dir)
	if err != nil {
		return c, err
	}
	err = errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
	if err != nil {
		return c, err
	}
	text, err := os.ReadFile("/sys/block/" + d.loop + "/stat")
	if err != nil {
		return c, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 16 {
		return c, fmt.Errorf("%s: %d figures in its stat file: a kernel since 5.5 counts flushes", d.loop, len(fields))
	}
	sectors, err := strconv.ParseInt(fields[6], 10, 64)
	if err != nil {
		return c, err
	}
	c.bytes = sectors * 512
	if c.flushes, err = strconv.ParseInt(fields[15], 10, 64); err != nil {
		return c, err
	}
	c.journal, err = journal(d.loop)
	return c, err
}

// journal estimates what the file system's journal has written: its transactions times their logged blocks, with the commit
// block. The kernel gives the mean of the latter as a whole number only.
func journal(loop string) (int64, error) {
	text, err := os.ReadFile("/proc/fs/jbd2/" + loop + "-8/info")
	if err != nil {
		return 0, err
	}
	var transactions, logged int64
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && f[1] == "transactions":
			transactions, err = strconv.ParseInt(f[0], 10, 64)
		case strings.Contains(line, "logged blocks per transaction"):
			logged, err = strconv.ParseInt(f[0], 10, 64)
		}
		if err != nil {
			return 0, err
		}
	}
	return transactions * (logged + 1) * 4096, nil
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
