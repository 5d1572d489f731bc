package obd_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"obdagent/obd"
)

// TestSignalsDecodeWorkedExamples has answers worked out by hand from the formulas of SAE J1979.
func TestSignalsDecodeWorkedExamples(t *testing.T) {
	t.Parallel()
	table := map[string]obd.Signal{}
	for _, s := range obd.Signals() {
		table[s.Name] = s
	}
	for _, c := range []struct {
		name   string
		answer []byte
		want   float64
		err    error
	}{
		{"speed", []byte{0x41, 0x0D, 0x32}, 50, nil},
		{"speed", []byte{0x41, 0x0D, 0xFF}, 255, nil},
		{"speed", []byte{0x41, 0x0D}, 0, obd.ErrMalformed},
		{"speed", []byte{0x41, 0x0D, 0x32, 0x00}, 0, obd.ErrMalformed},
		{"speed", []byte{0x41, 0x0C, 0x32}, 0, obd.ErrMismatch},
		{"speed", []byte{0x49, 0x0D, 0x32}, 0, obd.ErrMismatch},
		{"speed", nil, 0, obd.ErrMismatch},
		{"rpm", []byte{0x41, 0x0C, 0x1A, 0xF8}, 1726, nil},
		{"rpm", []byte{0x41, 0x0C, 0x0C, 0x81}, 800.25, nil},
		{"rpm", []byte{0x41, 0x0C, 0xFF, 0xFF}, 0, obd.ErrImplausible},
		{"load", []byte{0x41, 0x04, 0x80}, 50.2, nil},
		{"coolant", []byte{0x41, 0x05, 0x7B}, 83, nil},
		{"coolant", []byte{0x41, 0x05, 0x00}, -40, nil},
		{"coolant", []byte{0x41, 0x05, 0xFF}, 0, obd.ErrImplausible},
		{"maf", []byte{0x41, 0x10, 0x04, 0xD2}, 12.34, nil},
		{"map", []byte{0x41, 0x0B, 0x65}, 101, nil},
		{"iat", []byte{0x41, 0x0F, 0x40}, 24, nil},
		{"lambda", []byte{0x41, 0x44, 0x80, 0x00}, 1, nil},
		{"lambda", []byte{0x41, 0x44, 0x70, 0x00}, 0.875, nil},
		{"throttle", []byte{0x41, 0x11, 0xFF}, 100, nil},
		{"fuel_rate", []byte{0x41, 0x5E, 0x00, 0x64}, 5, nil},
		{"fuel_level", []byte{0x41, 0x2F, 0x00}, 0, nil},
		{"voltage", []byte{0x41, 0x42, 0x37, 0x14}, 14.1, nil},
		{"voltage", []byte{0x41, 0x42, 0xFF, 0xFF}, 0, obd.ErrImplausible},
		{"fuel_system", []byte{0x41, 0x03, 0x02, 0x00}, 2, nil},
		{"fuel_system", []byte{0x41, 0x03, 0x04, 0x00}, obd.FuelCut, nil},
		{"fuel_system", []byte{0x41, 0x03, 0x06, 0x00}, 0, obd.ErrImplausible},
		{"stft", []byte{0x41, 0x06, 0x80}, 0, nil},
		{"stft", []byte{0x41, 0x06, 0x00}, -100, nil},
		{"ltft", []byte{0x41, 0x07, 0x90}, 12.5, nil},
		{"run_time", []byte{0x41, 0x1F, 0x01, 0x00}, 256, nil},
		{"mil_distance", []byte{0x41, 0x21, 0x00, 0x2A}, 42, nil},
		{"lambda_24", []byte{0x41, 0x24, 0x80, 0x00, 0x33, 0x33}, 1, nil},
		{"barometer", []byte{0x41, 0x33, 0x64}, 100, nil},
		{"lambda_34", []byte{0x41, 0x34, 0x8C, 0xCD, 0x80, 0x00}, 1.1, nil},
		{"lambda_34", []byte{0x41, 0x34, 0x8C, 0xCD}, 0, obd.ErrMalformed},
		{"catalyst", []byte{0x41, 0x3C, 0x11, 0x94}, 410, nil},
		{"catalyst", []byte{0x41, 0x3C, 0xFF, 0xFF}, 0, obd.ErrImplausible},
		{"monitors_open", []byte{0x41, 0x41, 0x00, 0x77, 0xFF, 0x81}, 5, nil}, // three continuous, two others
		{"monitors_open", []byte{0x41, 0x41, 0x00, 0x07, 0x65, 0x00}, 0, nil},
		{"load_abs", []byte{0x41, 0x43, 0x00, 0x80}, 50.2, nil},
		{"ambient", []byte{0x41, 0x46, 0x3C}, 20, nil},
		{"fuel_type", []byte{0x41, 0x51, 0x04}, 4, nil},
		{"fuel_type", []byte{0x41, 0x51, 0x40}, 0, obd.ErrImplausible},
		{"ethanol", []byte{0x41, 0x52, 0x33}, 20, nil},
		{"oil", []byte{0x41, 0x5C, 0x82}, 90, nil},
		{"maf_66", []byte{0x41, 0x66, 0x01, 0x01, 0x40, 0xFF, 0xFF}, 10, nil},
		{"maf_66", []byte{0x41, 0x66, 0x03, 0x01, 0x40, 0x00, 0xA0}, 15, nil},
		{"maf_66", []byte{0x41, 0x66, 0x00, 0x01, 0x40, 0x00, 0xA0}, 0, obd.ErrImplausible},
		{"fuel_rate_gs", []byte{0x41, 0x9D, 0x00, 0x64, 0x00, 0x65}, 2, nil},
		{"exhaust", []byte{0x41, 0x9E, 0x00, 0x96}, 30, nil},
		{"odometer", []byte{0x41, 0xA6, 0x00, 0x12, 0xD6, 0x87}, 123456.7, nil},
	} {
		got, err := table[c.name].Decode(c.answer)
		if !errors.Is(err, c.err) || err == nil && got != c.want {
			t.Errorf("%s % X: %v, %v; want %v, %v", c.name, c.answer, got, err, c.want, c.err)
		}
	}
}

func TestNewSaysWhatIsWrongWithTheOptions(t *testing.T) {
	t.Parallel()
	for want, opt := range map[string]obd.Options{
		"want a device path":      {Port: "ttyUSB0"},
		"want tcp://host:port":    {Port: "tcp://192.168.0.10"},
		"no such signal":          {Port: "auto", Period: map[string]time.Duration{"boost": time.Second}},
		"speed is always asked":   {Port: "auto", Period: map[string]time.Duration{"speed": time.Second}},
		"want a positive one":     {Port: "auto", Period: map[string]time.Duration{"rpm": -time.Second}},
		"maximum rate -1":         {Port: "auto", MaxRate: -1},
		"want a line speed":       {Port: "/dev/ttyUSB0", Baud: -9600},
		"port \"\": want a devic": {},
	} {
		if _, err := obd.New(opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", opt, err, want)
		}
	}
	for _, port := range []string{"auto", "/dev/ttyUSB0", "tcp://[::1]:35000"} {
		if _, err := obd.New(obd.Options{Port: port}); err != nil {
			t.Errorf("%s: %v", port, err)
		}
	}
}
