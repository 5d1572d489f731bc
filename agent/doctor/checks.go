package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"obdagent/agent/config"
	"obdagent/agent/status"
)

// power looks at the vehicle's supply, as the adapter measures it, and at the board's own.
func (r *run) power(ctx context.Context) Check {
	if board := r.undervoltage(); board != "" {
		return Check{Level: Warn, Text: board, Action: "use a stronger supply or a thicker cable for the board"}
	}
	if r.o.Config.OBD.Port == config.None {
		return Check{Level: OK, Text: "the board's supply has no complaint; without an adapter nobody measures the vehicle's"}
	}
	if !r.await(ctx, "the adapter to tell the voltage", waitAdapter, func(s *status.Snapshot) bool { return s.Car.Voltage != nil }, shown(status.StageCar)) {
		return Check{Level: Warn, Text: "the vehicle's voltage is not known: no adapter tells it", Action: "see to the adapter"}
	}
	v := *r.last.Car.Voltage
	text := fmt.Sprintf("%.1f V at the OBD socket", v)
	if status.LowBattery(v) {
		c := ofFault(Warn, "PWR-LOW-BATTERY", "")
		c.Text = text + ": " + c.Text
		return c
	}
	return Check{Level: OK, Text: text}
}

// undervoltage says whether the board's firmware has seen its supply dip (Raspberry Pi: driver raspberrypi-hwmon).
func (r *run) undervoltage() string {
	names, err := filepath.Glob(filepath.Join(r.o.Root, "sys/class/hwmon/hwmon*/name"))
	if err != nil {
		return "" // not reached: the pattern is well formed
	}
	for _, name := range names {
		if read(name) == "rpi_volt" && read(filepath.Join(filepath.Dir(name), "in0_lcrit_alarm")) == "1" {
			return "the board's own supply is too low: its firmware says undervoltage"
		}
	}
	return ""
}

// read is a small file without the white space around it; empty if it cannot be read.
func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// ports looks who has the serial ports open.
func (r *run) ports(context.Context) Check {
	proc := filepath.Join(r.o.Root, "proc")
	wanted, auto := r.wanted()
	c := Check{Level: OK}
	var seen []string
	complete := true
	for _, port := range wanted {
		holders, all := Holders(proc, port)
		complete = complete && all
		for _, h := range holders {
			if r.o.Daemon && h.PID == r.last.PID {
				continue
			}
			seen = append(seen, fmt.Sprintf("%s is held by %v", port, h))
			c.hold(h)
		}
	}
	if h, ok := brailleDriver(proc); ok {
		seen = append(seen, fmt.Sprintf("%v has taken a USB device away from its serial port", h))
		c.hold(h)
	}
	switch {
	case len(c.Held) > 0 && auto:
		c.Level, c.Action = Warn, "if it is the adapter's or the receiver's: "+c.Action
	case len(c.Held) > 0:
		c.Level = Fail
	case len(wanted) == 0:
		seen = []string{"no serial port is needed or there is none"}
	default:
		seen = []string{"nobody else has " + strings.Join(wanted, ", ") + " open"}
	}
	c.Text = strings.Join(seen, "; ")
	if !complete && os.Geteuid() != 0 {
		c.Text += " (as far as this user is shown: root sees all)"
	}
	return c
}

// hold adds a program that is in the way, and how to be rid of it.
func (c *Check) hold(h Holder) {
	if slices.Contains(c.Held, h) {
		return
	}
	c.Held = append(c.Held, h)
	if c.Action != "" {
		c.Action += "; "
	}
	c.Action += h.Free
}

// wanted are the serial ports that the configuration names, else those that the agent has taken; auto: all that it may take.
func (r *run) wanted() (ports []string, auto bool) {
	for _, p := range []struct{ named, taken string }{{r.o.Config.OBD.Port, r.last.Car.Port}, {r.o.Config.GPS.Source, r.last.GPS.Port}} {
		switch {
		case strings.HasPrefix(p.named, "/"):
			ports = append(ports, p.named)
		case p.named == config.Auto && strings.HasPrefix(p.taken, "/"):
			ports = append(ports, p.taken)
		case p.named == config.Auto:
			auto = true
		}
	}
	if !auto {
		return ports, false
	}
	all, err := r.o.Ports()
	if err != nil {
		return ports, true // the adapter's check says what is wrong
	}
	return all, true
}

// adapter waits for the ELM327.
func (r *run) adapter(ctx context.Context) Check {
	if r.o.Config.OBD.Port == config.None {
		return Check{Level: OK, Text: "none is wanted (obd.port is none)"}
	}
	found := func(s *status.Snapshot) bool {
		return s.Car.State == "search" || s.Car.State == "live" || s.Car.State == "parked"
	}
	if !r.await(ctx, "the adapter to answer", waitAdapter, found, shown(status.StageCar)) {
		return r.bad(status.StageCar, ofFault(Fail, "OBD-NO-ADAPTER", ""))
	}
	c := &r.last.Car
	text := strings.TrimSpace(c.Adapter + " on " + c.Port)
	if c.Baud > 0 {
		text += fmt.Sprintf(" at %d baud", c.Baud)
	}
	return Check{Level: OK, Text: text}
}

// car waits for the car's bus, its VIN and its speed.
func (r *run) car(ctx context.Context) Check {
	if r.o.Config.OBD.Port == config.None {
		return Check{Level: OK, Text: "none is wanted (obd.port is none)"}
	}
	live := func(s *status.Snapshot) bool { return s.Car.State == "live" }
	off := func(s *status.Snapshot) bool { return s.Car.State == "parked" || shown(status.StageCar)(s) }
	if !r.await(ctx, "the car to answer", waitCar, live, off) {
		if c := &r.last.Car; c.State == "parked" && c.Answers > 0 && r.lost == nil {
			return Check{Level: Warn, Text: "the car is parked now; it has answered before (" + vinText(c) + ")", Action: "switch the ignition on for a full test"}
		}
		if r.last.Car.State == "parked" && r.lost == nil {
			c := ofFault(Fail, "OBD-NO-CAR", "the car does not answer: "+r.last.Car.Reason)
			c.Action += ", and run this again after a minute"
			return c
		}
		return r.bad(status.StageCar, ofFault(Fail, "OBD-NO-CAR", ""))
	}
	told := func(s *status.Snapshot) bool { return s.Car.VIN != "" && s.Car.Speed != nil }
	if !r.await(ctx, "VIN and speed", waitSpeed, told, shown(status.StageCar)) {
		missing := "OBD-NO-SPEED"
		if r.last.Car.VIN == "" {
			missing = "OBD-NO-VIN"
		}
		return r.bad(status.StageCar, ofFault(Fail, missing, ""))
	}
	c := &r.last.Car
	return Check{Level: OK, Text: fmt.Sprintf("%s, ECU %s, %s, %.0f km/h", c.Protocol, c.ECU, vinText(c), *c.Speed)}
}

func vinText(c *status.Car) string {
	switch {
	case c.VIN == "":
		return "without a VIN"
	case c.VINSrc == "config":
		return "VIN " + c.VIN + " from vehicle.vin"
	}
	return "VIN " + c.VIN
}

// poorHDOP is the dilution from where a position is tens of metres off.
const poorHDOP = 5

// gps waits for a fix.
func (r *run) gps(ctx context.Context) Check {
	if r.o.Config.GPS.Source == config.None {
		return Check{Level: OK, Text: "none is wanted (gps.source is none)"}
	}
	if !r.await(ctx, "a fix", waitFix, func(s *status.Snapshot) bool { return s.GPS.State == "fix" && s.GPS.Fix != "none" }, shown(status.StageGPS)) {
		return r.bad(status.StageGPS, ofFault(Fail, "GPS-NO-FIX", ""))
	}
	g := &r.last.GPS
	text := "fix " + g.Fix
	if g.Sats != nil {
		text += fmt.Sprintf(", %d satellites", *g.Sats)
	}
	if g.HDOP != nil {
		text += fmt.Sprintf(", HDOP %.1f", *g.HDOP)
		if *g.HDOP >= poorHDOP {
			return Check{Level: Warn, Text: text + ": the position is poor", Action: "give the antenna a freer view of the sky"}
		}
	}
	return Check{Level: OK, Text: text + ", " + g.Port}
}

// clock waits for somebody who vouches for the time.
func (r *run) clock(ctx context.Context) Check {
	good := func(s *status.Snapshot) bool { return s.TimeSrc == "gnss" || s.TimeSrc == "ntp" }
	if !r.await(ctx, "the time", waitClock, good, func(*status.Snapshot) bool { return false }) {
		if r.lost == nil && r.last.TimeSrc == "system" {
			return ofFault(Warn, "CLK-UNVERIFIED", "the time is the board's own, "+r.last.Time.Format(time.RFC3339)+": nobody vouches for it")
		}
		return r.bad(status.StageClock, ofFault(Fail, "CLK-UNKNOWN", ""))
	}
	return Check{Level: OK, Text: r.last.Time.Format(time.RFC3339) + " from " + r.last.TimeSrc}
}

// disk looks at the place of the buffer.
func (r *run) disk(context.Context) Check {
	if a, ok := r.fault(status.StageBuffer); ok && r.o.Daemon {
		c := Check{Level: Fail, Code: a.Code, Text: a.Text, Action: a.Action}
		if a.Severity == status.Warning {
			c.Level = Warn
		}
		return c
	}
	dir := r.o.Config.Buffer.Dir
	free, err := freeBytes(dir)
	if err != nil {
		return Check{Level: Fail, Text: err.Error(), Action: "see that the disk of buffer.dir is there"}
	}
	text := fmt.Sprintf("%s: %d MiB free", dir, free>>20)
	if !r.o.Daemon {
		switch err := tryWrite(dir); {
		case errors.Is(err, fs.ErrPermission):
			return Check{Level: Warn, Text: text + "; this user may not write there, the service's may", Action: "run this as root, or beside the running daemon"}
		case err != nil:
			return ofFault(Fail, "BUF-DISK-FAILED", err.Error())
		}
	}
	has := r.last.Buffer.Bytes
	if !r.o.Daemon {
		has = heldBytes(dir) // the doctor's own agent has its buffer elsewhere
	}
	if most := r.o.Config.Buffer.MaxBytes; free+has < most {
		return Check{Level: Warn, Text: fmt.Sprintf("%s, %d MiB less than buffer.max_bytes may come to need", text, (most-free-has)>>20), Action: "lower buffer.max_bytes, or make room"}
	}
	if s := r.last.Buffer.Syncs; s != nil && r.o.Daemon {
		text += fmt.Sprintf(", the slowest sync took %.0f ms", s.Max*1000)
	}
	return Check{Level: OK, Text: text}
}

// freeBytes is what the file system of dir, or of the nearest directory above that is there, has for users.
func freeBytes(dir string) (int64, error) {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil {
			if st.Flags&unix.ST_RDONLY != 0 {
				return 0, fmt.Errorf("the disk of %s is mounted read-only", dir)
			}
			return int64(st.Bavail) * int64(st.Bsize), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return 0, fmt.Errorf("the disk of %s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
}

// heldBytes is what the files of a buffer's directory hold. What cannot be read counts as nothing.
func heldBytes(dir string) (n int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
	}
	return n
}

// tryWrite makes a file durable in dir, or beside where it will be made, and takes it away again.
func tryWrite(dir string) error {
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	f, err := os.CreateTemp(dir, ".obdagent-doctor-")
	if err != nil {
		return err
	}
	_, err = f.WriteString("a test of the disk\n")
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// credentials waits for the destination's first answer to them.
func (r *run) credentials(ctx context.Context) Check {
	u := &r.o.Config.Uplink
	switch {
	case r.o.Refused != nil:
		return Check{Level: Fail, Code: noCredentials, Text: r.o.Refused.Error(), Action: r.forCredentials(status.Lookup(noCredentials).Action)}
	case u.Kind == config.KindDirectory:
		return Check{Level: OK, Text: "none are needed: records go to " + u.Path}
	}
	r.delivered(ctx)
	switch cause := r.last.Uplink.Cause; {
	case r.lost != nil:
		return r.bad(status.StageUplink, Check{})
	case cause == "credentials" || cause == "permission":
		code, _ := status.Code(status.StageUplink, cause)
		return r.bad(status.StageUplink, ofFault(Fail, code, r.last.Uplink.Reason))
	case cause == "stream" || cause == "refused" || cause == "throttled" || r.acknowledged(&r.last):
		return Check{Level: OK, Text: "the destination takes them (uplink.credentials = " + u.Credentials + ")"}
	}
	return Check{Level: Warn, Text: "not tried: nothing has been sent, or no answer came", Action: "see to the record's round trip"}
}

// roundTrip waits until the destination has acknowledged a record.
func (r *run) roundTrip(ctx context.Context) Check {
	if r.o.Refused != nil {
		return Check{Level: Fail, Text: "no record was sent: the uplink cannot be set up", Action: "see to the credentials"}
	}
	if !r.delivered(ctx) {
		return r.bad(status.StageUplink, Check{Level: Fail, Text: fmt.Sprintf("no record was acknowledged (%s, %d records wait)", r.last.Uplink.State, r.last.Buffer.Records),
			Action: "see to clock and network; records are kept until then"})
	}
	u := &r.last.Uplink
	return Check{Level: OK, Text: fmt.Sprintf("%s acknowledged a record %.0f s ago; %d delivered", u.Target, *u.LastAge, u.Delivered)}
}

// delivered waits for an acknowledgement.
func (r *run) delivered(ctx context.Context) bool {
	c := r.o.Config
	most := waitClock + 15*time.Second
	if r.o.Daemon {
		most += min(c.Record.ParkedInterval, 5*time.Minute) + 2*c.Uplink.Linger
	}
	refused := func(s *status.Snapshot) bool { return s.Uplink.State == "refused" || shown(status.StageUplink)(s) }
	return r.await(ctx, "a record to be acknowledged", most, r.acknowledged, refused)
}

// acknowledged tells whether the last call was taken whole, and lately. A daemon that stands sends once in a linger.
func (r *run) acknowledged(s *status.Snapshot) bool {
	u := &s.Uplink
	lately := (2*r.o.Config.Uplink.Linger + time.Minute + min(r.o.Config.Record.ParkedInterval, 5*time.Minute)).Seconds()
	return (u.State == "ok" || u.State == "budget") && u.Delivered > 0 && u.LastAge != nil && *u.LastAge <= lately
}
