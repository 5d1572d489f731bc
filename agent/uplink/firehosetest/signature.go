package firehosetest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// authorization is the header of AWS Signature Version 4 (AWS General Reference, "Signing AWS API requests").
var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/, ]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$`)

// maxSkew is how far a signature's time may be off (same place).
const maxSkew = 5 * time.Minute

const amzDate = "20060102T150405Z"

// checkSignature refuses what AWS would refuse. The order of the checks is ours; AWS does not document its own.
func (s *Server) checkSignature(r *http.Request, body []byte) error {
	header := r.Header.Get("Authorization")
	if header == "" {
		return refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	m := authorization.FindStringSubmatch(header)
	if m == nil {
		return refuse("IncompleteSignatureException", "Authorization header is not of the form AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...")
	}
	keyID, day, region, service, signed, signature := m[1], m[2], m[3], m[4], strings.Split(m[5], ";"), m[6]
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse(amzDate, date)
	if err != nil {
		return refuse("IncompleteSignatureException", "X-Amz-Date %q", date)
	}
	switch {
	case service != "firehose":
		return refuse("InvalidSignatureException", "Credential should be scoped to correct service: 'firehose'.")
	case s.o.Region != "" && region != s.o.Region:
		return refuse("InvalidSignatureException", "Credential should be scoped to a valid region, not '%s'.", region)
	case day != date[:8]:
		return refuse("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'.", day, date[:8])
	case !slices.Contains(signed, "host") || !slices.Contains(signed, "x-amz-date"):
		return refuse("InvalidSignatureException", "'Host' and 'X-Amz-Date' must be signed.")
	}
	now := s.o.Now().UTC()
	if at.Before(now.Add(-maxSkew)) {
		return refuse("InvalidSignatureException", "Signature expired: %s is now earlier than %s (%s - 5 min.)", date, now.Add(-maxSkew).Format(amzDate), now.Format(amzDate))
	}
	if at.After(now.Add(maxSkew)) {
		return refuse("InvalidSignatureException", "Signature not yet current: %s is still later than %s (%s + 5 min.)", date, now.Add(maxSkew).Format(amzDate), now.Format(amzDate))
	}
	if len(s.o.Credentials) == 0 {
		return nil
	}
	i := slices.IndexFunc(s.o.Credentials, func(c Credentials) bool { return c.AccessKeyID == keyID })
	if i < 0 || s.o.Credentials[i].SessionToken != r.Header.Get("X-Amz-Security-Token") {
		return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	c := s.o.Credentials[i]
	if !c.Expires.IsZero() && now.After(c.Expires) {
		return refuse("ExpiredTokenException", "The security token included in the request is expired")
	}
	want, err := expected(r, body, c, signed, region, at)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(signature)) != 1 {
		return refuse("InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

// expected signs the headers that the client says it signed.
func expected(r *http.Request, body []byte, c Credentials, signed []string, region string, at time.Time) (string, error) {
	again := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: make(http.Header)}
	for _, name := range signed {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	hash := sha256.Sum256(body)
	keys := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
	if err := v4.NewSigner().SignHTTP(r.Context(), keys, again, hex.EncodeToString(hash[:]), "firehose", region, at); err != nil {
		return "", refuse("IncompleteSignatureException", "%v", err)
	}
	m := authorization.FindStringSubmatch(again.Header.Get("Authorization"))
	if m == nil || m[5] != strings.Join(signed, ";") {
		return "", refuse("InvalidSignatureException", "the signed headers %q cannot be checked", strings.Join(signed, ";"))
	}
	return m[6], nil
}
