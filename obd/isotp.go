package obd

import "fmt"

// An assembler puts ISO 15765-2 frames together, for several ECUs at a time. The zero value is ready.
type assembler struct {
	open []transfer // one per ECU; a car has at most eight on the OBD addresses, so a list will do
	fill fill
}

// transfer is a message of which the first frame has arrived.
type transfer struct {
	ecu    string
	data   []byte
	length int  // announced by the first frame
	next   byte // sequence number of the frame that must come, 0 to 15
}

// frame takes the data bytes of one CAN frame (PCI first). It returns a message when the frame completes one.
//
// The length in the PCI rules. ISO 15765-4 pads to eight bytes, older cars and some adapters show only the used ones,
// and obdsim appends one byte: any other length means that bytes were lost on the way.
func (a *assembler) frame(ecu string, b []byte) (message, bool, error) {
	if len(b) == 0 {
		return message{}, false, fmt.Errorf("empty frame: %w", ErrMalformed)
	}
	switch b[0] >> 4 {
	case 0: // single frame
		n := int(b[0])
		if n == 0 || n > 7 || !a.fill.fits(len(b), 1+n) {
			return message{}, false, fmt.Errorf("%d bytes for a length of %d: %w", len(b), n, ErrMalformed)
		}
		if a.find(ecu) >= 0 {
			return message{}, false, fmt.Errorf("%s begins a new answer within another: %w", ecu, ErrMalformed)
		}
		return message{ecu: ecu, data: append([]byte(nil), b[1:1+n]...)}, true, nil
	case 1: // first frame
		if len(b) != 8 && len(b) != 9 {
			return message{}, false, fmt.Errorf("first frame of %d bytes: %w", len(b), ErrMalformed)
		}
		n := int(b[0]&0x0F)<<8 | int(b[1])
		if n < 8 || a.find(ecu) >= 0 {
			return message{}, false, fmt.Errorf("first frame announcing %d bytes: %w", n, ErrMalformed)
		}
		t := transfer{ecu: ecu, length: n, next: 1}
		t.data = append(t.data, b[2:8]...)
		a.open = append(a.open, t)
		return message{}, false, nil
	case 2: // consecutive frame
		i := a.find(ecu)
		if i < 0 {
			return message{}, false, fmt.Errorf("%s continues what it has not begun: %w", ecu, ErrMalformed)
		}
		t := &a.open[i]
		if b[0]&0x0F != t.next {
			return message{}, false, fmt.Errorf("frame %d where %d must come: %w", b[0]&0x0F, t.next, ErrMalformed)
		}
		t.next = (t.next + 1) & 0x0F
		n := min(7, t.length-len(t.data))
		if !a.fill.fits(len(b), 1+n) {
			return message{}, false, fmt.Errorf("consecutive frame of %d bytes: %w", len(b), ErrMalformed)
		}
		t.data = append(t.data, b[1:1+n]...)
		if len(t.data) < t.length {
			return message{}, false, nil
		}
		m := message{ecu: ecu, data: t.data}
		a.open = append(a.open[:i], a.open[i+1:]...)
		return m, true, nil
	case 3: // flow control; not an answer
		return message{}, false, nil
	}
	return message{}, false, fmt.Errorf("PCI %02X: %w", b[0], ErrMalformed)
}

// done reports a message that was begun and not ended.
func (a *assembler) done() error {
	if len(a.open) == 0 {
		return nil
	}
	t := a.open[0]
	return fmt.Errorf("%s sent %d of %d bytes: %w", t.ecu, len(t.data), t.length, ErrMalformed)
}

func (a *assembler) find(ecu string) int {
	for i := range a.open {
		if a.open[i].ecu == ecu {
			return i
		}
	}
	return -1
}
