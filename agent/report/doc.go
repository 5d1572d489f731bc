// Package report reads delivered objects back and sums them up: per vehicle the records, the maximum speed, the distance and
// the time they span, and over all of them what arrived twice, damaged or not at all.
//
// The objects come from a [Source]: [Directory] here, a bucket elsewhere. An object holds lines as the agent sends them, text
// or JSON, plain or in gzip members, also mixed: devices with different settings share a stream, and Firehose joins what they
// send without looking at it.
//
//	r, err := report.Read(ctx, report.Directory("/tmp/delivered"), report.Options{})
//	if err != nil {
//		return err
//	}
//	err = r.Table(os.Stdout)
//
// # Promises
//
//   - A line counts whole or not at all. What is wrong with a damaged one, and where it stands, is kept for the first
//     [KeepDamaged] of them; all are counted. No damaged value becomes a number.
//   - Each record counts once, however often it was delivered: the record_id decides, and the copy that is read first wins.
//   - Distance is summed in the order of the records' own time, in whatever order they were delivered.
//   - Every object that was listed is read, skipped by a rule that is counted in [Skipped], or named in [Report.Unreadable].
//   - Report.Lines is always the sum of Records, Duplicates and Damaged.
//
// # Limits
//
//   - Objects are streamed, with at most 64 KiB a line and 16 MiB a gzip member held. Beside that each record costs about
//     60 bytes of memory until the end: its id, to know it again, and its time and position, to put it in order.
//   - The lines of a gzip member are believed only after its checksum, up to 16 MiB of text; those of a longer one are counted
//     as they come, and the report says so if the checksum turns out wrong.
//   - A standing vehicle whose receiver wanders travels a little distance: positions are taken as they are.
package report
