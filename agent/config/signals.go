package config

import (
	"time"

	"obdagent/agent/record"
	"obdagent/obd"
)

// defaultPeriod is how often each signal besides speed is asked. What a car on a slow bus can have adds up to less than five requests a second, which
// leaves an ELM327 on a slow bus (ISO 9141-2: some eight exchanges a second) time for speed; no car has all: it has a mass air
// flow sensor or a manifold pressure sensor. What burns fuel changes with the throttle and goes by the second; what has a
// thermal mass or a tank behind it, by the minute.
var defaultPeriod = map[string]time.Duration{
	"rpm":       time.Second,
	"maf":       time.Second,
	"fuel_rate": time.Second,
	"load":      2 * time.Second,
	"map":       2 * time.Second,
	"lambda":    2 * time.Second,
	"throttle":  5 * time.Second,
	// What CO2 is reckoned from besides; only newer cars, which are on a fast bus, have most of these.
	obd.SignalFuelRateGPS: time.Second,
	obd.SignalMAF66:       2 * time.Second,
	obd.SignalFuelSystem:  2 * time.Second,
	obd.SignalLambda24:    5 * time.Second,
	obd.SignalLambda34:    5 * time.Second,
	obd.SignalAbsLoad:     5 * time.Second,
	obd.SignalFuelType:    10 * time.Minute,
	obd.SignalEthanol:     10 * time.Minute,
	"coolant":             30 * time.Second,
	"iat":                 30 * time.Second,
	"voltage":             30 * time.Second,
	"fuel_level":          time.Minute,
}

// signals are the names that obd.period knows, in the order of the table in package obd. Speed, which is always asked, is not
// among them.
var signals = func() []string {
	var names []string
	for _, s := range obd.Signals() {
		if s.Name != obd.SignalSpeed {
			names = append(names, s.Name)
		}
	}
	return names
}()

// recordFields are the names that record.fields may hold.
var recordFields = record.FieldNames()

func defaultPeriods() map[string]time.Duration {
	periods := make(map[string]time.Duration, len(signals))
	for _, name := range signals {
		if d := defaultPeriod[name]; d > 0 {
			periods[name] = d
		}
	}
	return periods
}
