package demo_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"obdagent/agent/demo"
)

const (
	tick    = 100 * time.Millisecond
	seconds = 0.1 // a tick's
)

func TestATripIsThatOfItsSeed(t *testing.T) {
	t.Parallel()
	forward, atOnce, other := demo.NewTrip(7), demo.NewTrip(7), demo.NewTrip(8)
	if atOnce.At(2*time.Minute) == other.At(2*time.Minute) {
		t.Error("two seeds give one trip")
	}
	// Whoever asks, and in whatever order: adapter and receiver are served by goroutines of their own.
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for at := time.Duration(0); at < 2*time.Minute; at += 37 * time.Millisecond {
				if a, b := forward.At(at), atOnce.At(at); a != b {
					t.Errorf("at %v one is %+v, the other %+v", at, a, b)
					return
				}
			}
		})
	}
	askers.Wait()
	if s := forward.At(-time.Hour); s.Speed != 0 || s != forward.At(0) {
		t.Errorf("before the trip begins the van is %+v", s)
	}
}

// TestSpeedAndPositionsOfATripAgree: the way along the positions is the integral of the speed.
func TestSpeedAndPositionsOfATripAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		trip := demo.NewTrip(rapid.Uint64().Draw(t, "seed"))
		var driven, way float64
		before := trip.At(0)
		for at := tick; at <= 3*time.Minute; at += tick {
			s := trip.At(at)
			driven += (before.Speed + s.Speed) / 2 * seconds
			step := metres(before, s)
			way += step
			if step > 0.5 {
				if d := math.Abs(math.Remainder(course(before, s)-s.Heading, 360)); d > 3 {
					t.Fatalf("at %v the van heads for %.1f degrees and moves to %.1f", at, s.Heading, course(before, s))
				}
			}
			before = s
		}
		if driven < 100 || math.Abs(way-driven) > 0.01*driven {
			t.Errorf("the speed makes %.1f m, the positions %.1f m", driven, way)
		}
	})
}

// TestATripIsOneOfAVan: what comes out of the formulas is what a van and its instruments can do, and inside of what OBD can tell.
func TestATripIsOneOfAVan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		trip := demo.NewTrip(rapid.Uint64().Draw(t, "seed"))
		before, fastest := trip.At(0), 0.0
		for at := tick; at <= 5*time.Minute; at += tick {
			s := trip.At(at)
			within := func(what string, v, low, high float64) {
				if !(v >= low && v <= high) {
					t.Fatalf("at %v %s is %v, want %v to %v", at, what, v, low, high)
				}
			}
			within("km/h", s.Speed*3.6, 0, 90.001)
			within("m/s²", (s.Speed-before.Speed)/seconds, -3.2, 2.5)
			within("the heading", s.Heading, 0, 360)
			within("rpm", s.RPM, 800, 4000)
			within("load", s.Load, 1, 100)
			within("maf", s.MAF, 0.5, 80)
			within("map", s.MAP, 20, 105)
			within("throttle", s.Throttle, 0, 100)
			within("coolant", s.Coolant, before.Coolant, 91)
			within("iat", s.IAT, 20, 40)
			within("fuel_rate", s.FuelRate, 0.3, 25)
			within("fuel_level", s.FuelLevel, 60, before.FuelLevel)
			within("voltage", s.Voltage, 13.5, 14.5)
			within("altitude", s.Alt, -50, 150)
			// The three ways to CO2 must tell of one engine: petrol burns with 14.7 times its mass of air.
			if air := s.FuelRate / 3600 * 0.745 * 1000 * 14.7; math.Abs(air-s.MAF) > 0.01*s.MAF {
				t.Fatalf("at %v %v L/h need %.2f g/s of air, maf is %.2f", at, s.FuelRate, air, s.MAF)
			}
			fastest = max(fastest, s.Speed)
			before = s
		}
		if fastest*3.6 < 30 {
			t.Errorf("in five minutes the van was never faster than %.1f km/h", fastest*3.6)
		}
	})
}

// metres between two near states, on the sphere.
func metres(a, b demo.State) float64 {
	const perDegree = 6371008.8 * math.Pi / 180
	return math.Hypot(b.Lat-a.Lat, (b.Lon-a.Lon)*math.Cos(a.Lat*math.Pi/180)) * perDegree
}

// course is the direction from one near state to another, degrees true.
func course(a, b demo.State) float64 {
	return math.Atan2((b.Lon-a.Lon)*math.Cos(a.Lat*math.Pi/180), b.Lat-a.Lat) * 180 / math.Pi
}
