package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// roleUsers says which streams of the region use a role: whether the Spec's own does, and which others. A role belongs to the whole
// account, so that a region where nobody uses it says nothing of the next one.
func (a *Account) roleUsers(ctx context.Context, s Spec, roleARN string) (own bool, others []string, err error) {
	names, err := a.streamNames(ctx)
	if err != nil {
		return false, nil, err
	}
	for _, name := range names {
		d, err := a.describe(ctx, name)
		switch {
		case err != nil:
			return false, nil, err
		case d == nil || !usesRole(d, roleARN):
		case name == s.Stream:
			own = true
		default:
			others = append(others, "stream "+name)
		}
	}
	return own, others, nil
}

// roleARN is the role's own name for itself: one that somebody else has made may have a path in it.
func roleARN(w Where, s Spec, r *iamtypes.Role) string {
	if r != nil && aws.ToString(r.Arn) != "" {
		return *r.Arn
	}
	return w.RoleARN(s.Role)
}

// usesRole reports whether a stream's description names the role anywhere: the destination of any kind, its backup in S3, its
// schema, network or secret, and the source each have a RoleARN of their own, and kinds are added with the API. What cannot be read
// counts as a user.
func usesRole(d *types.DeliveryStreamDescription, roleARN string) bool {
	quoted, err := json.Marshal(roleARN)
	text, errText := json.Marshal(d)
	return errors.Join(err, errText) != nil || strings.Contains(string(text), string(quoted))
}

// mayRepairRole refuses to change what a role may do where that would take its bucket from another stream.
func (u *up) mayRepairRole(ctx context.Context, roleARN string) error {
	own, others, err := u.roleUsers(ctx, u.Spec, roleARN)
	switch {
	case err != nil:
		return err
	case len(others) > 0:
		return fmt.Errorf("role %s is used by %s too, which could not write to its bucket any more: name another role with --role", u.Role, strings.Join(others, ", "))
	case !own:
		return fmt.Errorf("role %s is not used by stream %s of region %s, and may be by one of another region, which could not write to its bucket any more: name another role with --role", u.Role, u.Stream, u.w.Region)
	}
	return nil
}
