// Package buffer keeps byte records on disk, in order, until they are acknowledged.
//
// It knows nothing of what the records mean. A [Log] is a directory of segments that belongs to one process at a time.
//
// # Promises
//
//   - What Append returned for and a later commit covered is there after a power cut at any byte. Commits happen every
//     [Options.Sync] while [Log.Run] runs, and at once in Commit and Close.
//   - Append never waits for the disk.
//   - A record whose frame is torn or damaged is never delivered: it is skipped and reported as a [Lost] entry, and no
//     record behind it is lost.
//   - A [Reader] hands out committed records only, in order, each once; they stay on disk until Ack covers them.
//   - With [Thin] one in ten of the oldest records is kept, in up to half of the room. What is kept is durable before what it is
//     made of goes. Without a spare segment to write to (the disk is full from the start, or MaxBytes is less than what is there) the oldest
//     segments go whole.
//   - The directory never grows beyond [Options.MaxBytes]; what had to be given up is reported as a [Lost] entry. Where MaxBytes is
//     less than it was, what is too much goes at the first commit, with [DropNewest] as it is acknowledged. Of a newest segment that
//     leaves no room for another one, another one is made all the same, once, and it goes at the next.
//   - Open never fails because of what the files contain. It decodes the last good frame only, so that it costs the same
//     for any number of records; each segment costs the look at its name. With many segments new ones are larger, so that a
//     backlog of gigabytes opens within twice the time that the same log takes when it is drained.
//   - A segment in which a Reader finds damage keeps a second name in the directory quarantine, before its blocks are used
//     again: at most eight of them and an eighth of Options.MaxBytes, and none that takes a record's room.
//   - A part of the disk that cannot be read, while the rest works, is reported as lost after three tries and ten seconds.
//     While nothing can be read, nothing is lost.
//   - A directory that can not be opened makes Open no error, but for one that is in use or of a newer version: records wait in
//     memory, at most 4 MiB of them, and what is on disk is taken over as soon as it can be.
//   - A directory that is removed is made again; nothing counts as committed that went to a file without a name.
//
// # Limits
//
// The last moments before a power cut, at most Options.Sync and one flush, are not promised. Acknowledgements ride in the
// next frame, so that after a power cut some records may be handed out that were acknowledged before it; where there was no
// room for them either, they may be reported as given up.
//
// Storage is taken to keep what it has confirmed, and to write sectors of 512 bytes whole or not at all. Where it loses what
// it had confirmed, a Log says so as well as it can tell:
//
//   - A whole page that vanished at the very end of the newest segment cannot be told from records that were never
//     written: their numbers are used again.
//   - Where the newest frames cannot be read, how many records they held is not known: 4,096 numbers are reported lost, the
//     most that a frame holds.
//   - The last commit before a process ended without Close cannot be told from one that was torn: damage in it is reported
//     as [ReasonTorn].
//   - In a segment that was used before, zeros that were not written behind the last frame of a torn commit look like a
//     frame that was damaged: 4,096 numbers are reported as torn, whether they were used or not.
//   - What cannot be read of the newest segment when the log is opened counts as damaged at once.
//   - Damage is found where a Reader comes by. What is given up unread is not looked at.
//   - Damage may take the latest acknowledgement with it, so that records that had been delivered are reported as lost.
package buffer
