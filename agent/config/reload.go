package config

import (
	"reflect"
	"slices"
	"strings"
)

// live are the keys and sections (with a dot at the end) that take effect while the agent runs. The others hold what is built once:
// the buffer's files, the stream and its credentials, the shape of what is delivered, the places where others look.
var live = []string{
	"vehicle.vin", "vehicle.fuel", "vehicle.displacement_l",
	"obd.", "gps.",
	"record.interval", "record.parked_interval",
	"uplink.linger", "uplink.time_wait", "uplink.daily_bytes",
	"status.page_position",
}

// Live tells whether a key takes effect when the configuration is read again; else it does with the next start.
func Live(key string) bool {
	return slices.ContainsFunc(live, func(l string) bool { return key == l || strings.HasSuffix(l, ".") && strings.HasPrefix(key+".", l) })
}

// Adopt returns c, which is in force, with what of next can take effect while the agent runs: the keys that thereby changed, and
// those that differ and need a restart, both in the order of the file.
func (c *Config) Adopt(next *Config) (adopted *Config, changed, restart []string) {
	a := *c
	a.Vehicle, a.Vehicle.DeviceID = next.Vehicle, c.Vehicle.DeviceID
	a.OBD, a.GPS = next.OBD, next.GPS
	a.Record.Interval, a.Record.ParkedInterval = next.Record.Interval, next.Record.ParkedInterval
	a.Uplink.Linger, a.Uplink.TimeWait, a.Uplink.DailyBytes = next.Uplink.Linger, next.Uplink.TimeWait, next.Uplink.DailyBytes
	a.Status.PagePosition = next.Status.PagePosition
	return &a, differing(c, &a), differing(&a, next)
}

// differing are the keys whose values differ.
func differing(a, b *Config) (names []string) {
	for i := range keys {
		if k := &keys[i]; !reflect.DeepEqual(k.get(a), k.get(b)) {
			names = append(names, k.name)
		}
	}
	same := func(p, q PID) bool {
		p.origin, q.origin = Origin{}, Origin{}
		return p == q
	}
	if !slices.EqualFunc(a.OBD.PID, b.OBD.PID, same) {
		names = append(names, pidSection)
	}
	return names
}
