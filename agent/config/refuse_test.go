package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"obdagent/agent/config"
	"obdagent/agent/record"
)

// refusals pairs a file with all that is said against it, one line each.
var refusals = []struct {
	name string
	text string
	want []string
}{
	// keys and sections
	{"a key with two letters swapped", "[obd]\nprot = \"auto\"", []string{
		`c.toml:2:1: obd.prot: unknown key; did you mean obd.port?`}},
	{"a key under the wrong section", "[obd]\nregion = \"us-east-1\"", []string{
		`c.toml:2:1: obd.region: unknown key; did you mean uplink.region?`}},
	{"a key before any section", "linger = \"60s\"", []string{
		`c.toml:1:1: linger: unknown key; did you mean uplink.linger?`}},
	{"a key like no other", "[gps]\n  wavelength = 3", []string{
		`c.toml:2:3: gps.wavelength: unknown key; list them with: obdagent config show`}},
	{"a key with a dot in quotes", "\"obd.port\" = \"none\"", []string{
		`c.toml:1:1: "obd.port": unknown key; did you mean obd.port?`}},
	{"a section with a spelling mistake, once for all its keys", "[uplnik]\nstream = \"x\"\nregion = \"y\"", []string{
		`c.toml:1:2: uplnik: unknown section; did you mean [uplink]?`}},
	{"a section like no other", "[telemetry]", []string{
		`c.toml:1:2: telemetry: unknown section; the sections are [vehicle] [obd] [obd.period] [gps] [record] [record.curve] [buffer] [uplink] [uplink.iot] [status] [obd.pid]`}},
	{"an unknown inline section", "odb = { port = \"none\" }", []string{
		`c.toml:1:1: odb: unknown section; did you mean [obd]?`}},
	{"a section as a value", "obd = \"auto\"", []string{
		`c.toml:1:1: obd: is a section; write [obd] and its keys below`}},
	{"a key as a section", "[obd.port]\nx = 1", []string{
		`c.toml:1:2: obd.port: is a key and not a section; write it as port = "auto"`}},
	{"a section as a list of sections", "[[gps]]\nbaud = 9600", []string{
		`c.toml:1:3: gps: is one section; write it as [gps]`}},
	{"an unknown signal", "[obd.period]\ncoolnt = \"5s\"", []string{
		`c.toml:2:1: obd.period.coolnt: unknown key; did you mean obd.period.coolant?`}},
	{"a period for speed", "[obd.period]\nspeed = \"5s\"", []string{
		`c.toml:2:1: obd.period.speed: speed is always asked, as often as the others leave time for; leave it out`}},

	// syntax
	{"a text without its closing quote", "[obd]\nport = \"auto\n", []string{
		`c.toml:2:13: not TOML: basic strings cannot have new lines`}},
	{"a key twice", "[obd]\nbaud = 0\nbaud = 9600", []string{
		`c.toml:3:1: not TOML: key baud is already defined`}},
	{"YAML", "obd:\n  port: auto", []string{
		`c.toml:1:4: not TOML: expected '=' after key`}},

	// types
	{"a number in quotes", "[obd]\nbaud = \"9600\"", []string{
		`c.toml:2:1: obd.baud: is a text; write it without quotes: 9600`}},
	{"a text where a number belongs", "[gps]\nbaud = \"fast\"", []string{
		`c.toml:2:1: gps.baud: is a text; write it like 9600`}},
	{"a fraction where a whole number belongs", "[gps]\nbaud = 9600.5", []string{
		`c.toml:2:1: gps.baud: is a number; write it like 9600`}},
	{"a text without quotes", "[vehicle]\ndevice_id = 212", []string{
		`c.toml:2:1: vehicle.device_id: is not in quotes; write it as "212"`}},
	{"a date where a text belongs", "[vehicle]\ndevice_id = 2026-11-23", []string{
		`c.toml:2:1: vehicle.device_id: is a value of another kind; write it like "text"`}},
	{"a text where a list belongs", "[gps]\ninit = \"$PMTK\"", []string{
		`c.toml:2:1: gps.init: is a text; write it like ["one", "two"]`}},
	{"a list of numbers", "[record]\nfields = [\"vin\", 3]", []string{
		`c.toml:2: record.fields: element 2 is not in quotes; write it as "3"`}},
	{"true in quotes", "[uplink]\npack = \"true\"", []string{
		`c.toml:2:1: uplink.pack: is a text; write it without quotes: true`}},
	{"a switch as a number", "[uplink]\npack = 1", []string{
		`c.toml:2:1: uplink.pack: is a number; write it like true`}},
	{"a list where a duration belongs", "[buffer]\nsync = [1]", []string{
		`c.toml:2:1: buffer.sync: is a list; write it like "30s"`}},
	{"a rate that is no number", "[obd]\nmax_rate = nan", []string{
		`c.toml:2: obd.max_rate: is not a finite number`}},

	// durations and sizes
	{"a duration without a unit", "[uplink]\nlinger = 60", []string{
		`c.toml:2: uplink.linger: is a number without a unit; write it like "60s" (ms, s, m or h), in quotes`}},
	{"a duration in quotes without a unit", "[uplink]\nlinger = \"60\"", []string{
		`c.toml:2: uplink.linger: "60" has no unit; write it like "60s" (ms, s, m or h)`}},
	{"a duration in words", "[uplink]\nlinger = \"one minute\"", []string{
		`c.toml:2: uplink.linger: "one minute" is not a duration; write it like "500ms", "30s", "5m" or "1h"`}},
	{"a negative duration", "[uplink]\ntime_wait = \"-5m\"", []string{
		`c.toml:2: uplink.time_wait: "-5m" is out of range; write "0s" to "24h"`}},
	{"an interval that no receiver reaches", "[record]\ninterval = \"1ms\"", []string{
		`c.toml:2: record.interval: "1ms" is out of range; write "40ms" to "1h"`}},
	{"a period that no adapter reaches", "[obd.period]\nrpm = \"10ms\"", []string{
		`c.toml:2: obd.period.rpm: "10ms" is out of range; write "100ms" to "24h"`}},
	{"a commit every hour", "[buffer]\nsync = \"1h\"", []string{
		`c.toml:2: buffer.sync: "1h" is out of range; write "50ms" to "60s"`}},
	{"parked records more often than moving ones", "[record]\nparked_interval = \"500ms\"", []string{
		`c.toml:2: record.parked_interval: "500ms" is shorter than record.interval = "1s"; write at least as much`}},
	{"a moving interval above the default of the parked one", "[record]\ninterval = \"10m\"", []string{
		`c.toml:2: record.interval: "10m" is longer than record.parked_interval = "60s"; write at most as much`}},
	{"a size without a known unit", "[buffer]\nmax_bytes = \"512 megs\"", []string{
		`c.toml:2: buffer.max_bytes: "512 megs" is not a size; write it like "512MiB" or "2GiB" (B, kB, KiB, MB, MiB, GB, GiB)`}},
	{"a size in scientific notation", "[buffer]\nmax_bytes = \"1e9B\"", []string{
		`c.toml:2: buffer.max_bytes: "1e9B" is not a size; write it like "512MiB" or "2GiB" (B, kB, KiB, MB, MiB, GB, GiB)`}},
	{"a size beyond any disk", "[buffer]\nmax_bytes = \"99999999TiB\"", []string{
		`c.toml:2: buffer.max_bytes: "99999999TiB" is not a size; write it like "512MiB" or "2GiB" (B, kB, KiB, MB, MiB, GB, GiB)`}},
	{"a buffer without room", "[buffer]\nmax_bytes = \"1MiB\"", []string{
		`c.toml:2: buffer.max_bytes: 1MiB is too small; write at least "4MiB"`}},
	{"a negative budget", "[uplink]\ndaily_bytes = -1", []string{
		`c.toml:2: uplink.daily_bytes: -1 is below zero`}},

	// the vehicle
	{"a VIN that lacks a character", "[vehicle]\nvin = \"1HGCM82633A00435\"", []string{
		`c.toml:2: vehicle.vin: "1HGCM82633A00435" has 16 characters; a VIN has 17`}},
	{"a VIN with an O", "[vehicle]\nvin = \"1HGCM82633AO04352\"", []string{
		`c.toml:2: vehicle.vin: "1HGCM82633AO04352" has the letter O; a VIN has no I, O or Q, it is probably a 0`}},
	{"a VIN with an I", "[vehicle]\nvin = \"iHGCM82633A004352\"", []string{
		`c.toml:2: vehicle.vin: "IHGCM82633A004352" has the letter I; a VIN has no I, O or Q, it is probably a 1`}},
	{"a VIN with a space", "[vehicle]\nvin = \"1HGCM82633A 04352\"", []string{
		`c.toml:2: vehicle.vin: "1HGCM82633A 04352" has the character ' '; a VIN has digits and letters only`}},
	{"a device name with a space", "[vehicle]\ndevice_id = \"van 212\"", []string{
		`c.toml:2: vehicle.device_id: "van 212" is not usable as a name; write 1 to 64 of A-Z a-z 0-9 . _ : -`}},
	{"an unknown fuel", "[vehicle]\nfuel = \"Diesal\"", []string{
		`c.toml:2: vehicle.fuel: "Diesal" is not one of petrol, diesel, e85, lpg, cng; write it as "diesel"`}},
	{"a displacement in cubic centimetres", "[vehicle]\ndisplacement_l = 1598", []string{
		`c.toml:2: vehicle.displacement_l: 1598 is out of range; write litres, 0.1 to 30 (1598 cm3 is 1.598)`}},

	// adapter and receiver
	{"a device without its directory", "[obd]\nport = \"ttyUSB0\"", []string{
		`c.toml:2: obd.port: "ttyUSB0" is not a whole path; write it as "/dev/ttyUSB0"`}},
	{"an address without a scheme", "[obd]\nport = \"192.168.0.10:35000\"", []string{
		`c.toml:2: obd.port: "192.168.0.10:35000" has no scheme; write it as "tcp://192.168.0.10:35000"`}},
	{"an address without a port", "[obd]\nport = \"tcp://192.168.0.10\"", []string{
		`c.toml:2: obd.port: "tcp://192.168.0.10" has no host and port; write them like 192.168.0.10:35000`}},
	{"a port out of range", "[obd]\nport = \"tcp://192.168.0.10:350000\"", []string{
		`c.toml:2: obd.port: "tcp://192.168.0.10:350000" has the port "350000"; write a number from 1 to 65535`}},
	{"an adapter over UDP", "[obd]\nport = \"udp://:35000\"", []string{
		`c.toml:2: obd.port: "udp://:35000" begins with an unknown scheme; write auto, none, a device like /dev/ttyUSB0, or tcp://host:port`}},
	{"an adapter from a file", "[obd]\nport = \"file:/tmp/x\"", []string{
		`c.toml:2: obd.port: "file:/tmp/x" is not known; write auto, none, a device like /dev/ttyUSB0, or tcp://host:port`}},
	{"no port at all", "[obd]\nport = \"\"", []string{
		`c.toml:2: obd.port: is empty; write auto, none, a device like /dev/ttyUSB0, or tcp://host:port`}},
	{"a port in capitals", "[obd]\nport = \"Auto\"", []string{
		`c.toml:2: obd.port: "Auto" is not known; write it as "auto"`}},
	{"a host with an underscore", "[obd]\nport = \"tcp://wifi_obd:35000\"", []string{
		`c.toml:2: obd.port: "tcp://wifi_obd:35000" has the host "wifi_obd", which is neither a name nor an address`}},
	{"an address with a zone", "[obd]\nport = \"tcp://[fe80::1%wlan0]:35000\"", []string{
		`c.toml:2: obd.port: "tcp://[fe80::1%wlan0]:35000" has the host "fe80::1%wlan0", which is neither a name nor an address`}},
	{"a line speed that nothing has", "[obd]\nbaud = 38500", []string{
		`c.toml:2: obd.baud: 38500 is not a line speed; write it as 38400, or 0 to probe`}},
	{"no requests at all", "[obd]\nmax_rate = 0", []string{
		`c.toml:2: obd.max_rate: 0 is out of range; write more than 0.1 and at most 100 (requests a second)`}},
	{"a UDP source without a port", "[gps]\nsource = \"udp://0.0.0.0\"", []string{
		`c.toml:2: gps.source: "udp://0.0.0.0" has no port; write it like udp://:10110`}},
	{"a recording without a name", "[gps]\nsource = \"file:\"", []string{
		`c.toml:2: gps.source: "file:" names no file; write it like file:/home/me/drive.nmea`}},
	{"a receiver command with a wrong checksum", "[gps]\ninit = [\"$PMTK220,1000*1E\"]", []string{
		`c.toml:2: gps.init: "$PMTK220,1000*1E" has a wrong checksum, the receiver would ignore it; write it as "$PMTK220,1000*1F"`}},
	{"a receiver command with its line end", "[gps]\ninit = [\"$PMTK220,1000*1F\\r\\n\"]", []string{
		`c.toml:2: gps.init: "$PMTK220,1000*1F\r\n" is not a line of printable ASCII; write it without its line end`}},
	{"commands for a receiver that cannot be written to", "[gps]\nsource = \"udp://:10110\"\ninit = [\"$PMTK220,1000*1F\"]", []string{
		`c.toml:3: gps.init: there is nothing to write to behind gps.source = "udp://:10110"; leave it out`}},
	{"neither adapter nor receiver", "[obd]\nport = \"none\"\n[gps]\nsource = \"none\"", []string{
		`c.toml:2: obd.port: neither adapter nor GPS, nothing to do; name one, or write "auto"`}},
	{"one device for both", "[obd]\nport = \"/dev/ttyUSB0\"\n[gps]\nsource = \"/dev//ttyUSB0\"", []string{
		`c.toml:2: obd.port: "/dev/ttyUSB0" is the GPS's too; a port has one user, name the other device`}},

	// records
	{"an unknown format", "[record]\nformat = \"csv\"", []string{
		`c.toml:2: record.format: "csv" is not one of text, json`}},
	{"an unknown field", "[record]\nfields = [\"vin\", \"sped\"]", []string{
		`c.toml:2: record.fields: "sped" is not a field of a record; did you mean "speed"?`}},
	{"a field twice", "[record]\nfields = [\"vin\", \"speed\", \"vin\"]", []string{
		`c.toml:2: record.fields: "vin" is there twice; readers need columns of different names`}},
	{"no fields", "[record]\nfields = []", []string{
		`c.toml:2: record.fields: is empty; name at least one field, or leave it out`}},

	// paths
	{"a path below nowhere", "[buffer]\ndir = \"buffer\"", []string{
		`c.toml:2: buffer.dir: "buffer" is not a whole path; begin it with /, the daemon has no working directory of yours`}},
	{"the root directory", "[buffer]\ndir = \"//\"", []string{
		`c.toml:2: buffer.dir: "//" is the root directory; name a file or directory below it`}},
	{"a path for a socket that the system cannot take", "[status]\nsocket = \"/run/" + strings.Repeat("x", 103) + "\"", []string{
		`c.toml:2: status.socket: the path has 108 bytes; a socket's path has at most 107`}},
	{"log and socket in one file", "[status]\nlog = \"/run/obd\"\nsocket = \"/run/./obd\"", []string{
		`c.toml:2: status.log: status.log and status.socket are the same path; they are two files, give each its own`}},
	{"objects within the buffer", "[uplink]\nkind = \"directory\"\npath = \"/var/lib/obdagent/buffer/out\"", []string{
		`c.toml:3: uplink.path: uplink.path = "/var/lib/obdagent/buffer/out" and buffer.dir = "/var/lib/obdagent/buffer" lie in one another; keep them apart`}},

	// uplink
	{"a region with two letters swapped", "[uplink]\nregion = \"us-esat-1\"", []string{
		`c.toml:2: uplink.region: "us-esat-1" is not an AWS region name; write it as us-east-1`}},
	{"an availability zone", "[uplink]\nregion = \"eu-central-1b\"", []string{
		`c.toml:2: uplink.region: "eu-central-1b" is an availability zone; write its region, eu-central-1`}},
	{"a region in words", "[uplink]\nregion = \"Frankfurt am Main\"", []string{
		`c.toml:2: uplink.region: "Frankfurt am Main" is not an AWS region name; write it like us-east-1`}},
	{"no region", "[uplink]\nregion = \"\"", []string{
		`c.toml:2: uplink.region: is empty; write the stream's region, such as us-east-1`}},
	{"a stream with a slash", "[uplink]\nstream = \"fleet/gps\"", []string{
		`c.toml:2: uplink.stream: "fleet/gps" is not a stream name; write 1 to 64 of a-z A-Z 0-9 _ . -`}},
	{"a stream's ARN", "[uplink]\nstream = \"arn:aws:firehose:us-east-1:123456789012:deliverystream/gps\"", []string{
		`c.toml:2: uplink.stream: "arn:aws:firehose:us-east-1:123456789012:deliverystream/gps" is an ARN; write the name only: "gps"`}},
	{"an endpoint without a scheme", "[uplink]\nendpoint = \"localhost:4573\"", []string{
		`c.toml:2: uplink.endpoint: "localhost:4573" is not an http or https URL; write it like "http://127.0.0.1:4573"`}},
	{"an endpoint with a password, which is not repeated", "[uplink]\nendpoint = \"http://me:secret@localhost\"", []string{
		`c.toml:2: uplink.endpoint: has a user name or password in it; take it out, credentials come from uplink.credentials`}},
	{"an endpoint with a query", "[uplink]\nendpoint = \"http://localhost/?a=1\"", []string{
		`c.toml:2: uplink.endpoint: "http://localhost/?a=1" has more than scheme, host and path; cut it at the ? or #`}},
	{"an unknown kind", "[uplink]\nkind = \"folder\"", []string{
		`c.toml:2: uplink.kind: "folder" is not one of firehose, directory, kinesis`}},
	{"a directory that is not named", "[uplink]\nkind = \"directory\"", []string{
		`c.toml:2: uplink.kind: "directory" needs uplink.path; add the directory, such as path = "/var/lib/obdagent/out"`}},

	// a PID of one's own
	{"a PID with an unknown key", "[[obd.pid]]\nnam = \"odometer\"", []string{
		`c.toml:2:1: obd.pid.nam: unknown key; did you mean name?`}},
	{"a PID that writes", "[[obd.pid]]\nname = \"x\"\nrequest = \"2EF190\"", []string{
		`c.toml:3: obd.pid.request: "2EF190" is not a request that only reads; write mode 01 and two digits ("01A6"), or 22 and four ("22F190")`}},
	{"a PID without a formula", "[[obd.pid]]\nname = \"x\"\nrequest = \"01A6\"\nbytes = 4", []string{
		`c.toml:1: obd.pid: has no formula; add one, such as formula = "A*256+B"`}},
	{"a PID as one section", "[obd.pid]\nname = \"x\"", []string{
		`c.toml:1:2: obd.pid: is a list of sections; write it as [[obd.pid]]`}},
	{"a PID named like a field", "[obd]\npid = [{ name = \"speed\" }]", []string{
		`c.toml:2: obd.pid.name: "speed" is a field that every record has; choose another name`}},

	{"a PID named like a signal", "[obd]\npid = [{ name = \"odometer\" }]", []string{
		`c.toml:2: obd.pid.name: "odometer" is a value that this program knows by itself; give it a period in [obd.period], or choose another name`}},
	{"a formula of more bytes than there are", "[[obd.pid]]\nname = \"a\"\nrequest = \"01A6\"\nbytes = 1\nformula = \"A*256+B\"\nmax = 9", []string{
		`c.toml:1: obd.pid: has a wrong formula "A*256+B", character 7 ("B"): the answer has only 1`}},
	{"a PID that is no section", "[obd]\npid = \"01A6\"", []string{
		`c.toml:2:1: obd.pid: is a list of sections; write each as [[obd.pid]] and its keys below`}},
	{"a list of PIDs that are no sections", "[obd]\npid = [\"01A6\"]", []string{
		`c.toml:2:1: obd.pid: is a list of sections; write each as [[obd.pid]] and its keys below`}},
	{"two PIDs of one name", "[obd]\npid = [{name=\"a\",request=\"01A6\",bytes=1,formula=\"A\",max=1},\n{name=\"a\",request=\"22F190\",bytes=1,formula=\"A\",max=1}]", []string{
		`c.toml:2: obd.pid.name: "a" is there twice; fields need different names`}},
	{"a PID without a range", "[[obd.pid]]\nname = \"a\"\nrequest = \"01A6\"\nbytes = 1\nformula = \"A\"", []string{
		`c.toml:1: obd.pid: has min 0, which is not below max 0; an answer outside of them is not believed`}},
	{"a PID of wrong values throughout", "[[obd.pid]]\nname = \"Odo Meter\"\nrequest = \"\"\nbytes = 65\nformula = \"system('rm')\"\nunit = 3\nmin = \"1\"\nmax = true\nperiod = 5\ncolour = \"red\"", []string{
		`c.toml:2: obd.pid.name: "Odo Meter" is not a field name; write small letters, digits and _, at most 32`,
		`c.toml:3: obd.pid.request: "" is not a request that only reads; write mode 01 and two digits ("01A6"), or 22 and four ("22F190")`,
		`c.toml:4: obd.pid.bytes: 65 is out of range; write 1 to 64`,
		`c.toml:5: obd.pid.formula: "system('rm')" is not a formula; write it with the bytes A B C ..., numbers, + - * / and ( )`,
		`c.toml:6: obd.pid.unit: is not in quotes; write it as "3"`,
		`c.toml:7: obd.pid.min: is a text; write it without quotes: 1`,
		`c.toml:8: obd.pid.max: is true or false; write it like 2.5`,
		`c.toml:9: obd.pid.period: is a number without a unit; write it like "5s" (ms, s, m or h), in quotes`,
		`c.toml:10:1: obd.pid.colour: unknown key; the keys are name, request, bytes, formula, unit, min, max, period`,
	}},

	// values of what is not built are judged all the same
	{"a credential provider as a URL", "[uplink.iot]\nendpoint = \"https://x.credentials.iot.eu-west-1.amazonaws.com/\"", []string{
		`c.toml:2: uplink.iot.endpoint: "https://x.credentials.iot.eu-west-1.amazonaws.com/" is not a host name; write it without https:// and without a path`}},
	{"a role alias with a slash", "[uplink.iot]\nrole_alias = \"fleet/van\"", []string{
		`c.toml:2: uplink.iot.role_alias: "fleet/van" is not a role alias; write 1 to 128 of A-Z a-z 0-9 _ = , @ -`}},
	{"a thing with a space", "[uplink.iot]\nthing = \"van 212\"", []string{
		`c.toml:2: uplink.iot.thing: "van 212" is not a thing name; write 1 to 128 of A-Z a-z 0-9 : _ -`}},
	{"a page without a port", "[status]\nlisten = \"127.0.0.1\"", []string{
		`c.toml:2: status.listen: "127.0.0.1" has no host and port; write it like "127.0.0.1:8327"`}},
	{"a page on a port out of range", "[status]\nlisten = \":83270\"", []string{
		`c.toml:2: status.listen: ":83270" has the port "83270"; write a number from 1 to 65535`}},
	{"gpsd on a host that cannot be", "[gps]\nsource = \"gpsd://-\"", []string{
		`c.toml:2: gps.source: "gpsd://-" has the host "-", which is neither a name nor an address`}},
	{"a curve without tolerance", "[record.curve]\nposition_m = 0", []string{
		`c.toml:2: record.curve.position_m: 0 is out of range; write more than 0 and at most 1000 (m)`}},
	{"a curve's tolerance as a section", "[record.curve.position_m]", []string{
		`c.toml:1:2: record.curve.position_m: is a key and not a section; write it as position_m = 5.0`}},

	// more of hosts, paths and URLs
	{"no stream", "[uplink]\nstream = \"\"", []string{
		`c.toml:2: uplink.stream: is empty; write the stream's name`}},
	{"an endpoint that is no URL", "[uplink]\nendpoint = \"http://[::1\"", []string{
		`c.toml:2: uplink.endpoint: "http://[::1" is not a URL; write it like "http://127.0.0.1:4573"`}},
	{"an endpoint without a host", "[uplink]\nendpoint = \"https://:443\"", []string{
		`c.toml:2: uplink.endpoint: "https://:443" has no host; write it like "http://127.0.0.1:4573"`}},
	{"an endpoint on a host that cannot be", "[uplink]\nendpoint = \"https://my_host\"", []string{
		`c.toml:2: uplink.endpoint: "https://my_host" has the host "my_host", which is neither a name nor an address`}},
	{"an endpoint on port 0", "[uplink]\nendpoint = \"https://localhost:0\"", []string{
		`c.toml:2: uplink.endpoint: "https://localhost:0" has the port "0"; write a number from 1 to 65535`}},
	{"a UDP source on a host that cannot be", "[gps]\nsource = \"udp://a b:10110\"", []string{
		`c.toml:2: gps.source: "udp://a b:10110" has the host "a b", which is neither a name nor an address`}},
	{"a path with a NUL", "[buffer]\ndir = \"/var/\\u0000\"", []string{
		`c.toml:2: buffer.dir: "/var/\x00" has a NUL in it; write a path`}},
	{"a field like no other", "[record]\nfields = [\"temperature_of_the_cabin\"]", []string{
		`c.toml:2: record.fields: "temperature_of_the_cabin" is not a field of a record; the fields are ` + strings.Join(record.FieldNames(), " ")}},
	{"an inline section where a value belongs", "[obd]\nport = { path = \"/dev/ttyUSB0\" }", []string{
		`c.toml:2:1: obd.port: is a section; write it like "text"`}},
	{"a rate in quotes", "[obd]\nmax_rate = \"20\"", []string{
		`c.toml:2:1: obd.max_rate: is a text; write it without quotes: 20`}},
	{"a rate in words", "[obd]\nmax_rate = \"fast\"", []string{
		`c.toml:2:1: obd.max_rate: is a text; write it like 2.5`}},
	{"a switch as a size", "[buffer]\nmax_bytes = true", []string{
		`c.toml:2:1: buffer.max_bytes: is true or false; write it like "512MiB"`}},
	{"one wrong key is not blamed for what it should have been", "[obd]\nport = \"ttyUSB0\"\n[gps]\nsource = \"none\"", []string{
		`c.toml:2: obd.port: "ttyUSB0" is not a whole path; write it as "/dev/ttyUSB0"`}},

	// several at once
	{"all that is wrong, in the order of the file",
		"[obd]\nbaud = 38500\nprot = \"auto\"\n\n[uplink]\nregion = \"us-esat-1\"\nkind = \"kinesi\"\npack = \"yes\"\n", []string{
			`c.toml:2: obd.baud: 38500 is not a line speed; write it as 38400, or 0 to probe`,
			`c.toml:3:1: obd.prot: unknown key; did you mean obd.port?`,
			`c.toml:6: uplink.region: "us-esat-1" is not an AWS region name; write it as us-east-1`,
			`c.toml:7: uplink.kind: "kinesi" is not one of firehose, directory, kinesis; write it as "kinesis"`,
			`c.toml:8:1: uplink.pack: is a text; write it like true`,
		}},
}

func TestRefusesWithOneClearLineForEachProblem(t *testing.T) {
	t.Parallel()
	for _, tt := range refusals {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := config.Parse("c.toml", []byte(tt.text), nil)
			if err == nil {
				t.Fatalf("accepted:\n%s", tt.text)
			}
			if c != nil {
				t.Error("a refused file gave a Config")
			}
			if diff := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("for\n%s\n(-want +got)\n%s", tt.text, diff)
			}
		})
	}
}

func TestRefusesVariablesByName(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, environ, want string
	}{
		{"one with a spelling mistake", "OBDAGENT_OBD_PROT=auto", `OBDAGENT_OBD_PROT: unknown variable; did you mean OBDAGENT_OBD_PORT?`},
		{"one that lacks its section", "OBDAGENT_CONFG=/etc/x", `OBDAGENT_CONFG: unknown variable; did you mean OBDAGENT_CONFIG?`},
		{"one like no other", "OBDAGENT_FLUX_CAPACITOR=1", `OBDAGENT_FLUX_CAPACITOR: unknown variable; unset it, or list the keys with: obdagent config show`},
		{"a PID", "OBDAGENT_OBD_PID_NAME=x", `OBDAGENT_OBD_PID_NAME: a PID of one's own cannot be set by a variable; write [[obd.pid]] in the file`},
		{"a period for speed", "OBDAGENT_OBD_PERIOD_SPEED=1s", `OBDAGENT_OBD_PERIOD_SPEED: speed is always asked, as often as the others leave time for; leave it out`},
		{"a wrong number", "OBDAGENT_OBD_BAUD=fast", `OBDAGENT_OBD_BAUD: "fast" is not a whole number; write it like 9600`},
		{"a wrong rate", "OBDAGENT_OBD_MAX_RATE=fast", `OBDAGENT_OBD_MAX_RATE: "fast" is not a number; write it like 2.5`},
		{"a wrong switch", "OBDAGENT_UPLINK_PACK=maybe", `OBDAGENT_UPLINK_PACK: "maybe" is neither true nor false`},
		{"a wrong value", "OBDAGENT_UPLINK_REGION=us-esat-1", `OBDAGENT_UPLINK_REGION: "us-esat-1" is not an AWS region name; write it as us-east-1`},
		{"a duration without a unit", "OBDAGENT_OBD_PERIOD_RPM=5", `OBDAGENT_OBD_PERIOD_RPM: "5" has no unit; write it like "5s" (ms, s, m or h)`},
		{"an empty number", "OBDAGENT_GPS_BAUD=", `OBDAGENT_GPS_BAUD: is empty; give it a value, or unset it`},
		{"an empty port", "OBDAGENT_OBD_PORT=", `OBDAGENT_OBD_PORT: is empty; write auto, none, a device like /dev/ttyUSB0, or tcp://host:port`},
		{"a list with a stranger", "OBDAGENT_RECORD_FIELDS=vin,sped", `OBDAGENT_RECORD_FIELDS: "sped" is not a field of a record; did you mean "speed"?`},
		{"a broken array", "OBDAGENT_RECORD_FIELDS=[vin]", `OBDAGENT_RECORD_FIELDS: "[vin]" is not a TOML array; write it like ["one", "two"] or one,two`},
		{"a credential provider of which a part is missing", "OBDAGENT_UPLINK_CREDENTIALS=iot", `OBDAGENT_UPLINK_CREDENTIALS: "iot" needs uplink.iot.endpoint, uplink.iot.role_alias, uplink.iot.cert and uplink.iot.key; add what is missing`},
		{"a curve without tolerance", "OBDAGENT_RECORD_CURVE_POSITION_M=0", `OBDAGENT_RECORD_CURVE_POSITION_M: 0 is out of range; write more than 0 and at most 1000 (m)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse("", nil, []string{"HOME=/root", tt.environ})
			if err == nil || err.Error() != tt.want {
				t.Errorf("%s\n got  %v\n want %s", tt.environ, err, tt.want)
			}
		})
	}
}

func TestErrorsOfFileAndEnvironmentAreListedTogether(t *testing.T) {
	t.Parallel()
	_, err := config.Parse("c.toml", []byte("[obd]\nbaud = 1\n"), []string{"OBDAGENT_X_Y_Z=1", "OBDAGENT_GPS_BAUD=2", "OBDAGENT_OBD_BAUD=3"})
	want := []config.Error{
		{File: "c.toml", Line: 2, Key: "obd.baud", Message: "1 is not a line speed; write it as 1200, or 0 to probe"},
		{Env: "OBDAGENT_GPS_BAUD", Key: "gps.baud", Message: "2 is not a line speed; write it as 1200, or 0 to probe"},
		{Env: "OBDAGENT_OBD_BAUD", Key: "obd.baud", Message: "3 is not a line speed; write it as 1200, or 0 to probe"},
		{Env: "OBDAGENT_X_Y_Z", Message: "unknown variable; unset it, or list the keys with: obdagent config show"},
	}
	var got config.Errors
	if !errors.As(err, &got) {
		t.Fatalf("error of type %T: %v", err, err)
	}
	if diff := cmp.Diff(want, []config.Error(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var one config.Error
	if !errors.As(err, &one) || one != want[0] {
		t.Errorf("Unwrap gives %v first, want %v", one, want[0])
	}
}

func TestListsNoMoreProblemsThanAPersonReads(t *testing.T) {
	t.Parallel()
	_, err := config.Parse("c.toml", []byte(strings.Repeat("[[obd.pid]]\n", 20_000)), nil)
	var list config.Errors
	if !errors.As(err, &list) || len(list) != 101 {
		t.Fatalf("%d problems: %v", len(list), err)
	}
	if got, want := list[0].Error(), "c.toml: has more than 99 problems; the rest is not listed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRefusesAFileThatIsNoConfigFile(t *testing.T) {
	t.Parallel()
	_, err := config.Parse("c.toml", []byte(strings.Repeat("# x\n", 100_000)), nil)
	if want := "c.toml: is larger than 256 KiB; this is not a config file"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = config.Parse("c.toml", []byte("vin = \"\xff\"\n"), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "c.toml:1:8: not TOML: ") {
		t.Errorf("bytes that are not UTF-8: %v", err)
	}
}
