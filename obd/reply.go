package obd

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// A reply is what the adapter sends for one command, up to the prompt. This file turns its bytes into lines or into the
// typed reason why there are none. It is pure: bytes in, lines or an error out.

// verdicts are the adapter's error words with their spaces taken out, because clones differ in them. Order matters only
// where a reply holds several: what loses the adapter's settings comes first. The words are from the data sheet (DSJ, "Error
// Messages and Alerts"), but for NOT CONNECTED, which Bluetooth modules say (PowerBroker2/ELMduino#69).
var verdicts = []struct {
	word string
	err  error
}{
	{"LVRESET", ErrLVReset},
	{"BUFFERFULL", ErrBufferFull},
	{"STOPPED", ErrStopped},
	{"UNABLETOCONNECT", ErrUnableToConnect},
	{"NOTCONNECTED", ErrUnableToConnect},
	{"CANERROR", ErrCAN},
	{"DATAERROR", ErrData},
	{"RXERROR", ErrData},
	{"BUSERROR", ErrBus},
	{"BUSBUSY", ErrBus},
	{"FBERROR", ErrBus},
	{"NODATA", ErrNoData},
}

// scanReply splits a reply into its lines: NULs dropped (a known fault of the chip's UART, cited in Linux's can327.c), CR and
// LF alike, echo and chatter taken out. An error word anywhere in the reply is the error of the whole reply.
func scanReply(cmd string, raw []byte) ([]string, error) {
	text := strings.Map(func(r rune) rune {
		if r == 0 {
			return -1
		}
		return r
	}, string(raw))
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' || r == '>' })
	asked := squeeze(cmd)
	var kept []string
	var found error
	rank := len(verdicts)
	for _, line := range lines {
		line = strings.TrimSpace(line)
		flat := squeeze(line)
		// An echo may lack its CR when the reply begins with one; a whole line equal to the command is never an answer.
		if flat == "" || flat == asked {
			continue
		}
		// ACT ALERT, !ACT ALERT, LP ALERT announce sleep; + begins the chatter of a Bluetooth module. Neither is an answer.
		if strings.HasSuffix(flat, "ACTALERT") || strings.HasSuffix(flat, "LPALERT") || strings.HasPrefix(flat, "+") {
			continue
		}
		for i, v := range verdicts[:rank] {
			if strings.Contains(flat, v.word) {
				found, rank = fmt.Errorf("%s: %w", cmd, v.err), i
				break
			}
		}
		if found != nil {
			continue
		}
		line, err := stripSearch(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cmd, err)
		}
		switch flat = squeeze(line); {
		case flat == "":
			continue
		case flat == "?":
			return nil, fmt.Errorf("%s: %w", cmd, ErrUnknownCommand)
		case isERRnn(flat):
			return nil, fmt.Errorf("%s: %s: %w", cmd, flat, ErrAdapter)
		}
		kept = append(kept, line)
	}
	if found != nil {
		return nil, found
	}
	return kept, nil
}

// stripSearch takes the signs of progress off the front of a line and keeps what is glued behind them, be it data
// (brendan-w/python-OBD#153) or a verdict.
func stripSearch(line string) (string, error) {
	if i := strings.Index(line, "SEARCHING"); i >= 0 {
		line = strings.TrimLeft(line[i+len("SEARCHING"):], ". ")
	}
	if i := strings.Index(line, "BUS INIT:"); i >= 0 {
		line = strings.TrimLeft(line[i+len("BUS INIT:"):], ". ")
		if strings.HasPrefix(line, "ERROR") {
			return "", ErrBusInit
		}
		line = strings.TrimSpace(strings.TrimPrefix(line, "OK"))
	}
	return line, nil
}

// isERRnn tells the ELM327's internal errors ERR00 to ERR94.
func isERRnn(flat string) bool {
	rest, ok := strings.CutPrefix(flat, "ERR")
	return ok && len(rest) == 2 && rest[0] >= '0' && rest[0] <= '9' && rest[1] >= '0' && rest[1] <= '9'
}

// squeeze is s in upper case without spaces.
func squeeze(s string) string { return strings.ToUpper(strings.ReplaceAll(s, " ", "")) }

// unhex decodes an even number of hex digits.
func unhex(digits string) ([]byte, error) {
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", digits, ErrMalformed)
	}
	return b, nil
}

// textReply is the reply to an AT command: its lines, joined by one space. ErrMalformed if there are none.
func textReply(cmd string, raw []byte) (string, error) {
	lines, err := scanReply(cmd, raw)
	if err != nil {
		return "", err
	}
	if len(lines) == 0 {
		return "", fmt.Errorf("%s: empty reply: %w", cmd, ErrMalformed)
	}
	return strings.Join(lines, " "), nil
}
