package record_test

import (
	"math"
	"testing"

	"obdagent/agent/record"
)

func TestDistancesOnTheSphereOfTheEarthsMeanRadius(t *testing.T) {
	t.Parallel()
	const degree = 111195.08 // metres on a great circle: 6371008.8 * pi / 180
	for name, c := range map[string]struct{ lat1, lon1, lat2, lon2, want float64 }{
		"a degree of latitude":               {48, 11, 49, 11, degree},
		"a degree of longitude at 60 north":  {60, 0, 60, 1, 55597.0},
		"over the 180th meridian":            {0, 179.5, 0, -179.5, degree},
		"from pole to pole":                  {90, 0, -90, 0, 180 * degree},
		"the last digit of a record":         {48, 11, 48.0000001, 11, degree / 1e7},
		"nowhere":                            {48, 11, 48, 11, 0},
		"the antipode, where rounding bites": {0.1, 0, -0.1, 180, 180 * degree},
	} {
		if got := record.Distance(c.lat1, c.lon1, c.lat2, c.lon2); math.Abs(got-c.want) > 0.001+1e-5*c.want {
			t.Errorf("%s: %.4f m, want %.4f m", name, got, c.want)
		}
	}
}
