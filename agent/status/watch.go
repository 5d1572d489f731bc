package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// watchEvery is how often a watcher looks: a person sees a cable being pulled, and the board does not notice him.
	watchEvery = time.Second
	// waitEvery is how often Wait looks.
	waitEvery = 500 * time.Millisecond
)

// Wait asks the agent that serves socket until its state is OK, at most for the given time, and returns its last answer. The error is
// that of the last attempt: ErrNotRunning if the agent did not serve the socket at the end.
func Wait(ctx context.Context, socket string, most time.Duration) (Snapshot, error) {
	end := time.NewTimer(most)
	defer end.Stop()
	look := time.NewTicker(waitEvery)
	defer look.Stop()
	for {
		s, err := Fetch(ctx, socket)
		if err == nil && s.State == OK || err != nil && !errors.Is(err, ErrNotRunning) && !errors.Is(err, ErrNoAnswer) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, context.Cause(ctx)
		case <-end.C:
			return s, err
		case <-look.C:
		}
	}
}

// A Format writes a snapshot.
type Format func(s *Snapshot, w io.Writer) error

// JSON writes the snapshot as indented JSON.
func (s *Snapshot) JSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(s)
}

// JSONLine writes the snapshot as JSON on one line.
func (s *Snapshot) JSONLine(w io.Writer) error { return json.NewEncoder(w).Encode(s) }

// Watch writes what the agent that serves socket answers, each second, until ctx is done, which is no error. While it does not
// run, that is what absent writes. On a screen each answer takes the place of the one before.
func Watch(ctx context.Context, w io.Writer, socket string, screen bool, format Format, absent func(io.Writer, error) error) error {
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	if screen {
		if _, err := io.WriteString(w, clearScreen); err != nil {
			return fmt.Errorf("print the status: %w", err)
		}
	}
	for {
		s, err := Fetch(ctx, socket)
		var text bytes.Buffer
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			err = absent(&text, err)
		default:
			err = format(&s, &text)
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(frame(text.Bytes(), screen)); err != nil {
			return fmt.Errorf("print the status: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// The controls of ECMA-48 that redraw without flicker: the old text is written over, line by line.
const (
	clearScreen = "\x1b[2J"
	home        = "\x1b[H"
	clearLine   = "\x1b[K\n" // the rest of the line
	clearBelow  = "\x1b[J"
)

// frame makes a picture of what stands on a screen of its own.
func frame(text []byte, screen bool) []byte {
	if !screen {
		return text
	}
	text = bytes.ReplaceAll(text, []byte("\n"), []byte(clearLine))
	return append(append([]byte(home), text...), clearBelow...)
}
