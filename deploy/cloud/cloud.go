// Package cloud holds the CloudFormation template of a fleet's account, embedded.
//
// # Promises
//
//   - The template is complete: it can be deployed as it is printed.
//
//   - The saved queries are those of package queries, word for word: what they share stands once, as a mapping, and CloudFormation
//     puts it before each.
//
//   - What devices get is one permission: to send batches to the one stream.
//
//   - It is small enough to be handed over within a call: CloudFormation takes 51,200 bytes there (user guide, "CloudFormation quotas",
//     template body size in a request), through a bucket 1 MB.
//
// # Limits
//
// Options that go together only in one way are checked by the template's rules, in CloudFormation. The package imports nothing of
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

// The lines of template.yaml in whose place the views that the saved queries share are put, and the saved queries.
const (
	hereViews   = "# views\n"
	hereQueries = "# queries\n"
)

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
	var shared string
	var saved strings.Builder
	for _, name := range queries.Names() {
		views, question, err := queries.Query{Name: name, Engine: queries.Athena}.Parts()
		if err != nil {
			return "", fmt.Errorf("saved query %s: %w", name, err)
		}
		shared = views
		fmt.Fprintf(&saved, "  Query%s:\n    Type: AWS::Athena::NamedQuery\n    Properties:\n", resource(name))
		fmt.Fprintf(&saved, "      Name: %s\n      Description: %q\n      Database: !Ref Database\n      WorkGroup: !Ref WorkGroup\n", name, titles[name])
		fmt.Fprintf(&saved, "      QueryString: !Join\n        - \"\"\n        - - !FindInMap [Queries, Athena, Views]\n          - |\n%s", indented("            ", question))
	}
	return strings.NewReplacer(
		hereViews, "Mappings:\n  # What each saved query begins with.\n  Queries:\n    Athena:\n      Views: |\n"+indented("        ", shared),
		hereQueries, saved.String(),
	).Replace(template), nil
}

// indented is a text as it stands in a YAML block.
func indented(by, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(by + line)
	}
	return b.String()
}

// resource is a query's name as resources are named: max_speed is MaxSpeed.
func resource(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
