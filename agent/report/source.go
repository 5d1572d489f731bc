package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// An Object is one delivered object: a file or an S3 object.
type Object struct {
	// Key names the object within its source, with slashes.
	Key string
	// Source is put before the key where the object is named, if there are several sources.
	Source string
	// Size is the number of bytes as stored, or -1 where the source does not know it.
	Size int64
	// Open starts reading the object. Whoever called it closes the reader. The context covers the reading too.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

func (o Object) name() string { return o.Source + o.Key }

// A Source lists objects.
type Source interface {
	// Objects lists all objects in lexical order of their keys. An error means that the listing cannot go on: it is the last
	// thing yielded. One object that cannot be opened is no such error; its Open says so.
	Objects(ctx context.Context) iter.Seq2[Object, error]
}

// Directory is the source of all regular files below root. Keys are relative to it. If root is a file, it is the only object.
// Symbolic links to files are followed, those to directories are not. A directory that cannot be listed appears as an object
// whose Open fails.
func Directory(root string) Source { return directory(root) }

type directory string

func (d directory) Objects(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		info, err := os.Stat(string(d))
		if err != nil {
			yield(Object{}, fmt.Errorf("list objects: %w", err))
			return
		}
		if !info.IsDir() {
			yield(d.file(filepath.Base(string(d)), string(d)), nil)
			return
		}
		d.walk(ctx, "", yield)
	}
}

// walk yields the files below key, which is "" or ends with a slash, and says whether to go on.
func (d directory) walk(ctx context.Context, key string, yield func(Object, error) bool) bool {
	if err := ctx.Err(); err != nil {
		yield(Object{}, fmt.Errorf("list objects: %w", err))
		return false
	}
	entries, err := os.ReadDir(filepath.Join(string(d), filepath.FromSlash(key)))
	if err != nil {
		return yield(Object{Key: key, Size: -1, Open: func(context.Context) (io.ReadCloser, error) { return nil, err }}, nil)
	}
	// A directory sorts with its slash, so that the whole keys come out in order: "a-b" is before "a/b".
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortKey(a), sortKey(b)) })
	for _, e := range entries {
		if e.IsDir() {
			if !d.walk(ctx, key+e.Name()+"/", yield) {
				return false
			}
			continue
		}
		name := key + e.Name()
		if !yield(d.file(name, filepath.Join(string(d), filepath.FromSlash(name))), nil) {
			return false
		}
	}
	return true
}

func sortKey(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

func (directory) file(key, name string) Object {
	o := Object{Key: key, Size: -1}
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		// Opening a pipe without a writer would wait for ever.
		err = fmt.Errorf("%s: %w", name, errNotRegular)
	case err == nil:
		o.Size = info.Size()
	}
	o.Open = func(context.Context) (io.ReadCloser, error) {
		if err != nil {
			return nil, err
		}
		return os.Open(name)
	}
	return o
}

var errNotRegular = errors.New("not a regular file")

// All is the source of the objects of several sources, one source after the other. Names are what stands before the keys.
func All(names []string, sources []Source) Source { return all{names, sources} }

type all struct {
	names   []string
	sources []Source
}

func (a all) Objects(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for i, s := range a.sources {
			for o, err := range s.Objects(ctx) {
				o.Source = a.names[i]
				if !yield(o, err) || err != nil {
					return
				}
			}
		}
	}
}

// errorPrefixes are the folders in which Firehose keeps what it could not deliver. The first is the one that this project's
// stream is made with; the others are the output types that Firehose puts there by itself (Amazon Data Firehose Developer
// Guide, "Understand custom prefixes for Amazon S3 objects", firehose:error-output-type).
var errorPrefixes = []string{"errors", "processing-failed", "format-conversion-failed"}

// skip says whether an object is left out because of its key, and counts it.
func (s *Skipped) skip(key string) bool {
	if strings.HasSuffix(key, "/") {
		return false // a directory that could not be listed
	}
	folder, base := path.Split(key)
	elements := strings.Split(folder, "/")
	for _, e := range elements {
		if slices.Contains(errorPrefixes, e) {
			s.ErrorPrefix++
			return true
		}
	}
	hidden := slices.ContainsFunc(append(elements, base), func(e string) bool { return strings.HasPrefix(e, ".") })
	if hidden || strings.HasSuffix(base, ".tmp") || strings.HasSuffix(base, ".part") || strings.HasSuffix(base, "~") {
		s.Temporary++
		return true
	}
	return false
}
