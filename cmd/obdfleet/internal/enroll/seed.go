package enroll

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"obdagent/agent/config"
	"obdagent/deploy"
)

// The files that a board is started with, as they are named on its boot partition, where obdagent's first start looks for them.
const (
	SeedConfig = deploy.SeedConfig
	SeedCert   = deploy.SeedCert
	SeedKey    = deploy.SeedKey
)

// A Board is one vehicle's gateway.
type Board struct {
	Thing    string // its name in AWS IoT
	DeviceID string // vehicle.device_id; empty: Thing
	VIN      string // vehicle.vin; empty: what the car tells
	Fuel     string // vehicle.fuel; empty: what the car tells
}

// Target is what all boards have in common: where they send, and how they get credentials.
type Target struct {
	Kind        string // uplink.kind: firehose or kinesis
	Stream      string
	Region      string
	Format      string // record.format
	Compression string // uplink.compression
	Provider    string // host of the AWS IoT credential provider
	RoleAlias   string
}

// Config is the board's configuration: what differs from the defaults.
func Config(b Board, t Target) []byte {
	var s strings.Builder
	fmt.Fprintf(&s, "# %s, written by obdfleet enroll. obdagent config init prints every key there is.\n\n[vehicle]\n", b.Thing)
	set := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&s, "%s = %s\n", key, strconv.Quote(value))
		}
	}
	id := b.DeviceID
	if id == "" {
		id = b.Thing
	}
	set("device_id", id)
	set("vin", b.VIN)
	set("fuel", b.Fuel)
	s.WriteString("\n[record]\n")
	set("format", t.Format)
	s.WriteString("\n[uplink]\n")
	set("kind", t.Kind)
	set("stream", t.Stream)
	set("region", t.Region)
	set("compression", t.Compression)
	set("credentials", "iot")
	s.WriteString("\n[uplink.iot]\n")
	set("endpoint", t.Provider)
	set("role_alias", t.RoleAlias)
	set("thing", b.Thing)
	set("cert", config.DeviceCert)
	set("key", config.DeviceKey)
	return []byte(s.String())
}

// OntoImage says how a board's three files get from the directory that it was enrolled into onto a mounted root partition. Where they
// belong there is known to package deploy alone, which installs them on boards too.
func OntoImage(from, root string, replace bool) deploy.PlaceOptions {
	return deploy.PlaceOptions{Root: root, From: from, Replace: replace, Config: func(name string, text []byte) error {
		_, err := config.Parse(name, text, nil)
		return err
	}}
}

// Place copies a board's three files from the directory that it was enrolled into onto a mounted boot partition. This is the one place
// that says how a board is seeded. A partition that has another board's files is left alone.
func Place(from, boot string) error {
	if info, err := os.Stat(boot); err != nil || !info.IsDir() {
		return fmt.Errorf("--boot %s is no directory: mount the board's boot partition and name where", boot)
	}
	texts := map[string][]byte{}
	for _, name := range []string{SeedKey, SeedCert, SeedConfig} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return fmt.Errorf("read what the board was enrolled with: %w", err)
		}
		texts[name] = text
		there, err := os.ReadFile(filepath.Join(boot, name))
		if err == nil && string(there) != string(text) {
			return fmt.Errorf("%s is there already, and is another board's: take it away first", filepath.Join(boot, name))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look at the boot partition: %w", err)
		}
	}
	// The configuration last: a board takes a seed as a whole, and refuses a certificate without its key.
	for _, name := range []string{SeedKey, SeedCert, SeedConfig} {
		if err := writeFile(filepath.Join(boot, name), texts[name], modeOf(name)); err != nil {
			return err
		}
	}
	return nil
}

func modeOf(name string) fs.FileMode {
	if name == SeedKey || name == stateFile {
		return 0o600
	}
	return 0o644
}

// writeFile writes a file so that after a crash or a power cut it is there as a whole, or as it was before.
func writeFile(path string, text []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if info, statErr := f.Stat(); statErr == nil && info.Mode().Perm() != mode {
		err = f.Chmod(mode) // left over from a run with another mode
		if err != nil && mode == 0o600 && errors.Is(err, fs.ErrPermission) {
			err = nil // FAT has no modes
		}
	}
	if err == nil {
		_, err = f.Write(text)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(path+".new"))
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
