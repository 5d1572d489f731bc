package gps_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"obdagent/gps"
)

// turn is what a receiver sends in second n; GSA comes only where full.
func turn(n int, full bool) []byte {
	at := (time.Duration(12*3600+n) * time.Second)
	tod := time.Time{}.Add(at).Format("150405") + ".00"
	s := sum("GPRMC,"+tod+",A,4807.0380,N,01131.0000,E,0.1,084.4,230324,,,A") +
		sum("GPGGA,"+tod+",4807.0380,N,01131.0000,E,1,08,0.9,545.4,M,46.9,M,,")
	if full {
		s += sum("GPGSA,A,3,01,02,03,04,05,06,07,08,,,,,1.6,0.9,1.3")
	}
	return []byte(s)
}

// epochsOf feeds a burst a second and says of each whether its epoch was out with its last byte ('p'), cut ('c': a sentence
// came after it was out) or waited for ('w').
func epochsOf(a *gps.Assembler, full func(n int) bool, count int) string {
	var how strings.Builder
	for n := range count {
		at := time.Duration(n) * time.Second
		if d, ok := a.Deadline(); ok {
			a.Expire(d)
		}
		late := a.Counts().Late
		a.Feed(turn(n, full(n)), at)
		_, open := a.Deadline()
		switch {
		case a.Counts().Late > late:
			how.WriteByte('c')
		case open:
			how.WriteByte('w')
		default:
			how.WriteByte('p')
		}
	}
	return how.String()
}

func TestCyclesThatTakeTurnsAreForeseen(t *testing.T) {
	t.Parallel()
	for _, period := range []int{2, 3, 5, 10} {
		t.Run(fmt.Sprintf("GSA with every epoch of %d", period), func(t *testing.T) {
			t.Parallel()
			a := gps.NewAssembler(func(gps.Fix) {})
			const epochs = 80
			how := epochsOf(a, func(n int) bool { return n%period == 0 }, epochs)
			learned := 3*period + 8
			if tail := how[learned:]; strings.Trim(tail, "p") != "" || strings.Contains(how, "c") {
				t.Errorf("%s: want no epoch cut, and none waited for after the first %d", how, learned)
			}
			if !strings.Contains(how[:2*period], "w") {
				t.Errorf("%s: the short ones were believed before the period could be known", how)
			}
		})
	}
}

func TestATurnOutOfOrderCostsOneSentenceAndIsLearnedAnew(t *testing.T) {
	t.Parallel()
	a := gps.NewAssembler(func(gps.Fix) {})
	how := epochsOf(a, func(n int) bool { return n%5 == 0 && n < 47 || n%5 == 2 && n >= 47 }, 100)
	if strings.Count(how, "c") != 1 || how[47] != 'c' || !strings.Contains(how[48:58], "w") || strings.Trim(how[80:], "p") != "" {
		t.Errorf("%s: want epoch 47 cut, some waited for after it, and none from the 80th on", how)
	}
	if c := a.Counts(); c.Epochs != 100 || c.Late != 1 {
		t.Errorf("%+v: want 100 epochs and one late sentence", c)
	}
}

func TestSentencesLeftOutAtRandomAreNotTakenForAPeriod(t *testing.T) {
	t.Parallel()
	a := gps.NewAssembler(func(gps.Fix) {})
	// The bits of pi have no period.
	const bits = "0010010000111111011010101000100010000101101000110000100011010011000100110001100110001010001011100000001101110000011100110100010010100100000010010011100000100010"
	how := epochsOf(a, func(n int) bool { return bits[n] == '1' }, len(bits))
	if n := strings.Count(how, "c"); n > 2 {
		t.Errorf("%s: %d epochs cut", how, n)
	}
}
