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
package fusion
