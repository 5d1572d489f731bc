package clock

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// keepBoots bounds the file. A van that is started fifty times a day and is without coverage for a day still has all of them.
const keepBoots = 64

// keepPairs bounds what is kept of one boot: the oldest, and the latest others.
const keepPairs = 8

// saveRetry is how often the file is tried again that could not be written.
const saveRetry = time.Minute

// maxDrift is how fast a board's clock may run off: crystals of gateways are specified to 20 to 50 millionths over their
// temperature range, and age by a few a year.
const maxDrift = 100e-6

// A pair is what a boot knew of the time at one moment.
type pair struct {
	Mono   time.Duration `json:"boottime_ns"`
	Offset time.Duration `json:"utc_minus_boottime_ns"`
}

// A boot is what one boot learned.
type boot struct {
	ID     string `json:"boot_id"`
	Source Source `json:"source"`
	Pairs  []pair `json:"pairs"` // at least one, in the order of Mono
}

// last is the latest pair.
func (b *boot) last() pair { return b.Pairs[len(b.Pairs)-1] }

// offset is the offset at a moment: between two pairs interpolated, outside of them that of the nearest.
func (b *boot) offset(mono time.Duration) time.Duration {
	i, _ := slices.BinarySearchFunc(b.Pairs, mono, func(p pair, m time.Duration) int { return cmp.Compare(p.Mono, m) })
	switch i {
	case 0:
		return b.Pairs[0].Offset
	case len(b.Pairs):
		return b.last().Offset
	}
	from, to := b.Pairs[i-1], b.Pairs[i]
	share := float64(mono-from.Mono) / float64(to.Mono-from.Mono)
	return from.Offset + time.Duration(share*float64(to.Offset-from.Offset))
}

// learn adds what the boot knows by now. A change that the board's clock can have run off meanwhile stands beside what was
// known; a smaller time makes it a better estimate of the same; and one beyond the contradiction makes all before it wrong.
func (b *boot) learn(p pair) {
	for len(b.Pairs) > 0 && b.last().Mono >= p.Mono { // an epoch that arrived before NTP was asked
		b.Pairs = b.Pairs[:len(b.Pairs)-1]
	}
	if len(b.Pairs) > 0 {
		last := b.last()
		change := (p.Offset - last.Offset).Abs()
		drift := time.Duration(maxDrift * float64(p.Mono-last.Mono))
		switch {
		case change <= drift:
		case change <= contradiction:
			b.Pairs = b.Pairs[:len(b.Pairs)-1]
		default:
			b.Pairs = b.Pairs[:0]
		}
	}
	if len(b.Pairs) == keepPairs {
		b.Pairs = slices.Delete(b.Pairs, 1, 2)
	}
	b.Pairs = append(b.Pairs, p)
}

// boots holds the latest boots, the oldest first. The file is JSON, for people; the checksum keeps a digit that a failing disk
// has changed from dating a record.
type boots struct {
	Boots []boot `json:"boots"`
	Sum   uint32 `json:"crc32c"` // of Boots as compact JSON
}

func (b *boots) sum() (uint32, error) {
	text, err := json.Marshal(b.Boots)
	return crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)), err
}

func (b *boots) find(id string) (boot, bool) {
	for _, x := range b.Boots {
		if x.ID == id {
			return x, true
		}
	}
	return boot{}, false
}

func (b *boots) put(x boot) {
	for i := range b.Boots {
		if b.Boots[i].ID == x.ID {
			b.Boots[i] = x
			return
		}
	}
	b.Boots = append(b.Boots, x)
	if n := len(b.Boots) - keepBoots; n > 0 {
		b.Boots = append(b.Boots[:0], b.Boots[n:]...)
	}
}

// adopt puts those of other that are not known before all that are.
func (b *boots) adopt(other boots) {
	more := slices.DeleteFunc(other.Boots, func(x boot) bool {
		_, known := b.find(x.ID)
		return known
	})
	b.Boots = append(more, b.Boots...)
	if n := len(b.Boots) - keepBoots; n > 0 {
		b.Boots = b.Boots[n:]
	}
}

func loadBoots(path string) (boots, error) {
	var b boots
	if path == "" {
		return b, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return boots{}, fmt.Errorf("%s: %w", path, err)
	}
	if sum, err := b.sum(); err != nil || sum != b.Sum {
		return boots{}, fmt.Errorf("%s: the checksum is %d, want %d", path, b.Sum, sum)
	}
	for _, x := range b.Boots {
		sorted := slices.IsSortedFunc(x.Pairs, func(a, b pair) int { return cmp.Compare(a.Mono, b.Mono) })
		if x.ID == "" || (x.Source != GNSS && x.Source != NTP) || len(x.Pairs) == 0 || !sorted {
			return boots{}, fmt.Errorf("%s: boot %q, source %q, %d pairs: not as this program writes it", path, x.ID, x.Source, len(x.Pairs))
		}
	}
	return b, nil
}

// text is what the file holds.
func (b *boots) text() (_ []byte, err error) {
	if b.Sum, err = b.sum(); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(b, "", " ")
	return append(text, '\n'), err
}

// replace puts the file in place as a whole, so that a power cut leaves either the old or the new one.
func replace(path string, text []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
