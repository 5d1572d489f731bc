package obd_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

func TestPackedAnswersAreTakenApartOrRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		answer []byte
		want   []string // of speed, rpm
		err    error
	}{
		{"in the order asked", []byte{0x41, 0x0D, 0x32, 0x0C, 0x1A, 0xF8}, []string{"A\r2", "A\f\x1a\xf8"}, nil},
		{"in the other order", []byte{0x41, 0x0C, 0x1A, 0xF8, 0x0D, 0x32}, []string{"A\r2", "A\f\x1a\xf8"}, nil},
		{"one left out", []byte{0x41, 0x0C, 0x1A, 0xF8}, []string{"", "A\f\x1a\xf8"}, nil},
		{"values that look like PIDs", []byte{0x41, 0x0D, 0x0C, 0x0C, 0x0D, 0x0C}, []string{"A\r\f", "A\f\r\f"}, nil},
		{"one twice", []byte{0x41, 0x0D, 0x32, 0x0D, 0x33}, nil, obd.ErrMismatch},
		{"one not asked", []byte{0x41, 0x0D, 0x32, 0x05, 0x33}, nil, obd.ErrMismatch},
		{"cut", []byte{0x41, 0x0D, 0x32, 0x0C, 0x1A}, nil, obd.ErrMalformed},
	} {
		parts, err := obd.Split(c.answer, "speed", "rpm")
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		for i := range c.want {
			if string(parts[i]) != c.want[i] {
				t.Errorf("%s: part %d is % X, want % X", c.name, i, parts[i], c.want[i])
			}
		}
	}
}

// TestSeveralPIDsRideWithSpeedWhereAdapterAndCarAreAble counts requests: the same values cost fewer.
func TestSeveralPIDsRideWithSpeedWhereAdapterAndCarAreAble(t *testing.T) {
	t.Parallel()
	period := map[string]time.Duration{"rpm": 200 * time.Millisecond, "coolant": time.Second, "throttle": time.Second, "load": 300 * time.Millisecond}
	cuts := elmsim.Genuine
	cuts.MaxBytes = 2
	for _, c := range []struct {
		name        string
		personality elmsim.Personality
		protocol    elmsim.Protocol
		packs       bool
	}{
		{"genuine on CAN 11", elmsim.Genuine, elmsim.CAN11Bit500k, true},
		{"genuine on CAN 29", elmsim.Genuine, elmsim.CAN29Bit500k, true},
		{"a clone that cuts requests", cuts, elmsim.CAN11Bit500k, false},
		{"K-line", elmsim.Genuine, elmsim.KWPFast, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim := elmsim.New(elmsim.Options{VIN: testVIN, Protocol: c.protocol, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond, Personality: c.personality, Baud: 38400})
				b := newBench(t, sim, obd.Options{Period: period})
				b.run(t)
				b.until(t, obd.StateLive, 10*time.Second)
				pass(time.Second)
				b.clear()
				before := sim.Counts().Requests
				pass(10 * time.Second)
				requests := sim.Counts().Requests - before
				count := map[string]int{}
				for _, s := range b.taken() {
					if s.Err != nil {
						t.Errorf("%s: %v", s.Signal, s.Err)
					}
					count[s.Signal]++
				}
				if c.packs && requests > 102 {
					t.Errorf("%d requests for %v: nothing rides", requests, count)
				}
				if !c.packs && requests < 150 {
					t.Errorf("%d requests for %v", requests, count)
				}
				for name, least := range map[string]int{"speed": 95, "rpm": 40, "coolant": 9, "throttle": 9, "load": 30} {
					if count[name] < least {
						t.Errorf("%s: %d answers in 10 s, want %d: %v", name, count[name], least, count)
					}
				}
				long := false
				commands := sim.Commands()
				for _, cmd := range commands[len(commands)-min(requests, 90):] { // those before are the proof
					long = long || strings.HasPrefix(cmd, "010D") && len(cmd) > 6
				}
				if c.packs != long {
					t.Errorf("packed requests: %v", long)
				}
				if hz := b.car.Status().AskedHz; hz != 10 && c.packs {
					t.Errorf("asked rate %v", hz)
				}
			})
		})
	}
}

func TestPackingIsGivenUpWhereItFailsAgainAndAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond})
		b := newBench(t, sim, obd.Options{Period: map[string]time.Duration{"rpm": 100 * time.Millisecond}})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		pass(time.Second)
		sim.Inject(elmsim.WrongPID, elmsim.WrongPID)
		pass(5 * time.Second)
		b.clear()
		pass(time.Second)
		commands := sim.Commands()
		for _, cmd := range commands[len(commands)-10:] {
			if len(cmd) > 6 {
				t.Errorf("still asks %s", cmd)
			}
		}
		if n := len(b.taken()); n < 15 {
			t.Errorf("%d samples in a second", n)
		}
	})
}

func TestSteadyPollingTakesNoMemory(t *testing.T) {
	for _, c := range []struct {
		reply string
		names []string
	}{
		{"7E803410D32\r\r>", []string{"speed"}},
		{"7E806410D320C1AF8\r\r>", []string{"speed", "rpm"}},
	} {
		good := 0
		h := obd.Handler{Sample: func(s obd.Sample) {
			if s.Err == nil {
				good++
			}
		}}
		p, err := obd.NewPoller(&canned{reply: []byte(c.reply)}, obd.Options{Port: "auto", MaxRate: 10000, Now: leaps()}, h, c.names...)
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		poll := func() {
			if err := p.Poll(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for range 1100 { // until the window of answers is as long as it gets
			poll()
		}
		if n := testing.AllocsPerRun(1000, poll); n != 0 {
			t.Errorf("%v: %v allocations a request", c.names, n)
		}
		if good < 2000*len(c.names) {
			t.Errorf("%v: only %d good samples", c.names, good)
		}
	}
}

// TestAChangedValueTakesFourAllocations is what elmobd's way of text costs: the text, its pieces, the result and its bytes.
func TestAChangedValueTakesFourAllocations(t *testing.T) {
	line := &canned{reply: []byte("7E804410C1AF8\r\r>"), next: []byte("7E804410C1AF4\r\r>")}
	seen := map[float64]int{}
	h := obd.Handler{Sample: func(s obd.Sample) { seen[s.Value]++ }}
	p, err := obd.NewPoller(line, obd.Options{Port: "auto", MaxRate: 10000, Now: leaps()}, h, "rpm")
	if err != nil {
		t.Fatal(err)
	}
	poll := func() {
		if err := p.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 1100 {
		poll()
	}
	if n := testing.AllocsPerRun(1000, poll); n != 4 {
		t.Errorf("%v allocations a request", n)
	}
	if len(seen) != 2 || seen[1726] < 1000 || seen[1725] < 1000 {
		t.Errorf("values %v", seen)
	}
}

// FuzzShortWayAgreesWithTheLongOne holds oneFrame to parseReply.
func FuzzShortWayAgreesWithTheLongOne(f *testing.F) {
	for _, s := range []string{"7E803410D32\r\r", "7E803410D32AAAAAAAA\r\r", "7E806410D320C1AF8\r", "7E8037F0112\r\r", "7E803410D3\r\r", "7E804410D32\r\r",
		"7E803410D32\r7E903410D33\r", "7E803 41 0D 32\r", "\x007E803410D32\r", "7E8101449020131\r7E821", "BUFFER FULL", ""} {
		f.Add([]byte(s), true)
		f.Add([]byte(strings.ReplaceAll(s, "7E8", "18DAF110")), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, short bool) {
		framing, ecu := obd.FramingCAN29, "18DAF110"
		if short {
			framing, ecu = obd.FramingCAN11, "7E8"
		}
		data, ok := obd.ShortWay(raw, framing, ecu)
		if !ok {
			return
		}
		msgs, err := obd.LongWay(raw, framing, ecu)
		if err != nil || len(msgs) != 1 || !bytes.Equal(msgs[0].Data, data) {
			t.Errorf("%q: the short way says % X, the long one %v, %v", raw, data, msgs, err)
		}
	})
}
