// Package status is what the agent says of itself.
//
// There is one [Snapshot]; the status log ([Snapshot.Line]), the screen of `obdagent status` ([Snapshot.Render]) and its
// --json all render it. The JSON is a contract: fields are added and never change their meaning. Ages are in seconds,
// moments in RFC 3339, speeds in km/h.
//
// The verdict is made of [Problem]s: one for each stage that does not do its part, in the order in which a technician accepts
// an installation (car, gps, clock, buffer, uplink), each with the next thing to do. A parked car, a van in a tunnel and a
// board without coverage are states and not problems, until they last.
package status
