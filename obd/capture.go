package obd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// tapped is a Conn that tells what passes through it.
type tapped struct {
	Conn
	tell func(direction string, data []byte)
}

// tappedLine is tapped on a line with a speed: a Conn that has SetBaud must go on having it.
type tappedLine struct {
	tapped
	baudSetter
}

func tap(c Conn, tell func(string, []byte)) Conn {
	t := tapped{c, tell}
	if line, ok := c.(baudSetter); ok {
		return tappedLine{t, line}
	}
	return t
}

func (t tapped) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if n > 0 {
		t.tell("rx", p[:n])
	}
	return n, err
}

func (t tapped) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	if n > 0 {
		t.tell("tx", p[:n])
	}
	return n, err
}

// SetWriteDeadline is that of the Conn, if it has one.
func (t tapped) SetWriteDeadline(at time.Time) error {
	if w, ok := t.Conn.(interface{ SetWriteDeadline(time.Time) error }); ok {
		return w.SetWriteDeadline(at)
	}
	return nil
}

// A Captured is one line of a capture file: JSON with the monotonic time in ns, the port's name, rx or tx, and the bytes in base64.
type Captured struct {
	Mono int64  `json:"mono_ns"`
	Port string `json:"port"`
	Dir  string `json:"dir"`
	Data []byte `json:"data"`
}

// An Exchange is one command and the reply to it, as a capture shows them.
type Exchange struct {
	Mono    int64    `json:"mono_ns"`              // when the command was written
	Port    string   `json:"port"`                 //
	Command string   `json:"command"`              // without the CR
	Reply   []string `json:"reply"`                // lines, echo and chatter taken out
	Latency float64  `json:"latency_ms,omitempty"` // to the first byte of the reply
	Prompt  bool     `json:"prompt"`               // whether the reply was complete
	Reason  string   `json:"reason,omitempty"`     // what an error word in it means, see Reason
	Signal  string   `json:"signal,omitempty"`     // for a request of one signal
	Value   *float64 `json:"value,omitempty"`      // of it, if every check that needs no knowledge of the car passed
	Unit    string   `json:"unit,omitempty"`       //
	Values  []Part   `json:"values,omitempty"`     // of a request of several signals, in the order of the request
}

// A Part is one of several values of an Exchange.
type Part struct {
	Signal string   `json:"signal"`
	Value  *float64 `json:"value,omitempty"`
	Unit   string   `json:"unit,omitempty"`
	Reason string   `json:"reason,omitempty"` // why there is no value
}

// maxCapturedReply bounds what is gathered of one reply.
const maxCapturedReply = maxReply

// An Exchanger puts the pieces of one port's capture together. The zero value is ready.
type Exchanger struct {
	open  *Exchange
	sent  []byte
	reply []byte
}

// Add takes a piece and tells each exchange that it ends.
func (x *Exchanger) Add(c Captured, each func(Exchange)) {
	if c.Dir == "tx" {
		x.sent = append(x.sent, c.Data...)
		for {
			i := bytes.IndexByte(x.sent, '\r')
			if i < 0 {
				break
			}
			x.Close(each) // the one before had no prompt
			x.open = &Exchange{Mono: c.Mono, Port: c.Port, Command: string(bytes.TrimSpace(x.sent[:i]))}
			x.sent = x.sent[i+1:]
		}
		if len(x.sent) > maxCapturedReply {
			x.sent = nil
		}
		return
	}
	if x.open == nil {
		return // what came unasked belongs to no exchange
	}
	if len(x.reply) == 0 && len(c.Data) > 0 {
		x.open.Latency = float64(c.Mono-x.open.Mono) / 1e6
	}
	x.reply = append(x.reply, c.Data...)
	if bytes.IndexByte(c.Data, '>') >= 0 {
		x.open.Prompt = true
		x.Close(each)
	} else if len(x.reply) > maxCapturedReply {
		x.Close(each)
	}
}

// Close tells the exchange that is still open, if there is one.
func (x *Exchanger) Close(each func(Exchange)) {
	if x.open == nil {
		return
	}
	e := *x.open
	raw, _, _ := bytes.Cut(x.reply, []byte(">"))
	lines, err := scanReply(e.Command, raw)
	e.Reply, e.Reason = lines, Reason(err)
	if lines == nil {
		e.Reply = []string{}
	}
	if err == nil && e.Prompt {
		e.decode(raw)
	}
	x.open, x.reply = nil, nil
	each(e)
}

// decodeParts fills in the values of a request for several PIDs of service 01. It tells whether the request is one.
func (e *Exchange) decodeParts(raw []byte) bool {
	digits := e.Command
	if len(digits)%2 == 1 {
		digits = digits[:len(digits)-1]
	}
	request, err := unhex(digits)
	if err != nil || len(request) < 3 || len(request) > 7 || request[0] != 1 || len(e.Reply) == 0 {
		return false
	}
	var batch []*task
	for _, pid := range request[1:] {
		i := slices.IndexFunc(signalTable, func(s Signal) bool { return s.service() == 1 && s.PID == pid })
		if i < 0 {
			return false // its length is not known, nor where the next begins
		}
		batch = append(batch, newTask(signalTable[i], 0))
	}
	data, err := e.answer(raw, 1, nil)
	if err == nil {
		err = split(data, batch)
	}
	e.Reason = Reason(err)
	if err != nil {
		return true
	}
	for _, t := range batch {
		part := Part{Signal: t.signal.Name, Unit: t.signal.Unit, Reason: Reason(ErrNoData)}
		if len(t.part) > 0 {
			v, err := t.signal.Decode(t.part)
			part.Reason = Reason(err)
			if err == nil {
				part.Value = &v
			}
		}
		e.Values = append(e.Values, part)
	}
	return true
}

// signalTable is the table for decoding; it is not changed.
var signalTable = Signals()

// answer takes a reply through the checks that need no knowledge of the car.
func (e *Exchange) answer(raw []byte, service byte, echo []byte) ([]byte, error) {
	f := guessFraming(squeeze(e.Reply[0]))
	msgs, err := parseReply(e.Command, raw, sender{framing: f})
	if err != nil {
		return nil, err
	}
	if n := ecus(msgs); n > 1 {
		return nil, fmt.Errorf("%d ECUs answer: %w", n, ErrMismatch)
	}
	return answerTo(msgs, service, echo)
}

// decode fills in the values of a request, with headers on and one ECU answering.
func (e *Exchange) decode(raw []byte) {
	if e.decodeParts(raw) {
		return
	}
	for _, s := range signalTable {
		if r := s.request(); e.Command != r && e.Command != r+"1" || len(e.Reply) == 0 {
			continue
		}
		data, err := e.answer(raw, s.service(), s.echo())
		var v float64
		if err == nil {
			v, err = s.Decode(data)
		}
		e.Signal, e.Unit, e.Reason = s.Name, s.Unit, Reason(err)
		if err == nil {
			e.Value = &v
		}
		return
	}
}

// DecodeCapture reads a capture file and tells each exchange with an adapter on one of the ports. Lines of other ports go to other,
// which may be nil. It returns the number of lines read; its errors name the line.
func DecodeCapture(r io.Reader, ports []string, each func(Exchange), other func(Captured)) (int, error) {
	open := map[string]*Exchanger{}
	for _, p := range ports {
		open[p] = &Exchanger{}
	}
	lines := 0
	d := json.NewDecoder(r)
	for {
		var c Captured
		if err := d.Decode(&c); err == io.EOF {
			break
		} else if err != nil {
			return lines, fmt.Errorf("line %d: %w", lines+1, err)
		}
		lines++
		if x := open[c.Port]; x != nil {
			x.Add(c, each)
		} else if other != nil {
			other(c)
		}
	}
	for _, p := range ports {
		open[p].Close(each)
	}
	return lines, nil
}
