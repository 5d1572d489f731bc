package status

import (
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Metric is one family of /metrics, in the text format of Prometheus (version 0.0.4).
type Metric struct {
	Name    string // obdagent_..., with its unit, and _total where it only grows until the next start
	Type    string // gauge or counter
	Help    string // what it counts or measures
	NonZero string // what a value other than 0 means, and what to do
	Label   string // the name of its one label; empty: none

	values func(s *Snapshot, add func(label string, v float64))
}

// Metrics are all families, in the order in which they are told. A value that is not known is not told: 0 would be a lie.
func Metrics() []Metric { return slices.Clone(metrics) }

// WriteMetrics writes the snapshot for Prometheus, each family with what it is and what a value other than 0 means as its help text.
// github.com/VictoriaMetrics/metrics, looked at for this, writes empty help texts and costs 60 KiB: docs/decisions/0006-metrics-by-hand.md.
func (s *Snapshot) WriteMetrics(w io.Writer) error {
	var b strings.Builder
	for i := range metrics {
		m := &metrics[i]
		told := false
		m.values(s, func(label string, v float64) {
			if !told {
				b.WriteString("# HELP " + m.Name + " " + m.Help + " " + m.NonZero + "\n# TYPE " + m.Name + " " + m.Type + "\n")
				told = true
			}
			b.WriteString(m.Name)
			if m.Label != "" {
				b.WriteString("{" + m.Label + `="` + labelEscaper.Replace(label) + `"}`)
			}
			b.WriteString(" " + strconv.FormatFloat(v, 'f', -1, 64) + "\n")
		})
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func gauge(name, help, nonZero string, value func(*Snapshot) float64) Metric {
	return Metric{Name: "obdagent_" + name, Type: "gauge", Help: help, NonZero: nonZero,
		values: func(s *Snapshot, add func(string, float64)) {
			if v := value(s); !math.IsNaN(v) {
				add("", v)
			}
		}}
}

// maybe is a gauge of what is not always known.
func maybe(name, help, nonZero string, value func(*Snapshot) *float64) Metric {
	return gauge(name, help, nonZero, func(s *Snapshot) float64 {
		if v := value(s); v != nil {
			return *v
		}
		return math.NaN()
	})
}

func counter(name, help, nonZero string, value func(*Snapshot) uint64) Metric {
	m := gauge(name+"_total", help, nonZero, func(s *Snapshot) float64 { return float64(value(s)) })
	m.Type = "counter"
	return m
}

// by is a family with one value for each of something.
func by(m Metric, label string, values func(*Snapshot) map[string]uint64) Metric {
	m.Label = label
	m.values = func(s *Snapshot, add func(string, float64)) {
		all := values(s)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			add(name, float64(all[name]))
		}
	}
	return m
}

// oneState is 1 for the state that holds.
func oneState(name, help, nonZero string, value func(*Snapshot) string) Metric {
	m := Metric{Name: "obdagent_" + name, Type: "gauge", Help: help, NonZero: nonZero}
	return by(m, "state", func(s *Snapshot) map[string]uint64 { return map[string]uint64{value(s): 1} })
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var metrics = []Metric{
	by(Metric{Name: "obdagent_info", Type: "gauge", Help: "Version of the running agent; always 1.", NonZero: "It runs."}, "version",
		func(s *Snapshot) map[string]uint64 { return map[string]uint64{s.Version: 1} }),
	gauge("uptime_seconds", "Time since the agent started.", "A small value again and again: it restarts; look at the journal.",
		func(s *Snapshot) float64 { return s.Uptime }),
	oneState("state", "State of the agent: ok waiting degraded.", "1 marks the state that holds. degraded: obdagent status says what is wrong, and what to do next.",
		func(s *Snapshot) string { return s.State }),
	by(Metric{Name: "obdagent_faults", Type: "gauge", Help: "Faults that have lasted, by code; only those that hold are told.",
		NonZero: "docs/faults.md says what the code means, and what to do next."}, "code",
		func(s *Snapshot) map[string]uint64 {
			codes := map[string]uint64{}
			for _, f := range s.Faults {
				codes[f.Code] = 1
			}
			return codes
		}),
	gauge("config_restart_needed", "Keys of the configuration that changed on a reload and wait for a restart.", "Restart the agent when it suits; obdagent status names the keys.",
		func(s *Snapshot) float64 { return float64(len(s.Config.RestartNeeded)) }),
	gauge("config_refused", "Whether the last reload of the configuration was refused.", "1: the old one is in force; obdagent config check says what is wrong with the new one.",
		func(s *Snapshot) float64 { return yes(s.Config.Refused != "") }),

	oneState("car_state", "State of the adapter and the car: none closed absent probing search live parked.", "1 marks the state that holds. absent: no adapter; search: the car does not answer; parked: its ignition is off.",
		func(s *Snapshot) string { return s.Car.State }),
	gauge("car_state_seconds", "How long that state has held.", "With absent, probing or search for minutes: see to the adapter's plug and the ignition.",
		func(s *Snapshot) float64 { return s.Car.Since }),
	maybe("car_speed_kmh", "Speed as the car says it, in km/h; absent when it does not.", "The vehicle moves.",
		func(s *Snapshot) *float64 { return s.Car.Speed }),
	gauge("car_speed_answers_hertz", "Speeds a second that the car tells.", "Far below the asked rate: a slow bus or adapter.",
		func(s *Snapshot) float64 { return s.Car.SpeedHz }),
	maybe("adapter_volts", "Voltage at the OBD plug, in V; absent when the adapter does not tell it.", "Below 11.8 at rest: the vehicle's battery is nearly empty.",
		func(s *Snapshot) *float64 { return s.Car.Voltage }),
	counter("car_requests", "Requests put to the adapter.", "Normal; 0 while parked.", func(s *Snapshot) uint64 { return s.Car.Requests }),
	counter("car_answers", "Answers that passed every check.", "Normal.", func(s *Snapshot) uint64 { return s.Car.Answers }),
	by(Metric{Name: "obdagent_car_failures_total", Type: "counter", Help: "Requests without a value, by reason.",
		NonZero: "A few are normal. Many of no prompt or garbage: cable or clone adapter; of bus errors: the OBD plug."}, "reason",
		func(s *Snapshot) map[string]uint64 { return s.Car.Failures }),
	gauge("car_mil", "Whether the malfunction indicator lamp is on; absent when not known.", "1: the car has stored a trouble code; obdagent status --json names it.",
		func(s *Snapshot) float64 {
			if s.Car.MIL == nil {
				return math.NaN()
			}
			return yes(*s.Car.MIL)
		}),
	gauge("car_stored_codes", "Trouble codes that the engine's ECU has stored; absent when not known.", "Have the vehicle looked at.",
		func(s *Snapshot) float64 {
			if s.Car.MIL == nil {
				return math.NaN()
			}
			return float64(len(s.Car.DTCs))
		}),

	oneState("gps_state", "State of the receiver: none closed absent probing silent no_fix fix ended.", "1 marks the state that holds. absent, silent: see to its cable; no_fix: to its antenna's view of the sky.",
		func(s *Snapshot) string { return s.GPS.State }),
	gauge("gps_state_seconds", "How long that state has held.", "With no_fix for more than minutes under open sky: the antenna.",
		func(s *Snapshot) float64 { return s.GPS.Since }),
	maybe("gps_speed_kmh", "Speed as the receiver says it, in km/h; absent without a fix.", "The vehicle moves.",
		func(s *Snapshot) *float64 { return s.GPS.Speed }),
	gauge("gps_satellites", "Satellites used in the fix; absent without one.", "Below 4 there is no height; below 6 positions wander.",
		func(s *Snapshot) float64 {
			if s.GPS.Sats == nil {
				return math.NaN()
			}
			return float64(*s.GPS.Sats)
		}),
	maybe("gps_hdop", "Horizontal dilution of precision of the fix; absent without one.", "Above 5: positions are rough.",
		func(s *Snapshot) *float64 { return s.GPS.HDOP }),
	maybe("gps_lag_seconds", "How far the receiver's speed trails the car's; absent until it is known.", "Up to 2 s is what receivers do, and is taken out.",
		func(s *Snapshot) *float64 { return s.GPS.Lag }),
	counter("gps_epochs", "Epochs that the receiver told.", "Normal.", func(s *Snapshot) uint64 { return s.GPS.Epochs }),
	counter("gps_fixes", "Epochs with a position.", "Normal; far fewer than epochs: the antenna.", func(s *Snapshot) uint64 { return s.GPS.Fixes }),
	counter("gps_bad_sentences", "Sentences with a wrong checksum or an impossible value.", "A few are normal after plugging in; if it grows: the cable, or the line speed.",
		func(s *Snapshot) uint64 { return s.GPS.BadSentence }),
	counter("gps_noise_bytes", "Bytes that belong to no sentence.", "The receiver speaks a binary protocol too, or the line speed is wrong.",
		func(s *Snapshot) uint64 { return s.GPS.NoiseBytes }),

	oneState("time_source", "Who vouches for the time: gnss ntp system none.", "1 marks the one that does. system, none: nobody; records wait for uplink.time_wait.",
		func(s *Snapshot) string { return s.TimeSrc }),

	counter("records_made", "Records that the buffer took.", "Normal; 0 for longer than record.parked_interval: neither source gives anything.",
		func(s *Snapshot) uint64 { return s.Record.Made }),
	counter("records_refused", "Records that the buffer did not take.", "They are lost: give buffer.max_bytes more room, or see why nothing is delivered.",
		func(s *Snapshot) uint64 { return s.Record.Refused }),
	counter("records_undated", "Records made before the time was known.", "Normal after a start; they are dated later.",
		func(s *Snapshot) uint64 { return s.Record.Undated }),
	counter("inputs_dropped", "Answers and epochs that came faster than they could be used.", "The board is overloaded.",
		func(s *Snapshot) uint64 { return s.Record.Dropped }),

	gauge("buffer_failed", "Whether the buffer keeps records in memory only.", "1: see to the disk that holds buffer.dir; obdagent status says what failed.",
		func(s *Snapshot) float64 { return yes(s.Buffer.State != OK) }),
	gauge("buffer_records", "Records that wait for delivery.", "Normal; if it grows for hours: no coverage, or the uplink is refused.",
		func(s *Snapshot) float64 { return float64(s.Buffer.Records) }),
	gauge("buffer_bytes", "Bytes that they take on disk.", "Near buffer_max_bytes the oldest are given up next.",
		func(s *Snapshot) float64 { return float64(s.Buffer.Bytes) }),
	gauge("buffer_max_bytes", "buffer.max_bytes.", "Normal.", func(s *Snapshot) float64 { return float64(s.Buffer.MaxBytes) }),
	maybe("buffer_oldest_seconds", "How long the oldest record has waited; absent when none waits.", "More than uplink.linger and a minute: nothing gets through.",
		func(s *Snapshot) *float64 { return s.Buffer.OldestAge }),
	by(Metric{Name: "obdagent_buffer_lost_records_total", Type: "counter", Help: "Records that were given up before delivery, by reason.",
		NonZero: "overflow: give buffer.max_bytes more room; damaged: the disk fails."}, "reason",
		func(s *Snapshot) map[string]uint64 { return s.Buffer.Lost }),
	gauge("buffer_quarantined_segments", "Damaged segments set aside.", "The disk fails, or lost power while it wrote: obdagent buffer verify.",
		func(s *Snapshot) float64 { return float64(s.Buffer.Quarantined) }),
	counter("buffer_payload_bytes", "Bytes of the records since the start.", "Normal.", func(s *Snapshot) uint64 { return uint64(s.Buffer.PayloadBytes) }),
	counter("buffer_written_bytes", "Bytes given to the file system for them.", "Normal.", func(s *Snapshot) uint64 { return uint64(s.Buffer.WrittenBytes) }),
	gauge("buffer_sync_max_seconds", "The longest time that the disk took to confirm a write; absent before the first.", "Above 1: the card is worn, or something else keeps it busy.",
		func(s *Snapshot) float64 {
			if s.Buffer.Syncs == nil {
				return math.NaN()
			}
			return s.Buffer.Syncs.Max
		}),
	gauge("flash_life_used_percent", "The eMMC's own estimate of its life that is used, in steps of 10; absent where there is none.", "Above 100: replace the board or its card.",
		func(s *Snapshot) float64 {
			if s.Buffer.Device == nil || s.Buffer.Device.LifeUsed == 0 {
				return math.NaN()
			}
			return float64(s.Buffer.Device.LifeUsed)
		}),

	oneState("uplink_state", "State of the uplink: starting ok waiting budget throttled down refused stopped.", "1 marks the state that holds. down: no coverage, or a wrong endpoint; refused: stream, credentials or permission.",
		func(s *Snapshot) string { return s.Uplink.State }),
	counter("uplink_delivered_records", "Records that the destination took.", "Normal.", func(s *Snapshot) uint64 { return s.Uplink.Delivered }),
	counter("uplink_calls", "Calls to the destination.", "Normal.", func(s *Snapshot) uint64 { return s.Uplink.Calls }),
	counter("uplink_failed_calls", "Calls that failed as a whole.", "Normal in coverage holes; nothing is lost.", func(s *Snapshot) uint64 { return s.Uplink.Failed }),
	counter("uplink_retried_entries", "Firehose records that were refused for the moment and sent again.", "The stream is throttled: ask AWS for a higher limit.",
		func(s *Snapshot) uint64 { return s.Uplink.Retried }),
	counter("uplink_set_aside_records", "Records that can never be taken.", "They lie in aside.jsonl in buffer.dir: report it.", func(s *Snapshot) uint64 { return s.Uplink.Aside }),
	counter("uplink_sent_bytes", "Bytes sent over the network.", "Normal: what the data plan pays for.", func(s *Snapshot) uint64 { return s.Uplink.BytesUp }),
	counter("uplink_received_bytes", "Bytes received over the network.", "Normal: what the data plan pays for.", func(s *Snapshot) uint64 { return s.Uplink.BytesDown }),
	counter("uplink_billed_bytes", "What was delivered as Firehose bills it, each of its records rounded up to 5 KiB.", "Normal.", func(s *Snapshot) uint64 { return s.Uplink.BilledBytes }),
	gauge("uplink_day_bytes", "Bytes over the network, both ways, since midnight UTC.", "At uplink.daily_bytes older records wait for the next day.",
		func(s *Snapshot) float64 { return float64(s.Uplink.DayBytes) }),
	maybe("uplink_last_success_seconds", "Time since the destination last took something; absent before the first.", "More than uplink.linger and a minute while records wait: nothing gets through.",
		func(s *Snapshot) *float64 { return s.Uplink.LastAge }),
}
