// Command bench compares the buffer with other ways to keep records on disk: what they write to the device for each byte of
// payload, how often they flush, how fast they are, how long opening takes and how much memory a backlog costs.
//
// It makes an ext4 in a file, mounts it through a loop device, anew for each figure, and counts at the block layer of
// that device (/sys/block/loopN/stat), so that the file system's own writes are in. It needs root, mkfs.ext4 and mount; it
// unmounts and removes all at its end. The other libraries are dependencies of this module alone.
//
// What counts as the same for all: records of 150 bytes come in groups (a commit each); a group is durable before the next
// begins. Every 500 records, as many as one upload holds, all that was written is acknowledged, in the cheapest way that the
// library has: ours with the next frame, SQLite and bbolt within the next group's transaction, go-diskqueue by reading,
// tidwall/wal and raft-wal by truncating their front. go-diskqueue has the size of the group as its SyncEvery; that a group is
// durable is not quite true of it: it answers before it syncs.
package main
