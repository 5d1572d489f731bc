package config

import (
	"strings"
	"time"
)

// A key is one line of the file: its name, its meaning and how its value gets into a Config and out again.
type key struct {
	name    string // with its section, such as uplink.iot.thing
	kind    kind
	meaning string // for docs/config.md and config show: one line, what a technician needs to know
	set     func(c *Config, raw any) (problem string)
	get     func(c *Config) any // nil: not set and without a default
}

// env returns the name of the variable that sets the key.
func (k *key) env() string { return envName(k.name) }

func envName(key string) string {
	return "OBDAGENT_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// newKey makes a key of a field of a Config, of how a TOML value becomes its type, and of what is said against a value.
func newKey[T any](name string, kind kind, as func(any) (T, string), field func(*Config) *T, check func(T) string, meaning string) key {
	return key{
		name: name, kind: kind, meaning: meaning,
		set: func(c *Config, raw any) string {
			v, problem := as(raw)
			if problem == "" && check != nil {
				problem = check(v)
			}
			if problem == "" {
				*field(c) = v
			}
			return problem
		},
		get: func(c *Config) any { return *field(c) },
	}
}

func text(name string, field func(*Config) *string, check func(string) string, meaning string) key {
	return newKey(name, kindText, asText, field, check, meaning)
}

func integer(name string, field func(*Config) *int, check func(int) string, meaning string) key {
	return newKey(name, kindInteger, asInteger, field, check, meaning)
}

func number(name string, field func(*Config) *float64, check func(float64) string, meaning string) key {
	return newKey(name, kindNumber, asNumber, field, check, meaning)
}

func onOff(name string, field func(*Config) *bool, meaning string) key {
	return newKey(name, kindSwitch, asSwitch, field, nil, meaning)
}

func duration(name string, field func(*Config) *time.Duration, check func(time.Duration) string, meaning string) key {
	return newKey(name, kindDuration, asDuration, field, check, meaning)
}

func size(name string, field func(*Config) *int64, check func(int64) string, meaning string) key {
	return newKey(name, kindSize, asSize, field, check, meaning)
}

func list(name string, field func(*Config) *[]string, check func([]string) string, meaning string) key {
	return newKey(name, kindList, asList, field, check, meaning)
}

// period is the key of one signal: an entry of a map and not a field.
func period(signal string) key {
	return key{
		name: "obd.period." + signal, kind: kindDuration,
		meaning: "how often " + signal + " is asked of the car; \"0s\": not at all",
		set: func(c *Config, raw any) string {
			d, problem := asDuration(raw)
			if problem == "" && d != 0 {
				problem = between(100*time.Millisecond, 24*time.Hour)(d)
			}
			if problem != "" {
				return problem
			}
			if d == 0 {
				delete(c.OBD.Period, signal)
			} else {
				c.OBD.Period[signal] = d
			}
			return ""
		},
		get: func(c *Config) any { return c.OBD.Period[signal] },
	}
}

// defaultCurve is what [record.curve] means without its keys: a lane's width and the resolution of a speedometer.
var defaultCurve = Curve{PositionM: 5, SpeedKmh: 3}

// curve is a key of the section [record.curve], which switches something on by being there.
func curve(name string, field func(*Curve) *float64, check func(float64) string, meaning string) key {
	k := number("record.curve."+name, func(c *Config) *float64 {
		if c.Record.Curve == nil {
			v := defaultCurve
			c.Record.Curve = &v
		}
		return field(c.Record.Curve)
	}, check, meaning)
	k.get = func(c *Config) any {
		if c.Record.Curve == nil {
			return nil
		}
		return *field(c.Record.Curve)
	}
	return k
}

// keys are all keys, in the order of the file.
var keys = allKeys()

func allKeys() []key {
	all := []key{
		vin(),
		text("vehicle.device_id", func(c *Config) *string { return &c.Vehicle.DeviceID }, checkDeviceID,
			"the name of this gateway in every record; empty: derived from /etc/machine-id"),
		text("vehicle.fuel", func(c *Config) *string { return &c.Vehicle.Fuel },
			orEmpty(oneOf(FuelPetrol, FuelDiesel, FuelE85, FuelLPG, FuelCNG)),
			"petrol, diesel, e85, lpg or cng; empty: what the car says"),
		number("vehicle.displacement_l", func(c *Config) *float64 { return &c.Vehicle.DisplacementL }, checkDisplacement,
			"engine displacement in litres, for CO2 by speed-density; 0: unknown"),

		text("obd.port", func(c *Config) *string { return &c.OBD.Port }, checkPort,
			"where the adapter is: a device path, tcp://host:port, auto or none"),
		integer("obd.baud", func(c *Config) *int { return &c.OBD.Baud }, checkBaud,
			"line speed of the adapter's serial port; 0: probe"),
		number("obd.max_rate", func(c *Config) *float64 { return &c.OBD.MaxRate }, checkMaxRate,
			"requests a second put to the car, at most"),
	}
	for _, s := range signals {
		all = append(all, period(s))
	}
	all = append(all,
		text("gps.source", func(c *Config) *string { return &c.GPS.Source }, checkSource,
			"where the GPS is: a device path, gpsd://host:2947, tcp://host:port, udp://:port, file:path, auto or none"),
		integer("gps.baud", func(c *Config) *int { return &c.GPS.Baud }, checkBaud,
			"line speed of the receiver's serial port; 0: probe"),
		list("gps.init", func(c *Config) *[]string { return &c.GPS.Init }, checkInit,
			"lines to write to the receiver at start; nothing is ever written otherwise"),

		duration("record.interval", func(c *Config) *time.Duration { return &c.Record.Interval },
			// The fastest common receivers give 25 epochs a second.
			between(40*time.Millisecond, time.Hour),
			"how often a record is made while moving"),
		duration("record.parked_interval", func(c *Config) *time.Duration { return &c.Record.ParkedInterval },
			between(40*time.Millisecond, 24*time.Hour),
			"how often a record is made at standstill"),
		text("record.format", func(c *Config) *string { return &c.Record.Format }, oneOf(FormatText, FormatJSON),
			"text (columns, one space between) or json (one object a line)"),
		list("record.fields", func(c *Config) *[]string { return &c.Record.Fields }, checkFields,
			"the columns of the text format; readers that know the six default columns need exactly these"),
		curve("position_m", func(c *Curve) *float64 { return &c.PositionM }, above(0, 1000, "m"),
			"keep only what redraws the drive within so many metres; 5.0 if the section [record.curve] is there; records wait in memory for up to a minute to be decided on"),
		curve("speed_kmh", func(c *Curve) *float64 { return &c.SpeedKmh }, above(0, 100, "km/h"),
			"and within so many km/h; 3.0 if the section [record.curve] is there"),

		text("buffer.dir", func(c *Config) *string { return &c.Buffer.Dir }, checkPath,
			"where records wait on disk until they are delivered"),
		size("buffer.max_bytes", func(c *Config) *int64 { return &c.Buffer.MaxBytes }, checkMaxBytes,
			"how much disk the records may take"),
		duration("buffer.sync", func(c *Config) *time.Duration { return &c.Buffer.Sync },
			between(50*time.Millisecond, time.Minute),
			"a power cut costs at most this much"),
		text("buffer.overflow", func(c *Config) *string { return &c.Buffer.Overflow },
			oneOf(OverflowDropOldest, OverflowDropNewest, OverflowThin),
			"what is given up when the disk is full: drop-oldest, drop-newest, or thin: the oldest are kept at one in ten, in up to half of the room"),

		text("uplink.kind", func(c *Config) *string { return &c.Uplink.Kind }, oneOf(KindFirehose, KindDirectory, KindKinesis),
			"where records go: firehose, directory or kinesis"),
		text("uplink.stream", func(c *Config) *string { return &c.Uplink.Stream }, checkStream,
			"name of the stream"),
		text("uplink.region", func(c *Config) *string { return &c.Uplink.Region }, checkRegion,
			"AWS region of the stream"),
		text("uplink.endpoint", func(c *Config) *string { return &c.Uplink.Endpoint }, orEmpty(checkEndpoint),
			"URL of a Firehose look-alike; empty: AWS"),
		duration("uplink.linger", func(c *Config) *time.Duration { return &c.Uplink.Linger }, between(0, time.Hour),
			"how long a record may wait for company; longer is cheaper"),
		text("uplink.order", func(c *Config) *string { return &c.Uplink.Order }, oneOf(OrderLiveFirst, OrderFIFO),
			"live-first (new records before the backlog) or fifo"),
		duration("uplink.time_wait", func(c *Config) *time.Duration { return &c.Uplink.TimeWait }, between(0, 24*time.Hour),
			"how long a record without a date waits for the clock"),
		size("uplink.daily_bytes", func(c *Config) *int64 { return &c.Uplink.DailyBytes }, nil,
			"how much may be sent a day; 0: no budget"),
		onOff("uplink.pack", func(c *Config) *bool { return &c.Uplink.Pack },
			"join lines into few Firehose records, which is what is billed; false: one line per Firehose record"),
		text("uplink.compression", func(c *Config) *string { return &c.Uplink.Compression },
			oneOf(CompressionNone, CompressionGzip),
			"none or gzip"),
		text("uplink.credentials", func(c *Config) *string { return &c.Uplink.Credentials },
			oneOf(CredentialsDefault, CredentialsFile, CredentialsIoT),
			"default (the AWS SDK's chain), file or iot"),
		text("uplink.credentials_file", func(c *Config) *string { return &c.Uplink.CredentialsFile }, orEmpty(checkPath),
			"for credentials = \"file\"; empty: systemd's credential directory"),
		text("uplink.path", func(c *Config) *string { return &c.Uplink.Path }, orEmpty(checkPath),
			"for kind = \"directory\": where the objects go; nothing is removed there, and 64 MiB of the disk stay free"),
		text("uplink.iot.endpoint", func(c *Config) *string { return &c.Uplink.IoT.Endpoint }, orEmpty(checkHost),
			"host name of the AWS IoT credential provider"),
		text("uplink.iot.role_alias", func(c *Config) *string { return &c.Uplink.IoT.RoleAlias }, orEmpty(checkRoleAlias),
			"role alias to ask credentials for"),
		text("uplink.iot.thing", func(c *Config) *string { return &c.Uplink.IoT.Thing }, orEmpty(checkThing),
			"thing name of this gateway"),
		text("uplink.iot.cert", func(c *Config) *string { return &c.Uplink.IoT.Cert }, orEmpty(checkPath),
			"the device's certificate (PEM); for "+DeviceCert+" with its key the daemon takes the copies that systemd hands it"),
		text("uplink.iot.key", func(c *Config) *string { return &c.Uplink.IoT.Key }, orEmpty(checkPath),
			"the file of its private key (PEM); as for cert: "+DeviceKey),

		text("status.log", func(c *Config) *string { return &c.Status.Log }, orEmpty(checkPath),
			"the status log; empty: none"),
		text("status.socket", func(c *Config) *string { return &c.Status.Socket }, orEmpty(checkSocket),
			"the socket that obdagent status asks; empty: none"),
		text("status.listen", func(c *Config) *string { return &c.Status.Listen }, orEmpty(checkListen),
			"\"127.0.0.1:8327\" serves the page and /metrics; empty: off"),
		onOff("status.page_position", func(c *Config) *bool { return &c.Status.PagePosition },
			"whether the page shows where the vehicle is"),
	)
	return all
}

// vin puts its value into upper case on the way in: people type it off a paper in either.
func vin() key {
	upper := func(raw any) (string, string) {
		s, problem := asText(raw)
		return strings.ToUpper(s), problem
	}
	return newKey("vehicle.vin", kindText, upper, func(c *Config) *string { return &c.Vehicle.VIN }, orEmpty(checkVIN),
		"the vehicle identification number, used when the car does not tell its own")
}

// pidSection holds the user's own PIDs: the one section that may be there several times, as [[obd.pid]].
const pidSection = "obd.pid"

// curveSection switches something on by being there, even when it is empty.
const curveSection = "record.curve"

func findKey(name string) *key {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

func keyNames() []string {
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = keys[i].name
	}
	return names
}

// sections returns the names of all sections, in the order of the file.
func sections() []string {
	var names []string
	for i := range keys {
		s := keys[i].name[:strings.LastIndexByte(keys[i].name, '.')]
		if len(names) == 0 || names[len(names)-1] != s {
			names = append(names, s)
		}
	}
	return append(names, pidSection)
}

func isSection(name string) bool {
	for _, s := range sections() {
		if s == name {
			return true
		}
	}
	return false
}
