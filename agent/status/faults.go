package status

import (
	"fmt"
	"time"
)

// How long a state may last before it is a fault.
const (
	afterOpening = 15 * time.Second // opening, probing two line speeds
	afterSearch  = time.Minute      // an adapter may search the car's protocol for 30 s
	afterNoFix   = 3 * time.Minute  // a cold start takes 30 to 60 s under open sky; the rest is a depot's roof
	afterClock   = 5 * time.Minute  // nothing is sent undated before uplink.time_wait, whose default this is
	afterLink    = time.Minute      // a coverage hole in a town; uplink.linger comes on top
	afterDrive   = 2 * time.Minute  // a ferry leaves its berth more slowly; a car that is found takes 30 s
	lately       = time.Hour        // that a loss is shown: long enough to be seen, and an update can be accepted after it
	keptLately   = 24 * time.Hour   // the same, for what waits on disk for a person
)

// Bounds of what is measured.
const (
	// lowBattery is the voltage, without the engine, at which a lead battery is down to a tenth of its charge, and twice that for a
	// 24 V system, which is told by a voltage that no 12 V system reaches.
	lowBattery, lowBattery24, system24 = 11.8, 23.6, 18.0
	// driving is a speed over ground that nobody walks or is pushed at, and no standing receiver's noise, km/h.
	driving = 15
	// disturbed is the share of questions whose answers were damaged that a sound adapter on a sound bus stays far below.
	disturbed = 0.05
	// filling is the part of buffer.max_bytes from where records will soon be lost.
	filling = 0.8
	// stalled is how long a record may wait for the disk, s: half a minute longer than the longest buffer.sync.
	stalled = 90
	// worn and wearing are eMMC's own estimates of the life used, in percent: 110 stands for more than all of it.
	worn, wearing = 100, 80
)

var (
	allOBD = []string{"OBD-NO-ADAPTER", "OBD-SEVERAL-ADAPTERS", "OBD-NO-PERMISSION", "OBD-PORT-BUSY", "OBD-WRONG-PORT", "OBD-NO-PROMPT", "OBD-ADAPTER-RESTARTS", "OBD-ADAPTER-UNFIT", "OBD-BUS-ERROR", "OBD-NO-CAR", "OBD-SILENT-DRIVING"}
	allGPS = []string{"GPS-NO-RECEIVER", "GPS-SEVERAL-RECEIVERS", "GPS-NO-PERMISSION", "GPS-PORT-BUSY", "GPS-WRONG-PORT", "GPS-NO-CONNECTION", "GPS-NO-FILE", "GPS-SILENT", "GPS-NOT-NMEA", "GPS-NO-EPOCH", "GPS-NO-FIX", "GPS-FROZEN"}
)

// faults is the catalogue, in the order of the stages. docs/faults.md is made of it.
var faults = []Fault{
	{Code: "PWR-LOW-BATTERY", Stage: StagePower, Severity: Warning, After: 10 * time.Minute,
		Title: "the vehicle's battery is nearly empty", Action: "charge it, and look what draws on it while the van stands",
		holds: lowVoltage},

	car("OBD-NO-ADAPTER", afterOpening, "no adapter is there", "plug the adapter into the board, or name its port in obd.port"),
	car("OBD-SEVERAL-ADAPTERS", afterOpening, "more than one adapter answers", "name one of them in obd.port"),
	car("OBD-NO-PERMISSION", afterOpening, "the adapter's port may not be opened", "let the service's user into the port's group, mostly dialout, or allow the port's kind of device in the unit, as the reason says"),
	car("OBD-PORT-BUSY", afterOpening, "another program uses the adapter's port", "run obdagent doctor as root: it names the program and how to stop it"),
	car("OBD-WRONG-PORT", afterOpening, "what is on the adapter's port is not an adapter", "run obdagent detect, and name the right port in obd.port"),
	car("OBD-NO-PROMPT", afterSearch, "the adapter's port is open, but no ELM327 answers", "check the adapter's plug and power; if it is right, unplug it and plug it in again"),
	car("OBD-ADAPTER-RESTARTS", afterSearch, "the adapter restarts again and again", "check its supply and its plug in the OBD socket; if they are sound, replace the adapter"),
	car("OBD-ADAPTER-UNFIT", afterSearch, "the adapter's answers are cut, damaged or not understood", "replace the adapter: it is a clone that cannot do what is needed"),
	car("OBD-BUS-ERROR", afterSearch, "the car's bus is disturbed or not connected", "check the OBD plug and its wiring; unplug other devices on the OBD socket"),
	car("OBD-NO-CAR", afterSearch, "the adapter answers, the car does not", "switch the ignition on and check the OBD plug"),
	{Code: "OBD-SILENT-DRIVING", Stage: StageCar, Severity: Error, After: afterDrive,
		Title: "the van drives, but the car is silent as if parked", Action: "check that the OBD plug sits and that the ignition feeds its socket; unplug other devices on it",
		holds: silentDriving},
	{Code: "OBD-NOT-SEEN", Stage: StageCar, Severity: Warning, DependsOn: []string{"OBD-SILENT-DRIVING"}, After: afterSearch,
		Title: "the car has not answered since the start: it counts as parked", Action: "switch the ignition on once, to see that the OBD plug sits",
		holds: notSeen},
	{Code: "OBD-NO-SPEED", Stage: StageCar, Severity: Error, DependsOn: allOBD, After: afterOpening,
		Title: "the car answers, but not with its speed", Action: "look at the failures in obdagent status --json; records carry the GPS's speed meanwhile",
		holds: noSpeed},
	{Code: "OBD-NO-VIN", Stage: StageCar, Severity: Error, DependsOn: allOBD, After: afterSearch,
		Title: "the car does not tell its VIN: records cannot be told by vehicle", Action: "set vehicle.vin",
		holds: func(s *Snapshot, _ *History) sign { return sign{on: s.Car.State == "live" && s.Car.VIN == ""} }},
	{Code: "OBD-DISTURBED", Stage: StageCar, Severity: Warning, DependsOn: allOBD, After: afterSearch,
		Title: "many of the car's answers arrive damaged", Action: "check the adapter's plug and cable; if they are sound, replace the adapter",
		holds: damagedAnswers},

	receiver("GPS-NO-RECEIVER", afterOpening, "no receiver is there", "plug the receiver in, or name it in gps.source"),
	receiver("GPS-SEVERAL-RECEIVERS", afterOpening, "more than one receiver is there", "name one of them in gps.source"),
	receiver("GPS-NO-PERMISSION", afterOpening, "the receiver's port may not be opened", "let the service's user into the port's group, mostly dialout, or allow the port's kind of device in the unit, as the reason says"),
	receiver("GPS-PORT-BUSY", afterOpening, "another program uses the receiver's port", "run obdagent doctor as root: it names the program and how to stop it; or read a gpsd through gpsd://"),
	receiver("GPS-WRONG-PORT", afterOpening, "the receiver's port is not a serial port", "run obdagent detect, and name the right port in gps.source"),
	receiver("GPS-NO-CONNECTION", afterOpening, "the GPS on the network, or gpsd, does not answer", "check that it runs and that gps.source is its address"),
	receiver("GPS-NO-FILE", afterOpening, "the recording cannot be read", "name another one in gps.source"),
	receiver("GPS-SILENT", afterOpening, "the receiver sends nothing", "check its power and its cable"),
	receiver("GPS-NOT-NMEA", afterOpening, "the receiver sends no NMEA", "switch it to NMEA, or let gpsd read it and name gpsd:// in gps.source"),
	receiver("GPS-NO-EPOCH", afterSearch, "the receiver sends sentences without time or position", "have it send RMC and GGA"),
	receiver("GPS-NO-FIX", afterNoFix, "the receiver has no position", "give the antenna a free view of the sky"),
	receiver("GPS-FROZEN", afterNoFix, "the receiver contradicts itself: its position is none", "take the receiver's power away and give it back; if it stays, replace it"),

	{Code: "CLK-UNKNOWN", Stage: StageClock, Severity: Error, DependsOn: allGPS, After: afterClock,
		Title: "the time is not known", Action: "see to the GPS or the network; records wait for uplink.time_wait and then go without a time",
		holds: func(s *Snapshot, _ *History) sign {
			return sign{on: s.TimeSrc == "none" || s.Uplink.State == "waiting"}
		}},
	{Code: "CLK-UNVERIFIED", Stage: StageClock, Severity: Error, DependsOn: append([]string{"CLK-UNKNOWN"}, allGPS...), After: afterClock,
		Title: "the time is the board's own: neither the GPS nor the network vouches for it", Action: "see to the GPS or the network; records wait for uplink.time_wait and then go with the board's time",
		holds: func(s *Snapshot, _ *History) sign { return sign{on: s.TimeSrc == "system"} }},
	{Code: "CLK-NOT-KEPT", Stage: StageClock, Severity: Error, DependsOn: []string{"BUF-DISK-FULL", "BUF-DISK-FAILED"}, After: afterLink,
		Title: "the learned time cannot be kept on disk", Action: "look at the disk that holds buffer.dir",
		holds: func(s *Snapshot, _ *History) sign {
			return sign{on: s.ClockError != "", text: "the learned time cannot be kept: " + s.ClockError}
		}},

	{Code: "BUF-DISK-FULL", Stage: StageBuffer, Severity: Critical,
		Title: "the buffer's disk is full", Action: "make room on the disk that holds buffer.dir, or lower buffer.max_bytes; until then records are kept in memory only",
		holds: func(s *Snapshot, _ *History) sign { return storage(s, "BUF-DISK-FULL") }},
	{Code: "BUF-DISK-FAILED", Stage: StageBuffer, Severity: Critical,
		Title: "the buffer's disk does not work", Action: "see to the disk that holds buffer.dir; until then records are kept in memory only",
		holds: func(s *Snapshot, _ *History) sign { return storage(s, "BUF-DISK-FAILED") }},
	{Code: "BUF-DISK-STALLED", Stage: StageBuffer, Severity: Critical, DependsOn: []string{"BUF-DISK-FULL", "BUF-DISK-FAILED"},
		Title: "the buffer's disk does not answer: records wait in memory", Action: "look in dmesg at the disk that holds buffer.dir; a card that takes minutes is about to fail: replace it",
		holds: func(s *Snapshot, _ *History) sign {
			return sign{on: s.Buffer.UnsyncedAge >= stalled, text: fmt.Sprintf("the buffer's disk does not answer: %d records wait in memory, the oldest for %.0f s", s.Buffer.Unsynced, s.Buffer.UnsyncedAge)}
		}},
	{Code: "BUF-UNREADABLE", Stage: StageBuffer, Severity: Critical, DependsOn: []string{"BUF-DISK-FAILED"}, After: afterLink,
		Title: "records cannot be read off the buffer's disk", Action: "see to the disk that holds buffer.dir",
		holds: func(s *Snapshot, _ *History) sign { return uplinkIs(s, "BUF-UNREADABLE") }},
	{Code: "BUF-OVERFLOW", Stage: StageBuffer, Severity: Critical,
		Title: "the oldest records were given up, because the buffer is full", Action: "see why records do not go out, or give buffer.max_bytes more room",
		holds: losses("overflow", "%d records were given up, because the buffer is full")},
	{Code: "BUF-THINNED", Stage: StageBuffer, Severity: Error,
		Title: "of the oldest records one in ten is kept, because the buffer is full", Action: "see why records do not go out, or give buffer.max_bytes more room",
		holds: losses("thinned", "%d of the oldest records were given up and one in ten kept, because the buffer is full")},
	{Code: "BUF-REFUSED", Stage: StageBuffer, Severity: Critical,
		Title: "new records were refused, because the buffer is full", Action: "see why records do not go out, or give buffer.max_bytes more room",
		holds: func(s *Snapshot, h *History) sign {
			n := s.Record.Refused
			return sign{on: h.rose("refused", n, lately), text: fmt.Sprintf("%d records were refused", n)}
		}},
	{Code: "BUF-DAMAGED", Stage: StageBuffer, Severity: Error,
		Title: "records were damaged on the disk", Action: "look with obdagent buffer verify, and replace the card or board if it comes again",
		holds: losses("damaged", "%d records were damaged on the disk")},
	{Code: "BUF-FILLING", Stage: StageBuffer, Severity: Warning, DependsOn: []string{"BUF-OVERFLOW", "BUF-THINNED", "BUF-REFUSED"}, After: afterLink,
		Title: "the buffer is nearly full: records will be lost", Action: "see why records do not go out",
		holds: func(s *Snapshot, _ *History) sign {
			return sign{on: s.Buffer.MaxBytes > 0 && float64(s.Buffer.Bytes) >= filling*float64(s.Buffer.MaxBytes),
				text: fmt.Sprintf("the buffer is nearly full: %s of %s", size(s.Buffer.Bytes), size(s.Buffer.MaxBytes))}
		}},
	{Code: "BUF-FLASH-WORN", Stage: StageBuffer, Severity: Error,
		Title: "the flash says that it is worn out", Action: "replace the board or its card before it fails; what is sent is safe",
		holds: func(s *Snapshot, _ *History) sign {
			d := s.Buffer.Device
			if d == nil || d.LifeUsed <= worn && d.Reserve != "urgent" {
				return sign{}
			}
			return sign{on: true, text: "the flash " + d.Name + " says that it is worn out"}
		}},
	{Code: "BUF-FLASH-WEARING", Stage: StageBuffer, Severity: Warning, DependsOn: []string{"BUF-FLASH-WORN"},
		Title: "the flash nears the end of its life", Action: "plan to replace the board or its card",
		holds: func(s *Snapshot, _ *History) sign {
			d := s.Buffer.Device
			return sign{on: d != nil && (d.LifeUsed >= wearing || d.Reserve == "warning"), text: flash(d)}
		}},
	{Code: "BUF-TOO-SLOW", Stage: StageBuffer, Severity: Warning,
		Title: "the board cannot keep up: answers or epochs were dropped", Action: "look what else keeps the board busy, or lower obd.max_rate",
		holds: func(s *Snapshot, h *History) sign {
			n := s.Record.Dropped
			return sign{on: h.rose("dropped", n, lately), text: fmt.Sprintf("the board cannot keep up: %d answers or epochs were dropped", n)}
		}},

	uplink("UPL-NO-STREAM", 0, "the stream is not there, or takes no records", "create the stream, or correct uplink.stream and uplink.region"),
	uplink("UPL-NO-PERMISSION", 0, "the credentials may not write to the stream", "allow the role or user to write to it"),
	uplink("UPL-NO-CREDENTIALS", 0, "there are no credentials that AWS takes", "give the device its credentials: see uplink.credentials"),
	uplink("UPL-CERTIFICATE", 0, "the endpoint's certificate is not trusted", "check uplink.endpoint, the system's CA certificates and any proxy"),
	uplink("UPL-CLOCK", afterLink, "the destination says that this board's time is wrong", "see to the GPS, which sets the time"),
	uplink("UPL-REFUSED", 0, "the destination refuses what it is sent", "look at the reason, and report it"),
	uplink("UPL-SETUP", 0, "the destination is not set up", "see to the stream, the credentials and the permission"),
	uplink("UPL-DIRECTORY", afterLink, "the directory for the objects cannot be written to", "see that uplink.path is mounted, writable and not full"),
	uplink("UPL-THROTTLED", afterLink, "the destination asks to be asked less often", "raise the stream's limits; records are kept until then"),
	uplink("UPL-NO-LINK", afterLink, "nothing gets through to the destination", "check modem, SIM and antenna, and uplink.endpoint; records are kept until then"),
	{Code: "UPL-BUDGET", Stage: StageUplink, Severity: Warning,
		Title: "the day's bytes are used up: older records wait for tomorrow", Action: "nothing, or raise uplink.daily_bytes",
		holds: func(s *Snapshot, _ *History) sign {
			return sign{on: uplinkStates[s.Uplink.State] == "UPL-BUDGET", held: s.Uplink.Since}
		}},
	{Code: "UPL-SET-ASIDE", Stage: StageUplink, Severity: Error,
		Title: "records that can never be sent were set aside", Action: "look at aside.jsonl in buffer.dir and report it",
		holds: func(s *Snapshot, h *History) sign {
			n := s.Uplink.Aside
			return sign{on: h.rose("aside", n, keptLately), text: fmt.Sprintf("%d records can never be sent and were set aside", n)}
		}},

	{Code: "CFG-REFUSED", Stage: StageConfig, Severity: Error,
		Title: "the configuration's file was changed and has a mistake: the one before is in force", Action: "correct it until obdagent config check is content, then systemctl reload obdagent; with a mistake in it the daemon would not start again",
		holds: func(s *Snapshot, _ *History) sign {
			return sign{on: s.Config.Refused != "", text: "the configuration's file was changed and is refused, and the one before is in force: " + s.Config.Refused}
		}},
}
