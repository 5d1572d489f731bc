package obd_test

import (
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

func TestCarReadsSpeedAndVINOnEveryProtocol(t *testing.T) {
	t.Parallel()
	for _, p := range []struct {
		protocol elmsim.Protocol
		name     string
		ecu      string
	}{
		{elmsim.CAN11Bit500k, "ISO 15765-4 (CAN 11/500)", "7E8"},
		{elmsim.CAN29Bit500k, "ISO 15765-4 (CAN 29/500)", "18DAF110"},
		{elmsim.CAN11Bit250k, "ISO 15765-4 (CAN 11/250)", "7E8"},
		{elmsim.CAN29Bit250k, "ISO 15765-4 (CAN 29/250)", "18DAF110"},
		{elmsim.ISO9141, "ISO 9141-2", "10"},
		{elmsim.KWP5Baud, "ISO 14230-4 (KWP 5BAUD)", "10"},
		{elmsim.KWPFast, "ISO 14230-4 (KWP FAST)", "10"},
		{elmsim.J1850PWM, "SAE J1850 PWM", "10"},
		{elmsim.J1850VPW, "SAE J1850 VPW", "10"},
	} {
		for _, personality := range []elmsim.Personality{elmsim.Genuine, elmsim.STN, elmsim.CloneV15, elmsim.CloneV21} {
			t.Run(p.name+" through "+personality.Name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					sim := elmsim.New(elmsim.Options{VIN: testVIN, Protocol: p.protocol, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond, Personality: personality, Baud: 38400})
					b := newBench(t, sim, obd.Options{})
					b.run(t)
					b.until(t, obd.StateLive, 10*time.Second)
					pass(3 * time.Second)
					st := b.car.Status()
					if st.Vehicle.VIN != testVIN || st.Vehicle.ECU != p.ecu {
						t.Errorf("vehicle %+v", st.Vehicle)
					}
					if !personality.NoProtocolNumber && st.Vehicle.Protocol != p.name {
						t.Errorf("protocol %q", st.Vehicle.Protocol)
					}
					samples := b.taken()
					least := 20
					if personality.NoSuffix {
						least = 8 // it waits 205 ms after each answer
					}
					if len(samples) < least {
						t.Errorf("%d samples in 3 s", len(samples))
					}
					for _, s := range samples {
						if s.Err != nil || s.Value != 50 || s.Signal != obd.SignalSpeed || s.ECU != p.ecu {
							t.Errorf("sample %+v", s)
						}
					}
					if n := sim.Counts().Writes; n != 0 {
						t.Errorf("%d writes to the adapter's memory", n)
					}
				})
			})
		}
	}
}

func TestAnAdapterThatOnlySaysOKGivesNoNumber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := elmsim.New(elmsim.Options{VIN: testVIN, Vehicle: vehicleAt(50), ECUDelay: 8 * time.Millisecond, Personality: elmsim.Liar})
		b := newBench(t, sim, obd.Options{Period: map[string]time.Duration{"rpm": time.Second}})
		b.run(t)
		pass(3 * time.Minute)
		for _, s := range b.taken() {
			if s.Err == nil {
				t.Errorf("a value although nobody knows who says it: %+v", s)
			}
		}
		if st := b.car.Status(); st.State == obd.StateLive || st.Reason == "" || st.Vehicle.VIN != "" {
			t.Errorf("status %+v", st)
		}
		if n := sim.Counts().Requests; n > 60 {
			t.Errorf("%d requests in 3 minutes to no end", n)
		}
	})
}
