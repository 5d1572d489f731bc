package uplink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"time"

	"github.com/google/uuid"
)

// streamName is what Firehose allows as the name of a stream (Amazon Data Firehose API reference, CreateDeliveryStream).
var streamName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

// CheckStream returns an error that says what is wrong with the name of a stream.
func CheckStream(name string) error {
	if !streamName.MatchString(name) {
		return fmt.Errorf("stream name %q: use 1 to 64 of the characters a-z, A-Z, 0-9, '_', '.' and '-'", name)
	}
	return nil
}

// ObjectKey returns the key under which Firehose would deliver an object that it began at the given time: year/month/day in
// UTC, then the name of the stream, its version (always 1 here), the time again, and a random UUID
// (Amazon Data Firehose developer guide, "Amazon S3 object name format").
func ObjectKey(stream string, at time.Time) string {
	at = at.UTC()
	return path.Join(at.Format("2006/01/02"), fmt.Sprintf("%s-1-%s-%s", stream, at.Format("2006-01-02-15-04-05"), uuid.NewString()))
}

// partial is where objects are written before they get their name. A reader of the year/month/day folders never sees half of one.
const partial = ".partial"

// WriteObject writes an object under root so that it is there whole or not at all, also after a power cut. Folders are
// created as needed.
func WriteObject(root, key string, data []byte) (err error) {
	temp := filepath.Join(root, partial)
	if err := os.MkdirAll(temp, 0o755); err != nil {
		return fmt.Errorf("writing object %s: %w", key, err)
	}
	f, err := os.CreateTemp(temp, "object-*")
	if err != nil {
		return fmt.Errorf("writing object %s: %w", key, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is the one to tell
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("writing object %s: %w", key, err)
	}
	target := filepath.Join(root, filepath.FromSlash(key))
	if err := makeDirs(root, filepath.Dir(target)); err != nil {
		return fmt.Errorf("writing object %s: %w", key, err)
	}
	if err := os.Rename(f.Name(), target); err != nil {
		return fmt.Errorf("writing object %s: %w", key, err)
	}
	if err := syncDir(filepath.Dir(target)); err != nil {
		return fmt.Errorf("writing object %s: %w", key, err)
	}
	return nil
}

// makeDirs creates dir and what is missing between root and it, each durable in its parent.
func makeDirs(root, dir string) error {
	if dir == root {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	if err := makeDirs(root, parent); err != nil {
		return err
	}
	switch err := os.Mkdir(dir, 0o755); {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
