// Package obd asks a car, through an ELM327 adapter, for its speed and for what its emissions can be told from.
//
// The session with the adapter is this package's own, on go.bug.st/serial and TCP: one command outstanding, read to the
// prompt, headers on, one ECU. The bytes of a reply that has passed every check are decoded by rzetterberg/elmobd and by
// commands of its OBDCommand interface that this package adds.
//
// # Promises
//
//   - A value is handed out only if the prompt was seen, no error word stood in the reply, the reply names the service and PID that were asked,
//     its length is right and it comes from the chosen ECU. Anything else is a [Sample] with an Err that says why, and no value.
//   - A late answer is never taken for the answer to a later question.
//   - Nothing is written to the adapter's non-volatile memory.
//   - A port that talks unasked is not an ELM327 and is never written to.
//   - Ignition off, adapter unplugged, port in use are states with a delay, reported once per change; a Car does not give up.
//   - While the car is off its bus is left alone, also by an adapter that comes and goes: its return counts as a sign of life, at most each ten minutes. An adapter that wants to sleep then is let sleep, and its voltage read each ten minutes.
//   - An adapter that sleeps is woken, one that has restarted unseen is set up again before its next value counts.
//
// # How it is fast
//
// On CAN the reply of steady polling takes a short way through the same gate, without allocation. Signals that are due ride in one request with
// the speed, as long as the answer stays within one frame, where the pair of adapter and car has shown, once, that it gives the same as
// single requests; if that goes wrong twice in a row, signals are asked one by one again. The number of lines to wait for goes behind
// a request where one ECU is listened to: the adapter then does not wait for a second. Headers stay on: without them a reply
// would be a third shorter, but an adapter that has restarted unseen, and lost its filter, could not be told from one that has not.
//
// Where several ECUs answer, the chosen one is pinned: by a filter (ATCRA), or, on CAN, where the adapter has none, by asking it alone at
// its own address (ATSH), if it says there what it says to all. Where there is a filter its own address would gain nothing: the
// bytes on the line are the same. An adapter that takes no number of lines waits 64 ms after an answer on CAN instead of 205 (ATST10): ECUs answer
// within 50. A shorter wait, and the aggressive adaptive timing (ATAT2), are left alone: an answer that comes after them would be taken for
// that to the next request, and it would look right.
//
// On a serial line with requests far apart (MaxRate at its default or below) the process is woken for the first byte of a reply, which dates
// the value, and when the last is due, and not for those between.
//
// # Limits
//
//   - One request at a time. Several PIDs in one request on CAN only, and only within one frame.
//   - Services 01, 02 (freeze frame 0), 03, 07, 0A, the VIN, and for the user's own PIDs 22. Nothing that changes the car.
//   - One ECU's values are listened to. Of the others the trouble codes are read, but not lamp, count, or freeze frame.
//   - A value of two and more data bytes that has changed takes 4 allocations: elmobd takes its bytes as text. One of one byte takes none.
//   - An ECU that says that its answer is pending (7F xx 78) and does not send it in the same reply is not asked again for 5 s, so that its late
//     answer is nobody's.
//   - An adapter must be able to show headers (ATH1): without them nobody knows who has answered.
//   - A byte that was changed on the way, but is still hex, does not show on CAN: the adapter sends no checksum. A lost one does.
//   - Serial ports need Linux.
//
// The package knows nothing of GPS or clouds, writes one small file if it is given its name (Options.Memory), and can be used alone.
package obd
