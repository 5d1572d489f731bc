package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"obdagent/cmd/internal/cli"
)

// code is AWS's name of an error; empty for one that is not AWS's.
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// message is what AWS says of an error.
func message(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorMessage()
	}
	return err.Error()
}

// denied is what these credentials may not do.
type denied struct{ error }

// isMissing reports whether what was asked for is not there. HEAD has no body, and so no better name than NotFound.
func isMissing(err error) bool {
	switch code(err) {
	case "ResourceNotFoundException", "NoSuchEntity", "NoSuchEntityException", "NoSuchBucket", "NotFound",
		"NoSuchPublicAccessBlockConfiguration", "ServerSideEncryptionConfigurationNotFoundError":
		return true
	}
	return false
}

// explain says of a call's error what to do next.
func (a *Account) explain(doing string, err error) error { return Explain(doing, a.Endpoint, err) }

// Explain says of a failed call what to do next; doing is what it was for, endpoint that of a look-alike. What other credentials or
// another configuration would change is a plain error; the rest is a cli.Failure.
func Explain(doing, endpoint string, err error) error {
	if errors.Is(err, context.Canceled) {
		return cli.Failure{Err: fmt.Errorf("%s: stopped: run it again to go on", doing)}
	}
	at := "AWS"
	if endpoint != "" {
		at = endpoint
	}
	answer, answered := errors.AsType[*awshttp.ResponseError](err)
	name := code(err)
	switch {
	case name == "" && (strings.Contains(err.Error(), "get credentials") || strings.Contains(err.Error(), "retrieve credentials")):
		return fmt.Errorf("%s: no AWS credentials found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: %w", doing, err)
	case name == "" && answered && answer.HTTPStatusCode() != 0:
		return cli.Failure{Err: fmt.Errorf("%s: HTTP status %d, but no answer of AWS: check --endpoint: %w", doing, answer.HTTPStatusCode(), err)}
	case name == "":
		return cli.Failure{Err: fmt.Errorf("%s: no answer of %s: check the network, --region and --endpoint: %w", doing, at, err)}
	}
	switch name {
	case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedException", "Forbidden":
		return denied{fmt.Errorf("%s: these credentials may not (%s: %s): use others, or add what obdfleet cloud policy prints", doing, name, message(err))}
	case "InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature":
		return fmt.Errorf("%s: AWS does not know these credentials (%s): check AWS_PROFILE and the keys", doing, name)
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return fmt.Errorf("%s: these credentials have expired: log in again", doing)
	case "LimitExceededException", "LimitExceeded", "TooManyBuckets":
		return cli.Failure{Err: fmt.Errorf("%s: a quota of the account is used up (%s): delete what is not needed (obdfleet cloud list shows it), or have the quota raised", doing, message(err))}
	case "Throttling", "ThrottlingException", "TooManyRequestsException", "SlowDown":
		return cli.Failure{Err: fmt.Errorf("%s: AWS is asked too much at once (%s): try again in a minute", doing, name)}
	}
	if answered && answer.HTTPStatusCode() >= http.StatusInternalServerError {
		return cli.Failure{Err: fmt.Errorf("%s: %s has a failure of its own (%s: %s): try again", doing, at, name, message(err))}
	}
	return cli.Failure{Err: fmt.Errorf("%s: %s: %s", doing, name, message(err))}
}
