package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// The JSON form. Units are in the names; a value that is not known is null.
type (
	reportJSON struct {
		Vehicles   []vehicleJSON  `json:"vehicles"`
		Total      vehicleJSON    `json:"total"`
		GapLimit   float64        `json:"gap_limit_s"`
		Objects    int            `json:"objects"`
		Bytes      int64          `json:"bytes"`
		Lines      int            `json:"lines"`
		Filtered   int            `json:"filtered"`
		Skipped    skippedJSON    `json:"skipped"`
		Damaged    damagedJSON    `json:"damaged"`
		Unreadable unreadableJSON `json:"unreadable"`
	}
	vehicleJSON struct {
		VIN        string   `json:"vin,omitempty"`
		Records    int      `json:"records"`
		MaxKmh     *float64 `json:"max_kmh"`
		MeanKmh    *float64 `json:"mean_kmh"`
		DistanceKm float64  `json:"distance_km"`
		SpeedKm    float64  `json:"speed_distance_km"`
		Jumps      int      `json:"jumps"`
		Moving     float64  `json:"moving_s"`
		Idle       float64  `json:"idle_s"`
		Blind      float64  `json:"blind_s"`
		Gaps       int      `json:"gaps"`
		GapTime    float64  `json:"gap_s"`
		LongestGap float64  `json:"longest_gap_s"`
		CO2        *float64 `json:"co2_kg"`
		CO2Time    float64  `json:"co2_s"`
		Fuel       *float64 `json:"fuel_l"`
		FuelTime   float64  `json:"fuel_s"`
		First      *string  `json:"first"`
		Last       *string  `json:"last"`
		Duplicates *int     `json:"duplicates"`
		Undated    int      `json:"undated"`
	}
	skippedJSON struct {
		ErrorPrefix int `json:"error_prefix"`
		Temporary   int `json:"temporary"`
		Before      int `json:"earlier_days"`
	}
	damagedJSON struct {
		Count int          `json:"count"`
		First []damageJSON `json:"first"`
	}
	unreadableJSON struct {
		Count int          `json:"count"`
		First []damageJSON `json:"first"`
	}
	damageJSON struct {
		Object string `json:"object"`
		Line   int    `json:"line,omitempty"`
		Reason string `json:"reason"`
	}
)

// JSON prints the report for a program: one indented object.
func (r *Report) JSON(w io.Writer) error {
	out := reportJSON{
		Vehicles:   []vehicleJSON{},
		Total:      r.Total.json(r.NoIDs),
		GapLimit:   r.Gap.Seconds(),
		Objects:    r.Objects,
		Bytes:      r.Bytes,
		Lines:      r.Lines,
		Filtered:   r.Filtered,
		Skipped:    skippedJSON(r.Skipped),
		Damaged:    damagedJSON{Count: r.Damaged, First: []damageJSON{}},
		Unreadable: unreadableJSON{Count: r.UnreadableCount, First: []damageJSON{}},
	}
	for _, v := range r.Vehicles {
		out.Vehicles = append(out.Vehicles, v.json(r.NoIDs))
	}
	for _, d := range r.FirstDamaged {
		out.Damaged.First = append(out.Damaged.First, damageJSON(d))
	}
	for _, u := range r.Unreadable {
		out.Unreadable.First = append(out.Unreadable.First, damageJSON{Object: u.Object, Reason: u.Reason})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(out); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}

func (v Vehicle) json(noIDs bool) vehicleJSON {
	j := vehicleJSON{
		VIN: v.VIN, Records: v.Records, MaxKmh: orNull(v.MaxSpeed), MeanKmh: orNull(rounded(v.MeanSpeed(), 3)),
		DistanceKm: v.Distance(), SpeedKm: float64(v.SpeedMillimetres) / 1e6, Jumps: v.Jumps,
		Moving: v.Moving.Seconds(), Idle: v.Idle.Seconds(), Blind: v.Blind.Seconds(),
		Gaps: v.Gaps, GapTime: v.GapTime.Seconds(), LongestGap: v.LongestGap.Seconds(),
		CO2: orNull(v.CO2()), CO2Time: v.CO2Time.Seconds(), Fuel: orNull(rounded(v.Fuel(), 6)), FuelTime: v.FuelTime.Seconds(), Undated: v.Undated,
	}
	if !v.First.IsZero() {
		first, last := moment(v.First), moment(v.Last)
		j.First, j.Last = &first, &last
	}
	if !noIDs {
		j.Duplicates = &v.Duplicates
	}
	return j
}

func rounded(x float64, decimals int) float64 {
	scale := math.Pow10(decimals)
	return math.Round(x*scale) / scale
}

func orNull(x float64) *float64 {
	if math.IsNaN(x) {
		return nil
	}
	return &x
}

// csvColumns are the columns of CSV, with their units, named as in JSON.
var csvColumns = []string{
	"vin", "records", "max_kmh", "mean_kmh", "distance_km", "speed_distance_km", "jumps", "moving_s", "idle_s", "blind_s",
	"gaps", "gap_s", "longest_gap_s", "co2_kg", "co2_s", "fuel_l", "fuel_s", "first", "last", "duplicates", "undated",
}

// CSV prints a row for each vehicle, for a spreadsheet or a program: RFC 4180 with a header, values that are not known empty. A VIN
// that a spreadsheet would take for a formula has an apostrophe before it.
func (r *Report) CSV(w io.Writer) error {
	rows := [][]string{csvColumns}
	for _, v := range r.Vehicles {
		rows = append(rows, v.csv(r.NoIDs))
	}
	if err := csv.NewWriter(w).WriteAll(rows); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}

func (v Vehicle) csv(noIDs bool) []string {
	vin, duplicates := v.VIN, strconv.Itoa(v.Duplicates)
	if strings.ContainsAny(vin[:min(1, len(vin))], "=+-@") {
		vin = "'" + vin
	}
	if noIDs {
		duplicates = ""
	}
	number := func(x float64, decimals int) string {
		if math.IsNaN(x) {
			return ""
		}
		return strconv.FormatFloat(x, 'f', decimals, 64)
	}
	seconds := func(d time.Duration) string { return number(d.Seconds(), 3) }
	return []string{
		vin, strconv.Itoa(v.Records), number(v.MaxSpeed, 3), number(v.MeanSpeed(), 3), number(v.Distance(), 6),
		number(float64(v.SpeedMillimetres)/1e6, 6), strconv.Itoa(v.Jumps), seconds(v.Moving), seconds(v.Idle), seconds(v.Blind),
		strconv.Itoa(v.Gaps), seconds(v.GapTime), seconds(v.LongestGap), number(v.CO2(), 6), seconds(v.CO2Time),
		number(v.Fuel(), 6), seconds(v.FuelTime), moment(v.First), moment(v.Last), duplicates, strconv.Itoa(v.Undated),
	}
}
