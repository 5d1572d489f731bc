package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"obdagent/agent/report"
)

// defaultRegion is where the stream and the bucket are unless something else is said, here as on the device.
const defaultRegion = "us-east-1"

// s3Flags say which S3.
type s3Flags struct{ endpoint, region string }

// usageError is an answer of S3 that other flags or another configuration would change.
type usageError struct{ err error }

func (u usageError) Error() string { return u.err.Error() }
func (u usageError) Unwrap() error { return u.err }

// openSources returns the source of all locations: s3://BUCKET/PREFIX, directories and files. Errors are usage or config.
func openSources(ctx context.Context, locations []string, f s3Flags) (report.Source, error) {
	var client *s3.Client // one for all buckets, so that connections are kept
	names, sources := make([]string, len(locations)), make([]report.Source, len(locations))
	for i, location := range locations {
		scheme, rest, isURL := strings.Cut(location, "://")
		switch {
		case !isURL:
			source, err := directorySource(location)
			if err != nil {
				return nil, err
			}
			sources[i] = source
			if len(locations) > 1 {
				names[i] = nameOf(location)
			}
			continue
		case scheme != "s3":
			return nil, fmt.Errorf("%s: cannot read %s: give a directory or s3://BUCKET/PREFIX", location, scheme+"://")
		}
		bucket, prefix, _ := strings.Cut(rest, "/")
		if err := checkBucket(bucket); err != nil {
			return nil, fmt.Errorf("%s: %w", location, err)
		}
		if client == nil {
			var err error
			if client, err = s3Client(ctx, f); err != nil {
				return nil, err
			}
		}
		sources[i] = s3Source{client: client, bucket: bucket, prefix: prefix, endpoint: f.endpoint}
		if len(locations) > 1 {
			names[i] = "s3://" + bucket + "/"
		}
	}
	if client == nil && f != (s3Flags{}) {
		return nil, fmt.Errorf("%s is a directory: --endpoint and --region are for s3://BUCKET/PREFIX", locations[0])
	}
	if len(sources) == 1 {
		return sources[0], nil
	}
	return report.All(names, sources), nil
}

// nameOf is what stands before the keys of a directory or file, where there are several sources.
func nameOf(location string) string {
	if info, err := os.Stat(location); err == nil && !info.IsDir() {
		location = filepath.Dir(location)
	}
	return filepath.ToSlash(strings.TrimSuffix(location, string(filepath.Separator))) + "/"
}

var (
	// Amazon S3 User Guide, "General purpose bucket naming rules".
	bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	// As in us-east-1, us-gov-west-1, ap-southeast-2, eu-isoe-west-1.
	regionForm = regexp.MustCompile(`^[a-z]{2}(-[a-z]+){1,2}-[0-9]{1,2}$`)
)

func checkBucket(name string) error {
	if !bucketForm.MatchString(name) || strings.Contains(name, "..") {
		return fmt.Errorf("%q cannot be a bucket's name: it has 3 to 63 of a-z, 0-9, hyphen and dot, as in s3://sd-vehicle-data/2026/", name)
	}
	return nil
}

// s3Client returns a client with the credentials of the default chain. Nothing is asked of the network yet.
func s3Client(ctx context.Context, f s3Flags) (*s3.Client, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	set, err := config.LoadDefaultConfig(ctx, config.WithRegion(f.region), config.WithDefaultRegion(defaultRegion))
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w: check AWS_PROFILE and ~/.aws/config", err)
	}
	return s3.NewFromConfig(set, func(o *s3.Options) {
		if f.endpoint != "" {
			o.BaseEndpoint = aws.String(f.endpoint)
			// Look-alikes have one host name, and none for each bucket.
			o.UsePathStyle = true
		}
		// Firehose may deliver objects without a checksum of a kind the SDK knows: not worth a line each.
		o.DisableLogOutputChecksumValidationSkipped = true
	}), nil
}

// s3Source is the source of the objects in a bucket whose keys begin with prefix.
type s3Source struct {
	client         *s3.Client
	bucket, prefix string
	endpoint       string // for what is said to people; "" is Amazon's
	pageSize       int32  // keys a page; 0 is S3's own, 1000
	// pause lets a time pass; nil: by the clock.
	pause func(context.Context, time.Duration) error
}

// Objects lists page by page. S3 lists in the order of the keys' UTF-8 bytes (ListObjectsV2, API Reference).
func (s s3Source) Objects(ctx context.Context) iter.Seq2[report.Object, error] {
	return func(yield func(report.Object, error) bool) {
		pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{
			Bucket: aws.String(s.bucket), Prefix: aws.String(s.prefix),
		}, func(o *s3.ListObjectsV2PaginatorOptions) { o.Limit = s.pageSize })
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(report.Object{}, s.explain(err))
				return
			}
			for _, o := range page.Contents {
				key := aws.ToString(o.Key)
				if strings.HasSuffix(key, "/") && aws.ToInt64(o.Size) == 0 {
					continue // what consoles make to show an empty folder
				}
				if !yield(report.Object{Key: key, Size: aws.ToInt64(o.Size), Open: func(ctx context.Context) (io.ReadCloser, error) {
					return s.open(ctx, key)
				}}, nil) {
					return
				}
			}
		}
	}
}

// explain puts what to do next to an error of S3, and makes those a usageError that the user can put right.
func (s s3Source) explain(err error) error {
	where := "s3://" + s.bucket
	if s.endpoint != "" {
		where += " at " + s.endpoint
	}
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusMovedPermanently {
		region := answer.HTTPResponse().Header.Get("X-Amz-Bucket-Region")
		if region == "" {
			region = "its own"
		}
		return usageError{fmt.Errorf("%s is in another region: give --region %s", where, region)}
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		if strings.Contains(err.Error(), "get credentials") || strings.Contains(err.Error(), "retrieve credentials") {
			return usageError{fmt.Errorf("%s: no AWS credentials found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: %w", where, err)}
		}
		if answer != nil && answer.HTTPStatusCode() != 0 {
			return fmt.Errorf("%s: HTTP status %d, but no answer of S3: check --endpoint: %w", where, answer.HTTPStatusCode(), err)
		}
		return fmt.Errorf("%s: no answer: check the network and --endpoint: %w", where, err)
	}
	switch api.ErrorCode() {
	case "NoSuchBucket":
		return usageError{fmt.Errorf("%s: there is no such bucket: check its name, --region and --endpoint", where)}
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "AllAccessDisabled":
		return usageError{fmt.Errorf("%s: these credentials may not read it (%s): use others, or let them s3:ListBucket and s3:GetObject", where, api.ErrorCode())}
	case "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return usageError{fmt.Errorf("%s: is in another region: give --region: %s", where, api.ErrorMessage())}
	}
	return fmt.Errorf("%s: %w", where, err)
}
