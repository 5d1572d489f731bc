package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"obdagent/agent/record"
)

// at picks the key that a problem of several keys is reported at: the first that was set.
func (b *builder) at(keys ...string) string {
	for _, k := range keys {
		if b.origins[k] != (Origin{}) {
			return k
		}
	}
	return keys[0]
}

// refuseTogether reports a problem of several keys, unless one of them is reported already.
func (b *builder) refuseTogether(message string, keys ...string) {
	for _, k := range keys {
		if b.refused[k] {
			return
		}
	}
	b.refuse(b.at(keys...), message)
}

// checkTogether checks what no key can be asked for alone.
func (b *builder) checkTogether() {
	c := b.config
	if c.OBD.Port == None && c.GPS.Source == None {
		b.refuseTogether("neither adapter nor GPS, nothing to do; name one, or write \"auto\"", "obd.port", "gps.source")
	}
	if same := sameSource(c.OBD.Port, c.GPS.Source); same {
		b.refuseTogether(fmt.Sprintf("%q is the GPS's too; a port has one user, name the other device", c.OBD.Port), "obd.port", "gps.source")
	}
	if len(c.GPS.Init) > 0 && (c.GPS.Source == None || strings.HasPrefix(c.GPS.Source, "udp://") || strings.HasPrefix(c.GPS.Source, "file:")) {
		b.refuseTogether(fmt.Sprintf("there is nothing to write to behind gps.source = %q; leave it out", c.GPS.Source), "gps.init", "gps.source")
	}
	if parked, moving := c.Record.ParkedInterval, c.Record.Interval; parked < moving {
		if b.at("record.parked_interval", "record.interval") == "record.parked_interval" {
			b.refuseTogether(fmt.Sprintf("%q is shorter than record.interval = %q; write at least as much",
				formatDuration(parked), formatDuration(moving)), "record.parked_interval", "record.interval")
		} else {
			b.refuseTogether(fmt.Sprintf("%q is longer than record.parked_interval = %q; write at most as much",
				formatDuration(moving), formatDuration(parked)), "record.interval", "record.parked_interval")
		}
	}
	if c.Uplink.Kind == KindDirectory && c.Uplink.Path == "" {
		b.refuseTogether("\"directory\" needs uplink.path; add the directory, such as path = \"/var/lib/obdagent/out\"", "uplink.kind", "uplink.path")
	}
	if iot := c.Uplink.IoT; c.Uplink.Credentials == CredentialsIoT && (iot.Endpoint == "" || iot.RoleAlias == "" || iot.Cert == "" || iot.Key == "") {
		b.refuseTogether("\"iot\" needs uplink.iot.endpoint, uplink.iot.role_alias, uplink.iot.cert and uplink.iot.key; add what is missing", "uplink.credentials")
	}
	if within(c.Uplink.Path, c.Buffer.Dir) || within(c.Buffer.Dir, c.Uplink.Path) {
		b.refuseTogether(fmt.Sprintf("uplink.path = %q and buffer.dir = %q lie in one another; keep them apart", c.Uplink.Path, c.Buffer.Dir), "uplink.path", "buffer.dir")
	}
	if c.Status.Log != "" && filepath.Clean(c.Status.Log) == filepath.Clean(c.Status.Socket) {
		b.refuseTogether("status.log and status.socket are the same path; they are two files, give each its own", "status.log", "status.socket")
	}
	for i := range c.OBD.PID {
		p := &c.OBD.PID[i]
		if slices.ContainsFunc(c.OBD.PID[:i], func(other PID) bool { return other.Name == p.Name && p.Name != "" }) {
			b.errors = append(b.errors, p.origin.problem(pidSection+".name", fmt.Sprintf("%q is there twice; fields need different names", p.Name)))
		}
	}
}

// sameSource tells whether adapter and GPS are to share one device or address. Two names of one device (links below
// /dev/serial) are found when they are opened.
func sameSource(port, source string) bool {
	if port == Auto || port == None {
		return false
	}
	if strings.HasPrefix(port, "/") && strings.HasPrefix(source, "/") {
		return filepath.Clean(port) == filepath.Clean(source)
	}
	return port == source
}

// within tells whether path is dir or lies below it.
func within(path, dir string) bool {
	if path == "" || dir == "" {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// warn gathers what is valid and yet probably not meant.
func (b *builder) warn() {
	c := b.config
	say := func(key, format string, args ...any) {
		c.warnings = append(c.warnings, c.origins[key].problem(key, fmt.Sprintf(format, args...)).Error())
	}
	set := func(key string) bool { return c.origins[key] != (Origin{}) }

	contract := slices.Equal(c.Record.Fields, record.ContractFields())
	switch {
	case c.Record.Format == FormatText && !contract:
		say("record.fields", "readers that expect the six columns %s will misread these; use format = \"json\" for more fields",
			strings.Join(record.ContractFields(), " "))
	case c.Record.Format == FormatJSON && set("record.fields"):
		say("record.fields", "has no effect with record.format = \"json\", which has all fields")
	}
	if set("obd.baud") && c.OBD.Baud != 0 && strings.HasPrefix(c.OBD.Port, "tcp://") {
		say("obd.baud", "has no effect with obd.port = %q, which has no line speed", c.OBD.Port)
	}
	if set("gps.baud") && c.GPS.Baud != 0 && !strings.HasPrefix(c.GPS.Source, "/") && c.GPS.Source != Auto {
		say("gps.baud", "has no effect with gps.source = %q, which has no line speed", c.GPS.Source)
	}
	if c.Uplink.Kind != KindDirectory && c.Uplink.Path != "" {
		say("uplink.path", "has no effect with uplink.kind = %q; write kind = \"directory\" to use it", c.Uplink.Kind)
	}
	if u, err := url.Parse(c.Uplink.Endpoint); err == nil && u.Scheme == "http" && c.Uplink.Kind != KindDirectory && !loopback(u.Hostname()) {
		say("uplink.endpoint", "%q is not encrypted: whoever carries the data can read where the vehicle is; use https", c.Uplink.Endpoint)
	}
	if c.Uplink.Kind != KindDirectory && c.Uplink.Linger == 0 {
		say("uplink.linger", "every record is sent alone, which costs some twenty times the data of 60s")
	}
	if set("uplink.credentials_file") && c.Uplink.CredentialsFile != "" && c.Uplink.Credentials != CredentialsFile {
		say("uplink.credentials_file", "has no effect with uplink.credentials = %q; write credentials = \"file\" to use it", c.Uplink.Credentials)
	}
	if c.Uplink.IoT != (IoT{}) && c.Uplink.Credentials != CredentialsIoT {
		say(b.at("uplink.iot.endpoint", "uplink.iot.role_alias", "uplink.iot.thing", "uplink.iot.cert", "uplink.iot.key"), "has no effect with uplink.credentials = %q; write credentials = \"iot\" to use it", c.Uplink.Credentials)
	}
	if c.Uplink.Compression == CompressionGzip && !c.Uplink.Pack {
		say("uplink.compression", "each line is compressed alone with uplink.pack = false, which saves nothing; write pack = true")
	}
	if host, _, err := net.SplitHostPort(c.Status.Listen); err == nil && host != "" && !loopback(host) {
		say("status.listen", "whoever is in the same network can read the page, and the VIN; with page_position also where the vehicle is")
	}
	if c.Status.PagePosition && c.Status.Listen == "" {
		say("status.page_position", "has no effect without status.listen")
	}
	if c.Status.Log == "" && c.Status.Socket == "" {
		say("status.log", "neither log nor socket: nobody can see what the agent does")
	}
}

func loopback(host string) bool {
	return host == "localhost" || host == "::1" || strings.HasPrefix(host, "127.")
}
