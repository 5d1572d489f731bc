// Package clock tells what time it is on a board that has no clock of its own.
//
// A vehicle's gateway wakes in 1970, or at the time it last shut down, or at whatever NTP makes of it much later. What never
// lies is CLOCK_BOOTTIME: it counts from the boot of the kernel, through suspend, and nobody sets it. The package therefore
// keeps for each boot the offset between UTC and CLOCK_BOOTTIME, as it was at some moments, and who vouches for it:
//
//   - gnss: three consecutive dated epochs of the receiver whose UTC steps equal their boottime steps within 0.5 s and whose
//     date, put into the 1024-week era nearest to the reference, lies between the build date and 19 years after it;
//   - ntp: the kernel says that its clock is synchronised;
//   - system: nobody; a system clock that at least is later than the build date;
//   - none: nothing is known.
//
// Everything that happened in a boot is dated by that boot's offset, also when it is learned later and also, because offsets
// are kept in a file, when it is asked in a later boot. A boot that never learned its offset stays undated: a wrong time is
// worse than none.
//
// The receiver's sentences arrive late and unevenly, and never early: the offset is the largest of the last 64 epochs. A board's
// clock runs off by seconds in a day's suspend; a moment between two known offsets is dated between them.
//
// Trust is dropped when the receiver contradicts it by more than 2 s, and built anew. When the receiver has said nothing for 12
// hours, a synchronised system clock is taken instead.
//
// The file's disk may come late, or fail for a while: what it holds is taken over when a record asks for it, and saving is tried again.
//
// Nothing here reads a clock by itself: [Options] says where time comes from, so that tests simulate boots, steps and years.
package clock
