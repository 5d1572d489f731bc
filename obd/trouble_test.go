package obd_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

func TestTroubleCodesAreReadOnEveryBusAndAgainWhenTheyChange(t *testing.T) {
	t.Parallel()
	for _, protocol := range []elmsim.Protocol{elmsim.CAN11Bit500k, elmsim.CAN29Bit500k, elmsim.ISO9141, elmsim.KWPFast, elmsim.J1850VPW} {
		t.Run(string(byte(protocol)), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				car := newDial()
				sim := elmsim.New(elmsim.Options{VIN: testVIN, Protocol: protocol, Vehicle: car.get, ECUDelay: 8 * time.Millisecond})
				var told []obd.Trouble
				b := newBench(t, sim, obd.Options{})
				b.trouble = func(x obd.Trouble) {
					x.Mono = 0
					told = append(told, x)
				}
				b.run(t)
				b.until(t, obd.StateLive, 10*time.Second)
				pass(5 * time.Second)
				healthy := obd.Trouble{Stored: []string{}, Pending: []string{}, Permanent: []string{}}
				if d := cmp.Diff([]obd.Trouble{healthy}, told); d != "" {
					t.Fatalf("(-want +got)\n%s", d)
				}
				car.turn(func(v *elmsim.Vehicle) {
					v.MIL, v.Speed = true, 42
					v.Stored = []uint16{0x0301, 0x4123, 0x9234, 0xC100} // more than fit into one frame, one of each kind
					v.Pending, v.Permanent = []uint16{0x0420}, []uint16{0x0301}
				})
				pass(70 * time.Second)
				want := obd.Trouble{MIL: true, Count: 4, Stored: []string{"P0301", "C0123", "B1234", "U0100"}, Pending: []string{"P0420"}, Permanent: []string{"P0301"},
					Freeze: &obd.FreezeFrame{Code: "P0301", Values: map[string]float64{"speed": 42, "rpm": 800, "load": 20, "coolant": 88}}}
				if d := cmp.Diff([]obd.Trouble{healthy, want}, told); d != "" {
					t.Errorf("(-want +got)\n%s", d)
				}
				if st := b.car.Status(); st.Trouble == nil || !st.Trouble.MIL {
					t.Errorf("status %+v", st.Trouble)
				}
				for _, s := range b.taken() {
					if s.Err != nil {
						t.Errorf("%+v", s)
					}
				}
				car.off()
				b.until(t, obd.StateParked, 30*time.Second)
				if st := b.car.Status(); st.Trouble != nil {
					t.Errorf("a parked car's codes: %+v", st.Trouble)
				}
			})
		})
	}
}

func TestTroubleCodesThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, raw string
		framing   obd.Framing
		want      string
	}{
		{"none", "7E8024300\r\r", obd.FramingCAN11, ""},
		{"one", "7E80443010301\r\r", obd.FramingCAN11, "P0301"},
		{"a count that does not fit", "7E80443020301\r\r", obd.FramingCAN11, "malformed"},
		{"an odd byte", "7E805430103010A\r\r", obd.FramingCAN11, "malformed"},
		{"another service", "7E80447010301\r\r", obd.FramingCAN11, "mismatch"},
		{"refused", "7E8037F0311\r\r", obd.FramingCAN11, "negative_response"},
		{"K-line, filled up", "486B104303010000000" + "00A\r\r", obd.FramingISO, "P0301"},
		{"K-line, wrong checksum", "486B10430301000000000B\r\r", obd.FramingISO, "malformed"},
	} {
		got, err := obd.Codes([]byte(c.raw), c.framing)
		if err != nil {
			got = obd.Reason(err)
		}
		if got != c.want {
			t.Errorf("%s: %q (%v), want %q", c.name, got, err, c.want)
		}
	}
}

func TestCodesOfOtherECUsAreReadBesideTheEngines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		protocol    elmsim.Protocol
		engine, box string
		personality elmsim.Personality
	}{
		{"CAN 11 with a filter", elmsim.CAN11Bit500k, "7E8", "7E9", elmsim.Genuine},
		{"CAN 29 with a filter", elmsim.CAN29Bit500k, "18DAF110", "18DAF118", elmsim.Genuine},
		{"a clone without a filter", elmsim.CAN11Bit500k, "7E8", "7E9", elmsim.CloneV21},
		{"K-line", elmsim.ISO9141, "10", "18", elmsim.Genuine},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				wrong := 99.0
				sim := elmsim.New(elmsim.Options{VIN: testVIN, Protocol: c.protocol, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond, Personality: c.personality,
					ECUs: []elmsim.ECU{{Address: c.box, PIDs: []byte{0x0D}, Speed: &wrong, Stored: []uint16{0x0700, 0x0715}},
						{Address: c.engine, PIDs: elmsim.EnginePIDs, VIN: true}}})
				var told []obd.Trouble
				b := newBench(t, sim, obd.Options{})
				b.trouble = func(x obd.Trouble) {
					x.Mono = 0
					told = append(told, x)
				}
				b.run(t)
				b.until(t, obd.StateLive, 10*time.Second)
				pass(5 * time.Second)
				want := []obd.Trouble{{Stored: []string{}, Pending: []string{}, Permanent: []string{},
					Others: []obd.ECUTrouble{{ECU: c.box, Stored: []string{"P0700", "P0715"}}}}}
				if d := cmp.Diff(want, told); d != "" {
					t.Errorf("(-want +got)\n%s", d)
				}
				for _, s := range b.taken() {
					if s.Err != nil || s.Value != 50 {
						t.Errorf("%+v", s)
					}
				}
			})
		})
	}
}
