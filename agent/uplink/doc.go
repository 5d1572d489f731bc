// Package uplink takes records from the buffer, packs them into batches and delivers them to Amazon Data Firehose or a directory.
//
// # Promises
//
//   - A record is acknowledged to the buffer only after the sink has taken it.
//   - Of a batch that was taken in part, exactly the entries that were not taken go again.
//   - A record that can never be taken is set aside and reported; the rest flows.
//   - Nothing is uploaded twice because of a retry policy: the SDK's own retries are off, one call is one upload.
package uplink
