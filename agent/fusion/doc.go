// Package fusion brings together what the car and the receiver say, as records.
//
// A [Fuser] is pure: samples, fixes and the passing of time go in with their stamps, records come out, and the same input
// gives the same records on every machine (but for their ids, which are asked from outside).
//
// There is one record per epoch of the receiver, thinned to the interval; where no epochs come, one per interval at the
// moment of the car's latest answer. The car's speed is interpolated at the moment of the record. At standstill the parked
// interval holds. Start, stop and a change of the ignition give a record at once.
//
// No value outlives its source: each has an age limit, and when the car stops answering all of its values are gone at once.
// A vehicle of whose speed nobody has told for a minute counts as standing.
//
// # The receiver's lag
//
// What a receiver tells of an epoch was true some time before it. While the speed changes, the receiver's speed is correlated
// with the car's at lags from -1 to 3 s; once the standard error is below 30 ms, records on epochs take the car's speed of the
// moment that their position is of. [Fuser.Lag] has the estimate. The memory is fixed, and old epochs count less and less, so
// that another receiver or car is noticed within some minutes of changing speed.
//
// # The curve
//
// A [Curve] keeps of the records only those that redraw the drive within a position and a speed tolerance. The price is that
// records wait in memory for up to a minute, where a power cut finds them.
//
// # Limits
//
// There is no dead reckoning: where the receiver has no position, records have none. The record of a start or stop, made at once
// at the midpoint of the exchange that told it, may stand before that of an epoch that is a little older, since epochs arrive
// late, or behind that of one a little younger: by up to 2 s, the latest that an epoch is believed to be. A lag is not found on a motorway, where the speed does not
// change, and it is forgotten when the process ends.
package fusion
