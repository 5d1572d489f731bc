package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"obdagent/buffer"
	"obdagent/cmd/internal/cli"
)

func bufferCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "buffer",
		Short: "Look into the buffer, without changing it",
		Long: `buffer looks into the directory where records wait for delivery: this device's, while the agent runs or not, a copy, or that of
another device's disk. Nothing is changed. Without DIR it is buffer.dir of the configuration.

Exit status: 0 done, 1 damage was found or the directory cannot be read, 2 usage or config.`,
		Args: cli.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("say which: stat, verify, export or salvage")
		},
	}
	c.AddCommand(bufferStatCommand(), bufferVerifyCommand(), bufferExportCommand(), bufferSalvageCommand())
	return c
}

// bufferDir is the directory that is asked about.
func bufferDir(args []string, config string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	cfg, _, err := loadConfig(config)
	if err != nil {
		return "", err
	}
	return cfg.Buffer.Dir, nil
}

// inspectBuffer reads it all.
func inspectBuffer(args []string, config string, each func(buffer.ScannedRecord) error) (*buffer.Inspection, error) {
	dir, err := bufferDir(args, config)
	if err != nil {
		return nil, err
	}
	in, err := buffer.Inspect(dir, each)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, cli.Failure{Err: fmt.Errorf("%w: name the directory, or its configuration with --config", err)}
	case errors.Is(err, fs.ErrPermission):
		return nil, cli.Failure{Err: fmt.Errorf("%w: try as root, or as the user that the agent runs as", err)}
	case err != nil:
		return nil, cli.Failure{Err: err}
	}
	return in, nil
}

func bufferStatCommand() *cobra.Command {
	var config string
	var asJSON bool
	c := &cobra.Command{
		Use:   "stat [DIR]",
		Short: "Say how many records wait, and how much room they take",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			in, err := inspectBuffer(args, config, nil)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), in)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), `directory  %s
waiting    %d records
readable   %d records, %d to %d, %d bytes
delivered  all below %d, and %d ranges above
on disk    %d bytes in %d segments, %d spare ones, %d in quarantine
damage     %d places
`, in.Dir, in.Waiting, in.Records, in.FirstSeq, in.LastSeq, in.Payload, in.AckedBelow, in.AckedRanges,
				in.Bytes, len(in.Segments), in.Spares, len(in.Quarantine), len(in.Damage))
			return failure("print", err)
		},
	}
	addConfigFlag(c, &config)
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON, segment by segment")
	return c
}

func bufferVerifyCommand() *cobra.Command {
	var config string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Read everything and say where it is not what was written",
		Long: `verify reads every record and names segment and offset of each place that is not what was written, with the numbers of the
records that it cost. The torn end that a power cut leaves is named too and is no damage: it was never promised.

Exit status: 0 all is well, 1 damage was found or the directory cannot be read, 2 usage or config.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			in, err := inspectBuffer(args, config, nil)
			if err != nil {
				return err
			}
			var bad cli.BadNews
			for _, d := range in.Damage {
				if d.Reason == buffer.ReasonDamaged {
					bad.Lines = append(bad.Lines, damageText(d))
				} else if !asJSON {
					fmt.Fprintln(c.OutOrStdout(), damageText(d))
				}
			}
			for _, name := range in.Quarantine {
				if !asJSON {
					fmt.Fprintf(c.OutOrStdout(), "quarantine/%s: set aside by the agent because of damage\n", name)
				}
			}
			if asJSON {
				err = printJSON(c.OutOrStdout(), in)
			} else if len(bad.Lines) == 0 {
				_, err = fmt.Fprintf(c.OutOrStdout(), "OK: %d records in %d segments\n", in.Records, len(in.Segments))
			}
			if err != nil {
				return failure("print", err)
			}
			if len(bad.Lines) > 0 {
				return bad
			}
			return nil
		},
	}
	addConfigFlag(c, &config)
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func damageText(d buffer.Damage) string {
	what := "nothing of it can be told"
	switch {
	case d.From != 0:
		what = fmt.Sprintf("records %d to %d are lost", d.From, d.To)
	case d.Reason == buffer.ReasonTorn:
		what = "the end was never committed"
	case d.Offset == 0:
		what = "the header, which costs no record"
	}
	return fmt.Sprintf("%s: offset %d: %s: %s", d.Segment, d.Offset, d.Reason, what)
}

func bufferExportCommand() *cobra.Command {
	var config string
	var all, asJSON bool
	c := &cobra.Command{
		Use:   "export [DIR]",
		Short: "Print the records that wait, one a line, as they are stored",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			out := newRecordWriter(c.OutOrStdout(), all, asJSON)
			in, err := inspectBuffer(args, config, out.write)
			if err != nil {
				return err
			}
			if err := out.w.Flush(); err != nil {
				return failure("print", err)
			}
			fmt.Fprintf(c.ErrOrStderr(), "%d records, %d damaged places\n", out.n, len(in.Damage))
			return nil
		},
	}
	addConfigFlag(c, &config)
	out := c.Flags()
	out.BoolVar(&all, "all", false, "those too that were delivered and are still there")
	out.BoolVar(&asJSON, "json", false, "each as an object with seq, acked and data")
	return c
}

func bufferSalvageCommand() *cobra.Command {
	var all, asJSON bool
	c := &cobra.Command{
		Use:   "salvage IMAGE",
		Short: "Find records in a raw card, a partition or an image of one, and print them",
		Long: `salvage finds records in anything that holds bytes: a card (/dev/mmcblk0), a partition, an image file, a single segment. It needs
no file system. Nothing is changed. Records that were delivered and lie in old blocks are found too; --all prints them.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return cli.Failure{Err: fmt.Errorf("%w: name a device or an image file that may be read", err)}
			}
			defer func() { _ = f.Close() }()   // it was only read
			size, err := f.Seek(0, io.SeekEnd) // a device's size is not in its Stat
			if err != nil {
				return cli.Failure{Err: fmt.Errorf("%s: %w: name a device or a file", args[0], err)}
			}
			out := newRecordWriter(c.OutOrStdout(), all, asJSON)
			s, err := buffer.CarveRecords(f, size, out.write)
			if err != nil {
				return cli.Failure{Err: fmt.Errorf("%s: %w", args[0], err)}
			}
			if err := out.w.Flush(); err != nil {
				return failure("print", err)
			}
			fmt.Fprintf(c.ErrOrStderr(), "%d records printed, %d found in %d frames, %d frames broken\n", out.n, s.Records, s.Frames, s.Broken)
			if s.Records == 0 {
				return cli.BadNews{Lines: []string{args[0] + ": no record was found: is it the card of an obdagent?"}}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "those too that were delivered, as far as can be told")
	c.Flags().BoolVar(&asJSON, "json", false, "each as an object with seq, acked and data")
	return c
}

// recordWriter prints records, one a line.
type recordWriter struct {
	w           *bufio.Writer
	all, asJSON bool
	n           int
}

func newRecordWriter(w io.Writer, all, asJSON bool) *recordWriter {
	return &recordWriter{w: bufio.NewWriterSize(w, 64<<10), all: all, asJSON: asJSON}
}

func (o *recordWriter) write(r buffer.ScannedRecord) error {
	if r.Acked && !o.all {
		return nil
	}
	o.n++
	line := r.Data
	if o.asJSON {
		var err error
		if line, err = json.Marshal(struct {
			Seq   uint64 `json:"seq"`
			Acked bool   `json:"acked"`
			Data  string `json:"data"`
		}{r.Seq, r.Acked, string(r.Data)}); err != nil {
			return err
		}
	}
	_, err := o.w.Write(line)
	if err == nil && (len(line) == 0 || line[len(line)-1] != '\n') {
		err = o.w.WriteByte('\n')
	}
	return err
}

func printJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return failure("print", out.Encode(v))
}

func failure(operation string, err error) error {
	if err == nil {
		return nil
	}
	return cli.Failure{Err: fmt.Errorf("%s: %w", operation, err)}
}
