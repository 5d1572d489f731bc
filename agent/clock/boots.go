package clock

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// keepBoots bounds the file. A van that is started fifty times a day and is without coverage for a day still has all of them.
const keepBoots = 64

// A boot is what one boot learned.
type boot struct {
	ID     string        `json:"boot_id"`
	Offset time.Duration `json:"utc_minus_boottime_ns"`
	Source Source        `json:"source"`
}

// boots holds the latest boots, the oldest first.
type boots struct {
	Boots []boot `json:"boots"`
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
	for _, x := range b.Boots {
		if x.ID == "" || (x.Source != GNSS && x.Source != NTP) {
			return boots{}, fmt.Errorf("%s: boot %q has source %q", path, x.ID, x.Source)
		}
	}
	return b, nil
}

// save replaces the file as a whole, so that a power cut leaves either the old or the new one.
func (b *boots) save(path string) (err error) {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
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
