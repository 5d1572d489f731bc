// Package status is what the agent says of itself.
//
// There is one [Snapshot]; the status log ([Snapshot.Line]), the screen of `obdagent status` ([Snapshot.Render]), its --json and systemd's
// status line ([Snapshot.Verdict]) all render it. The JSON is a contract, docs/status.md: fields are added and never change their
// meaning. Ages are in seconds, moments in RFC 3339, speeds in km/h.
//
// What can go wrong is data: a [Fault] has a stable code, a severity, one next action, the faults that explain it, and the time that it must
// last before it shows. A [History] judges one snapshot after the other; it is pure. A parked car, a van in a tunnel and a board
// without coverage are states and no faults, until they last. docs/faults.md is made of the same data.
//
// Besides the snapshot it has two more looks into the running agent. A [Feed] hands records, sentences and adapter traffic to
// readers on the socket; telling it something never waits, and a reader who is too slow is told how much he missed. A [Page] serves a
// phone's browser: read-only, to those only who asked for this board, bounded in connections, and without a position
// unless it may show one.
//
// # Limits
//
// What begins and ends between two snapshots is not seen; the agent makes one every five seconds at least. A power cut may take the last five
// seconds of the status log. The status log is bounded: a flood of transitions is cut and counted.
package status
