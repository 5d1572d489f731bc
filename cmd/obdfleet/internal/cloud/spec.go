package cloud

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// What existing readers and scripts of a fleet name.
const (
	DefaultStream = "gps-delivery-stream"
	DefaultBucket = "sd-vehicle-data"
	DefaultRole   = "firehoseDeliveryRole"
	DefaultRegion = "us-east-1"
)

// Where Firehose puts objects. The default would be yyyy/MM/dd/HH/ in UTC of their arrival. A prefix with an expression needs an
// error prefix, or the stream is refused (Firehose developer guide, "Custom prefixes for Amazon S3 objects"); readers skip what
// lies under errors/.
const (
	Prefix      = "!{timestamp:yyyy/MM/dd}/"
	ErrorFolder = "errors/"
	ErrorPrefix = ErrorFolder + "!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd}/"
)

// The bounds of buffering (API reference, BufferingHints) and what is asked for: few objects, and still fresh data. A reader's
// cost is counted in objects.
const (
	DefaultSizeMB, minSizeMB, maxSizeMB          = 64, 1, 128
	DefaultIntervalS, minIntervalS, maxIntervalS = 300, 0, 900
)

// What the device does to what it sends (uplink.compression).
const (
	CompressionNone = "none"
	CompressionGzip = "gzip"
)

// Spec says what the account should hold. The zero value of a name is its default.
type Spec struct {
	Stream, Bucket, Role string

	Compression string // what the devices send: CompressionNone or CompressionGzip; says the objects' file extension
	SizeMB      int32  // buffering, 1 to 128 MB
	IntervalS   int32  // buffering, 0 to 900 s

	Manager string // an IAM user who gets the managing policy; empty: none does

	Repair bool // set right what is there and differs
}

// Patterns of the API references: DeliveryStreamName, RoleName, UserName; and of the S3 user guide, "General purpose bucket
// naming rules".
var (
	streamForm = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)
	iamForm    = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionForm = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+){1,2}-[0-9]{1,2}$`)
)

// Check says what cannot be meant.
func (s Spec) Check() error {
	var problems []error
	say := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !streamForm.MatchString(s.Stream) {
		say("--stream %q: a stream's name is 1 to 64 of a-z A-Z 0-9 _ . -, such as %s", s.Stream, DefaultStream)
	}
	if !bucketForm.MatchString(s.Bucket) || strings.Contains(s.Bucket, "..") {
		say("--bucket %q: a bucket's name is 3 to 63 of a-z 0-9 . -, such as %s", s.Bucket, DefaultBucket)
	}
	if !iamForm.MatchString(s.Role) {
		say("--role %q: a role's name is 1 to 64 of A-Z a-z 0-9 _ + = , . @ -, such as %s", s.Role, DefaultRole)
	}
	if s.Manager != "" && !iamForm.MatchString(s.Manager) {
		say("--manager %q: an IAM user's name is 1 to 64 of A-Z a-z 0-9 _ + = , . @ -: not an ARN", s.Manager)
	}
	if s.Compression != CompressionNone && s.Compression != CompressionGzip {
		say("--compression %q: say %s or %s, as the devices' uplink.compression", s.Compression, CompressionNone, CompressionGzip)
	}
	if s.SizeMB < minSizeMB || s.SizeMB > maxSizeMB {
		say("--buffer-size %d: Firehose takes %d to %d MB", s.SizeMB, minSizeMB, maxSizeMB)
	}
	if s.IntervalS < minIntervalS || s.IntervalS > maxIntervalS {
		say("--buffer-interval %ds: Firehose takes %d to %d seconds", s.IntervalS, minIntervalS, maxIntervalS)
	}
	return errors.Join(problems...)
}

// extension is what the objects' keys end with. A device's gzip members stand in the object as they came: the stream itself must
// not compress again, and the name is all that tells a reader.
func (s Spec) extension() string {
	if s.Compression == CompressionGzip {
		return ".gz"
	}
	return ""
}
