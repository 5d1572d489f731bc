// Package cloud holds the CloudFormation template of a fleet's account, embedded.
//
// # Promises
//
//   - The template is complete: it can be deployed as it is printed.
//   - The saved queries are those of package queries, word for word.
//   - What devices get is one permission: to send batches to the one stream.
//
// # Limits
//
// With the queries the template is larger than the 51,200 bytes that CloudFormation takes within a call (CloudFormation user guide,
// "Quotas"): it is deployed through a bucket (aws cloudformation deploy --s3-bucket) or the console. Options that go together only in one way are checked by the template's rules, in CloudFormation. The package imports nothing of
// this module but the queries.
package cloud

import (
	_ "embed"
	"fmt"
	"strings"

	"obdagent/deploy/cloud/queries"
)

//go:embed template.yaml
var template string

// here is the line of template.yaml in whose place the saved queries are put.
const here = "# queries\n"

// titles say what a saved query answers.
var titles = map[string]string{
	"report":     "What obdfleet report prints: a row for each vehicle",
	"max_speed":  "Maximum speed of each VIN",
	"gaps":       "Where records of a vehicle are missing",
	"duplicates": "Records that were delivered more than once",
	"emission":   "CO2 and fuel of each vehicle and day",
}

// Template returns the template with the saved queries' text in it.
func Template() (string, error) {
	var b strings.Builder
	for _, name := range queries.Names() {
		sql, err := queries.Query{Name: name, Engine: queries.Athena}.SQL()
		if err != nil {
			return "", fmt.Errorf("saved query %s: %w", name, err)
		}
		fmt.Fprintf(&b, "  Query%s:\n    Type: AWS::Athena::NamedQuery\n    Properties:\n", resource(name))
		fmt.Fprintf(&b, "      Name: %s\n      Description: %q\n      Database: !Ref Database\n      WorkGroup: !Ref WorkGroup\n      QueryString: |\n", name, titles[name])
		for line := range strings.Lines(sql) {
			b.WriteString("        " + line)
		}
	}
	return strings.Replace(template, here, b.String(), 1), nil
}

// resource is a query's name as resources are named: max_speed is MaxSpeed.
func resource(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
