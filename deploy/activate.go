package deploy

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// A Runner runs a program of the board to its end.
type Runner func(ctx context.Context, program string, args ...string) error

// Run runs it for good. Its error is what the program said.
func Run(ctx context.Context, program string, args ...string) error {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	if said := strings.TrimSpace(string(out)); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
}

// A System is the one that runs here.
type System struct {
	init initSystem // empty: none that is known
	udev bool
	run  Runner
}

// Running looks at the system below a root ("/").
func Running(root string, run Runner) System {
	s := System{run: run}
	d, err := openDisk(root, nil)
	if err != nil {
		return s
	}
	defer d.close() //nolint:errcheck // it was only looked at
	switch {
	case d.isDir("/run/systemd/system"): // sd_booted(3)
		s.init, s.udev = systemd, d.exists("/run/udev/control")
	case d.exists("/sbin/procd") && d.isDir("/tmp/run"):
		s.init = procd
	}
	return s
}

// Start lets the system know what was installed, and starts it anew; a daemon that was disabled stays off. It returns what to
// tell the user.
func (s System) Start(ctx context.Context) (string, error) {
	switch s.init {
	case procd:
		return "started: obdagent status says how it is", s.run(ctx, "/etc/init.d/obdagent", "restart")
	case systemd:
	default:
		return "nothing starts it here: it starts with the next boot", nil
	}
	if err := s.run(ctx, "systemctl", "daemon-reload"); err != nil {
		return "", err
	}
	udev := s.reloadRules(ctx)
	if udev == nil && s.udev {
		// What is plugged in already gets its names, too.
		udev = s.run(ctx, "udevadm", "trigger", "--action=change", "--subsystem-match=usb", "--subsystem-match=usb-serial", "--subsystem-match=tty")
	}
	if s.run(ctx, "systemctl", "is-enabled", "--quiet", "obdagent.service") != nil {
		return "it is disabled: systemctl enable --now obdagent starts it", errors.Join(udev, s.run(ctx, "systemctl", "try-restart", "obdagent.service"))
	}
	seed := s.run(ctx, "systemctl", "start", "obdagent-seed.service")
	return "started: obdagent status says how it is", errors.Join(udev, seed, s.run(ctx, "systemctl", "restart", "obdagent.service"))
}

// Stop stops the daemon, so that what it uses can be taken away.
func (s System) Stop(ctx context.Context) error {
	switch s.init {
	case procd:
		return s.run(ctx, "/etc/init.d/obdagent", "stop")
	case systemd:
		return s.run(ctx, "systemctl", "stop", "obdagent.service", "obdagent-seed.service")
	}
	return nil
}

// Forget lets the system know that what was installed is gone.
func (s System) Forget(ctx context.Context) error {
	if s.init != systemd {
		return nil
	}
	return errors.Join(s.run(ctx, "systemctl", "daemon-reload"), s.reloadRules(ctx))
}

func (s System) reloadRules(ctx context.Context) error {
	if !s.udev { // as in a container
		return nil
	}
	return s.run(ctx, "udevadm", "control", "--reload")
}
