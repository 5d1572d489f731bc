package status

import (
	"fmt"
	"strings"
	"time"
)

// NoFault stands for a reason that is no fault.
const NoFault = ""

// carReasons says which fault each of obd.Reasons leads to.
var carReasons = map[string]string{
	"no_port": "OBD-NO-ADAPTER", "not_found": "OBD-NO-ADAPTER", "not_there": "OBD-NO-ADAPTER", "port_gone": "OBD-NO-ADAPTER", "no_connection": "OBD-NO-ADAPTER", "other": "OBD-NO-ADAPTER",
	"several":       "OBD-SEVERAL-ADAPTERS",
	"no_permission": "OBD-NO-PERMISSION",
	"port_busy":     "OBD-PORT-BUSY",
	"talks_unasked": "OBD-WRONG-PORT", "not_a_port": "OBD-WRONG-PORT",
	"not_elm327": "OBD-NO-PROMPT", "timeout": "OBD-NO-PROMPT",
	"adapter_error": "OBD-ADAPTER-RESTARTS", "lv_reset": "OBD-ADAPTER-RESTARTS", "restarted": "OBD-ADAPTER-RESTARTS",
	"buffer_full": "OBD-ADAPTER-UNFIT", "stopped": "OBD-ADAPTER-UNFIT", "unknown_command": "OBD-ADAPTER-UNFIT", "malformed": "OBD-ADAPTER-UNFIT", "mismatch": "OBD-ADAPTER-UNFIT",
	"can_error": "OBD-BUS-ERROR", "bus_error": "OBD-BUS-ERROR", "data_error": "OBD-BUS-ERROR",
	"unable_to_connect": "OBD-NO-CAR", "bus_init": "OBD-NO-CAR", "no_data": "OBD-NO-CAR",
	"unsupported": "OBD-NO-SPEED", "negative_response": "OBD-NO-SPEED", "implausible": "OBD-NO-SPEED", "late": "OBD-NO-SPEED",
	"stopped_by_us": NoFault,
}

// gpsReasons says which fault each of gps.Causes leads to.
var gpsReasons = map[string]string{
	"no_port": "GPS-NO-RECEIVER", "not_found": "GPS-NO-RECEIVER", "not_there": "GPS-NO-RECEIVER", "gone": "GPS-NO-RECEIVER", "other": "GPS-NO-RECEIVER",
	"several":       "GPS-SEVERAL-RECEIVERS",
	"no_permission": "GPS-NO-PERMISSION",
	"busy":          "GPS-PORT-BUSY",
	"not_a_port":    "GPS-WRONG-PORT",
	"no_connection": "GPS-NO-CONNECTION",
	"file":          "GPS-NO-FILE",
	"silent":        "GPS-SILENT",
	"not_nmea":      "GPS-NOT-NMEA", "binary": "GPS-NOT-NMEA",
	"no_epoch": "GPS-NO-EPOCH",
	"no_fix":   "GPS-NO-FIX", "no_position": "GPS-NO-FIX", "satellites": "GPS-NO-FIX", "hdop": "GPS-NO-FIX",
	"zero": "GPS-FROZEN", "frozen": "GPS-FROZEN",
}

// bufferReasons says which fault each of buffer.Reasons leads to. What was torn had never been promised.
var bufferReasons = map[string]string{"overflow": "BUF-OVERFLOW", "thinned": "BUF-THINNED", "refused": "BUF-REFUSED", "damaged": "BUF-DAMAGED", "torn": NoFault}

// uplinkStates says which fault each of uplink.States leads to; those marked by cause by what stands behind the state.
var uplinkStates = map[string]string{
	"starting": NoFault, "ok": NoFault, "stopped": NoFault,
	"waiting": "CLK-UNKNOWN", "budget": "UPL-BUDGET",
	"throttled": byCause, "down": byCause, "refused": byCause,
}

const byCause = "by cause"

// uplinkReasons says which fault each of uplink.Causes leads to.
var uplinkReasons = map[string]string{
	"stream": "UPL-NO-STREAM", "permission": "UPL-NO-PERMISSION", "credentials": "UPL-NO-CREDENTIALS", "certificate": "UPL-CERTIFICATE",
	"directory": "UPL-DIRECTORY", "buffer": "BUF-UNREADABLE",
	"link": "UPL-NO-LINK", "throttled": "UPL-THROTTLED", "setup": "UPL-SETUP", "clock": "UPL-CLOCK", "refused": "UPL-REFUSED",
}

// Code is the fault that a reason of a part leads to: part car with obd.Reasons, gps with gps.Causes, buffer with buffer.Reasons, uplink
// with uplink.Causes. It is NoFault where the reason is none, and ok is false where it is not known.
func Code(part Stage, reason string) (code string, ok bool) {
	table := map[Stage]map[string]string{StageCar: carReasons, StageGPS: gpsReasons, StageBuffer: bufferReasons, StageUplink: uplinkReasons}[part]
	code, ok = table[reason]
	return code, ok
}

// car is a fault of the adapter or of what is behind it.
func car(code string, after time.Duration, title, action string) Fault {
	return Fault{Code: code, Stage: StageCar, Severity: Error, After: after, Title: title, Action: action,
		holds: func(s *Snapshot, _ *History) sign {
			return sign{on: carFault(&s.Car) == code, held: s.Car.Since, text: s.Car.Reason}
		}}
}

// carFault is what keeps the car from being live, if anything does.
func carFault(c *Car) string {
	code := carReasons[c.Cause]
	switch c.State {
	case "absent", "closed":
		return orElse(code, "OBD-NO-ADAPTER")
	case "probing":
		return "OBD-NO-PROMPT"
	case "search":
		return orElse(code, "OBD-NO-CAR")
	}
	return NoFault
}

// notSeen is a car that has not answered once since the start: nobody knows whether it can.
func notSeen(s *Snapshot, _ *History) sign {
	return sign{on: s.Car.State == "parked" && s.Car.Answers == 0, held: s.Car.Since}
}

// noSpeed is a car that is live without a speed. Just after the start of a session the first answer is under way.
func noSpeed(s *Snapshot, _ *History) sign {
	if s.Car.State != "live" || s.Car.Speed != nil {
		return sign{}
	}
	text := ""
	if s.Car.SpeedCause != "" {
		text = "the car answers, but not with its speed (" + s.Car.SpeedCause + ")"
	}
	return sign{on: true, text: text}
}

// silentDriving is a parked car in a van that drives. A van on a tow truck is one, too: that is worth a look.
func silentDriving(s *Snapshot, _ *History) sign {
	c := &s.Car
	if c.State != "parked" || s.GPS.Speed == nil || *s.GPS.Speed < driving {
		return sign{}
	}
	return sign{on: true, text: fmt.Sprintf("the van drives at %.0f km/h, but the car is silent: %s", *s.GPS.Speed, orElse(c.Reason, "it counts as parked"))}
}

// lowVoltage is a battery that is nearly empty, by what the adapter measures.
func lowVoltage(s *Snapshot, _ *History) sign {
	if s.Car.Voltage == nil {
		return sign{}
	}
	v := *s.Car.Voltage
	return sign{on: LowBattery(v), text: fmt.Sprintf("the vehicle's battery is nearly empty: %.1f V", v)}
}

// LowBattery tells whether a voltage, while nothing is started, is that of a battery that is nearly empty, of 12 or 24 V.
func LowBattery(volts float64) bool {
	if volts >= system24 {
		return volts < lowBattery24
	}
	return volts < lowBattery
}

// damaged are the obd.Reasons of answers that came, and were not whole.
var damaged = []string{"data_error", "bus_error", "buffer_full", "stopped", "malformed", "mismatch", "implausible", "late", "restarted", "lv_reset", "adapter_error", "timeout"}

// damagedAnswers is a live car many of whose answers are no good.
func damagedAnswers(s *Snapshot, h *History) sign {
	bad, of := h.share.of()
	if s.Car.State != "live" || of < shareFrom || float64(bad) < disturbed*float64(of) {
		return sign{}
	}
	return sign{on: true, text: fmt.Sprintf("%d of the last %d answers were damaged", bad, of)}
}

// A share is how many of the latest answers were damaged, over one to two windows.
type share struct {
	begun         bool
	began         time.Duration
	earlier, last tally // at the beginning of the window before, and of this one
	now           tally
}

type tally struct{ bad, of uint64 }

const (
	shareWindow = 2 * time.Minute
	shareFrom   = 50 // answers, below which a share says nothing
)

func (w *share) add(now time.Duration, s *Snapshot) {
	n := tally{of: s.Car.Answers}
	for _, reason := range damaged {
		n.bad += s.Car.Failures[reason]
	}
	n.of += n.bad
	if n.bad < w.now.bad || n.of < w.now.of {
		*w = share{} // another car, whose counters began at 0: what was counted of the one before says nothing of it
	}
	w.now = n
	if !w.begun || now-w.began >= shareWindow {
		w.begun, w.began, w.earlier, w.last = true, now, w.last, w.now
	}
}

func (w *share) of() (bad, of uint64) { return w.now.bad - w.earlier.bad, w.now.of - w.earlier.of }

// receiver is a fault of the GPS.
func receiver(code string, after time.Duration, title, action string) Fault {
	return Fault{Code: code, Stage: StageGPS, Severity: Error, After: after, Title: title, Action: action,
		holds: func(s *Snapshot, _ *History) sign {
			return sign{on: gpsFault(&s.GPS) == code, held: s.GPS.Since, text: s.GPS.Reason}
		}}
}

// gpsFault is what keeps the receiver from giving a position, if anything does.
func gpsFault(g *GPS) string {
	code := gpsReasons[g.Cause]
	switch g.State {
	case "absent", "closed":
		return orElse(code, "GPS-NO-RECEIVER")
	case "probing", "silent":
		return orElse(code, "GPS-SILENT")
	case "no_fix":
		return orElse(code, "GPS-NO-FIX")
	}
	return NoFault
}

// The beginnings of Buffer.State (buffer.StateOK and so on).
const storageFull = "storage full: "

// storage is a disk that takes no records.
func storage(s *Snapshot, code string) sign {
	is := "BUF-DISK-FAILED"
	switch {
	case s.Buffer.State == OK || s.Buffer.State == "":
		return sign{}
	case strings.HasPrefix(s.Buffer.State, storageFull):
		is = "BUF-DISK-FULL"
	}
	return sign{on: is == code, text: s.Buffer.State}
}

// losses are records that the buffer has given up.
func losses(reason, format string) func(*Snapshot, *History) sign {
	return func(s *Snapshot, h *History) sign {
		n := s.Buffer.Lost[reason]
		return sign{on: h.rose(reason, n, lately), text: fmt.Sprintf(format, n)}
	}
}

// uplink is a fault of the way to the destination. Records wait for uplink.linger before anything is tried again.
func uplink(code string, after time.Duration, title, action string) Fault {
	return Fault{Code: code, Stage: StageUplink, Severity: Error, After: after, Title: title, Action: action,
		holds: func(s *Snapshot, _ *History) sign {
			is := uplinkIs(s, code)
			if after > 0 {
				is.grace = s.Uplink.Linger
			}
			return is
		}}
}

func uplinkIs(s *Snapshot, code string) sign {
	u := &s.Uplink
	if uplinkStates[u.State] != byCause {
		return sign{}
	}
	is, known := uplinkReasons[u.Cause]
	if !known {
		is = map[string]string{"throttled": "UPL-THROTTLED", "down": "UPL-NO-LINK", "refused": "UPL-SETUP"}[u.State]
	}
	return sign{on: is == code, held: u.Since, text: u.Reason}
}
