// Package gps turns a GPS receiver into a stream of Fixes.
//
// The unit is the epoch, all sentences of one UTC time, and not the sentence: which of RMC, GGA, GNS, GLL, VTG, GSA and ZDA
// a receiver sends, in which order and with which talkers, differs from model to model, and no one of them tells the whole
// truth. A [Framer] finds the sentences among the bytes; an [Assembler] gathers those of an epoch and says once what they
// say together; a [Receiver] opens the source, feeds an Assembler and keeps going when the source goes away. [Decode] does
// the same with a recording, offline. Where gpsd owns the receiver, its reports are read instead (gpsd://): the last one of
// an epoch is the epoch.
//
// # Promises
//
//   - A Fix has a position only where the receiver calls it valid and nothing in the same epoch contradicts it. Otherwise
//     [Fix.Mode] is [ModeNone] and [Fix.Reason] says why.
//   - Absent is absent: a field that the receiver left empty is NaN (or -1 for counts), never zero.
//   - A sentence that is damaged, out of range or of an unknown kind is counted in [Status] and otherwise ignored.
//   - Nothing is ever written to the receiver, unless [Options.Init] holds lines for it.
//   - A Receiver does not give up: unplugged, silent, busy are states with a reopening delay, reported once per change.
//
// # When an epoch is out
//
// With the first sentence of another time; or with the last sentence of the cycle, once the receiver has sent the same
// cycle twice; or when nothing came for a quarter of a second (more, up to 0.8 s, where a slow receiver pauses within
// its bursts). Where a cycle may be the beginning of a longer one, it is waited for, unless the cycles take turns (GSA with
// each fifth epoch only) and it is the short one's turn. Sentences that come later are dropped and counted.
//
// # What contradicts a fix
//
// A GGA of quality 0, a GNS of mode N, a GSA of mode 1, an RMC of mode N, fewer than three satellites, a dilution (HDOP) of
// 49 and more, the position 0,0, and a position that does not change by a digit while the speed says that 40 m have been
// driven. Receivers in tunnels and garages do all of these while RMC says A.
//
// # Limits
//
// NMEA 0183 only: binary protocols are skipped as noise; gpsd understands more, and is a source. Through gpsd, dates are as
// gpsd corrects them, and of several receivers that it has the first one heard is used until it falls silent.
//
// Dates are as the receiver gives them, not corrected for the rollover of the week number. The epoch of a leap second
// (23:59:60) is lost. A device that another program uses is noticed by its TIOCEXCL, which does not bind a process that
// runs as root.
//
// The package knows nothing of cars, clouds or, but for [Options.Memory], files on disk, and can be used alone.
package gps
