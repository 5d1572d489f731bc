package report

import (
	"math"
	"slices"
	"strings"
	"time"
)

// A filter says which lines are wanted.
type filter struct {
	vins     map[string]bool // nil: all
	from, to int64           // Unix ms: from <= t < to
	timed    bool
	day      string // objects in the folder of an earlier day are not; "": all are
}

// folderSlack is how long after a day's end records can still get into an object in its folder: Firehose names an object for the
// time at which it began to fill it, and fills it for up to 15 minutes (buffering hints of up to 900 s). An hour is for clocks
// that were wrong.
const folderSlack = 75 * time.Minute

func newFilter(o Options) filter {
	f := filter{from: math.MinInt64, to: math.MaxInt64, timed: !o.From.IsZero() || !o.To.IsZero()}
	if len(o.VINs) > 0 {
		f.vins = make(map[string]bool, len(o.VINs))
		for _, vin := range o.VINs {
			if vin == UnknownVIN {
				vin = ""
			}
			f.vins[vin] = true
		}
	}
	if !o.From.IsZero() {
		f.from = ceilMilli(o.From)
		f.day = o.FirstFolder()
	}
	if !o.To.IsZero() {
		f.to = ceilMilli(o.To)
	}
	return f
}

func ceilMilli(t time.Time) int64 { return t.Add(time.Millisecond - 1).UnixMilli() }

// wants says whether the line is wanted, and if not whether that is only because it has no time.
func (f *filter) wants(v *values) (wanted, noTime bool) {
	if f.vins != nil && !f.vins[string(v.vin)] {
		return false, false
	}
	if !f.timed {
		return true, false
	}
	if v.time.IsZero() {
		return false, true
	}
	ms := v.time.UnixMilli()
	return f.from <= ms && ms < f.to, false
}

// FirstFolder returns the first year/month/day folder, as 2006/01/02, that can hold a record of From or later; "" without From.
func (o Options) FirstFolder() string {
	if o.From.IsZero() {
		return ""
	}
	return o.From.UTC().Add(-folderSlack).Format(dayLayout)
}

const dayLayout = "2006/01/02"

// before says whether an object can hold nothing that From lets through: no record is delivered before it is made, and where objects lie
// by the records' own days a Firehose record goes to that of its newest line. Late ones are in the folders of later days, of which
// therefore none is left out.
func (f *filter) before(key string) bool {
	if f.day == "" {
		return false
	}
	day := folderDay(key)
	return day != "" && day < f.day
}

// folderDay returns the first yyyy/mm/dd among a key's folders, or "".
func folderDay(key string) string {
	elements := strings.Split(key, "/")
	for i := 0; i+3 < len(elements); i++ {
		day := strings.Join(elements[i:i+3], "/")
		if _, err := time.Parse(dayLayout, day); err == nil {
			return day
		}
	}
	return ""
}

// A vinSet numbers the VINs as they come.
type vinSet struct {
	numbers map[string]int
	names   []string
}

func (s *vinSet) number(vin []byte) int {
	if n, ok := s.numbers[string(vin)]; ok {
		return n
	}
	n := len(s.names)
	s.names = append(s.names, string(vin))
	s.numbers[s.names[n]] = n
	return n
}

// ranks returns the place of each number in the order of the VINs, and the number at each place.
func (s *vinSet) ranks() (rank, number []int) {
	number = make([]int, len(s.names))
	for i := range number {
		number[i] = i
	}
	slices.SortFunc(number, func(a, b int) int { return compareVINs(s.names[a], s.names[b]) })
	rank = make([]int, len(number))
	for r, n := range number {
		rank[n] = r
	}
	return rank, number
}
