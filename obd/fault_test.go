package obd_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"obdagent/obd"
	"obdagent/obd/elmsim"
)

// want says what a fault on one speed request must lead to: the right value (both nil), or one of the errors.
var faultOutcomes = map[elmsim.Fault][]error{
	elmsim.NoData:          {obd.ErrNoData},
	elmsim.UnableToConnect: {obd.ErrUnableToConnect},
	elmsim.SearchingUnable: {obd.ErrUnableToConnect},
	elmsim.NotConnected:    {obd.ErrUnableToConnect},
	elmsim.BusInitError:    {obd.ErrBusInit},
	elmsim.BusInitOK:       nil,
	elmsim.CANError:        {obd.ErrCAN},
	elmsim.BusError:        {obd.ErrBus},
	elmsim.BusBusy:         {obd.ErrBus},
	elmsim.FBError:         {obd.ErrBus},
	elmsim.DataError:       {obd.ErrData},
	elmsim.DataErrorMark:   {obd.ErrData},
	elmsim.RxErrorMark:     {obd.ErrData},
	elmsim.Err94:           {obd.ErrAdapter},
	elmsim.BufferFull:      {obd.ErrBufferFull},
	elmsim.BufferFullLine:  {obd.ErrBufferFull},
	elmsim.Stopped:         nil, // asked once more
	elmsim.LVReset:         {obd.ErrLVReset},
	elmsim.ActAlert:        nil,
	elmsim.UnknownCommand:  {obd.ErrUnknownCommand},
	elmsim.Refused:         {obd.ErrNegative},
	elmsim.Pending:         {obd.ErrNegative}, // one line was waited for, and this is it; the data is not waited for, nor taken for another's
	elmsim.PendingOnly:     {obd.ErrNegative},
	elmsim.Silence:         {obd.ErrTimeout},
	elmsim.LateAnswer:      {obd.ErrTimeout},
	elmsim.NoPrompt:        {obd.ErrTimeout},
	elmsim.Truncate:        {obd.ErrMalformed},
	elmsim.NULs:            nil,
	elmsim.NULAfterPrompt:  nil,
	elmsim.LFAfterPrompt:   nil,
	elmsim.Echo:            nil,
	elmsim.GluedSearching:  nil,
	elmsim.SearchingLine:   nil,
	elmsim.CRLF:            nil,
	elmsim.LeadingCR:       nil,
	elmsim.OneByteAtATime:  nil,
	elmsim.Spaces:          nil,
	elmsim.NoHeaders:       {obd.ErrMalformed},
	elmsim.WrongPID:        {obd.ErrMismatch},
	elmsim.WrongService:    {obd.ErrMismatch},
	elmsim.ForeignECUFirst: nil,
	elmsim.ForeignECUOnly:  nil,                // asked once more
	elmsim.Implausible:     nil,                // 255 km/h can be said; see rpm below
	elmsim.Checksum:        {obd.ErrMalformed}, // once, from an ECU that never did it before; that it always does is another test
	elmsim.Chatter:         nil,
	elmsim.ShortFrame:      {obd.ErrMalformed},
	elmsim.LostFrame:       nil, // a single frame has no second
	elmsim.SwappedFrames:   nil,
	elmsim.BadBusChecksum:  nil, // on CAN this changes a digit of the value: see the K-line test
	elmsim.GarbageBytes:    {obd.ErrMalformed, obd.ErrUnknownCommand},
	elmsim.Unplugged:       nil,
	elmsim.ActAlertPlain:   nil,
	elmsim.LPAlert:         nil, // the value is right; then the adapter is set up again
	elmsim.LowPower:        nil,
	elmsim.Asleep:          {obd.ErrTimeout, obd.ErrRestarted}, // both, one after the other
	elmsim.LockUp:          {obd.ErrTimeout},                   // its end is another test
	elmsim.BusInitPause:    nil,
	elmsim.Err42:           {obd.ErrAdapter},
	elmsim.RefusedService:  {obd.ErrNegative},
	elmsim.NoFlowControl:   nil, // a single frame needs none
	elmsim.LatePrompt:      nil,
	elmsim.HeldBack:        nil,
	elmsim.GarbageLine:     {obd.ErrMalformed},
	elmsim.SearchPause:     nil,
	elmsim.NoIndex:         {obd.ErrMalformed},
	elmsim.ColonBlank:      {obd.ErrMalformed},
}

// TestEveryFaultGivesItsReasonOrTheRightValue lets each fault befall a speed request of a live car whose speed changes with
// every request, so that a late answer shows.
func TestEveryFaultGivesItsReasonOrTheRightValue(t *testing.T) {
	t.Parallel()
	for _, protocol := range []elmsim.Protocol{elmsim.CAN11Bit500k, elmsim.CAN29Bit500k, elmsim.ISO9141, elmsim.KWPFast} {
		for _, fault := range elmsim.Faults() {
			outcome, known := faultOutcomes[fault]
			if !known {
				t.Errorf("fault %v has no row", fault)
			}
			can := protocol >= elmsim.CAN11Bit500k
			switch {
			case fault == elmsim.Checksum && !can, fault == elmsim.BadBusChecksum && can, fault == elmsim.Implausible, fault == elmsim.Unplugged, fault == elmsim.LockUp:
				continue
			case fault == elmsim.BadBusChecksum:
				outcome = []error{obd.ErrMalformed}
			case fault == elmsim.LateAnswer && !can:
				// K-line may have to be woken, so its deadline is longer; but the answer cannot be dated.
				outcome = []error{obd.ErrLate}
			}
			t.Run(fmt.Sprintf("%v on protocol %c", fault, protocol), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { checkFault(t, protocol, fault, outcome) })
			})
		}
	}
}

func checkFault(t *testing.T, protocol elmsim.Protocol, fault elmsim.Fault, outcome []error) {
	start := time.Now()
	// The speed tells the second in which it was true.
	speedAt := func(at time.Time) float64 { return float64(20 + int(at.Sub(start)/time.Second)%200) }
	sim := elmsim.New(elmsim.Options{VIN: testVIN, Protocol: protocol, ECUDelay: 8 * time.Millisecond, Baud: 38400, Seed: 7, Vehicle: func() elmsim.Vehicle {
		v := elmsim.Idling()
		v.Speed = speedAt(time.Now())
		return v
	}})
	b := newBench(t, sim, obd.Options{Now: func() time.Duration { return time.Since(start) }})
	b.run(t)
	b.until(t, obd.StateLive, 20*time.Second)
	pass(time.Second)
	b.clear()
	failures := b.car.Status().Failures
	sim.Inject(fault)
	pass(12 * time.Second)
	if n := sim.Counts().Faults[fault]; n != 1 {
		t.Fatalf("the fault befell %d replies", n)
	}
	var failed []error
	good := 0
	for _, s := range b.taken() {
		if s.Err != nil {
			if !math.IsNaN(s.Value) {
				t.Errorf("value %v beside error %v", s.Value, s.Err)
			}
			failed = append(failed, s.Err)
			continue
		}
		good++
		// A sample lies within the second in which its speed was true, but for the edges.
		before, after := speedAt(start.Add(s.Mono-50*time.Millisecond)), speedAt(start.Add(s.Mono+50*time.Millisecond))
		if s.Value != before && s.Value != after {
			t.Errorf("at %v speed %v, true is %v", s.Mono, s.Value, after)
		}
	}
	switch {
	case outcome == nil && len(failed) > 0:
		t.Errorf("want the right value, got %v", failed)
	case outcome != nil && len(failed) != 1 && (fault != elmsim.Asleep || len(failed) != 2):
		t.Errorf("want one failure, got %v", failed)
	case outcome != nil:
		for _, f := range failed {
			match := false
			for _, e := range outcome {
				match = match || errors.Is(f, e)
			}
			if !match {
				t.Errorf("want %v, got %v", outcome, f)
			}
		}
		if code := obd.Reason(failed[0]); b.car.Status().Failures[code] == failures[code] {
			t.Errorf("failure %s is not counted: %v", code, b.car.Status().Failures)
		}
	}
	if good < 20 {
		t.Errorf("only %d good samples in 12 s", good)
	}
	if st := b.car.Status(); st.State != obd.StateLive {
		t.Errorf("state afterwards: %s: %s", st.State, st.Reason)
	}
	if s := b.taken(); s[len(s)-1].Err != nil {
		t.Errorf("last sample: %+v", s[len(s)-1])
	}
}

// TestReplyCutAtEveryOffsetGivesNoWrongNumber cuts replies to a live session after each of their bytes: the whole way from the line to the
// sample. TestReplyCutAnywhereIsNeverAWrongSpeed does it to the gate alone.
func TestReplyCutAtEveryOffsetGivesNoWrongNumber(t *testing.T) {
	t.Parallel()
	pair := map[string]time.Duration{"rpm": time.Millisecond}
	for _, c := range []struct {
		name   string
		opt    elmsim.Options
		period map[string]time.Duration
		size   int // of the longest reply, without line ends
	}{
		{"CAN 11", elmsim.Options{}, nil, 11},
		{"CAN 11, two PIDs", elmsim.Options{}, pair, 17},
		{"CAN 11, padded with 00", elmsim.Options{Padding: true}, nil, 19},
		{"CAN 11, two PIDs, padded with 55", elmsim.Options{Padding: true, PadByte: 0x55}, pair, 19},
		{"CAN 29", elmsim.Options{Protocol: elmsim.CAN29Bit500k}, nil, 16},
		{"ISO 9141", elmsim.Options{Protocol: elmsim.ISO9141}, nil, 14},
		{"KWP", elmsim.Options{Protocol: elmsim.KWPFast}, nil, 14},
		{"J1850", elmsim.Options{Protocol: elmsim.J1850VPW}, nil, 14},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for n := range c.size {
				synctest.Test(t, func(t *testing.T) {
					opt := c.opt
					opt.VIN, opt.Vehicle, opt.ECUDelay, opt.CutAt = testVIN, vehicleAt(50), 8*time.Millisecond, n
					if n == 0 {
						opt.CutAt = -1
					}
					sim := elmsim.New(opt)
					b := newBench(t, sim, obd.Options{Period: c.period})
					b.run(t)
					b.until(t, obd.StateLive, 20*time.Second)
					pass(2 * time.Second)
					b.clear()
					sim.Inject(elmsim.Truncate)
					pass(3 * time.Second)
					failed, good := 0, 0
					for _, s := range b.taken() {
						switch {
						case s.Err != nil:
							failed++
						case s.Signal == obd.SignalSpeed && s.Value != 50, s.Signal == "rpm" && s.Value != 800:
							t.Errorf("after %d bytes: %+v", n, s)
						default:
							good++
						}
					}
					if failed == 0 || failed > 2 || good < 5 {
						t.Errorf("after %d bytes: %d failed, %d good", n, failed, good)
					}
				})
			}
		})
	}
}

// TestVINCutAtEveryOffsetIsReadWholeOrNotAtAll does it to the answer of several frames.
func TestVINCutAtEveryOffsetIsReadWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, p := range []struct {
		protocol elmsim.Protocol
		size     int
	}{{elmsim.CAN11Bit500k, 3*19 + 2}, {elmsim.ISO9141, 5*22 + 4}} {
		t.Run("protocol "+string(byte(p.protocol)), func(t *testing.T) {
			t.Parallel()
			for n := 1; n < p.size; n++ {
				synctest.Test(t, func(t *testing.T) {
					sim := elmsim.New(elmsim.Options{VIN: testVIN, Protocol: p.protocol, Vehicle: vehicleAt(50), CutAt: n,
						FaultOn: map[string]elmsim.Fault{"0902": elmsim.Truncate}})
					b := newBench(t, sim, obd.Options{MaxRate: 3})
					b.run(t)
					b.until(t, obd.StateLive, 30*time.Second)
					if v := b.car.Status().Vehicle.VIN; v != "" {
						t.Errorf("after %d bytes: VIN %q", n, v)
					}
				})
			}
		})
	}
}
