package nmeasim

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"obdagent/gps/internal/recording"
)

const knotsPerMetrePerSecond = 3600.0 / 1852

// A State is what a receiver would know at one instant.
type State struct {
	Fix    bool    // false: all but Sats is left empty
	Lat    float64 // degrees WGS 84, north positive
	Lon    float64 // degrees WGS 84, east positive
	Alt    float64 // m above mean sea level
	Speed  float64 // over ground, m/s
	Course float64 // degrees true; left empty below 0.1 m/s, as u-blox receivers do
	Sats   int     // satellites used
	HDOP   float64 // 0: 0.9
}

// A Synth makes the sentences of a typical u-blox receiver: RMC, VTG, GGA and GSA, in one burst per epoch.
type Synth struct {
	Rate    int           // epochs a second, 1 to 10; 0 is 1
	Latency time.Duration // from the epoch to the first byte; u-blox receivers need about 60 ms
	Faults  Faults
	Seed    uint64 // of the faults
}

// Run writes a burst for each epoch, from the next whole period of the system clock on, until ctx is done (then nil) or w
// fails. at is asked for the state at the time of each epoch; times rise by exactly one period.
func (s Synth) Run(ctx context.Context, w io.Writer, at func(t time.Time) State) error {
	if s.Rate < 0 || s.Rate > 10 {
		return fmt.Errorf("rate of %d epochs a second: want 1 to 10", s.Rate)
	}
	period := time.Second / time.Duration(max(s.Rate, 1))
	release, err := interruptible(ctx, w)
	if err != nil {
		return err
	}
	defer release()
	breaker := newBreaker(s.Faults, s.Seed)
	var buf []byte
	// Adding to the monotonic reading keeps the pace when the system clock is stepped.
	now := time.Now()
	for t := now.Add(now.Truncate(period).Add(period).Sub(now)); ; t = t.Add(period) {
		if !wait(ctx, time.Until(t.Add(s.Latency))) {
			return nil
		}
		epoch := t.Round(0).Round(time.Millisecond)
		buf = AppendEpoch(buf[:0], epoch, at(epoch))
		if err := breaker.write(ctx, w, buf); err != nil {
			return err
		}
	}
}

// AppendEpoch appends the burst of one epoch to dst.
func AppendEpoch(dst []byte, t time.Time, s State) []byte {
	t = t.UTC()
	clock := t.Format("150405.00")
	if !s.Fix {
		dst = sentence(dst, "GNRMC,%s,V,,,,,,,%s,,,N,V", clock, t.Format("020106"))
		dst = sentence(dst, "GNVTG,,,,,,,,,N")
		dst = sentence(dst, "GNGGA,%s,,,,,0,%02d,99.99,,,,,,", clock, s.Sats)
		return sentence(dst, "GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99,1")
	}
	hdop := s.HDOP
	if hdop == 0 {
		hdop = 0.9
	}
	knots := s.Speed * knotsPerMetrePerSecond
	course := ""
	if s.Speed >= 0.1 {
		course = fmt.Sprintf("%.2f", math.Mod(s.Course+360, 360))
	}
	position := minutes(s.Lat, 2, "N", "S") + "," + minutes(s.Lon, 3, "E", "W")
	mode := 3
	if s.Sats < 4 {
		mode = 2
	}
	dst = sentence(dst, "GNRMC,%s,A,%s,%.3f,%s,%s,,,A,V", clock, position, knots, course, t.Format("020106"))
	dst = sentence(dst, "GNVTG,%s,T,,M,%.3f,N,%.3f,K,A", course, knots, s.Speed*3.6)
	dst = sentence(dst, "GNGGA,%s,%s,1,%02d,%.2f,%.1f,M,48.0,M,,", clock, position, s.Sats, hdop, s.Alt)
	return sentence(dst, "GNGSA,A,%d,%s%.2f,%.2f,%.2f,1", mode, satellites(s.Sats), hdop*1.6, hdop, hdop*1.3)
}

// minutes writes an angle as dddmm.mmmmm and its hemisphere; 5 decimals of a minute are 2 cm.
func minutes(v float64, digits int, plus, minus string) string {
	hemisphere := plus
	if v < 0 {
		v, hemisphere = -v, minus
	}
	const unit = 100_000 // of a minute
	n := int64(math.Round(v * 60 * unit))
	degrees, rest := n/(60*unit), n%(60*unit)
	return fmt.Sprintf("%0*d%02d.%05d,%s", digits, degrees, rest/unit, rest%unit, hemisphere)
}

// satellites writes the twelve fields of GSA.
func satellites(n int) string {
	var b []byte
	for i := range 12 {
		if i < n {
			b = fmt.Appendf(b, "%02d", 2+i*2)
		}
		b = append(b, ',')
	}
	return string(b)
}

func sentence(dst []byte, format string, args ...any) []byte {
	return append(recording.Append(dst, fmt.Sprintf(format, args...)), "\r\n"...)
}

// wait returns false if ctx is done before d has passed.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
