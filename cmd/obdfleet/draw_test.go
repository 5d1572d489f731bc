package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestADrawingIsSeenWhenItIsWhole: until then its directory is as it was, so that whatever ends the program leaves nothing behind.
func TestADrawingIsSeenWhenItIsWhole(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]string{"new": "", "in another's place": "old\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if f, err := openNameless(dir); errors.Is(err, errors.ErrUnsupported) {
				t.Skipf("%s is on a file system without nameless files", dir)
			} else if err != nil {
				t.Fatal(err)
			} else if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "page.html")
			if before != "" {
				writeFile(t, path, before)
			}
			for _, whole := range []bool{false, true} {
				f, err := createFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(f, strings.Repeat("new\n", 100_000)); err != nil {
					t.Fatal(err)
				}
				if got := names(t, dir); before == "" && len(got) != 0 || before != "" && (len(got) != 1 || read(t, path) != before) {
					t.Errorf("while it is written the directory has %q", got)
				}
				if whole {
					err = f.keep()
				}
				f.discard()
				if err != nil {
					t.Error(err)
				}
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode() != 0o644 || read(t, path) != strings.Repeat("new\n", 100_000) || len(names(t, dir)) != 1 {
				t.Errorf("%v, %v; the directory has %q", info, err, names(t, dir))
			}
		})
	}
}

// TestADrawingWhereNamelessFilesAreNot: then it has a hidden name, which goes when it is kept or discarded.
func TestADrawingWhereNamelessFilesAreNot(t *testing.T) {
	t.Parallel()
	if _, err := openNameless("/proc"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("/proc: %v", err)
	}
	if _, err := openNameless(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "page.html")
	for _, want := range []string{"", "page.html"} {
		file, err := os.CreateTemp(dir, ".page.html.*.tmp")
		if err != nil {
			t.Fatal(err)
		}
		f := &newFile{Writer: bufio.NewWriter(file), file: file, name: path, hidden: file.Name()}
		if want != "" {
			err = f.keep()
		}
		f.discard()
		if got := strings.Join(names(t, dir), " "); err != nil || got != want {
			t.Errorf("%v; the directory has %q, want %q", err, got, want)
		}
	}
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
