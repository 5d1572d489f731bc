package report

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"time"
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
	// VINs, From and To choose the lines that count, by the record's own VIN and time, From <= time < To; a record without a time
	// is in neither. UnknownVIN chooses those without a VIN. Zero values choose all.
	VINs     []string
	From, To time.Time
	// Gap is the time between two records of a vehicle above which records are missing. Default: DefaultGap.
	Gap time.Duration
	// Tmp is the directory for temporary files, which are needed for more than about 80,000 records and take up to 80 bytes a record.
	// Default: os.TempDir.
	Tmp string
	// Workers is how many objects are read at once. Default: one for each processor, 8 at most.
	Workers int
	// Each, unless nil, is called for every line that counts or is a duplicate, in the order of reading: objects are read one at a
	// time then.
	Each func(Line)
	// Track, unless nil, is called at the end for each record that counts and has a time, by VIN and time, the unknown VIN last. An
	// error of it ends the reading.
	Track func(TrackPoint) error
	// Progress, unless nil, is called now and then, by one goroutine at a time.
	Progress func(Progress)
}

// Progress is how far reading has come.
type Progress struct {
	// Objects and Bytes, as stored, that have been read.
	Objects int
	Bytes   int64
	// Listed is the bytes of all objects found so far.
	Listed int64
	// Sorting says that all is read, and Done, from 0 to 1, how far it is put in order.
	Sorting bool
	Done    float64
}

const (
	// maxLine is far above any record (a JSON line with every field is about 1 KiB), and bounds what a file that is no
	// record file can make the reader hold.
	maxLine = 64 << 10
	// KeepDamaged is how many damaged lines, and how many unreadable objects, a Report describes. All are counted.
	KeepDamaged = 20
	// A context is looked at once per so many lines: often enough to stop at once, too seldom to cost anything.
	linesPerContextCheck = 4096
	// maxWorkers bounds the memory that buffers take. What is read from S3 is more often bound by the line than by processors.
	maxWorkers = 8
	// listAhead is how many objects may be listed before they are read.
	listAhead = 1024
)

// Read reads all objects of the source and sums them up. An object that cannot be read is reported and passed over. The error
// is that of the options, of a listing that broke off, of a temporary file ([TempError]), of Track, or of the context; there is no
// report then.
func Read(ctx context.Context, source Source, o Options) (*Report, error) {
	r, err := read(ctx, source, o)
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	return r, nil
}

func read(ctx context.Context, source Source, o Options) (*Report, error) {
	layout, err := NewLayout(o.Fields...)
	if err != nil {
		return nil, err
	}
	if o.Format == "" {
		o.Format = FormatAuto
	}
	if _, err := ParseFormat(string(o.Format)); err != nil {
		return nil, err
	}
	if o.Gap <= 0 {
		o.Gap = DefaultGap
	}
	if o.Tmp == "" {
		o.Tmp = os.TempDir()
	}
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), maxWorkers)
	}
	if o.Each != nil {
		o.Workers = 1
	}
	c := newCollector(layout, o)
	defer c.ids.close()
	if err := c.objects(ctx, source); err != nil {
		return nil, err
	}
	return c.finish(ctx)
}

// reader reads objects, one after the other.
type reader struct {
	*collector
	chunk   *chunk
	plain   *bufio.Reader // of the object as stored
	members [maxNested]memberReader
	vin     []byte // the last line's, and its number: the next line's is mostly the same
	vehicle int

	// Of the object being read.
	place  int    // among all objects
	key    string // as shown
	number int    // its lines so far
	input  *objectInput
	found  found
	err    error // of a temporary file: reading is over
}

// objectInput counts an object's bytes and tells a source that failed from data that is damaged.
type objectInput struct {
	io.Reader
	collector *collector
	n         int64
	told      int64 // of n
	err       error
}

// progressStep is how many bytes are read before progress is told.
const progressStep = 256 << 10

func (in *objectInput) Read(p []byte) (int, error) {
	n, err := in.Reader.Read(p)
	in.n += int64(n)
	if in.n-in.told >= progressStep || err != nil {
		in.collector.progress(in.n - in.told)
		in.told = in.n
	}
	if err != nil && !errors.Is(err, io.EOF) {
		in.err = err
	}
	return n, err
}

// object reads one object and adds what was found to the report.
func (r *reader) object(ctx context.Context, o Object, place int) error {
	r.key, r.place, r.number, r.found = o.name(), place, 0, found{}
	in, err := o.Open(ctx)
	if err != nil {
		r.unreadable(err)
	} else {
		r.input = &objectInput{Reader: in, collector: r.collector}
		r.plain.Reset(r.input)
		if kind := foreign(r.plain); kind != "" {
			r.unreadable(fmt.Errorf("is %s: text and JSON lines, plain or gzip, can be read", kind))
		} else if err := r.lines(ctx, r.plain, 0); err != nil && ctx.Err() == nil && r.err == nil {
			r.unreadable(fmt.Errorf("after line %d: %w", r.number, err))
		}
		r.found.bytes = r.input.n
		// All that was wanted of a file or a download has been read: a failing Close can take nothing of it away.
		_ = in.Close()
	}
	r.collector.add(place, &r.found)
	if r.err != nil {
		return r.err
	}
	return ctx.Err()
}

func (r *reader) unreadable(err error) {
	r.found.unreadableCount++
	if len(r.found.unreadable) < KeepDamaged {
		r.found.unreadable = append(r.found.unreadable, Unreadable{Object: r.key, Reason: oneLine(err)})
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
		if r.err != nil {
			return r.err
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
	r.found.lines++
	r.found.damagedCount++
	if len(r.found.damaged) < KeepDamaged {
		r.found.damaged = append(r.found.damaged, Damage{Object: r.key, Line: r.number, Reason: oneLine(err)})
	}
}

// add takes a line that is whole.
func (r *reader) add(v values, raw []byte) {
	r.found.lines++
	if wanted, noTime := r.filter.wants(&v); !wanted {
		r.found.filtered++
		if noTime {
			r.found.filteredUndated++
		}
		return
	}
	if r.vehicle < 0 || !bytes.Equal(v.vin, r.vin) {
		r.vin = append(r.vin[:0], v.vin...)
		r.vehicle = r.vehicleNumber(v.vin)
	}
	id := v.id
	if !v.hasID {
		id = r.standIn()
	}
	row, err := r.chunk.next()
	if err != nil {
		r.err = err
		return
	}
	v.sample().putByID(row, id, r.vehicle)
	if r.options.Each != nil {
		r.options.Each(Line{
			Object: r.key, Number: r.number, ID: v.id, Time: v.time, VIN: string(v.vin), Lon: v.lon, Lat: v.lat, Speed: v.speed, Raw: raw,
		})
	}
}

// standIn is the id of a line without one, which nothing else has: all ones is no UUID that is ever made (RFC 9562, section 5.10),
// nor are those a few below it.
func (r *reader) standIn() (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:8], math.MaxUint64-uint64(r.place))
	binary.BigEndian.PutUint64(id[8:], uint64(r.number))
	return id
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
