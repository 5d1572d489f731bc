package status

import (
	"time"
)

// A Snapshot is the state of the whole agent at one moment.
type Snapshot struct {
	Version  string    `json:"version"`
	DeviceID string    `json:"device_id"`
	BootID   string    `json:"boot_id"`
	PID      int       `json:"pid"`
	Uptime   float64   `json:"uptime_s"` // of the process
	Time     time.Time `json:"time"`
	TimeSrc  string    `json:"time_src"` // gnss ntp system none
	// ClockError says why the learned time cannot be kept for the next start.
	ClockError string `json:"clock_error,omitempty"`

	State   string   `json:"state"`             // ok, waiting or degraded
	Verdict string   `json:"verdict"`           // the state, what it is about and what to do next, in one line
	Faults  []Active `json:"faults"`            // that have lasted, the worst first; docs/faults.md
	Pending []Active `json:"pending,omitempty"` // that have begun and may pass: what waiting is for

	Car    Car    `json:"car"`
	GPS    GPS    `json:"gps"`
	Record Record `json:"record"`
	Buffer Buffer `json:"buffer"`
	Uplink Uplink `json:"uplink"`
	Config Config `json:"config"`
}

// The states of an agent.
const (
	OK       = "ok"       // nothing is wrong; warnings do not change that
	Waiting  = "waiting"  // something is not right yet, or has just gone wrong, and may pass
	Degraded = "degraded" // a stage does not do its part
)

// Car is the adapter and what is behind it.
type Car struct {
	State    string   `json:"state"` // none closed absent probing search live parked
	Since    float64  `json:"since_s"`
	Reason   string   `json:"reason,omitempty"` // for a person
	Cause    string   `json:"cause,omitempty"`  // the same as a code: one of obd.Reasons
	Port     string   `json:"port,omitempty"`
	Baud     int      `json:"baud,omitempty"`
	Adapter  string   `json:"adapter,omitempty"`
	Protocol string   `json:"protocol,omitempty"`
	ECU      string   `json:"ecu,omitempty"`
	VIN      string   `json:"vin,omitempty"`       // the car's own, else vehicle.vin
	VINSrc   string   `json:"vin_src,omitempty"`   // ecu config
	Voltage  *float64 `json:"voltage,omitempty"`   // at the adapter
	Speed    *float64 `json:"speed_kmh,omitempty"` // the latest, if young
	// SpeedCause says why the car's latest answer held no speed: one of obd.Reasons.
	SpeedCause string   `json:"speed_cause,omitempty"`
	SpeedHz    float64  `json:"speed_hz"`           // answers a second
	AskedHz    float64  `json:"asked_hz,omitempty"` // what the schedule aims at
	MIL        *bool    `json:"mil,omitempty"`      // malfunction indicator lamp
	DTCs       []string `json:"dtcs,omitempty"`     // stored trouble codes
	// OtherDTCs are the stored codes of other ECUs than the engine's, by address.
	OtherDTCs map[string][]string `json:"other_dtcs,omitempty"`
	// Rates are those of every signal that is asked, speed first.
	Rates    []Rate            `json:"rates,omitempty"`
	Requests uint64            `json:"requests"`
	Answers  uint64            `json:"answers"`
	Failures map[string]uint64 `json:"failures,omitempty"` // by reason
}

// A Rate is how often a signal is asked for and told, a second.
type Rate struct {
	Signal      string  `json:"signal"`
	AskedHz     float64 `json:"asked_hz"`
	Hz          float64 `json:"hz"`
	Unsupported bool    `json:"unsupported,omitempty"` // the car does not have it
}

// GPS is the receiver.
type GPS struct {
	State       string   `json:"state"` // none closed absent probing silent no_fix fix ended
	Since       float64  `json:"since_s"`
	Reason      string   `json:"reason,omitempty"` // for a person
	Cause       string   `json:"cause,omitempty"`  // the same as a code: one of gps.Causes
	Port        string   `json:"port,omitempty"`
	Baud        int      `json:"baud,omitempty"`
	Fix         string   `json:"fix"`                     // none 2d 3d dgps rtk dr sim
	Age         *float64 `json:"age_s,omitempty"`         // of the last epoch
	Sats        *int     `json:"sats,omitempty"`          //
	HDOP        *float64 `json:"hdop,omitempty"`          //
	Speed       *float64 `json:"speed_kmh,omitempty"`     //
	Lag         *float64 `json:"lag_s,omitempty"`         // how far its speed trails the car's: the estimate so far
	LagApplied  *float64 `json:"lag_applied_s,omitempty"` // what the car's speed is taken earlier by; absent until stable
	SpeedRatio  *float64 `json:"speed_ratio,omitempty"`   // its speed by the car's: far from 1 with a wrong tyre size
	Epochs      uint64   `json:"epochs"`
	Fixes       uint64   `json:"fixes"`
	BadSentence uint64   `json:"bad_sentences"`    // wrong checksum, out of range, malformed
	NoiseBytes  uint64   `json:"noise_bytes"`      // outside of sentences
	Binary      string   `json:"binary,omitempty"` // the binary protocol among the noise
}

// Record is what was made.
type Record struct {
	Made    uint64   `json:"made"`
	Refused uint64   `json:"refused"` // not taken by the buffer
	LastAge *float64 `json:"last_age_s,omitempty"`
	Undated uint64   `json:"undated"`            // made before the time was known
	LeftOut uint64   `json:"left_out,omitempty"` // by record.curve: the drive is redrawn without them
	Dropped uint64   `json:"dropped"`            // inputs that came faster than they could be used
}

// Buffer is the disk.
type Buffer struct {
	State    string            `json:"state"` // ok, or what failed
	Records  uint64            `json:"records"`
	Bytes    int64             `json:"bytes"`
	MaxBytes int64             `json:"max_bytes"`
	Unsynced int               `json:"unsynced"`
	Commits  uint64            `json:"commits"`
	Lost     map[string]uint64 `json:"lost,omitempty"` // by reason

	OldestAge *float64 `json:"oldest_age_s,omitempty"` // of the oldest record that waits; absent if none does
	// OldestBeforeStart says that it is older than this process, nobody knows how much: oldest_age_s is since the start.
	OldestBeforeStart bool    `json:"oldest_before_start,omitempty"`
	UnsyncedAge       float64 `json:"unsynced_age_s"`        // of the oldest record that a power cut would take
	Quarantined       int     `json:"quarantined,omitempty"` // damaged segments set aside in buffer.dir's quarantine
	Syncs             *Syncs  `json:"syncs,omitempty"`       // absent before the first
	PayloadBytes      int64   `json:"payload_bytes"`         // of the records since the start
	WrittenBytes      int64   `json:"written_bytes"`         // given to the file system for them
	Device            *Device `json:"device,omitempty"`      // absent where the kernel knows none
}

// Syncs is how long the storage takes to confirm what was written.
type Syncs struct {
	Last float64 `json:"last_s"`
	Max  float64 `json:"max_s"`
	Sum  float64 `json:"sum_s"`
	// Count is how many took up to 1, 3, 10, 30, 100, 300 ms, 1, 3 s, each beyond the class before; the last: longer.
	Count []uint64 `json:"count"`
}

// Device is the partition that holds the buffer.
type Device struct {
	Name         string   `json:"name"`
	WrittenBytes int64    `json:"written_bytes"`            // since the start, by all programs
	PerPayload   *float64 `json:"per_payload,omitempty"`    // written_bytes by payload_bytes; absent before there is 1 MiB of payload
	LifeUsed     int      `json:"life_used_pct,omitempty"`  // eMMC's own estimate: 10 stands for 0 to 10, 110 for all of it
	Reserve      string   `json:"reserve_blocks,omitempty"` // eMMC's own word: normal warning urgent
}

// Uplink is the way to the cloud, or to a directory.
type Uplink struct {
	State     string  `json:"state"`
	Since     float64 `json:"since_s"`
	Reason    string  `json:"reason,omitempty"` // for a person
	Cause     string  `json:"cause,omitempty"`  // the same as a code: one of uplink.Causes
	Linger    float64 `json:"linger_s"`         // how long a record may wait for company: silence that long is no fault
	Target    string  `json:"target"`
	Delivered uint64  `json:"delivered"` // records
	Calls     uint64  `json:"calls"`
	Failed    uint64  `json:"failed_calls"`
	Retried   uint64  `json:"retried_entries"`
	Aside     uint64  `json:"set_aside"` // records that can never be taken
	// Pending are the records in hand, read from the buffer and not yet taken.
	Pending   int    `json:"pending,omitempty"`
	BytesUp   uint64 `json:"bytes_up"`
	BytesDown uint64 `json:"bytes_down"`
	// Entries are the Firehose (Kinesis) records taken; LineBytes is what is in them, PayloadBytes the same as it was sent.
	Entries      uint64 `json:"entries,omitempty"`
	LineBytes    uint64 `json:"line_bytes,omitempty"`
	PayloadBytes uint64 `json:"payload_bytes,omitempty"`
	// BilledBytes is what was delivered, each Firehose record rounded up to 5 KiB; absent where nothing is charged by the record.
	BilledBytes uint64 `json:"billed_bytes,omitempty"`
	// Day is the date, in UTC, that the next five count: bytes both ways, up, down and billed, and records delivered.
	Day            string `json:"day,omitempty"`
	DayBytes       uint64 `json:"day_bytes,omitempty"`
	DayUpBytes     uint64 `json:"day_up_bytes,omitempty"`
	DayDownBytes   uint64 `json:"day_down_bytes,omitempty"`
	DayBilledBytes uint64 `json:"day_billed_bytes,omitempty"`
	DayRecords     uint64 `json:"day_records,omitempty"`
	// BudgetBytes is what a day may have; 0: no budget.
	BudgetBytes int64    `json:"budget_bytes,omitempty"`
	LastAge     *float64 `json:"last_success_age_s,omitempty"`
	// NextTry is how long until the next try; absent unless it backs off.
	NextTry *float64 `json:"next_try_s,omitempty"`
	// CallTime is how long the last call took.
	CallTime float64 `json:"last_call_s,omitempty"`
	// LostReports are the reports of lost records that were dropped, as too many waited for a record to ride on.
	LostReports uint64 `json:"dropped_loss_reports,omitempty"`
}

// Config is how the running agent's configuration stands to its file.
type Config struct {
	LogLevel string `json:"log_level,omitempty"` // debug info warn error
	// RestartNeeded are the keys that changed since the start and that take effect with the next one.
	RestartNeeded []string `json:"restart_needed,omitempty"`
	// Refused is why the file was not taken when it was last read again; the one before is in force.
	Refused string `json:"refused,omitempty"`
}
