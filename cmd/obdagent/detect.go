package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"obdagent/agent/config"
	"obdagent/agent/doctor"
	"obdagent/agent/status"
	"obdagent/cmd/internal/cli"
)

// detectFlags are what the command was told.
type detectFlags struct {
	config, rules string
	json, write   bool
}

func detectCommand() *cobra.Command {
	f := detectFlags{rules: doctor.RulesFile}
	c := &cobra.Command{
		Use:   "detect [PORT...]",
		Short: "Say what is on each serial port, and write it into the configuration",
		Long: `detect looks at every serial port, or at those that are named, and says what answers there: a GPS receiver, an ELM327 adapter, or
nothing that it knows. A port is first listened to; only one that is silent is asked whether it is an adapter. Nothing is written to a
receiver, and nothing is put to the car's bus. Ports that another program holds are left alone, as are those of the running daemon.

With --write it sets obd.port and gps.source in the configuration file, by names that stay. An adapter or receiver without a serial
number can only be known by the socket that it is plugged into: then it writes a udev rule, too, which names it by that.

Exit status: 0 an adapter or a receiver was found, 1 none was, or several of a kind, of which none is written, 2 usage or config.`,
		Example: "  obdagent detect\n  sudo obdagent detect --write",
		RunE:    func(c *cobra.Command, ports []string) error { return f.run(c, ports) },
	}
	addConfigFlag(c, &f.config)
	c.Flags().BoolVar(&f.json, "json", false, "print the ports as JSON (docs/status.md)")
	c.Flags().BoolVar(&f.write, "write", false, "write the configuration, and the udev rule where one is needed")
	c.Flags().StringVar(&f.rules, "rules", f.rules, "the file for the udev rule")
	return c
}

func (f *detectFlags) run(c *cobra.Command, ports []string) error {
	for i, p := range ports {
		if strings.Contains(p, "://") {
			return fmt.Errorf("%s is no serial port: name a device, such as /dev/ttyUSB0", p)
		}
		abs, err := filepath.Abs(p)
		if err != nil {
			return cli.Failure{Err: err}
		}
		ports[i] = abs
	}
	cfg, _, err := loadConfig(f.config)
	if err != nil {
		return err
	}
	found, err := doctor.Detect(c.Context(), doctor.DetectOptions{Ports: ports, InUse: inUse(c.Context(), cfg)})
	if err != nil {
		return cli.Failure{Err: err}
	}
	if err := f.print(c.OutOrStdout(), found); err != nil {
		return cli.Failure{Err: fmt.Errorf("print the ports: %w", err)}
	}
	adapter, receiver, err := doctor.Choose(found)
	if err != nil {
		return cli.BadNews{Lines: strings.Split(err.Error(), "\n")}
	}
	if f.write {
		said := c.OutOrStdout()
		if f.json {
			said = c.ErrOrStderr() // what is printed stays JSON
		}
		return f.set(said, cfg, adapter, receiver)
	}
	return nil
}

func (f *detectFlags) print(w io.Writer, found []doctor.Found) error {
	if f.json {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(found)
	}
	var b strings.Builder
	for _, x := range found {
		b.WriteString(x.Line())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// inUse are the ports of the running daemon, by device.
func inUse(ctx context.Context, cfg *config.Config) map[string]doctor.Found {
	if cfg.Status.Socket == "" {
		return nil
	}
	s, err := status.Fetch(ctx, cfg.Status.Socket)
	if err != nil {
		return nil // it does not run, or its ports are found to be held
	}
	return doctor.InUse(&s)
}

// set writes what was found.
func (f *detectFlags) set(out io.Writer, cfg *config.Config, adapter, receiver *doctor.Found) error {
	before, err := os.ReadFile(f.rules)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cli.Failure{Err: err}
	}
	rules, named := doctor.Rules(string(before), adapter, receiver)
	keys := map[string]string{}
	if adapter != nil {
		keys["obd.port"] = named[adapter.Port]
	}
	if receiver != nil {
		keys["gps.source"] = named[receiver.Port]
	}
	path := config.Find(f.config, os.Environ())
	if path == "" {
		path = config.DefaultPath
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = config.Sample(), nil
	}
	if err != nil {
		return cli.Failure{Err: err}
	}
	if text, err = config.Edit(path, text, keys); err != nil {
		return err
	}
	var said strings.Builder
	if rules != string(before) {
		wrote := "wrote"
		if rules == "" {
			wrote, err = "removed", os.Remove(f.rules)
		} else {
			err = replaceFile(f.rules, []byte(rules))
		}
		if err != nil {
			return cli.Failure{Err: err}
		}
		fmt.Fprintf(&said, "%s %s: udevadm control --reload && udevadm trigger --subsystem-match=tty makes it hold\n", wrote, f.rules)
	}
	if err := replaceFile(path, text); err != nil {
		return cli.Failure{Err: err}
	}
	fmt.Fprintf(&said, "wrote %s:", path)
	beaten := ""
	for _, key := range []string{"obd.port", "gps.source"} {
		value, ok := keys[key]
		if !ok {
			continue
		}
		fmt.Fprintf(&said, " %s = %q", key, value)
		if env := cfg.Origin(key).Env; env != "" {
			beaten += "warning: " + env + " is set, and beats " + key + " of the file\n"
		}
	}
	said.WriteString("; systemctl restart obdagent makes the daemon use it\n" + beaten)
	if _, err := io.WriteString(out, said.String()); err != nil {
		return cli.Failure{Err: fmt.Errorf("print what was written: %w", err)}
	}
	return nil
}

// replaceFile puts a text in a file's place, whole or not at all, with the mode that the file had.
func replaceFile(path string, text []byte) error {
	mode := fs.FileMode(0o644)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".obdagent-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}
