// Package enrolltest is AWS IoT in memory, for tests of enrolling: things, certificates that it signs, a role alias and a policy.
//
// # Promises
//
//   - As AWS does it refuses what is not there, a request for a certificate that is not signed, and a thing's name with other
//     attributes; attaching twice is once; certificates come a page at a time.
//   - A call can be made to fail, before or after it has done its work.
//
// # Limits
//
// What package enroll does not ask is not there.
package enrolltest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// A Certificate is one that was made.
type Certificate struct {
	PEM      string
	Status   types.CertificateStatus
	Policies []string
}

// World is AWS IoT in one account and region. Its fields may be read and set while no call is under way.
type World struct {
	Things map[string][]string     // a thing's principals
	Certs  map[string]*Certificate // by ARN

	Names []string // the calls so far
	Fail  int      // the number of the call that fails, from 1; 0: none
	After bool     // it fails after it has done its work: an answer that is lost

	mu      sync.Mutex
	ca      *ecdsa.PrivateKey
	aliases []string
	policy  []string
	vins    map[string]string
	serial  int64
}

var errCut = errors.New("connection reset by peer")

// New returns one with the role alias obdagent and the policy obdagent-device.
func New() *World {
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // there is no random source
	}
	return &World{ca: ca, aliases: []string{"obdagent"}, policy: []string{"obdagent-device"}, Things: map[string][]string{}, vins: map[string]string{}, Certs: map[string]*Certificate{}}
}

// do runs a call.
func (f *World) do(name string, work func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Names = append(f.Names, name)
	if len(f.Names) == f.Fail && !f.After {
		return errCut
	}
	err := work()
	if len(f.Names) == f.Fail {
		return errCut
	}
	return err
}

func missing(what string) error {
	return &types.ResourceNotFoundException{Message: aws.String(what + " is not there")}
}

// DescribeEndpoint implements enroll.IoT.
func (f *World) DescribeEndpoint(_ context.Context, in *iot.DescribeEndpointInput, _ ...func(*iot.Options)) (*iot.DescribeEndpointOutput, error) {
	return &iot.DescribeEndpointOutput{EndpointAddress: aws.String("c0ffee.credentials.iot.us-east-1.amazonaws.com")}, f.do("DescribeEndpoint", func() error {
		if aws.ToString(in.EndpointType) != "iot:CredentialProvider" {
			return &types.InvalidRequestException{Message: aws.String("endpointType")}
		}
		return nil
	})
}

// DescribeRoleAlias implements enroll.IoT.
func (f *World) DescribeRoleAlias(_ context.Context, in *iot.DescribeRoleAliasInput, _ ...func(*iot.Options)) (*iot.DescribeRoleAliasOutput, error) {
	return &iot.DescribeRoleAliasOutput{}, f.do("DescribeRoleAlias", func() error {
		if !slices.Contains(f.aliases, aws.ToString(in.RoleAlias)) {
			return missing("role alias")
		}
		return nil
	})
}

// GetPolicy implements enroll.IoT.
func (f *World) GetPolicy(_ context.Context, in *iot.GetPolicyInput, _ ...func(*iot.Options)) (*iot.GetPolicyOutput, error) {
	return &iot.GetPolicyOutput{}, f.do("GetPolicy", func() error {
		if !slices.Contains(f.policy, aws.ToString(in.PolicyName)) {
			return missing("policy")
		}
		return nil
	})
}

// CreateThing implements enroll.IoT.
func (f *World) CreateThing(_ context.Context, in *iot.CreateThingInput, _ ...func(*iot.Options)) (*iot.CreateThingOutput, error) {
	return &iot.CreateThingOutput{}, f.do("CreateThing", func() error {
		name, vin := aws.ToString(in.ThingName), ""
		if in.AttributePayload != nil {
			vin = in.AttributePayload.Attributes["vin"]
		}
		if _, there := f.Things[name]; there {
			if f.vins[name] != vin {
				return &types.ResourceAlreadyExistsException{Message: aws.String("Thing " + name + " already exists in account with different attributes")}
			}
			return nil
		}
		f.Things[name], f.vins[name] = nil, vin
		return nil
	})
}

// ListThingPrincipals implements enroll.IoT; one a page.
func (f *World) ListThingPrincipals(_ context.Context, in *iot.ListThingPrincipalsInput, _ ...func(*iot.Options)) (*iot.ListThingPrincipalsOutput, error) {
	out := &iot.ListThingPrincipalsOutput{}
	return out, f.do("ListThingPrincipals", func() error {
		all, there := f.Things[aws.ToString(in.ThingName)]
		if !there {
			return missing("thing")
		}
		at := 0
		if in.NextToken != nil {
			if _, err := fmt.Sscan(*in.NextToken, &at); err != nil {
				return &types.InvalidRequestException{}
			}
		}
		if at < len(all) {
			out.Principals = all[at : at+1]
		}
		if at+1 < len(all) {
			out.NextToken = aws.String(fmt.Sprint(at + 1))
		}
		return nil
	})
}

// CreateCertificateFromCsr implements enroll.IoT.
func (f *World) CreateCertificateFromCsr(_ context.Context, in *iot.CreateCertificateFromCsrInput, _ ...func(*iot.Options)) (*iot.CreateCertificateFromCsrOutput, error) {
	out := &iot.CreateCertificateFromCsrOutput{}
	return out, f.do("CreateCertificateFromCsr", func() error {
		block, _ := pem.Decode([]byte(aws.ToString(in.CertificateSigningRequest)))
		if block == nil {
			return &types.InvalidRequestException{Message: aws.String("the CSR is not PEM")}
		}
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || request.CheckSignature() != nil {
			return &types.InvalidRequestException{Message: aws.String("the CSR is not signed")}
		}
		f.serial++
		from := &x509.Certificate{SerialNumber: big.NewInt(f.serial), Subject: request.Subject, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, from, from, request.PublicKey, f.ca)
		if err != nil {
			return err
		}
		text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		id := fmt.Sprintf("%064x", f.serial)
		arn := "arn:aws:iot:us-east-1:123456789012:cert/" + id
		status := types.CertificateStatusInactive
		if in.SetAsActive {
			status = types.CertificateStatusActive
		}
		f.Certs[arn] = &Certificate{PEM: text, Status: status}
		out.CertificateArn, out.CertificateId, out.CertificatePem = &arn, &id, &text
		return nil
	})
}

// cert finds a certificate by its ARN, or its id.
func (f *World) cert(name *string) *Certificate {
	if c := f.Certs[aws.ToString(name)]; c != nil {
		return c
	}
	return f.Certs["arn:aws:iot:us-east-1:123456789012:cert/"+aws.ToString(name)]
}

// AttachPolicy implements enroll.IoT.
func (f *World) AttachPolicy(_ context.Context, in *iot.AttachPolicyInput, _ ...func(*iot.Options)) (*iot.AttachPolicyOutput, error) {
	return &iot.AttachPolicyOutput{}, f.do("AttachPolicy", func() error {
		c := f.cert(in.Target)
		if c == nil {
			return missing("certificate")
		}
		if !slices.Contains(c.Policies, aws.ToString(in.PolicyName)) {
			c.Policies = append(c.Policies, aws.ToString(in.PolicyName))
		}
		return nil
	})
}

// AttachThingPrincipal implements enroll.IoT.
func (f *World) AttachThingPrincipal(_ context.Context, in *iot.AttachThingPrincipalInput, _ ...func(*iot.Options)) (*iot.AttachThingPrincipalOutput, error) {
	return &iot.AttachThingPrincipalOutput{}, f.do("AttachThingPrincipal", func() error {
		name := aws.ToString(in.ThingName)
		if _, there := f.Things[name]; !there || f.cert(in.Principal) == nil {
			return missing("thing or certificate")
		}
		if !slices.Contains(f.Things[name], aws.ToString(in.Principal)) {
			f.Things[name] = append(f.Things[name], aws.ToString(in.Principal))
		}
		return nil
	})
}

// DetachThingPrincipal implements enroll.IoT.
func (f *World) DetachThingPrincipal(_ context.Context, in *iot.DetachThingPrincipalInput, _ ...func(*iot.Options)) (*iot.DetachThingPrincipalOutput, error) {
	return &iot.DetachThingPrincipalOutput{}, f.do("DetachThingPrincipal", func() error {
		name := aws.ToString(in.ThingName)
		f.Things[name] = slices.DeleteFunc(f.Things[name], func(p string) bool { return p == aws.ToString(in.Principal) })
		return nil
	})
}

// UpdateCertificate implements enroll.IoT.
func (f *World) UpdateCertificate(_ context.Context, in *iot.UpdateCertificateInput, _ ...func(*iot.Options)) (*iot.UpdateCertificateOutput, error) {
	return &iot.UpdateCertificateOutput{}, f.do("UpdateCertificate", func() error {
		c := f.cert(in.CertificateId)
		if c == nil {
			return missing("certificate")
		}
		c.Status = in.NewStatus
		return nil
	})
}
