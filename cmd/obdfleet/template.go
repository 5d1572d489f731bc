package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"obdagent/cmd/internal/cli"
	template "obdagent/deploy/cloud"
)

func cloudTemplateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "template",
		Short: "Print the CloudFormation template of a fleet's whole account",
		Long: `template prints a CloudFormation template with all that up makes, and the devices' role behind an AWS IoT role alias, alarms, and the
table and saved queries for Athena; a Lambda function, Parquet, OpenSearch, Redshift and a Kinesis data stream as the source are
options of it. docs/cloud.md says how to use it.`,
		Example: `  obdfleet cloud template > obdagent.yaml
  aws cloudformation deploy --stack-name obdagent --template-file obdagent.yaml --capabilities CAPABILITY_NAMED_IAM`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := template.Template()
			if err != nil {
				return err
			}
			return printed(fmt.Fprint(c.OutOrStdout(), text))
		},
	}
}
