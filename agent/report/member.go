package report

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
)

const (
	// maxNested is 2 because devices may pack what they send, and the stream may pack what it delivers.
	maxNested = 2
	// maxMember is how much of a gzip member is unpacked before its lines count. A device's member holds 2 MiB of lines at most
	// (agent/uplink, mostGzipLines).
	maxMember = 2<<20 + 1
)

// gzipMagic is ID1, ID2 and CM=deflate of RFC 1952, section 2.3.1. No line begins with it.
var gzipMagic = []byte{0x1f, 0x8b, 0x08}

func atMember(in *bufio.Reader) bool {
	head, _ := in.Peek(len(gzipMagic)) // a short head is no member; an error comes back on reading on
	return bytes.Equal(head, gzipMagic)
}

// memberReader holds what reading the members at one depth needs, to be used again for the next member.
type memberReader struct {
	gzip  gzip.Reader
	text  bytes.Buffer
	lines *bufio.Reader
}

// member reads the gzip member at which in stands and leaves in behind it. A damaged member is reported, and in is left at the
// next thing that looks like a member. The error is that of the input or the context.
func (r *reader) member(ctx context.Context, in *bufio.Reader, depth int) error {
	m := &r.members[depth]
	if m.lines == nil {
		m.lines = bufio.NewReaderSize(nil, maxLine)
		m.text.Grow(64 << 10)
	}
	start, before := r.offset(), r.number
	err := m.gzip.Reset(in)
	if err == nil {
		m.gzip.Multistream(false)
		m.text.Reset()
		var n int64
		n, err = io.CopyN(&m.text, &m.gzip, maxMember)
		switch {
		case err == nil && n == maxMember: // more to come: the lines cannot wait for the checksum
			m.lines.Reset(io.MultiReader(&m.text, &m.gzip))
			err = r.lines(ctx, m.lines, depth+1)
		case errors.Is(err, io.EOF):
			m.lines.Reset(&m.text)
			err = r.lines(ctx, m.lines, depth+1)
		}
	}
	switch {
	case err == nil:
		return nil
	case r.err != nil:
		return r.err
	case r.input.err != nil:
		return r.input.err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	fate := "its lines do not count"
	if n := r.number - before; n > 0 {
		fate = fmt.Sprintf("%d of its lines were counted before that showed", n)
	}
	skipErr := skipToMember(in)
	r.unreadable(fmt.Errorf("gzip member at byte %d: %w; %s, reading goes on at byte %d", start, err, fate, r.offset()))
	return skipErr
}

// offset is where reading stands in the object as stored.
func (r *reader) offset() int64 { return r.input.n - int64(r.plain.Buffered()) }

// skipToMember leaves in at the next gzip magic, or at the end.
func skipToMember(in *bufio.Reader) error {
	for {
		head, err := in.Peek(len(gzipMagic))
		if bytes.Equal(head, gzipMagic) {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		// To the next byte that could begin the magic, within what is buffered.
		buffered, _ := in.Peek(in.Buffered())
		if len(buffered) == 0 {
			return nil
		}
		next := bytes.IndexByte(buffered[1:], gzipMagic[0])
		if next < 0 {
			next = len(buffered) - 1
		}
		_, _ = in.Discard(next + 1) // never more than is buffered: cannot fail
	}
}
