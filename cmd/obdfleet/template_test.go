package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/awslabs/goformation/v7/cloudformation/athena"
	"github.com/awslabs/goformation/v7/cloudformation/cloudwatch"
	"github.com/awslabs/goformation/v7/cloudformation/glue"
	"github.com/awslabs/goformation/v7/cloudformation/iam"
	"github.com/awslabs/goformation/v7/cloudformation/iot"
	"github.com/awslabs/goformation/v7/cloudformation/kinesis"
	"github.com/awslabs/goformation/v7/cloudformation/kinesisfirehose"
	"github.com/awslabs/goformation/v7/cloudformation/lambda"
	"github.com/awslabs/goformation/v7/cloudformation/logs"
	"github.com/awslabs/goformation/v7/cloudformation/s3"
	"github.com/awslabs/goformation/v7/cloudformation/sns"
	"github.com/awslabs/goformation/v7/intrinsics"

	"obdagent/cmd/internal/cli"
)

// resourceTypes are the typed structs that a resource of the template must fit into: goformation refuses what has no field.
var resourceTypes = map[string]func() json.Unmarshaler{
	"AWS::Athena::NamedQuery":              func() json.Unmarshaler { return &athena.NamedQuery{} },
	"AWS::Athena::WorkGroup":               func() json.Unmarshaler { return &athena.WorkGroup{} },
	"AWS::CloudWatch::Alarm":               func() json.Unmarshaler { return &cloudwatch.Alarm{} },
	"AWS::Glue::Database":                  func() json.Unmarshaler { return &glue.Database{} },
	"AWS::Glue::Table":                     func() json.Unmarshaler { return &glue.Table{} },
	"AWS::IAM::ManagedPolicy":              func() json.Unmarshaler { return &iam.ManagedPolicy{} },
	"AWS::IAM::Role":                       func() json.Unmarshaler { return &iam.Role{} },
	"AWS::IoT::Policy":                     func() json.Unmarshaler { return &iot.Policy{} },
	"AWS::IoT::RoleAlias":                  func() json.Unmarshaler { return &iot.RoleAlias{} },
	"AWS::Kinesis::Stream":                 func() json.Unmarshaler { return &kinesis.Stream{} },
	"AWS::KinesisFirehose::DeliveryStream": func() json.Unmarshaler { return &kinesisfirehose.DeliveryStream{} },
	"AWS::Lambda::Function":                func() json.Unmarshaler { return &lambda.Function{} },
	"AWS::Logs::LogGroup":                  func() json.Unmarshaler { return &logs.LogGroup{} },
	"AWS::Logs::LogStream":                 func() json.Unmarshaler { return &logs.LogStream{} },
	"AWS::S3::Bucket":                      func() json.Unmarshaler { return &s3.Bucket{} },
	"AWS::S3::BucketPolicy":                func() json.Unmarshaler { return &s3.BucketPolicy{} },
	"AWS::SNS::Subscription":               func() json.Unmarshaler { return &sns.Subscription{} },
	"AWS::SNS::Topic":                      func() json.Unmarshaler { return &sns.Topic{} },
}

// A stack is the template as CloudFormation would take it with some parameters: conditions are decided, references resolved.
type stack struct {
	values    map[string]any // of all parameters
	resources map[string]json.Unmarshaler
	types     map[string]string
}

// processing guards goformation's parser, which registers what it knows in a global.
var processing sync.Mutex

// deployed resolves the printed template with parameters.
func deployed(t *testing.T, parameters map[string]any) stack {
	t.Helper()
	status, text, errs := obdfleet(t, "cloud", "template")
	if status != cli.ExitDone {
		t.Fatal(errs)
	}
	attribute := func(_ string, input, _ any) any {
		if list, ok := input.([]any); ok { // GetAtt
			input = fmt.Sprintf("%v.%v", list[0], list[1])
		}
		return fmt.Sprintf("arn:aws:x:us-east-1:123456789012:%v", input)
	}
	// A resource is its name; goformation leaves it empty.
	reference := func(name string, input, template any) any {
		if got := intrinsics.Ref(name, input, template); got != nil || input == "AWS::NoValue" || input == "AWS::Partition" {
			if input == "AWS::Partition" {
				return "aws"
			}
			return got
		}
		return input
	}
	substitute := func(_ string, input, template any) any {
		local := map[string]any{}
		if list, ok := input.([]any); ok {
			input, local = list[0], list[1].(map[string]any)
		}
		return regexp.MustCompile(`\$\{([^}]+)\}`).ReplaceAllStringFunc(input.(string), func(name string) string {
			name = name[2 : len(name)-1]
			switch {
			case local[name] != nil:
				return fmt.Sprint(local[name])
			case name[0] == '!':
				return "${" + name[1:] + "}"
			case strings.Contains(name, "."):
				return fmt.Sprint(attribute("", name, nil))
			}
			return fmt.Sprint(reference("Ref", name, template))
		})
	}
	processing.Lock()
	// goformation takes a resource's Condition for the function of that name, and puts its value in the resource's place.
	text = strings.ReplaceAll(text, "\n    Condition: ", "\n    When: ")
	processed, err := intrinsics.ProcessYAML([]byte(text), &intrinsics.ProcessorOptions{
		ParameterOverrides: parameters, EvaluateConditions: true,
		IntrinsicHandlerOverrides: map[string]intrinsics.IntrinsicHandler{"Fn::GetAtt": attribute, "Fn::Sub": substitute, "Ref": reference},
	})
	processing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Parameters map[string]struct{ Default any }
		Conditions map[string]any
		Resources  map[string]struct {
			Type, When string
		}
	}
	var raw struct{ Resources map[string]json.RawMessage }
	for _, into := range []any{&doc, &raw} {
		if err := json.Unmarshal(processed, into); err != nil {
			t.Fatal(err)
		}
	}
	s := stack{values: map[string]any{}, resources: map[string]json.Unmarshaler{}, types: map[string]string{}}
	for name, p := range doc.Parameters {
		s.values[name] = p.Default
	}
	for name, r := range doc.Resources {
		if r.When != "" && doc.Conditions[r.When] != true {
			continue
		}
		make := resourceTypes[r.Type]
		if make == nil {
			t.Errorf("%s is an %s, which no test knows", name, r.Type)
			continue
		}
		resource := make()
		if err := resource.UnmarshalJSON(withoutNull(t, raw.Resources[name])); err != nil {
			t.Errorf("%s with %v: %v", name, parameters, err)
		}
		s.resources[name], s.types[name] = resource, r.Type
	}
	return s
}

// withoutNull takes out what AWS::NoValue has left, as CloudFormation does.
func withoutNull(t *testing.T, raw json.RawMessage) []byte {
	t.Helper()
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	if resource, ok := tree.(map[string]any); ok {
		delete(resource, "When")
	}
	var prune func(any) any
	prune = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			maps.DeleteFunc(v, func(_ string, e any) bool { return e == nil })
			for k := range v {
				v[k] = prune(v[k])
			}
		case []any:
			v = slices.DeleteFunc(v, func(e any) bool { return e == nil })
			for i := range v {
				v[i] = prune(v[i])
			}
			return v
		}
		return v
	}
	text, err := json.Marshal(prune(tree))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
