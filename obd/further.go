package obd

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/rzetterberg/elmobd"
)

// Names of signals that fuel and CO2 are reckoned from.
const (
	SignalFuelSystem  = "fuel_system"  // PID 03, system 1 as the bit that is set: see FuelCut
	SignalFuelType    = "fuel_type"    // PID 51, as a number of the table in J1979
	SignalFuelRateGPS = "fuel_rate_gs" // PID 9D, g/s
	SignalAbsLoad     = "load_abs"     // PID 43, %
	SignalLambda24    = "lambda_24"    // PID 24, measured
	SignalLambda34    = "lambda_34"    // PID 34, measured
	SignalMAF66       = "maf_66"       // PID 66, g/s
	SignalEthanol     = "ethanol"      // PID 52, %
)

// FuelCut is the value of SignalFuelSystem that says "open loop due to engine load or fuel cut due to deceleration" (J1979 PID 03, bit 2).
const FuelCut = 4

func times(scale float64) func(uint32) float64 {
	return func(raw uint32) float64 { return float64(raw) * scale }
}

// own is a signal of service 01 on a command of ours.
func own(name, unit string, pid byte, width int, low, high float64, decimals int, note string, of func(raw uint32) float64) Signal {
	return Signal{Name: name, Unit: unit, Min: low, Max: high, PID: pid, Bytes: width, decimals: decimals, Note: note,
		decode: func() (elmobd.OBDCommand, func() float64) {
			c := &command{mode: 1, pid: pid, width: byte(width), key: name, of: of}
			return c, c.number
		}}
}

// furtherSignals are those that are asked where somebody gives them a period.
func furtherSignals() []Signal {
	return []Signal{
		own(SignalFuelSystem, "", 0x03, 2, 0, 16, 0, "A: 1 open loop (cold), 2 closed loop, 4 open loop by load or fuel cut, 8 open loop by failure, 16 closed loop with fault; J1979 PID 03",
			func(raw uint32) float64 {
				if a := byte(raw >> 8); bits.OnesCount8(a) <= 1 {
					return float64(a)
				}
				return math.NaN() // two states at once
			}),
		own("stft", "%", 0x06, 1, -100, 100, 2, "A*100/128-100, bank 1, short term; J1979 PID 06", func(raw uint32) float64 { return float64(raw)*100/128 - 100 }),
		own("ltft", "%", 0x07, 1, -100, 100, 2, "A*100/128-100, bank 1, long term; J1979 PID 07", func(raw uint32) float64 { return float64(raw)*100/128 - 100 }),
		{Name: "run_time", Unit: "s", Max: 65535, PID: 0x1F, Bytes: 2, Note: "256A+B, since the engine was started; J1979 PID 1F", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewRuntimeSinceStart()
			return c, func() float64 { return float64(c.Value) }
		}},
		own("mil_distance", "km", 0x21, 2, 0, 65535, 0, "256A+B, driven with the lamp on; J1979 PID 21", times(1)),
		own(SignalLambda24, "", 0x24, 4, 0, 2, 4, "(256A+B)*2/65536, measured by sensor 1 (voltage type); J1979 PID 24", func(raw uint32) float64 { return float64(raw>>16) * 2 / 65536 }),
		{Name: "barometer", Unit: "kPa", Max: 255, PID: 0x33, Bytes: 1, Note: "A, absolute; J1979 PID 33", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewAbsoluteBarometricPressure()
			return c, func() float64 { return float64(c.Value) }
		}},
		own(SignalLambda34, "", 0x34, 4, 0, 2, 4, "(256A+B)*2/65536, measured by sensor 1 (current type); J1979 PID 34", func(raw uint32) float64 { return float64(raw>>16) * 2 / 65536 }),
		own("catalyst", "°C", 0x3C, 2, -40, 1200, 1, "(256A+B)/10-40, bank 1 sensor 1; J1979 PID 3C; range narrowed: steel melts above", func(raw uint32) float64 { return float64(raw)/10 - 40 }),
		own("monitors_open", "", 0x41, 4, 0, 11, 0, "count of monitors that are enabled and not complete in this drive cycle; J1979 PID 41", monitorsOpen),
		own(SignalAbsLoad, "%", 0x43, 2, 0, 25700, 2, "(256A+B)*100/255, air mass in a cylinder over that at 1.184 g/L; J1979 PID 43", times(100.0/255)),
		{Name: "ambient", Unit: "°C", Min: -40, Max: 85, PID: 0x46, Bytes: 1, Note: "A-40; J1979 PID 46; range narrowed: beyond 85 a sensor is broken", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewAmbientTemperature()
			return c, func() float64 { return float64(c.Value) }
		}},
		own(SignalFuelType, "", 0x51, 1, 0, 23, 0, "A, a row of the table of fuels; J1979 PID 51", times(1)),
		own(SignalEthanol, "%", 0x52, 1, 0, 100, 1, "100A/255; J1979 PID 52", times(100.0/255)),
		{Name: "oil", Unit: "°C", Min: -40, Max: 210, PID: 0x5C, Bytes: 1, Note: "A-40; J1979 PID 5C", decode: func() (elmobd.OBDCommand, func() float64) {
			c := elmobd.NewEngineOilTemperature()
			return c, func() float64 { return float64(c.Value) }
		}},
		{Name: SignalMAF66, Unit: "g/s", Max: 4096, PID: 0x66, Bytes: 5, Note: "bit 0 of A: (256B+C)/32, bit 1: (256D+E)/32, added; J1979 PID 66", native: maf66},
		own(SignalFuelRateGPS, "g/s", 0x9D, 4, 0, 1310.7, 2, "(256A+B)/50, of the engine; C and D are the vehicle's; J1979 PID 9D", func(raw uint32) float64 { return float64(raw>>16) * 0.02 }),
		own("exhaust", "kg/h", 0x9E, 2, 0, 13107, 1, "(256A+B)/5; J1979 PID 9E", times(0.2)),
		own("odometer", "km", 0xA6, 4, 0, 4294967, 1, "(A..D)/10; J1979 PID A6; elmobd's own type has 24 bits of precision, which ends at 1.7 million tenths; range narrowed", times(0.1)),
	}
}

// monitorsOpen counts the incomplete ones among the enabled monitors: byte B has the continuous ones (bits 0 to 2 enabled, 4 to 6
// incomplete), C the others, D which of them are incomplete.
func monitorsOpen(raw uint32) float64 {
	b, c, d := byte(raw>>16), byte(raw>>8), byte(raw)
	return float64(bits.OnesCount8(b&(b>>4)&7) + bits.OnesCount8(c&d))
}

// maf66 adds the sensors that are fitted: engines with two intakes have two.
func maf66(data []byte) (float64, error) {
	if data[0]&3 == 0 {
		return 0, fmt.Errorf("no sensor is fitted: %w", ErrImplausible)
	}
	sum := 0.0
	if data[0]&1 != 0 {
		sum += float64(binary.BigEndian.Uint16(data[1:])) / 32
	}
	if data[0]&2 != 0 {
		sum += float64(binary.BigEndian.Uint16(data[3:])) / 32
	}
	return sum, nil
}
