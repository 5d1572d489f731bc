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
//   - While the car is off its bus is left alone.
//
// # Limits
//
//   - One request at a time and one PID in each; service 01 and the VIN only.
//   - An adapter must be able to show headers (ATH1): without them nobody knows who has answered.
//   - A byte that was changed on the way, but is still hex, does not show on CAN: the adapter sends no checksum. A lost one does.
//   - What was learned (port, line speed, protocol) lives as long as the Car.
//   - Serial ports need Linux.
//
// The package knows nothing of GPS, files on disk or clouds, and can be used alone.
package obd
