package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"obdagent/agent/clock"
)

// A Record is one moment of a vehicle. docs/record.md has the table of fields with units and sources.
type Record struct {
	ID      uuid.UUID    `json:"record_id"` // minted once; readers remove duplicates by it
	Time    time.Time    `json:"-"`         // UTC; zero: not known
	TimeSrc clock.Source `json:"time_src"`  // who vouches for Time

	VIN    string `json:"vin"`     // 17 characters, or empty
	VINSrc string `json:"vin_src"` // ecu, config, or empty

	Lon Float `json:"lon"` // degrees WGS 84, east positive
	Lat Float `json:"lat"` // degrees WGS 84, north positive

	Speed    Float     `json:"speed"`      // km/h
	SpeedSrc string    `json:"speed_src"`  // obd, gps, none
	SpeedOBD Float     `json:"speed_obd"`  // km/h, as the car said
	SpeedGPS Float     `json:"speed_gps"`  // km/h, over ground
	OBDAge   Float     `json:"obd_age_ms"` // ms between the nearest speed sample of the car and this moment
	FixAge   Float     `json:"fix_age_ms"` // ms between the last fix and this moment
	Alt      Float     `json:"alt"`        // m above mean sea level
	Heading  Float     `json:"heading"`    // degrees true; absent below 0.5 m/s
	Fix      string    `json:"fix"`        // none 2d 3d dgps rtk dr sim
	Sats     Float     `json:"sats"`       // satellites used
	HDOP     Float     `json:"hdop"`       //
	RPM      Float     `json:"rpm"`        // 1/min
	Load     Float     `json:"load"`       // % of the available torque, calculated
	Coolant  Float     `json:"coolant"`    // degrees Celsius
	MAF      Float     `json:"maf"`        // g/s of air
	MAP      Float     `json:"map"`        // kPa absolute, intake manifold
	IAT      Float     `json:"iat"`        // degrees Celsius, intake air
	Lambda   Float     `json:"lambda"`     // commanded equivalence ratio, air to fuel
	Throttle Float     `json:"throttle"`   // %
	FuelRate Float     `json:"fuel_rate"`  // L/h
	FuelLvl  Float     `json:"fuel_level"` // % of the tank
	Voltage  Float     `json:"voltage"`    // V, of the vehicle's supply
	CO2      Float     `json:"co2"`        // g/s
	CO2From  string    `json:"co2_method"` // fuel_rate maf speed_density load fuel_cut engine_off; empty where no method is honest
	CO2Lacks string    `json:"co2_absent"` // why there is no CO2, where a car answers: see docs/record.md
	Lost     []Lost    `json:"lost"`       // given up before this record
	MIL      Opt[bool] `json:"mil"`        // malfunction indicator lamp
	DTCCount Float     `json:"dtc_count"`  // stored trouble codes
	DTCs     []string  `json:"dtcs"`       // stored trouble codes, such as P0301
	Extra    Extra     `json:"extra"`      // what has no field of its own: further signals, and the user's
	DeviceID string    `json:"device_id"`  //
	Seq      uint64    `json:"seq"`        // counts the device's records: a gap is a loss
	BootID   string    `json:"boot_id"`    // of the kernel
	MonoMS   int64     `json:"mono_ms"`    // CLOCK_BOOTTIME of this moment
	Flags    []string  `json:"flags"`      // see the Flag constants
	System   time.Time `json:"-"`          // undated records only: what the system clock said; on disk as system_time, never on the wire
}

// Lost is a range of records that the buffer had to give up.
type Lost struct {
	From   uint64 `json:"from"` // sequence numbers, inclusive
	To     uint64 `json:"to"`
	Reason string `json:"reason"`
}

// Extra holds values by name, each in the unit that its signal has.
type Extra map[string]float64

// What a record may be flagged with.
const (
	FlagStaleOBD      = "stale_obd"      // the car is connected, but its last speed is too old to be used
	FlagSpeedMismatch = "speed_mismatch" // car and GPS have disagreed for five seconds
	FlagJump          = "jump"           // the position implies more than 250 km/h since the last one
	FlagNoFix         = "no_fix"         // the receiver has no position
	FlagClockStep     = "clock_step"     // the time source contradicted itself since the last record
)

// TimeLayout is how times are written: RFC 3339 in UTC, with milliseconds.
const TimeLayout = "2006-01-02T15:04:05.000Z"

// Parse reads a line that AppendJSON or AppendStored wrote.
func Parse(line []byte) (Record, error) {
	// The alias drops Record's methods and gives the two times their JSON names.
	type plain Record
	r := struct {
		*plain
		Timestamp *string `json:"timestamp"`
		System    *string `json:"system_time"`
	}{plain: new(plain)}
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("parse record: %w", err)
	}
	rec := Record(*r.plain)
	if rec.ID == uuid.Nil {
		return Record{}, errors.New("parse record: no record_id")
	}
	var err error
	if rec.Time, err = parseTime(r.Timestamp); err != nil {
		return Record{}, fmt.Errorf("parse record: timestamp: %w", err)
	}
	if rec.System, err = parseTime(r.System); err != nil {
		return Record{}, fmt.Errorf("parse record: system_time: %w", err)
	}
	return rec, nil
}

func parseTime(s *string) (time.Time, error) {
	if s == nil {
		return time.Time{}, nil
	}
	return time.Parse(TimeLayout, *s)
}
