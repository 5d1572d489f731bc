package elmsim

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// bend applies the faults that change what an ECU says. data is from the service byte on.
func (s *Sim) bend(f Fault, data []byte) []byte {
	data = append([]byte(nil), data...)
	switch f {
	case Refused:
		return []byte{0x7F, data[0] - 0x40, 0x12}
	case RefusedService:
		return []byte{0x7F, data[0] - 0x40, 0x11}
	case PendingOnly:
		return []byte{0x7F, data[0] - 0x40, 0x78}
	case WrongPID:
		data[1]++
	case WrongService:
		data[0]++
	case Implausible:
		for i := 2; i < len(data); i++ {
			data[i] = 0xFF
		}
	}
	return data
}

// answer sends the frames of an answer as the settings and the fault want them.
func (l *line) answer(ctx context.Context, cmd string, frames []string, set settings, f Fault, searching bool) error {
	s := l.sim
	width := s.addressWidth()
	switch f {
	case LostFrame:
		if len(frames) > 1 {
			frames = append(frames[:1], frames[2:]...)
		}
	case SwappedFrames:
		if len(frames) > 2 {
			frames[1], frames[2] = frames[2], frames[1]
		}
	case NoFlowControl:
		frames = firstOnly(frames, width, s.opt.Protocol)
	case ShortFrame:
		frames[len(frames)-1] = frames[len(frames)-1][:len(frames[len(frames)-1])-2]
	case BadBusChecksum:
		last := frames[len(frames)-1]
		digit := byte('0')
		if last[len(last)-1] == '0' {
			digit = '1'
		}
		frames[len(frames)-1] = last[:len(last)-1] + string(digit)
	case Checksum:
		for i := range frames {
			frames[i] += "5C"
		}
	case ForeignECUFirst, ForeignECUOnly:
		var foreign []string
		// Neither does a filter let it pass, nor is it asked where another ECU is asked alone.
		if set.receive == "" && (ECU{FunctionalOnly: true}).hears(set.header) {
			foreign = s.foreign(cmd)
		}
		if f == ForeignECUOnly {
			frames = nil
		}
		if frames = append(foreign, frames...); len(frames) == 0 {
			return l.lines(ctx, []string{"NO DATA"}, NoFault)
		}
	case Pending:
		pending, err := s.opt.frames(s.opt.ECUs[0].Address, []byte{0x7F, 0x01, 0x78})
		if err != nil {
			return err
		}
		frames = append(pending, frames...)
	}
	if !set.flow {
		frames = firstOnly(frames, width, s.opt.Protocol)
	}
	if set.expect > 0 && len(frames) > set.expect {
		// It has what it was told to wait for; the rest may be there when it listens next.
		l.missed, l.missedAt = frames[set.expect:], time.Now().Add(missedIn)
		frames = frames[:set.expect]
	}
	if searching && f == NoFault {
		frames = append([]string{"SEARCHING..."}, frames...)
	}
	for i, line := range frames {
		if strings.HasPrefix(line, "SEARCHING") {
			continue
		}
		head, body := line[:width], line[width:]
		if n := 2 * s.opt.Personality.MaxShown; n > 0 && s.opt.Protocol.can() {
			body = body[:min(len(body), n)]
		}
		if !set.headers || f == NoHeaders || f == NoIndex || f == ColonBlank {
			head = ""
			blank := ""
			if set.spaces || f == ColonBlank {
				blank = " "
			}
			switch {
			case f == NoIndex && s.opt.Protocol.can() && body[0] == '1':
				body = body[4:]
			case s.opt.Protocol.can() && body[0] == '1':
				// Of several frames the adapter shows the length, and then each with its number (DSJ, "Multiline Responses").
				frames[i] = body[1:4] + "\r0:" + blank + s.digits(set, body[4:])
				continue
			case s.opt.Protocol.can() && body[0] == '2' && f != NoIndex:
				frames[i] = body[1:2] + ":" + blank + s.digits(set, body[2:])
				continue
			case s.opt.Protocol.can():
				body = body[2:]
			default:
				body = body[:len(body)-2]
			}
		}
		if set.spaces || f == Spaces {
			head, body = spaced(head), spaced(body)
			if head != "" {
				head += " "
			}
		}
		frames[i] = head + body
	}
	return l.spoil(ctx, cmd, frames, f)
}

// digits are those of a frame, with spaces if they are set.
func (s *Sim) digits(set settings, digits string) string {
	if set.spaces {
		return spaced(digits)
	}
	return digits
}

// firstOnly drops the consecutive frames: without flow control an ECU does not send them (ISO 15765-2).
func firstOnly(frames []string, width int, p Protocol) []string {
	var kept []string
	for _, line := range frames {
		if !p.can() || line[width] != '2' {
			kept = append(kept, line)
		}
	}
	return kept
}

// addressWidth is the number of digits before the data.
func (s *Sim) addressWidth() int {
	switch {
	case s.opt.Protocol.can29():
		return 8
	case s.opt.Protocol.can():
		return 3
	}
	return 6
}

// foreign is an answer to cmd by an ECU that is not among Options.ECUs, all its data bytes 63 hex.
func (s *Sim) foreign(cmd string) []string {
	address := map[bool]string{true: "7EF", false: "F0"}[s.opt.Protocol.can()]
	if s.opt.Protocol.can29() {
		address = "18DAF1F0"
	}
	var service, pid byte
	if _, err := fmt.Sscanf(cmd, "%02X%02X", &service, &pid); err != nil {
		return nil
	}
	frames, err := s.opt.frames(address, []byte{service + 0x40, pid, 0x63})
	if err != nil {
		return nil
	}
	return frames
}

// spaced puts a space between bytes. An odd number of digits is an 11-bit address and stays whole.
func spaced(digits string) string {
	if len(digits)%2 == 1 {
		return digits
	}
	var b strings.Builder
	for i := 0; i < len(digits); i += 2 {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(digits[i : i+2])
	}
	return b.String()
}

// words are the faults that replace the whole reply by a word.
var words = map[Fault]string{
	NoData: "NO DATA", UnableToConnect: "UNABLE TO CONNECT", SearchingUnable: "SEARCHING...UNABLE TO CONNECT",
	NotConnected: "NOT CONNECTED", BusInitError: "BUS INIT: ...ERROR", CANError: "CAN ERROR", BusError: "BUS ERROR",
	BusBusy: "BUS BUSY", FBError: "FB ERROR", DataError: "DATA ERROR", Err94: "ERR94", Err42: "ERR42", Stopped: "STOPPED", LVReset: "LV RESET",
	UnknownCommand: "?",
}

// spoil applies the faults of the adapter and of the line, and sends the reply.
func (l *line) spoil(ctx context.Context, cmd string, lines []string, f Fault) error {
	if word, ok := words[f]; ok {
		if f == LVReset || f == Err94 {
			l.sim.dip()
		}
		return l.lines(ctx, []string{word}, NoFault)
	}
	cut := func(s string) string { return s[:len(s)-1-l.sim.roll(len(s)-1)] }
	last := len(lines) - 1
	switch f {
	case BusInitOK:
		lines[0] = "BUS INIT: OK" + lines[0]
	case DataErrorMark:
		lines[last] += " <DATA ERROR"
	case RxErrorMark:
		lines[last] += " <RX ERROR"
	case BufferFull:
		lines[last] = cut(lines[last]) + "BUFFER FULL"
	case BufferFullLine:
		lines[last] = cut(lines[last])
		lines = append(lines, "BUFFER FULL")
	case ActAlert:
		lines = append([]string{"!ACT ALERT"}, lines...)
	case ActAlertPlain:
		lines = append([]string{"ACT ALERT"}, lines...)
	case LPAlert:
		lines = append([]string{"LP ALERT"}, lines...)
	case GarbageLine:
		lines = append([]string{"\xfc", ""}, lines...)
	case BusInitPause, SearchPause:
		word, after := "BUS INIT: ", []string{"OK"}
		if f == SearchPause {
			word, after = "SEARCHING...", []string{""}
		}
		if err := l.write(ctx, word); err != nil {
			return err
		}
		if err := l.rest(ctx, l.sim.opt.BusInit); err != nil {
			return err
		}
		lines = append(after, lines...)
	case HeldBack:
		if err := l.rest(ctx, latencyTimer); err != nil {
			return err
		}
	case LatePrompt:
		if err := l.write(ctx, strings.Join(lines, "\r")); err != nil {
			return err
		}
		if err := l.rest(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		return l.write(ctx, "\r\r>")
	case GluedSearching:
		lines[0] = "SEARCHING..." + lines[0]
	case SearchingLine:
		lines = append([]string{"SEARCHING..."}, lines...)
	case Chatter:
		lines = append([]string{"+CONNECTED"}, lines...)
	case Echo:
		lines = append([]string{cmd}, lines...)
	case Truncate:
		whole := strings.Join(lines, "\r")
		switch n := l.sim.opt.CutAt; {
		case n == 0:
			whole = cut(whole)
		default:
			whole = whole[:min(max(n, 0), len(whole))]
		}
		return l.write(ctx, whole+"\r\r>")
	case NoPrompt:
		return l.write(ctx, strings.Join(lines, "\r")+"\r\r")
	case NULs:
		for i, s := range lines {
			n := l.sim.roll(len(s))
			lines[i] = s[:n] + "\x00" + s[n:] + "\x00"
		}
	case GarbageBytes:
		b := make([]byte, 1+l.sim.roll(40))
		for i := range b {
			if b[i] = byte(l.sim.roll(256)); b[i] == '>' {
				b[i] = 0xFE
			}
		}
		return l.write(ctx, string(b)+"\r\r>")
	case OneByteAtATime:
		for _, c := range []byte(strings.Join(lines, "\r") + "\r\r>") {
			if err := l.write(ctx, string(c)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := l.lines(ctx, lines, f); err != nil {
		return err
	}
	switch f {
	case NULAfterPrompt:
		return l.write(ctx, "\x00")
	case LFAfterPrompt:
		return l.write(ctx, "\n")
	case LowPower:
		l.sleepAt = time.Now().Add(lowPowerIn)
		return l.lines(ctx, []string{"LP ALERT"}, NoFault)
	}
	return nil
}
