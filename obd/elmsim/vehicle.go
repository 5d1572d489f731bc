package elmsim

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A Vehicle is the state of the simulated car at one moment. A signal that is NaN is not answered (NO DATA) although
// its PID may be listed as supported.
type Vehicle struct {
	Ignition bool    // whether the ECUs answer at all
	Voltage  float64 // at the adapter and at the control module, V

	Speed     float64 // km/h
	RPM       float64 // 1/min
	Load      float64 // %
	Coolant   float64 // °C
	MAF       float64 // g/s
	MAP       float64 // kPa
	IAT       float64 // °C
	Lambda    float64 // ratio
	Throttle  float64 // %
	FuelRate  float64 // L/h
	FuelLevel float64 // %

	MIL                        bool
	Stored, Pending, Permanent []uint16 // trouble codes: 0x0301 is P0301. The freeze frame, if there is a stored one, is the first's

	// Identifiers are what service 22 reads, by data identifier.
	Identifiers map[uint16][]byte

	// More holds the data bytes of any PID of service 01; it goes before all else.
	More map[byte][]byte
}

// Idling is a warm car at standstill with its engine running.
func Idling() Vehicle {
	return Vehicle{
		Ignition: true, Voltage: 14.1, RPM: 800, Load: 20, Coolant: 88, MAF: 3.2, MAP: 35, IAT: 24, Lambda: 1,
		Throttle: 14, FuelRate: 0.9, FuelLevel: 60,
	}
}

// pidData encodes a PID of service 01 by the formulas of SAE J1979; nil if the car does not have it.
func (v Vehicle) pidData(pid byte) []byte {
	if data, ok := v.More[pid]; ok {
		return data
	}
	switch pid {
	case 0x01:
		a := byte(len(v.Stored))
		if v.MIL {
			a |= 0x80
		}
		return []byte{a, 0x07, 0x65, 0x00}
	case 0x04:
		return one(v.Load * 255 / 100)
	case 0x05:
		return one(v.Coolant + 40)
	case 0x0B:
		return one(v.MAP)
	case 0x0C:
		return two(v.RPM * 4)
	case 0x0D:
		return one(v.Speed)
	case 0x0F:
		return one(v.IAT + 40)
	case 0x10:
		return two(v.MAF * 100)
	case 0x11:
		return one(v.Throttle * 255 / 100)
	case 0x2F:
		return one(v.FuelLevel * 255 / 100)
	case 0x42:
		return two(v.Voltage * 1000)
	case 0x44:
		return two(v.Lambda * 32768)
	case 0x5E:
		return two(v.FuelRate * 20)
	}
	return usual[pid]
}

// usual is what a warm petrol car says to the PIDs that Vehicle has no field for.
var usual = map[byte][]byte{
	0x03: {0x02, 0x00}, 0x06: {0x80}, 0x07: {0x82}, 0x1C: {0x06}, 0x1F: {0x02, 0x58}, 0x21: {0x00, 0x00}, 0x24: {0x80, 0x00, 0x33, 0x33}, 0x33: {0x64},
	0x34: {0x80, 0x00, 0x80, 0x00}, 0x3C: {0x11, 0x94}, 0x41: {0x00, 0x07, 0x65, 0x00}, 0x43: {0x00, 0x33}, 0x46: {0x3C}, 0x51: {0x01}, 0x52: {0x19},
	0x5C: {0x82}, 0x66: {0x01, 0x00, 0x66, 0x00, 0x00}, 0x9D: {0x00, 0x0A, 0x00, 0x0A}, 0x9E: {0x00, 0x3C}, 0xA6: {0x00, 0x12, 0xD6, 0x87},
}

func one(x float64) []byte {
	if math.IsNaN(x) {
		return nil
	}
	return []byte{byte(math.Round(min(max(x, 0), 255)))}
}

func two(x float64) []byte {
	if math.IsNaN(x) {
		return nil
	}
	n := uint16(math.Round(min(max(x, 0), 65535)))
	return []byte{byte(n >> 8), byte(n)}
}

// An ECU is one control unit on the car's bus.
type ECU struct {
	// Address is the header that its answers carry: 7E8 on 11-bit CAN, 18DAF110 on 29-bit CAN, 10 elsewhere.
	Address string
	// PIDs of service 01 that it answers, without 00, 20, 40, ...
	PIDs []byte
	// Delay is added to Options.ECUDelay.
	Delay time.Duration
	// Speed, if set, is what it says instead of Vehicle.Speed, km/h: control units of one car differ.
	Speed *float64
	// VIN says whether it answers 0902.
	VIN bool
	// FunctionalOnly makes it deaf to requests at its own address.
	FunctionalOnly bool
	// Stored, if not nil, are its trouble codes; else it has those of the Vehicle.
	Stored []uint16
}

// AllPIDs is what an engine ECU answers that has every signal of package obd.
var AllPIDs = func() []byte {
	all := slices.Clone(EnginePIDs)
	for pid := range usual {
		all = append(all, pid)
	}
	slices.Sort(all)
	return all
}()

// EnginePIDs is what the default engine ECU answers: the signals that most cars have.
var EnginePIDs = []byte{0x01, 0x04, 0x05, 0x0B, 0x0C, 0x0D, 0x0F, 0x10, 0x11, 0x2F, 0x42, 0x44, 0x5E}

// hears tells whether a request with this header reaches the ECU. "" is the protocol's own header, which reaches all.
func (e ECU) hears(header string) bool {
	switch {
	case header == "", header == "7DF", header == "DB33F1":
		return true
	case e.FunctionalOnly:
		return false
	case len(e.Address) == 3: // ISO 15765-4: 7E8 answers what was put to 7E0
		return len(header) == 3 && header[:2] == "7E" && header[2]+8 == e.digit()
	}
	return len(header) == 6 && strings.HasPrefix(e.Address, "18DA") && header == "DA"+e.Address[6:]+e.Address[4:6]
}

// digit is the last digit of an 11-bit address, counted on from '0'.
func (e ECU) digit() byte {
	if d := e.Address[2]; d > '9' {
		return d - 'A' + '0' + 10
	}
	return e.Address[2]
}

// supports reports the four mask bytes for PID base, or nil if nothing lies above base.
func (e ECU) supports(base byte) []byte {
	var mask uint32
	above := false
	for _, p := range e.PIDs {
		i := int(p) - int(base) - 1
		if i >= 0 && i < 32 {
			mask |= 1 << (31 - i)
		}
		above = above || i >= 32
	}
	if above {
		mask |= 1
	}
	if mask == 0 && base != 0 {
		return nil
	}
	return []byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}
}

// answer is the ECU's answer to service and pid, from the service byte on; nil for silence.
func (e ECU) answer(v Vehicle, vin string, req []byte) [][]byte {
	if e.Stored != nil {
		v.Stored, v.Pending, v.Permanent = e.Stored, nil, nil
	}
	switch {
	case len(req) == 2 && req[0] == 0x01 && req[1]%0x20 == 0:
		if m := e.supports(req[1]); m != nil {
			return [][]byte{append([]byte{0x41, req[1]}, m...)}
		}
	case len(req) == 2 && req[0] == 0x01:
		for _, p := range e.PIDs {
			if p != req[1] {
				continue
			}
			if e.Speed != nil {
				v.Speed = *e.Speed
			}
			if data := v.pidData(p); data != nil {
				return [][]byte{append([]byte{0x41, p}, data...)}
			}
		}
	case len(req) == 1:
		if list, ok := map[byte][]uint16{0x03: v.Stored, 0x07: v.Pending, 0x0A: v.Permanent}[req[0]]; ok {
			whole := []byte{req[0] + 0x40, byte(len(list))}
			for _, code := range list {
				whole = append(whole, byte(code>>8), byte(code))
			}
			return [][]byte{whole}
		}
	case len(req) == 3 && req[0] == 0x02 && req[2] == 0 && len(v.Stored) > 0:
		if req[1] == 0x02 {
			return [][]byte{{0x42, 0x02, 0x00, byte(v.Stored[0] >> 8), byte(v.Stored[0])}}
		}
		if data := v.pidData(req[1]); data != nil {
			return [][]byte{append([]byte{0x42, req[1], 0x00}, data...)}
		}
	case len(req) == 3 && req[0] == 0x22:
		if data, ok := v.Identifiers[uint16(req[1])<<8|uint16(req[2])]; ok {
			return [][]byte{append([]byte{0x62, req[1], req[2]}, data...)}
		}
		return [][]byte{{0x7F, 0x22, 0x31}}
	case len(req) > 2 && len(req) <= 7 && req[0] == 0x01:
		// ISO 15765-4: up to six PIDs; the answer holds those that there are, in any order.
		whole := []byte{0x41}
		for _, pid := range req[1:] {
			for _, data := range e.answer(v, vin, []byte{0x01, pid}) {
				whole = append(whole, data[1:]...)
			}
		}
		if len(whole) > 1 {
			return [][]byte{whole}
		}
	case len(req) == 2 && req[0] == 0x09 && req[1] == 0x02 && e.VIN && vin != "":
		return [][]byte{append([]byte{0x49, 0x02, 0x01}, vin...)}
	}
	return nil
}

// A Protocol is what the car speaks, as the adapter numbers it.
type Protocol byte

// The protocols.
const (
	J1850PWM     Protocol = '1'
	J1850VPW     Protocol = '2'
	ISO9141      Protocol = '3'
	KWP5Baud     Protocol = '4'
	KWPFast      Protocol = '5'
	CAN11Bit500k Protocol = '6'
	CAN29Bit500k Protocol = '7'
	CAN11Bit250k Protocol = '8'
	CAN29Bit250k Protocol = '9'
)

func (p Protocol) can() bool   { return p >= '6' && p <= '9' }
func (p Protocol) can29() bool { return p == '7' || p == '9' }
func (p Protocol) kwp() bool   { return p == '4' || p == '5' }
func (p Protocol) j1850() bool { return p == '1' || p == '2' }

// engine is the address of the engine's ECU on the protocol.
func (p Protocol) engine() string {
	switch {
	case p.can29():
		return "18DAF110"
	case p.can():
		return "7E8"
	}
	return "10"
}

// frames are the lines of one answer as hex digits: address, then what follows in the protocol.
func (o *Options) frames(address string, data []byte) ([]string, error) {
	p := o.Protocol
	if p.can() {
		return canFrames(address, data, o.Padding, o.PadByte), nil
	}
	var source byte
	if _, err := fmt.Sscanf(address, "%02X", &source); err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	parts := [][]byte{data}
	if len(data) >= 2 && (data[0] == 0x43 || data[0] == 0x47 || data[0] == 0x4A) {
		// Trouble codes have no count here, and come by threes, filled up with zeros.
		body := append([]byte{}, data[2:]...)
		for len(body)%6 != 0 || len(body) == 0 {
			body = append(body, 0)
		}
		parts = nil
		for i := 0; i < len(body); i += 6 {
			parts = append(parts, append([]byte{data[0]}, body[i:i+6]...))
		}
	}
	if len(data) > 7 && data[0] == 0x49 {
		// Long answers come as numbered messages of four bytes, filled up in front with NULs.
		body := data[3:]
		for len(body)%4 != 0 {
			body = append([]byte{0}, body...)
		}
		parts = nil
		for i := 0; i < len(body); i += 4 {
			parts = append(parts, append([]byte{data[0], data[1], byte(i/4 + 1)}, body[i:i+4]...))
		}
	}
	var lines []string
	for _, part := range parts {
		head := []byte{0x48, 0x6B, source}
		switch {
		case p.kwp():
			head = []byte{0x80 | byte(len(part)), 0xF1, source}
		case p == J1850PWM:
			head[0] = 0x41
		}
		whole := append(head, part...)
		check := sum(whole)
		if p.j1850() {
			check = crc(whole)
		}
		lines = append(lines, fmt.Sprintf("%X%02X", whole, check))
	}
	return lines, nil
}

// canFrames splits data by ISO 15765-2.
func canFrames(address string, data []byte, pad bool, with byte) []string {
	line := func(pci []byte, body []byte) string {
		b := append(pci, body...)
		for pad && len(b) < 8 {
			b = append(b, with)
		}
		return fmt.Sprintf("%s%X", address, b)
	}
	if len(data) <= 7 {
		return []string{line([]byte{byte(len(data))}, data)}
	}
	lines := []string{line([]byte{0x10 | byte(len(data)>>8), byte(len(data))}, data[:6])}
	for i, n := 6, byte(1); i < len(data); i, n = i+7, n+1 {
		lines = append(lines, line([]byte{0x20 | n&0x0F}, data[i:min(i+7, len(data))]))
	}
	return lines
}

func sum(b []byte) (s byte) {
	for _, x := range b {
		s += x
	}
	return s
}

// crc is the CRC-8 of SAE J1850.
func crc(b []byte) byte {
	c := byte(0xFF)
	for _, x := range b {
		c ^= x
		for range 8 {
			carry := c & 0x80
			c <<= 1
			if carry != 0 {
				c ^= 0x1D
			}
		}
	}
	return c ^ 0xFF
}
