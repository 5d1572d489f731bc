package status_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"obdagent/agent/status"
	"obdagent/agent/uplink"
	"obdagent/buffer"
	"obdagent/gps"
	"obdagent/obd"
)

func codes(active []status.Active) string {
	var all []string
	for _, a := range active {
		all = append(all, a.Code)
	}
	return strings.Join(all, " ")
}

// TestOnlyWhatLastsIsAFault judges a snapshot that has begun at 0, again after a time.
func TestOnlyWhatLastsIsAFault(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*status.Snapshot)
		after  time.Duration
		state  string
		faults string
	}{
		"a van on the road": {func(*status.Snapshot) {}, time.Hour, "ok", ""},
		"a parked van": {func(s *status.Snapshot) {
			s.Car, s.GPS.Speed = status.Car{State: "parked", Since: 40000, Answers: 9}, nil
		}, time.Hour, "ok", ""},
		"a car never seen":           {func(s *status.Snapshot) { s.Car, s.GPS.Speed = status.Car{State: "parked", Since: 100}, ptr(0.2) }, 0, "ok", "OBD-NOT-SEEN"},
		"no adapter and no receiver": {func(s *status.Snapshot) { s.Car, s.GPS = status.Car{State: "none"}, status.GPS{State: "none"} }, time.Hour, "ok", ""},
		"an adapter just pulled":     {func(s *status.Snapshot) { s.Car = status.Car{State: "absent", Since: 3} }, 0, "waiting", ""},
		"an adapter missing":         {func(s *status.Snapshot) { s.Car = status.Car{State: "absent", Since: 16} }, 0, "degraded", "OBD-NO-ADAPTER"},
		"an adapter in other hands": {func(s *status.Snapshot) { s.Car = status.Car{State: "absent", Since: 16, Cause: "port_busy"} }, 0,
			"degraded", "OBD-PORT-BUSY"},
		"an adapter that stays silent": {func(s *status.Snapshot) { s.Car = status.Car{State: "absent", Since: 61, Cause: "not_elm327"} }, 0,
			"degraded", "OBD-NO-PROMPT"},
		"an adapter that is tried":    {func(s *status.Snapshot) { s.Car = status.Car{State: "probing", Since: 61} }, 0, "degraded", "OBD-NO-PROMPT"},
		"a car that is looked for":    {func(s *status.Snapshot) { s.Car = status.Car{State: "search", Since: 30} }, 0, "waiting", ""},
		"a car that cannot be found":  {func(s *status.Snapshot) { s.Car = status.Car{State: "search", Since: 61} }, 0, "degraded", "OBD-NO-CAR"},
		"a bus that is stuck":         {func(s *status.Snapshot) { s.Car = status.Car{State: "search", Since: 61, Cause: "can_error"} }, 0, "degraded", "OBD-BUS-ERROR"},
		"a car without speed":         {func(s *status.Snapshot) { s.Car.Speed = nil }, 16 * time.Second, "degraded", "OBD-NO-SPEED"},
		"a car whose speed is late":   {func(s *status.Snapshot) { s.Car.Speed = nil }, 14 * time.Second, "waiting", ""},
		"a car without a VIN":         {func(s *status.Snapshot) { s.Car.VIN = "" }, 2 * time.Minute, "degraded", "OBD-NO-VIN"},
		"a silent car in a live van":  {func(s *status.Snapshot) { s.Car.State = "parked" }, 121 * time.Second, "degraded", "OBD-SILENT-DRIVING"},
		"a ferry":                     {func(s *status.Snapshot) { s.Car.State, s.GPS.Speed = "parked", ptr(12.0) }, time.Hour, "ok", ""},
		"an empty battery":            {func(s *status.Snapshot) { s.Car.Voltage = ptr(11.7) }, 601 * time.Second, "ok", "PWR-LOW-BATTERY"},
		"a starter at work":           {func(s *status.Snapshot) { s.Car.Voltage = ptr(9.7) }, 5 * time.Second, "ok", ""},
		"an empty battery of a truck": {func(s *status.Snapshot) { s.Car.Voltage = ptr(23.0) }, 601 * time.Second, "ok", "PWR-LOW-BATTERY"},
		"a full battery of a truck":   {func(s *status.Snapshot) { s.Car.Voltage = ptr(25.0) }, 601 * time.Second, "ok", ""},
		"a tunnel":                    {func(s *status.Snapshot) { s.GPS.State, s.GPS.Since = "no_fix", 120 }, 0, "waiting", ""},
		"a depot's roof":              {func(s *status.Snapshot) { s.GPS.State, s.GPS.Since = "no_fix", 181 }, 0, "degraded", "GPS-NO-FIX"},
		"a silent receiver":           {func(s *status.Snapshot) { s.GPS.State, s.GPS.Since = "silent", 16 }, 0, "degraded", "GPS-SILENT"},
		"a binary receiver": {func(s *status.Snapshot) { s.GPS.State, s.GPS.Since, s.GPS.Cause = "silent", 16, "binary" }, 0,
			"degraded", "GPS-NOT-NMEA"},
		"just before the start":           {func(s *status.Snapshot) { s.Car, s.GPS = status.Car{State: "closed"}, status.GPS{State: "closed"} }, 0, "waiting", ""},
		"a recording that is over":        {func(s *status.Snapshot) { s.GPS.State = "ended" }, time.Hour, "ok", ""},
		"a time that is not known":        {func(s *status.Snapshot) { s.TimeSrc = "none" }, 301 * time.Second, "degraded", "CLK-UNKNOWN"},
		"a time that nobody vouches for":  {func(s *status.Snapshot) { s.TimeSrc = "system" }, 301 * time.Second, "degraded", "CLK-UNVERIFIED"},
		"the same, just after the start":  {func(s *status.Snapshot) { s.TimeSrc = "none" }, 200 * time.Second, "waiting", ""},
		"a time that cannot be kept":      {func(s *status.Snapshot) { s.ClockError = "EIO" }, 2 * time.Minute, "degraded", "CLK-NOT-KEPT"},
		"a coverage hole":                 {func(s *status.Snapshot) { s.Uplink.State, s.Uplink.Since, s.Uplink.Linger = "down", 119, 60 }, 0, "waiting", ""},
		"a coverage hole that lasts":      {func(s *status.Snapshot) { s.Uplink.State, s.Uplink.Since, s.Uplink.Linger = "down", 121, 60 }, 0, "degraded", "UPL-NO-LINK"},
		"a stream that is not there":      {func(s *status.Snapshot) { s.Uplink.State, s.Uplink.Since, s.Uplink.Cause = "refused", 0, "stream" }, 0, "degraded", "UPL-NO-STREAM"},
		"a day's bytes used up":           {func(s *status.Snapshot) { s.Uplink.State = "budget" }, 0, "ok", "UPL-BUDGET"},
		"a disk that fails":               {func(s *status.Snapshot) { s.Buffer.State = "storage failed: EIO" }, 0, "degraded", "BUF-DISK-FAILED"},
		"a disk that takes its time":      {func(s *status.Snapshot) { s.Buffer.UnsyncedAge = 61 }, time.Hour, "ok", ""},
		"a disk that does not answer":     {func(s *status.Snapshot) { s.Buffer.UnsyncedAge = 91 }, 0, "degraded", "BUF-DISK-STALLED"},
		"a disk that fails after a while": {func(s *status.Snapshot) { s.Buffer.UnsyncedAge, s.Buffer.State = 91, "storage failed: EIO" }, 0, "degraded", "BUF-DISK-FAILED"},
		"a reload that is refused":        {func(s *status.Snapshot) { s.Config.Refused = "c.toml:2: gps.buad is unknown" }, 0, "degraded", "CFG-REFUSED"},
		"a disk that is full":             {func(s *status.Snapshot) { s.Buffer.State = "storage full: ENOSPC" }, 0, "degraded", "BUF-DISK-FULL"},
		"a buffer nearly full":            {func(s *status.Snapshot) { s.Buffer.Bytes = 420 << 20 }, 2 * time.Minute, "ok", "BUF-FILLING"},
		"flash at half of its life":       {func(s *status.Snapshot) { s.Buffer.Device.LifeUsed = 60 }, time.Hour, "ok", ""},
		"flash that wears out":            {func(s *status.Snapshot) { s.Buffer.Device.LifeUsed = 80 }, 0, "ok", "BUF-FLASH-WEARING"},
		"flash that is worn out":          {func(s *status.Snapshot) { s.Buffer.Device.LifeUsed = 110 }, 0, "degraded", "BUF-FLASH-WORN"},
		"flash without spare blocks":      {func(s *status.Snapshot) { s.Buffer.Device.Reserve = "urgent" }, 0, "degraded", "BUF-FLASH-WORN"},
		"records that are refused":        {func(s *status.Snapshot) { s.Record.Refused = 1 }, 0, "degraded", "BUF-REFUSED"},
		"records refused long ago":        {func(s *status.Snapshot) { s.Record.Refused = 1 }, 61 * time.Minute, "ok", ""},
		"records that were torn":          {func(s *status.Snapshot) { s.Buffer.Lost = map[string]uint64{"torn": 5} }, 0, "ok", ""},
		"records that cannot be sent":     {func(s *status.Snapshot) { s.Uplink.Aside = 1 }, 0, "degraded", "UPL-SET-ASIDE"},
		// What explains another fault hides it.
		"no receiver and so no time": {func(s *status.Snapshot) { s.GPS = status.GPS{State: "absent", Since: 400}; s.TimeSrc = "none" }, 400 * time.Second,
			"degraded", "GPS-NO-RECEIVER"},
		"a worn flash that has failed": {func(s *status.Snapshot) {
			s.Buffer.Device.LifeUsed, s.Buffer.State, s.ClockError = 110, "storage failed: EIO", "EIO"
		}, time.Hour,
			"degraded", "BUF-DISK-FAILED BUF-FLASH-WORN"},
		// The worst comes first, and of equal ones that of the earlier stage.
		"much at once": {func(s *status.Snapshot) {
			s.Car = status.Car{State: "absent", Since: 60, Voltage: ptr(11.0)}
			s.GPS.State, s.GPS.Since = "silent", 60
			s.Record.Refused = 1
		}, 601 * time.Second, "degraded", "BUF-REFUSED OBD-NO-ADAPTER GPS-SILENT PWR-LOW-BATTERY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h status.History
			for _, at := range []time.Duration{0, c.after} {
				s := driving()
				c.change(&s)
				h.Judge(at, &s)
				if at < c.after {
					continue
				}
				if got := codes(s.Faults); got != c.faults || s.State != c.state {
					t.Errorf("%s: faults %q (pending %q), want %q and %s", s.State, got, codes(s.Pending), c.faults, c.state)
				}
				if !strings.HasPrefix(s.Verdict, strings.ToUpper(s.State)) || strings.Contains(s.Verdict, "\n") {
					t.Errorf("verdict %q", s.Verdict)
				}
				for _, a := range append(s.Faults, s.Pending...) {
					if a.Text == "" || a.Action == "" || a.Since < 0 {
						t.Errorf("a fault without words: %+v", a)
					}
				}
			}
		})
	}
}

// TestAFaultThatPassesBeginsAnew: an adapter that comes and goes is not one that is missing, and one that is missing in two ways is.
func TestAFaultThatPassesBeginsAnew(t *testing.T) {
	t.Parallel()
	var h status.History
	at := func(now time.Duration, change func(*status.Snapshot)) status.Snapshot {
		s := driving()
		change(&s)
		h.Judge(now, &s)
		return s
	}
	silent := func(s *status.Snapshot) { s.Car.Speed = nil }
	if s := at(0, silent); s.State != status.Waiting {
		t.Errorf("at the start: %s", s.State)
	}
	at(10*time.Second, func(*status.Snapshot) {})
	if s := at(20*time.Second, silent); s.State != status.OK || len(s.Pending) > 0 {
		t.Errorf("a hiccup: %s, %+v", s.State, s.Pending)
	}
	if s := at(25*time.Second, silent); s.State != status.Waiting || codes(s.Pending) != "OBD-NO-SPEED" || s.Pending[0].Since != 5 {
		t.Errorf("begun anew: %s, %+v", s.State, s.Pending)
	}
	if s := at(36*time.Second, silent); codes(s.Faults) != "OBD-NO-SPEED" || s.Faults[0].Since != 16 {
		t.Errorf("lasting: %+v", s.Faults)
	}
	// A counter that rises again is shown again.
	aside := func(n uint64) func(*status.Snapshot) {
		return func(s *status.Snapshot) { s.Buffer.Lost = map[string]uint64{"overflow": n} }
	}
	at(time.Hour, aside(3))
	if s := at(3*time.Hour, aside(3)); len(s.Faults) != 0 {
		t.Errorf("long ago: %+v", s.Faults)
	}
	if s := at(4*time.Hour, aside(4)); codes(s.Faults) != "BUF-OVERFLOW" {
		t.Errorf("again: %+v", s.Faults)
	}
}

func TestDamagedAnswersAreSeenByTheirShare(t *testing.T) {
	t.Parallel()
	var h status.History
	var s status.Snapshot
	minute := func(n int, answers, bad uint64) {
		s = driving()
		s.Car.Answers, s.Car.Failures = answers, map[string]uint64{"data_error": bad, "no_data": 99999}
		h.Judge(time.Duration(n)*time.Minute, &s)
	}
	for n := range 10 {
		minute(n, uint64(600*n), uint64(10*n)) // 1.6 %
	}
	if len(s.Faults) > 0 {
		t.Errorf("a few: %+v", s.Faults)
	}
	for n := range 10 {
		minute(10+n, uint64(6000+600*n), uint64(100+60*n)) // 9 %
	}
	if codes(s.Faults) != "OBD-DISTURBED" {
		t.Errorf("many: %+v", s.Faults)
	}
	for n := range 10 {
		minute(20+n, uint64(12000+600*n), 640)
	}
	if len(s.Faults) > 0 {
		t.Errorf("over: %+v", s.Faults)
	}
	// A reload replaces the car, and the counters begin at 0: within the window, and with more answers than before by its end.
	for n := range 10 {
		minute(30+n, uint64(600*n), 0)
		if len(s.Faults) > 0 {
			t.Errorf("begun anew, minute %d: %+v", n, s.Faults)
		}
	}
	for n := range 10 {
		minute(40+n, uint64(6000+600*n), uint64(60*n))
	}
	if codes(s.Faults) != "OBD-DISTURBED" {
		t.Errorf("many after a new beginning: %+v", s.Faults)
	}
}

func TestTheCatalogueIsSound(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, f := range status.Faults() {
		if !regexp.MustCompile(`^(PWR|OBD|GPS|CLK|BUF|UPL|CFG)(-[A-Z]+)+$`).MatchString(f.Code) || known[f.Code] {
			t.Errorf("code %q: twice, or not as the others are", f.Code)
		}
		known[f.Code] = true
		if f.Title == "" || f.Action == "" || !slices.Contains(status.Stages(), f.Stage) || f.After < 0 {
			t.Errorf("%s is not complete: %+v", f.Code, f)
		}
		if !slices.Contains([]status.Severity{status.Critical, status.Error, status.Warning}, f.Severity) {
			t.Errorf("%s has the severity %q", f.Code, f.Severity)
		}
	}
	for _, f := range status.Faults() {
		for _, code := range f.DependsOn {
			if !known[code] || code == f.Code {
				t.Errorf("%s depends on %s, which there is not", f.Code, code)
			}
		}
	}
}

// TestEveryTypedReasonLeadsToAFault: a reason that a part learns to give must say what it means for the technician.
func TestEveryTypedReasonLeadsToAFault(t *testing.T) {
	t.Parallel()
	known := map[string]bool{status.NoFault: true}
	for _, f := range status.Faults() {
		known[f.Code] = true
	}
	reasons := map[status.Stage][]string{status.StageCar: obd.Reasons(), status.StageBuffer: buffer.Reasons()}
	for _, c := range gps.Causes() {
		reasons[status.StageGPS] = append(reasons[status.StageGPS], string(c))
	}
	for _, c := range uplink.Causes() {
		reasons[status.StageUplink] = append(reasons[status.StageUplink], string(c))
	}
	for stage, all := range reasons {
		if len(all) < 4 {
			t.Errorf("%s has the reasons %q only", stage, all)
		}
		for _, reason := range all {
			if code, ok := status.Code(stage, reason); !ok || !known[code] {
				t.Errorf("%s: the reason %s leads to %q, which is no fault", stage, reason, code)
			}
		}
	}
	if _, ok := status.Code(status.StageCar, "what nobody says"); ok {
		t.Error("a reason that there is not leads to a fault")
	}
}

// TestEveryStateIsJudged: each state of a part, with each of its reasons, is either no fault or one that the tables name.
func TestEveryStateIsJudged(t *testing.T) {
	t.Parallel()
	judge := func(change func(*status.Snapshot)) string {
		var h status.History
		s := driving()
		change(&s)
		h.Judge(0, &s)
		h.Judge(time.Hour, &s)
		return codes(s.Faults)
	}
	for _, reason := range obd.Reasons() {
		want, _ := status.Code(status.StageCar, reason)
		got := judge(func(s *status.Snapshot) { s.Car = status.Car{State: string(obd.StateAbsent), Since: 99, Cause: reason} })
		if want == status.NoFault {
			want = "OBD-NO-ADAPTER"
		}
		if want != "OBD-NO-SPEED" && got != want {
			t.Errorf("absent because of %s: %q, want %s", reason, got, want)
		}
	}
	for _, cause := range gps.Causes() {
		want, _ := status.Code(status.StageGPS, string(cause))
		for _, state := range []gps.State{gps.StateAbsent, gps.StateSilent, gps.StateNoFix} {
			if got := judge(func(s *status.Snapshot) { s.GPS = status.GPS{State: string(state), Since: 999, Cause: string(cause)} }); got != want {
				t.Errorf("%s because of %s: %q, want %s", state, cause, got, want)
			}
		}
	}
	for _, state := range uplink.States() {
		for _, cause := range uplink.Causes() {
			got := judge(func(s *status.Snapshot) {
				s.Uplink = status.Uplink{State: string(state), Since: 999, Cause: string(cause)}
			})
			want, _ := status.Code(status.StageUplink, string(cause))
			switch state {
			case uplink.StateStarting, uplink.StateOK, uplink.StateStopped:
				want = ""
			case uplink.StateWaiting:
				want = "CLK-UNKNOWN"
			case uplink.StateBudget:
				want = "UPL-BUDGET"
			}
			if got != want {
				t.Errorf("%s because of %s: %q, want %q", state, cause, got, want)
			}
		}
	}
	for state, want := range map[string]string{buffer.StateOK: "", buffer.StateStorageFull + "x": "BUF-DISK-FULL", buffer.StateStorageFailed + "x": "BUF-DISK-FAILED"} {
		if got := judge(func(s *status.Snapshot) { s.Buffer.State = state }); got != want {
			t.Errorf("buffer %q: %q, want %q", state, got, want)
		}
	}
}
