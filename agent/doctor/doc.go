// Package doctor is the acceptance test of an installation, and the search for what is attached.
//
// [Run] goes through the checks in the order in which a record travels: power, ports, adapter, car, gps, clock, disk, credentials, and
// one record's round trip. Every check runs, also when one before it has failed, and says OK, WARN or FAIL with the next thing to do.
//
// It judges by the snapshots of an agent: of the daemon if that runs, whose ports it leaves alone, else of one of its own
// ([Alone]), which is the same agent with a buffer in a temporary directory.
//
// [Detect] looks at serial ports. A port is first listened to, at all line speeds; only one that is silent is asked whether it is an
// adapter, by the rules of package obd. Nothing is ever written to a receiver, and nothing put to the car's bus.
//
// # Limits
//
// Who holds a port is read from /proc, and only root is shown the files of other users' processes. A program that takes a USB
// device away from its serial driver, as brltty does, holds no port; that one is looked for by name.
package doctor
