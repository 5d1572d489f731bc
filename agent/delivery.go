package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"obdagent/agent/clock"
	"obdagent/agent/config"
	"obdagent/agent/record"
	"obdagent/agent/uplink"
	"obdagent/buffer"
)

func (a *Agent) newUplink(ctx context.Context) (*uplink.Uplink, error) {
	var err error
	if a.encode, err = a.newEncoder(); err != nil {
		return nil, err
	}
	u := &a.cfg.Uplink
	var sink uplink.Sink
	switch u.Kind {
	case config.KindDirectory:
		extension := ""
		if u.Compression == config.CompressionGzip {
			extension = ".gz"
		}
		sink, err = uplink.NewDirectory(uplink.DirectoryOptions{Path: u.Path, Stream: u.Stream, Extension: extension, Now: a.now})
	case config.KindFirehose:
		var o uplink.StreamOptions
		if o, err = a.streamOptions(); err == nil {
			sink, err = uplink.NewFirehose(ctx, o)
		}
	case config.KindKinesis:
		var o uplink.StreamOptions
		if o, err = a.streamOptions(); err == nil {
			sink, err = uplink.NewKinesis(ctx, uplink.KinesisOptions{StreamOptions: o, PartitionKey: a.partitionKey})
		}
	default:
		err = fmt.Errorf("uplink.kind %q is unknown: use firehose, kinesis or directory", u.Kind)
	}
	if err != nil {
		return nil, err
	}
	return uplink.New(a.buffer, uplink.Options{
		Encoder:    a.encode,
		Sink:       sink,
		Linger:     u.Linger,
		Pack:       u.Pack,
		Gzip:       u.Compression == config.CompressionGzip,
		LiveFirst:  u.Order == config.OrderLiveFirst,
		DailyBytes: u.DailyBytes,
		Today: func() (time.Time, bool) {
			t, src := a.clock.Now()
			return t, src != clock.None
		},
		StateFile: filepath.Join(a.cfg.Buffer.Dir, "uplink.json"),
		Aside:     a.setAside,
		Pulse:     a.pulses.uplink.patient,
		OnState: func(c uplink.StateChange) {
			a.transition("uplink", string(c.From), string(c.To), c.Reason)
		},
		Log: a.log.With("part", "uplink"),
	})
}

// partitionKey is the VIN that is known now, else the device's name: a vehicle's records share a shard, which keeps their order.
func (a *Agent) partitionKey() string {
	if car := a.car.now(); car != nil {
		if vin := car.Status().Vehicle.VIN; vin != "" {
			return vin
		}
	}
	if vin := a.inForce.Load().Vehicle.VIN; vin != "" {
		return vin
	}
	return a.deviceID
}

// watchLink tells the uplink when the van got another way to the net. Where the kernel does not let us listen, dead connections are found
// out by their deadlines.
func (a *Agent) watchLink(ctx context.Context) error {
	if err := uplink.WatchLink(ctx, a.uplink.LinkChanged); err != nil {
		a.log.Info("changes of the link are not noticed", "err", err)
	}
	return nil
}

// streamOptions says which stream of AWS is written to, and with whose credentials.
func (a *Agent) streamOptions() (uplink.StreamOptions, error) {
	u := &a.cfg.Uplink
	o := uplink.StreamOptions{
		Stream: u.Stream, Region: u.Region, Endpoint: u.Endpoint, Linger: u.Linger, Now: a.now,
		SessionFile: filepath.Join(a.cfg.Buffer.Dir, "tls-sessions"),
		Log:         a.log.With("part", "uplink"),
	}
	switch {
	case a.opts.Credentials != nil:
		o.Credentials = a.opts.Credentials
	case u.Credentials == config.CredentialsFile:
		o.CredentialsFile = u.CredentialsFile
		if dir := os.Getenv("CREDENTIALS_DIRECTORY"); o.CredentialsFile == "" && dir != "" { // systemd.exec(5), LoadCredential=
			o.CredentialsFile = filepath.Join(dir, uplink.CredentialsFileName)
		}
		if o.CredentialsFile == "" {
			o.CredentialsFile = a.installed()
		}
		if o.CredentialsFile == "" {
			return o, fmt.Errorf("uplink.credentials = \"file\": there is no credential directory: put LoadCredential=%s:PATH into the unit, or name the file in uplink.credentials_file", uplink.CredentialsFileName)
		}
	case u.Credentials == config.CredentialsIoT:
		o.IoT = &uplink.IoTOptions{Endpoint: u.IoT.Endpoint, RoleAlias: u.IoT.RoleAlias, Thing: u.IoT.Thing}
		o.IoT.Cert, o.IoT.Key = identityFiles(u.IoT, os.Getenv("CREDENTIALS_DIRECTORY"))
	case os.Getenv("AWS_SHARED_CREDENTIALS_FILE") == "":
		o.SharedCredentials = a.installed()
	}
	return o, nil
}

// installed is Options.Installed where it is for this process to read; else empty.
func (a *Agent) installed() string {
	if a.opts.Installed == "" || os.Getenv("CREDENTIALS_DIRECTORY") != "" {
		return ""
	}
	f, err := os.Open(a.opts.Installed)
	if err != nil {
		return "" // not there, or another user's: then they are missing
	}
	f.Close() //nolint:errcheck // it was only tried
	return a.opts.Installed
}

// identityFiles are the device's certificate and key. Where they are installed they are root's alone; the systemd unit hands the daemon,
// which is nobody in particular, copies in its credential directory (systemd.exec(5), LoadCredential=): cert and key.
func identityFiles(i config.IoT, credentials string) (cert, key string) {
	if credentials == "" || i.Cert != config.DeviceCert || i.Key != config.DeviceKey {
		return i.Cert, i.Key
	}
	cert, key = filepath.Join(credentials, "cert"), filepath.Join(credentials, "key")
	for _, file := range []string{cert, key} {
		// A # is what the unit hands over where nothing is installed: what is missing is then named as it is in the configuration.
		if text, err := os.ReadFile(file); err != nil || string(bytes.TrimSpace(text)) == "#" {
			return i.Cert, i.Key
		}
	}
	return cert, key
}

// encoder makes wire lines of stored records, and dates those that were made before the time was known.
type encoder struct {
	clock    *clock.Clock
	started  time.Duration // boottime of the agent's start
	timeWait atomic.Int64  // ns
	bootID   string
	text     *record.TextFormat // nil: JSON
}

func (a *Agent) newEncoder() (*encoder, error) {
	e := &encoder{clock: a.clock, started: a.started, bootID: a.clock.Status().BootID}
	e.timeWait.Store(int64(a.cfg.Uplink.TimeWait))
	if a.cfg.Record.Format == config.FormatText {
		t, err := record.NewTextFormat(a.cfg.Record.Fields)
		if err != nil {
			return nil, fmt.Errorf("record.fields: %w", err)
		}
		e.text = &t
	}
	return e, nil
}

// Encode implements uplink.Encoder.
func (e *encoder) Encode(dst []byte, seq uint64, stored []byte, lost []buffer.Lost) ([]byte, error) {
	r, err := record.Parse(stored)
	if err != nil {
		return dst, err
	}
	r.Seq = seq // stored is the same, but for a record that was made while the buffer's directory could not be opened
	if r.Time.IsZero() {
		at := time.Duration(r.MonoMS) * time.Millisecond
		t, src, final := e.clock.Date(r.BootID, at, r.System)
		// A record waits from when it was made, or from when this process began to look, whichever is later.
		if !final && clock.Boottime()-max(at, e.started) < time.Duration(e.timeWait.Load()) {
			return dst, uplink.ErrHold
		}
		r.Time, r.TimeSrc = t, src
	}
	for _, l := range lost {
		r.Lost = append(r.Lost, record.Lost{From: l.From, To: l.To, Reason: l.Reason})
	}
	if e.text != nil {
		return e.text.Append(dst, &r), nil
	}
	return r.AppendJSON(dst), nil
}
