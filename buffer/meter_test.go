package buffer_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/buffer"
)

func TestTheAgeIsThatOfTheOldestRecordThatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := open(t, newMemFS(), buffer.Options{})
		defer func() { _ = l.Close() }()
		if age := l.Stats().OldestAge; age != 0 {
			t.Errorf("age of an empty buffer = %v", age)
		}
		if _, err := l.Append([]byte("first")); err != nil {
			t.Fatal(err)
		}
		synctestWait(3 * time.Second)
		if age := l.Stats().OldestAge; age != 3*time.Second {
			t.Errorf("age before the commit = %v, want 3s", age)
		}
		fill(t, l, 1) // commits the first one too
		synctestWait(time.Minute)
		fill(t, l, 1)
		if age := l.Stats().OldestAge; age != 63*time.Second {
			t.Errorf("age = %v, want 63s", age)
		}
		l.Ack(1, 2)
		synctestWait(time.Second)
		if s := l.Stats(); s.OldestAge != time.Second || s.OldestBeforeOpen {
			t.Errorf("age of the third record = %v, before Open %t, want 1s", s.OldestAge, s.OldestBeforeOpen)
		}
		l.Ack(3, 3)
		if age := l.Stats().OldestAge; age != 0 {
			t.Errorf("age with nothing waiting = %v", age)
		}
	})
}

// synctestWait lets the bubble's time pass.
func synctestWait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestTheAgeOfRecordsFromAnEarlierProcessIsAtLeastTheTimeSinceOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := newMemFS()
		l := open(t, dir, buffer.Options{})
		fill(t, l, 5)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		synctestWait(time.Hour)
		l = open(t, dir, buffer.Options{})
		defer func() { _ = l.Close() }()
		synctestWait(time.Minute)
		fill(t, l, 1)
		if s := l.Stats(); s.OldestAge != time.Minute || !s.OldestBeforeOpen {
			t.Errorf("age %v, before Open %t, want 1m and true", s.OldestAge, s.OldestBeforeOpen)
		}
		l.Ack(1, 5)
		if s := l.Stats(); s.OldestAge != 0 || s.OldestBeforeOpen {
			t.Errorf("age %v, before Open %t, want 0 and false", s.OldestAge, s.OldestBeforeOpen)
		}
	})
}

// A backlog of three hours at a commit every ten seconds: what is remembered is bounded, the answer is good to a hundredth of the span.
func TestTheAgeOfALongBacklogIsGoodToAHundredth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const commits, every = 1080, 10 * time.Second
		l := open(t, newMemFS(), buffer.Options{})
		defer func() { _ = l.Close() }()
		for range commits {
			fill(t, l, 1)
			synctestWait(every)
		}
		for acked := uint64(0); acked < commits; acked += 50 {
			l.Ack(1, acked)
			want := time.Duration(commits-acked) * every
			got := l.Stats().OldestAge
			if got < want || got > want+commits*every/100 {
				t.Errorf("with %d acknowledged the oldest is %v old, want %v", acked, got, want)
			}
		}
		l.Ack(1, commits)
		fill(t, l, 1)
		synctestWait(time.Second)
		if got := l.Stats().OldestAge; got != time.Second {
			t.Errorf("after the backlog the oldest is %v old, want 1s", got)
		}
	})
}

// slowFS takes its time to sync files.
type slowFS struct {
	buffer.FS
	took *time.Duration
}

type slowFile struct {
	buffer.File
	took *time.Duration
}

func (s slowFS) Create(name string) (buffer.File, error) { return s.slow(s.FS.Create(name)) }

func (s slowFS) Open(name string, write bool) (buffer.File, error) {
	return s.slow(s.FS.Open(name, write))
}

func (s slowFS) slow(f buffer.File, err error) (buffer.File, error) {
	if err != nil {
		return nil, err
	}
	return slowFile{f, s.took}, nil
}

func (f slowFile) Sync() error {
	<-time.After(*f.took)
	return f.File.Sync()
}

func TestSyncsAreTimed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		took := 5 * time.Millisecond
		l := open(t, slowFS{newMemFS(), &took}, buffer.Options{})
		defer func() { _ = l.Close() }()
		fill(t, l, 1)
		fill(t, l, 1)
		took = time.Minute
		fill(t, l, 1)
		took = 3 * time.Millisecond // a bound counts in the class that it ends
		fill(t, l, 1)
		want := buffer.SyncTimes{Last: 3 * time.Millisecond, Max: time.Minute, Sum: time.Minute + 13*time.Millisecond}
		want.Count[1], want.Count[2], want.Count[8] = 1, 2, 1
		got := l.Stats().Syncs
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("sync times (-want +got)\n%s", d)
		}
		if n := got.Total(); n != 4 {
			t.Errorf("%d syncs, want 4", n)
		}
		if upTo, ok := got.Bound(2); upTo != 10*time.Millisecond || !ok {
			t.Errorf("class 2 ends at %v, %t", upTo, ok)
		}
		if _, ok := got.Bound(8); ok {
			t.Error("the last class has an end")
		}
	})
}

// countingFS counts the bytes of all writes.
type countingFS struct {
	buffer.FS
	bytes *int64
}

type countingFile struct {
	buffer.File
	bytes *int64
}

func (c countingFS) Create(name string) (buffer.File, error) { return c.count(c.FS.Create(name)) }

func (c countingFS) Open(name string, write bool) (buffer.File, error) {
	return c.count(c.FS.Open(name, write))
}

func (c countingFS) count(f buffer.File, err error) (buffer.File, error) {
	if err != nil {
		return nil, err
	}
	return countingFile{f, c.bytes}, nil
}

func (f countingFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	*f.bytes += int64(n)
	return n, err
}

func TestWhatIsWrittenIsCountedToTheByte(t *testing.T) {
	t.Parallel()
	var bytes, payload int64
	l := open(t, countingFS{newMemFS(), &bytes}, buffer.Options{SegmentBytes: 8 << 10, MaxBytes: 64 << 10})
	for n := range 300 {
		payload += int64(len(record(l.Stats().NextSeq)))
		fill(t, l, 1)
		if n%3 == 0 {
			l.Ack(1, uint64(n))
		}
	}
	if s := l.Stats(); s.Written != bytes || s.Payload != payload {
		t.Errorf("written %d, payload %d, want %d and %d", s.Written, s.Payload, bytes, payload)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// sysfs makes a tree with one partition, as the kernel's: links by number to the directories of the devices.
func sysfs(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		writeFile(t, filepath.Join(root, name), text)
	}
	if err := os.MkdirAll(filepath.Join(root, "dev/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../devices/mmc0/block/mmcblk0/mmcblk0p3", filepath.Join(root, "dev/block/179:3")); err != nil {
		t.Fatal(err)
	}
	return root
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	fakeDisk = "devices/mmc0/block/mmcblk0/"
	fakePart = fakeDisk + "mmcblk0p3/"
)

func TestTheDeviceIsReadFromSysfs(t *testing.T) {
	t.Parallel()
	const before = "  650  64  1559  534  911  307  1000  452  0  222  1091  0  0  0  0  223  38\n"
	const after = "  650  64  1559  534  951  307  1016  452  0  222  1091  0  0  0  0  223  38\n"
	for name, c := range map[string]struct {
		life, eol, stat string
		want            buffer.Device
	}{
		"a new eMMC":                            {"0x01 0x01\n", "0x01\n", after, buffer.Device{Written: 8192, LifeUsed: 10, Reserve: "normal"}},
		"the worse of both types of cells":      {"0x02 0x06\n", "0x01\n", after, buffer.Device{Written: 8192, LifeUsed: 60, Reserve: "normal"}},
		"an eMMC at its end":                    {"0x0b 0x01\n", "0x03\n", after, buffer.Device{Written: 8192, LifeUsed: 110, Reserve: "urgent"}},
		"an eMMC that does not say":             {"0x00 0x00\n", "0x00\n", after, buffer.Device{Written: 8192}},
		"an SD card":                            {"", "", after, buffer.Device{Written: 8192}},
		"values that no standard knows":         {"0xff 0x01\n", "0x09\n", after, buffer.Device{Written: 8192, LifeUsed: 10}},
		"words that are no numbers":             {"worn out\n", "yes\n", after, buffer.Device{Written: 8192}},
		"a card that was plugged in again":      {"", "", "0 0 0 0 0 0 2 0 0 0 0\n", buffer.Device{Written: 1024}},
		"a stat file that was cut":              {"", "", "0 0 0\n", buffer.Device{}},
		"an old kernel's line of eleven values": {"", "", "1 1 1 1 1 1 1001 1 1 1 1\n", buffer.Device{Written: 512}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{fakePart + "stat": before, fakePart + "partition": "3\n", fakeDisk + "stat": "0 0 0 0 0 0 5 0 0 0 0\n"}
			if c.life != "" {
				files[fakeDisk+"device/life_time"], files[fakeDisk+"device/pre_eol_info"] = c.life, c.eol
			}
			root := sysfs(t, files)
			read, ok := buffer.FakeDevice(root, 179, 3)
			if !ok {
				t.Fatal("the device is not found")
			}
			writeFile(t, filepath.Join(root, fakePart+"stat"), c.stat)
			c.want.Name = "mmcblk0p3"
			if d := cmp.Diff(c.want, read()); d != "" {
				t.Errorf("device (-want +got)\n%s", d)
			}
		})
	}
}

func TestADirectoryOnNoDeviceHasNone(t *testing.T) {
	t.Parallel()
	if _, ok := buffer.FakeDevice(sysfs(t, nil), 179, 3); ok {
		t.Error("a link into nothing is a device")
	}
	if _, ok := buffer.FakeDevice(t.TempDir(), 0, 42); ok {
		t.Error("nothing is a device")
	}
	l := open(t, newMemFS(), buffer.Options{})
	defer func() { _ = l.Close() }()
	if d := l.Device(); d != (buffer.Device{}) {
		t.Errorf("device of a file system in memory: %+v", d)
	}
}

func TestTheDeviceOfARealDirectoryIsTheKernelsOrNone(t *testing.T) {
	t.Parallel()
	l := openDir(t, t.TempDir())
	defer func() { _ = l.Close() }()
	d := l.Device()
	if d.Name == "" {
		t.Skip("the temporary directory is on no block device")
	}
	if _, err := os.Stat(filepath.Join("/sys/class/block", d.Name)); err != nil {
		t.Errorf("the kernel does not know %s: %v", d.Name, err)
	}
	if d.Written < 0 {
		t.Errorf("written %d", d.Written)
	}
}
