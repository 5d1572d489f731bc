package elmsim_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd/elmsim"
)

// dialogue sends commands one by one and returns the replies, the prompts taken off.
func dialogue(t *testing.T, sim *elmsim.Sim, commands ...string) []string {
	t.Helper()
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sim.Serve(ctx, far) }()
	r := bufio.NewReader(near)
	var replies []string
	for _, c := range commands {
		if _, err := io.WriteString(near, c); err != nil {
			t.Fatal(err)
		}
		reply, err := r.ReadString('>')
		if err != nil {
			t.Fatal(err)
		}
		replies = append(replies, reply[:len(reply)-1])
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	return replies
}

func TestSimSpeaksAsTheDataSheetSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		opt  elmsim.Options
		ask  []string
		want string // the last reply
	}{
		{"power-on defaults echo and feed lines", elmsim.Options{}, []string{"ATI\r"}, "ATI\rELM327 v1.4b\r\n\r\n"},
		{"quiet settings", elmsim.Options{}, []string{"ATE0\r", "ATL0\r", "ATRV\r"}, "14.1V\r\r"},
		{"the first request searches", elmsim.Options{}, []string{"ATE0\r", "ATL0\r", "ATS0\r", "ATH1\r", "010D\r"}, "SEARCHING...\r7E803410D00\r\r"},
		{"a PID that the car lacks", elmsim.Options{}, []string{"ATE0\r", "ATL0\r", "010D\r", "0146\r"}, "NO DATA\r\r"},
		{"a bare CR repeats", elmsim.Options{}, []string{"ATE0\r", "ATL0\r", "ATRV\r", "\r"}, "14.1V\r\r"},
		{"nonsense", elmsim.Options{}, []string{"ATE0\r", "ATL0\r", "\x7f\x7f\r"}, "?\r\r"},
		{"a byte while busy aborts", elmsim.Options{ECUDelay: time.Second}, []string{"ATE0\r", "ATL0\r", "010D\r "}, "STOPPED\r\r"},
		{"a clone without ATCRA", elmsim.Options{Personality: elmsim.CloneV21}, []string{"ATE0\r", "ATL0\r", "ATCRA7E8\r"}, "?\r\r"},
		{"a clone that does not repeat", elmsim.Options{Personality: elmsim.Fragile}, []string{"ATE0\r", "ATL0\r", "ATRV\r", "\r"}, "?\r\r"},
		{"garbage of a reset before the name", elmsim.Options{Personality: elmsim.Fragile}, []string{"ATE0\r", "ATL0\r", "ATI\r"}, "\xfc\r\rELM327 v1.5\r\r"},
		{"a clone without automatic numbers", elmsim.Options{Personality: elmsim.Fragile}, []string{"ATE0\r", "ATL0\r", "ATSPA8\r"}, "?\r\r"},
		{"without headers several frames are numbered", elmsim.Options{VIN: "1D4GP00R55B123456"}, []string{"ATE0\r", "ATL0\r", "ATS0\r", "010D\r", "0902\r"},
			"014\r0:490201314434\r1:47503030523535\r2:42313233343536\r\r"},
		{"without flow control the first frame comes alone", elmsim.Options{VIN: "1D4GP00R55B123456"},
			[]string{"ATE0\r", "ATL0\r", "ATS0\r", "ATH1\r", "ATCFC0\r", "010D\r", "0902\r"}, "7E81014490201314434\r\r"},
		{"a sleeping chip loses what wakes it and tells its name", elmsim.Options{}, []string{"ATE0\r", "ATLP\r", "ATRV\r"}, "\r\n\r\nELM327 v1.4b\r\n\r\n"},
		{"told how many lines to expect, it does not wait for more", elmsim.Options{ECUs: []elmsim.ECU{
			{Address: "7E9", PIDs: []byte{0x0D}}, {Address: "7E8", PIDs: elmsim.EnginePIDs}}},
			[]string{"ATE0\r", "ATL0\r", "ATS0\r", "ATH1\r", "ATSP6\r", "010D1\r"}, "7E903410D00\r\r"},
		{"at its own address one ECU answers", elmsim.Options{ECUs: []elmsim.ECU{
			{Address: "7E9", PIDs: []byte{0x0D}}, {Address: "7E8", PIDs: elmsim.EnginePIDs}}},
			[]string{"ATE0\r", "ATL0\r", "ATS0\r", "ATH1\r", "ATSP6\r", "ATSH7E0\r", "010D\r"}, "7E803410D00\r\r"},
		{"an ECU that is deaf at its own address", elmsim.Options{ECUs: []elmsim.ECU{{Address: "7EF", PIDs: elmsim.EnginePIDs, FunctionalOnly: true}}},
			[]string{"ATE0\r", "ATL0\r", "ATSP6\r", "ATSH7E7\r", "010D\r"}, "NO DATA\r\r"},
		{"an ECU with a letter in its address", elmsim.Options{ECUs: []elmsim.ECU{{Address: "7EF", PIDs: elmsim.EnginePIDs}}},
			[]string{"ATE0\r", "ATL0\r", "ATS0\r", "ATSP6\r", "ATH1\r", "ATSH7E7\r", "010D\r"}, "7EF03410D00\r\r"},
		{"frames are filled up", elmsim.Options{Padding: true, PadByte: 0x55}, []string{"ATE0\r", "ATL0\r", "ATS0\r", "ATH1\r", "ATSP6\r", "010D1\r"}, "7E803410D0055555555\r\r"},
		{"with spaces and without headers a blank follows the number", elmsim.Options{VIN: "1D4GP00R55B123456"}, []string{"ATE0\r", "ATL0\r", "ATSP6\r", "0902\r"},
			"014\r0: 49 02 01 31 44 34\r1: 47 50 30 30 52 35 35\r2: 42 31 32 33 34 35 36\r\r"},
		{"a clone that shows neither length nor number", elmsim.Options{VIN: "1D4GP00R55B123456", FaultOn: map[string]elmsim.Fault{"0902": elmsim.NoIndex}},
			[]string{"ATE0\r", "ATL0\r", "ATS0\r", "ATSP6\r", "0902\r"}, "490201314434\r47503030523535\r42313233343536\r\r"},
		{"after LV RESET a search leaves CAN out", elmsim.Options{FaultOn: map[string]elmsim.Fault{"010C": elmsim.LVReset}},
			[]string{"ATE0\r", "ATL0\r", "010D\r", "010C\r", "ATE0\r", "ATL0\r", "010D\r"}, "UNABLE TO CONNECT\r\r"},
		{"which is no matter to a protocol that is named", elmsim.Options{FaultOn: map[string]elmsim.Fault{"010C": elmsim.LVReset}},
			[]string{"ATE0\r", "ATL0\r", "010D\r", "010C\r", "ATE0\r", "ATL0\r", "ATTP6\r", "010D\r"}, "41 0D 00\r\r"},
		{"and can be forgotten", elmsim.Options{FaultOn: map[string]elmsim.Fault{"010C": elmsim.LVReset}},
			[]string{"ATE0\r", "ATL0\r", "010D\r", "010C\r", "ATE0\r", "ATL0\r", "ATFE\r", "ATS0\r", "010D\r"}, "SEARCHING...\r410D00\r\r"},
		{"a clone that cuts answers", elmsim.Options{Personality: elmsim.Cutter}, []string{"ATE0\r", "ATL0\r", "ATS0\r", "ATH1\r", "ATSP6\r", "010D050F\r"}, "7E807410D0005800F\r\r"},
		{"the car is off", elmsim.Options{Vehicle: func() elmsim.Vehicle { return elmsim.Vehicle{Voltage: 12.4} }}, []string{"ATE0\r", "ATL0\r", "0100\r"}, "UNABLE TO CONNECT\r\r"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				replies := dialogue(t, elmsim.New(c.opt), c.ask...)
				if got := replies[len(replies)-1]; got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		})
	}
}

func TestSimTakesTheTimeOfItsLineSpeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{Baud: 9600, ECUDelay: 10 * time.Millisecond})
		dialogue(t, sim, "ATE0\r", "ATL0\r", "ATS0\r", "ATH1\r", "ATSP6\r")
		start := time.Now()
		dialogue(t, sim, "010D1\r")
		// 6 bytes there, 14 back, each ten bits.
		want := 20*10*time.Second/9600 + 10*time.Millisecond
		if got := time.Since(start); got < want-time.Millisecond || got > want+time.Millisecond {
			t.Errorf("took %v, want %v", got, want)
		}
		if n := sim.Counts().Writes; n != 1 {
			t.Errorf("%d writes to memory counted for ATSP with memory on", n)
		}
	})
}

// TestSimWaitsAsLongAsItWasTold is how long one request takes that is not told how many lines to expect.
func TestSimWaitsAsLongAsItWasTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		personality elmsim.Personality
		setting     string
		request     string
		want        time.Duration // besides the ECU's
	}{
		{"told to expect one line", elmsim.Genuine, "ATAT1\r", "010D1\r", 0},
		{"told to expect one more than come", elmsim.Genuine, "ATAT1\r", "010D2\r", 205 * time.Millisecond},
		{"adaptive timing off", elmsim.Genuine, "ATAT0\r", "010D\r", 205 * time.Millisecond},
		{"adaptive timing", elmsim.Genuine, "ATAT1\r", "010D\r", 51250 * time.Microsecond},
		{"aggressive timing", elmsim.Genuine, "ATAT2\r", "010D\r", 25625 * time.Microsecond},
		{"a clone whose timing does not adapt", elmsim.NoCount, "ATAT1\r", "010D\r", 205 * time.Millisecond},
		{"and with a shorter timeout", elmsim.NoCount, "ATST10\r", "010D\r", 65536 * time.Microsecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim := elmsim.New(elmsim.Options{ECUDelay: 8 * time.Millisecond, Personality: c.personality})
				dialogue(t, sim, "ATE0\r", "ATSP6\r", c.setting)
				start := time.Now()
				dialogue(t, sim, c.request)
				if got := time.Since(start); got != c.want+8*time.Millisecond {
					t.Errorf("took %v, want %v", got, c.want+8*time.Millisecond)
				}
			})
		})
	}
}
