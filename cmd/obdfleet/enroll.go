package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"obdagent/agent/config"
	"obdagent/cmd/internal/cli"
	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/cmd/obdfleet/internal/enroll"
	"obdagent/deploy"
)

// An iotOpener finds the AWS IoT that a command works on, and its region.
type iotOpener func(context.Context, cloud.Options) (enroll.IoT, string, error)

// enrollFlags are the flags of obdfleet enroll as given.
type enrollFlags struct {
	at      cloud.Options
	board   enroll.Board
	options enroll.Options
	csv     string
	boot    string
	root    string
}

func enrollCommand(open iotOpener) *cobra.Command {
	var f enrollFlags
	c := &cobra.Command{
		Use:   "enroll THING",
		Short: "Give a board its identity: thing, certificate and policy in AWS IoT, and the files that it is started with",
		Long: `enroll makes a thing in AWS IoT with a certificate and the policy that lets it ask for credentials, and writes what the board is
started with into a directory of its own, --dir/THING:

  obdagent.toml      its configuration
  obdagent-cert.pem  its certificate
  obdagent-key.pem   its private key, mode 0600; it is made here and sent to nobody
  enrolled.json      what is known here of the certificate; it stays here

The three first belong onto the board's boot partition; --boot copies them there. --root puts them onto a mounted image instead, into
the places that they have on the board, with the owner and the modes that they have there; obdagent is installed in it before
(obdagent install --root). An image that has another board's certificate is refused without --replace. Role alias and policy are
made by the template (obdfleet cloud template).

--csv enrols many: a file whose first line names the columns (thing, and any of vin, device_id, fuel), with a line for each board.
It can be stopped and run again at any moment: what is done is left alone, what was begun is finished.

Exit status: 0 all are enrolled, 1 some are not, 2 usage, credentials or permissions.`,
		Example: `  obdfleet enroll van-212 --vin 1FTBR1XG2MKA12345 --boot /media/bootfs
  obdfleet enroll van-212 --root /mnt
  obdfleet enroll --csv fleet.csv --dir boards --format json --compression gzip`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return fmt.Errorf("%q is too much: the command takes one thing; --csv takes many", args[1])
			case len(args) == 1 && f.csv != "":
				return errors.New("a thing and --csv: which of them is meant?")
			case len(args) == 0 && f.csv == "":
				return errors.New("name the thing, such as van-212, or give --csv FILE")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			boards, err := f.boards(args)
			if err != nil {
				return err
			}
			return runEnroll(c, open, f, boards)
		},
	}
	p := c.Flags()
	p.StringVar(&f.csv, "csv", "", "a list of boards to enrol")
	p.StringVar(&f.board.VIN, "vin", "", "vehicle.vin: used when the car does not tell its own")
	p.StringVar(&f.board.DeviceID, "device-id", "", "vehicle.device_id (default: the thing)")
	p.StringVar(&f.board.Fuel, "fuel", "", "vehicle.fuel: what the car burns (default: what it tells)")
	p.StringVar(&f.options.Dir, "dir", "boards", "where each board gets a directory of its own; keep it safe, it holds private keys")
	p.StringVar(&f.boot, "boot", "", "a mounted boot partition to copy the board's files to")
	p.StringVar(&f.root, "root", "", "a mounted image to put the board's files onto; only root may")
	p.StringVar(&f.options.Target.Kind, "kind", config.KindFirehose, "uplink.kind: firehose or kinesis")
	p.StringVar(&f.options.Target.Stream, "stream", cloud.DefaultStream, "uplink.stream")
	p.StringVar(&f.options.Target.Format, "format", config.FormatText, "record.format: text or json")
	p.StringVar(&f.options.Target.Compression, "compression", config.CompressionNone, "uplink.compression: none or gzip")
	p.StringVar(&f.options.Target.RoleAlias, "role-alias", "obdagent", "the AWS IoT role alias that gives credentials")
	p.StringVar(&f.options.Policy, "policy", "obdagent-device", "the AWS IoT policy that each certificate gets")
	p.BoolVar(&f.options.Replace, "replace", false, "switch off the certificates that a thing has from before, and take the place of another board on --root")
	p.StringVar(&f.at.Region, "region", "", "the region (default: the AWS configuration's, else "+cloud.DefaultRegion+")")
	p.StringVar(&f.at.Endpoint, "endpoint", "", "URL of an AWS look-alike instead of Amazon's")
	return c
}

// boards are those that the flags and the argument name.
func (f enrollFlags) boards(args []string) ([]enroll.Board, error) {
	if f.csv == "" {
		f.board.Thing = args[0]
		return []enroll.Board{f.board}, f.board.Check()
	}
	if f.boot != "" || f.root != "" || f.board != (enroll.Board{}) {
		return nil, errors.New("--boot, --root, --vin, --device-id and --fuel are for one board: with --csv they are columns, and cards are written one by one: obdfleet enroll THING --boot DIR, or --root DIR")
	}
	file, err := os.Open(f.csv)
	if err != nil {
		return nil, fmt.Errorf("%w: give a list of boards that is there", err)
	}
	boards, err := enroll.ReadCSV(f.csv, file)
	return boards, errors.Join(err, file.Close())
}

func runEnroll(c *cobra.Command, open iotOpener, f enrollFlags, boards []enroll.Board) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.root != "" {
		if err := f.image(boards[0]).Check(); err != nil {
			return cli.Failure{Err: err}
		}
	}
	client, region, err := open(c.Context(), f.at)
	if err != nil {
		return err
	}
	f.options.Target.Region, f.options.Endpoint = region, f.at.Endpoint
	e, err := enroll.New(c.Context(), client, f.options)
	if err != nil {
		return err
	}
	var left cli.BadNews
	done := 0
	for i, b := range boards {
		r, err := e.Enroll(c.Context(), b)
		if _, disk := errors.AsType[syscall.Errno](err); disk {
			err = cli.Failure{Err: err}
		}
		var conflict enroll.Conflict
		switch {
		case errors.As(err, &conflict):
			left.Lines = append(left.Lines, conflict.Error())
			continue
		case err != nil && len(boards) > 1:
			// The next would fail as this one did, or there is no use in going on.
			return errors.Join(err, fmt.Errorf("%d of %d boards are enrolled, the list's first %d: run it again to go on", done, len(boards), i))
		case err != nil:
			return err
		}
		done++
		if f.boot != "" {
			if err := enroll.Place(r.Dir, f.boot); err != nil {
				return err
			}
		}
		if err := printed(fmt.Fprintln(c.OutOrStdout(), enrolledLine(b, r, f.boot))); err != nil {
			return err
		}
		if f.root != "" {
			if err := f.place(c, b); err != nil {
				return err
			}
		}
	}
	if len(left.Lines) > 0 {
		return left
	}
	return nil
}

// image is where a board's files go with --root.
func (f enrollFlags) image(b enroll.Board) deploy.PlaceOptions {
	return enroll.OntoImage(f.options.BoardDir(b), f.root, f.options.Replace)
}

// place puts a board's files onto the image, and says what became of each.
func (f enrollFlags) place(c *cobra.Command, b enroll.Board) error {
	changes, err := deploy.Place(f.image(b))
	for _, change := range changes {
		if err := printed(fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", filepath.Join(f.root, change.Path), change.What)); err != nil {
			return err
		}
	}
	if err != nil {
		return cli.Failure{Err: fmt.Errorf("%s is enrolled, and not on %s yet: %w", b.Thing, f.root, err)}
	}
	return nil
}

// check says what of the flags no board can have.
func (f enrollFlags) check() error {
	var problems []error
	for _, flag := range []struct {
		name, value string
		words       []string
	}{
		{"kind", f.options.Target.Kind, []string{config.KindFirehose, config.KindKinesis}},
		{"format", f.options.Target.Format, []string{config.FormatText, config.FormatJSON}},
		{"compression", f.options.Target.Compression, []string{config.CompressionNone, config.CompressionGzip}},
	} {
		if !slices.Contains(flag.words, flag.value) {
			problems = append(problems, fmt.Errorf("--%s %q: say %s", flag.name, flag.value, strings.Join(flag.words, " or ")))
		}
	}
	if f.options.Dir == "" {
		problems = append(problems, errors.New("--dir is empty: name a directory for the boards' files"))
	}
	switch {
	case f.root == "":
	case f.boot != "":
		problems = append(problems, errors.New("--boot and --root: choose one; what is on the boot partition takes the place of the other at the next boot"))
	case filepath.Clean(f.root) == "/":
		problems = append(problems, errors.New("--root / is the running system: name the directory at which an image is mounted; a running board takes its files from its boot partition (--boot)"))
	case os.Geteuid() != 0:
		problems = append(problems, errors.New("only root may write to an image, whose files are root's: try it with sudo"))
	}
	return errors.Join(problems...)
}

// enrolledLine says what became of a board.
func enrolledLine(b enroll.Board, r enroll.Result, boot string) string {
	text := fmt.Sprintf("%s %s %s", b.Thing, r.CertificateID, filepath.ToSlash(r.Dir))
	if r.Before {
		text += ", enrolled before"
	}
	for _, id := range r.SwitchedOff {
		text += ", certificate " + id + " switched off"
	}
	if boot != "" {
		text += ", copied to " + boot
	}
	return text
}
