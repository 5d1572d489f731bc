package doctor_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"obdagent/agent"
	"obdagent/agent/config"
	"obdagent/agent/doctor"
	"obdagent/agent/status"
	"obdagent/agent/uplink/firehosetest"
)

// TestADoctorAloneUsesTheCredentialsThatTheUnitWouldHandOver: without the daemon root's doctor reads the file itself, for the default chain and
// for uplink.credentials = "file"; what it may not read, or what is not there, is missing as ever.
func TestADoctorAloneUsesTheCredentialsThatTheUnitWouldHandOver(t *testing.T) {
	for _, name := range []string{"CREDENTIALS_DIRECTORY", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	server, err := firehosetest.New(firehosetest.Options{Addr: "127.0.0.1:0", Region: config.Default().Uplink.Region, Streams: []firehosetest.Stream{{Name: config.Default().Uplink.Stream}},
		Deliver:     func(_, _ string, _ []byte) error { return nil },
		Credentials: []firehosetest.Credentials{{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	keys := filepath.Join(dir, "credentials")
	if err := os.WriteFile(keys, []byte("[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalrXUtnFEMI\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		credentials, installed string
		want                   func(*doctor.Agent, status.Uplink) bool
	}{
		{config.CredentialsDefault, keys, func(_ *doctor.Agent, u status.Uplink) bool { return u.Delivered > 0 }},
		{config.CredentialsFile, keys, func(_ *doctor.Agent, u status.Uplink) bool { return u.Delivered > 0 }},
		{config.CredentialsDefault, keys + ".gone", func(_ *doctor.Agent, u status.Uplink) bool { return u.Cause == "credentials" && u.Delivered == 0 }},
		{config.CredentialsFile, keys + ".gone", func(d *doctor.Agent, _ status.Uplink) bool { return d.Refused != nil }},
	} {
		cfg := config.Default()
		cfg.Vehicle.DeviceID, cfg.OBD.Port, cfg.GPS.Source = "van", config.None, config.None
		cfg.Record.ParkedInterval, cfg.Uplink.Linger, cfg.Uplink.TimeWait = 50*time.Millisecond, 50*time.Millisecond, 0
		cfg.Buffer.Dir = filepath.Join(dir, "buffer")
		cfg.Uplink.Endpoint, cfg.Uplink.Credentials = server.URL(), c.credentials
		d, err := doctor.Alone(ctx, agent.Options{Config: &cfg, Version: "test", Installed: c.installed})
		if err != nil {
			t.Fatal(err)
		}
		end := time.NewTimer(time.Minute)
		look := time.NewTicker(10 * time.Millisecond)
		for met := false; !met; {
			s, err := d.Snapshot(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if met = c.want(d, s.Uplink); met {
				break
			}
			select {
			case <-look.C:
			case <-end.C:
				t.Errorf("credentials %q, installed %s: %+v, refused %v", c.credentials, c.installed, s.Uplink, d.Refused)
				met = true
			}
		}
		look.Stop()
		end.Stop()
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	}
}
