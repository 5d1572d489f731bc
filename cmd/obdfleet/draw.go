package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"obdagent/agent/report"
	"obdagent/agent/report/page"
	"obdagent/agent/report/track"
)

// drawFlags are the files that a report is drawn into; "" is none.
type drawFlags struct{ html, gpx, geojson string }

func (f *drawFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.html, "html", "", "also draw the report into this file: one page with maps, speeds and gaps")
	c.Flags().StringVar(&f.gpx, "gpx", "", "also write the ways into this file, as GPX")
	c.Flags().StringVar(&f.geojson, "geojson", "", "also write the ways into this file, as GeoJSON")
}

// A drawing is a report's files in the making. Each gets its name when it is whole.
type drawing struct {
	page    *page.Page
	html    *newFile
	writers []track.Writer
	files   []*newFile
}

func (f *drawFlags) open() (d *drawing, err error) {
	d = &drawing{}
	defer func() {
		if err != nil {
			d.discard()
		}
	}()
	for _, want := range []struct {
		flag, name string
		begin      func(*newFile)
	}{
		{"html", f.html, func(file *newFile) { d.page, d.html = page.New(), file }},
		{"gpx", f.gpx, func(file *newFile) { d.writers = append(d.writers, track.NewGPX(file)) }},
		{"geojson", f.geojson, func(file *newFile) { d.writers = append(d.writers, track.NewGeoJSON(file)) }},
	} {
		if want.name == "" {
			continue
		}
		file, err := createFile(want.name)
		if err != nil {
			return d, fmt.Errorf("--%s: %w", want.flag, err)
		}
		d.files = append(d.files, file)
		want.begin(file)
	}
	return d, nil
}

// track returns what takes the points, or nil if nobody wants them.
func (d *drawing) track() func(report.TrackPoint) error {
	if len(d.files) == 0 {
		return nil
	}
	return func(p report.TrackPoint) error {
		for _, w := range d.writers {
			if err := w.Add(p); err != nil {
				return err
			}
		}
		if d.page != nil {
			return d.page.Add(p)
		}
		return nil
	}
}

// finish completes the files and gives them their names.
func (d *drawing) finish(r *report.Report) error {
	for _, w := range d.writers {
		if err := w.Close(); err != nil {
			return err
		}
	}
	if d.page != nil {
		if err := d.page.Render(d.html, r); err != nil {
			return err
		}
	}
	for _, f := range d.files {
		if err := f.keep(); err != nil {
			return err
		}
	}
	return nil
}

// discard takes away what did not become whole.
func (d *drawing) discard() {
	for _, f := range d.files {
		f.discard()
	}
}

// A newFile is written where nobody sees it, and then becomes a file, or takes its place. Until then it has no name, so that nothing is
// left of it however the program ends. Where the file system knows no such files (NFS, FAT) it has a hidden one beside the file.
type newFile struct {
	*bufio.Writer
	file   *os.File
	name   string
	hidden string // the name that it has until then; empty: none
	kept   bool
}

func createFile(name string) (*newFile, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	f, err := openNameless(filepath.Dir(name))
	hidden := ""
	if errors.Is(err, errors.ErrUnsupported) {
		if f, err = os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.tmp"); err == nil {
			hidden = f.Name()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: name a file in a directory that is there", err)
	}
	return &newFile{Writer: bufio.NewWriterSize(f, 64<<10), file: f, name: name, hidden: hidden}, nil
}

// openNameless opens a file in a directory that has no name there (open(2), O_TMPFILE). It gets one through /proc. Its error is
// errors.ErrUnsupported where that cannot be.
func openNameless(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_WRONLY, 0o600)
	// A file system or kernel that does not know it: open(2) names these three.
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		return nil, errors.ErrUnsupported
	}
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(procName(f)); err != nil {
		return nil, errors.Join(errors.ErrUnsupported, f.Close())
	}
	return f, nil
}

// procName is the name that an open file has in /proc.
func procName(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// link gives a nameless file a name at which nothing is.
func link(f *os.File, name string) error {
	return unix.Linkat(unix.AT_FDCWD, procName(f), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
}

func (f *newFile) keep() error {
	err := f.Flush()
	if err == nil {
		err = f.file.Chmod(0o644)
	}
	if err == nil && f.hidden == "" {
		err = f.appear()
	}
	if closeErr := f.file.Close(); err == nil {
		err = closeErr
	}
	if err == nil && f.hidden != "" {
		err = os.Rename(f.hidden, f.name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.name, err)
	}
	f.kept = true
	return nil
}

// appear gives a nameless file its name, or where that is taken a hidden one to take its place with.
func (f *newFile) appear() error {
	err := link(f.file, f.name)
	for n := 0; errors.Is(err, unix.EEXIST) && n < 100; n++ {
		hidden := filepath.Join(filepath.Dir(f.name), fmt.Sprintf(".%s.%d-%d.tmp", filepath.Base(f.name), os.Getpid(), n))
		if err = link(f.file, hidden); err == nil {
			f.hidden = hidden
		}
	}
	return err
}

func (f *newFile) discard() {
	if f.kept {
		return
	}
	// What is thrown away need not be whole.
	_ = f.file.Close()
	if f.hidden == "" {
		return
	}
	if err := os.Remove(f.hidden); err != nil && !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(os.Stderr, "obdfleet:", err)
	}
}
