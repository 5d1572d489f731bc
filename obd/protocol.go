package obd

import (
	"strings"
)

// framing is how the lines of a reply with headers on are laid out.
type framing int

const (
	framingUnknown framing = iota
	framingCAN11           // 3 digits of identifier, then PCI and data
	framingCAN29           // 8 digits of identifier, then PCI and data
	framingISO             // ISO 9141-2, ISO 14230: 3 header bytes, data, sum of all bytes before
	framingJ1850           // 3 header bytes, data, CRC of SAE J1850
)

func (f framing) can() bool { return f == framingCAN11 || f == framingCAN29 }

// A protocol is one row of the ELM327's ATSP table (DSJ, "AT Command Descriptions", SP h).
type protocol struct {
	code    byte // as in ATDPN, without the A of automatic; 0 if the adapter does not tell
	name    string
	framing framing
}

var protocols = []protocol{
	{'1', "SAE J1850 PWM", framingJ1850},
	{'2', "SAE J1850 VPW", framingJ1850},
	{'3', "ISO 9141-2", framingISO},
	{'4', "ISO 14230-4 (KWP 5BAUD)", framingISO},
	{'5', "ISO 14230-4 (KWP FAST)", framingISO},
	{'6', "ISO 15765-4 (CAN 11/500)", framingCAN11},
	{'7', "ISO 15765-4 (CAN 29/500)", framingCAN29},
	{'8', "ISO 15765-4 (CAN 11/250)", framingCAN11},
	{'9', "ISO 15765-4 (CAN 29/250)", framingCAN29},
}

// searchOrder is the order in which protocols are tried one by one where the adapter's own search cannot be used:
// CAN first, as all cars from 2008 on have it, K-line before the J1850 of older American ones.
const searchOrder = "687954321"

// protocolByNumber reads the reply to ATDPN, such as A6 or 6. Some clones answer 0 or A0 although connected
// (brendan-w/python-OBD#22, #218): ok is false then.
func protocolByNumber(reply string) (protocol, bool) {
	reply = strings.TrimSpace(reply)
	if len(reply) == 2 && reply[0] == 'A' {
		reply = reply[1:]
	}
	if len(reply) != 1 {
		return protocol{}, false
	}
	for _, p := range protocols {
		if p.code == reply[0] {
			return p, true
		}
	}
	return protocol{}, false
}

// guessFraming tells the layout from the shape of a line of hex digits: an odd number of digits is an 11-bit CAN
// identifier, 18DA F1 begins the physical answer of ISO 15765-4 with 29 bits, and the rest must carry a right checksum.
func guessFraming(digits string) framing {
	if len(digits)%2 == 1 {
		return framingCAN11
	}
	if strings.HasPrefix(digits, "18DAF1") {
		return framingCAN29
	}
	b, err := unhex(digits)
	if err != nil || len(b) < 5 {
		return framingUnknown
	}
	last := len(b) - 1
	switch b[last] {
	case sum8(b[:last]):
		return framingISO
	case crcJ1850(b[:last]):
		return framingJ1850
	}
	return framingUnknown
}

// name of a protocol whose number the adapter does not tell.
func (f framing) String() string {
	switch f {
	case framingCAN11:
		return "CAN 11 bit (the adapter does not name the protocol)"
	case framingCAN29:
		return "CAN 29 bit (the adapter does not name the protocol)"
	case framingISO:
		return "K-line (the adapter does not name the protocol)"
	case framingJ1850:
		return "J1850 (the adapter does not name the protocol)"
	}
	return "unknown"
}

// sum8 is the checksum of ISO 9141-2 and ISO 14230-2: all bytes added, modulo 256.
func sum8(b []byte) byte {
	var s byte
	for _, x := range b {
		s += x
	}
	return s
}

// crcJ1850 is the CRC-8 of SAE J1850: polynomial 1D, start FF, inverted.
func crcJ1850(b []byte) byte {
	crc := byte(0xFF)
	for _, x := range b {
		crc ^= x
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ 0x1D
			} else {
				crc <<= 1
			}
		}
	}
	return ^crc
}
