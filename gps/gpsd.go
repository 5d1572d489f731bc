package gps

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

const (
	// gpsdPort is the port of gpsd, registered with IANA.
	gpsdPort = "2947"
	// gpsdWatch asks for reports. Without it gpsd sends its VERSION and nothing else, and may not even open the receiver.
	gpsdWatch = `?WATCH={"enable":true,"json":true};` + "\n"
	// maxReport is the longest line accepted. gpsd's own limit is GPS_JSON_RESPONSE_MAX, 10,240 in its gps_json.h.
	maxReport = 16 << 10
	// gpsdKeep is how long the satellites of a SKY report hold, and how long the device heard first keeps others out.
	gpsdKeep = 5 * time.Second
	// untimedEpoch parts reports without a time, which gpsd sends several of for each of the receiver's cycles.
	untimedEpoch = 500 * time.Millisecond
	// gpsdLearn is how many epochs back the number of reports per epoch is remembered.
	gpsdLearn = 8
)

// gpsdReport holds what is read of a line of gpsd's protocol (gpsd_json(5)). Each field may be absent or null.
type gpsdReport struct {
	Class  string  `json:"class"`
	Device *string `json:"device"`

	// TPV
	Mode   *int       `json:"mode"`
	Status *int       `json:"status"`
	Time   *time.Time `json:"time"`
	Lat    *float64   `json:"lat"`
	Lon    *float64   `json:"lon"`
	AltMSL *float64   `json:"altMSL"`
	AltHAE *float64   `json:"altHAE"`
	Alt    *float64   `json:"alt"` // before 3.20: above mean sea level; since then undefined
	Speed  *float64   `json:"speed"`
	Track  *float64   `json:"track"`

	// SKY
	HDOP       *float64 `json:"hdop"`
	Used       *int     `json:"uSat"` // since 3.22
	Satellites []struct {
		Used *bool `json:"used"`
	} `json:"satellites"`

	// VERSION, DEVICES, DEVICE, ERROR
	Release   *string                  `json:"release"`
	Devices   *[]struct{ Path string } `json:"devices"`
	Path      *string                  `json:"path"`
	Activated json.RawMessage          `json:"activated"` // a time, or 0 when the device is gone
	Message   *string                  `json:"message"`
}

// A gpsdReader makes Fixes of gpsd's reports. gpsd sends several TPV for one epoch while it learns which sentence ends
// the receiver's cycle, and some receivers make it do so for ever: the last one counts. An epoch is out with the first
// report of another time; or with as many reports as the fullest of the last eight epochs had; or when nothing came for a
// quarter of a second. It is pure, as the Assembler is.
type gpsdReader struct {
	emit   func(Fix)
	counts Counts
	frozen frozenCheck

	line    []byte
	tooLong bool
	lines   uint64
	wrong   string // why no fix can come, for a person; empty: nothing is known to be wrong

	open struct {
		started bool
		fix     Fix
		last    time.Duration // when its last report came
	}
	last struct { // the last epoch emitted, or under way
		time    time.Time
		reports int
		emitted bool
	}
	perEpoch [gpsdLearn]int // how many reports the last epochs had
	epochs   int

	device   string // the one that is listened to
	deviceAt time.Duration
	sky      struct {
		at   time.Duration
		ok   bool
		sats int // -1 unknown
		hdop float64
	}
}

func newGpsdReader(emit func(Fix)) *gpsdReader { return &gpsdReader{emit: emit} }

// Feed takes bytes that arrived at the given time.
func (g *gpsdReader) Feed(p []byte, at time.Duration) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		piece := p
		if end >= 0 {
			piece = p[:end]
		}
		if len(g.line)+len(piece) > maxReport {
			g.tooLong = true
		}
		if g.tooLong {
			g.counts.NoiseBytes += uint64(len(g.line) + len(piece))
			g.line = g.line[:0]
		} else {
			g.line = append(g.line, piece...)
		}
		if end < 0 {
			return
		}
		if g.tooLong {
			g.counts.BadSentence++
		} else if line := bytes.TrimSpace(g.line); len(line) > 0 {
			g.report(line, at)
		}
		g.line, g.tooLong = g.line[:0], false
		p = p[end+1:]
	}
}

// Deadline returns when the open epoch is complete if no further report comes.
func (g *gpsdReader) Deadline() (at time.Duration, ok bool) {
	return g.open.last + minQuiet, g.open.started
}

// Expire emits the open epoch if its deadline has passed.
func (g *gpsdReader) Expire(now time.Duration) {
	if at, ok := g.Deadline(); ok && now >= at {
		g.finish(now)
	}
}

// Flush emits the open epoch and forgets the connection: the next one begins with a VERSION again.
func (g *gpsdReader) Flush(now time.Duration) {
	g.finish(now)
	*g = gpsdReader{emit: g.emit, counts: g.counts, frozen: g.frozen, line: g.line[:0]}
}

// Counts returns what was met: a sentence is a TPV report.
func (g *gpsdReader) Counts() Counts { return g.counts }

// trouble says why no fix comes, empty if gpsd did not.
func (g *gpsdReader) trouble() string { return g.wrong }

// errReport is a report with a value that cannot be.
var errReport = errors.New("value out of range")

func (g *gpsdReader) report(line []byte, at time.Duration) {
	g.lines++
	var r gpsdReport
	if err := json.Unmarshal(line, &r); err != nil || r.Class == "" {
		g.counts.BadSentence++
		g.counts.NoiseBytes += uint64(len(line))
		if g.lines == 1 {
			g.wrong = "what answers there does not speak gpsd's protocol; if it sends NMEA, write tcp:// for gpsd://"
		}
		return
	}
	switch r.Class {
	case "TPV":
		if g.foreign(r.Device, at) {
			return
		}
		if err := g.fix(&r, at); err != nil {
			g.counts.BadSentence++
			return
		}
		g.counts.Sentences++
		g.wrong = ""
	case "SKY":
		if !g.foreign(r.Device, at) {
			g.satellites(&r, at)
		}
	case "DEVICES":
		if r.Devices != nil && len(*r.Devices) == 0 {
			g.wrong = "gpsd has no receiver: name its device in gpsd's configuration, or plug it in"
		}
	case "DEVICE":
		if string(r.Activated) == "0" {
			name := ""
			if r.Path != nil {
				name = " " + *r.Path
			}
			g.wrong = "gpsd has lost the receiver" + name + ": check its cable"
		}
	case "ERROR":
		if r.Message != nil {
			g.wrong = "gpsd says " + strconv.QuoteToASCII(*r.Message)
		}
	}
}

// foreign reports whether a report is of another receiver than the one listened to: gpsd may have several, and their
// epochs are not to be mixed. The first that is heard stays until it is silent.
func (g *gpsdReader) foreign(device *string, at time.Duration) bool {
	if device == nil {
		return false
	}
	if g.device != "" && *device != g.device && at-g.deviceAt < gpsdKeep {
		return true
	}
	if *device != g.device {
		g.device, g.sky.ok = *device, false
	}
	g.deviceAt = at
	return false
}

// satellites keeps what a SKY report says. There are SKYs with dilutions alone and such with satellites alone.
func (g *gpsdReader) satellites(r *gpsdReport, at time.Duration) {
	s := &g.sky
	if !s.ok || at-s.at > gpsdKeep {
		s.sats, s.hdop = -1, math.NaN()
	}
	s.at, s.ok = at, true
	if r.HDOP != nil {
		s.hdop = math.NaN()
		if *r.HDOP >= minDilution && *r.HDOP <= maxDilution {
			s.hdop = *r.HDOP
		}
	}
	switch {
	case r.Used != nil:
		s.sats = *r.Used
	case r.Satellites != nil:
		s.sats = 0
		for _, sat := range r.Satellites {
			if sat.Used != nil && *sat.Used {
				s.sats++
			}
		}
	}
}

// fix takes a TPV.
func (g *gpsdReader) fix(r *gpsdReport, at time.Duration) error {
	f, err := r.fix()
	if err != nil {
		return err
	}
	f.Mono = at
	if g.sky.ok && at-g.sky.at <= gpsdKeep {
		f.Sats, f.HDOP = g.sky.sats, g.sky.hdop
	}
	switch {
	case f.Time.IsZero():
		if g.open.started && (!g.open.fix.Time.IsZero() || at-g.open.fix.Mono >= untimedEpoch) {
			g.finish(at)
		}
		g.last.time = time.Time{}
	case f.Time.Equal(g.last.time):
		g.last.reports++
		if g.last.emitted {
			g.counts.Late++
			return nil
		}
	default:
		g.finish(at)
		if g.last.reports > 0 {
			g.perEpoch[g.epochs%gpsdLearn] = g.last.reports
			g.epochs++
		}
		g.last.time, g.last.reports, g.last.emitted = f.Time, 1, false
	}
	if g.open.started {
		f.Mono = g.open.fix.Mono
	}
	g.open.started, g.open.fix, g.open.last = true, f, at
	if g.epochs >= 2 && !f.Time.IsZero() {
		most := 0
		for _, n := range g.perEpoch {
			most = max(most, n)
		}
		if g.last.reports >= most {
			g.finish(at)
		}
	}
	return nil
}

// finish emits the open epoch.
func (g *gpsdReader) finish(now time.Duration) {
	if !g.open.started {
		return
	}
	f := g.open.fix
	f.Done = now
	g.open.started, g.last.emitted = false, true
	if f.Mode != ModeNone {
		switch {
		case f.HDOP >= absurdHDOP:
			f = refused(f, CauseDilution, fmt.Sprintf("HDOP %.1f", f.HDOP))
		case g.frozen.contradicts(f):
			f = refused(f, CauseFrozen, fmt.Sprintf("position stands still at a speed of %.1f m/s", f.Speed))
		}
	}
	g.counts.Epochs++
	if f.Mode != ModeNone {
		g.counts.Fixes++
	}
	g.emit(f)
}

// fix is what a TPV says, without satellites and arrival.
func (r *gpsdReport) fix() (Fix, error) {
	nan := math.NaN()
	f := Fix{TimeOfDay: -1, Lat: nan, Lon: nan, Alt: nan, Speed: nan, Course: nan, HDOP: nan, Sats: -1}
	if r.Time != nil && !r.Time.IsZero() {
		f.Time = r.Time.UTC()
		f.TimeOfDay = f.Time.Sub(f.Time.Truncate(24 * time.Hour))
	}
	switch {
	case r.Mode == nil || *r.Mode < 2:
		f.Cause, f.Reason = CauseNoFix, "gpsd has no fix"
		return f, nil
	case *r.Mode > 3:
		return f, fmt.Errorf("mode: %w", errReport)
	case r.Lat == nil || r.Lon == nil:
		f.Cause, f.Reason = CauseNoPosition, "gpsd gives no position"
		return f, nil
	case *r.Lat == 0 && *r.Lon == 0:
		f.Cause, f.Reason = CauseZero, "position is 0,0"
		return f, nil
	case math.Abs(*r.Lat) > 90 || math.Abs(*r.Lon) > 180:
		return f, fmt.Errorf("position: %w", errReport)
	}
	f.Lat, f.Lon = *r.Lat, *r.Lon
	if *r.Mode == 3 {
		switch {
		case r.AltMSL != nil:
			f.Alt = *r.AltMSL
		case r.Alt != nil && r.AltHAE == nil:
			f.Alt = *r.Alt
		}
	}
	if r.Speed != nil && *r.Speed >= 0 && *r.Speed <= maxKnots*metresPerSecondPerKnot {
		f.Speed = *r.Speed
	}
	if r.Track != nil && *r.Track >= 0 && *r.Track <= 360 {
		f.Course = math.Mod(*r.Track, 360)
	}
	f.Mode = r.kind()
	return f, nil
}

// kind tells the kind of fix, of a report that is one. The statuses are those of gpsd_json(5): 2 DGPS, 3 RTK fixed, 4 RTK
// floating, 5 and 6 dead reckoning without and with satellites, 8 simulated; all others are ordinary.
func (r *gpsdReport) kind() Mode {
	status := 0
	if r.Status != nil {
		status = *r.Status
	}
	switch status {
	case 2:
		return ModeDGPS
	case 3, 4:
		return ModeRTK
	case 5, 6:
		return ModeDR
	case 8:
		return ModeSimulated
	}
	if *r.Mode == 3 {
		return Mode3D
	}
	return Mode2D
}
