// Package record is the unit of what a vehicle tells: one moment, with position, speed and all else that was known then.
//
// A [Record] is made once, with its [Record.ID], and never changed but for its time: a record made before the board knew the
// time is dated when it is sent. On disk it is its full JSON line ([Record.AppendJSON], [Parse]). On the wire it is one line in
// one of two formats: json, with every field that is present, or text ([Record.AppendText]), the chosen columns with one space
// between them, where a missing value is NaN so that columns never shift.
//
// Absent is a state of its own ([Opt]): the zero Record has no position and no speed, instead of a car that stands at 0 N 0 E.
package record
