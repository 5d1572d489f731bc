package buffer

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Quarantine: a segment in which damage was found gets a second name in the directory quarantine, before its first one goes
// or its blocks are used again, so that somebody can look at it, or take out by hand what is left. Damaged segments are
// evidence and no records: when room is needed they go first.
const (
	quarantineDir = "quarantine"
	// quarantineMost segments are kept, and less where they would be more than an eighth of the buffer.
	quarantineMost = 8
)

func quarantineName(name string) string { return path.Join(quarantineDir, name) }

// quarantineLimit is how many damaged segments are kept.
func (l *Log) quarantineLimit() int {
	return int(max(1, min(quarantineMost, l.opts.MaxBytes/int64(l.opts.SegmentBytes)/8)))
}

// openQuarantine takes stock of what earlier lives have set aside.
func (l *Log) openQuarantine() {
	files, err := l.dir.ReadDir(quarantineDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.Warn("can not list the quarantine", "err", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range files {
		_, id, _, ok := parseSegment(f.Name)
		if !ok {
			continue
		}
		l.w.lastID = max(l.w.lastID, id) // or a later segment could get the same name
		if i := slices.IndexFunc(l.segments, func(s *segment) bool { return s.name == f.Name }); i >= 0 {
			l.segments[i].damaged, l.segments[i].aside = true, true
		}
		f.Name = quarantineName(f.Name)
		l.w.quarantine = append(l.w.quarantine, f)
		l.bytes += f.Size
	}
	slices.SortFunc(l.w.quarantine, func(a, b fileInfo) int { return strings.Compare(a.Name, b.Name) })
	l.quarantined = len(l.w.quarantine)
}

// noteDamage marks the segments that had records of from..to (exclusive), or the one before if it is a gap behind it. The
// next commit sets them aside. l.mu is held.
func (l *Log) noteDamage(from, to uint64) {
	for i, s := range l.segments {
		next := s.next
		if i+1 < len(l.segments) {
			next = max(next, l.segments[i+1].first)
		}
		if s.first < to && from < next && !s.damaged {
			s.damaged = true
			l.toSetAside = true
		}
	}
}

// setAside gives the damaged segments their second name.
func (l *Log) setAside() {
	l.mu.Lock()
	if !l.toSetAside {
		l.mu.Unlock()
		return
	}
	l.toSetAside = false
	l.mu.Unlock()
	l.learnSizes()
	l.mu.Lock()
	var list []*segment
	for _, s := range l.segments {
		if s.damaged && !s.aside {
			list = append(list, s)
		}
	}
	l.mu.Unlock()
	for _, s := range list {
		l.thinQuarantine(l.quarantineLimit() - 1)
		err := l.dir.Link(s.name, quarantineName(s.name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			l.log.Warn("can not set a damaged segment aside yet", "segment", s.name, "err", err)
			continue // discard moves it: not every file system knows two names
		}
		l.log.Warn("damaged segment is set aside", "segment", s.name, "in", quarantineDir)
		s.aside = true
		l.mu.Lock()
		size := s.size // a Reader may learn it at any time
		l.mu.Unlock()
		l.quarantine(fileInfo{Name: quarantineName(s.name), Size: size}, size)
	}
}

// moveAside is for a damaged segment that is to go and has no second name. It says whether the file is taken care of.
func (l *Log) moveAside(s *segment) bool {
	l.thinQuarantine(l.quarantineLimit() - 1)
	to := fileInfo{Name: quarantineName(s.name), Size: s.size}
	if err := l.dir.Rename(s.name, to.Name); err != nil {
		l.log.Warn("can not set a damaged segment aside", "segment", s.name, "err", err)
		return false
	}
	l.quarantine(to, 0)
	return true
}

func (l *Log) quarantine(f fileInfo, more int64) {
	w := &l.w
	w.quarantine = append(w.quarantine, f)
	l.mu.Lock()
	l.bytes += more
	l.quarantined = len(w.quarantine)
	l.mu.Unlock()
}

// thinQuarantine removes the oldest damaged segments until at most keep are left, and says whether any was removed.
func (l *Log) thinQuarantine(keep int) (removed bool) {
	w := &l.w
	for len(w.quarantine) > keep {
		w.leftover = append(w.leftover, w.quarantine[0])
		w.quarantine = slices.Delete(w.quarantine, 0, 1)
		removed = true
	}
	if removed {
		l.mu.Lock()
		l.quarantined = len(w.quarantine)
		l.mu.Unlock()
		l.removeLeftover()
	}
	return removed
}
