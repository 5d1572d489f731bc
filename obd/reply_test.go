package obd_test

import (
	"errors"
	"strings"
	"testing"

	"obdagent/obd"
)

func TestReplyIsTheSpeedOrTheReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		raw   string
		f     obd.Framing
		ecu   string
		speed float64
		err   error
	}{
		{"a plain reply", "7E803410D32\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"0 km/h is a value", "7E803410D00\r\r", obd.FramingCAN11, "7E8", 0, nil},
		{"spaces and line feeds do not matter", "7E8 03 41 0D 32 \r\n\r\n", obd.FramingCAN11, "7E8", 50, nil},
		{"a leading CR instead of a trailing one", "\r7E803410D32\r", obd.FramingCAN11, "7E8", 50, nil},
		{"an echo is not an answer", "010D\r7E803410D32\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"NULs are dropped", "7E8\x0003410D\x0032\r\r\x00", obd.FramingCAN11, "7E8", 50, nil},
		{"SEARCHING on its own line", "SEARCHING...\r7E803410D32\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"SEARCHING glued to the data", "SEARCHING...7E803410D32\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"SEARCHING glued to the verdict", "SEARCHING...UNABLE TO CONNECT\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrUnableToConnect},
		{"BUS INIT OK glued to the data", "BUS INIT: OK\r486B10410D3243\r\r", obd.FramingISO, "10", 50, nil},
		{"BUS INIT with dots glued to the data", "BUS INIT: ...OK486B10410D3243\r\r", obd.FramingISO, "10", 50, nil},
		{"BUS INIT ERROR", "BUS INIT: ...ERROR\r\r", obd.FramingISO, "10", 0, obd.ErrBusInit},
		{"NO DATA", "NO DATA\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrNoData},
		{"NODATA without the space", "NODATA\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrNoData},
		{"data beside NO DATA is not trusted", "7E803410D32\rNO DATA\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrNoData},
		{"CAN ERROR", "CAN ERROR\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrCAN},
		{"BUS BUSY", "BUS BUSY\r\r", obd.FramingJ1850, "10", 0, obd.ErrBus},
		{"FB ERROR", "FB ERROR\r\r", obd.FramingJ1850, "10", 0, obd.ErrBus},
		{"DATA ERROR behind data", "7E803410D32 <DATA ERROR\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrData},
		{"RX ERROR behind data", "7E803410D32 <RX ERROR\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrData},
		{"ERR94", "ERR94\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrAdapter},
		{"a cut frame and BUFFER FULL on one line", "7E803410DBUFFER FULL\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrBufferFull},
		{"a whole frame before BUFFER FULL", "7E803410D32\rBUFFER FULL\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrBufferFull},
		{"LV RESET wins over what else is there", "NO DATA\rLV RESET\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrLVReset},
		{"STOPPED", "STOPPED\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrStopped},
		{"an alert is not an answer", "!ACT ALERT\r7E803410D32\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"an alert alone", "LP ALERT\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrMalformed},
		{"a question mark", "?\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrUnknownCommand},
		{"NOT CONNECTED", "NOT CONNECTED\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrUnableToConnect},
		{"chatter of a Bluetooth module", "+READY\r7E803410D32\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"nothing", "\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrMalformed},
		{"another ECU answers first", "7E903410D00\r7E803410D32\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"only another ECU answers", "7E903410D00\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrNoData},
		{"two answers that differ", "7E803410D00\r7E803410D32\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrMalformed},
		{"two answers that agree", "7E803410D32\r7E803410D32\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"padding with 00", "7E803410D3200000000\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"padding with AA", "7E803410D32AAAAAAAA\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"padding with a byte lost", "7E803410DAAAAAAAA\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrMalformed},
		{"the checksum byte of obdsim", "7E803410D325C\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"a length that promises more", "7E804410D32\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrMalformed},
		{"a length that promises less", "7E802410D32\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrMalformed},
		{"two data bytes", "7E804410D3201\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrMalformed},
		{"another PID", "7E803410C32\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrMismatch},
		{"another service", "7E803420D32\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrMismatch},
		{"a refusal", "7E8037F0112\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrNegative},
		{"pending and then the answer", "7E8037F0178\r7E803410D32\r\r", obd.FramingCAN11, "7E8", 50, nil},
		{"pending only", "7E8037F0178\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrNegative},
		{"no headers", "410D32\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrMalformed},
		{"29 bit", "18DAF11003410D32\r\r", obd.FramingCAN29, "18DAF110", 50, nil},
		{"29 bit without headers", "410D32\r\r", obd.FramingCAN29, "18DAF110", 0, obd.ErrMalformed},
		{"ISO 9141", "48 6B 10 41 0D 32 43\r\r", obd.FramingISO, "10", 50, nil},
		{"ISO 9141 with a wrong checksum", "48 6B 10 41 0D 32 44\r\r", obd.FramingISO, "10", 0, obd.ErrMalformed},
		{"KWP", "83F110410D3204\r\r", obd.FramingISO, "10", 50, nil},
		{"KWP with a wrong length", "84F110410D3205\r\r", obd.FramingISO, "10", 0, obd.ErrMalformed},
		{"J1850 with a wrong CRC", "486B10410D3243\r\r", obd.FramingJ1850, "10", 0, obd.ErrMalformed},
		{"text that is not hex", "ELM327 v1.5\r\r", obd.FramingCAN11, "7E8", 0, obd.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			speed, err := obd.Speed([]byte(c.raw), c.f, c.ecu)
			if !errors.Is(err, c.err) || err == nil && speed != c.speed {
				t.Errorf("got %v, %v; want %v, %v", speed, err, c.speed, c.err)
			}
		})
	}
}

// vinReplies are the forms of the same VIN.
var vinReplies = []struct {
	name string
	raw  string
	f    obd.Framing
	ecu  string
}{
	{"CAN 11 bit", canVIN("7E8"), obd.FramingCAN11, "7E8"},
	{"CAN 29 bit", canVIN("18DAF110"), obd.FramingCAN29, "18DAF110"},
	{"ISO 9141 in five lines", isoVIN(), obd.FramingISO, "10"},
}

func canVIN(id string) string {
	return id + "1014490201314434\r" + id + "2147503030523535\r" + id + "2242313233343536\r\r"
}

func isoVIN() string {
	var b strings.Builder
	body := "\x00\x00\x00" + testVIN
	for i := range 5 {
		line := append([]byte{0x48, 0x6B, 0x10, 0x49, 0x02, byte(i + 1)}, body[4*i:4*i+4]...)
		var sum byte
		for _, x := range line {
			sum += x
		}
		for _, x := range append(line, sum) {
			const digits = "0123456789ABCDEF"
			b.WriteByte(digits[x>>4])
			b.WriteByte(digits[x&15])
		}
		b.WriteByte('\r')
	}
	return b.String()
}

func TestVINIsReadWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, c := range vinReplies {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			vin, err := obd.VIN([]byte(c.raw), c.f, c.ecu)
			if err != nil || vin != testVIN {
				t.Fatalf("got %q, %v", vin, err)
			}
			end := strings.LastIndexAny(c.raw, "0123456789ABCDEF")
			for cut := range end {
				if vin, err := obd.VIN([]byte(c.raw[:cut]), c.f, c.ecu); err == nil {
					t.Errorf("cut at %d: %q", cut, vin)
				}
				// And with one byte lost in the middle.
				if vin, err := obd.VIN([]byte(c.raw[:cut]+c.raw[cut+1:]), c.f, c.ecu); err == nil && vin != testVIN {
					t.Errorf("byte %d lost: %q", cut, vin)
				}
			}
		})
	}
	for name, raw := range map[string]string{
		"a letter that no VIN has":  strings.Replace(canVIN("7E8"), "314434", "314F34", 1),
		"blanks instead of letters": strings.Replace(canVIN("7E8"), "314434", "202020", 1),
		"frames in a wrong order":   "7E81014490201314434\r7E82242313233343536\r7E82147503030523535\r\r",
		"a frame twice":             "7E81014490201314434\r7E82147503030523535\r7E82147503030523535\r7E82242313233343536\r\r",
		"a missing frame":           "7E81014490201314434\r7E82147503030523535\r\r",
		"no first frame":            "7E82147503030523535\r7E82242313233343536\r\r",
		"16 characters":             "7E81013490201314434\r7E82147503030523535\r7E822423132333435\r\r",
	} {
		if vin, err := obd.VIN([]byte(raw), obd.FramingCAN11, "7E8"); err == nil {
			t.Errorf("%s: %q", name, vin)
		}
	}
}

func TestReplyCutAnywhereIsNeverAWrongSpeed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw string
		f   obd.Framing
		ecu string
	}{
		{"7E803410D7B\r\r", obd.FramingCAN11, "7E8"},
		{"7E803410D7BAAAAAAAA\r\r", obd.FramingCAN11, "7E8"},
		{"7E8 03 41 0D 7B \r\n\r\n", obd.FramingCAN11, "7E8"},
		{"18DAF11003410D7B\r\r", obd.FramingCAN29, "18DAF110"},
		{"486B10410D7B8C\r\r", obd.FramingISO, "10"},
		{"83F110410D7B4D\r\r", obd.FramingISO, "10"},
		{"SEARCHING...7E803410D7B\r\r", obd.FramingCAN11, "7E8"},
		{"7E9037F0112\r7E803410D7B\r\r", obd.FramingCAN11, "7E8"},
	} {
		padded := strings.Contains(c.raw, "AAAA")
		if v, err := obd.Speed([]byte(c.raw), c.f, c.ecu, padded); err != nil || v != 123 {
			t.Errorf("%q whole: %v, %v", c.raw, v, err)
		}
		for from := range len(c.raw) {
			for to := from; to <= len(c.raw); to++ {
				for _, damaged := range []string{c.raw[from:to], c.raw[:from] + c.raw[to:]} {
					// A hole of any size, or a piece of any size: what is read is right or nothing.
					v, err := obd.Speed([]byte(damaged), c.f, c.ecu, padded)
					if err == nil && v != 123 && to-from < len(c.raw) {
						t.Errorf("%q read as %v", damaged, v)
					}
				}
			}
		}
	}
}

func TestFramingIsGuessedFromTheShape(t *testing.T) {
	t.Parallel()
	for digits, want := range map[string]obd.Framing{
		"7E8064100BE3FA813":      obd.FramingCAN11,
		"18DAF110064100BE3FA813": obd.FramingCAN29,
		"486B104100BE3FA811BA":   obd.FramingISO,
		"NODATA":                 0,
		"":                       0,
	} {
		if got := obd.GuessFraming(digits); got != want {
			t.Errorf("%s: %v, want %v", digits, got, want)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"7E803410D32\r\r", "SEARCHING...7E803410D32\r\r", "BUS INIT: ...OK486B10410D3243\r\r", "NO DATA\r\r", "7E803410DBUFFER FULL\r\r",
		canVIN("7E8"), canVIN("18DAF110"), isoVIN(), "\xfc\r\rELM327 v1.5\r\r", "7E8037F0178\r7E803410D32\r\r", "014\r0:490201314434\r1:47503030523535\r",
	} {
		for framing := range 4 {
			f.Add([]byte(s), framing+1, "7E8")
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, framing int, ecu string) {
		v, err := obd.Speed(raw, obd.Framing(framing), ecu)
		if err == nil {
			if v < 0 || v > 255 || v != float64(int(v)) {
				t.Errorf("%q: speed %v", raw, v)
			}
			for _, word := range []string{"ERROR", "NO DATA", "UNABLE", "BUFFER FULL", "STOPPED", "LV RESET"} {
				if strings.Contains(string(raw), word) {
					t.Errorf("%q: speed %v beside %s", raw, v, word)
				}
			}
		}
		if vin, err := obd.VIN(raw, obd.Framing(framing), ecu); err == nil && len(vin) != 17 {
			t.Errorf("%q: VIN %q", raw, vin)
		}
	})
}

func FuzzAssemble(f *testing.F) {
	f.Add([]byte("\x08\x10\x14\x49\x02\x01\x31\x44\x34\x08\x21\x47\x50\x30\x30\x52\x35\x35\x08\x22\x42\x31\x32\x33\x34\x35\x36"), 1)
	f.Add([]byte("\x04\x03\x41\x0d\x32"), 2)
	f.Fuzz(func(t *testing.T, script []byte, n int) {
		// The script is a list of frames, each with its length in front.
		var frames [][]byte
		total := 0
		for len(script) > 0 {
			k := min(int(script[0]%10), len(script)-1)
			frames = append(frames, script[1:1+k])
			total += k
			script = script[1+k:]
		}
		ecus := []string{"7E8", "7E9", "7EA"}[:1+(n%3+3)%3]
		msgs, _ := obd.Assemble(ecus, frames)
		got := 0
		for _, m := range msgs {
			if len(m.Data) == 0 || len(m.Data) > 4095 {
				t.Errorf("message of %d bytes", len(m.Data))
			}
			got += len(m.Data)
		}
		if got > total {
			t.Errorf("%d bytes out of %d", got, total)
		}
	})
}
