package obd

import (
	"context"
	"strings"
	"time"
)

// What follows opens the pure inner parts to the tests.

// Message is one ECU's answer.
type Message struct {
	ECU  string
	Data []byte
}

// Framing is the layout of reply lines.
type Framing = framing

// The layouts.
const (
	FramingCAN11 = framingCAN11
	FramingCAN29 = framingCAN29
	FramingISO   = framingISO
	FramingJ1850 = framingJ1850
)

// Speed takes a whole reply to 010D through every gate; padded, if given, is what is known of the ECU's frames.
func Speed(raw []byte, f Framing, ecu string, padded ...bool) (float64, error) {
	from := sender{framing: f, ecu: ecu}
	if len(padded) > 0 {
		from.fill = fillNone
		if padded[0] {
			from.fill = fillFull
		}
	}
	msgs, err := parseReply("010D", raw, from)
	if err != nil {
		return 0, err
	}
	data, err := answerTo(msgs, 1, []byte{0x0D})
	if err != nil {
		return 0, err
	}
	return speedSignal.Decode(data)
}

var speedSignal = Signals()[0]

// VIN takes a whole reply to 0902 through every gate.
func VIN(raw []byte, f Framing, ecu string) (string, error) {
	msgs, err := parseReply("0902", raw, sender{framing: f, ecu: ecu})
	if err != nil {
		return "", err
	}
	return decodeVIN(msgs, f)
}

// Codes takes a reply to service 03 through every gate and joins the codes.
func Codes(raw []byte, f Framing) (string, error) {
	msgs, err := parseReply("03", raw, sender{framing: f})
	if err != nil {
		return "", err
	}
	codes, err := decodeCodes(msgs, 3, f)
	return strings.Join(codes, " "), err
}

// GuessFraming opens guessFraming.
func GuessFraming(digits string) Framing { return guessFraming(digits) }

// Assemble feeds frames to an assembler and returns the messages.
func Assemble(ecus []string, frames [][]byte) ([]Message, error) {
	var a assembler
	var out []Message
	for i, f := range frames {
		m, complete, err := a.frame(ecus[i%len(ecus)], f)
		if err != nil {
			return out, err
		}
		if complete {
			out = append(out, Message{m.ecu, m.data})
		}
	}
	return out, a.done()
}

// ShortWay takes a reply through oneFrame; padded is what is known of the ECU's frames.
func ShortWay(raw []byte, f Framing, ecu string) ([]byte, bool) {
	var dst [9]byte
	return oneFrame(raw, sender{framing: f, ecu: ecu}, &dst)
}

// LongWay takes a reply to a request of service 01 through parseReply.
func LongWay(raw []byte, f Framing, ecu string) ([]Message, error) {
	msgs, err := parseReply("010D1", raw, sender{framing: f, ecu: ecu})
	var out []Message
	for _, m := range msgs {
		out = append(out, Message{m.ecu, m.data})
	}
	return out, err
}

// Split takes an answer apart for the named signals.
func Split(answer []byte, names ...string) ([][]byte, error) {
	var batch []*task
	for _, n := range names {
		s, _ := signalByName(Signals(), n)
		batch = append(batch, newTask(s, 0))
	}
	err := split(answer, batch)
	var parts [][]byte
	for _, t := range batch {
		parts = append(parts, t.part)
	}
	return parts, err
}

// A Poller is a live drive on a Conn, without a Car's life around it.
type Poller struct {
	d     *drive
	batch []*task
}

// NewPoller polls the named signals in one request, of ECU 7E8 on 11-bit CAN.
func NewPoller(conn Conn, opt Options, h Handler, names ...string) (*Poller, error) {
	c, err := New(opt)
	if err != nil {
		return nil, err
	}
	c.handler = h
	l := link{sender: sender{framing: framingCAN11, ecu: "7E8"}, suffix: true}
	s := &session{conn: conn, now: c.opt.Now, log: c.opt.Logger}
	p := &Poller{d: &drive{c: c, s: s, l: l, count: c.pace(s)}}
	p.d.sched = newSchedule(c.opt.MaxRate, c.speed, nil, nil)
	for _, n := range names {
		sig, _ := signalByName(Signals(), n)
		p.batch = append(p.batch, newTask(sig, 0))
	}
	return p, nil
}

// Poll is one request and its samples.
func (p *Poller) Poll(ctx context.Context) error { return p.d.ask(ctx, p.batch) }

// OpenSerial opens a serial device.
func OpenSerial(device string, baud int) (Conn, error) { return openSerial(device, baud) }

// Gather reads a reply from conn as a session does whose last reply had length bytes, each of which takes perByte, and returns the
// reply and when its first byte was there.
func Gather(ctx context.Context, conn Conn, length int, perByte time.Duration) (string, time.Time, error) {
	s := &session{conn: conn, now: func() time.Duration { return 0 }, perByte: perByte, length: length}
	var at time.Time
	s.now = func() time.Duration { at = time.Now(); return 0 }
	raw, _, err := s.readPrompt(ctx, time.Now().Add(deadlineOBD))
	return string(raw), at, err
}

// OpenError and NoneFound say why ports cannot be used.
var (
	OpenError = openError
	NoneFound = noneFound
)
