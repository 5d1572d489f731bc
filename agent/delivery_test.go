package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obdagent/agent/config"
	"obdagent/agent/status"
	"obdagent/agent/uplink"
	"obdagent/agent/uplink/firehosetest"
	"obdagent/gps/nmeasim"
)

// The keys that systemd hands over are looked for in its directory, told of when they are missing, and used once they are there; what delivery
// has cost is in the snapshot.
func TestKeysOfSystemdsDirectoryAreUsedOnceTheyAreThere(t *testing.T) {
	keys := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", keys)
	server, err := firehosetest.New(firehosetest.Options{Addr: "127.0.0.1:0", Region: config.Default().Uplink.Region, Streams: []firehosetest.Stream{{Name: config.Default().Uplink.Stream}},
		Credentials: []firehosetest.Credentials{{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI", SessionToken: "session"}}})
	if err != nil {
		t.Fatal(err)
	}
	background(t, server.Run)
	r := newRig(t)
	r.cfg.Uplink.Kind, r.cfg.Uplink.Endpoint, r.cfg.Uplink.Credentials = config.KindFirehose, server.URL(), config.CredentialsFile
	r.cfg.Record.Interval, r.cfg.Record.ParkedInterval = 200*time.Millisecond, 200*time.Millisecond
	r.opts.DrainOnStop = 0
	sky := r.plug()
	r.start()
	epoch := time.Now().UTC().Truncate(200 * time.Millisecond)
	drive := func(what string, ok func(status.Uplink) bool) (u status.Uplink) {
		await(t, what, func() bool {
			if now := time.Now(); !now.Before(epoch) {
				if _, err := sky.Write(nmeasim.AppendEpoch(nil, epoch, nmeasim.State{Fix: true, Lat: 48, Lon: 11, Alt: 500, Speed: 10, Sats: 9})); err != nil {
					t.Fatal(err)
				}
				epoch = epoch.Add(200 * time.Millisecond)
			}
			u = r.agent.Snapshot().Uplink
			return ok(u)
		}, func() string { return fmt.Sprintf("%+v", u) })
		return u
	}
	// A call is counted before what it means is said.
	refused := func(u status.Uplink) bool { return u.Failed > 0 && u.State == string(uplink.StateRefused) }
	if u := drive("a call that fails", refused); !strings.Contains(u.Reason, filepath.Join(keys, uplink.CredentialsFileName)) || u.NextTry == nil {
		t.Errorf("without keys: %+v", u)
	}
	if err := os.WriteFile(filepath.Join(keys, uplink.CredentialsFileName), []byte("aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalrXUtnFEMI\naws_session_token = session\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u := drive("delivery", func(u status.Uplink) bool { return u.DayRecords > 0 && u.State == string(uplink.StateOK) })
	if u.Delivered == 0 || u.Entries == 0 || u.BilledBytes < u.Entries*uplink.BillingStep || u.BilledBytes%uplink.BillingStep != 0 || u.LineBytes == 0 || u.PayloadBytes != u.LineBytes {
		t.Errorf("what was delivered: %+v", u)
	}
	if u.DayUpBytes == 0 || u.DayDownBytes == 0 || u.DayBytes != u.DayUpBytes+u.DayDownBytes || u.DayBilledBytes == 0 || u.Day == "" {
		t.Errorf("what the day has cost: %+v", u)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(r.cfg.Status.Log)
	if err != nil || strings.Contains(string(log), "wJalrXUtnFEMI") {
		t.Errorf("the status log, %v: %s", err, log)
	}
}

// The certificate and key that obdagent provision installs are root's: the daemon takes the copies that the unit hands it, if it has any.
func TestTheIdentityThatSystemdHandsOverIsUsed(t *testing.T) {
	handed := t.TempDir()
	const mine = "-----BEGIN CERTIFICATE-----\n"
	for name, test := range map[string]struct {
		directory string
		files     map[string]string
		cert      string
		want      bool
	}{
		"handed over":                    {handed, map[string]string{"cert": mine, "key": mine}, config.DeviceCert, true},
		"OpenWrt: nothing hands over":    {"", map[string]string{"cert": mine, "key": mine}, config.DeviceCert, false},
		"nothing was installed":          {handed, map[string]string{"cert": "#", "key": "#"}, config.DeviceCert, false},
		"the key was not installed":      {handed, map[string]string{"cert": mine, "key": "#"}, config.DeviceCert, false},
		"a unit that hands over no key":  {handed, map[string]string{"cert": mine}, config.DeviceCert, false},
		"the configuration names others": {handed, map[string]string{"cert": mine, "key": mine}, "/srv/own/cert.pem", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", test.directory)
			for _, file := range []string{"cert", "key"} {
				path := filepath.Join(handed, file)
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				if text, ok := test.files[file]; ok {
					if err := os.WriteFile(path, []byte(text), 0o400); err != nil {
						t.Fatal(err)
					}
				}
			}
			r := newRig(t)
			r.cfg.Uplink.Kind, r.cfg.Uplink.Credentials = config.KindFirehose, config.CredentialsIoT
			r.cfg.Uplink.IoT = config.IoT{Endpoint: "provider.example.org", RoleAlias: "obdagent", Thing: "van-212", Cert: test.cert, Key: config.DeviceKey}
			r.start()
			o, err := r.agent.StreamOptions()
			if err != nil {
				t.Fatal(err)
			}
			want := uplink.IoTOptions{Endpoint: "provider.example.org", RoleAlias: "obdagent", Thing: "van-212", Cert: test.cert, Key: config.DeviceKey}
			if test.want {
				want.Cert, want.Key = filepath.Join(handed, "cert"), filepath.Join(handed, "key")
			}
			if *o.IoT != want {
				t.Errorf("the stream is opened with %+v, want %+v", *o.IoT, want)
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
