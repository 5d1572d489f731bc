// Package enroll gives each vehicle's gateway an identity in AWS IoT: a thing, a certificate with the policy that lets it ask for
// credentials, and the files that a board is started with.
//
// # Promises
//
//   - A private key is made here, is written with mode 0600 before anything else is done, and is sent to nobody: AWS IoT signs a
//     request for a certificate.
//   - It can be stopped at any moment, and run again: a board that was finished is left alone, one that was begun is finished
//     with the key and the certificate that it has. A certificate that AWS made and that never arrived here is never ACTIVE.
//   - A certificate is made ACTIVE last of all, when policy and thing are attached and its file is on disk.
//   - A thing that has a certificate which is not known here is left alone and named, unless Options.Replace says otherwise; then the
//     old one is switched off after the new one works.
//   - A configuration is checked as the daemon checks it before a board is begun.
//
// # Limits
//
// Boards are enrolled one after another: AWS IoT takes about ten calls of a kind a second, a board needs one of each. Certificates of
// AWS IoT are valid until 2049; taking one away is for the AWS tools.
package enroll
