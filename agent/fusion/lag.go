package fusion

import (
	"math"
	"time"
)

// A receiver filters what it measures, and tells of an epoch what was true some time before it: in a drive with both speeds on
// one clock the receiver's trailed the vehicle bus by 1.05 s (GENIVI positioning, logfile-munich1). A car may trail too, where
// its brake control unit filters the wheels' speed, so lags below zero are looked for as well.
const (
	minLag  = -1 * time.Second
	maxLag  = 3 * time.Second
	lagStep = 50 * time.Millisecond
	lags    = int((maxLag-minLag)/lagStep) + 1

	// lagMemory is how many epochs the estimate is made of, the older ones weighing less: five minutes of changing speed.
	lagMemory = 300
	// lagEpochs is how many of them are the least to believe it.
	lagEpochs = 60
	// lagSpacing: epochs nearer to each other than this tell the same.
	lagSpacing = 200 * time.Millisecond
	// lagChange in km/h, within what all candidates look at, is how much the car's speed must change for an epoch to tell
	// anything: well above its step of 1 km/h.
	lagChange = 5.0
	// lagError is the standard error in s at which the estimate is stable: 0.1 km/h at an acceleration of 1 m/s².
	lagError = 0.03
	// lagFit is the least share of the variance of the receiver's speed that the car's must explain.
	lagFit = 0.9
	// lagSlack keeps the lag that is applied from following the noise of its estimate.
	lagSlack = 0.05 // s
	// lagSpan steps to both sides measure how sharp the estimate is.
	lagSpan = 5
)

// Lag is how far the receiver's speed trails the car's.
type Lag struct {
	Epochs   int           // the estimate was made of, all in all
	Known    bool          // there is an estimate
	Estimate time.Duration // -1 s to 3 s
	Error    time.Duration // standard error of Estimate
	Ratio    float64       // the receiver's speed by the car's; a wrong tyre size shows here
	Applied  time.Duration // what records on epochs are corrected by; 0 until the estimate was stable once
}

// lagEstimator correlates the receiver's speed with the car's at each of the candidate lags. Its memory is fixed, and it is
// a pure function of what it was told.
type lagEstimator struct {
	pending  [16]speedAt // epochs whose later neighbours of the car are still to come
	nPending int
	lastUsed time.Duration
	used     int

	// Weighted sums over the epochs: of one, of the receiver's speed y and its square, and for each candidate of the car's
	// speed x, its square, and x times y.
	w, y, yy   float64
	x, xx, xy  [lags]float64
	state      Lag
	hasApplied bool
}

type speedAt struct {
	at  time.Duration
	kmh float64
}

// epoch notes the receiver's speed at an epoch.
func (l *lagEstimator) epoch(at time.Duration, kmh float64) {
	if l.nPending == len(l.pending) || l.nPending > 0 && at-l.pending[l.nPending-1].at < lagSpacing || at-l.lastUsed < lagSpacing {
		return
	}
	l.pending[l.nPending] = speedAt{at, kmh}
	l.nPending++
}

// forget drops the epochs whose neighbours will not come, because the car has gone.
func (l *lagEstimator) forget() { l.nPending = 0 }

// update uses the epochs that the car's speeds now bracket at every candidate.
func (l *lagEstimator) update(car *ring) {
	latest, ok := car.latest()
	if !ok {
		return
	}
	done := 0
	for _, p := range l.pending[:l.nPending] {
		if p.at-minLag > latest {
			break
		}
		done++
		l.use(p, car)
	}
	l.nPending = copy(l.pending[:], l.pending[done:l.nPending])
}

func (l *lagEstimator) use(p speedAt, car *ring) {
	var x [lags]float64
	low, high := math.Inf(1), math.Inf(-1)
	for i := range x {
		v, _, ok := car.between(p.at - lagAt(i))
		if !ok {
			return
		}
		x[i] = v
		low, high = min(low, v), max(high, v)
	}
	if high-low < lagChange {
		return
	}
	const keep = 1 - 1.0/lagMemory
	// The conversions keep the compiler from fusing multiplication and addition: every machine finds the same lag.
	l.w = float64(l.w*keep) + 1
	l.y = float64(l.y*keep) + p.kmh
	l.yy = float64(l.yy*keep) + float64(p.kmh*p.kmh)
	for i, v := range x {
		l.x[i] = float64(l.x[i]*keep) + v
		l.xx[i] = float64(l.xx[i]*keep) + float64(v*v)
		l.xy[i] = float64(l.xy[i]*keep) + float64(v*p.kmh)
	}
	l.lastUsed = p.at
	l.used++
	l.estimate()
}

func lagAt(i int) time.Duration { return minLag + time.Duration(i)*lagStep }

// line fits the receiver's speed to the car's at one candidate: its slope, and the mean square that it leaves over.
func (l *lagEstimator) line(i int) (slope, rest float64) {
	yy := l.yy/l.w - float64((l.y/l.w)*(l.y/l.w))
	xx := l.xx[i]/l.w - float64((l.x[i]/l.w)*(l.x[i]/l.w))
	xy := l.xy[i]/l.w - float64((l.x[i]/l.w)*(l.y/l.w))
	if xx <= 0 || xy <= 0 {
		return 0, yy
	}
	return xy / xx, max(0, yy-float64(xy*xy)/xx)
}

// estimate looks for the candidate that leaves the least over, and decides what is applied.
func (l *lagEstimator) estimate() {
	l.state.Epochs = l.used
	var rest [lags]float64
	best := 0
	for i := range rest {
		_, rest[i] = l.line(i)
		if rest[i] < rest[best] {
			best = i
		}
	}
	applied := l.state.Applied
	if l.hasApplied && rest[nearest(applied)] > rest[nearest(0)] {
		// The receiver or the car is another one: what was learned does harm by now.
		l.state.Applied, l.hasApplied = 0, false
	}
	l.state.Known = false
	if best < lagSpan || best >= lags-lagSpan || l.used < lagEpochs {
		return
	}
	// Near its minimum what is left over is a parabola: rest = least + curve * (lag - estimate)^2, lag in s.
	step := lagStep.Seconds()
	span := step * lagSpan
	curve := (rest[best-lagSpan] + rest[best+lagSpan] - 2*rest[best]) / 2 / float64(span*span)
	bend := rest[best-1] + rest[best+1] - 2*rest[best]
	if curve <= 0 || bend <= 0 {
		return
	}
	seconds := lagAt(best).Seconds() + float64(step*(rest[best-1]-rest[best+1])/2/bend)
	stdErr := math.Sqrt(rest[best] / l.w / curve)
	slope, _ := l.line(best)
	variance := l.yy/l.w - float64((l.y/l.w)*(l.y/l.w))
	l.state.Known = true
	l.state.Estimate = duration(seconds)
	l.state.Error = duration(min(stdErr, 10))
	l.state.Ratio = slope
	if stdErr > lagError || rest[best] > (1-lagFit)*variance {
		return
	}
	if !l.hasApplied || math.Abs(seconds-l.state.Applied.Seconds()) > lagSlack {
		l.state.Applied, l.hasApplied = l.state.Estimate, true
	}
}

// nearest is the candidate next to a lag.
func nearest(lag time.Duration) int {
	return max(0, min(lags-1, int((lag-minLag+lagStep/2)/lagStep)))
}

// duration has milliseconds: more would be noise.
func duration(seconds float64) time.Duration {
	return time.Duration(math.Round(seconds*1000)) * time.Millisecond
}
