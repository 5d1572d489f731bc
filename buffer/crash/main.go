package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	lives        = 4  // of a run, each on what a cut has left of the one before
	stepsPerLife = 70 //
	cutsPerLife  = 40 // of the power, each at another moment
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := crash(ctx); err != nil {
		if !errors.As(err, new(*exec.ExitError)) { // that one has told it
			fmt.Fprintln(os.Stderr, "crash:", err)
		}
		os.Exit(1)
	}
}

// inside tells the process that has a mount namespace of its own.
const inside = "OBDAGENT_TEST_CRASH_INSIDE"

// enclosed runs this program again in a mount namespace of its own. Its mounts are gone with it, however it ends, and are in no namespace that
// somebody else makes meanwhile: that would keep the file system of one state alive into the next one.
func enclosed(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it cleans up
	return cmd.Run()
}

func crash(ctx context.Context) (err error) {
	var o rig
	flag.IntVar(&o.want, "states", 1000, "power cuts")
	flag.Uint64Var(&o.seed, "seed", 0, "to see a failure again: the seed it printed; 0: a new one")
	flag.Uint64Var(&o.run, "run", 0, "and the run")
	flag.StringVar(&o.keep, "keep", os.TempDir(), "directory for the image of a state that failed")
	flag.BoolVar(&o.lie, "lie", false, "the disk confirms flushes and forgets: this has to fail")
	in := flag.String("in", "", "directory for the mounts; default: a temporary one")
	mutants := flag.Bool("mutants", false, "run -states on each of several buffers with a sync left out: each has to fail")
	only := flag.String("only", "", "of -mutants: only those whose name has this in it")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q: there are only flags, see -help", flag.Args())
	}
	if os.Geteuid() != 0 {
		return errors.New("it needs root, to mount: sudo make crash")
	}
	if os.Getenv(inside) == "" {
		return enclosed(ctx)
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	if *in == "" {
		if *in, err = os.MkdirTemp("", "buffer-crash-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(*in)) }()
	}
	if *mutants {
		return runMutants(ctx, *in, *only, o.seed, o.want)
	}
	base, err := format(ctx, *in)
	if err != nil {
		return err
	}
	o.image = &image{}
	o.image.load(base)
	if o.disk, err = newDisk(*in, o.image); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.disk.Close()) }()
	fmt.Printf("seed %d\n", o.seed)
	return o.runs(ctx, base)
}

// rig is a disk and what is done to it.
type rig struct {
	seed, run uint64
	want      int
	keep      string
	lie       bool

	image *image
	disk  *disk

	states    int
	modes     [cutModes]int
	unflushed int // states with writes that no flush had covered
	total     count
}

// runs makes runs until there are enough states.
func (o *rig) runs(ctx context.Context, base []byte) error {
	start := time.Now()
	for ; o.states < o.want; o.run++ {
		if err := o.oneRun(ctx, base); err != nil {
			if ctx.Err() != nil { // what was looked at is worth its count
				o.report(start)
			}
			return fmt.Errorf("after %d states: seed %d, run %d: %w", o.states, o.seed, o.run, err)
		}
		fmt.Printf("%d states in %v\n", o.states, time.Since(start).Round(time.Second))
	}
	o.report(start)
	t := o.total
	if o.want >= 500 && (t.torn == 0 || t.given == 0 || t.thinned == 0 || t.reused == 0 || o.unflushed == 0) {
		return errors.New("something of that did not come about: the run does not do what it should")
	}
	return nil
}

// report says what was looked at and found good.
func (o *rig) report(start time.Time) {
	fmt.Printf("%d power cuts on ext4 in %v, seed %d: nothing committed was missing, nothing false was there, e2fsck found each file system clean\n",
		o.states, time.Since(start).Round(time.Second), o.seed)
	for mode, n := range o.modes {
		fmt.Printf("  %6d left %s\n", n, cutModeNames[mode])
	}
	t := o.total
	fmt.Printf("  %d had unflushed writes; frames torn in %d; %d lives begun on such a disk; %d files used again, %d records given up and %d thinned in them\n",
		o.unflushed, t.torn, t.opened, t.reused, t.given, t.thinned)
}

// oneRun lets a log live several lives, cut at many moments.
func (o *rig) oneRun(ctx context.Context, base []byte) error {
	w := newWorld(o.seed, o.run)
	for n := range lives {
		events, err := o.record(w, base)
		if err != nil {
			return fmt.Errorf("life %d: %w", n, err)
		}
		o.add(w.count)
		cuts := make([]int, cutsPerLife)
		for i := range cuts {
			cuts[i] = w.rnd.IntN(len(events) + 1)
		}
		slices.Sort(cuts)
		follow := w.rnd.IntN(len(cuts))
		flushed, done := slices.Clone(base), 0
		var next *world
		var nextBase []byte
		for i, at := range cuts {
			if err := ctx.Err(); err != nil {
				return err
			}
			last := done
			for k := done; k < at && !o.lie; k++ {
				if events[k].flush() {
					last = k + 1
				}
			}
			for _, e := range events[done:last] {
				copy(flushed[e.off:], e.data)
			}
			done = last
			writes := slices.DeleteFunc(slices.Clone(events[done:at]), event.flush)
			mode := cutMode(w.rnd.IntN(int(cutModes)))
			over := cut(flushed, writes, mode, w.rnd)
			state := flat(flushed, over)
			w.count = count{}
			then, err := o.state(ctx, w, state, at)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				err = fmt.Errorf("life %d, %d of %d events done, %d of them unflushed, left %s: %w", n, at, len(events), len(writes), cutModeNames[mode], err)
				name := filepath.Join(o.keep, fmt.Sprintf("crash-%d-%d-%d-%d.ext4", o.seed, o.run, n, at))
				if werr := os.WriteFile(name, state, 0o600); werr != nil {
					return errors.Join(err, werr)
				}
				return fmt.Errorf("%w; the disk is kept: %s", err, name)
			}
			o.states++
			o.modes[mode]++
			if len(writes) > 0 {
				o.unflushed++
			}
			o.add(w.count)
			if i == follow {
				next, nextBase = then, state
			}
		}
		base = nextBase
		w = next
		w.count = count{opened: 1}
	}
	return nil
}

func (o *rig) add(c count) {
	t := &o.total
	t.torn += min(c.torn, 1)
	t.given, t.thinned, t.reused, t.opened = t.given+c.given, t.thinned+c.thinned, t.reused+c.reused, t.opened+c.opened
}

// record lets a log live on a disk and returns what was written to that.
func (o *rig) record(w *world, base []byte) (events []event, err error) {
	if err := o.disk.load(base); err != nil {
		return nil, err
	}
	o.image.record() // mounting writes too
	if err := o.disk.mount(); err != nil {
		return nil, err
	}
	err = w.live(o.disk.dir, o.image.position, func() { events = o.image.stop() }, stepsPerLife)
	return events, errors.Join(err, o.disk.unmount())
}

// state looks at one state of the disk.
func (o *rig) state(ctx context.Context, w *world, base []byte, at int) (*world, error) {
	if err := o.disk.load(base); err != nil {
		return nil, err
	}
	if err := o.disk.mount(); err != nil {
		return nil, err
	}
	then, err := w.check(o.disk.dir, at)
	if err := errors.Join(err, o.disk.unmount()); err != nil {
		return nil, err
	}
	if err := o.disk.fsck(ctx); err != nil {
		return nil, fmt.Errorf("the file system is not clean: %w", err)
	}
	return then, nil
}
