package fusion

import (
	"obdagent/obd"
)

// How CO2 was reckoned, the value of a record's co2_method.
const (
	methodFuelRate     = "fuel_rate"     // the car says what it burns (PID 9D, 5E)
	methodMAF          = "maf"           // mass of air over the ratio of air to fuel (PID 10, 66)
	methodSpeedDensity = "speed_density" // mass of air from revolutions, pressure and temperature (PID 0C, 0B, 0F)
	methodLoad         = "load"          // mass of air from the absolute load (PID 43)
	methodFuelCut      = "fuel_cut"      // nothing is burnt in overrun
	methodEngineOff    = "engine_off"    // the engine stands, or there is none
)

// Why there is no CO2, the value of a record's co2_absent.
const (
	lacksFuelType     = "no_fuel_type"     // set vehicle.fuel
	lacksInput        = "no_input"         // the car tells neither what it burns nor what it breathes
	lacksLambda       = "no_lambda"        // air alone does not tell the fuel: a diesel runs lean, a petrol engine may
	lacksRange        = "lambda_saturated" // the sensor is at its end: the mixture is leaner than it can tell
	lacksDisplacement = "no_displacement"  // set vehicle.displacement_l
	lacksCut          = "fuel_cut_unsure"  // the ECU's word may mean overrun or full load
	lacksMass         = "gas_by_volume"    // litres of a gas are no mass
)

// fuel is what the chemistry needs to know.
type fuel struct {
	air    float64 // kg of air that burns a kg of it, stoichiometric
	byMass float64 // kg of CO2 from a kg
	byVol  float64 // kg of CO2 from a litre; 0: not sold by the litre of liquid that PID 5E means
}

// The fuels. CO2 by litre: EPA-420-F-23-014 (8,887 g a US gallon of petrol, 10,180 of diesel) and, for E85, 6,295 g as in the EPA's tables for
// flexible-fuel cars. CO2 by mass: IPCC 2006 guidelines, volume 2, default emission factor times net calorific value (petrol 69.3 t/TJ
// and 44.3 MJ/kg, diesel 74.1 and 43.0, LPG 63.1 and 47.3, natural gas 56.1 and 48.0); E85 by its litre over 0.781 kg.
// The ratios of air to fuel are those in common use.
var fuels = map[string]fuel{
	"petrol": {air: 14.7, byMass: 3.07, byVol: 2.348},
	"diesel": {air: 14.5, byMass: 3.19, byVol: 2.689},
	"e85":    {air: 9.8, byMass: 2.13, byVol: 1.663},
	"lpg":    {air: 15.6, byMass: 2.98},
	"cng":    {air: 17.2, byMass: 2.69},
}

// electric is the fuel of cars that burn none.
const electric = "electric"

// fuelTypes are the rows of J1979 PID 51 that say what is burnt now. Methanol and mixed states are left out: nobody knows.
var fuelTypes = map[float64]string{
	1: "petrol", 9: "petrol", 17: "petrol", 3: "e85", 11: "e85", 18: "e85", 4: "diesel", 19: "diesel", 23: "diesel",
	5: "lpg", 7: "lpg", 12: "lpg", 14: "lpg", 6: "cng", 13: "cng", 8: electric, 15: electric,
}

// ethanol mixes petrol with a share of ethanol (0 to 1 of the volume): PID 52 of a flexible-fuel car is nearer to what is in the tank than
// its PID 51. Ethanol burns with 9.0 of air; C2H5OH gives 1.91 kg of CO2 a kg, at 0.789 kg/L 1.51 a litre.
func ethanol(share float64) fuel {
	p := fuels["petrol"]
	// The conversion keeps the compiler from fusing multiplication and addition, so that every machine finds the same.
	mix := func(petrol, ethanol float64) float64 { return petrol + float64(share*(ethanol-petrol)) }
	return fuel{air: mix(p.air, 9.0), byMass: mix(p.byMass, 1.91), byVol: mix(p.byVol, 1.51)}
}

const (
	// volumetric is the share of its displacement that an engine really draws, where only pressure and temperature are known. It is 0.75 to
	// 0.95 for most: a speed-density figure is good to a tenth.
	volumetric = 0.85
	// cutLoad is the calculated load, in %, below which "open loop by load or fuel cut" (PID 03) means the cut: the other meaning is full load.
	cutLoad = 25
	// leanest is the most that PIDs 24 and 34 can express, less one part in 200: 65535*2/65536.
	leanest = 1.99
	// diesel engines that answer PID 44 without controlling by it say 1, which no diesel runs at.
	leanDiesel = 1.05
	// cylinderAir is the density that J1979 refers absolute load to, g/L.
	cylinderAir = 1.184
	// gasConstant over the molar mass of air: J/(g K).
	airConstant = 8.314 / 28.97
)

// An engine is what is known of what the vehicle burns at one moment.
type engine struct {
	fuel         string // config's, petrol diesel e85 lpg cng; "" what the car says
	displacement float64
	moving       bool
	get          func(signal string) (value float64, ok bool) // young enough
}

// co2 reckons the emission in g/s. Either method is set or lacks says why there is no figure. The best that there is comes first: what the car
// says of its fuel, then mass of air that was measured, then mass of air that was worked out.
func (e engine) co2() (grams float64, method, lacks string) {
	kind := e.fuel
	if n, ok := e.get(obd.SignalFuelType); ok && kind == "" {
		kind = fuelTypes[n]
	}
	if rpm, ok := e.get("rpm"); kind == electric || ok && rpm == 0 {
		return 0, methodEngineOff, ""
	}
	f, ok := fuels[kind]
	if !ok {
		return 0, "", lacksFuelType
	}
	if share, ok := e.get(obd.SignalEthanol); ok && (kind == "petrol" || kind == "e85") {
		f = ethanol(share / 100)
	}
	if rate, ok := e.get(obd.SignalFuelRateGPS); ok {
		return rate * f.byMass, methodFuelRate, ""
	}
	litres, byLitre := e.get("fuel_rate")
	if byLitre && f.byVol > 0 {
		return litres * f.byVol * 1000 / 3600, methodFuelRate, ""
	}
	if state, ok := e.get(obd.SignalFuelSystem); ok && state == obd.FuelCut && e.moving {
		load, ok := e.get("load")
		if !ok {
			return 0, "", lacksCut
		}
		if load < cutLoad {
			return 0, methodFuelCut, ""
		}
	}
	air, method, lacks := e.air()
	if method == "" {
		if byLitre && lacks == lacksInput {
			lacks = lacksMass
		}
		return 0, "", lacks
	}
	lambda, lacks := e.lambda(kind)
	if lacks != "" {
		return 0, "", lacks
	}
	return air / (f.air * lambda) * f.byMass, method, ""
}

// air is the mass of air that the engine draws, g/s.
func (e engine) air() (grams float64, method, lacks string) {
	for _, name := range []string{"maf", obd.SignalMAF66} {
		if v, ok := e.get(name); ok {
			return v, methodMAF, ""
		}
	}
	rpm, turns := e.get("rpm")
	load, loaded := e.get(obd.SignalAbsLoad)
	pressure, pressed := e.get("map")
	celsius, warm := e.get("iat")
	switch {
	case !turns || !loaded && !(pressed && warm):
		return 0, "", lacksInput
	case e.displacement <= 0:
		return 0, "", lacksDisplacement
	}
	litres := rpm / 120 * e.displacement // a second: a four-stroke engine draws once in two turns
	if loaded {
		return load / 100 * cylinderAir * litres, methodLoad, ""
	}
	return pressure * litres * volumetric / (airConstant * (celsius + 273.15)), methodSpeedDensity, ""
}

// lambda is the ratio of the air that is there to the air that the fuel needs: measured, else commanded, else 1 where the ECU says
// that it controls for that.
func (e engine) lambda(kind string) (ratio float64, lacks string) {
	for _, name := range []string{obd.SignalLambda34, obd.SignalLambda24} {
		if v, ok := e.get(name); ok {
			if v > leanest {
				return 0, lacksRange
			}
			if v > 0 {
				return v, ""
			}
		}
	}
	if v, ok := e.get("lambda"); ok && v > 0 && (kind != "diesel" || v > leanDiesel) {
		if v > leanest {
			return 0, lacksRange
		}
		return v, ""
	}
	const closedLoop = 2 // of PID 03
	if state, ok := e.get(obd.SignalFuelSystem); ok && state == closedLoop && kind != "diesel" {
		return 1, ""
	}
	return 0, lacksLambda
}
