package obd

import (
	"bytes"
	"math"
)

// A decoder is a Signal.Decode that remembers: elmobd takes its bytes as text, which costs four allocations an answer. The
// same bytes give the same value, so an answer of one data byte is decoded 256 times at most, and a longer one when
// it has changed.
type decoder struct {
	signal *Signal
	echo   []byte
	one    *[256]decoded // answers of one data byte
	last   decoded       // else
	bytes  []byte        // of last
	reader reader
}

type decoded struct {
	known bool
	value float64
	err   error
}

func (d *decoder) decode(answer []byte) (float64, error) {
	if d.signal.Bytes == 1 && len(answer) == len(d.echo)+2 && answers(answer, d.signal.service(), d.echo) {
		if d.one == nil {
			d.one = new([256]decoded)
		}
		x := &d.one[answer[len(answer)-1]]
		if !x.known {
			x.value, x.err = d.signal.read(&d.reader, answer)
			x.known = true
		}
		return x.value, x.err
	}
	if !d.last.known || !bytes.Equal(answer, d.bytes) {
		d.last.value, d.last.err = d.signal.read(&d.reader, answer)
		d.last.known = true
		d.bytes = append(d.bytes[:0], answer...)
	}
	if d.last.err != nil {
		return math.NaN(), d.last.err
	}
	return d.last.value, nil
}
