// Package demo is the agent with nothing attached.
//
// A [Trip] is one drive, as a function of time: what the car's own instruments say and where the van is agree, because both
// are read off the same state. [Simulate] puts a simulated adapter and a simulated receiver that live on one trip behind real
// pseudo-terminals; [Run] lets the real agent loose on them, receives what it delivers with a strict local Firehose endpoint,
// and reads the delivered objects back.
package demo
