package uplink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
)

// maxAnswer is more than the results of 500 entries take.
const maxAnswer = 1 << 20

// A refusal is an answer that is none, as the service words it. It is a smithy.APIError, as the errors of the SDK's credential chain are.
type refusal struct {
	status        int
	code, message string
	request       string // its id, which AWS's support asks for
}

func (r *refusal) Error() string {
	return fmt.Sprintf("HTTP %d, %s: %s (request id %q)", r.status, r.code, r.message, r.request)
}
func (r *refusal) ErrorCode() string             { return r.code }
func (r *refusal) ErrorMessage() string          { return r.message }
func (r *refusal) ErrorFault() smithy.ErrorFault { return smithy.FaultUnknown }

// call makes one request of the protocol awsJson1.1 (Smithy, "AWS JSON 1.1 protocol") and reads its answer: one upload, without a
// second try. target is the service's API version and the operation.
func (s *service) call(ctx context.Context, target string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", target)
	r.Header.Set("User-Agent", "obdagent")
	keys, err := s.credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("%s: get identity: %w", target, err)
	}
	hash := sha256.Sum256(body)
	if err := s.sign(ctx, keys, r, hex.EncodeToString(hash[:])); err != nil {
		return fmt.Errorf("%s: signing: %w", target, err)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: reading the answer: %w", target, err)
	}
	if answer.StatusCode != http.StatusOK {
		if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
			s.skew.Store(int64(time.Until(date)))
		}
		return fmt.Errorf("%s: %w", target, refused(answer, text))
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s: the answer is not JSON: %w", target, err)
	}
	return nil
}

// refused reads an answer that is none. The code is in the head or the body, with a prefix up to # and, in the head, a suffix from :
// (the same place, operation error serialization).
func refused(answer *http.Response, body []byte) *refusal {
	var said struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &said) // what is not JSON has neither
	code := answer.Header.Get("x-amzn-ErrorType")
	if code == "" {
		code = said.Type
	}
	code, _, _ = strings.Cut(code[strings.LastIndexByte(code, '#')+1:], ":")
	if code == "" {
		code = answer.Status
	}
	return &refusal{answer.StatusCode, code, said.Message, answer.Header.Get("x-amzn-RequestId")}
}

// sign signs with the agent's time instead of the system's. Once the endpoint has refused that time, it signs with the system's
// corrected by the Date of the endpoint's answers.
func (s *service) sign(ctx context.Context, c aws.Credentials, r *http.Request, hash string) error {
	at := s.o.Now()
	if s.theirTime.Load() {
		at = time.Now().Add(time.Duration(s.skew.Load()))
	}
	s.mu.Lock()
	if s.signer == nil || s.secret != c.SecretAccessKey {
		s.signer, s.secret = v4.NewSigner(), c.SecretAccessKey
	}
	signer := s.signer
	s.mu.Unlock()
	return signer.SignHTTP(ctx, c, r, hash, s.name, s.o.Region, at)
}
