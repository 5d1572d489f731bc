// Package gps turns a GPS receiver into a stream of Fixes.
//
// The unit is the epoch, all sentences of one UTC time, and not the sentence: which of RMC, GGA, GNS, GLL, VTG, GSA and ZDA
// a receiver sends, in which order and with which talkers, differs from model to model, and no one of them tells the whole
// truth. An [Assembler] gathers the sentences of an epoch and says once what they say together; a [Receiver] opens the
// source, feeds an Assembler and keeps going when the source goes away.
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
// The package knows nothing of cars, files on disk or clouds, and can be used alone.
package gps
