// Package uplink takes records from the buffer, packs them into batches and delivers them to Amazon Data Firehose,
// an Amazon Kinesis data stream or a directory.
//
// # Promises
//
//   - A record is acknowledged to the buffer only after the sink has taken it.
//   - Of a batch that was taken in part, exactly the entries that were not taken go again.
//   - A record that can never be taken is set aside and reported; the rest flows. A record that the sink refuses counts as one
//     only if the same search saw something else taken: a sink that refuses everything costs no record.
//   - Nothing is uploaded twice because of a retry policy: one call is one upload, and one call is in flight.
//   - A record waits for company at most [Options.Linger], and then for the call in flight. With [Options.LiveFirst] this
//     holds beside a backlog of any size and after an outage: the newest go first, the rest follows behind.
//   - Failed calls are followed by full-jitter back-off up to five minutes, for ever and over restarts ([Options.StateFile]);
//     [Status] says when and why, and what to do. [Uplink.LinkChanged] brings the next try forward where the link was what failed.
//   - Vans that start, fail or recover in the same second do not send in the same second: the first calls are spread over a
//     linger, and each uplink sends on a grid of its own.
//   - When a day's bytes are used up ([Options.DailyBytes]), what is older waits for the next day; new records go.
//   - With [Options.Gzip] each entry is one whole gzip member with no byte between members, so that the objects of a bucket
//     unpack as they are. All limits and billing steps count the member.
//   - A call is no larger than what the link, as last measured, carries in [Options.AirTime]; no Firehose limit is exceeded. Its deadline is
//     sized to what it carries, and is within the five minutes of a signature.
//   - Where each entry is charged for in steps ([Biller]), entries fill them: those of a backlog, and those of live records wherever the linger
//     would fill less than a third of one step more.
//   - Request signatures and certificate checks use the time that is given, not the system's.
//
// # The way of a record
//
//	buffer.Reader -> Encoder -> batch -> Sink.Put -> Log.Ack
//	                    |                    |
//	                    +-> hold, aside      +-> again, aside, or back to the buffer
//
// There are two lanes, each a reader and the batch that is filled from it. What is appended after Run began is the live
// lane's; what is older is the backlog's. When a call fails altogether, both lanes forget what they have in hand: the buffer is
// the only place where unsent records live, so that memory does not grow in an outage. An outage of half a minute, or of one linger if that is
// longer, lets the live lane jump to the tail. Without LiveFirst there is one lane, in order.
//
// # Limits
//
// Delivery is at least once: an answer that is lost after delivery, and a power cut before an acknowledgement is on disk,
// make records come twice, with the same record_id. A Firehose record failing in part does not
// exist: an entry of joined lines is taken or fails as one. A day's count that a power cut interrupts is short by up to ten
// minutes.
package uplink
