package demo

import (
	"fmt"
	"io"
	"time"

	"obdagent/agent/status"
)

// screen is the live view: one line that changes on a terminal, else a line every few seconds.
type screen struct {
	out   io.Writer
	live  bool
	total time.Duration
	last  time.Duration
	shown bool
}

// lineEvery is the rhythm of the live view where it cannot overwrite itself.
const lineEvery = 5 * time.Second

func (s *screen) show(at time.Duration, snap status.Snapshot) {
	if !s.live && s.shown && at-s.last < lineEvery {
		return
	}
	s.last, s.shown = at, true
	text := fmt.Sprintf("%3.0fs of %.0fs  car %-7s %8s  gps %-7s %8s  made %-5d waiting %-5d delivered %-5d uplink %s",
		at.Seconds(), s.total.Seconds(), snap.Car.State, speed(snap.Car.Speed), snap.GPS.State, speed(snap.GPS.Speed),
		snap.Record.Made, snap.Buffer.Records, snap.Uplink.Delivered, snap.Uplink.State)
	if s.live {
		// Back to the start of the line, and clear what is left of the longer one before (ECMA-48 EL).
		fmt.Fprintf(s.out, "\r%s\x1b[K", text)
		return
	}
	fmt.Fprintln(s.out, text)
}

func (s *screen) end(text string) {
	if s.live && s.shown {
		fmt.Fprintln(s.out)
	}
	fmt.Fprintln(s.out, text)
}

func speed(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f km/h", *v)
}
