package deploy_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"obdagent/deploy"
)

// recorder writes down what is run; what a name in failing begins with, fails.
func recorder(log *[]string, failing ...string) deploy.Runner {
	return func(_ context.Context, program string, args ...string) error {
		line := strings.Join(append([]string{program}, args...), " ")
		*log = append(*log, line)
		for _, f := range failing {
			if strings.HasPrefix(line, f) {
				return errors.New(line + " failed")
			}
		}
		return nil
	}
}

func TestWhatIsRunAfterInstalling(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		running []string // what is there on a system that runs
		root    func(*testing.T) string
		failing []string
		want    string
		says    string
		fails   bool
	}{
		"systemd with udev": {[]string{"run/systemd/system/x", "run/udev/control"}, systemdRoot, nil,
			"systemctl daemon-reload; udevadm control --reload; udevadm trigger --action=change --subsystem-match=usb --subsystem-match=usb-serial --subsystem-match=tty; " +
				"systemctl is-enabled --quiet obdagent.service; systemctl start obdagent-seed.service; systemctl restart obdagent.service", "started", false},
		"a container": {[]string{"run/systemd/system/x"}, systemdRoot, nil,
			"systemctl daemon-reload; systemctl is-enabled --quiet obdagent.service; systemctl start obdagent-seed.service; systemctl restart obdagent.service", "started", false},
		"disabled": {[]string{"run/systemd/system/x"}, systemdRoot, []string{"systemctl is-enabled"},
			"systemctl daemon-reload; systemctl is-enabled --quiet obdagent.service; systemctl try-restart obdagent.service", "it is disabled", false},
		// The daemon records with what it has.
		"a bad seed": {[]string{"run/systemd/system/x"}, systemdRoot, []string{"systemctl start obdagent-seed"},
			"systemctl daemon-reload; systemctl is-enabled --quiet obdagent.service; systemctl start obdagent-seed.service; systemctl restart obdagent.service", "started", true},
		"OpenWrt":       {[]string{"tmp/run/x"}, procdRoot, nil, "/etc/init.d/obdagent restart", "started", false},
		"nothing known": {nil, systemdRoot, nil, "", "nothing starts it here", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := test.root(t)
			for _, file := range test.running {
				put(t, filepath.Join(root, file), "")
			}
			var log []string
			said, err := deploy.Running(root, recorder(&log, test.failing...)).Start(t.Context())
			if got := strings.Join(log, "; "); got != test.want || !strings.HasPrefix(said, test.says) || (err != nil) != test.fails {
				t.Errorf("ran %s\nwant %s\nsaid %q, %v", got, test.want, said, err)
			}
		})
	}
}

func TestWhatIsRunAroundUninstalling(t *testing.T) {
	t.Parallel()
	root := systemdRoot(t)
	put(t, filepath.Join(root, "run/systemd/system/x"), "")
	put(t, filepath.Join(root, "run/udev/control"), "")
	var log []string
	s := deploy.Running(root, recorder(&log))
	if err := errors.Join(s.Stop(t.Context()), s.Forget(t.Context())); err != nil {
		t.Fatal(err)
	}
	const want = "systemctl stop obdagent.service obdagent-seed.service; systemctl daemon-reload; udevadm control --reload"
	if got := strings.Join(log, "; "); got != want {
		t.Errorf("ran %s\nwant %s", got, want)
	}
	if err := errors.Join(deploy.System{}.Stop(t.Context()), deploy.System{}.Forget(t.Context())); err != nil {
		t.Errorf("where nothing runs: %v", err)
	}
}

func TestARunnerTellsWhatTheProgramSaid(t *testing.T) {
	t.Parallel()
	err := deploy.Run(t.Context(), "sh", "-c", "echo no such unit >&2; exit 5")
	if err == nil || !strings.Contains(err.Error(), "exit status 5: no such unit") {
		t.Errorf("said %v", err)
	}
	if err := deploy.Run(t.Context(), "true"); err != nil {
		t.Error(err)
	}
}
