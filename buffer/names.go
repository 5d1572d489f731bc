package buffer

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// The names of our files. Others in the directory are somebody else's and are left alone.
const (
	lockName     = "LOCK"
	segmentExt   = ".seg"
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
	earlier   bool   // written before Open
	damaged   bool   // something in it is not what was written
	aside     bool   // it has a name in the quarantine too; only the holder of Log.writing looks
	failed    bool   // a write or sync failed: never written again
	gone      bool   // deleted or recycled: what a Reader reads from it may be from another life
}

func compareSegments(a, b *segment) int {
	return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.id, b.id))
}
