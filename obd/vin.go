package obd

import (
	"fmt"
	"strings"
)

// vinLength is the length of a vehicle identification number (ISO 3779).
const vinLength = 17

// decodeVIN reads the answer to 0902 (SAE J1979 service 09, infotype 02).
//
// On CAN it is one message: 49 02, the number of items 01, 17 characters. On K-line and J1850 it is five: 49 02, the number of the
// message 01 to 05, four bytes each, with three NULs in front to fill. A VIN that is not exactly 17 characters of
// the set of ISO 3779 is refused, never trimmed or guessed.
func decodeVIN(msgs []message, f framing) (string, error) {
	var raw []byte
	if f.can() {
		data, err := answerTo(msgs, 0x09, []byte{0x02})
		if err != nil {
			return "", fmt.Errorf("read VIN: %w", err)
		}
		if len(data) < 3 {
			return "", fmt.Errorf("read VIN: %d bytes: %w", len(data), ErrMalformed)
		}
		raw = data[3:]
	} else {
		next := byte(1)
		for _, m := range msgs {
			d := m.data
			if len(d) == 3 && d[0] == 0x7F {
				return "", fmt.Errorf("read VIN: %w", &NegativeResponse{Service: d[1], Code: d[2]})
			}
			if len(d) != 7 || d[0] != 0x49 || d[1] != 0x02 || d[2] != next {
				return "", fmt.Errorf("read VIN: message % X where part %d must come: %w", d, next, ErrMalformed)
			}
			raw = append(raw, d[3:]...)
			next++
		}
		if next != 6 {
			return "", fmt.Errorf("read VIN: %d of 5 parts: %w", next-1, ErrMalformed)
		}
	}
	vin := strings.Trim(string(raw), "\x00")
	if !validVIN(vin) {
		return "", fmt.Errorf("read VIN: %q is not a VIN: %w", vin, ErrImplausible)
	}
	return vin, nil
}

// validVIN checks length and character set: digits and capital letters but I, O and Q (ISO 3779). The check digit is
// not looked at: only North America uses it.
func validVIN(s string) bool {
	if len(s) != vinLength {
		return false
	}
	for _, c := range s {
		digit := c >= '0' && c <= '9'
		letter := c >= 'A' && c <= 'Z' && c != 'I' && c != 'O' && c != 'Q'
		if !digit && !letter {
			return false
		}
	}
	return true
}
