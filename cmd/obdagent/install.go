package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"obdagent/agent/config"
	"obdagent/cmd/internal/cli"
	"obdagent/deploy"
)

func installCommand() *cobra.Command {
	var root, program string
	var filesOnly bool
	c := &cobra.Command{
		Use:   "install",
		Short: "Put the daemon onto this system, or onto a mounted image",
		Long: `install puts this program, its systemd units (on OpenWrt: its init script), the udev rules and a configuration onto a system,
so that the daemon starts with every boot. On the running system it starts it at once.

With --root it does the same to an image that is mounted there, also one for another processor: --binary names the program for
that. Every board that is flashed from the image makes its own identity from its own machine id, and takes over what lies on its
boot partition (obdagent provision --help).

It can be done again at any time, and brings a newer version where an older one is: the configuration, the records and a unit
that was disabled stay as they are. What it puts there is in /usr/lib/obdagent/installed.json, and obdagent uninstall takes away
just that.`,
		Example: `  obdagent install
  obdagent install --root /mnt --binary dist/linux-arm64/obdagent`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needRoot(); err != nil {
				return err
			}
			if program == "" {
				own, err := os.Executable()
				if err != nil {
					return cli.Failure{Err: fmt.Errorf("find this program: %w; name it with --binary", err)}
				}
				program = own
			}
			changes, err := deploy.Install(deploy.InstallOptions{Root: root, Program: program})
			err = errors.Join(err, printChanges(c.OutOrStdout(), changes))
			if err != nil {
				return cli.Failure{Err: err}
			}
			return installed(c, root, filesOnly)
		},
	}
	addRootFlag(c, &root)
	c.Flags().StringVar(&program, "binary", "", "the program to install (default: this one)")
	c.Flags().BoolVar(&filesOnly, "no-start", false, "do not start it now")
	return c
}

// installed starts the daemon, or says what comes next.
func installed(c *cobra.Command, root string, filesOnly bool) error {
	said := fmt.Sprintf("%s: it starts with the next boot", root)
	if isRunningRoot(root) && !filesOnly {
		var err error
		if said, err = deploy.Running(root, deploy.Run).Start(c.Context()); err != nil {
			return cli.Failure{Err: err}
		}
	}
	if !isRunningRoot(root) && deploy.MachineIDSet(root) {
		id := filepath.Join(root, "etc/machine-id")
		said += fmt.Sprintf("\nwarning: %s is set: all boards flashed from this image would have one identity; empty it with: truncate -s 0 %s", id, id)
	}
	return say(c.OutOrStdout(), said)
}

func uninstallCommand() *cobra.Command {
	var root string
	var purge bool
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Take away what install put there",
		Long: `uninstall stops the daemon and takes away what obdagent install put there, and nothing else: what was changed since stays, as
do configuration, records and logs, and the udev rule that obdagent detect wrote. --purge removes those too; records that were not
delivered are lost with them.`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needRoot(); err != nil {
				return err
			}
			return uninstall(c, deploy.UninstallOptions{Root: root, Purge: purge})
		},
	}
	addRootFlag(c, &root)
	c.Flags().BoolVar(&purge, "purge", false, "remove configuration, credentials, records and logs too")
	return c
}

func uninstall(c *cobra.Command, o deploy.UninstallOptions) error {
	var system deploy.System // none
	if isRunningRoot(o.Root) && deploy.Installed(o.Root) {
		system = deploy.Running(o.Root, deploy.Run)
	}
	o.Stop = func() error { return system.Stop(c.Context()) }
	changes, err := deploy.Uninstall(o)
	// Also after a failure: what is gone is gone. The signal that ended the rest must not end this.
	err = errors.Join(err, system.Forget(context.WithoutCancel(c.Context())), printChanges(c.OutOrStdout(), changes))
	if err != nil {
		return cli.Failure{Err: err}
	}
	if len(changes) == 0 {
		return say(c.OutOrStdout(), o.Root+": obdagent install has put nothing there")
	}
	return nil
}

func provisionCommand() *cobra.Command {
	var root string
	c := &cobra.Command{
		Use:   "provision",
		Short: "Take over what the boot partition holds for this board",
		Long: `provision looks on the boot partition (` + strings.Join(deploy.BootDirs, ", ") + `) for what makes a board of a common image this van's own:

  obdagent.toml          its configuration            -> /etc/obdagent/config.toml
  obdagent-cert.pem      its certificate (PEM)        -> /etc/obdagent/cert.pem, mode 0600
  obdagent-key.pem       the private key to it (PEM)  -> /etc/obdagent/key.pem, mode 0600
  obdagent-credentials   AWS keys, as ~/.aws/credentials -> /etc/obdagent/credentials, mode 0600

Each is optional. What is there is checked as a whole, installed, and erased from the boot partition. What is wrong stays there,
with the reason beside it in obdagent-error.txt, and nothing is changed. The systemd unit obdagent-seed runs this before the
daemon at each boot at which there is something to take over.

Exit status: 0 taken over, or nothing there; 1 refused.`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needRoot(); err != nil {
				return err
			}
			changes, err := deploy.TakeSeed(deploy.SeedOptions{Root: root, Config: func(name string, text []byte) error {
				_, err := config.Parse(name, text, nil)
				return err
			}})
			if err = errors.Join(err, printChanges(c.OutOrStdout(), changes)); err != nil {
				return cli.Failure{Err: err}
			}
			return nil
		},
	}
	addRootFlag(c, &root)
	return c
}

func addRootFlag(c *cobra.Command, root *string) {
	c.Flags().StringVar(root, "root", "/", "the directory at which the image's root partition is mounted")
}

func isRunningRoot(root string) bool { return filepath.Clean(root) == "/" }

// needRoot refuses to go on as somebody else: files would be theirs, and so would be the daemon.
func needRoot() error {
	if os.Geteuid() != 0 {
		return cli.Failure{Err: errors.New("only root may do this: try it with sudo")}
	}
	return nil
}

func printChanges(w io.Writer, changes []deploy.Change) error {
	for _, change := range changes {
		if err := say(w, change.Path+": "+change.What); err != nil {
			return err
		}
	}
	return nil
}

func say(w io.Writer, text string) error {
	if _, err := fmt.Fprintln(w, text); err != nil {
		return cli.Failure{Err: fmt.Errorf("print what was done: %w", err)}
	}
	return nil
}
