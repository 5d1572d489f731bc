package buffer

// What the tests, which are in a package of their own, need from inside.

type (
	FS       = fsys
	File     = file
	FileInfo = fileInfo
)

// NewOSDir is the operating system's directory.
func NewOSDir(path string) FS { return osDir{path} }

// OpenOn opens a log on any file system, also with segments smaller than Open allows, so that tests roll often.
func OpenOn(dir FS, opts Options) (*Log, error) {
	segment, limit := opts.SegmentBytes, opts.MaxBytes
	opts.SegmentBytes, opts.MaxBytes = 0, 0
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	if segment != 0 {
		opts.SegmentBytes, opts.MaxBytes = segment, limit
	}
	return open(dir, opts)
}

// InspectOn looks into a directory of any file system.
func InspectOn(dir FS, each func(ScannedRecord) error) (*Inspection, error) {
	return inspect(dir, each)
}
