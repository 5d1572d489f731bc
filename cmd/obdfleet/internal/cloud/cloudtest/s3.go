package cloudtest

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// s3API implements cloud.S3.
type s3API struct{ w *World }

// PutObject puts an object of a size into a bucket, which must be there.
func (w *World) PutObject(bucket, key string, size int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buckets[bucket].objects[key] = size
}

// AddBucket makes a bucket as others would: without a block of public access, unencrypted. A foreign one is somebody else's.
func (w *World) AddBucket(name, region string, foreign bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buckets[name] = &bucket{region: region, public: true, objects: map[string]int64{}, foreign: foreign}
}

// OpenBucket takes the block of public access away, and the encryption.
func (w *World) OpenBucket(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buckets[name].public, w.buckets[name].encrypted = true, ""
}

// get returns a bucket that is the account's.
func (s s3API) get(name *string) (*bucket, error) {
	b := s.w.buckets[aws.ToString(name)]
	switch {
	case b == nil:
		return nil, Error("NoSuchBucket", "The specified bucket does not exist")
	case b.foreign:
		return nil, Error("AccessDenied", "Access Denied")
	}
	return b, nil
}

func (s s3API) HeadBucket(_ context.Context, in *s3.HeadBucketInput, _ ...func(*s3.Options)) (*s3.HeadBucketOutput, error) {
	end, err := s.w.begin("HeadBucket", false)
	defer end()
	if err != nil {
		return nil, err
	}
	b := s.w.buckets[aws.ToString(in.Bucket)]
	switch {
	case b == nil:
		return nil, statusError(http.StatusNotFound, "NotFound", nil)
	case b.region != s.w.Region:
		return nil, statusError(http.StatusMovedPermanently, "MovedPermanently", http.Header{"X-Amz-Bucket-Region": {b.region}})
	case b.foreign:
		return nil, statusError(http.StatusForbidden, "Forbidden", nil)
	}
	return &s3.HeadBucketOutput{BucketRegion: &b.region}, nil
}

func (s s3API) CreateBucket(_ context.Context, in *s3.CreateBucketInput, _ ...func(*s3.Options)) (*s3.CreateBucketOutput, error) {
	end, err := s.w.begin("CreateBucket", true)
	defer end()
	if err != nil {
		return nil, err
	}
	constraint := ""
	if in.CreateBucketConfiguration != nil {
		constraint = string(in.CreateBucketConfiguration.LocationConstraint)
	}
	b := s.w.buckets[aws.ToString(in.Bucket)]
	switch {
	case b != nil && b.foreign:
		return nil, Error("BucketAlreadyExists", "The requested bucket name is not available.")
	case b != nil:
		return nil, Error("BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
	case constraint == "us-east-1":
		return nil, Error("InvalidLocationConstraint", "The specified location-constraint is not valid")
	case constraint == "" && s.w.Region != "us-east-1", constraint != "" && constraint != s.w.Region:
		return nil, Error("IllegalLocationConstraintException", "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.")
	}
	s.w.buckets[aws.ToString(in.Bucket)] = &bucket{region: s.w.Region, public: true, objects: map[string]int64{}}
	return &s3.CreateBucketOutput{}, nil
}

func (s s3API) GetPublicAccessBlock(_ context.Context, in *s3.GetPublicAccessBlockInput, _ ...func(*s3.Options)) (*s3.GetPublicAccessBlockOutput, error) {
	end, err := s.w.begin("GetPublicAccessBlock", false)
	defer end()
	if err != nil {
		return nil, err
	}
	b, err := s.get(in.Bucket)
	if err != nil {
		return nil, err
	}
	if b.public {
		return nil, Error("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found")
	}
	return &s3.GetPublicAccessBlockOutput{PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
		BlockPublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(true), IgnorePublicAcls: aws.Bool(true), RestrictPublicBuckets: aws.Bool(true)}}, nil
}

func (s s3API) PutPublicAccessBlock(_ context.Context, in *s3.PutPublicAccessBlockInput, _ ...func(*s3.Options)) (*s3.PutPublicAccessBlockOutput, error) {
	end, err := s.w.begin("PutPublicAccessBlock", true)
	defer end()
	if err != nil {
		return nil, err
	}
	b, err := s.get(in.Bucket)
	if err != nil {
		return nil, err
	}
	c := in.PublicAccessBlockConfiguration
	b.public = c == nil || !aws.ToBool(c.BlockPublicAcls) || !aws.ToBool(c.BlockPublicPolicy) || !aws.ToBool(c.IgnorePublicAcls) || !aws.ToBool(c.RestrictPublicBuckets)
	return &s3.PutPublicAccessBlockOutput{}, nil
}

func (s s3API) GetBucketEncryption(_ context.Context, in *s3.GetBucketEncryptionInput, _ ...func(*s3.Options)) (*s3.GetBucketEncryptionOutput, error) {
	end, err := s.w.begin("GetBucketEncryption", false)
	defer end()
	if err != nil {
		return nil, err
	}
	b, err := s.get(in.Bucket)
	if err != nil {
		return nil, err
	}
	if b.encrypted == "" {
		return nil, Error("ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found")
	}
	return &s3.GetBucketEncryptionOutput{ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{
		{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryption(b.encrypted)}}}}}, nil
}

func (s s3API) PutBucketEncryption(_ context.Context, in *s3.PutBucketEncryptionInput, _ ...func(*s3.Options)) (*s3.PutBucketEncryptionOutput, error) {
	end, err := s.w.begin("PutBucketEncryption", true)
	defer end()
	if err != nil {
		return nil, err
	}
	b, err := s.get(in.Bucket)
	if err != nil {
		return nil, err
	}
	b.encrypted = string(in.ServerSideEncryptionConfiguration.Rules[0].ApplyServerSideEncryptionByDefault.SSEAlgorithm)
	return &s3.PutBucketEncryptionOutput{}, nil
}

func (s s3API) ListBuckets(_ context.Context, in *s3.ListBucketsInput, _ ...func(*s3.Options)) (*s3.ListBucketsOutput, error) {
	end, err := s.w.begin("ListBuckets", false)
	defer end()
	if err != nil {
		return nil, err
	}
	var names []string
	for name, b := range s.w.buckets {
		if !b.foreign && name > aws.ToString(in.ContinuationToken) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	out := &s3.ListBucketsOutput{}
	const page = 2
	if len(names) > page {
		names = names[:page]
		out.ContinuationToken = aws.String(names[page-1])
	}
	for _, name := range names {
		out.Buckets = append(out.Buckets, types.Bucket{Name: aws.String(name), CreationDate: aws.Time(time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC))})
	}
	return out, nil
}

// keys are those of a bucket from prefix after start, three a page.
func (b *bucket) keys(prefix, start string) (keys []string, more bool) {
	for key := range b.objects {
		if strings.HasPrefix(key, prefix) && key > start {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	const page = 3
	return keys[:min(page, len(keys))], len(keys) > page
}

func (s s3API) ListObjectsV2(_ context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	end, err := s.w.begin("ListObjectsV2", false)
	defer end()
	if err != nil {
		return nil, err
	}
	b, err := s.get(in.Bucket)
	if err != nil {
		return nil, err
	}
	out := &s3.ListObjectsV2Output{}
	keys, more := b.keys(aws.ToString(in.Prefix), aws.ToString(in.ContinuationToken))
	for _, key := range keys {
		out.Contents = append(out.Contents, types.Object{Key: aws.String(key), Size: aws.Int64(b.objects[key]), LastModified: aws.Time(time.Now())})
	}
	if out.IsTruncated = aws.Bool(more); more {
		out.NextContinuationToken = aws.String(keys[len(keys)-1])
	}
	return out, nil
}

func (s s3API) ListObjectVersions(_ context.Context, in *s3.ListObjectVersionsInput, _ ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
	end, err := s.w.begin("ListObjectVersions", false)
	defer end()
	if err != nil {
		return nil, err
	}
	b, err := s.get(in.Bucket)
	if err != nil {
		return nil, err
	}
	out := &s3.ListObjectVersionsOutput{}
	keys, more := b.keys("", "")
	for _, key := range keys {
		out.Versions = append(out.Versions, types.ObjectVersion{Key: aws.String(key), VersionId: aws.String("null")})
	}
	out.IsTruncated = aws.Bool(more)
	return out, nil
}

func (s s3API) DeleteObjects(_ context.Context, in *s3.DeleteObjectsInput, _ ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error) {
	end, err := s.w.begin("DeleteObjects", true)
	defer end()
	if err != nil {
		return nil, err
	}
	b, err := s.get(in.Bucket)
	if err != nil {
		return nil, err
	}
	for _, o := range in.Delete.Objects {
		delete(b.objects, aws.ToString(o.Key))
	}
	return &s3.DeleteObjectsOutput{}, nil
}

func (s s3API) DeleteBucket(_ context.Context, in *s3.DeleteBucketInput, _ ...func(*s3.Options)) (*s3.DeleteBucketOutput, error) {
	end, err := s.w.begin("DeleteBucket", true)
	defer end()
	if err != nil {
		return nil, err
	}
	b, err := s.get(in.Bucket)
	if err != nil {
		return nil, err
	}
	if len(b.objects) > 0 {
		return nil, Error("BucketNotEmpty", "The bucket you tried to delete is not empty")
	}
	delete(s.w.buckets, aws.ToString(in.Bucket))
	return &s3.DeleteBucketOutput{}, nil
}
