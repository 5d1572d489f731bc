// Package firehosetest is a strict Amazon Data Firehose on loopback or in memory, for demos and tests, as net/http/httptest
// is a web server.
//
// # Promises
//
//   - It refuses what AWS documents as refused: names, 1 to 500 records, 1,000 KiB a record and 4 MiB a call in decoded bytes,
//     broken base64, unsigned or wrongly signed requests, signatures more than five minutes off; with the documented error
//     names, status codes and shapes.
//   - It answers as AWS does: one entry per record, in order, with 224-character record ids, and HTTP 200 for a batch of which
//     a part failed.
//   - It delivers as Firehose does: records are joined with nothing between them, objects are cut by size or age, keys are
//     year/month/day in UTC of the arrival of the oldest record. Delivery is into a local directory or a function.
//   - It misbehaves on demand: throttles, failed entries, delays, connections cut before or after the records were taken.
//
// # Limits
//
// Control calls are CreateDeliveryStream, DescribeDeliveryStream, DeleteDeliveryStream and ListDeliveryStreams with the members that
// a Direct PUT stream to S3 needs. Conversion, compression, transformation, tagging and encryption are not there. A stream
// is ACTIVE at once.
package firehosetest
