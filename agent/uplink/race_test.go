//go:build race

package uplink_test

// race tells that the race detector runs.
const race = true
