package fusion_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"obdagent/agent/fusion"
	"obdagent/obd"
)

// TestCO2IsAsWorkedOutByHandOrAbsentWithAReason has figures worked out on paper from the factors that co2.go names.
func TestCO2IsAsWorkedOutByHandOrAbsentWithAReason(t *testing.T) {
	t.Parallel()
	type in = map[string]float64
	for _, c := range []struct {
		name         string
		fuel         string
		displacement float64
		signals      in
		grams        float64 // NaN: absent
		method       string  // or the reason
	}{
		{"petrol, litres an hour: 6 L/h = 6*2348/3600", "petrol", 0, in{"rpm": 2000, "fuel_rate": 6}, 3.913, "fuel_rate"},
		{"diesel, litres an hour: 6*2689/3600", "diesel", 0, in{"rpm": 2000, "fuel_rate": 6}, 4.482, "fuel_rate"},
		{"diesel by the car's own word: type 4, 1.5 g/s*3.19", "", 0, in{"rpm": 2000, "fuel_type": 4, "fuel_rate_gs": 1.5}, 4.785, "fuel_rate"},
		{"mass goes before litres: 1.5*3.07", "petrol", 0, in{"rpm": 2000, "fuel_rate_gs": 1.5, "fuel_rate": 99}, 4.605, "fuel_rate"},
		{"the config's word goes before the car's: 1.5*3.07", "petrol", 0, in{"rpm": 2000, "fuel_type": 4, "fuel_rate_gs": 1.5}, 4.605, "fuel_rate"},
		{"petrol idle by air, commanded lambda 1: 3.2/14.7*3.07", "petrol", 0, in{"rpm": 800, "maf": 3.2, "lambda": 1}, 0.668, "maf"},
		{"petrol rich by measured lambda: 50/(14.7*0.88)*3.07", "petrol", 0, in{"rpm": 5000, "maf": 50, "lambda": 1, "lambda_34": 0.88}, 11.866, "maf"},
		{"petrol in closed loop without lambda: 14.7/14.7*3.07", "petrol", 0, in{"rpm": 2000, "maf": 14.7, "fuel_system": 2}, 3.07, "maf"},
		{"petrol in open loop without lambda", "petrol", 0, in{"rpm": 2000, "maf": 14.7, "fuel_system": 1}, math.NaN(), "no_lambda"},
		{"petrol with two intakes: 29.4/14.7*3.07", "petrol", 0, in{"rpm": 2000, "maf_66": 29.4, "lambda": 1}, 6.14, "maf"},
		{"half ethanol: air 11.85, CO2 2.49: 11.85/11.85*2.49", "petrol", 0, in{"rpm": 2000, "maf": 11.85, "lambda": 1, "ethanol": 50}, 2.49, "maf"},
		{"LPG by air: 15.6/15.6*2.98", "lpg", 0, in{"rpm": 2000, "maf": 15.6, "lambda": 1}, 2.98, "maf"},
		{"CNG by air: 17.2/17.2*2.69", "", 0, in{"rpm": 2000, "fuel_type": 6, "maf": 17.2, "lambda": 1}, 2.69, "maf"},
		{"LPG by litres is no mass", "lpg", 0, in{"rpm": 2000, "fuel_rate": 6}, math.NaN(), "gas_by_volume"},
		{"diesel by air without lambda", "diesel", 0, in{"rpm": 2000, "maf": 30}, math.NaN(), "no_lambda"},
		{"diesel that says lambda 1 and closed loop", "diesel", 0, in{"rpm": 2000, "maf": 30, "lambda": 1, "fuel_system": 2}, math.NaN(), "no_lambda"},
		{"diesel with measured lambda: 30/(14.5*1.5)*3.19", "diesel", 0, in{"rpm": 2000, "maf": 30, "lambda_34": 1.5}, 4.4, "maf"},
		{"diesel idle, the sensor at its end", "diesel", 0, in{"rpm": 800, "maf": 8, "lambda_34": 2}, math.NaN(), "lambda_saturated"},
		{"overrun: cut at small load", "petrol", 0, in{"rpm": 2500, "maf": 4, "lambda": 1, "fuel_system": 4, "load": 9}, 0, "fuel_cut"},
		{"full load has the same bit: 50/(14.7*0.88)*3.07", "petrol", 0, in{"rpm": 5000, "maf": 50, "lambda": 0.88, "fuel_system": 4, "load": 97}, 11.866, "maf"},
		{"cut or full load, nobody knows", "petrol", 0, in{"rpm": 2500, "maf": 4, "lambda": 1, "fuel_system": 4}, math.NaN(), "fuel_cut_unsure"},
		{"hybrid on its battery", "petrol", 0, in{"rpm": 0, "maf": 0.2, "lambda": 1}, 0, "engine_off"},
		{"hybrid by its own word, engine running: 3.2/14.7*3.07", "", 0, in{"rpm": 1200, "fuel_type": 17, "maf": 3.2, "lambda": 1}, 0.668, "maf"},
		{"electric", "", 0, in{"fuel_type": 8}, 0, "engine_off"},
		{"nobody says what it burns", "", 0, in{"rpm": 2000, "maf": 14.7, "lambda": 1}, math.NaN(), "no_fuel_type"},
		{"a fuel without chemistry (methanol)", "", 0, in{"rpm": 2000, "fuel_type": 2, "maf": 14.7, "lambda": 1}, math.NaN(), "no_fuel_type"},
		// 2400/120*1.6 = 32 L/s; 50 kPa * 32 * 0.85 / (0.28699 * 298.15) = 15.894 g/s; /14.7*3.07
		{"speed-density", "petrol", 1.6, in{"rpm": 2400, "map": 50, "iat": 25, "lambda": 1}, 3.319, "speed_density"},
		// 0.5 * 1.184 * 32 = 18.944; /14.7*3.07
		{"absolute load goes before it", "petrol", 1.6, in{"rpm": 2400, "map": 50, "iat": 25, "load_abs": 50, "lambda": 1}, 3.956, "load"},
		{"speed-density without the displacement", "petrol", 0, in{"rpm": 2400, "map": 50, "iat": 25, "lambda": 1}, math.NaN(), "no_displacement"},
		{"neither air nor fuel", "petrol", 1.6, in{"rpm": 2400, "coolant": 90}, math.NaN(), "no_input"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDrive(func(o *fusion.Options) { o.Fuel, o.DisplacementL = c.fuel, c.displacement })
			at := 10 * time.Second
			d.car(at, obd.StateLive)
			for name, v := range c.signals {
				d.Sample(obd.Sample{Signal: name, Value: v, Mono: at})
			}
			d.speed(at, 50)
			r := d.records[len(d.records)-1]
			grams, has := r.CO2.Get()
			switch {
			case math.IsNaN(c.grams):
				if has || r.CO2From != "" || r.CO2Lacks != c.method {
					t.Errorf("got %v by %q, absent %q; want absent: %s", grams, r.CO2From, r.CO2Lacks, c.method)
				}
			case !has || math.Abs(grams-c.grams) > 0.0006 || r.CO2From != c.method || r.CO2Lacks != "":
				t.Errorf("got %v by %q, absent %q; want %v by %s", grams, r.CO2From, r.CO2Lacks, c.grams, c.method)
			}
			d.epoch(at+time.Hour, 0, 50, nil)
			if r := d.records[len(d.records)-1]; r.CO2.IsSet() {
				t.Errorf("an hour later still %v by %s", r.CO2, r.CO2From)
			}
		})
	}
}

func TestASilentCarHasNeitherCO2NorAReason(t *testing.T) {
	t.Parallel()
	d := newDrive(func(o *fusion.Options) { o.Fuel = "petrol" })
	d.epoch(time.Second, 0, 50, nil)
	if r := d.records[0]; r.CO2.IsSet() || r.CO2From != "" || r.CO2Lacks != "" {
		t.Errorf("%v %q %q", r.CO2, r.CO2From, r.CO2Lacks)
	}
}

func TestTroubleAndFurtherSignalsAreInTheRecordWhileTheCarAnswers(t *testing.T) {
	t.Parallel()
	d := newDrive(nil)
	d.car(time.Second, obd.StateLive)
	d.Sample(obd.Sample{Signal: "ambient", Value: -3, Mono: time.Second})
	d.Trouble(obd.Trouble{MIL: true, Count: 1, Stored: []string{"P0301"}})
	d.epoch(2*time.Second, 0, 50, nil)
	r := d.records[len(d.records)-1]
	if got := string(r.AppendJSON(nil)); !strings.Contains(got, `"mil":true,"dtc_count":1,"dtcs":["P0301"],"extra":{"ambient":-3}`) {
		t.Errorf("record %s", got)
	}
	d.car(3*time.Second, obd.StateParked)
	r = d.records[len(d.records)-1]
	if r.MIL.IsSet() || r.DTCCount.IsSet() || r.DTCs != nil || r.Extra != nil {
		t.Errorf("a parked car still says %s", r.AppendJSON(nil))
	}
}
