package clock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sync"
	"time"
)

// Source says who vouches for a time.
type Source string

// The sources, best first.
const (
	GNSS   Source = "gnss"
	NTP    Source = "ntp"
	System Source = "system" // unverified
	None   Source = "none"
)

const (
	// week era of the legacy GPS navigation message: ten bits of week number (IS-GPS-200, 20.3.3.3.1.1).
	era = 1024 * 7 * 24 * time.Hour
	// horizon is how long after the build date a receiver's date is believed. It must be under one era (19.6 years), or a
	// rolled-over date could not be told from a right one.
	horizon = 19 * 365 * 24 * time.Hour
	// epochsToTrust is NTP_MIN_FIXES of gpsd: a receiver's first date after a cold start may be wrong.
	epochsToTrust = 3
	// stepTolerance allows for the jitter of a serial line at 4800 baud, where a burst of sentences takes up to half a second.
	stepTolerance = 500 * time.Millisecond
	// maxStep is the longest gap between two epochs that still prove anything about each other.
	maxStep = 15 * time.Second
	// contradiction is the difference at which the receiver and the learned offset cannot both be right.
	contradiction = 2 * time.Second
	// holdover is how long a receiver's time is better than a synchronised system clock: a board's clock that runs off by 50
	// millionths is 2 s wrong by then.
	holdover = 12 * time.Hour
	// window is the number of epochs over which the offset is the largest seen: a serial line only ever delays, so the largest
	// UTC minus arrival is the nearest to the truth.
	window = 64
)

// Options says where time comes from. Boottime, System and BootID are needed.
type Options struct {
	// BootID names the running boot, as /proc/sys/kernel/random/boot_id does.
	BootID string
	// Build is the earliest time that is believed.
	Build time.Time
	// Boottime is CLOCK_BOOTTIME.
	Boottime func() time.Duration
	// System is the system clock.
	System func() time.Time
	// Synced reports whether the kernel calls the system clock synchronised; nil: never.
	Synced func() bool
	// Path is the file that keeps the offsets of boots; empty: kept in memory only.
	Path string
	// OnChange, if set, is told when the source of time changes. It is called without locks held, from the goroutine that
	// caused the change.
	OnChange func(Change)
}

// A Change is a change of who vouches for the time.
type Change struct {
	From, To Source
	Reason   string
}

// Clock dates what happened on this board. Its methods may be called from any goroutine.
type Clock struct {
	opts Options

	mu       sync.Mutex // guards all below
	boots    boots
	offset   time.Duration // UTC (as time since 1970) minus boottime; valid if source is gnss or ntp
	source   Source        // gnss, ntp or none; system is decided at the moment of asking
	run      int           // consistent epochs in a row
	lastUTC  time.Time     // of the previous epoch, snapped
	lastMono time.Duration // of the previous epoch
	recent   [window]time.Duration
	nRecent  int
	lastGood time.Duration // when the receiver last vouched for the time, else when the process began
	dropped  uint64
	saveErr  error
	savedAt  time.Duration // when saving was last tried
	file     fs.FileInfo   // of Options.Path as it was last read or written; nil: never
	keeper   bool          // Run keeps what is learned
	unkept   chan struct{} // tells Run that there is something
}

// Open returns a Clock that knows the offsets kept in Options.Path. An unreadable or damaged file is an error together with a
// usable Clock that has forgotten the earlier boots.
func Open(o Options) (*Clock, error) {
	if o.BootID == "" || o.Boottime == nil || o.System == nil {
		return nil, errors.New("clock: BootID, Boottime and System are needed")
	}
	c := &Clock{opts: o, source: None, unkept: make(chan struct{}, 1)}
	var err error
	if err = c.adopt(); err != nil {
		err = fmt.Errorf("read the clock file: %w", err)
	}
	c.lastGood = o.Boottime()
	return c, err
}

// adopt takes over what the file tells of boots that are not known here, if the file is another than before: its disk may be
// mounted, or well again, only after the process began. c.mu is held, or c not in use.
func (c *Clock) adopt() error {
	if c.opts.Path == "" {
		return nil
	}
	info, err := os.Stat(c.opts.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && c.file != nil && os.SameFile(info, c.file) && info.ModTime().Equal(c.file.ModTime()) {
		return nil
	}
	if err != nil {
		return err
	}
	found, err := loadBoots(c.opts.Path)
	if unread := new(fs.PathError); errors.As(err, &unread) {
		return err // the disk may be well again later: what the file tells must not be replaced before it was read
	}
	c.file = info
	if err != nil {
		return err
	}
	_, known := c.boots.find(c.opts.BootID)
	c.boots.adopt(found)
	if b, ok := c.boots.find(c.opts.BootID); ok && !known && c.source == None {
		// The process restarted within one boot: boottime went on, so what was learned still holds.
		c.offset, c.source = b.last().Offset, b.Source
	}
	return nil
}

// Epoch tells the clock of a receiver's epoch: its UTC time, and the boottime at which it arrived. It returns the time with
// the right week era, and whether it is trusted by now.
func (c *Clock) Epoch(utc time.Time, mono time.Duration) (time.Time, bool) {
	now := c.opts.System()
	c.mu.Lock()
	snapped, ok := c.snap(utc, now)
	if !ok {
		c.run = 0
		c.mu.Unlock()
		return utc, false
	}
	if c.run > 0 {
		step, monoStep := snapped.Sub(c.lastUTC), mono-c.lastMono
		if step <= 0 || monoStep <= 0 || monoStep > maxStep || (step-monoStep).Abs() > stepTolerance {
			c.run = 0
		}
	}
	if c.run == 0 {
		c.nRecent = 0
	}
	c.run++
	c.lastUTC, c.lastMono = snapped, mono
	offset := time.Duration(snapped.UnixNano()) - mono
	c.recent[c.nRecent%window] = offset
	c.nRecent++

	from := c.source
	reason := ""
	if c.source == GNSS && (offset-c.offset).Abs() > contradiction && c.run < epochsToTrust {
		// One odd epoch does not move the clock, but nobody vouches for it until the receiver has made up its mind.
		c.source = None
		c.dropped++
		reason = fmt.Sprintf("the receiver's time differs by %v from what it said before", (offset - c.offset).Round(time.Millisecond))
	}
	if c.run >= epochsToTrust {
		best := c.recent[0]
		for _, o := range c.recent[1:min(c.nRecent, window)] {
			best = max(best, o)
		}
		if c.source != GNSS {
			reason = fmt.Sprintf("%d consistent epochs of the receiver", c.run)
		}
		c.lastGood = mono
		c.set(GNSS, best, mono)
	}
	trusted := c.source == GNSS
	to := c.source
	c.mu.Unlock()
	c.changed(from, to, reason)
	return snapped, trusted
}

// snap puts a receiver's date into the 1024-week era that is nearest to the reference: the later of system clock and build
// date. It reports false for a date that cannot be right in any era.
func (c *Clock) snap(utc, system time.Time) (time.Time, bool) {
	ref := system
	if c.opts.Build.After(ref) {
		ref = c.opts.Build
	}
	eras := math.Round(ref.Sub(utc).Seconds() / era.Seconds())
	// Sub saturates at 292 years, which is far more than a two-digit year can be off.
	t := utc.Add(time.Duration(eras) * era)
	return t, !t.Before(c.opts.Build) && t.Before(c.opts.Build.Add(horizon))
}

// set notes the offset as of a moment, and keeps it on disk when it is new or has moved by more than a tenth of a second. c.mu
// is held.
func (c *Clock) set(src Source, offset, mono time.Duration) {
	c.source, c.offset = src, offset
	b, ok := c.boots.find(c.opts.BootID)
	unsaved := c.saveErr != nil && mono-c.savedAt >= saveRetry
	if ok && b.Source == src && (b.last().Offset-offset).Abs() < 100*time.Millisecond && !unsaved {
		return
	}
	if err := c.adopt(); err != nil {
		if unread := new(fs.PathError); errors.As(err, &unread) {
			c.saveErr, c.savedAt = err, mono // tried again
			return
		}
		// What is damaged is replaced.
	}
	b, _ = c.boots.find(c.opts.BootID)
	b.ID, b.Source = c.opts.BootID, src
	b.learn(pair{Mono: mono, Offset: offset})
	c.boots.put(b)
	c.savedAt = mono
	if c.keeper {
		select {
		case c.unkept <- struct{}{}:
		default: // it has not seen the change before this one, and will keep both
		}
		return
	}
	text, err := c.boots.text()
	if err == nil {
		err = c.write(text)
	}
	c.saveErr = err
	c.noteFile()
}

// Run keeps what is learned, until ctx is done, and then what is not kept yet. Without it whoever tells the clock of an epoch waits for the
// disk, and with him everybody who asks for the time; a disk that fails may take a minute to say so.
func (c *Clock) Run(ctx context.Context) error {
	c.mu.Lock()
	c.keeper = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.keeper = false
		c.mu.Unlock()
		select {
		case <-c.unkept:
			c.keep()
		default:
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.unkept:
			c.keep()
		}
	}
}

// keep writes what is known by now, without holding anybody up.
func (c *Clock) keep() {
	c.mu.Lock()
	text, err := c.boots.text()
	c.mu.Unlock()
	if err == nil {
		err = c.write(text)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saveErr = err
	c.noteFile()
}

// write replaces the file, if there is to be one.
func (c *Clock) write(text []byte) error {
	if c.opts.Path == "" {
		return nil
	}
	return replace(c.opts.Path, text)
}

// noteFile remembers the file that was just written. c.mu is held.
func (c *Clock) noteFile() {
	if c.saveErr == nil && c.opts.Path != "" {
		c.file, c.saveErr = os.Stat(c.opts.Path)
	}
}

// poll looks at the kernel's flag: NTP is taken when the receiver says nothing, or has not for long. c.mu is held.
func (c *Clock) poll() (reason string) {
	if c.opts.Synced == nil || c.source == GNSS && c.opts.Boottime()-c.lastGood < holdover || !c.opts.Synced() {
		return ""
	}
	now := c.opts.System()
	if now.Before(c.opts.Build) {
		return ""
	}
	if c.source != NTP {
		reason = "the system clock is synchronised"
	}
	mono := c.opts.Boottime()
	c.set(NTP, time.Duration(now.UnixNano())-mono, mono)
	return reason
}

func (c *Clock) changed(from, to Source, reason string) {
	if c.opts.OnChange != nil && from != to {
		c.opts.OnChange(Change{From: from, To: to, Reason: reason})
	}
}

// At dates a moment of the running boot. The time is zero with source none: nobody vouches for a time, or not yet.
func (c *Clock) At(mono time.Duration) (time.Time, Source) {
	c.mu.Lock()
	from := c.source
	reason := c.poll()
	to, offset := c.source, c.offset
	if b, ok := c.boots.find(c.opts.BootID); ok && mono < b.last().Mono {
		offset = b.offset(mono)
	}
	c.mu.Unlock()
	c.changed(from, to, reason)
	if to == None {
		return time.Time{}, None
	}
	return time.Unix(0, int64(offset+mono)).UTC(), to
}

// Now is the best time there is for talking to others (signatures, certificates, file names): the learned time, else the
// system clock, with who vouches for it. It is never zero.
func (c *Clock) Now() (time.Time, Source) {
	if t, src := c.At(c.opts.Boottime()); src != None {
		return t, src
	}
	now := c.opts.System().UTC()
	if now.After(c.opts.Build) {
		return now, System
	}
	return now, None
}

// Date dates a record of any boot: by the offset that its boot learned, be it after the record was made. system is what the
// system clock said at that moment, the zero time if that is not known.
//
// final reports whether asking later cannot give a better answer. While it is false, a caller that can wait should.
func (c *Clock) Date(bootID string, mono time.Duration, system time.Time) (t time.Time, src Source, final bool) {
	if bootID == c.opts.BootID {
		if t, src := c.At(mono); src != None {
			return t, src, true
		}
	} else {
		c.mu.Lock()
		b, ok := c.boots.find(bootID)
		if !ok && c.adopt() == nil {
			b, ok = c.boots.find(bootID)
		}
		c.mu.Unlock()
		if ok {
			return time.Unix(0, int64(b.offset(mono)+mono)).UTC(), b.Source, true
		}
	}
	final = bootID != c.opts.BootID
	if system.After(c.opts.Build) && system.Before(c.opts.Build.Add(horizon)) {
		return system.UTC(), System, final
	}
	return time.Time{}, None, final
}

// Status is a snapshot of a Clock.
type Status struct {
	Time      time.Time
	Source    Source
	BootID    string
	Dropped   uint64 // times that trust in the receiver was dropped
	SaveError error  // why the offset could not be kept on disk; nil if it could
}

// Status returns a snapshot.
func (c *Clock) Status() Status {
	t, src := c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{Time: t, Source: src, BootID: c.opts.BootID, Dropped: c.dropped, SaveError: c.saveErr}
}

// System is what the system clock says, whoever vouches for it.
func (c *Clock) System() time.Time { return c.opts.System().UTC() }
