package enroll

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/smithy-go"

	"obdagent/agent/config"
	"obdagent/cmd/obdfleet/internal/cloud"
)

// IoT is what is asked of AWS IoT; *iot.Client has it.
type IoT interface {
	DescribeEndpoint(context.Context, *iot.DescribeEndpointInput, ...func(*iot.Options)) (*iot.DescribeEndpointOutput, error)
	DescribeRoleAlias(context.Context, *iot.DescribeRoleAliasInput, ...func(*iot.Options)) (*iot.DescribeRoleAliasOutput, error)
	GetPolicy(context.Context, *iot.GetPolicyInput, ...func(*iot.Options)) (*iot.GetPolicyOutput, error)
	CreateThing(context.Context, *iot.CreateThingInput, ...func(*iot.Options)) (*iot.CreateThingOutput, error)
	ListThingPrincipals(context.Context, *iot.ListThingPrincipalsInput, ...func(*iot.Options)) (*iot.ListThingPrincipalsOutput, error)
	CreateCertificateFromCsr(context.Context, *iot.CreateCertificateFromCsrInput, ...func(*iot.Options)) (*iot.CreateCertificateFromCsrOutput, error)
	AttachPolicy(context.Context, *iot.AttachPolicyInput, ...func(*iot.Options)) (*iot.AttachPolicyOutput, error)
	AttachThingPrincipal(context.Context, *iot.AttachThingPrincipalInput, ...func(*iot.Options)) (*iot.AttachThingPrincipalOutput, error)
	DetachThingPrincipal(context.Context, *iot.DetachThingPrincipalInput, ...func(*iot.Options)) (*iot.DetachThingPrincipalOutput, error)
	UpdateCertificate(context.Context, *iot.UpdateCertificateInput, ...func(*iot.Options)) (*iot.UpdateCertificateOutput, error)
}

// retries are how often a call is tried: AWS IoT refuses what comes faster than its quota, and a thousand boards come fast.
const retries = 10

// Open returns the AWS IoT of this machine's AWS configuration, and its region. Nothing is asked of the network yet.
func Open(ctx context.Context, o cloud.Options) (IoT, string, error) {
	set, err := cloud.Load(ctx, o)
	if err != nil {
		return nil, "", err
	}
	return iot.NewFromConfig(set, func(p *iot.Options) { p.RetryMaxAttempts = retries }), set.Region, nil
}

// Options say how boards are enrolled.
type Options struct {
	Dir      string // where each board gets a directory of its own
	Target   Target // Provider is found out
	Policy   string // the AWS IoT policy that each certificate gets
	Replace  bool   // a thing's other certificates are switched off
	Endpoint string // of a look-alike, for what is said to people; its certificates need not fit
}

// A Conflict is a board that is left as it is, for a person to decide on.
type Conflict struct{ Err error }

func (c Conflict) Error() string { return c.Err.Error() }
func (c Conflict) Unwrap() error { return c.Err }

// An Enroller enrols boards. Make one with New.
type Enroller struct {
	iot IoT
	o   Options
}

// New finds out what all boards have in common, and that the role alias and the policy are there.
func New(ctx context.Context, client IoT, o Options) (*Enroller, error) {
	const kind = "iot:CredentialProvider"
	endpoint, err := client.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String(kind)})
	if err != nil {
		return nil, cloud.Explain("ask for the account's credential provider", o.Endpoint, err)
	}
	o.Target.Provider = aws.ToString(endpoint.EndpointAddress)
	for _, need := range []struct {
		what string
		ask  func() error
	}{
		{"role alias " + o.Target.RoleAlias, func() error {
			_, err := client.DescribeRoleAlias(ctx, &iot.DescribeRoleAliasInput{RoleAlias: &o.Target.RoleAlias})
			return err
		}},
		{"policy " + o.Policy, func() error {
			_, err := client.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: &o.Policy})
			return err
		}},
	} {
		err := need.ask()
		if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
			return nil, fmt.Errorf("there is no AWS IoT %s in %s: the template makes it (obdfleet cloud template); name another with --role-alias or --policy", need.what, o.Target.Region)
		}
		if err != nil {
			return nil, cloud.Explain("look for "+need.what, o.Endpoint, err)
		}
	}
	return &Enroller{iot: client, o: o}, nil
}

// thingForm is narrower than AWS's pattern (CreateThing, thingName): it is a directory's name too, on any system.
var thingForm = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Check says what cannot be a board. Its values are checked as the daemon would.
func (b Board) Check() error {
	if !thingForm.MatchString(b.Thing) {
		return fmt.Errorf("%q cannot be a thing's name: it has 1 to 64 of A-Z a-z 0-9 _ -", b.Thing)
	}
	_, err := config.Parse(b.Thing, Config(b, Target{Kind: config.KindFirehose, Stream: cloud.DefaultStream, Region: cloud.DefaultRegion, Provider: "host", RoleAlias: "alias"}), nil)
	return err
}

// state is what is known here of a board's certificate.
type state struct {
	Thing          string `json:"thing"`
	CertificateARN string `json:"certificate_arn,omitempty"`
	CertificateID  string `json:"certificate_id,omitempty"`
	CertificatePEM string `json:"certificate_pem,omitempty"`
	Enrolled       bool   `json:"enrolled"` // all is done
}

// stateFile lies beside the board's files, and is what a run that was stopped goes on from.
const stateFile = "enrolled.json"

// Result is what became of a board.
type Result struct {
	Dir           string
	CertificateID string
	Before        bool     // it was enrolled before, and left alone
	SwitchedOff   []string // ids of certificates that were replaced
}

// BoardDir is where a board's files are.
func (o Options) BoardDir(b Board) string { return filepath.Join(o.Dir, b.Thing) }

// Enroll enrols one board, or finishes it.
func (e *Enroller) Enroll(ctx context.Context, b Board) (Result, error) {
	if err := b.Check(); err != nil {
		return Result{}, err
	}
	text := Config(b, e.o.Target)
	if _, err := config.Parse(SeedConfig, text, nil); err != nil {
		return Result{}, err
	}
	r := Result{Dir: e.o.BoardDir(b)}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return r, err
	}
	s, err := readState(r.Dir, b.Thing)
	if err != nil {
		return r, err
	}
	key, err := e.key(r.Dir, s)
	if err != nil {
		return r, err
	}
	if s.Enrolled {
		// The configuration may have changed; the identity has not.
		r.CertificateID, r.Before = s.CertificateID, true
		return r, e.files(r.Dir, s, key, text)
	}
	fail := func(doing string, err error) (Result, error) {
		return r, cloud.Explain(b.Thing+": "+doing, e.o.Endpoint, err)
	}
	thing := &iot.CreateThingInput{ThingName: &b.Thing}
	if b.VIN != "" {
		thing.AttributePayload = &types.AttributePayload{Attributes: map[string]string{"vin": b.VIN}}
	}
	// One that is there with other attributes stays as it is.
	if _, err := e.iot.CreateThing(ctx, thing); err != nil && !exists(err) {
		return fail("make the thing", err)
	}
	others, err := e.principals(ctx, b.Thing, s.CertificateARN)
	if err != nil {
		return fail("look at the thing's certificates", err)
	}
	if len(others) > 0 && !e.o.Replace {
		return r, Conflict{fmt.Errorf("%s has a certificate already that is not in %s (%s): go on in the directory that it was enrolled into, or give --replace to switch it off", b.Thing, r.Dir, idOf(others[0]))}
	}
	if s.CertificateARN == "" {
		if s, err = e.certificate(ctx, b.Thing, key); err != nil {
			return fail("make the certificate", err)
		}
		if err := writeState(r.Dir, s); err != nil {
			return r, err
		}
	}
	r.CertificateID = s.CertificateID
	if err := e.files(r.Dir, s, key, text); err != nil {
		return r, err
	}
	if _, err := e.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &e.o.Policy, Target: &s.CertificateARN}); err != nil {
		return fail("attach the policy", err)
	}
	if _, err := e.iot.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &b.Thing, Principal: &s.CertificateARN}); err != nil {
		return fail("attach the certificate", err)
	}
	if _, err := e.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &s.CertificateID, NewStatus: types.CertificateStatusActive}); err != nil {
		return fail("activate the certificate", err)
	}
	for _, old := range others {
		if _, err := e.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: aws.String(idOf(old)), NewStatus: types.CertificateStatusInactive}); err != nil {
			return fail("switch certificate "+idOf(old)+" off", err)
		}
		if _, err := e.iot.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &b.Thing, Principal: aws.String(old)}); err != nil {
			return fail("detach certificate "+idOf(old), err)
		}
		r.SwitchedOff = append(r.SwitchedOff, idOf(old))
	}
	s.Enrolled = true
	return r, writeState(r.Dir, s)
}

// exists reports whether a thing is there already, with other attributes.
func exists(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == "ResourceAlreadyExistsException"
}

// idOf is a certificate's id, which ends its ARN.
func idOf(arn string) string { return filepath.Base(arn) }

// principals are the thing's certificates but ours.
func (e *Enroller) principals(ctx context.Context, thing, ours string) (others []string, err error) {
	for in := (&iot.ListThingPrincipalsInput{ThingName: &thing}); ; {
		page, err := e.iot.ListThingPrincipals(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, p := range page.Principals {
			if p != ours {
				others = append(others, p)
			}
		}
		if aws.ToString(page.NextToken) == "" {
			return others, nil
		}
		in.NextToken = page.NextToken
	}
}

// key returns the board's private key, which it makes and keeps if there is none.
func (e *Enroller) key(dir string, s state) (crypto.Signer, error) {
	path := filepath.Join(dir, SeedKey)
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		key, err := parseKey(text)
		if err != nil {
			return nil, Conflict{fmt.Errorf("%s: %w: put the right file back, or take the directory away and give --replace", path, err)}
		}
		return key, os.Chmod(path, modeOf(SeedKey))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case s.CertificateARN != "":
		return nil, Conflict{fmt.Errorf("%s is gone, and its certificate is of no use without it: put it back, or take the directory away and give --replace", path)}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), modeOf(SeedKey))
}

// parseKey reads a key as it was written. Its errors do not quote it.
func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is no private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is no private key in PKCS #8")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it is no key that signs")
	}
	return signer, nil
}

// certificate has AWS IoT make one, not ACTIVE yet.
func (e *Enroller) certificate(ctx context.Context, thing string, key crypto.Signer) (state, error) {
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: thing}}, key)
	if err != nil {
		return state{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})
	made, err := e.iot.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: aws.String(string(text)), SetAsActive: false})
	if err != nil {
		return state{}, err
	}
	return state{Thing: thing, CertificateARN: aws.ToString(made.CertificateArn), CertificateID: aws.ToString(made.CertificateId), CertificatePEM: aws.ToString(made.CertificatePem)}, nil
}

// files writes certificate and configuration, after a look whether the certificate is the key's.
func (e *Enroller) files(dir string, s state, key crypto.Signer, config []byte) error {
	block, _ := pem.Decode([]byte(s.CertificatePEM))
	if block == nil {
		return Conflict{fmt.Errorf("%s holds no certificate in PEM: take the directory away and give --replace", filepath.Join(dir, stateFile))}
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Conflict{fmt.Errorf("the certificate in %s cannot be read: %w", filepath.Join(dir, stateFile), err)}
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certificate.PublicKey) && e.o.Endpoint == "" {
		return Conflict{fmt.Errorf("the key in %s is not that of its certificate %s: put the right one back, or take the directory away and give --replace", dir, s.CertificateID)}
	}
	for name, text := range map[string][]byte{SeedCert: []byte(s.CertificatePEM), SeedConfig: config} {
		path := filepath.Join(dir, name)
		if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, text) {
			continue // a list of a thousand is run again for the one that failed
		}
		if err := writeFile(path, text, modeOf(name)); err != nil {
			return err
		}
	}
	return nil
}

func readState(dir, thing string) (state, error) {
	path := filepath.Join(dir, stateFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state{Thing: thing}, nil
	}
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return state{}, Conflict{fmt.Errorf("%s: %w: take the directory away and give --replace", path, err)}
	}
	if s.Thing != thing {
		return state{}, Conflict{fmt.Errorf("%s is that of %s, not of %s: rename the directory back", path, s.Thing, thing)}
	}
	return s, nil
}

func writeState(dir string, s state) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, stateFile), append(text, '\n'), modeOf(stateFile))
}
