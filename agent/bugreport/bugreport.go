package bugreport

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"obdagent/agent/config"
	"obdagent/agent/status"
	"obdagent/buffer"
)

const (
	maxPart     = 4 << 20          // of one file in the archive: the status log has 1 MiB
	commandTime = 10 * time.Second // for each program that is asked
)

// Options says what is reported on.
type Options struct {
	Version    string         // one line
	Config     *config.Config // nil if it cannot be read
	ConfigPath string         // empty: there is none
	ConfigErr  error          // why there is no Config
	Environ    []string       // as os.Environ returns it
	Now        time.Time
}

// A report is an archive in the making.
type report struct {
	o       Options
	tar     *tar.Writer
	clean   *cleaner
	err     error    // of writing: the end of it all
	missing []string // parts that could not be had, with the reason
}

// Write writes the archive to w. Its error is that of w; parts that cannot be had are named in the archive, and returned as missing.
func Write(ctx context.Context, w io.Writer, o Options) (missing []string, err error) {
	zip := gzip.NewWriter(w)
	r := &report{o: o, tar: tar.NewWriter(zip), clean: newCleaner(o.Config, o.Environ)}
	r.add("version.txt", o.Version+"\n")
	r.configuration()
	r.agent(ctx)
	r.buffer()
	r.system()
	for _, c := range commands {
		r.command(ctx, c.name, c.args...)
	}
	r.add("README.txt", readme+strings.Join(append([]string{"", "Not in it:"}, r.missing...), "\n")+"\n")
	return r.missing, errors.Join(r.err, r.tar.Close(), zip.Close())
}

const readme = `A report of obdagent for support: version, configuration, status, status logs, the buffer's state and files, what the system
and its serial ports are like, and the journal. No record is in it. What is known to be secret, or looks like it, reads [removed];
please look through it before you send it all the same. It does tell the vehicle's VIN, host names and network addresses.
`

// add puts a part into the archive, without its secrets.
func (r *report) add(name, text string) {
	if r.err != nil {
		return
	}
	text = r.clean.clean(text)
	if r.err = r.tar.WriteHeader(&tar.Header{Name: "obdagent-bugreport/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: r.o.Now}); r.err == nil {
		_, r.err = io.WriteString(r.tar, text)
	}
}

func (r *report) lacks(name string, err error) {
	r.missing = append(r.missing, r.clean.clean(fmt.Sprintf("%s: %v", name, err)))
}

// file adds a file, the end of it if it is long.
func (r *report) file(name, path string) {
	f, err := os.Open(path)
	if err != nil {
		r.lacks(name, err)
		return
	}
	defer f.Close() // nothing was written: an error of Close says nothing about what was read
	if info, err := f.Stat(); err == nil && info.Size() > maxPart {
		if _, err := f.Seek(info.Size()-maxPart, io.SeekStart); err != nil {
			r.lacks(name, err)
			return
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPart))
	if err != nil {
		r.lacks(name, err)
		return
	}
	r.add(name, string(text))
}

func (r *report) configuration() {
	if r.o.ConfigPath != "" {
		r.file("config.toml", r.o.ConfigPath)
	}
	if r.o.ConfigErr != nil {
		r.add("config-problems.txt", r.o.ConfigErr.Error()+"\n")
		r.lacks("config-in-force.toml", errors.New("the configuration has problems"))
	} else {
		var text strings.Builder
		if err := r.o.Config.Show(&text); err == nil { // a Builder takes everything
			r.add("config-in-force.toml", text.String())
		}
		r.add("config-warnings.txt", strings.Join(append(r.o.Config.Warnings(), ""), "\n"))
	}
	var names []string
	for _, v := range r.o.Environ {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "OBDAGENT_") {
			names = append(names, name+"="+value)
		} else if strings.HasPrefix(name, "AWS_") {
			names = append(names, name+" is set")
		}
	}
	slices.Sort(names)
	r.add("environment.txt", strings.Join(append(names, ""), "\n"))
}

// agent adds what the agent says, and has said.
func (r *report) agent(ctx context.Context) {
	cfg := r.o.Config
	if cfg == nil {
		d := config.Default()
		cfg = &d
	}
	if s, err := status.Fetch(ctx, cfg.Status.Socket); err != nil {
		r.lacks("status.json", err)
	} else {
		var screen, metrics strings.Builder
		text, err := json.MarshalIndent(&s, "", "  ")
		if err = errors.Join(err, s.Render(&screen), s.WriteMetrics(&metrics)); err != nil {
			r.lacks("status.json", err)
		}
		r.add("status.json", string(text)+"\n")
		r.add("status.txt", screen.String())
		r.add("metrics.txt", metrics.String())
	}
	if cfg.Status.Log != "" {
		r.file("status.log.1", cfg.Status.Log+".1")
		r.file("status.log", cfg.Status.Log)
	}
}

// buffer adds what the buffer's directory is like: no records, and not the TLS sessions, which are secret.
func (r *report) buffer() {
	if r.o.Config == nil {
		r.lacks("buffer.json", errors.New("the configuration has problems"))
		return
	}
	dir := r.o.Config.Buffer.Dir
	if in, err := buffer.Inspect(dir, nil); err != nil {
		r.lacks("buffer.json", err)
	} else if text, err := json.MarshalIndent(in, "", "  "); err != nil {
		r.lacks("buffer.json", err)
	} else {
		r.add("buffer.json", string(text)+"\n")
	}
	r.list("buffer-files.txt", dir)
	for _, name := range []string{"clock.json", "obd.json", "gps.json", "uplink.json"} {
		r.file("buffer/"+name, filepath.Join(dir, name))
	}
}

// list adds what is in a directory, and where its links lead.
func (r *report) list(name, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		r.lacks(name, err)
		return
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // it has gone meanwhile
		}
		fmt.Fprintf(&b, "%v %10d %s %s", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.RFC3339), e.Name())
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			b.WriteString(" -> " + target)
		}
		b.WriteByte('\n')
	}
	r.add(name, b.String())
}

// command adds what a program says; its own failure is part of that.
func (r *report) command(ctx context.Context, name string, args ...string) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.WaitDelay = time.Second
	out := &tail{}
	c.Stdout, c.Stderr = out, out
	err := c.Run()
	if errors.Is(err, exec.ErrNotFound) || len(out.text) == 0 && err != nil {
		r.lacks(name, err)
		return
	}
	if err != nil {
		_, _ = fmt.Fprintf(out, "\n%s: %v\n", strings.Join(args, " "), err) // a tail takes everything
	}
	r.add(name, string(out.text))
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

// Write takes everything.
func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if len(t.text) > 2*maxPart {
		t.text = append(t.text[:0], t.text[len(t.text)-maxPart:]...)
	}
	return len(p), nil
}
