package report_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"obdagent/agent/report"
)

// What a directory of delivered objects says, and whether a record that was made is among them.
func ExampleRead() {
	dir, err := os.MkdirTemp("", "delivered")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	const lines = "939ed1d1-1740-420c-8906-445278573c7f 2026-11-23T08:00:00.000Z WVWZZZ1JZXW000001 106.9447146 -6.3385652 25\n" +
		"939ed1d1-1740-420c-8906-445278573c80 2026-11-23T08:00:01.000Z WVWZZZ1JZXW000001 106.9447146 -6.3384954 27.5\n"
	if err := os.WriteFile(filepath.Join(dir, "gps-delivery-stream-1"), []byte(lines), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	delivered := map[string]bool{}
	r, err := report.Read(context.Background(), report.Directory(dir), report.Options{
		Each: func(l report.Line) { delivered[l.ID.String()] = true },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range r.Vehicles {
		fmt.Printf("%s: %d records, at most %g km/h, %.1f m\n", v.VIN, v.Records, v.MaxSpeed, v.Distance()*1000)
	}
	fmt.Println(delivered["939ed1d1-1740-420c-8906-445278573c80"])
	// Output:
	// WVWZZZ1JZXW000001: 2 records, at most 27.5 km/h, 7.8 m
	// true
}
