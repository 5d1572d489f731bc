package buffer

import (
	"cmp"
	"fmt"
	"math"
	"strings"
)

// The names of our files. Others in the directory are somebody else's and are left alone.
const (
	lockName     = "LOCK"
	segmentExt   = ".seg"
	thinExt      = ".thin" // a segment with what was kept of several
	spareExt     = ".spare"
	nameHexChars = 16
)

// segmentName is the name of a segment: its first sequence number and its id. The order of names is the order of records.
func segmentName(first, id uint64, ext string) string {
	return fmt.Sprintf("%016x-%016x%s", first, id, ext)
}

// parseName is the opposite of segmentName. It refuses what segmentName would not have made.
func parseName(name, ext string) (first, id uint64, ok bool) {
	base, found := strings.CutSuffix(name, ext)
	if !found || len(base) != 2*nameHexChars+1 || base[nameHexChars] != '-' {
		return 0, 0, false
	}
	first, ok1 := parseHex(base[:nameHexChars])
	id, ok2 := parseHex(base[nameHexChars+1:])
	return first, id, ok1 && ok2
}

// parseHex takes what %016x prints, and nothing else: there may be thousands of names.
func parseHex(s string) (n uint64, ok bool) {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			n = n<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

// parseSegment is parseName for either kind of segment.
func parseSegment(name string) (first, id uint64, sparse, ok bool) {
	if first, id, ok = parseName(name, segmentExt); !ok {
		first, id, sparse = parseName(name, thinExt)
		ok = sparse
	}
	return max(first, 1), id, sparse, ok && first <= math.MaxUint64/2
}

// segment is one file of records. Fields that change are guarded by Log.mu.
type segment struct {
	name  string
	id    uint64
	first uint64 // number of the first record
	next  uint64 // number behind the last one. Records in the file from here on are a failed commit's and do not count
	size  int64  // of the file, as long as it is not sized what a new one has
	end   int64  // only bytes before are read; likewise

	gapKnown  bool   // whether the following was read from the header
	gapFrom   uint64 // numbers from here up to first never came to disk whole
	gapReason string // why
	headless  bool   // its header never came to disk, so that nothing is known of a gap
	sized     bool   // its size was looked at: Open does not, it would take most of the time
	sparse    bool   // thinned
	packed    bool   // sparse, and there is no room for more in it
	earlier   bool   // written before Open
	damaged   bool   // something in it is not what was written
	aside     bool   // it has a name in the quarantine too; only the holder of Log.writing looks
	failed    bool   // a write or sync failed: never written again
	gone      bool   // deleted or recycled: what a Reader reads from it may be from another life
}

// compareSegments puts segments in the order of their records. Each one's records end where the next one's begin: of those that
// begin with the same number a thinned one holds nothing as long as there is one whose records it is to keep.
func compareSegments(a, b *segment) int {
	switch {
	case a.first != b.first:
		return cmp.Compare(a.first, b.first)
	case a.sparse && b.sparse:
		return cmp.Compare(b.id, a.id)
	case a.sparse:
		return -1
	case b.sparse:
		return 1
	}
	return cmp.Compare(a.id, b.id)
}
