// Package elmsim is a simulated ELM327 adapter with a car behind it, for tests and demonstrations.
//
// It speaks the adapter's dialogue on any [io.ReadWriteCloser]: the master side of a pty, a TCP connection, one end of a
// [net.Pipe]. It is paced byte by byte at a line speed, waits as long as an ECU does, has one or several ECUs, CAN with 11
// and 29 bits, ISO 9141, KWP and J1850, assembles ISO-TP, and can be told to do what real adapters and cars do wrong; see
// [Fault]. What it draws by lot comes from a seed.
//
// It is not an emulator of a certain chip: commands that this program does not need answer "OK" or "?", as the
// [Personality] says. It sleeps and is woken as the data sheet says. All frames of an answer are sent at once, or with flow control off (ATCFC0) the
// first alone. Told how many lines to expect it sends as many and no more, and what comes after them may get into the next reply, as from a real
// one; not told, it waits after an answer for another (ATST, ATAT). A request reaches all ECUs or, by its header (ATSH), one. After LV RESET and ERR94
// its searches leave CAN out until ATFE. Times are those of the clock, so in a testing/synctest bubble they are free.
package elmsim
