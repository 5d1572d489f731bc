package demo

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// step is the integration step. Positions between two steps are interpolated; at 90 km/h a step is 2.5 m.
	step = 100 * time.Millisecond
	dt   = 0.1 // s, the same

	// Where the trip begins.
	startLat = -6.3385652
	startLon = 106.9447146

	// The van: a 2.2 t delivery van with a petrol engine.
	mass       = 2200.0 // kg
	rolling    = 0.012  // coefficient of rolling resistance
	dragArea   = 1.6    // m², drag coefficient times frontal area
	airDensity = 1.2    // kg/m³
	gravity    = 9.81   // m/s²
	idleRPM    = 800.0
	idlePower  = 2500.0 // W of fuel power lost to the engine itself at idle, at the crank
	efficiency = 0.30   // of the engine
	petrolMJ   = 43.5e6 // J/kg, lower heating value of petrol
	petrolKGL  = 0.745  // kg/L
	airToFuel  = 14.7   // stoichiometric, petrol
)

// A State is the truth about the van at one moment.
type State struct {
	Lat, Lon float64 // degrees WGS 84
	Alt      float64 // m above mean sea level
	Speed    float64 // m/s
	Heading  float64 // degrees true

	RPM       float64 // 1/min
	Load      float64 // %
	MAF       float64 // g/s
	MAP       float64 // kPa
	Throttle  float64 // %
	Coolant   float64 // °C
	IAT       float64 // °C
	FuelRate  float64 // L/h
	FuelLevel float64 // %
	Voltage   float64 // V
}

// A Trip is an endless drive through a town: it stands, pulls away, cruises, turns, slows down and stops. The same seed gives
// the same trip. Its methods may be called from any goroutine.
type Trip struct {
	mu     sync.Mutex
	rng    *rand.Rand
	states []State // one each step, made on demand

	target   float64 // m/s
	accel    float64 // m/s², positive
	turn     float64 // degrees a second
	turnLeft float64 // s
	holdLeft float64 // s until the next decision, once the target is reached
}

// NewTrip returns the trip of a seed.
func NewTrip(seed uint64) *Trip {
	rng := rand.New(rand.NewPCG(seed, 0x0bda6e47))
	first := State{Lat: startLat, Lon: startLon, Alt: 42, Heading: 360 * rng.Float64(),
		RPM: idleRPM, Coolant: 62, IAT: 29, FuelLevel: 71, Voltage: 14.1}
	t := &Trip{rng: rng, states: []State{first}, holdLeft: 2, accel: 2}
	return t
}

// At is the state at a time since the trip began; before it began, the van stands.
func (t *Trip) At(since time.Duration) State {
	t.mu.Lock()
	defer t.mu.Unlock()
	since = max(since, 0)
	i := int(since / step)
	for len(t.states) < i+2 {
		t.states = append(t.states, t.next(t.states[len(t.states)-1]))
	}
	return between(t.states[i], t.states[i+1], float64(since%step)/float64(step))
}

// next advances by one step.
func (t *Trip) next(s State) State {
	if s.Speed == t.target {
		if t.holdLeft -= dt; t.holdLeft <= 0 {
			t.decide(s)
		}
	}
	change := t.target - s.Speed
	limit := min(t.accel, pull(s.Speed)) * dt
	if change < 0 {
		limit *= 1.3 // brakes are stronger than the engine
	}
	change = max(-limit, min(limit, change))
	mean := s.Speed + change/2
	s.Speed += change

	if t.turnLeft > 0 && mean > 1 {
		t.turnLeft -= dt
		s.Heading = math.Mod(s.Heading+t.turn*dt+360, 360)
	}
	rad := s.Heading * math.Pi / 180
	s.Lat += mean * dt * math.Cos(rad) / metresPerDegree
	s.Lon += mean * dt * math.Sin(rad) / (metresPerDegree * math.Cos(s.Lat*math.Pi/180))
	s.Alt += mean * dt * 0.004 * math.Sin(s.Lat*4000)
	t.engine(&s, change/dt)
	return s
}

// metresPerDegree of latitude, on the sphere of the Earth's mean radius (IUGG: 6371008.8 m).
const metresPerDegree = 6371008.8 * math.Pi / 180

// decide what comes next, once the target speed is reached and held.
func (t *Trip) decide(s State) {
	t.accel = 1.2 + 1.2*t.rng.Float64()
	t.holdLeft = 4 + 12*t.rng.Float64()
	switch {
	case s.Speed == 0:
		t.target = (30 + 30*t.rng.Float64()) / 3.6
	case t.rng.Float64() < 0.25:
		t.target = 0
		t.holdLeft = 3 + 9*t.rng.Float64()
	default:
		t.target = (25 + 65*t.rng.Float64()) / 3.6
	}
	if t.rng.Float64() < 0.6 {
		t.turnLeft = 3 + 3*t.rng.Float64()
		t.turn = (t.rng.Float64() - 0.5) * 40
	}
}

// torquePower is what the engine gives per revolution at full load: 110 kW at 4500/min.
const torquePower = 110e3 / 4500 // W per 1/min

// rpmAt is the speed of the engine at a speed in m/s: six gears, changed at fixed speeds.
func rpmAt(speed float64) float64 {
	kmh := speed * 3.6
	perKMH := [...]float64{130, 75, 50, 37, 30, 25}[min(int(kmh/18), 5)]
	return max(idleRPM, perKMH*kmh)
}

// resistance is the force in N that holds the van back at a speed in m/s.
func resistance(speed float64) float64 {
	force := 0.5 * airDensity * dragArea * speed * speed
	if speed > 0 {
		force += rolling * mass * gravity
	}
	return force
}

// pull is the acceleration in m/s² that the engine has to give at a speed in m/s. It is above zero at each speed of a trip.
func pull(speed float64) float64 {
	return ((torquePower*rpmAt(speed)-idlePower)/max(speed, 1) - resistance(speed)) / mass
}

// engine sets what the engine does at the state's speed and the given acceleration in m/s².
func (t *Trip) engine(s *State, accel float64) {
	power := max(0, (mass*accel+resistance(s.Speed))*s.Speed) + idlePower
	fuel := power / efficiency / petrolMJ // kg/s
	s.RPM = rpmAt(s.Speed)
	s.FuelRate = fuel * 3600 / petrolKGL
	s.MAF = fuel * 1000 * airToFuel
	s.Load = min(100, 100*power/(torquePower*s.RPM))
	s.MAP = 28 + 0.7*s.Load
	s.Throttle = 12 + 0.75*s.Load
	s.Coolant += (90 - s.Coolant) * dt / 240
	s.IAT = 29 + s.Load/25
	s.FuelLevel -= fuel * dt / petrolKGL / 70 * 100 // a tank of 70 L
	s.Voltage = 14.1 - s.Load/400
}

// between interpolates linearly. The heading is taken from the nearer end: it may pass north.
func between(a, b State, share float64) State {
	mix := func(x, y float64) float64 { return x + share*(y-x) }
	s := State{
		Lat: mix(a.Lat, b.Lat), Lon: mix(a.Lon, b.Lon), Alt: mix(a.Alt, b.Alt), Speed: mix(a.Speed, b.Speed), Heading: a.Heading,
		RPM: mix(a.RPM, b.RPM), Load: mix(a.Load, b.Load), MAF: mix(a.MAF, b.MAF), MAP: mix(a.MAP, b.MAP),
		Throttle: mix(a.Throttle, b.Throttle), Coolant: mix(a.Coolant, b.Coolant), IAT: mix(a.IAT, b.IAT),
		FuelRate: mix(a.FuelRate, b.FuelRate), FuelLevel: mix(a.FuelLevel, b.FuelLevel), Voltage: mix(a.Voltage, b.Voltage),
	}
	if share > 0.5 {
		s.Heading = b.Heading
	}
	return s
}
