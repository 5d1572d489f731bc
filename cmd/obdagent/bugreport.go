package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"obdagent/agent/bugreport"
	"obdagent/agent/config"
	"obdagent/cmd/internal/cli"
)

func bugreportCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "bugreport [FILE]",
		Short: "Gather what support needs into one archive, without secrets",
		Long: `bugreport writes one archive (.tar.gz) with version, configuration, status, status logs, the buffer's state, what kernel, USB and
serial ports are like, and the journal. It works whether the agent runs or not; as root it sees more. No record is in it, and
what is secret or looks like it is removed; look through it before you send it all the same.

Exit status: 0 done (it says what could not be had), 1 the archive cannot be written, 2 usage, such as a FILE that is there.`,
		Args: cli.AtMostOne("file"),
		RunE: func(c *cobra.Command, args []string) error {
			now := time.Now()
			o := bugreport.Options{Version: cli.ReadBuild().Line("obdagent"), Environ: os.Environ(), Now: now}
			o.ConfigPath = config.Find(path, o.Environ)
			o.Config, o.ConfigErr = config.Load(o.ConfigPath, o.Environ)
			name := "obdagent-bugreport-" + now.UTC().Format("20060102-150405") + ".tar.gz"
			if len(args) > 0 {
				name = args[0]
			}
			f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				err = fmt.Errorf("%w: name a new file in a place that can be written", err)
				if len(args) > 0 && errors.Is(err, fs.ErrExist) {
					return err
				}
				return cli.Failure{Err: err}
			}
			missing, err := bugreport.Write(c.Context(), f, o)
			if err = errors.Join(err, f.Close()); err != nil {
				return cli.Failure{Err: errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(name))}
			}
			for _, m := range missing {
				fmt.Fprintln(c.ErrOrStderr(), "not in it: "+m)
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), name)
			return failure("print", err)
		},
	}
	addConfigFlag(c, &path)
	return c
}
