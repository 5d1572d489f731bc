package gps_test

import (
	"fmt"
	"strings"

	"obdagent/gps"
)

func ExampleDecode() {
	recording := `$GPRMC,102143.00,A,3340.7732,S,15117.4478,E,6.7,155.1,251112,,,A*4A
$GPGGA,102143.00,3340.7732,S,15117.4478,E,1,07,1.2,63.7,M,22.4,M,,*4F
$GPRMC,102144.00,V,,,,,,,251112,,,N*7B
`
	counts, err := gps.Decode(strings.NewReader(recording), func(f gps.Fix) {
		if !f.HasPosition() {
			fmt.Println(f.Time.Format("15:04:05"), f.Mode, f.Reason)
			return
		}
		fmt.Printf("%s %s %.6f %.6f %.1f m/s, %d satellites\n", f.Time.Format("15:04:05"), f.Mode, f.Lat, f.Lon, f.Speed, f.Sats)
	})
	fmt.Println(counts.Fixes, "of", counts.Epochs, "epochs have a fix,", err)
	// Output:
	// 10:21:43 3d -33.679553 151.290797 3.4 m/s, 7 satellites
	// 10:21:44 none receiver says no fix (RMC V)
	// 1 of 2 epochs have a fix, <nil>
}
