package enroll

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// columns are those that a list of boards may have; the first must be there.
var columns = []string{"thing", "vin", "device_id", "fuel"}

// ReadCSV reads a list of boards: a first line with the columns' names (thing, and any of vin, device_id, fuel), then a line each. All
// that is wrong with it is said at once, with lines.
func ReadCSV(name string, r io.Reader) ([]Board, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxCSV+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxCSV {
		return nil, fmt.Errorf("%s has more than %d MiB: that is no list of boards", name, maxCSV>>20)
	}
	in := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff")))) // which spreadsheets put before it
	in.TrimLeadingSpace = true
	if first, _, _ := strings.Cut(string(text), "\n"); strings.Count(first, ";") > strings.Count(first, ",") {
		in.Comma = ';' // as spreadsheets write it where the comma is the decimal point
	}
	header, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s is empty: its first line names the columns: %s", name, strings.Join(columns, ","))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var problems []error
	for i := range header {
		header[i] = strings.ToLower(strings.TrimSpace(header[i]))
		if !slices.Contains(columns, header[i]) {
			problems = append(problems, fmt.Errorf("%s line 1: there is no column %q: the columns are %s", name, header[i], strings.Join(columns, ",")))
		}
		if slices.Contains(header[:i], header[i]) {
			problems = append(problems, fmt.Errorf("%s line 1: column %q is there twice", name, header[i]))
		}
	}
	if !slices.Contains(header, columns[0]) {
		problems = append(problems, fmt.Errorf("%s line 1: column %q is missing: it holds the boards' names in AWS IoT", name, columns[0]))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	var boards []Board
	seen := map[string]int{} // what must be a board's own -> its line
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errors.Join(append(problems, fmt.Errorf("%s: %w", name, err))...)
		}
		line, _ := in.FieldPos(0)
		var b Board
		for i, value := range row {
			value = strings.TrimSpace(value)
			switch header[i] {
			case "thing":
				b.Thing = value
			case "vin":
				b.VIN = value
			case "device_id":
				b.DeviceID = value
			case "fuel":
				b.Fuel = value
			}
		}
		// Names of directories as well, which some systems do not tell apart by case.
		for _, own := range []struct{ what, value string }{{"thing", strings.ToLower(b.Thing)}, {"vin", b.VIN}, {"device_id", b.DeviceID}} {
			if own.value == "" {
				continue
			}
			if before := seen[own.what+own.value]; before > 0 {
				problems = append(problems, fmt.Errorf("%s line %d: %s %s is that of line %d too", name, line, own.what, own.value, before))
			}
			seen[own.what+own.value] = line
		}
		if err := b.Check(); err != nil {
			problems = append(problems, fmt.Errorf("%s line %d: %w", name, line, err))
		}
		boards = append(boards, b)
	}
	if len(boards) == 0 && len(problems) == 0 {
		return nil, fmt.Errorf("%s names no boards", name)
	}
	return boards, errors.Join(problems...)
}

// maxCSV is a hundred thousand boards, and far more than anybody enrols at a time.
const maxCSV = 8 << 20
