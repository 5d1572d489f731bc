package report

import (
	"bufio"
	"cmp"
	"context"
	"slices"
	"sync"
)

// A collector is the state of one Read that its readers share.
type collector struct {
	layout  Layout
	options Options
	filter  filter
	ids     *sorter

	mu     sync.Mutex
	report *Report
	vins   vinSet
	// The places of what the report keeps in FirstDamaged and Unreadable.
	damagedAt, unreadableAt []int

	telling sync.Mutex
	told    Progress
}

func newCollector(layout Layout, o Options) *collector {
	return &collector{
		layout: layout, options: o, filter: newFilter(o), ids: newSorter(idRowWidth, o.Tmp),
		report: &Report{Gap: o.Gap, NoIDs: o.Format != FormatJSON && !slices.Contains(layout.columns, columnID)},
		vins:   vinSet{numbers: map[string]int{}},
	}
}

// found is what one object held, beside its records.
type found struct {
	bytes                     int64
	lines                     int
	filtered, filteredUndated int
	damagedCount              int
	damaged                   []Damage
	unreadableCount           int
	unreadable                []Unreadable
}

// A job is an object to read, and its place among all.
type job struct {
	Object
	place int
}

// objects lists the source and has its objects read by the workers.
func (c *collector) objects(ctx context.Context, source Source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		workers sync.WaitGroup
		jobs    = make(chan job, listAhead)
		once    sync.Once
		failed  error
	)
	fail := func(err error) { once.Do(func() { failed = err; cancel() }) }
	for range c.options.Workers {
		workers.Go(func() {
			r := reader{collector: c, chunk: c.ids.chunk(c.options.Workers), plain: bufio.NewReaderSize(nil, maxLine), vehicle: -1}
			for j := range jobs {
				if ctx.Err() != nil {
					continue
				}
				if err := r.object(ctx, j.Object, j.place); err != nil {
					fail(err)
				}
			}
			r.chunk.done()
		})
	}
	place := 0
	for o, err := range source.Objects(ctx) {
		if err != nil {
			fail(err)
			break
		}
		if c.skip(o.Key) {
			continue
		}
		c.listed(o.Size)
		select {
		case jobs <- job{o, place}:
		case <-ctx.Done():
		}
		place++
		if ctx.Err() != nil {
			break
		}
	}
	close(jobs)
	workers.Wait()
	if failed != nil {
		return failed
	}
	return ctx.Err()
}

// skip says whether an object is left out because of its key.
func (c *collector) skip(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.report.Skipped.skip(key) {
		return true
	}
	if c.filter.before(key) {
		c.report.Skipped.Before++
		return true
	}
	return false
}

func (c *collector) vehicleNumber(vin []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.vins.number(vin)
}

// add adds what an object held to the report.
func (c *collector) add(place int, f *found) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.report
	r.Objects++
	r.Bytes += f.bytes
	r.Lines += f.lines
	r.Filtered += f.filtered
	r.FilteredUndated += f.filteredUndated
	r.Damaged += f.damagedCount
	r.UnreadableCount += f.unreadableCount
	r.FirstDamaged, c.damagedAt = keepFirst(r.FirstDamaged, c.damagedAt, f.damaged, place)
	r.Unreadable, c.unreadableAt = keepFirst(r.Unreadable, c.unreadableAt, f.unreadable, place)
	c.telling.Lock()
	defer c.telling.Unlock()
	c.told.Objects++
}

// keepFirst inserts what an object at a place has, and keeps the first KeepDamaged: objects end in any order.
func keepFirst[T any](all []T, places []int, more []T, place int) ([]T, []int) {
	if len(more) == 0 {
		return all, places
	}
	at, _ := slices.BinarySearch(places, place)
	all = slices.Insert(all, at, more...)
	places = slices.Insert(places, at, slices.Repeat([]int{place}, len(more))...)
	n := min(len(all), KeepDamaged)
	return all[:n:n], places[:n:n]
}

func (c *collector) listed(size int64) {
	if c.options.Progress == nil {
		return
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	c.told.Listed += max(size, 0)
}

func (c *collector) progress(n int64) {
	if c.options.Progress == nil {
		return
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	c.told.Bytes += n
	c.options.Progress(c.told)
}

func (c *collector) sorting(done float64) {
	if c.options.Progress == nil {
		return
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	c.told.Sorting, c.told.Done = true, done
	c.options.Progress(c.told)
}

// finish takes the duplicates out, puts the records in order and sums them up.
func (c *collector) finish(ctx context.Context) (*Report, error) {
	rank, number := c.vins.ranks()
	times := newSorter(timeRowWidth, c.options.Tmp)
	defer times.close()
	duplicates := make([]int, len(number)) // by rank
	if err := c.withoutDuplicates(ctx, times, rank, duplicates); err != nil {
		return nil, err
	}
	c.ids.close() // the space may be needed
	records := c.report.Lines - c.report.Damaged - c.report.Filtered
	m := measurer{gap: c.options.Gap.Milliseconds()}
	current, n := -1, 0
	end := func() {
		if current < 0 {
			return
		}
		if m.VIN == "" {
			m.VIN = UnknownVIN
		}
		c.report.Vehicles = append(c.report.Vehicles, m.Vehicle)
	}
	err := times.each(ctx, func(row []uint64) error {
		if n++; n%rowsPerContextCheck == 0 {
			c.sorting(0.5 + 0.5*float64(n)/float64(records))
		}
		r, s := byTime(row)
		if r != current {
			end()
			current = r
			m = measurer{gap: m.gap, Vehicle: newVehicle(c.vins.names[number[r]])}
			m.Duplicates = duplicates[r]
			duplicates[r] = 0
		}
		p := m.add(s)
		if c.options.Track == nil || s.ms == undated {
			return nil
		}
		return c.options.Track(p)
	})
	if err != nil {
		return nil, err
	}
	end()
	for r, n := range duplicates { // all of whose records count for another VIN
		if n > 0 {
			v := newVehicle(cmp.Or(c.vins.names[number[r]], UnknownVIN))
			v.Duplicates = n
			c.report.Vehicles = append(c.report.Vehicles, v)
		}
	}
	c.report.add()
	return c.report, nil
}

// withoutDuplicates gives the records to the next sorter, each once, and counts what was left out. Of copies that differ in nothing
// but the VIN the one with the least counts, an unknown one last.
func (c *collector) withoutDuplicates(ctx context.Context, times *sorter, rank, duplicates []int) error {
	out := times.chunk(1)
	all := c.report.Lines - c.report.Damaged - c.report.Filtered
	var (
		best = make([]uint64, idRowWidth)
		any  bool
		n    int
	)
	put := func() error {
		if !any {
			return nil
		}
		row, err := out.next()
		if err != nil {
			return err
		}
		putByTime(row, best, rank[vehicleOf(best)])
		return nil
	}
	err := c.ids.each(ctx, func(row []uint64) error {
		if n++; n%rowsPerContextCheck == 0 {
			c.sorting(0.5 * float64(n) / float64(all))
		}
		if any && sameID(row, best) {
			loser := rank[vehicleOf(row)]
			if held := rank[vehicleOf(best)]; sameValue(row, best) && loser < held {
				loser = held
				copy(best, row)
			}
			duplicates[loser]++
			return nil
		}
		if err := put(); err != nil {
			return err
		}
		copy(best, row)
		any = true
		return nil
	})
	if err != nil {
		return err
	}
	if err := put(); err != nil {
		return err
	}
	out.done()
	return nil
}
