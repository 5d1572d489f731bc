package cloudtest

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// iamAPI implements cloud.IAM.
type iamAPI struct{ w *World }

// AddUser makes a user without policies.
func (w *World) AddUser(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users[name] = map[string]string{}
}

// SetTrust changes the trust of a role, which must be there.
func (w *World) SetTrust(name, document string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.roles[name].trust = document
}

// AttachPolicy attaches a managed policy to a role, which must be there.
func (w *World) AttachPolicy(name, policy string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.roles[name].attached = append(w.roles[name].attached, policy)
}

func noEntity(name *string) error {
	return Error("NoSuchEntity", "There is nothing with name "+aws.ToString(name))
}

func (i iamAPI) role(name *string) (*role, error) {
	if r := i.w.roles[aws.ToString(name)]; r != nil {
		return r, nil
	}
	return nil, noEntity(name)
}

func (i iamAPI) GetRole(_ context.Context, in *iam.GetRoleInput, _ ...func(*iam.Options)) (*iam.GetRoleOutput, error) {
	end, err := i.w.begin("GetRole", false)
	defer end()
	if err != nil {
		return nil, err
	}
	r, err := i.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.GetRoleOutput{Role: &types.Role{RoleName: in.RoleName, AssumeRolePolicyDocument: encoded(r.trust)}}, nil
}

func (i iamAPI) CreateRole(_ context.Context, in *iam.CreateRoleInput, _ ...func(*iam.Options)) (*iam.CreateRoleOutput, error) {
	end, err := i.w.begin("CreateRole", true)
	defer end()
	if err != nil {
		return nil, err
	}
	if i.w.roles[aws.ToString(in.RoleName)] != nil {
		return nil, Error("EntityAlreadyExists", "Role with name "+aws.ToString(in.RoleName)+" already exists.")
	}
	i.w.roles[aws.ToString(in.RoleName)] = &role{trust: aws.ToString(in.AssumeRolePolicyDocument), policies: map[string]string{}, unknown: i.w.RoleDelay}
	return &iam.CreateRoleOutput{}, nil
}

func (i iamAPI) UpdateAssumeRolePolicy(_ context.Context, in *iam.UpdateAssumeRolePolicyInput, _ ...func(*iam.Options)) (*iam.UpdateAssumeRolePolicyOutput, error) {
	end, err := i.w.begin("UpdateAssumeRolePolicy", true)
	defer end()
	if err != nil {
		return nil, err
	}
	r, err := i.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	r.trust = aws.ToString(in.PolicyDocument)
	return &iam.UpdateAssumeRolePolicyOutput{}, nil
}

func (i iamAPI) GetRolePolicy(_ context.Context, in *iam.GetRolePolicyInput, _ ...func(*iam.Options)) (*iam.GetRolePolicyOutput, error) {
	end, err := i.w.begin("GetRolePolicy", false)
	defer end()
	if err != nil {
		return nil, err
	}
	r, err := i.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	document, ok := r.policies[aws.ToString(in.PolicyName)]
	if !ok {
		return nil, noEntity(in.PolicyName)
	}
	return &iam.GetRolePolicyOutput{RoleName: in.RoleName, PolicyName: in.PolicyName, PolicyDocument: encoded(document)}, nil
}

func (i iamAPI) PutRolePolicy(_ context.Context, in *iam.PutRolePolicyInput, _ ...func(*iam.Options)) (*iam.PutRolePolicyOutput, error) {
	end, err := i.w.begin("PutRolePolicy", true)
	defer end()
	if err != nil {
		return nil, err
	}
	r, err := i.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	r.policies[aws.ToString(in.PolicyName)] = aws.ToString(in.PolicyDocument)
	return &iam.PutRolePolicyOutput{}, nil
}

func (i iamAPI) ListRolePolicies(_ context.Context, in *iam.ListRolePoliciesInput, _ ...func(*iam.Options)) (*iam.ListRolePoliciesOutput, error) {
	end, err := i.w.begin("ListRolePolicies", false)
	defer end()
	if err != nil {
		return nil, err
	}
	r, err := i.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	out := &iam.ListRolePoliciesOutput{}
	for name := range r.policies {
		out.PolicyNames = append(out.PolicyNames, name)
	}
	return out, nil
}

func (i iamAPI) ListAttachedRolePolicies(_ context.Context, in *iam.ListAttachedRolePoliciesInput, _ ...func(*iam.Options)) (*iam.ListAttachedRolePoliciesOutput, error) {
	end, err := i.w.begin("ListAttachedRolePolicies", false)
	defer end()
	if err != nil {
		return nil, err
	}
	r, err := i.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	out := &iam.ListAttachedRolePoliciesOutput{}
	for _, name := range r.attached {
		out.AttachedPolicies = append(out.AttachedPolicies, types.AttachedPolicy{PolicyName: aws.String(name)})
	}
	return out, nil
}

func (i iamAPI) DeleteRolePolicy(_ context.Context, in *iam.DeleteRolePolicyInput, _ ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error) {
	end, err := i.w.begin("DeleteRolePolicy", true)
	defer end()
	if err != nil {
		return nil, err
	}
	r, err := i.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	if _, ok := r.policies[aws.ToString(in.PolicyName)]; !ok {
		return nil, noEntity(in.PolicyName)
	}
	delete(r.policies, aws.ToString(in.PolicyName))
	return &iam.DeleteRolePolicyOutput{}, nil
}

func (i iamAPI) DeleteRole(_ context.Context, in *iam.DeleteRoleInput, _ ...func(*iam.Options)) (*iam.DeleteRoleOutput, error) {
	end, err := i.w.begin("DeleteRole", true)
	defer end()
	if err != nil {
		return nil, err
	}
	r, err := i.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	if len(r.policies)+len(r.attached) > 0 {
		return nil, Error("DeleteConflict", "Cannot delete entity, must delete policies first.")
	}
	delete(i.w.roles, aws.ToString(in.RoleName))
	return &iam.DeleteRoleOutput{}, nil
}

func (i iamAPI) GetUserPolicy(_ context.Context, in *iam.GetUserPolicyInput, _ ...func(*iam.Options)) (*iam.GetUserPolicyOutput, error) {
	end, err := i.w.begin("GetUserPolicy", false)
	defer end()
	if err != nil {
		return nil, err
	}
	document, ok := i.w.users[aws.ToString(in.UserName)][aws.ToString(in.PolicyName)]
	if !ok {
		return nil, noEntity(in.UserName)
	}
	return &iam.GetUserPolicyOutput{UserName: in.UserName, PolicyName: in.PolicyName, PolicyDocument: encoded(document)}, nil
}

func (i iamAPI) PutUserPolicy(_ context.Context, in *iam.PutUserPolicyInput, _ ...func(*iam.Options)) (*iam.PutUserPolicyOutput, error) {
	end, err := i.w.begin("PutUserPolicy", true)
	defer end()
	if err != nil {
		return nil, err
	}
	policies, ok := i.w.users[aws.ToString(in.UserName)]
	if !ok {
		return nil, noEntity(in.UserName)
	}
	policies[aws.ToString(in.PolicyName)] = aws.ToString(in.PolicyDocument)
	return &iam.PutUserPolicyOutput{}, nil
}
