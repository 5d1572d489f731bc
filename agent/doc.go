// Package agent is the daemon: it builds the parts from the configuration, starts them, and stops them in order.
//
// Data runs straight through, and each step has one owner:
//
//	ELM327 --obd--> Sample ----\
//	                            fusion --> Record --> buffer --> uplink --> Firehose or directory
//	GPS -----gps--> Fix -------/   ^                              |
//	                 \--> clock ---/<------- time for older records
//
// Run returns only when it is told to, or when what it needs from the board is not there at all: a buffer directory that
// another agent has, a status socket that it may not make. Everything a vehicle does to it, cables pulled, no ignition, no
// sky, no coverage, is a state.
//
// A task that is stuck in the program itself is what systemd's watchdog is for; watchdog.go says who proves what to it. What waits for a
// disk is not asked: a disk that fails, or hangs, is a state too.
//
// Stopping goes the way of the data: sources, fusion, a commit, uplink, buffer, status. It does not try to empty the buffer
// into the network.
package agent
