package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A check returns what is wrong with a value and what to write instead, or "".

// orEmpty lets the empty text pass.
func orEmpty(check func(string) string) func(string) string {
	return func(s string) string {
		if s == "" {
			return ""
		}
		return check(s)
	}
}

func oneOf(words ...string) func(string) string {
	return func(s string) string {
		if slices.Contains(words, s) {
			return ""
		}
		if near := nearest(strings.ToLower(s), words); near != "" {
			return fmt.Sprintf("%q is not one of %s; write it as %q", s, strings.Join(words, ", "), near)
		}
		return fmt.Sprintf("%q is not one of %s", s, strings.Join(words, ", "))
	}
}

func between(low, high time.Duration) func(time.Duration) string {
	return func(d time.Duration) string {
		if d < low || d > high {
			return fmt.Sprintf("%q is out of range; write %q to %q", formatDuration(d), formatDuration(low), formatDuration(high))
		}
		return ""
	}
}

func above(low, high float64, unit string) func(float64) string {
	return func(v float64) string {
		if v <= low || v > high {
			return fmt.Sprintf("%v is out of range; write more than %v and at most %v (%s)", v, low, high, unit)
		}
		return ""
	}
}

// checkVIN applies ISO 3779: 17 characters, digits and capital letters without I, O and Q. The check digit (9th place) is
// not judged: it is used in North America and China only.
func checkVIN(s string) string {
	for _, r := range s {
		switch {
		case r == 'I' || r == 'O' || r == 'Q':
			likely := "0"
			if r == 'I' {
				likely = "1"
			}
			return fmt.Sprintf("%q has the letter %c; a VIN has no I, O or Q, it is probably a %s", s, r, likely)
		case r >= '0' && r <= '9' || r >= 'A' && r <= 'Z':
		default:
			return fmt.Sprintf("%q has the character %q; a VIN has digits and letters only", s, r)
		}
	}
	if len(s) != 17 {
		return fmt.Sprintf("%q has %d characters; a VIN has 17", s, len(s))
	}
	return ""
}

// A device's name stands in a column of its own: nothing that a reader could take for a separator.
var deviceID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

func checkDeviceID(s string) string {
	if s != "" && !deviceID.MatchString(s) {
		return fmt.Sprintf("%q is not usable as a name; write 1 to 64 of A-Z a-z 0-9 . _ : -", s)
	}
	return ""
}

func checkDisplacement(v float64) string {
	if v == 0 {
		return ""
	}
	// 0.1 l is a moped, 30 l a large lorry; more is cubic centimetres.
	if v < 0.1 || v > 30 {
		return fmt.Sprintf("%v is out of range; write litres, 0.1 to 30 (1598 cm3 is 1.598)", v)
	}
	return ""
}

// lineSpeeds are what adapters and receivers use, by their data sheets: ELM327 (9600 and 38400 by jumper, up to 500000 by AT
// BRD), STN11xx (up to 2000000), NMEA 0183 (4800), NMEA 0183-HS (38400), u-blox and MTK (up to 921600).
var lineSpeeds = []int{1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000}

func checkBaud(v int) string {
	if v == 0 || slices.Contains(lineSpeeds, v) {
		return ""
	}
	near := lineSpeeds[0]
	for _, s := range lineSpeeds {
		if max(s-v, v-s) < max(near-v, v-near) {
			near = s
		}
	}
	return fmt.Sprintf("%d is not a line speed; write it as %d, or 0 to probe", v, near)
}

func checkMaxRate(v float64) string {
	// At 115200 baud, with an ECU that answers within 8 ms, the bytes of an exchange leave room for some 100 a second. Below one in
	// ten seconds there is no speed to speak of, and obd takes no less.
	return above(0.1, 100, "requests a second")(v)
}

func checkPort(s string) string {
	return checkSourceOf(s, "auto, none, a device like /dev/ttyUSB0, or tcp://host:port", map[string]func(string) string{
		"tcp": checkHostPort,
	})
}

func checkSource(s string) string {
	return checkSourceOf(s, "auto, none, a device like /dev/ttyACM0, tcp://host:port, udp://:port, file:path or gpsd://host:2947",
		map[string]func(string) string{
			"tcp":  checkHostPort,
			"udp":  checkListenPort,
			"gpsd": checkGPSD,
		})
}

// checkSourceOf checks a word, a device path or an address with one of the schemes.
func checkSourceOf(s, forms string, schemes map[string]func(string) string) string {
	switch {
	case s == Auto, s == None:
		return ""
	case s == "":
		return "is empty; write " + forms
	case strings.HasPrefix(s, "/"):
		return checkPath(s)
	}
	if path, ok := strings.CutPrefix(s, "file:"); ok && schemes["udp"] != nil {
		if strings.TrimPrefix(path, "//") == "" || strings.ContainsRune(path, 0) {
			return fmt.Sprintf("%q names no file; write it like file:/home/me/drive.nmea", s)
		}
		return ""
	}
	scheme, address, ok := strings.Cut(s, "://")
	if !ok {
		if near := nearest(strings.ToLower(s), []string{Auto, None}); near != "" {
			return fmt.Sprintf("%q is not known; write it as %q", s, near)
		}
		if strings.HasPrefix(s, "dev/") || strings.HasPrefix(s, "tty") || strings.HasPrefix(s, "rfcomm") || strings.HasPrefix(s, "serial/") {
			return fmt.Sprintf("%q is not a whole path; write it as %q", s, "/dev/"+strings.TrimPrefix(s, "dev/"))
		}
		if checkHostPort(s) == "" {
			return fmt.Sprintf("%q has no scheme; write it as %q", s, "tcp://"+s)
		}
		return fmt.Sprintf("%q is not known; write %s", s, forms)
	}
	check := schemes[scheme]
	if check == nil {
		return fmt.Sprintf("%q begins with an unknown scheme; write %s", s, forms)
	}
	if problem := check(address); problem != "" {
		return fmt.Sprintf("%q %s", s, problem)
	}
	return ""
}

// checkHostPort checks what is connected to.
func checkHostPort(s string) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return "has no host and port; write them like 192.168.0.10:35000"
	}
	if problem := checkHostName(host); problem != "" {
		return problem
	}
	return checkPortNumber(port)
}

// checkListenPort checks what is listened on: the host may be absent.
func checkListenPort(s string) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "has no port; write it like udp://:10110"
	}
	if host != "" {
		if problem := checkHostName(host); problem != "" {
			return problem
		}
	}
	return checkPortNumber(port)
}

// checkGPSD checks the address of a gpsd: the port may be absent, 2947 is its own (IANA).
func checkGPSD(s string) string {
	if strings.Contains(s, ":") && !strings.HasSuffix(s, "]") {
		return checkHostPort(s)
	}
	return checkHostName(strings.Trim(s, "[]"))
}

func checkPortNumber(s string) string {
	if n, err := strconv.ParseUint(s, 10, 16); err != nil || n == 0 {
		return fmt.Sprintf("has the port %q; write a number from 1 to 65535", s)
	}
	return ""
}

// hostName is a DNS name (RFC 1123) or what could be an IPv4 address; underscores are refused by resolvers.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?$`)

func checkHostName(s string) string {
	if net.ParseIP(s) != nil || len(s) <= 253 && hostName.MatchString(s) {
		return ""
	}
	return fmt.Sprintf("has the host %q, which is neither a name nor an address", s)
}

func checkHost(s string) string {
	if problem := checkHostName(s); problem != "" {
		return fmt.Sprintf("%q is not a host name; write it without https:// and without a path", s)
	}
	return ""
}

func checkListen(s string) string {
	if _, _, err := net.SplitHostPort(s); err != nil {
		return fmt.Sprintf("%q has no host and port; write it like \"127.0.0.1:8327\"", s)
	}
	if problem := checkListenPort(s); problem != "" {
		return fmt.Sprintf("%q %s", s, problem)
	}
	return ""
}

// checkInit checks lines that go to a receiver as they are. A wrong checksum would be ignored by the receiver without a word.
func checkInit(lines []string) string {
	for _, line := range lines {
		if line == "" || strings.TrimFunc(line, func(r rune) bool { return r >= ' ' && r <= '~' }) != "" {
			return fmt.Sprintf("%q is not a line of printable ASCII; write it without its line end", line)
		}
		body, sum, ok := strings.Cut(strings.TrimPrefix(line, "$"), "*")
		if !ok || !strings.HasPrefix(line, "$") {
			continue
		}
		want := byte(0)
		for i := range len(body) {
			want ^= body[i]
		}
		if got, err := strconv.ParseUint(sum, 16, 8); err != nil || len(sum) != 2 || byte(got) != want {
			return fmt.Sprintf("%q has a wrong checksum, the receiver would ignore it; write it as %q", line, fmt.Sprintf("$%s*%02X", body, want))
		}
	}
	return ""
}

func checkFields(fields []string) string {
	if len(fields) == 0 {
		return "is empty; name at least one field, or leave it out"
	}
	for i, f := range fields {
		if !slices.Contains(recordFields, f) {
			if near := nearest(f, recordFields); near != "" {
				return fmt.Sprintf("%q is not a field of a record; did you mean %q?", f, near)
			}
			return fmt.Sprintf("%q is not a field of a record; the fields are %s", f, strings.Join(recordFields, " "))
		}
		if slices.Contains(fields[:i], f) {
			return fmt.Sprintf("%q is there twice; readers need columns of different names", f)
		}
	}
	return ""
}

func checkPath(s string) string {
	switch {
	case strings.ContainsRune(s, 0):
		return fmt.Sprintf("%q has a NUL in it; write a path", s)
	case !filepath.IsAbs(s):
		return fmt.Sprintf("%q is not a whole path; begin it with /, the daemon has no working directory of yours", s)
	case filepath.Clean(s) == "/":
		return fmt.Sprintf("%q is the root directory; name a file or directory below it", s)
	}
	return ""
}

func checkSocket(s string) string {
	// sun_path of struct sockaddr_un holds 108 bytes with the NUL at the end (unix(7)).
	if len(s) > 107 {
		return fmt.Sprintf("the path has %d bytes; a socket's path has at most 107", len(s))
	}
	return checkPath(s)
}

// minBufferBytes is four segments of 1 MiB: one being written, one being delivered, and room between.
const minBufferBytes = 4 << 20

func checkMaxBytes(n int64) string {
	if n < minBufferBytes {
		return fmt.Sprintf("%s is too small; write at least %s", strings.Trim(formatSize(n), `"`), formatSize(minBufferBytes))
	}
	return ""
}

// stream is the pattern of DeliveryStreamName in the API reference of Amazon Data Firehose.
var stream = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

func checkStream(s string) string {
	switch {
	case s == "":
		return "is empty; write the stream's name"
	case strings.HasPrefix(s, "arn:"):
		return fmt.Sprintf("%q is an ARN; write the name only: %q", s, s[strings.LastIndexByte(s, '/')+1:])
	case !stream.MatchString(s):
		return fmt.Sprintf("%q is not a stream name; write 1 to 64 of a-z A-Z 0-9 _ . -", s)
	}
	return ""
}

func checkEndpoint(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not a URL; write it like \"http://127.0.0.1:4573\"", s)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Sprintf("%q is not an http or https URL; write it like \"http://127.0.0.1:4573\"", s)
	case u.User != nil:
		return "has a user name or password in it; take it out, credentials come from uplink.credentials"
	case u.Hostname() == "":
		return fmt.Sprintf("%q has no host; write it like \"http://127.0.0.1:4573\"", s)
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return fmt.Sprintf("%q has more than scheme, host and path; cut it at the ? or #", s)
	}
	if problem := checkHostName(u.Hostname()); problem != "" {
		return fmt.Sprintf("%q %s", s, problem)
	}
	if port := u.Port(); port != "" {
		if problem := checkPortNumber(port); problem != "" {
			return fmt.Sprintf("%q %s", s, problem)
		}
	}
	return ""
}

// The patterns of roleAlias and thingName in the API reference of AWS IoT.
var (
	roleAlias = regexp.MustCompile(`^[\w=,@-]{1,128}$`)
	thingName = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)
)

func checkRoleAlias(s string) string {
	if !roleAlias.MatchString(s) {
		return fmt.Sprintf("%q is not a role alias; write 1 to 128 of A-Z a-z 0-9 _ = , @ -", s)
	}
	return ""
}

func checkThing(s string) string {
	if !thingName.MatchString(s) {
		return fmt.Sprintf("%q is not a thing name; write 1 to 128 of A-Z a-z 0-9 : _ -", s)
	}
	return ""
}
