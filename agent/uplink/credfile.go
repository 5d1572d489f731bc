package uplink

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// CredentialsFileName is the name under which systemd hands the credentials over (LoadCredential=aws:PATH). Such a file looks
// like that of the AWS command line: aws_access_key_id, aws_secret_access_key and, for temporary ones, aws_session_token,
// each with = and its value, in the section [default] if there are sections.
const CredentialsFileName = "aws"

// maxCredentialsFile is far more than keys and token take.
const maxCredentialsFile = 64 << 10

// fileCredentials reads credentials from a file, again whenever the file has changed.
type fileCredentials struct {
	path string

	mu   sync.Mutex
	seen fs.FileInfo // as it was when it was last read; nil: never, or in vain
	keys aws.Credentials
}

// Retrieve implements aws.CredentialsProvider.
func (f *fileCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err == nil && f.seen != nil && os.SameFile(info, f.seen) && info.Size() == f.seen.Size() && info.ModTime().Equal(f.seen.ModTime()) {
		return f.keys, nil
	}
	f.seen = nil
	var text []byte
	if err == nil {
		text, err = readSmall(f.path, maxCredentialsFile)
	}
	if err != nil {
		advice := fmt.Sprintf("the credentials file %s cannot be read: see that it is there, and that the service's user may read it (uplink.credentials_file, or LoadCredential= in the unit)", f.path)
		return aws.Credentials{}, &CallError{Kind: KindSetup, Cause: CauseCredentials, Advice: advice, Err: err}
	}
	keys, err := parseCredentials(text)
	if err != nil {
		return aws.Credentials{}, &CallError{Kind: KindSetup, Cause: CauseCredentials, Advice: fmt.Sprintf("the credentials file %s is not usable: %v", f.path, err)}
	}
	// A file that was changed within its clock's last tick may change once more without a new time: it is read again next time.
	if time.Since(info.ModTime()) > 2*time.Second {
		f.seen = info
	}
	f.keys = keys
	return keys, nil
}

// Invalidate makes the next Retrieve read the file in any case.
func (f *fileCredentials) Invalidate() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = nil
}

// parseCredentials reads the form of ~/.aws/credentials (AWS CLI user guide, "Configuration and credential file settings").
// Its errors name lines and keys, never values.
func parseCredentials(text []byte) (aws.Credentials, error) {
	var c aws.Credentials
	fields := map[string]*string{"aws_access_key_id": &c.AccessKeyID, "aws_secret_access_key": &c.SecretAccessKey, "aws_session_token": &c.SessionToken}
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(nil, maxCredentialsFile)
	ours := true // what stands before any section counts
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(in.Text(), "\ufeff"))
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			ours = line == "[default]"
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return c, fmt.Errorf("line %d has no =; write aws_access_key_id = and its value", n)
		}
		if into := fields[strings.ToLower(strings.TrimSpace(key))]; into != nil && ours {
			*into = strings.TrimSpace(value)
		}
	}
	if err := in.Err(); err != nil {
		return c, fmt.Errorf("reading its lines: %w", err)
	}
	switch {
	case c.AccessKeyID == "" && c.SecretAccessKey == "":
		return c, errors.New("it holds neither aws_access_key_id nor aws_secret_access_key in [default]")
	case c.AccessKeyID == "":
		return c, errors.New("aws_access_key_id is missing")
	case c.SecretAccessKey == "":
		return c, errors.New("aws_secret_access_key is missing")
	}
	c.Source = "file"
	return c, nil
}
