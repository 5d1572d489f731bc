package gps

import (
	"errors"
	"fmt"
	"io"
)

// Decode reads a recording to its end and calls emit for each epoch. Dates stay as they are, Mono and Done are zero, for a
// recording does not say when its bytes came. It returns what was met on the way.
func Decode(r io.Reader, emit func(Fix)) (Counts, error) {
	a := NewAssembler(emit)
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		a.Feed(buf[:n], 0)
		if errors.Is(err, io.EOF) {
			a.Flush(0)
			return a.Counts(), nil
		}
		if err != nil {
			return a.Counts(), fmt.Errorf("read recording: %w", err)
		}
	}
}
