package status

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The kinds of an Event.
const (
	KindRecord = "record" // a record that the buffer took
	KindNMEA   = "nmea"   // a line from the receiver
	KindOBD    = "obd"    // a command to the adapter, or its reply
	kindDrop   = "dropped"
)

// Kinds are those that can be asked for.
var Kinds = []string{KindRecord, KindNMEA, KindOBD}

// An Event is one thing that passes through the agent.
type Event struct {
	Time time.Time `json:"time"` // best known; of the last byte of a line
	Kind string    `json:"kind"` // record nmea obd, or dropped
	Dir  string    `json:"dir,omitempty"`
	// Text is a line without its end; of a reply of the adapter all its lines, with " | " between. Bytes that are no printable ASCII
	// are written \x00.
	Text string `json:"text,omitempty"`
	// NoPrompt says that the adapter's reply did not end: its prompt did not come before the next command.
	NoPrompt bool            `json:"no_prompt,omitempty"`
	Record   json.RawMessage `json:"record,omitempty"`
	Dropped  uint64          `json:"dropped,omitempty"` // how many events the reader was too slow for, before this one
}

const (
	// feedQueue is how many events may wait for one reader: some ten seconds of a fast adapter and receiver.
	feedQueue = 512
	// feedReaders is how many may watch at once. Each costs memory for its queue, and each event a write.
	feedReaders = 8
	// feedLine bounds a line: what is longer is cut into pieces. NMEA 0183 allows 82, receivers send up to 120.
	feedLine = 1024
)

// A Feed shows what passes through the agent to whoever watches. Telling it something never waits: a reader that is too slow
// misses events, and is told how many. While nobody watches it costs one look at a counter.
//
// The zero value is not ready: use NewFeed.
type Feed struct {
	now      func() time.Time
	watching atomic.Int32

	mu      sync.Mutex
	readers map[*feedReader]struct{}
	nmea    []byte // a line in the making
	sent    []byte // a command in the making
	reply   []byte // a reply in the making
}

type feedReader struct {
	kinds   []string
	events  chan []byte // JSON lines
	dropped uint64      // since the last one that had room; guarded by Feed.mu
}

// NewFeed returns a Feed. now dates the events.
func NewFeed(now func() time.Time) *Feed {
	return &Feed{now: now, readers: map[*feedReader]struct{}{}}
}

// Watched says whether telling is worth the work. It is for callers who would have to make what they tell.
func (f *Feed) Watched() bool { return f.watching.Load() > 0 }

// Record tells of a record, as JSON.
func (f *Feed) Record(line []byte) {
	if !f.Watched() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tell(Event{Kind: KindRecord, Record: bytes.TrimSpace(line)})
}

// NMEA tells of bytes from the receiver. Events are whole lines.
func (f *Feed) NMEA(_ string, data []byte) {
	if !f.Watched() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nmea = f.lines(f.nmea, data, func(line string) { f.tell(Event{Kind: KindNMEA, Dir: "rx", Text: line}) })
}

// OBD tells of bytes to (tx) or from (rx) the adapter. Events are whole commands and whole replies.
func (f *Feed) OBD(dir string, data []byte) {
	if !f.Watched() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if dir == "tx" {
		f.flushReply(true)
		f.sent = f.lines(f.sent, data, func(line string) { f.tell(Event{Kind: KindOBD, Dir: "tx", Text: line}) })
		return
	}
	for _, b := range data {
		switch {
		case b == '>':
			f.flushReply(false)
		case len(f.reply) >= feedLine:
			f.flushReply(true)
			fallthrough
		default:
			f.reply = append(f.reply, b)
		}
	}
}

// flushReply tells what the adapter said.
func (f *Feed) flushReply(noPrompt bool) {
	text := string(f.reply)
	f.reply = f.reply[:0]
	var lines []string
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, printable(line))
		}
	}
	if len(lines) > 0 || !noPrompt {
		f.tell(Event{Kind: KindOBD, Dir: "rx", Text: strings.Join(lines, " | "), NoPrompt: noPrompt})
	}
}

// lines adds data to a line in the making, tells each that is whole, and returns what is left.
func (f *Feed) lines(line, data []byte, tell func(string)) []byte {
	for _, b := range data {
		end := b == '\r' || b == '\n'
		if !end {
			line = append(line, b)
		}
		if (end || len(line) >= feedLine) && len(line) > 0 {
			tell(printable(string(line)))
			line = line[:0]
		}
	}
	return line
}

// printable keeps a terminal from being steered by what comes over a cable.
func printable(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c <= '~' {
			b.WriteByte(c)
		} else {
			const hex = "0123456789abcdef"
			b.WriteString(`\x`)
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// tell hands an event to each reader that asked for its kind.
func (f *Feed) tell(e Event) {
	e.Time = f.now().UTC().Round(time.Millisecond)
	var line []byte // made once
	for r := range f.readers {
		if !slices.Contains(r.kinds, e.Kind) {
			continue
		}
		if line == nil {
			line = eventLine(e)
		}
		if r.dropped > 0 {
			// One place for saying so, and one for the event itself: this goroutine alone fills the queue.
			if cap(r.events)-len(r.events) < 2 {
				r.dropped++
				continue
			}
			r.events <- eventLine(Event{Time: e.Time, Kind: kindDrop, Dropped: r.dropped})
			r.dropped = 0
		}
		select {
		case r.events <- line:
		default:
			r.dropped++
		}
	}
}

func eventLine(e Event) []byte {
	line, err := json.Marshal(e)
	if err != nil { // a record that is no JSON: its writer is at fault
		line, _ = json.Marshal(Event{Time: e.Time, Kind: e.Kind, Text: "cannot be shown: " + err.Error()})
	}
	return append(line, '\n')
}

// watch adds a reader, or returns nil if there are too many.
func (f *Feed) watch(kinds []string) *feedReader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.readers) >= feedReaders {
		return nil
	}
	if len(f.readers) == 0 {
		// What was begun before nobody watched is not the beginning of what comes now.
		f.nmea, f.sent, f.reply = f.nmea[:0], f.sent[:0], f.reply[:0]
	}
	r := &feedReader{kinds: kinds, events: make(chan []byte, feedQueue)}
	f.readers[r] = struct{}{}
	f.watching.Add(1)
	return r
}

func (f *Feed) unwatch(r *feedReader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, r)
	f.watching.Add(-1)
}
