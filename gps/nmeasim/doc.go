// Package nmeasim plays a GPS receiver: [Replay] sends a recording with its own timing, [Synth] makes the sentences of a
// typical u-blox receiver from a state, and both break what they send where [Faults] asks for it.
//
// Both write to an io.Writer, usually the master side of a pty. A Write that blocks, as one to a pty that nobody reads
// does, ends with the context where the writer knows deadlines; the master of a pty is made non-blocking for it.
//
// The package is for tests and demonstrations. It knows nothing of cars.
package nmeasim
