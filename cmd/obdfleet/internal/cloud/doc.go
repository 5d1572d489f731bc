// Package cloud makes, looks at and takes away what a fleet needs of an AWS account: the bucket, the role that Firehose
// assumes to write to it, and the Direct PUT stream that the devices send to.
//
// # Promises
//
//   - Up makes what is missing and nothing else. Run again, it makes no call that changes anything. What is there and is not as
//     it should be is named, with what it is and what it should be, and is left alone unless Spec's Repair says otherwise.
//   - In a dry run no call is made that changes anything; each one that would be made is handed to Account.Calls with its
//     input. A call changes something unless its name begins with Get, Head, List or Describe.
//   - Up returns once the stream is ACTIVE. A role that Firehose does not know yet (IAM is eventually consistent) is waited for.
//   - Down deletes a stream only after its buffering interval has passed once more, a role only where nothing else uses it, and
//     objects only where it was told to.
//   - The policies allow what these calls need, on the named resources, and no more; a test compares both.
//
// # Limits
//
// One stream at a time, Direct PUT, to S3. Firehose's own error log needs a log group, which the CloudFormation template makes
// (package deploy/cloud) and Up does not. The order of the calls is fixed; two Ups at once may both try to make the same thing, and
// one of them is told so.
package cloud
