package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go"
)

// refusedKeys are the codes after which the same credentials need not be tried again.
var refusedKeys = map[string]bool{
	"ExpiredTokenException": true, "ExpiredToken": true, "UnrecognizedClientException": true, "InvalidClientTokenId": true, "InvalidToken": true,
}

// explain says what a failed call means. The codes are those of the API references of Amazon Data Firehose
// (PutRecordBatch, Common Errors) and of AWS Signature Version 4.
func (s *service) explain(err error) *CallError {
	if ce, ok := errors.AsType[*CallError](err); ok {
		return ce // from our own credential providers
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return s.explainCode(api, err)
	}
	e := &CallError{Kind: KindLink, Err: err}
	text := err.Error()
	switch {
	case isClock(err):
		e.Kind = KindClock
		e.Advice = fmt.Sprintf("the certificate of %s is not valid at %s: check this machine's time (a GPS fix sets it), else the certificate has expired", s.host(), s.o.Now().UTC().Format(time.RFC3339))
	case isCertificate(err):
		e.Kind, e.Cause = KindSetup, CauseCertificate
		e.Advice = fmt.Sprintf("the certificate of %s is not trusted: check uplink.endpoint, the system's CA certificates (package ca-certificates) and any proxy", s.host())
	case strings.Contains(text, "get identity") || strings.Contains(text, "failed to refresh cached credentials") || strings.Contains(text, "credentials are empty"):
		e.Kind, e.Cause = KindSetup, CauseCredentials
		e.Advice = "no usable AWS credentials: give the service AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a ~/.aws/credentials file, or set uplink.credentials"
	case isName(err):
		e.Advice = fmt.Sprintf("the name %s is not resolved: no coverage, no DNS, or a wrong uplink.region or uplink.endpoint", s.host())
	case errors.Is(err, context.DeadlineExceeded):
		e.Advice = fmt.Sprintf("no answer from %s in time: weak coverage, or the link is too slow", s.host())
	default:
		e.Advice = fmt.Sprintf("no answer from %s: no coverage, or it is down", s.host())
	}
	return e
}

func (s *service) explainCode(api smithy.APIError, err error) *CallError {
	e := &CallError{Code: api.ErrorCode(), Err: err}
	message := api.ErrorMessage()
	switch e.Code {
	case "ServiceUnavailableException", "ServiceUnavailable", "ThrottlingException", "Throttling", "LimitExceededException",
		"TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "ProvisionedThroughputExceededException", "KMSThrottlingException":
		e.Kind, e.Advice = KindThrottled, fmt.Sprintf("%s asks to be asked less often (%s)", s.host(), e.Code)
	case "ResourceNotFoundException":
		e.Kind, e.Cause = KindSetup, CauseStream
		e.Advice = fmt.Sprintf("there is no stream %s in %s: create it, or set uplink.stream and uplink.region", s.o.Stream, s.o.Region)
	case "AccessDeniedException", "AccessDenied", "NotAuthorized", "OptInRequired":
		e.Kind, e.Cause = KindSetup, CausePermission
		e.Advice = fmt.Sprintf("the credentials may not write to stream %s: allow %s on it", s.o.Stream, s.action)
	case "ExpiredTokenException", "ExpiredToken":
		e.Kind, e.Cause, e.Advice = KindSetup, CauseCredentials, "the credentials have expired: renew them"
	case "UnrecognizedClientException", "InvalidClientTokenId", "IncompleteSignature", "IncompleteSignatureException",
		"MissingAuthenticationTokenException", "MissingAuthenticationToken", "InvalidToken":
		e.Kind, e.Cause, e.Advice = KindSetup, CauseCredentials, "the credentials are not known to AWS: check the access key and the session token"
	case "InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed":
		if e.Code[0] == 'R' || strings.Contains(message, "expired") || strings.Contains(message, "not yet current") {
			e.Kind = KindClock
			e.Advice = fmt.Sprintf("this machine's time is wrong, it says %s: the next try uses the endpoint's own time", s.o.Now().UTC().Format(time.RFC3339))
			break
		}
		e.Kind, e.Cause, e.Advice = KindSetup, CauseCredentials, "the signature is wrong: the secret access key does not belong to the access key"
	case "InvalidKMSResourceException", "InvalidSourceException":
		e.Kind, e.Cause = KindSetup, CauseStream
		e.Advice = fmt.Sprintf("stream %s cannot take records (%s): it must be a Direct PUT stream with a usable key", s.o.Stream, message)
	case "InvalidArgumentException", "ValidationException", "SerializationException", "RequestEntityTooLarge", "RequestEntityTooLargeException":
		e.Kind, e.Advice = KindRefused, fmt.Sprintf("%s: %s", e.Code, message)
	default:
		e.Kind, e.Advice = KindLink, fmt.Sprintf("%s answered with %s", s.host(), e.Code)
		if r, ok := errors.AsType[*refusal](err); ok && (r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests) {
			e.Kind = KindThrottled
		}
	}
	return e
}

// host names the endpoint for people.
func (s *service) host() string {
	if s.o.Endpoint != "" {
		return s.o.Endpoint
	}
	domain := ".amazonaws.com"
	switch { // AWS General Reference, "AWS service endpoints"
	case strings.HasPrefix(s.o.Region, "cn-"):
		domain += ".cn"
	case strings.HasPrefix(s.o.Region, "eusc-"):
		domain = ".amazonaws.eu"
	}
	return s.name + "." + s.o.Region + domain
}

func isClock(err error) bool {
	x, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && x.Reason == x509.Expired
}

func isCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

func isName(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}
