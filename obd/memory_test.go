package obd_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

func TestWhatWasLearnedIsTriedFirstAfterARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "obd.json")
	session := func(t *testing.T, protocol elmsim.Protocol, vin string) (commands []string) {
		synctest.Test(t, func(t *testing.T) {
			sim := elmsim.New(elmsim.Options{VIN: vin, Protocol: protocol, Vehicle: vehicleAt(50)})
			b := newBench(t, sim, obd.Options{Memory: path})
			b.run(t)
			b.until(t, obd.StateLive, time.Minute)
			pass(time.Second)
			if got := b.car.Status().Vehicle.VIN; got != vin {
				t.Errorf("VIN %s", got)
			}
			if n := sim.Counts().Writes; n != 0 {
				t.Errorf("%d writes to the adapter's memory", n)
			}
			commands = sim.Commands()
		})
		return commands
	}
	const other = "1FTBR1XG2MKA12345"
	if c := session(t, elmsim.KWPFast, testVIN); !slices.Contains(c, "ATSP0") {
		t.Errorf("the first time nothing is known: %v", c)
	}
	if c := session(t, elmsim.KWPFast, testVIN); !slices.Contains(c, "ATTP5") || slices.Contains(c, "ATSP0") {
		t.Errorf("the second time: %v", c)
	}
	if c := session(t, elmsim.CAN11Bit500k, other); !slices.Contains(c, "ATTP5") || !slices.Contains(c, "ATSP0") {
		t.Errorf("in another car: %v", c)
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Index(string(text), other) > strings.Index(string(text), testVIN) || !strings.Contains(string(text), testVIN) {
		t.Errorf("memory %s, %v", text, err)
	}
	for _, broken := range []string{"", "{", `{"cars":[{"adapter":"ELM327 v1.4b","protocol":"Z"}]}`, `{"cars":7}`} {
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if c := session(t, elmsim.CAN11Bit500k, other); !slices.Contains(c, "ATSP0") {
			t.Errorf("with %q as memory: %v", broken, c)
		}
	}
}

// TestWhatAPairProvedIsVerifiedByOneRequest counts what is asked to find the pair's abilities out.
func TestWhatAPairProvedIsVerifiedByOneRequest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "obd.json")
	cuts := elmsim.Genuine
	cuts.MaxBytes = 2 // and drops the rest of a request
	session := func(t *testing.T, p elmsim.Personality, vin string) (alone, both, tried int, packs bool) {
		synctest.Test(t, func(t *testing.T) {
			sim := elmsim.New(elmsim.Options{VIN: vin, Vehicle: vehicleAt(50), Personality: p, ECUDelay: 8 * time.Millisecond})
			b := newBench(t, sim, obd.Options{Memory: path, Period: map[string]time.Duration{"rpm": time.Second}})
			b.run(t)
			b.until(t, obd.StateLive, time.Minute)
			for _, cmd := range sim.Commands() {
				switch strings.TrimSuffix(cmd, "1") {
				case "0105":
					alone++
				case "010D05":
					both++
				case "010D":
					if cmd == "010D1" {
						tried++
					}
				}
			}
			pass(5 * time.Second)
			packs = slices.ContainsFunc(sim.Commands(), func(cmd string) bool { return strings.HasPrefix(cmd, "010D0C") })
			for _, s := range b.taken() {
				if s.Err != nil {
					t.Errorf("%+v", s)
				}
			}
		})
		return alone, both, tried, packs
	}
	const other = "1FTBR1XG2MKA12345"
	for i, c := range []struct {
		name        string
		personality elmsim.Personality
		vin         string
		alone, both int
		packs       bool
	}{
		{"nothing is known", elmsim.Genuine, testVIN, 1, 1, true},
		{"it has proved able", elmsim.Genuine, testVIN, 0, 1, true},
		{"another car proves by itself", elmsim.Genuine, other, 1, 1, true},
		{"and the first is still known", elmsim.Genuine, testVIN, 0, 1, true},
		{"another adapter of the same name is found out", cuts, testVIN, 1, 2, false},
		{"once more, as it may have been noise", cuts, testVIN, 1, 1, false},
		{"and again", cuts, testVIN, 1, 1, false},
		{"then it is not asked any more", cuts, testVIN, 0, 0, false},
	} {
		alone, both, tried, packs := session(t, c.personality, c.vin)
		if alone != c.alone || both != c.both || packs != c.packs || tried != 1 {
			t.Errorf("%d, %s: %d alone, %d for two, %d with a count; packs %v", i, c.name, alone, both, tried, packs)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 1, 1, 0, 0, 0, 0, 0, 1, 0} { // an adapter that takes no count
		if _, _, tried, _ := session(t, elmsim.CloneV21, testVIN); tried != want {
			t.Errorf("connection %d: a count was tried %d times, want %d", i, tried, want)
		}
	}
}

func TestACaptureIsReadBackAsExchanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var file bytes.Buffer
		out := json.NewEncoder(&file)
		start := time.Now()
		record := func(dir string, data []byte) {
			if err := out.Encode(obd.Captured{Mono: int64(time.Since(start)), Port: "obd", Dir: dir, Data: data}); err != nil {
				t.Error(err)
			}
		}
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond, Baud: 38400})
		b := newBench(t, sim, obd.Options{Capture: record})
		b.run(t)
		b.until(t, obd.StateLive, 10*time.Second)
		pass(time.Second)
		sim.Inject(elmsim.BufferFull, elmsim.Silence)
		pass(10 * time.Second)
		data := bytes.Clone(file.Bytes())
		byReason, speeds, seen := map[string]int{}, 0, map[string]bool{}
		lines, err := obd.DecodeCapture(bytes.NewReader(data), []string{"obd"}, func(e obd.Exchange) {
			byReason[e.Reason]++
			seen[e.Command] = true
			if e.Signal == "speed" && e.Value != nil {
				if *e.Value != 50 || e.Unit != "km/h" || !e.Prompt || e.Latency < 8 {
					t.Errorf("%+v", e)
				}
				speeds++
			}
			if !e.Prompt && e.Value != nil {
				t.Errorf("a value of an unfinished reply: %+v", e)
			}
		}, nil)
		if err != nil || lines < 500 {
			t.Errorf("%d lines, %v", lines, err)
		}
		if speeds < 50 || byReason["buffer_full"] != 1 || !seen["0902"] || !seen["ATH1"] {
			t.Errorf("%d speeds, reasons %v, commands %v", speeds, byReason, seen)
		}
		if _, err := obd.DecodeCapture(strings.NewReader("{\"port\":\"obd\"}\nnonsense"), nil, nil, nil); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("a broken line: %v", err)
		}
	})
}

func TestSeveralValuesOfOneExchangeAreReadBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, command, reply, want string }{
		{"speed and revolutions", "010D0C1", "7E806410D320C1AF8\r\r>", `[{"signal":"speed","value":50,"unit":"km/h"},{"signal":"rpm","value":1726,"unit":"1/min"}]`},
		{"in another order", "010D0C", "7E806410C1AF80D32\r\r>", `[{"signal":"speed","value":50,"unit":"km/h"},{"signal":"rpm","value":1726,"unit":"1/min"}]`},
		{"one left out", "010D0C1", "7E803410D32\r\r>", `[{"signal":"speed","value":50,"unit":"km/h"},{"signal":"rpm","unit":"1/min","reason":"no_data"}]`},
		{"one out of range", "010D0C1", "7E806410D320CFFFF\r\r>", `[{"signal":"speed","value":50,"unit":"km/h"},{"signal":"rpm","unit":"1/min","reason":"implausible"}]`},
		{"cut", "010D0C1", "7E806410D320C1A\r\r>", "malformed"},
		{"two ECUs", "010D0C", "7E806410D320C1AF8\r7E903410D33\r\r>", "mismatch"},
		{"a PID of unknown length", "010D7F", "7E806410D327F1AF8\r\r>", ""},
	} {
		var x obd.Exchanger
		var got string
		tell := func(e obd.Exchange) {
			if got = e.Reason; e.Values != nil {
				text, err := json.Marshal(e.Values)
				got += string(text)
				if err != nil {
					t.Error(err)
				}
			}
		}
		x.Add(obd.Captured{Dir: "tx", Data: []byte(c.command + "\r")}, tell)
		x.Add(obd.Captured{Dir: "rx", Data: []byte(c.reply)}, tell)
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func FuzzCapture(f *testing.F) {
	f.Add([]byte("010D1\r"), []byte("7E803410D32\r\r>"))
	f.Add([]byte("\x7f\x7f\rATI\r"), []byte("?\r\r>ELM327 v1.5\r\r>"))
	f.Add([]byte("0100"), []byte(">>>"))
	f.Add([]byte("010D0C1\r"), []byte("7E806410D320C1AF8\r\r>"))
	f.Fuzz(func(t *testing.T, sent, got []byte) {
		var x obd.Exchanger
		check := func(e obd.Exchange) {
			if e.Value != nil && (!e.Prompt || e.Reason != "") {
				t.Errorf("%+v", e)
			}
		}
		x.Add(obd.Captured{Dir: "tx", Data: sent}, check)
		x.Add(obd.Captured{Dir: "rx", Data: got}, check)
		x.Close(check)
	})
}
