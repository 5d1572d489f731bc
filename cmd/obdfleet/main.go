// Command obdfleet is the desk's side of obdagent: it makes what a fleet needs of an AWS account, gives boards their identity, reads
// back what was delivered, and reports on it.
//
// Exit status: 0 done, 1 the answer is bad news, 2 usage or config. Bad news and mistakes are one line each on standard error:
// what, where, and what to do.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"obdagent/cmd/internal/cli"
	"obdagent/cmd/obdfleet/internal/cloud"
	"obdagent/cmd/obdfleet/internal/enroll"
)

func main() { os.Exit(cli.Main(rootCommand(), os.Args[1:], os.Stdout, os.Stderr)) }

func rootCommand() *cobra.Command {
	return cli.Root("obdfleet", "Makes a fleet's account, enrols its boards, and reads back what they have delivered",
		`obdfleet is the desk's side of obdagent: it makes what a fleet needs of an AWS account, gives boards their identity, reads back what
was delivered, and reports on it.

Exit status: 0 done, 1 the answer is bad news, 2 usage or config.`,
		cloudCommand(cloud.Open), enrollCommand(enroll.Open), reportCommand(), cli.VersionCommand("obdfleet"))
}
