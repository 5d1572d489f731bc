package obd

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
	data, err := answerTo(msgs, 1, 0x0D)
	if err != nil {
		return 0, err
	}
	return Signals()[0].Decode(data)
}

// VIN takes a whole reply to 0902 through every gate.
func VIN(raw []byte, f Framing, ecu string) (string, error) {
	msgs, err := parseReply("0902", raw, sender{framing: f, ecu: ecu})
	if err != nil {
		return "", err
	}
	return decodeVIN(msgs, f)
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
