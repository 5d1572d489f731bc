package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"obdagent/agent/record"
)

// DefaultPath is where the daemon looks for its configuration when it is not told otherwise.
const DefaultPath = "/etc/obdagent/config.toml"

// pathVariable names the file; it is the only OBDAGENT_* variable that is not a key.
const pathVariable = "OBDAGENT_CONFIG"

// maxFileBytes bounds what is read of a file: a hundred times the sample with all its comments.
const maxFileBytes = 256 << 10

// A Config is the whole configuration. It is made by Default, Load or Parse and is read-only from then on.
type Config struct {
	Vehicle Vehicle
	OBD     OBD
	GPS     GPS
	Record  Record
	Buffer  Buffer
	Uplink  Uplink
	Status  Status

	origins  map[string]Origin // by key; absent: default
	warnings []string
}

// Vehicle is the section [vehicle]: what the car does not tell of itself.
type Vehicle struct {
	VIN           string  // 17 characters, upper case (ISO 3779), or empty; used when the car does not tell its own
	DeviceID      string  // [A-Za-z0-9._:-]{1,64}, or empty: derived from /etc/machine-id
	Fuel          string  // one of the Fuel constants, or empty: what the car says
	DisplacementL float64 // engine displacement in litres; 0: unknown
}

// OBD is the section [obd]: the adapter and what is asked of the car.
type OBD struct {
	Port    string                   // absolute device path, tcp://host:port, Auto or None
	Baud    int                      // bit/s; 0: probe
	MaxRate float64                  // requests a second, at most; above 0.1, at most 100
	Period  map[string]time.Duration // by signal name; a signal that is not asked is absent; speed is always asked
	PID     []PID                    // the user's own PIDs, in the order of the file
}

// GPS is the section [gps].
type GPS struct {
	Source string   // absolute device path, tcp://host:port, udp://[host]:port, file:path, gpsd://host[:port], Auto or None
	Baud   int      // bit/s; 0: probe
	Init   []string // lines written to the receiver after each opening, without line end
}

// Record is the section [record]: how often a record is made and how it looks on the wire.
type Record struct {
	Interval       time.Duration // while moving; 40 ms..1 h
	ParkedInterval time.Duration // at standstill; Interval..24 h
	Format         string        // FormatText or FormatJSON
	Fields         []string      // columns of FormatText, in order; at least one, none twice
	Curve          *Curve        // nil: every record is kept
}

// Curve is the section [record.curve]: only the records are kept that are needed to redraw the drive within these bounds.
type Curve struct {
	PositionM float64 // metres
	SpeedKmh  float64 // km/h
}

// Buffer is the section [buffer]: the records on disk.
type Buffer struct {
	Dir      string        // absolute path
	MaxBytes int64         // on disk; at least 4 MiB
	Sync     time.Duration // longest time between commits, that is what a power cut costs at most; 50 ms..60 s
	Overflow string        // one of the Overflow constants
}

// Uplink is the section [uplink]: where the records go.
type Uplink struct {
	Kind            string        // one of the Kind constants
	Stream          string        // [a-zA-Z0-9_.-]{1,64}
	Region          string        // AWS region name
	Endpoint        string        // http or https URL of a look-alike; empty: AWS
	Linger          time.Duration // how long a record may wait for company; 0..1 h
	Order           string        // OrderLiveFirst or OrderFIFO
	TimeWait        time.Duration // how long a record without a date waits for the clock; 0..24 h
	DailyBytes      int64         // bytes a day on the wire; 0: no budget
	Pack            bool          // join lines into few Firehose records
	Compression     string        // CompressionNone or CompressionGzip
	Credentials     string        // one of the Credentials constants
	CredentialsFile string        // absolute path, or empty: systemd's credential directory
	Path            string        // absolute path of the directory for KindDirectory
	IoT             IoT
}

// IoT is the section [uplink.iot]: the AWS IoT credential provider and the device's certificate.
type IoT struct {
	Endpoint  string // host name of the credential provider
	RoleAlias string // [\w=,@-]{1,128}
	Thing     string // [a-zA-Z0-9:_-]{1,128}, or empty
	Cert      string // absolute path of the device's certificate, PEM
	Key       string // absolute path of its private key, PEM
}

// Status is the section [status]: what the agent tells on the spot.
type Status struct {
	Log          string // absolute path, or empty: none
	Socket       string // absolute path of at most 107 bytes, or empty: none
	Listen       string // host:port of the page and /metrics, or empty: off
	PagePosition bool   // whether the page shows where the vehicle is
}

// Words of obd.port and gps.source that are not addresses.
const (
	Auto = "auto" // the one serial port that answers
	None = "none" // there is no such source
)

// Values of vehicle.fuel.
const (
	FuelPetrol = "petrol"
	FuelDiesel = "diesel"
	FuelE85    = "e85"
	FuelLPG    = "lpg"
	FuelCNG    = "cng"
)

// Values of record.format.
const (
	FormatText = "text" // columns with one space between
	FormatJSON = "json" // one JSON object a line
)

// Values of buffer.overflow.
const (
	OverflowDropOldest = "drop-oldest" // the oldest segment goes
	OverflowDropNewest = "drop-newest" // new records are refused
	OverflowThin       = "thin"        // the oldest are thinned
)

// Values of uplink.kind.
const (
	KindFirehose  = "firehose"
	KindDirectory = "directory"
	KindKinesis   = "kinesis"
)

// Values of uplink.order.
const (
	OrderLiveFirst = "live-first" // new records first, the backlog behind them
	OrderFIFO      = "fifo"       // oldest first
)

// Values of uplink.compression.
const (
	CompressionNone = "none"
	CompressionGzip = "gzip"
)

// Values of uplink.credentials.
const (
	CredentialsDefault = "default" // the AWS SDK's chain
	CredentialsFile    = "file"    // uplink.credentials_file
	CredentialsIoT     = "iot"     // [uplink.iot]
)

// Where a board keeps its certificate and key, and its AWS keys: obdagent provision installs them there, and obdagent.service hands copies of
// them to the daemon.
const (
	DeviceCert = "/etc/obdagent/cert.pem"
	DeviceKey  = "/etc/obdagent/key.pem"

	DeviceCredentials = "/etc/obdagent/credentials"
)

// Default returns the configuration of an empty file.
func Default() Config {
	return Config{
		OBD: OBD{
			Port: Auto,
			// What one ELM327 on a slow bus (ISO 9141-2, about 8 requests a second) answers with time left for speed.
			MaxRate: 20,
			Period:  defaultPeriods(),
		},
		GPS: GPS{Source: Auto},
		Record: Record{
			Interval:       time.Second,
			ParkedInterval: time.Minute,
			Format:         FormatText,
			Fields:         record.ContractFields(),
		},
		Buffer: Buffer{
			Dir:      "/var/lib/obdagent/buffer",
			MaxBytes: 512 << 20,
			Sync:     time.Second,
			Overflow: OverflowDropOldest,
		},
		Uplink: Uplink{
			Kind:        KindFirehose,
			Stream:      "gps-delivery-stream",
			Region:      "us-east-1",
			Linger:      time.Minute,
			Order:       OrderLiveFirst,
			TimeWait:    5 * time.Minute,
			Pack:        true,
			Compression: CompressionNone,
			Credentials: CredentialsDefault,
		},
		Status: Status{
			Log:    "/var/log/obdagent/status.log",
			Socket: "/run/obdagent/status.sock",
		},
	}
}

// Find returns the path to give to Load: named (the --config flag) if it is not empty, else OBDAGENT_CONFIG, else DefaultPath
// if there is such a file, else "".
func Find(named string, environ []string) string {
	if named != "" {
		return named
	}
	if path := lookup(environ, pathVariable); path != "" {
		return path
	}
	if _, err := os.Stat(DefaultPath); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return DefaultPath
	}
	return ""
}

// Load reads the file at path, then the OBDAGENT_* variables of environ (as os.Environ returns them). Where path is empty,
// OBDAGENT_CONFIG names the file; where that is not set either, there is none. A file that was named and cannot be read is an
// error, which wraps that of the os package; problems of the content are Errors.
func Load(path string, environ []string) (*Config, error) {
	if path == "" {
		path = lookup(environ, pathVariable)
	}
	if path == "" {
		return Parse("", nil, environ)
	}
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text, environ)
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read config: %w; write one with: obdagent config init", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("read config: %w; let everybody read it, it holds no secret: chmod 644 %s", err, path)
	}
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	defer f.Close() // nothing was written: an error of Close says nothing about what was read
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return text, nil
}

// Parse makes a Config of the text of a file, which messages call name, and of the OBDAGENT_* variables of environ. Its error
// is of type Errors.
func Parse(name string, text []byte, environ []string) (*Config, error) {
	c := Default()
	b := builder{config: &c, file: name, origins: make(map[string]Origin)}
	if b.readFile(text) {
		b.readEnviron(environ)
		c.origins = b.origins
		b.checkTogether()
	}
	if len(b.errors) > 0 {
		b.errors.sort()
		return nil, b.errors
	}
	b.warn()
	return &c, nil
}

// Warnings returns what is valid and yet probably not meant, one line each, in a fixed order.
func (c *Config) Warnings() []string { return c.warnings }

// A builder fills one Config and gathers what is wrong on the way.
type builder struct {
	config  *Config
	file    string
	origins map[string]Origin // of the keys that were set, well or badly
	refused map[string]bool   // keys whose value was refused: not judged a second time
	errors  Errors
}

// set gives a key its value. raw is a TOML value (see tomlValue); column is that of the key in its line, 0 if it has none.
func (b *builder) set(k *key, raw any, from Origin, column int) {
	b.origins[k.name] = from
	delete(b.refused, k.name) // what was said of the file's value is not said of the variable's
	if k.kind.takes(raw) {
		column = 0 // the type is right and the value wrong: the line is place enough
	}
	if problem := k.set(b.config, raw); problem != "" {
		b.refuseAt(k.name, problem, column)
	}
}

// refuse reports a problem at the line or variable where key was set.
func (b *builder) refuse(key, problem string) { b.refuseAt(key, problem, 0) }

func (b *builder) refuseAt(key, problem string, column int) {
	if b.refused[key] {
		return
	}
	if b.refused == nil {
		b.refused = make(map[string]bool)
	}
	b.refused[key] = true
	e := b.origins[key].problem(key, problem)
	e.Column = column
	b.errors = append(b.errors, e)
}
