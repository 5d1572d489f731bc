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
//   - Each record counts once, however often it was delivered: the record_id decides. Of copies that differ a dated one counts, the
//     earliest of those, then the one with the least values.
//   - All figures are sums of whole units, reckoned in the order of the records' own time. The report is the same in whatever
//     order, and from however many objects at once, the records were read.
//   - Every object that was listed is read, skipped by a rule that is counted in [Skipped], or named in [Report.Unreadable].
//   - Report.Lines is always the sum of Records, Duplicates, Damaged and Filtered.
//   - Memory does not grow with the records: what does not fit is sorted through temporary files, of which nothing is left behind,
//     whatever ends the process.
//
// # Limits
//
//   - Objects are streamed, with at most 64 KiB a line and twice 2 MiB of gzip members held for each that is read at once (8 at
//     most), beside 16 MiB for sorting and about 400 bytes a vehicle. Temporary files take 80 bytes a record.
//   - The lines of a gzip member are believed only after its checksum, up to 2 MiB of text, the most that a device puts into one;
//     those of a longer one are counted as they come, and the report says so if the checksum turns out wrong.
//   - A standing vehicle whose receiver wanders travels a little distance: positions are taken as they are. Whether a standing
//     vehicle's engine runs is not told by the default columns: Idle is standing still, either way.
//   - Times are those of 1970 to 2199, to the millisecond.
package report
