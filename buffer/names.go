package buffer

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
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
	first, err1 := strconv.ParseUint(base[:nameHexChars], 16, 64)
	id, err2 := strconv.ParseUint(base[nameHexChars+1:], 16, 64)
	if err1 != nil || err2 != nil || segmentName(first, id, ext) != name {
		return 0, 0, false
	}
	return first, id, true
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
	size  int64  // of the file
	end   int64  // only bytes before are read

	gapKnown  bool   // whether the following was read from the header
	gapFrom   uint64 // numbers from here up to first never came to disk whole
	gapReason string // why
	headless  bool   // its header never came to disk, so that nothing is known of a gap
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
