// Package status is what the agent says of itself.
//
// There is one [Snapshot]; the status log ([Snapshot.Line]), the screen of `obdagent status` ([Snapshot.Render]) and its
// --json all render it. The JSON is a contract: fields are added and never change their meaning. Ages are in seconds,
// moments in RFC 3339, speeds in km/h.
//
// The verdict is made of [Problem]s: one for each stage that does not do its part, in the order in which a technician accepts
// an installation (car, gps, clock, buffer, uplink), each with the next thing to do. A parked car, a van in a tunnel and a
// board without coverage are states and not problems, until they last.
//
// Besides the snapshot it has two more looks into the running agent. A [Feed] hands records, sentences and adapter traffic to
// readers on the socket; telling it something never waits, and a reader who is too slow is told how much he missed. A [Page] serves a
// phone's browser: read-only, to those only who asked for this board, bounded in connections, and without a position
// unless it may show one.
package status
