// Command crash cuts the power under the buffer on a real ext4, and looks whether it kept its promises.
//
// A disk's image lives in this process's memory and is served through FUSE as one file; a loop device on that file carries an
// ext4 with its journal, barriers on. Each write of the loop device, and each flush, reaches the image in its order and is
// recorded: the file is opened for direct I/O, so that no cache lies between, and the loop device, which says to have a
// write-back cache, makes a flush of what the file system asks for as one (FUA too). On that disk the buffer lives by its public
// API: records are appended, committed, read and acknowledged, segments roll, are used again, thinned and dropped, the log is closed
// and opened, and a neighbour writes files of its own, so that the journal commits at other moments too. What is promised, and
// when, is noted with the number of writes and flushes that had been recorded by then.
//
// A state is what a power cut leaves of the disk at any of these moments: all writes up to the last flush before it, and of those since
// none, all, the first few, any of them, any of their blocks or any of their sectors. The file system's own superblock is kept
// in one piece, all else is torn anywhere: see cut. The state is mounted, which replays the journal; the buffer is
// inspected, opened, read, written and opened again; then the file system has to be clean for e2fsck. Held against the notes:
//
//   - a record whose commit had returned is there, in its place, as it was appended, unless Ack was called for it, or the log had
//     said that it was given up, or was about to;
//   - nothing is there that had not been appended, nothing twice, nothing damaged;
//   - what is missing is said to be, with a reason that holds; a thinned log has each tenth record;
//   - nothing comes again after the frame with its acknowledgement was committed;
//   - no number is used for two committed records; what is appended after the cut is there after another opening.
//
// Some of the states are the beginning of another life, whose disk is cut again.
//
// That it finds what it is to find is shown by -mutants: the buffer is built without its syncs, one by one, and must fail; and by
// -lie: the disk confirms flushes and forgets.
//
// It needs root, /dev/fuse, /dev/loop-control, mkfs.ext4 and e2fsck. All that it has mounted is gone at its end, also after an interrupt.
// A failure prints its seed and keeps the image of the disk; the kernel has its own timers, so that a seed brings back the work
// and the choices, and mostly, not always, the same writes: the image is the evidence.
package main
