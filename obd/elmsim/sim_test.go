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
		{"power-on defaults echo and feed lines", elmsim.Options{}, []string{"ATI\r"}, "ATI\rELM327 v1.5\r\n\r\n"},
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
		{"a sleeping chip loses what wakes it and tells its name", elmsim.Options{}, []string{"ATE0\r", "ATLP\r", "ATRV\r"}, "\r\n\r\nELM327 v1.5\r\n\r\n"},
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
