package buffer

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A Device is the partition that holds a buffer, as far as the kernel tells. What is not known is zero.
type Device struct {
	Name string // as in /sys/class/block: "mmcblk0p3"; empty if the directory is on no block device
	// Written is how many bytes have been written to the partition since Open, by whomever: the file system's journal, and other
	// programs too. By Stats.Payload it is what a record really costs.
	Written int64
	// LifeUsed is how much of its life an eMMC says to have used, in per cent: 10 stands for 0 to 10, 110 for all of it. It is
	// the worse one of DEVICE_LIFE_TIME_EST_TYP_A and _B (JEDEC JESD84-B51, EXT_CSD 268 and 269). 0: not known.
	LifeUsed int
	// Reserve is what an eMMC says of its spare blocks: "normal", "warning" (80 % used), "urgent" (90 % used), or "" (PRE_EOL_INFO,
	// EXT_CSD 267).
	Reserve string
}

// Device asks the kernel for the device's counters: two or three small files in /sys, no disk access.
func (l *Log) Device() Device {
	l.mu.Lock()
	d := l.device
	l.mu.Unlock()
	if d == nil {
		return Device{}
	}
	return d.read()
}

// diskSectorBytes is the unit of the sectors in a block device's stat file, whatever its real sectors are (the kernel's
// Documentation/block/stat.rst).
const diskSectorBytes = 512

// device is where the kernel tells of a partition.
type device struct {
	name string
	dir  string // its directory in sysfs
	disk string // that of the disk it is on

	mu   sync.Mutex
	last int64 // sectors written, as read last
	sum  int64 // sectors written since it was found
}

// deviceOf finds the device of a directory below a sysfs, or returns nil: btrfs, overlays and memory have none.
func deviceOf(sysfs, path string) *device {
	var st unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Stat(path, &st) }); err != nil {
		return nil
	}
	return deviceNumbered(sysfs, unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev)))
}

func deviceNumbered(sysfs string, major, minor uint32) *device {
	number := strconv.FormatUint(uint64(major), 10) + ":" + strconv.FormatUint(uint64(minor), 10)
	dir, err := filepath.EvalSymlinks(filepath.Join(sysfs, "dev/block", number))
	if err != nil {
		return nil
	}
	d := &device{name: filepath.Base(dir), dir: dir, disk: dir}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		d.disk = filepath.Dir(dir)
	}
	var ok bool
	if d.last, ok = d.sectors(); !ok {
		return nil
	}
	return d
}

// sectors is the seventh figure of the stat file.
func (d *device) sectors() (n int64, ok bool) {
	text, err := os.ReadFile(filepath.Join(d.dir, "stat"))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text))
	if len(fields) < 7 {
		return 0, false
	}
	n, err = strconv.ParseInt(fields[6], 10, 64)
	return n, err == nil && n >= 0
}

func (d *device) read() Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now, ok := d.sectors(); ok {
		// The counter has the width of a machine word, and a device that was plugged in again counts from zero.
		switch {
		case now >= d.last:
			d.sum += now - d.last
		default:
			d.sum += now
		}
		d.last = now
	}
	out := Device{Name: d.name, Written: d.sum * diskSectorBytes}
	for _, v := range d.hex("life_time") {
		if v >= 1 && v <= 11 {
			out.LifeUsed = max(out.LifeUsed, int(v)*10)
		}
	}
	if v := d.hex("pre_eol_info"); len(v) == 1 && v[0] < uint64(len(reserves)) {
		out.Reserve = reserves[v[0]]
	}
	return out
}

var reserves = [...]string{"", "normal", "warning", "urgent"}

// hex reads the figures of an attribute of the disk's device: the kernel writes them as "0x01 0x02".
func (d *device) hex(name string) (values []uint64) {
	text, err := os.ReadFile(filepath.Join(d.disk, "device", name))
	if err != nil {
		return nil
	}
	for _, f := range strings.Fields(string(text)) {
		v, err := strconv.ParseUint(f, 0, 8)
		if err != nil {
			return nil
		}
		values = append(values, v)
	}
	return values
}
