package record

import "math"

// earthRadius is the mean radius R1 of GRS 80 in metres (Moritz, Geodetic Reference System 1980, Journal of Geodesy 74, 2000).
const earthRadius = 6371008.8

// Distance is the great-circle distance in metres of two points given in degrees, by the haversine formula, which is exact for
// small steps too. On the WGS 84 ellipsoid the true distance differs by up to 0.56 %.
func Distance(lat1, lon1, lat2, lon2 float64) float64 {
	const radian = math.Pi / 180
	dLat := math.Sin((lat2 - lat1) * radian / 2)
	dLon := math.Sin((lon2 - lon1) * radian / 2)
	// The conversions keep the compiler from fusing multiplication and addition, so that every machine finds the same.
	h := float64(dLat*dLat) + float64(math.Cos(lat1*radian)*math.Cos(lat2*radian)*dLon*dLon)
	return 2 * earthRadius * math.Asin(math.Sqrt(min(h, 1)))
}
