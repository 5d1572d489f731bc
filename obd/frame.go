package obd

import (
	"bytes"
	"fmt"
	"strings"
)

// A message is one complete answer of one ECU, its data from the service byte on.
type message struct {
	ecu  string
	data []byte
}

// A sender is whose answers are looked at, and what is known of their form.
type sender struct {
	framing framing
	ecu     string // its address; "" for everybody's
	fill    fill   // of its CAN frames
}

// fill is what a CAN frame holds behind the bytes that its length counts. An ECU always does the same (ISO 15765-4 wants
// eight bytes always), so once it is known a frame that has lost a byte on the way shows, even if its padding could
// pass for data.
type fill int

const (
	fillUnknown fill = iota
	fillNone         // nothing: older cars, and adapters that show only what counts
	fillFull         // up to eight bytes
	fillExtra        // one byte: obdsim shows a checksum there
)

// fits tells whether a frame of got bytes can be one that uses used.
func (f fill) fits(got, used int) bool {
	none, full, extra := got == used, got == 8, got == used+1
	switch f {
	case fillNone:
		return none
	case fillFull:
		return full
	case fillExtra:
		return extra
	}
	return none || full || extra
}

// fillOf tells the fill from a frame of got bytes that uses used, fewer than seven.
func fillOf(got, used int) fill {
	switch got {
	case used:
		return fillNone
	case 8:
		return fillFull
	case used + 1:
		return fillExtra
	}
	return fillUnknown
}

// parseReply turns the reply to a request of the car into messages, of the given sender only.
// One line that is not a whole frame makes the whole reply ErrMalformed: a reply with damage in it is not trusted elsewhere.
//
// A pending answer (7F xx 78) that is followed by another message of its ECU is dropped; see ISO 14229-1 A.1.
func parseReply(cmd string, raw []byte, from sender) ([]message, error) {
	lines, err := scanReply(cmd, raw)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: empty reply: %w", cmd, ErrMalformed)
	}
	can := assembler{fill: from.fill}
	var out []message
	for _, line := range lines {
		digits := squeeze(line)
		var m message
		var complete bool
		switch from.framing {
		case framingCAN11, framingCAN29:
			m, complete, err = can.canLine(digits, from.framing, from.ecu)
		case framingISO, framingJ1850:
			m, complete, err = busLine(digits, from.framing, from.ecu)
		default:
			err = fmt.Errorf("unknown protocol: %w", ErrMalformed)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: line %.40q: %w", cmd, line, err)
		}
		if complete {
			out = append(out, m)
		}
	}
	if err := can.done(); err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	return dropPending(out), nil
}

// canLine takes a line apart that holds a CAN frame.
func (a *assembler) canLine(digits string, f framing, ecu string) (message, bool, error) {
	idDigits := 3
	if f == framingCAN29 {
		idDigits = 8
	}
	if len(digits) < idDigits+2 || !isHex(digits[:idDigits]) {
		return message{}, false, ErrMalformed
	}
	id := digits[:idDigits]
	data, err := unhex(digits[idDigits:])
	if err != nil {
		return message{}, false, err
	}
	// A CAN frame has at most 8 bytes; one more is the checksum that obdsim appends on CAN.
	if len(data) > 9 {
		return message{}, false, fmt.Errorf("%d bytes in a CAN frame: %w", len(data), ErrMalformed)
	}
	// ISO 15765-4: answers come from 7E8 to 7EF, or from 18DAF1xx. Anything else is other traffic.
	if !obdSource(id, f) || ecu != "" && id != ecu {
		return message{}, false, nil
	}
	return a.frame(id, data)
}

func obdSource(id string, f framing) bool {
	if f == framingCAN29 {
		return strings.HasPrefix(id, "18DAF1")
	}
	return strings.HasPrefix(id, "7E") && id[2] >= '8'
}

// busLine takes a line of K-line or J1850 apart: three header bytes, data, checksum (DSJ, "Interpreting the headers").
func busLine(digits string, f framing, ecu string) (message, bool, error) {
	b, err := unhex(digits)
	if err != nil {
		return message{}, false, err
	}
	if len(b) < 5 {
		return message{}, false, fmt.Errorf("%d bytes: %w", len(b), ErrMalformed)
	}
	last := len(b) - 1
	want := sum8(b[:last])
	if f == framingJ1850 {
		want = crcJ1850(b[:last])
	}
	if b[last] != want {
		return message{}, false, fmt.Errorf("checksum %02X instead of %02X: %w", b[last], want, ErrMalformed)
	}
	data := b[3:last]
	// KWP2000 carries the length in the low six bits of the format byte; bit 7 tells it from the 48 of ISO 9141-2.
	if n := int(b[0] & 0x3F); f == framingISO && b[0]&0x80 != 0 && n != 0 && n != len(data) {
		return message{}, false, fmt.Errorf("%d data bytes where the header says %d: %w", len(data), n, ErrMalformed)
	}
	id := fmt.Sprintf("%02X", b[2])
	if ecu != "" && id != ecu {
		return message{}, false, nil
	}
	return message{ecu: id, data: data}, true, nil
}

func isHex(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

// pending tells whether it says that the answer will come later.
func (m message) pending() bool { return len(m.data) == 3 && m.data[0] == 0x7F && m.data[2] == 0x78 }

// dropPending removes "answer pending" where the same ECU has said more.
func dropPending(in []message) []message {
	out := make([]message, 0, len(in))
	for i, m := range in {
		later := false
		for _, n := range in[i+1:] {
			later = later || n.ecu == m.ecu
		}
		if later && m.pending() {
			continue
		}
		out = append(out, m)
	}
	return out
}

// answers tells whether data answers a request of the service with this echo.
func answers(data []byte, service byte, echo []byte) bool {
	return len(data) > len(echo) && data[0] == service+0x40 && bytes.Equal(data[1:1+len(echo)], echo)
}

// errOthersOnly means that the answers are those of ECUs that are not listened to.
var errOthersOnly = fmt.Errorf("only other ECUs answered: %w", ErrNoData)

// answerTo picks the answer to a request out of the messages of one ECU. echo is what must follow the service byte.
//
// Errors: a *NegativeResponse; ErrNoData if there is no message; ErrMismatch if it answers something else; ErrMalformed
// if two answers contradict each other.
func answerTo(msgs []message, service byte, echo []byte) ([]byte, error) {
	var found []byte
	for _, m := range msgs {
		d := m.data
		switch {
		case len(d) == 3 && d[0] == 0x7F && d[1] == service:
			return nil, &NegativeResponse{Service: d[1], Code: d[2]}
		case !answers(d, service, echo):
			return nil, fmt.Errorf("asked %02X%X, got % X: %w", service, echo, d, ErrMismatch)
		case found != nil && string(found) != string(d):
			return nil, fmt.Errorf("two answers, % X and % X: %w", found, d, ErrMalformed)
		}
		found = d
	}
	if found == nil {
		return nil, fmt.Errorf("asked %02X%X, %w", service, echo, errOthersOnly)
	}
	return found, nil
}

// oneFrame is the short way through the gate for the reply that steady polling gets: one line with one single frame of the
// chosen ECU on CAN, in the form in which the adapter was told to write it, and nothing else. What it accepts, parseReply accepts with
// the same data (a fuzz target holds it to that); whatever it does not, goes the long way. It takes no memory: the
// data is in dst.
func oneFrame(raw []byte, from sender, dst *[9]byte) ([]byte, bool) {
	if !from.framing.can() || from.ecu == "" || len(raw) < len(from.ecu) || string(raw[:len(from.ecu)]) != from.ecu {
		return nil, false
	}
	digits := bytes.TrimRight(raw[len(from.ecu):], "\r")
	if len(digits)%2 != 0 || len(digits) < 4 || len(digits) > 2*len(dst) {
		return nil, false
	}
	n := len(digits) / 2
	for i := range n {
		high, low := nibble(digits[2*i]), nibble(digits[2*i+1])
		if high > 15 || low > 15 {
			return nil, false
		}
		dst[i] = high<<4 | low
	}
	length := int(dst[0])
	if length == 0 || length > 7 || dst[1] == 0x7F || !from.fill.fits(n, 1+length) {
		return nil, false
	}
	return dst[1 : 1+length], true
}

// nibble is the value of a hex digit in capitals; 255 for anything else.
func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
