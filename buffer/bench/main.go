package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

const recordBytes = 150

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context) (err error) {
	in := flag.String("in", "", "directory for the disk's image; default: a temporary one")
	records := flag.Int("records", 10_000, "records for each figure")
	backlog := flag.Int("backlog", 2_000_000, "records of the backlog; 0: leave opening and memory out")
	only := flag.String("only", "", "only the stores whose name has this in it")
	ack := flag.Int("ack", 500, "records between acknowledgements: what one upload holds")
	groups := flag.String("groups", "1,10,50", "records a commit")
	child := flag.String("child", "", "used by bench itself")
	flag.Parse()
	if *child != "" {
		return measureOpen(ctx, *child, *in)
	}
	if *in == "" {
		if *in, err = os.MkdirTemp("", "buffer-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(*in)) }()
	}
	fmt.Println("| store | records a commit | device bytes per payload byte | journal share, % | flushes a commit | records/s |")
	fmt.Println("|---|---|---|---|---|---|")
	for text := range strings.SplitSeq(*groups, ",") {
		group, err := strconv.Atoi(text)
		if err != nil || group < 1 || *ack%group != 0 || *records%group != 0 {
			return fmt.Errorf("-groups %s: numbers that divide -ack %d and -records %d, with commas between", *groups, *ack, *records)
		}
		for _, s := range stores {
			if strings.Contains(s.name, *only) {
				if err := measureWrites(ctx, *in, s.name, s.open, group, *records, *ack); err != nil {
					return fmt.Errorf("%s, %d records a commit: %w", s.name, group, err)
				}
			}
		}
	}
	if *backlog == 0 {
		return nil
	}
	fmt.Printf("\n| store | open, empty, ms | open, %d MB waiting, ms | resident, empty, MiB | resident, with it, MiB | on disk, MB |\n|---|---|---|---|---|---|\n",
		*backlog*recordBytes/1_000_000)
	for _, s := range stores {
		if strings.Contains(s.name, *only) {
			if err := compareOpen(ctx, *in, s.name, s.open, *backlog); err != nil {
				return fmt.Errorf("%s, opened: %w", s.name, err)
			}
		}
	}
	return nil
}

// group makes the next records: a random id, a place and a speed that move a little.
func group(rng *rand.Rand, n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		b := fmt.Appendf(nil, `{"id":"%08x-%04x-4%03x-a%03x-%012x","t":"2026-11-23T08:%02d:%02d.%03dZ","vin":"WVWZZZ1JZXW000001","lat":52.%07d,"lon":13.%07d,"v":%d`,
			rng.Uint32(), rng.Uint32N(1<<16), rng.Uint32N(1<<12), rng.Uint32N(1<<12), rng.Uint64N(1<<48),
			rng.IntN(60), rng.IntN(60), rng.IntN(10)*100, 5_000_000+rng.IntN(9999), 3_000_000+rng.IntN(9999), 40+rng.IntN(20))
		for len(b) < recordBytes-1 {
			b = append(b, ' ')
		}
		list[i] = append(b, '}')
	}
	return list
}

func measureWrites(ctx context.Context, in, name string, open opener, size, records, ack int) (err error) {
	d, err := newDisk(ctx, in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close(context.WithoutCancel(ctx))) }()
	before, err := d.counts()
	if err != nil {
		return err
	}
	s, err := open(ctx, d.dir, size)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var took time.Duration
	for n := size; n <= records; n += size {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, s.Close())
		}
		g := group(rng, size)
		start := time.Now()
		if err := s.Write(ctx, g); err != nil {
			return errors.Join(err, s.Close())
		}
		if n%ack == 0 {
			if err := s.Ack(); err != nil {
				return errors.Join(err, s.Close())
			}
		}
		took += time.Since(start)
	}
	if err := s.Close(); err != nil {
		return err
	}
	after, err := d.counts()
	if err != nil {
		return err
	}
	used := after.minus(before)
	fmt.Printf("| %s | %d | %.2f | %.1f | %.2f | %.0f |\n", name, size, float64(used.bytes)/float64(records*recordBytes),
		100*float64(used.journal)/float64(used.bytes), float64(used.flushes)/float64(records/size), float64(records)/took.Seconds())
	return nil
}

// opened is what a process of its own finds.
type opened struct {
	Ms       float64
	Resident int64 // bytes
}

// compareOpen opens a store empty and with a backlog, in processes of their own, three times each; the best counts.
func compareOpen(ctx context.Context, in, name string, open opener, backlog int) (err error) {
	d, err := newDisk(ctx, in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close(context.WithoutCancel(ctx))) }()
	var best [2]opened
	var onDisk int64
	for i, dir := range []string{filepath.Join(d.dir, "empty"), filepath.Join(d.dir, "full")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if i == 1 {
			if err := fill(ctx, dir, open, backlog); err != nil {
				return err
			}
			if onDisk, err = dirBytes(dir); err != nil {
				return err
			}
		}
		for try := range 3 {
			cmd := exec.CommandContext(ctx, "/proc/self/exe", "-child", name, "-in", dir)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("child: %w", err)
			}
			var o opened
			if err := json.Unmarshal(out, &o); err != nil {
				return err
			}
			if try == 0 {
				best[i] = o
			}
			best[i].Ms, best[i].Resident = min(best[i].Ms, o.Ms), min(best[i].Resident, o.Resident)
		}
	}
	const mib = 1 << 20
	fmt.Printf("| %s | %.2f | %.2f | %.1f | %.1f | %d |\n", name, best[0].Ms, best[1].Ms,
		float64(best[0].Resident)/mib, float64(best[1].Resident)/mib, onDisk/1_000_000)
	return nil
}

func fill(ctx context.Context, dir string, open opener, records int) error {
	const size = 5000
	s, err := open(ctx, dir, size)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for n := 0; n < records && err == nil; n += size {
		err = s.Write(ctx, group(rng, size))
	}
	return errors.Join(err, s.Close())
}

func dirBytes(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// measureOpen is the child: it opens the store, writes a thousand records, and says how long the first took and how much memory it
// has in the end, what can be given back being given back.
func measureOpen(ctx context.Context, name, dir string) error {
	for _, o := range stores {
		if o.name != name {
			continue
		}
		start := time.Now()
		s, err := o.open(ctx, dir, 10)
		if err != nil {
			return err
		}
		took := time.Since(start)
		rng := rand.New(rand.NewPCG(uint64(start.UnixNano()), 6))
		for range 100 {
			if err := s.Write(ctx, group(rng, 10)); err != nil {
				return errors.Join(err, s.Close())
			}
		}
		debug.FreeOSMemory()
		resident, err := residentBytes()
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(opened{float64(took.Microseconds()) / 1000, resident})
		}
		return errors.Join(err, s.Close())
	}
	return fmt.Errorf("no store %q", name)
}

func residentBytes() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmRSS in /proc/self/status")
}
