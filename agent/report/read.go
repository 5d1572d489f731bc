package report

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/google/uuid"
)

// A Format is what the lines of an object are.
type Format string

// The formats. FormatAuto decides line by line: a line that begins with a brace is JSON.
const (
	FormatAuto Format = "auto"
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// ParseFormat returns the format of that name.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case FormatAuto, FormatText, FormatJSON:
		return f, nil
	}
	return "", fmt.Errorf("format %q is unknown: use auto, text or json", name)
}

// Options say how to read. The zero value reads what the agent sends with its default configuration.
type Options struct {
	// Fields are the columns of text lines. Default: DefaultFields.
	Fields []string
	// Format of the lines. Default: FormatAuto.
	Format Format
	// Each, unless nil, is called for every line that is not damaged, duplicates included, in the order of reading.
	Each func(Line)
}

const (
	// maxLine is far above any record (a JSON line with every field is about 1 KiB), and bounds what a file that is no
	// record file can make the reader hold.
	maxLine = 64 << 10
	// KeepDamaged is how many damaged lines, and how many unreadable objects, a Report describes. All are counted.
	KeepDamaged = 20
	// A context is looked at once per so many lines: often enough to stop at once, too seldom to cost anything.
	linesPerContextCheck = 4096
)

// Read reads all objects of the source and sums them up. An object that cannot be read is reported and passed over. The error
// is that of the options, of a listing that broke off, or of the context; there is no report then.
func Read(ctx context.Context, source Source, o Options) (*Report, error) {
	layout, err := NewLayout(o.Fields...)
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	if o.Format == "" {
		o.Format = FormatAuto
	}
	if _, err := ParseFormat(string(o.Format)); err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	r := reader{
		report:   &Report{},
		layout:   layout,
		options:  o,
		plain:    bufio.NewReaderSize(nil, maxLine),
		seen:     make(map[uuid.UUID]struct{}),
		vehicles: make(map[string]*vehicle),
	}
	for object, err := range source.Objects(ctx) {
		if err != nil {
			return nil, fmt.Errorf("read records: %w", err)
		}
		if r.report.Skipped.skip(object.Key) {
			continue
		}
		r.object(ctx, object)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read records: %w", err)
		}
	}
	r.finish()
	return r.report, nil
}

// reader is the state of one Read.
type reader struct {
	report   *Report
	layout   Layout
	options  Options
	seen     map[uuid.UUID]struct{}
	vehicles map[string]*vehicle
	plain    *bufio.Reader // of the object as stored
	members  [maxNested]memberReader

	key    string       // the object being read
	number int          // its lines so far
	input  *objectInput // its bytes
}

// objectInput counts an object's bytes and tells a source that failed from data that is damaged.
type objectInput struct {
	io.Reader
	n   int64
	err error
}

func (in *objectInput) Read(p []byte) (int, error) {
	n, err := in.Reader.Read(p)
	in.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		in.err = err
	}
	return n, err
}

func (r *reader) object(ctx context.Context, o Object) {
	r.key, r.number = o.Key, 0
	r.report.Objects++
	in, err := o.Open(ctx)
	if err != nil {
		r.unreadable(err)
		return
	}
	r.input = &objectInput{Reader: in}
	r.plain.Reset(r.input)
	if kind := foreign(r.plain); kind != "" {
		r.unreadable(fmt.Errorf("is %s: text and JSON lines, plain or gzip, can be read", kind))
	} else if err := r.lines(ctx, r.plain, 0); err != nil && ctx.Err() == nil {
		r.unreadable(fmt.Errorf("after line %d: %w", r.number, err))
	}
	r.report.Bytes += r.input.n
	// All that was wanted of a file or a download has been read: a failing Close can take nothing of it away.
	_ = in.Close()
}

func (r *reader) unreadable(err error) {
	r.report.UnreadableCount++
	if len(r.report.Unreadable) < KeepDamaged {
		r.report.Unreadable = append(r.report.Unreadable, Unreadable{Object: r.key, Reason: oneLine(err)})
	}
}

// foreign names the kind of an object that holds no lines, by its first bytes, or returns "". Without it such an object would
// be thousands of damaged lines.
func foreign(in *bufio.Reader) string {
	head, _ := in.Peek(5) // what is wrong with the input shows on reading on
	for _, kind := range []struct{ magic, name string }{
		{"PAR1\x15", "Parquet"}, // with the page header's first byte: a VIN may begin with PAR1
		{"Obj\x01", "Avro"},
		{"\x28\xb5\x2f\xfd", "zstd"},
		{"PK\x03\x04", "zip"},
	} {
		if bytes.HasPrefix(head, []byte(kind.magic)) {
			return kind.name
		}
	}
	return ""
}

// lines reads lines to the end of in. Where a line could begin, a gzip member may begin too, unless already depth members
// deep. The error is that of the input; damaged lines are none.
func (r *reader) lines(ctx context.Context, in *bufio.Reader, depth int) error {
	for {
		if depth < maxNested && atMember(in) {
			if err := r.member(ctx, in, depth); err != nil {
				return err
			}
			continue
		}
		line, err := in.ReadSlice('\n')
		switch {
		case err == nil:
			r.line(line[:len(line)-1], true)
		case errors.Is(err, bufio.ErrBufferFull):
			r.number++
			r.damaged(fmt.Errorf("longer than %d bytes", maxLine))
			if err := discardLine(in); err != nil {
				return err
			}
		case errors.Is(err, io.EOF):
			if len(line) > 0 {
				r.line(line, false)
			}
			return nil
		default:
			return err
		}
		if r.number%linesPerContextCheck == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
}

// discardLine reads to the next newline or the end.
func discardLine(in *bufio.Reader) error {
	for {
		_, err := in.ReadSlice('\n')
		switch {
		case err == nil || errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

var errCut = errors.New("the object ends within it, without a newline: the last value may be cut")

// line takes one line. Where there is no newline behind it, only a JSON line shows by itself that it is whole.
func (r *reader) line(line []byte, ended bool) {
	r.number++
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) == 0 {
		return // passed over, as a CSV reader does
	}
	isJSON := r.options.Format == FormatJSON || r.options.Format == FormatAuto && line[0] == '{'
	var v values
	var err error
	switch {
	case isJSON:
		v, err = parseJSON(line)
	case !ended:
		err = errCut
	default:
		v, err = r.layout.parseText(line)
	}
	if err != nil {
		r.damaged(err)
		return
	}
	r.add(v, line)
}

func (r *reader) damaged(err error) {
	r.report.Lines++
	r.report.Damaged++
	if len(r.report.FirstDamaged) < KeepDamaged {
		d := Damage{Object: r.key, Line: r.number, Reason: oneLine(err)}
		r.report.FirstDamaged = append(r.report.FirstDamaged, d)
	}
}

// oneLine returns the error's text as one line that cannot steer a terminal: it may hold names and answers of others.
func oneLine(err error) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(err.Error(), "?"))
}
