package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A body is an object being read, over connections that break: it goes on behind the last byte that came, on the same state of the
// object (its ETag). The SDK's own retries end where an answer begins.
type body struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // a reader's methods have none; it is the reading's
	source s3Source
	key    string
	etag   *string
	size   int64 // -1: not told
	read   int64
	barren int // connections in a row of which no byte came
}

// maxBarren is how often a connection that brings nothing is replaced. What brings something may break as often as it likes.
const maxBarren = 4

func (s s3Source) open(ctx context.Context, key string) (io.ReadCloser, error) {
	answer, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(s.bucket), Key: aws.String(key)})
	if err != nil {
		return nil, s.explain(err)
	}
	b := &body{ReadCloser: answer.Body, ctx: ctx, source: s, key: key, etag: answer.ETag, size: -1}
	if answer.ContentLength != nil {
		b.size = *answer.ContentLength
	}
	return b, nil
}

func (b *body) Read(p []byte) (int, error) {
	for {
		n, err := b.ReadCloser.Read(p)
		b.read += int64(n)
		if n > 0 {
			b.barren = 0
		}
		switch {
		case err == nil, errors.Is(err, io.EOF):
			return n, err
		case b.ctx.Err() != nil, b.etag == nil, b.size >= 0 && b.read >= b.size, b.barren >= maxBarren:
			return n, err
		}
		if again := b.reopen(); again != nil {
			return n, errors.Join(err, again)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// reopen asks for what is missing.
func (b *body) reopen() error {
	_ = b.ReadCloser.Close() // it is broken
	if err := b.source.wait(b.ctx, time.Duration(b.barren)*time.Second); err != nil {
		return err
	}
	b.barren++
	answer, err := b.source.client.GetObject(b.ctx, &s3.GetObjectInput{
		Bucket: aws.String(b.source.bucket), Key: aws.String(b.key), IfMatch: b.etag, Range: aws.String(fmt.Sprintf("bytes=%d-", b.read)),
	})
	if err != nil {
		b.ReadCloser = io.NopCloser(errorReader{err})
		return b.source.explain(err)
	}
	b.ReadCloser = answer.Body
	if answer.ContentRange == nil && b.read > 0 { // a look-alike that knows no ranges gives the whole
		if _, err := io.CopyN(io.Discard, b.ReadCloser, b.read); err != nil {
			return fmt.Errorf("s3://%s: it broke off at byte %d, and again before that: %w", b.source.bucket, b.read, err)
		}
	}
	return nil
}

// An errorReader has nothing but its error.
type errorReader struct{ error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.error }

// wait lets a time pass.
func (s s3Source) wait(ctx context.Context, d time.Duration) error {
	if s.pause != nil {
		return s.pause(ctx, d)
	}
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
